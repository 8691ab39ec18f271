r"""The joint key of ``threshold``: a sum of pieces, each drawn by a holder that has it.

Piece A is led by the first of its holders. Who leads draws a ternary :math:`s_A` and publishes
:math:`b_A = -a s_A + e_A`, first as a hash and then in clear; the others that hold it are given
:math:`s_A`, and see that it fits. The joint key is :math:`b = \sum_A b_A`.

**What this gives** (a test of ``tests/aggregation/sealing/test_joint_key.py`` each):

1. *The key is a sealed sum's key while one piece is unknown.* Given all else, that piece's
   :math:`b_A` is an RLWE sample, and so is b, whatever the other leaders published: they had to
   commit to it before they saw :math:`b_A`. A leader may draw its own pieces as it likes, which it
   knows anyway; it can choose nothing of the sum.
2. *Nobody chooses* :math:`a`: it is hashed out of what the key is for.
3. *A piece is one secret*: two ternary ones that fit the same :math:`b_A` would differ by a vector
   that is shorter than any that the lattice has. So all holders of a piece that fits have the same.
4. *Noise within the margin*: what fits has a secret and noise no larger than drawn ones have.
   Of a piece whose holders all lie nobody sees that it does not: sums come out wrong, and tell no
   more than right ones, for what honest holders answer is smudged as before.

Who does not publish stops the ceremony; the key is then begun anew, by others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.sealing.parameters import Parameters
from aggregation.sealing.quorum import HolderPublic, Quorum, quorum_settings
from aggregation.sealing.rlwe import LARGEST_NOISE, NOISE_STD, Residues, Ring, noise, ternary
from aggregation.sealing.streams import stream
from aggregation.sealing.threshold_layout import LABEL, ThresholdLayout
from privacy._validate import natural
from privacy.errors import RefusedError
from privacy.ledger.log import canonical

__all__ = ["JointKey", "common_polynomial"]

_TERNARY_VARIANCE = 2 / 3
_ROOM = 1.25  # of a squared length over the expected one: 11 standard deviations at N = 4096


def common_polynomial(ring: Ring, seed: str) -> Residues:
    """Hash out the common polynomial ``a``, in values: nobody chose it (bias below 2^-32)."""
    words = stream(bytes.fromhex(seed), len(ring.primes) * ring.degree, 64)
    moduli = np.array(ring.primes, dtype=np.uint64)[:, None]
    return np.asarray(words.reshape(len(ring.primes), ring.degree) % moduli, dtype=np.uint64)


@dataclass(frozen=True)
class JointKey:
    """What all pieces of one key have in common; it follows from public quantities.

    Attributes:
      dim: Coordinates of a sealed vector.
      contributors: Most contributions in a sum.
      bound: Largest absolute coordinate of an opened sum.
      quorum: Who holds which pieces.
      openings: Most sums that are opened under it.
      context: What it is for, in hex: the common polynomial is hashed out of this.

    Raises:
      InvalidInputError: No parameters hold such a sum.
    """

    dim: int
    contributors: int
    bound: int
    quorum: Quorum
    openings: int
    context: str

    def __post_init__(self) -> None:
        natural(openings=self.openings, least=1)
        _ = self.layout

    @property
    def layout(self) -> ThresholdLayout:
        """Ring, lanes and smudging."""
        return ThresholdLayout.smallest(
            dim=self.dim,
            bits=Parameters("threshold", self.dim, self.contributors, self.bound).bits,
            contributors=self.contributors,
            quorum=self.quorum,
            openings=self.openings,
        )

    @property
    def piece_size(self) -> int:
        """Bytes of the public half of a piece."""
        return 4 * len(self.layout.ring.primes) * self.layout.ring.degree

    @cached_property
    def _settings(self) -> dict[str, Any]:
        layout = self.layout
        return {
            "library": LABEL,
            "degree": layout.ring.degree,
            "primes": list(layout.ring.primes),
            "lanes": layout.lanes.per_slot,
            "limbs": layout.lanes.limbs,
            "smudge_bits": layout.smudge_bits,
            "openings": self.openings,
        }

    @cached_property
    def seed(self) -> str:
        """What the common polynomial is hashed out of."""
        names = list(self.quorum.names)
        return canonical.digest(canonical.encode([self._settings, names, self.context]))

    @cached_property
    def _common(self) -> Residues:
        return common_polynomial(self.layout.ring, self.seed)

    def leader(self, piece: int) -> str:
        """Return who draws a piece: the first of its holders."""
        return next(n for n in self.quorum.names if n not in self.quorum.pieces[piece])

    def led_by(self, name: str) -> tuple[int, ...]:
        """Return the numbers of the pieces that a holder draws, if any."""
        return tuple(i for i in self.quorum.held_by(name) if self.leader(i) == name)

    def given(self, leader: str, holder: str) -> tuple[int, ...]:
        """Return the numbers of the pieces that one holder is given by another, if any."""
        return tuple(i for i in self.led_by(leader) if i in self.quorum.held_by(holder))

    def draw(self, leader: str) -> tuple[NDArray[np.int64], bytes]:
        """Draw all pieces of a leader, from the operating system.

        Returns:
          The secrets, ``int64[pieces, N]``; and their public halves, in order.
        """
        ring, shape = self.layout.ring, (len(self.led_by(leader)), self.layout.ring.degree)
        if not shape[0]:
            return np.zeros(shape, dtype=np.int64), b""
        secrets = ternary(shape)
        masked = ring.multiply(self._common[:, None], ring.to_values(ring.residues(secrets)))
        published = ring.subtract(ring.to_values(ring.residues(noise(shape))), masked)
        return secrets, b"".join(ring.to_bytes(published[:, i]) for i in range(len(secrets)))

    def commitment(self, leader: str, published: bytes) -> str:
        """Return what a leader says of its pieces before it sees any other's: nobody's copy."""
        said = [self.seed, leader, canonical.digest(published)]
        return canonical.digest(canonical.encode({"domain": "inpatient key pieces v1", "of": said}))

    def joined(self, published: Mapping[str, bytes], commitments: Mapping[str, str]) -> bytes:
        """Add the pieces that leaders have published, each as it was committed to: the joint key.

        Args:
          published: Each leader's, in order.
          commitments: What each said beforehand.

        Raises:
          RefusedError: A piece is missing, or is not the one that was committed to.
          CorruptMessageError: It is no polynomial.
        """
        ring = self.layout.ring
        total = np.zeros((len(ring.primes), ring.degree), dtype=np.uint64)
        for name in self.quorum.names:
            if not (led := self.led_by(name)):
                continue
            content = published.get(name, b"")
            if commitments.get(name) != self.commitment(name, content):
                raise RefusedError(
                    f"What {name!r} published of the joint key is not what it committed to. "
                    "Whoever changed it could have made a key that opens alone; have it sent "
                    "again, or begin the key anew without them."
                )
            for place, _ in enumerate(led):
                total = ring.add(total, self._polynomial(content, place, len(led)))
        return ring.to_bytes(total)

    def fits(self, leader: str, piece: int, secret: NDArray[np.int64], published: bytes) -> bool:
        """Whether a secret is that of a piece as its leader published it, within drawn noise.

        Raises:
          CorruptMessageError: What was published is no polynomial.
        """
        ring, led = self.layout.ring, self.led_by(leader)
        public = self._polynomial(published, led.index(piece), len(led))
        masked = ring.multiply(self._common, ring.to_values(ring.residues(secret)))
        rest = ring.to_coefficients(ring.add(public, masked))
        prime = ring.primes[0]
        first = rest[0].astype(np.int64)
        error = np.where(first > prime // 2, first - prime, first)
        most = _ROOM * ring.degree
        return bool(
            np.abs(secret).max() <= 1
            and np.abs(error).max() <= LARGEST_NOISE
            and np.array_equal(ring.residues(error), rest)
            and (secret**2).sum() <= most * _TERNARY_VARIANCE
            and (error**2).sum() <= most * NOISE_STD**2
        )

    def parameters(self, public: Mapping[str, HolderPublic], key: bytes) -> Parameters:
        """Return the run's parameters, from the holders' public keys and the joint one."""
        settings = {
            **self._settings,
            **quorum_settings(self.quorum, public),
            "seed": self.seed,
            "public_key": canonical.digest(key),
        }
        return Parameters("threshold", self.dim, self.contributors, self.bound, settings)

    def _polynomial(self, content: bytes, place: int, count: int) -> Residues:
        size = self.piece_size
        piece = content[place * size : (place + 1) * size] if len(content) == count * size else b""
        return self.layout.ring.from_bytes(piece, (self.layout.ring.degree,))
