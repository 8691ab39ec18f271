r"""CKKS with NVFLARE's parameters (TenSEAL): approximate sums, as a baseline; the *trusted opener*.

What the field ships, behind the same interface: ring 8192, primes of 60, 40 and 40 bits, scale
2^40. The vector is flattened and sealed under a public key (NVFLARE gives the *secret* key to every
client).

**Trust.** As for ``bfv``; and more. Decryption is approximate, and its error is the key in
disguise: who sees two sums as they are decrypted computes the secret key in half a second (Li and
Micciancio 2021; ``tests/aggregation/sealing/ckks_key_recovery.py``). This opener therefore gives
out whole multiples of a public *grid* alone. That stops the known attack; there is no proof that it
stops every one.

*Error.* Integers are divided by :math:`2^{bits-1}` and so lie in [-1, 1]. A fresh ciphertext's
noise has standard deviation at most :math:`3.2\sqrt{1 + 4N/3}` in each coefficient, :math:`\sqrt N`
times that in each slot; over n contributions and at 13 standard deviations the error is below

.. math:: E = 13 \cdot 3.2 \sqrt{1 + 4N/3}\,\sqrt{N n}\; 2^{bits - 1 - 40}

integer steps (``error``). The grid is the smallest power of two of at least 2E, so that what is
opened lies within one grid step of the exact sum. Where the grid is above 1 the opened value is not
a function of the exact noised sum, and no exact guarantee covers it. A sum beyond the bound is not
exact either.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import tenseal as ts
from numpy.typing import NDArray

from aggregation.sealing.contribution import Contribution
from aggregation.sealing.parameters import Parameters
from aggregation.sealing.policy import Policy
from aggregation.sealing.roles import Adder, KeyScheme, Opener, Sealer
from aggregation.sealing.tenseal_io import (
    VERSION,
    pad,
    read_ciphertext,
    read_context,
    read_foreign_context,
    write_context,
)
from privacy.errors import CorruptMessageError
from privacy.ledger.log import canonical

__all__ = ["CHAIN", "DEGREE", "SCALE", "Ckks", "error_bound"]

DEGREE = 8192
CHAIN = (60, 40, 40)
SCALE = 2.0**40

_LABEL = f"ckks/tenseal-{VERSION}"
_STORED = 240_000
_MARGIN = 13.0
_NOISE_STD = 3.2


def error_bound(bits: int, contributors: int) -> float:
    """Return the largest error of a coordinate before rounding, in integer steps."""
    slot_std = _NOISE_STD * math.sqrt((1 + 4 * DEGREE / 3) * DEGREE * contributors)
    return _MARGIN * slot_std * 2.0 ** (bits - 1) / SCALE


class Ckks(KeyScheme):
    """One key pair, one run.

    Guarantees (each is a test in ``tests/aggregation/sealing/test_ckks.py``):
      - an opened coordinate is a multiple of ``grid``, at most one grid step from the exact sum;
      - the known key recovery fails on what is opened, and succeeds on what is decrypted.
    """

    label = _LABEL
    trust = (
        "The key holder is trusted not to open a single update and to give out rounded sums only: "
        "two sums as decrypted give the key away."
    )

    def __init__(self, parameters: Parameters, context: Any) -> None:
        self.parameters = parameters
        self._context = context
        self._public = write_context(context, public_key=True)

    @classmethod
    def make(cls, *, dim: int, contributors: int, bound: int) -> "Ckks":
        """Make the key pair, from the operating system's randomness."""
        context = _new_context()
        settings = {
            "library": _LABEL,
            "degree": DEGREE,
            "chain": list(CHAIN),
            "scale": str(int(SCALE)),
            "public_key": canonical.digest(write_context(context, public_key=True)),
        }
        return cls(Parameters("ckks", dim, contributors, bound, settings), context)

    @property
    def grid(self) -> int:
        """Opened values are multiples of it, in integer steps."""
        return _grid(self.parameters)

    def sealer(self, hospital: str) -> Sealer:
        """Return the role of one hospital: the public key."""
        return _Sealer(self.parameters, hospital, read_context(self._public), self._public)

    def adder(self) -> Adder:
        """Return the aggregator's role: no key at all."""
        return self.load_adder(self.parameters, _bare())

    def opener(self, policy: Policy) -> Opener:
        """Return the role of the key holder."""
        adder = _Adder(self.parameters, self._context)
        return _Opener(self.parameters, policy, adder, self._context)

    @classmethod
    def load_sealer(cls, parameters: Parameters, material: bytes, hospital: str) -> Sealer:
        """Return a hospital's role from the public key that the parameters name."""
        if canonical.digest(material) != parameters.settings.get("public_key"):
            raise CorruptMessageError(
                "The public key is not the one that the parameters name; somebody put another in "
                "its place. Take both from the plan again."
            )
        return _Sealer(parameters, hospital, read_foreign_context(material, _bare()), material)

    @classmethod
    def load_adder(cls, parameters: Parameters, material: bytes) -> Adder:
        """Return the aggregator's role; what it was handed is what its parameters give."""
        if material != _bare():
            raise CorruptMessageError("This adder's material is not that of its parameters.")
        return _Adder(parameters, read_context(_bare()))

    @classmethod
    def load_opener(cls, parameters: Parameters, material: bytes, policy: Policy) -> Opener:
        """Return the key holder's role from its material."""
        context = read_foreign_context(material, _bare())
        if not context.is_private():
            raise CorruptMessageError("This opener's material holds no secret key.")
        return _Opener(parameters, policy, _Adder(parameters, context), context)


class _Sealer(Sealer):
    label = _LABEL

    def __init__(self, parameters: Parameters, hospital: str, context: Any, public: bytes) -> None:
        super().__init__(parameters, hospital)
        _check(parameters)
        self._context = context
        self._public = public

    def _seal(self, residues: NDArray[np.uint64]) -> Sequence[bytes]:
        slots = np.zeros(_ciphertexts(self.parameters) * DEGREE // 2)
        slots[: self.parameters.dim] = self.parameters.centre(residues) / _unit(self.parameters)
        return [
            pad(ts.ckks_vector(self._context, part.tolist()).serialize(), _STORED)
            for part in slots.reshape(-1, DEGREE // 2)
        ]

    def _material(self) -> bytes:
        return self._public


class _Adder(Adder):
    label = _LABEL

    def __init__(self, parameters: Parameters, context: Any) -> None:
        super().__init__(parameters)
        _check(parameters)
        self._context = context
        self._sums: list[Any] = []

    def parse(self, content: bytes) -> list[Any]:
        """Return the ciphertexts of a content, each of the form that these parameters give.

        Raises:
          CorruptMessageError: Another number of them, or one is not a fresh ciphertext's form.
        """
        count = _ciphertexts(self.parameters)
        if len(content) != _STORED * count:
            raise CorruptMessageError(
                f"Expected {count} ciphertexts of {_STORED} bytes, got {len(content)} bytes."
            )
        parts = [content[i * _STORED : (i + 1) * _STORED] for i in range(count)]
        return [read_ciphertext(self._context, p, slots=DEGREE // 2, scale=SCALE) for p in parts]

    def _add(self, content: bytes) -> None:
        vectors = self.parse(content)
        if not self._sums:
            self._sums = vectors
        else:
            for held, new in zip(self._sums, vectors, strict=True):
                held.add_(new)

    def _total(self) -> bytes:
        return b"".join(pad(v.serialize(), _STORED) for v in self._sums)

    def _clear(self) -> None:
        self._sums = []

    def _largest(self) -> int:
        return _STORED * _ciphertexts(self.parameters)

    def _material(self) -> bytes:
        return write_context(self._context)


class _Opener(Opener):
    def __init__(self, parameters: Parameters, policy: Policy, adder: _Adder, context: Any) -> None:
        super().__init__(parameters, policy, adder)
        self._parse = adder.parse
        self._context = context

    def _open(self, total: bytes, contributions: Sequence[Contribution]) -> NDArray[np.uint64]:
        vectors = self._parse(self._content(total))
        approximate = np.concatenate([np.asarray(v.decrypt()) for v in vectors])
        steps = approximate[: self.parameters.dim] * _unit(self.parameters)
        grid = _grid(self.parameters)
        # A made-up ciphertext decrypts to anything, so that the modulus comes before the integers.
        rounded = np.fmod(np.rint(steps / grid) * grid, 2.0**self.parameters.bits)
        return self.parameters.residues(rounded.astype(np.int64))

    def _material(self) -> bytes:
        return write_context(self._context, public_key=True, secret_key=True)


def _new_context() -> Any:
    context = ts.context(ts.SCHEME_TYPE.CKKS, DEGREE, -1, list(CHAIN), n_threads=1)
    context.global_scale = SCALE
    return context


@lru_cache(maxsize=1)
def _bare() -> bytes:
    """The context without keys, the same for everybody."""
    return write_context(_new_context())


def _check(parameters: Parameters) -> None:
    if parameters.settings.get("library") != _LABEL:
        raise CorruptMessageError(
            f"The parameters are for {parameters.settings.get('library')!r}; this is {_LABEL!r}, "
            "and the two do not read each other. Install the release that the plan names."
        )


def _ciphertexts(parameters: Parameters) -> int:
    return -(-parameters.dim // (DEGREE // 2))


def _unit(parameters: Parameters) -> float:
    """Integer steps that 1.0 stands for."""
    return 2.0 ** (parameters.bits - 1)


def _grid(parameters: Parameters) -> int:
    error = error_bound(parameters.bits, parameters.contributors)
    return 1 << max(0, math.ceil(math.log2(2 * error)))
