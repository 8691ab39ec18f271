r"""Several small integers in one slot of a ciphertext.

A slot adds integers below some :math:`t`. A residue of ``bits`` bits needs ``bits + guard`` bits of
it, where the guard of :math:`\lceil\log_2 n\rceil` bits takes the carries of ``n`` summands: lanes
then never run into one another, whatever was sealed, and each is reduced on its own when it is
opened.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Lanes"]


@dataclass(frozen=True)
class Lanes:
    """How a vector lies in slots: coordinate ``l * slots + s`` is lane ``l`` of slot ``s``.

    Attributes:
      dim: Coordinates.
      width: Bits of one lane, guard included.
      per_slot: Lanes in a slot.
    """

    dim: int
    width: int
    per_slot: int

    @classmethod
    def fitting(cls, *, dim: int, bits: int, contributors: int, room: int) -> "Lanes | None":
        """Return as many lanes as ``room`` bits of a slot hold, or None if not even one fits."""
        width = bits + (contributors - 1).bit_length()
        per_slot = min(room // width, dim)
        return cls(dim, width, per_slot) if per_slot else None

    @property
    def slots(self) -> int:
        """Slots that the vector takes."""
        return -(-self.dim // self.per_slot)

    def pack(self, residues: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Put ``uint64[dim]`` into ``uint64[slots]``."""
        padded = np.zeros(self.per_slot * self.slots, dtype=np.uint64)
        padded[: self.dim] = residues
        rows = padded.reshape(self.per_slot, self.slots)
        packed: NDArray[np.uint64] = rows[0].copy()
        for lane in range(1, self.per_slot):
            packed |= rows[lane] << np.uint64(lane * self.width)
        return packed

    def unpack(self, packed: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Read ``uint64[dim]`` sums of residues out of ``uint64[slots]`` sums of slots."""
        mask = np.uint64((1 << self.width) - 1)
        rows = [(packed >> np.uint64(lane * self.width)) & mask for lane in range(self.per_slot)]
        return np.concatenate(rows)[: self.dim]
