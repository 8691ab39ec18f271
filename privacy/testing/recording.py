"""A noise source that writes down what is asked of it and answers what it was told to.

With it a mechanism is a function of its patients and of the answers, so that it can be looked at
from inside without being read: which noise it asks for, on which data; where each draw ends up;
what it does when nobody is sampled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RandomnessRequest", "Recording", "everybody"]

Sampler = Callable[[int, int], NDArray[np.bool_]]


@dataclass(frozen=True)
class RandomnessRequest:
    """One request for randomness.

    Attributes:
      kind: ``gaussian``, ``discrete_gaussian``, ``skellam``, ``laplace`` or ``poisson_sample``.
      scale: Standard deviation (for Skellam the root of the variance), for Laplace noise its scale,
        or the probability.
      size: How many draws.
    """

    kind: str
    scale: float
    size: int


def everybody(draw: int, size: int) -> NDArray[np.bool_]:
    """Take every patient in every sample."""
    del draw
    return np.ones(size, dtype=np.bool_)


class Recording:
    """A noise source for grey-box checks: it protects nobody and writes everything down.

    Args:
      noise: The answers, draw by draw; beyond them, and where a size differs, fixed numbers that
        look like the noise that was asked for (the same in every ``Recording``).
      sample: ``sample(draw, size)`` says who takes part in the draw-th Poisson sample.

    Attributes:
      calls: What was asked for, in order.
      answers: The noise that was given, in order; not the samples.
    """

    protects = False

    def __init__(self, noise: Sequence[NDArray[Any]] = (), *, sample: Sampler = everybody) -> None:
        self.calls: list[RandomnessRequest] = []
        self.answers: list[NDArray[Any]] = []
        self._noise = noise
        self._sample = sample

    def gaussian(self, std: float, size: int) -> NDArray[np.float64]:
        """Answer with floats."""
        return self._answer(RandomnessRequest("gaussian", float(std), int(size)))

    def discrete_gaussian(self, std: float, size: int) -> NDArray[np.int64]:
        """Answer with integers."""
        return self._answer(RandomnessRequest("discrete_gaussian", float(std), int(size)))

    def skellam(self, variance: float, size: int) -> NDArray[np.int64]:
        """Answer with integers."""
        return self._answer(RandomnessRequest("skellam", float(np.sqrt(variance)), int(size)))

    def laplace(self, scale: float, size: int) -> NDArray[np.float64]:
        """Answer with floats; no source of ours draws these, other people's filters do."""
        return self._answer(RandomnessRequest("laplace", float(scale), int(size)))

    def poisson_sample(self, prob: float, size: int) -> NDArray[np.bool_]:
        """Answer as ``sample`` says."""
        draw = len(self.calls) - len(self.answers)
        self.calls.append(RandomnessRequest("poisson_sample", float(prob), int(size)))
        return self._sample(draw, int(size))

    @property
    def noise_calls(self) -> list[RandomnessRequest]:
        """Requests for noise, without those for samples."""
        return [call for call in self.calls if call.kind != "poisson_sample"]

    @property
    def sample_calls(self) -> list[RandomnessRequest]:
        """Requests for samples, without those for noise."""
        return [call for call in self.calls if call.kind == "poisson_sample"]

    def _answer(self, call: RandomnessRequest) -> NDArray[Any]:
        place = len(self.answers)
        whole = call.kind not in ("gaussian", "laplace")
        if place < len(self._noise) and len(self._noise[place]) == call.size:
            answer = self._noise[place]
        else:
            scale = call.scale if 0 < call.scale < np.inf else 0.0
            answer = np.random.default_rng([7, place]).standard_normal(call.size) * scale
        answer = np.rint(answer).astype(np.int64) if whole else np.asarray(answer, np.float64)
        self.calls.append(call)
        self.answers.append(answer)
        return answer.copy()
