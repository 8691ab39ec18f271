r"""Several small integers in one slot of a ciphertext.

A slot adds integers below some :math:`t`. A residue is cut into one to three *limbs* of equal bits,
and a limb takes a *lane*: its bits and a guard of :math:`\lceil\log_2 n\rceil` bits for the carries
of ``n`` summands. Lanes then never run into one another, whatever was sealed, and each is read on
its own when it is opened. Limbs fill slots that would stand half empty: three half residues in two
thirds of the slots.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Lanes"]

_MOST_LIMBS = 3


@dataclass(frozen=True)
class Lanes:
    """How a vector lies in slots: the limbs of all coordinates in a row, lane by lane.

    Attributes:
      dim: Coordinates.
      limbs: Limbs of one residue, the lowest first.
      limb_bits: Bits of one limb.
      width: Bits of one lane: a limb and its guard.
      per_slot: Lanes in a slot.
    """

    dim: int
    limbs: int
    limb_bits: int
    width: int
    per_slot: int

    @classmethod
    def fitting(cls, *, dim: int, bits: int, contributors: int, room: int) -> "Lanes | None":
        """Return the fewest slots that ``room`` bits of a slot allow, or None if none do."""
        guard = (contributors - 1).bit_length()
        candidates = []
        for limbs in range(1, min(_MOST_LIMBS, bits) + 1):
            limb_bits = -(-bits // limbs)
            per_slot = min(room // (limb_bits + guard), dim * limbs)
            if per_slot:
                candidates.append(cls(dim, limbs, limb_bits, limb_bits + guard, per_slot))
        return min(candidates, key=lambda lanes: lanes.slots, default=None)

    @property
    def slots(self) -> int:
        """Slots that the vector takes."""
        return -(-self.dim * self.limbs // self.per_slot)

    def pack(self, residues: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Put ``uint64[dim]`` into ``uint64[slots]``."""
        mask = np.uint64((1 << self.limb_bits) - 1)
        padded = np.zeros(self.per_slot * self.slots, dtype=np.uint64)
        for limb in range(self.limbs):
            padded[limb * self.dim : (limb + 1) * self.dim] = (
                residues >> np.uint64(limb * self.limb_bits)
            ) & mask
        rows = padded.reshape(self.per_slot, self.slots)
        packed: NDArray[np.uint64] = rows[0].copy()
        for lane in range(1, self.per_slot):
            packed |= rows[lane] << np.uint64(lane * self.width)
        return packed

    def unpack(self, packed: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Read ``uint64[dim]`` sums of residues, modulo 2^64, out of ``uint64[slots]`` sums."""
        mask = np.uint64((1 << self.width) - 1)
        lanes = [(packed >> np.uint64(lane * self.width)) & mask for lane in range(self.per_slot)]
        rows = np.concatenate(lanes)[: self.dim * self.limbs].reshape(self.limbs, self.dim)
        sums: NDArray[np.uint64] = rows[0].copy()
        for limb in range(1, self.limbs):
            sums += rows[limb] << np.uint64(limb * self.limb_bits)
        return sums
