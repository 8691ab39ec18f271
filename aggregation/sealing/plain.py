"""Plain integers: nothing is sealed, and the server sees every update.

Whoever adds is trusted with all updates; so is whoever reads the line. It is the yardstick of the
other schemes: the integers that they open to, their bytes and their time.

An update is 16 fresh random bytes and the integers in words: two equal updates are two
contributions, as under every other scheme, and a copy of one is not.
"""

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aggregation.sealing.contribution import Contribution
from aggregation.sealing.parameters import Parameters
from aggregation.sealing.policy import Policy
from aggregation.sealing.roles import Adder, KeyScheme, Opener, Sealer

__all__ = ["Plain", "read_update"]

_LABEL = "plain/1"
_SALT = 16


def read_update(parameters: Parameters, sealed: bytes) -> NDArray[np.int64]:
    """Read one update, as everybody on the way can: ``int64[dim]``.

    Raises:
      CorruptMessageError: Not an update of this run, or of another scheme.
    """
    content = _Adder(parameters).open_frame(sealed)
    return parameters.centre(parameters.from_words(content[_SALT:]))


class _Sealer(Sealer):
    label = _LABEL

    def _seal(self, residues: NDArray[np.uint64]) -> Sequence[bytes]:
        return os.urandom(_SALT), self.parameters.to_words(residues)


class _Adder(Adder):
    label = _LABEL

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self._clear()

    def _add(self, content: bytes) -> None:
        self.parameters.add_words(self._sums, content, _SALT)

    def _total(self) -> bytes:
        return self.parameters.to_words(self._sums)

    def _clear(self) -> None:
        self._sums = np.zeros(self.parameters.dim, dtype=np.uint64)

    def _largest(self) -> int:
        return _SALT + self.parameters.dim * self.parameters.word


class _Opener(Opener):
    def _open(self, total: bytes, contributions: Sequence[Contribution]) -> NDArray[np.uint64]:
        return self.parameters.from_words(self._content(total))


class Plain(KeyScheme):
    """Integers in clear, added modulo a power of two."""

    label = _LABEL
    trust = "Everybody on the way sees each hospital's update: nothing is hidden from the server."

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters

    @classmethod
    def make(cls, *, dim: int, contributors: int, bound: int) -> "Plain":
        """Agree on the modulus."""
        return cls(Parameters("plain", dim, contributors, bound))

    def sealer(self, hospital: str) -> Sealer:
        """Return the role of one hospital."""
        return _Sealer(self.parameters, hospital)

    def adder(self) -> Adder:
        """Return the aggregator's role."""
        return _Adder(self.parameters)

    def opener(self, policy: Policy) -> Opener:
        """Return the role that centres the sum; there is no secret."""
        return _Opener(self.parameters, policy, self.adder())

    @classmethod
    def load_sealer(cls, parameters: Parameters, material: bytes, hospital: str) -> Sealer:
        """Return a hospital's role from its material."""
        return _Sealer(parameters, hospital)

    @classmethod
    def load_adder(cls, parameters: Parameters, material: bytes) -> Adder:
        """Return the aggregator's role from its material."""
        return _Adder(parameters)

    @classmethod
    def load_opener(cls, parameters: Parameters, material: bytes, policy: Policy) -> Opener:
        """Return the opener's role from its material."""
        return _Opener(parameters, policy, _Adder(parameters))
