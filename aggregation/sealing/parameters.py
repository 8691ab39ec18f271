r"""What all parties of a sealed sum agree on: public, and named by its digest in every message.

A sum is opened modulo :math:`2^w`, centred, with the smallest :math:`w` that holds the bound.
Whether it wraps is post-processing of noised integers: nobody is refused for it, and every scheme
wraps in the same way, so that all of them open to the same integers whatever was sealed.

>>> parameters = Parameters("plain", dim=2, contributors=4, bound=100)
>>> parameters.bits, parameters.centre(parameters.residues(np.array([100, -300])))
(8, array([100, -44]))
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy._validate import natural, non_negative, unit_open
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger.log import canonical

__all__ = ["Parameters", "largest_sum", "wrap_probability"]

MOST_BITS = 62
"""Widest modulus, in bits: sums of residues are taken in 64-bit words."""


@dataclass(frozen=True)
class Parameters:
    """The public parameters of one run's sealed sums.

    Attributes:
      scheme: Name of the scheme.
      dim: Coordinates of a vector.
      contributors: Most contributions that one opened sum may hold; the failure margin is for it.
      bound: Largest absolute coordinate of an opened sum.
      settings: The scheme's own settings, as plain JSON: moduli, library version, digest of the
        public key.

    Raises:
      InvalidInputError: A count below 1, or a bound that no 62-bit modulus holds.
    """

    scheme: str
    dim: int
    contributors: int
    bound: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        natural(dim=self.dim, least=1)
        natural(contributors=self.contributors, least=1)
        if not isinstance(self.bound, int) or self.bound < 1 or self.bits > MOST_BITS:
            raise InvalidInputError(
                f"Expected bound={self.bound} a whole number from 1 to 2^{MOST_BITS - 1} - 1: the "
                "largest absolute coordinate of an opened sum, in integer steps. Lower the radius "
                "of a patient's integers if the sum needs more."
            )

    @property
    def bits(self) -> int:
        """The modulus is 2 to this power; opened values lie in [-2^(bits-1), 2^(bits-1))."""
        return self.bound.bit_length() + 1

    @property
    def word(self) -> int:
        """Bytes that one residue takes when it travels in clear or masked."""
        return (self.bits + 7) // 8

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the parameters, in hex: what messages and signatures name."""
        return canonical.digest(canonical.encode(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """Return a plain JSON value; the bound as text, because it may pass 2^53."""
        return {
            "version": 1,
            "scheme": self.scheme,
            "dim": self.dim,
            "contributors": self.contributors,
            "bound": str(self.bound),
            "settings": dict(self.settings),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Parameters":
        """Read what ``to_json`` wrote.

        Raises:
          CorruptMessageError: Not parameters, or of another version.
        """
        try:
            if value["version"] != 1:
                raise ValueError(f"version {value['version']}, not 1")
            return cls(
                scheme=value["scheme"],
                dim=value["dim"],
                contributors=value["contributors"],
                bound=int(value["bound"]),
                settings=dict(value["settings"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptMessageError(f"These are not sealing parameters: {error}.") from error

    def check(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Return the vector as int64 if it has this run's length.

        Raises:
          InvalidInputError: Another shape, or not whole numbers. Never for the size of a value.
        """
        values = np.asarray(values)
        if values.shape != (self.dim,) or values.dtype != np.int64:
            raise InvalidInputError(
                f"Expected int64 values of shape ({self.dim},), got {values.dtype} of shape "
                f"{values.shape}. Turn the update into integers first and flatten it."
            )
        return values

    def residues(self, values: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Map integers to [0, 2^bits)."""
        return values.view(np.uint64) & np.uint64((1 << self.bits) - 1)

    def centre(self, sums: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Map sums of residues, modulo 2^bits, to [-2^(bits-1), 2^(bits-1))."""
        spare_bits = np.uint64(64 - self.bits)
        return np.right_shift((sums << spare_bits).view(np.int64), spare_bits.astype(np.int64))

    def to_words(self, residues: NDArray[np.unsignedinteger[Any]]) -> bytes:
        """Write residues, of 64 bits or, where they fit, of 32, in ``word`` bytes each, by planes.

        The low 4 bytes of all residues come first, then the next 2, then the next 1, as far as
        the word has them: strided copies of whole planes are many times faster than of odd words.
        """
        wide = residues.itemsize
        raw = np.ascontiguousarray(residues, dtype=f"<u{wide}")
        return b"".join(
            raw.view(f"<u{size}")[start // size :: wide // size].tobytes()
            for start, size in _planes(self.word)
        )

    def from_words(self, words: bytes) -> NDArray[np.uint64]:
        """Read what ``to_words`` wrote.

        Raises:
          CorruptMessageError: Too short or too long for ``dim`` residues.
        """
        sums = np.zeros(self.dim, dtype=np.uint64)
        self.add_words(sums, words)
        return sums

    def add_words(
        self, sums: NDArray[np.unsignedinteger[Any]], words: bytes, behind: int = 0
    ) -> None:
        """Add what ``to_words`` wrote to sums ``[dim]``, in place, modulo the type's power of two.

        Args:
          sums: Of 64 bits or, where residues fit, of 32.
          words: Residues, behind other bytes.
          behind: How many other bytes.

        Raises:
          CorruptMessageError: Too short or too long for ``dim`` residues.
        """
        if len(words) - behind != self.dim * self.word:
            raise CorruptMessageError(
                f"Expected {self.dim} words of {self.word} bytes, got {len(words) - behind} bytes."
            )
        for start, size in _planes(self.word):
            place = behind + start * self.dim
            plane = np.frombuffer(words, f"<u{size}", count=self.dim, offset=place)
            if start:
                plane = plane.astype(sums.dtype) << sums.dtype.type(8 * start)
            sums += plane


def largest_sum(
    *,
    radius: int,
    units: Sequence[int],
    noise_variance: float,
    dim: int,
    rounds: int,
    wrap_probability: float = 1e-6,
) -> int:
    r"""Return a bound that an opened sum passes in a run with at most ``wrap_probability``.

    No coordinate of the clipped sum exceeds :math:`D \sum_h n_h`. The noise is a sum of independent
    discrete Gaussians, sub-Gaussian with the sum of their variance parameters (Canonne, Kamath and
    Steinke 2020, Lemma 19), so a coordinate passes :math:`x` with probability at most
    :math:`2 e^{-x^2 / 2 s^2}`; a union bound goes over coordinates and rounds.

    Args:
      radius: Largest L2 norm :math:`D` of one unit's integers.
      units: Patients (or 1, where the hospital is the unit) that each contribution holds at most.
      noise_variance: Sum of the variance parameters :math:`s^2` of all contributions' noise.
      dim: Coordinates.
      rounds: Openings of the run.
      wrap_probability: Chance that any coordinate of any round wraps.
    """
    natural(radius=radius, least=1)
    natural(dim=dim, least=1)
    natural(rounds=rounds, least=1)
    non_negative(noise_variance=noise_variance)
    unit_open(wrap_probability=wrap_probability)
    tail = math.sqrt(2 * noise_variance * math.log(2 * dim * rounds / wrap_probability))
    return max(1, radius * sum(units) + math.ceil(tail))


def wrap_probability(
    parameters: Parameters,
    *,
    radius: int,
    units: Sequence[int],
    noise_variance: float,
    rounds: int,
    dim: int | None = None,
) -> float:
    """Return an upper bound on the chance that a run's sums wrap anywhere (``largest_sum``).

    ``dim`` counts the coordinates with such noise; None: all of them.
    """
    room = 2 ** (parameters.bits - 1) - 1 - radius * sum(units)
    if room < 0:
        return 1.0
    if noise_variance == 0:
        return 0.0
    exponent = -(room**2) / (2 * noise_variance)
    return min(1.0, 2 * (dim or parameters.dim) * rounds * math.exp(exponent))


def _planes(word: int) -> list[tuple[int, int]]:
    """Split a word of 1 to 8 bytes into aligned planes (first byte, bytes), largest first."""
    planes, start = [], 0
    for size in (8, 4, 2, 1):
        if word - start >= size:
            planes.append((start, size))
            start += size
    return planes
