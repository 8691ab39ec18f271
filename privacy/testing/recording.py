"""A noise source that writes down what was asked of it, and answers with marks.

With it a mechanism is looked at from inside without being read: which noise it asks for, on which
data; whether each draw reaches exactly one release, whole; what the releases are without noise.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Call", "Recording"]


@dataclass(frozen=True)
class Call:
    """One request for randomness.

    Attributes:
      kind: ``gaussian``, ``discrete_gaussian``, ``skellam`` or ``poisson_sample``.
      scale: Standard deviation (for Skellam the root of the variance), or the probability.
      size: How many draws.
    """

    kind: str
    scale: float
    size: int


@dataclass
class Recording:
    """A noise source for grey-box checks: no randomness, everything written down.

    Attributes:
      marked: Whether noise is a mark that differs from draw to draw, or zero.
      calls: What was asked for, in order.
      answers: What was given, in order.
    """

    marked: bool = False
    calls: list[Call] = field(default_factory=list)
    answers: list[NDArray[np.float64]] = field(default_factory=list)

    protects = False

    def gaussian(self, std: float, size: int) -> NDArray[np.float64]:
        """Answer with zeros, or with a mark that 32-bit floats can't hold."""
        return self._noise(Call("gaussian", float(std), size), 2.0**-30)

    def discrete_gaussian(self, std: float, size: int) -> NDArray[np.int64]:
        """Answer with zeros, or with an integer mark that 32-bit floats can't hold."""
        return self._noise(Call("discrete_gaussian", float(std), size), 1.0).astype(np.int64)

    def skellam(self, variance: float, size: int) -> NDArray[np.int64]:
        """Answer with zeros, or with an integer mark that 32-bit floats can't hold."""
        return self._noise(Call("skellam", float(variance) ** 0.5, size), 1.0).astype(np.int64)

    def poisson_sample(self, prob: float, size: int) -> NDArray[np.bool_]:
        """Take everybody: the case in which a patient's influence is largest."""
        self.calls.append(Call("poisson_sample", float(prob), size))
        return np.ones(size, dtype=np.bool_)

    @property
    def noise_calls(self) -> list[Call]:
        """Requests for noise, without those for samples."""
        return [call for call in self.calls if call.kind != "poisson_sample"]

    def _noise(self, call: Call, unit: float) -> NDArray[np.float64]:
        self.calls.append(call)
        place = len(self.answers) + 1
        mark = (place * 2.0**25 + np.arange(1, call.size + 1)) * unit
        answer = np.asarray(mark if self.marked else 0 * mark, dtype=np.float64)
        self.answers.append(answer)
        return answer.copy()
