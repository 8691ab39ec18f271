"""Ring, lanes and smudging of a threshold run, derived from public quantities alone.

Whoever reads parameters derives them again: a server can't talk anybody into a smaller margin, or
into answers that are smudged too little.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from aggregation.sealing.lanes import Lanes
from aggregation.sealing.parameters import Parameters
from aggregation.sealing.quorum import Quorum, read_quorum
from aggregation.sealing.rlwe import NOISE_STD, Ring
from privacy.errors import CorruptMessageError, InvalidInputError

__all__ = ["LABEL", "LEAST_MARGIN", "SECURITY_BITS", "ThresholdLayout", "noise_std", "read_layout"]

LEAST_MARGIN = 13.0
SECURITY_BITS = 40
"""Statistical distance of all openings under one key: 2 to minus this."""

LABEL = "threshold/1"
_LARGEST_LOG_Q = {4096: 109, 8192: 218}  # 128 bits, ternary secret (HE standard 2018, Table 1)
_MOST_LANE_BITS = 61
_LEAST_PRIME_BITS = 22  # below, some lengths have no primes that fit the ring


@dataclass(frozen=True)
class ThresholdLayout:
    """Ring, lanes and smudging of one run, from public quantities alone.

    Attributes:
      ring: The ring.
      lanes: How integers lie in coefficients.
      smudge_bits: k: an answer is hidden by noise uniform on [-2^k, 2^k).
    """

    ring: Ring
    lanes: Lanes
    smudge_bits: int

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts of one vector."""
        return -(-self.lanes.slots // self.ring.degree)

    @property
    def half(self) -> int:
        """Bytes of one of the two polynomials of all ciphertexts: 4 a residue."""
        return 4 * len(self.ring.primes) * self.ciphertexts * self.ring.degree

    @classmethod
    @lru_cache(maxsize=64)
    def smallest(
        cls, *, dim: int, bits: int, contributors: int, quorum: Quorum, openings: int
    ) -> "ThresholdLayout":
        """Return the layout with the fewest bytes.

        Raises:
          InvalidInputError: No ring of 128 bits holds such a sum.
        """
        layouts = []
        for degree, log_q in _LARGEST_LOG_Q.items():
            for room in range(1, _MOST_LANE_BITS + 1):
                lanes = Lanes.fitting(dim=dim, bits=bits, contributors=contributors, room=room)
                if lanes is None or lanes.per_slot * lanes.width != room:
                    continue
                ciphertexts = -(-lanes.slots // degree)
                std = noise_std(degree, contributors, len(quorum.pieces))
                coefficients = degree * ciphertexts * openings
                smudge = math.ceil(SECURITY_BITS + math.log2(coefficients * std)) - 1
                largest = len(quorum.names) * 2.0**smudge + LEAST_MARGIN * std
                ring = _ring(degree, room, math.ceil(math.log2(largest)) + 1)
                if ring.log_q <= log_q:
                    layouts.append(cls(ring, lanes, smudge))
        if not layouts:
            raise InvalidInputError(
                f"No threshold parameters of 128 bits hold {contributors} contributions of {bits} "
                f"bits over {openings} openings. Lower the bound (a smaller radius), or use shares."
            )
        return min(layouts, key=lambda layout: layout.half)


def noise_std(degree: int, contributors: int, pieces: int) -> float:
    """Standard deviation of a sum's noise before smudging (module docstring, 3)."""
    return math.sqrt(NOISE_STD**2 * contributors * (1 + 4 * pieces * degree / 3))


def read_layout(parameters: Parameters) -> tuple[ThresholdLayout, Quorum]:
    """Derive the layout again and demand that the parameters say the same."""
    quorum, _ = read_quorum(parameters, LABEL)
    settings = parameters.settings
    try:
        layout = ThresholdLayout.smallest(
            dim=parameters.dim,
            bits=parameters.bits,
            contributors=parameters.contributors,
            quorum=quorum,
            openings=settings["openings"],
        )
        same = (
            settings["degree"] == layout.ring.degree
            and settings["primes"] == list(layout.ring.primes)
            and settings["smudge_bits"] == layout.smudge_bits
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptMessageError(f"These are not threshold parameters: {error}") from error
    if not same:
        raise CorruptMessageError(
            "These threshold parameters do not follow from the run's public quantities; their "
            "margin "
            "or their smudging may be too small. Don't seal under them."
        )
    return layout, quorum


def _ring(degree: int, plain: int, hidden: int) -> Ring:
    """Return the ring of fewest primes with ``t >= 2 ** plain`` and ``Q >= 2 ** hidden``.

    Primes of b bits that fit the ring may lie well below 2^b; bits are added until both hold.
    """
    more = [1, 1]
    while True:
        ring = Ring(degree, _split(plain + more[0]), _split(hidden + more[1]))
        short = [ring.t < 1 << plain, ring.noise_modulus < 1 << hidden]
        if not any(short):
            return ring
        more = [bits + lacking for bits, lacking in zip(more, short, strict=True)]


def _split(total: int) -> tuple[int, ...]:
    """Split bits evenly over the fewest primes of at most 31 bits."""
    count = -(-total // 31)
    return tuple(max((total + i) // count, _LEAST_PRIME_BITS) for i in range(count))
