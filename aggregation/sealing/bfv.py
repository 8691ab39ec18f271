r"""BFV under one public key (TenSEAL): exact sums; the *trusted opener*.

Hospitals seal with a public key, the aggregator adds ciphertexts, one key holder opens sums.
**Trust:** the opener sees every ciphertext and could open any of them; it is trusted not to. The
aggregator, the network and any number of hospitals learn nothing from ciphertexts as long as it
keeps the key apart.

*Parameters.* Sets of the HE standard at 128 bits, from the run's public quantities; of those in
which the sum fits with the margin below, the one with the fewest bytes. The chain is one prime:
sums need none set aside for multiplying (``tenseal_io.new_bfv_context``).

*Failure margin.* A fresh ciphertext's noise has standard deviation
:math:`\sigma\sqrt{1 + 4N/3}` (errors :math:`e_1 + e_2 s + e u` with ternary :math:`s, u` and
:math:`\sigma = \sqrt{21/2}`, SEAL's centred binomial of 21 coins), a sum of n has
:math:`\sqrt n` times that and n roundings of at most 1/2, and it opens exactly below
:math:`q / 2t`. We demand

.. math:: \frac{q / 2t - n/2}{\sqrt{21/2}\,\sqrt{1 + 4N/3}\,\sqrt n} \ge 13

so that one coefficient fails with probability of about 2e-38. Weights are 1 (``Adder.add``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import tenseal as ts
from numpy.typing import NDArray

from aggregation.sealing.contribution import Contribution
from aggregation.sealing.lanes import Lanes
from aggregation.sealing.parameters import Parameters
from aggregation.sealing.policy import Policy
from aggregation.sealing.primes import ring_prime_above
from aggregation.sealing.roles import Adder, KeyScheme, Opener, Sealer
from aggregation.sealing.tenseal_io import (
    VERSION,
    new_bfv_context,
    pad,
    read_ciphertext,
    read_context,
    read_foreign_context,
    write_context,
)
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger.log import canonical

__all__ = ["LEAST_MARGIN", "SETS", "Bfv", "BfvLayout", "BfvParameters", "failure_margin"]

LEAST_MARGIN = 13.0
"""Standard deviations between a sum's noise and a wrong opening."""

_LABEL = f"bfv/tenseal-{VERSION}"
_NOISE_STD = math.sqrt(21 / 2)  # SEAL's centred binomial error; the HE standard's is 3.2


@dataclass(frozen=True)
class BfvParameters:
    """One parameter set.

    Attributes:
      degree: N; also the number of slots.
      chain: Bits of the coefficient primes.
      stored: Bytes that a serialised ciphertext is padded to. SEAL compresses, so that sizes vary
        by some dozens of bytes with the randomness; padded, they say nothing.
    """

    degree: int
    chain: tuple[int, ...]
    stored: int

    @property
    def log_q(self) -> int:
        """Bits of the modulus that ciphertexts live in."""
        return sum(self.chain)


SETS = (
    BfvParameters(2048, (54,), 31_104),
    BfvParameters(4096, (60,), 65_696),
)

_MOST_PLAIN_BITS = 59  # SEAL's plaintext moduli have at most 60


def failure_margin(ring: BfvParameters, plain_modulus: int, contributors: int) -> float:
    """Standard deviations between a sum's noise and a wrong opening (module docstring)."""
    std = _NOISE_STD * math.sqrt(1 + 4 * ring.degree / 3) * math.sqrt(contributors)
    return (math.exp2(ring.log_q - math.log2(plain_modulus) - 1) - contributors / 2) / std


@dataclass(frozen=True)
class BfvLayout:
    """How one run's vectors lie in ciphertexts.

    Attributes:
      ring: The parameter set.
      lanes: How integers lie in slots.
      plain_modulus: The prime that slots are added modulo; no sum of slots reaches it.
    """

    ring: BfvParameters
    lanes: Lanes
    plain_modulus: int

    @classmethod
    def fitting(
        cls, ring: BfvParameters, *, dim: int, bits: int, contributors: int
    ) -> "BfvLayout | None":
        """Return as many lanes as the margin allows, or None if not even one fits."""
        for room in range(_MOST_PLAIN_BITS, 0, -1):
            if failure_margin(ring, 1 << room, contributors) < LEAST_MARGIN * 1.01:
                continue  # the 1 % makes up for the prime's being a little above the power of two
            lanes = Lanes.fitting(dim=dim, bits=bits, contributors=contributors, room=room)
            if lanes is None:
                return None
            floor = 1 << (lanes.width * lanes.per_slot)
            return cls(ring, lanes, ring_prime_above(ring.degree, floor))
        return None

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts of one vector."""
        return -(-self.lanes.slots // self.ring.degree)

    @property
    def size(self) -> int:
        """Bytes of one sealed vector, without its frame."""
        return self.ciphertexts * self.ring.stored


class Bfv(KeyScheme):
    """One key pair, one run.

    Guarantees (each is a test in ``tests/aggregation/sealing/test_bfv.py``):
      - opens to the same integers as ``plain``, bit for bit;
      - the margin is at least ``LEAST_MARGIN``, or construction is refused;
      - all updates of a run have one size, whatever they hold;
      - no sealer and no adder holds the secret key.
    """

    label = _LABEL
    trust = (
        "The key holder is trusted not to open a single update; nobody else learns more than the "
        "opened sums."
    )

    def __init__(self, parameters: Parameters, context: Any) -> None:
        self.parameters = parameters
        self._context = context
        self._public = write_context(context, public_key=True)

    @classmethod
    def make(
        cls, *, dim: int, contributors: int, bound: int, ring: BfvParameters | None = None
    ) -> "Bfv":
        """Choose parameters and make the key pair, from the operating system's randomness.

        Args:
          dim: Coordinates of a vector.
          contributors: Most contributions in one sum.
          bound: Largest absolute coordinate of an opened sum.
          ring: One of ``SETS``; None: the one with the fewest bytes.

        Raises:
          InvalidInputError: No set holds the sum with the margin.
        """
        bits = Parameters("bfv", dim, contributors, bound).bits
        layouts = [
            layout
            for choice in (SETS if ring is None else (ring,))
            if (layout := BfvLayout.fitting(choice, dim=dim, bits=bits, contributors=contributors))
        ]
        if not layouts:
            raise InvalidInputError(
                f"No bfv parameters hold {contributors} contributions of {bits} bits with a margin "
                "of "
                f"{LEAST_MARGIN} standard deviations. Lower the bound (a smaller radius), or use "
                "the scheme shares."
            )
        layout = min(layouts, key=lambda layout: layout.size)
        context = new_bfv_context(layout.ring.degree, layout.ring.chain, layout.plain_modulus)
        settings = {
            "library": _LABEL,
            "degree": layout.ring.degree,
            "chain": list(layout.ring.chain),
            "plain_modulus": str(layout.plain_modulus),
            "lanes": layout.lanes.per_slot,
            "limbs": layout.lanes.limbs,
            "stored": layout.ring.stored,
            "public_key": canonical.digest(write_context(context, public_key=True)),
        }
        return cls(Parameters("bfv", dim, contributors, bound, settings), context)

    @property
    def margin(self) -> float:
        """Standard deviations between a full sum's noise and a wrong opening."""
        layout = _layout(self.parameters)
        return failure_margin(layout.ring, layout.plain_modulus, self.parameters.contributors)

    def sealer(self, hospital: str) -> Sealer:
        """Return the role of one hospital: the public key."""
        return _Sealer(self.parameters, hospital, read_context(self._public), self._public)

    def adder(self) -> Adder:
        """Return the aggregator's role: no key at all."""
        return self.load_adder(self.parameters, _bare(_layout(self.parameters)))

    def opener(self, policy: Policy) -> Opener:
        """Return the role of the key holder."""
        return _Opener(
            self.parameters, policy, _Adder(self.parameters, self._context), self._context
        )

    @classmethod
    def load_sealer(cls, parameters: Parameters, material: bytes, hospital: str) -> Sealer:
        """Return a hospital's role from the public key that the parameters name."""
        if canonical.digest(material) != parameters.settings.get("public_key"):
            raise CorruptMessageError(
                "The public key is not the one that the parameters name; somebody put another in "
                "its "
                "place. Take both from the plan again."
            )
        context = read_foreign_context(material, _bare(_layout(parameters)))
        return _Sealer(parameters, hospital, context, material)

    @classmethod
    def load_adder(cls, parameters: Parameters, material: bytes) -> Adder:
        """Return the aggregator's role; what it was handed is what its parameters give."""
        bare = _bare(_layout(parameters))
        if material != bare:
            raise CorruptMessageError("This adder's material is not that of its parameters.")
        return _Adder(parameters, read_context(bare))

    @classmethod
    def load_opener(cls, parameters: Parameters, material: bytes, policy: Policy) -> Opener:
        """Return the key holder's role from its material."""
        context = read_foreign_context(material, _bare(_layout(parameters)))
        if not context.is_private():
            raise CorruptMessageError("This opener's material holds no secret key.")
        return _Opener(parameters, policy, _Adder(parameters, context), context)


class _Sealer(Sealer):
    label = _LABEL

    def __init__(self, parameters: Parameters, hospital: str, context: Any, public: bytes) -> None:
        super().__init__(parameters, hospital)
        self._context = context
        self._public = public
        self._layout = _layout(parameters)

    def _seal(self, residues: NDArray[np.uint64]) -> Sequence[bytes]:
        layout = self._layout
        slots = np.zeros(layout.ciphertexts * layout.ring.degree, dtype=np.int64)
        slots[: layout.lanes.slots] = layout.lanes.pack(residues).view(np.int64)
        return [
            pad(_encrypt(self._context, part.tolist()), layout.ring.stored)
            for part in slots.reshape(-1, layout.ring.degree)
        ]

    def _material(self) -> bytes:
        return self._public


class _Adder(Adder):
    label = _LABEL

    def __init__(self, parameters: Parameters, context: Any) -> None:
        super().__init__(parameters)
        self._context = context
        self._layout = _layout(parameters)
        self._sums: list[Any] = []

    def parse(self, content: bytes) -> list[Any]:
        """Return the ciphertexts of a content, each of the form that these parameters give.

        Raises:
          CorruptMessageError: Another number of them, or one is not a fresh ciphertext's form.
        """
        stored, count = self._layout.ring.stored, self._layout.ciphertexts
        if len(content) != stored * count:
            raise CorruptMessageError(
                f"Expected {count} ciphertexts of {stored} bytes, got {len(content)} bytes."
            )
        parts = [content[i * stored : (i + 1) * stored] for i in range(count)]
        return [
            read_ciphertext(self._context, part, slots=self._layout.ring.degree, scale=None)
            for part in parts
        ]

    def _add(self, content: bytes) -> None:
        vectors = self.parse(content)
        if not self._sums:
            self._sums = vectors
        else:
            for held, new in zip(self._sums, vectors, strict=True):
                held.add_(new)

    def _total(self) -> bytes:
        return b"".join(pad(v.serialize(), self._layout.ring.stored) for v in self._sums)

    def _clear(self) -> None:
        self._sums = []

    def _largest(self) -> int:
        return self._layout.size

    def _material(self) -> bytes:
        return write_context(self._context)


class _Opener(Opener):
    def __init__(self, parameters: Parameters, policy: Policy, adder: _Adder, context: Any) -> None:
        super().__init__(parameters, policy, adder)
        self._parse = adder.parse
        self._layout = _layout(parameters)
        self._context = context

    def _open(self, total: bytes, contributions: Sequence[Contribution]) -> NDArray[np.uint64]:
        decrypted = [vector.decrypt() for vector in self._parse(self._content(total))]
        slots = np.array(decrypted, dtype=np.int64).ravel()
        sums = np.mod(slots, self._layout.plain_modulus)[: self._layout.lanes.slots]
        return self._layout.lanes.unpack(sums.astype(np.uint64))

    def _material(self) -> bytes:
        return write_context(self._context, public_key=True, secret_key=True)


@lru_cache(maxsize=64)
def _bare(layout: BfvLayout) -> bytes:
    """The context without keys, which follows from the layout alone."""
    ring = layout.ring
    return write_context(new_bfv_context(ring.degree, ring.chain, layout.plain_modulus))


def _encrypt(context: Any, slots: list[int]) -> bytes:
    """Encrypt and serialise, without the copies that ``ts.bfv_vector`` makes of its input."""
    ciphertext: bytes = ts._ts_cpp.BFVVector(context.data, slots).serialize()
    return ciphertext


def _layout(parameters: Parameters) -> BfvLayout:
    """Read the layout back from the parameters, and check that the margin holds for them."""
    settings = parameters.settings
    if settings.get("library") != _LABEL:
        raise CorruptMessageError(
            f"The parameters are for {settings.get('library')!r}; this is {_LABEL!r}, and the two "
            "do "
            "not read each other. Install the release that the plan names."
        )
    for ring in SETS:
        if [ring.degree, list(ring.chain)] == [settings.get("degree"), settings.get("chain")]:
            layout = BfvLayout.fitting(
                ring,
                dim=parameters.dim,
                bits=parameters.bits,
                contributors=parameters.contributors,
            )
            if layout is not None and settings.get("plain_modulus") == str(layout.plain_modulus):
                return layout
    raise CorruptMessageError(
        "These bfv parameters follow from none of the sets that this program allows (128 bits, "
        "margin "
        f"at least {LEAST_MARGIN}). Don't seal under them."
    )
