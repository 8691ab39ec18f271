r"""The secret key of CKKS from two decrypted sums (after Li and Micciancio 2021, ia.cr/2020/1533).

A decryption is :math:`v = c_0 + c_1 s`, decoded to numbers without taking the noise off. Who sees
the numbers and the ciphertext encodes them again to the last bit and has equations in the key. The
numbers are the real parts of the slots, which are the slots of :math:`(v(X) + v(X^{-1}))/2`; so
each sum gives, at each pair of conjugate roots, one equation in the key's two values there,

.. math:: c_1\, s + \bar c_1\, \bar s = \mathrm{Encode}(2 m') - c_0 - \bar c_0 \pmod p,

and two sums give both. p is one prime of the chain. The adversary is a curious server, or any
client, that sees sums as they are decrypted: all do in NVFLARE and FedML. Rounding the opened sums
to a public grid takes away the low bits that the equations need.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.errors import InvalidInputError

__all__ = ["DecryptedSum", "RecoveredKey", "from_tenseal", "recover_key"]

Whole = NDArray[np.object_]


@dataclass(frozen=True)
class DecryptedSum:
    """What an onlooker has of one ciphertext and of what it decrypted to.

    Attributes:
      c0: First polynomial modulo ``prime``, transformed, in SEAL's order; Python integers ``[N]``.
      c1: Second polynomial, likewise.
      prime: The first prime of the chain.
      scale: The encoding's scale.
      slots: The numbers that the key holder gave out, float64 ``[N/2]``.
    """

    c0: Whole = field(repr=False)
    c1: Whole = field(repr=False)
    prime: int
    scale: float
    slots: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True)
class RecoveredKey:
    """The secret polynomial, and what it opens.

    Attributes:
      secret: Coefficients in {-1, 0, 1}; int64 ``[N]``.
      prime: The prime that it was found under.
    """

    secret: NDArray[np.int64] = field(repr=False)
    prime: int

    def open(self, ciphertext: DecryptedSum) -> NDArray[np.float64]:
        """Decrypt another ciphertext, a single hospital's say; its ``slots`` are not looked at."""
        key = _transform(self.secret.astype(object) % self.prime, self.prime)
        phase = (ciphertext.c0 + ciphertext.c1 * key) % self.prime
        coefficients = _centred(_inverse(phase, self.prime), self.prime)
        return _decode(coefficients.astype(np.float64) / ciphertext.scale)


def recover_key(observed: Sequence[DecryptedSum]) -> RecoveredKey | None:
    """Solve for the secret key; None if no two of the observed sums give it.

    A solution is ternary in all its coefficients, which a wrong one is with probability below
    (4/p)^N: the attacker knows when it has won.
    """
    for one, other in combinations(observed, 2):
        prime = one.prime
        a, b, r = _equations(one)
        c, d, t = _equations(other)
        determinants = (a * d - b * c) % prime
        if any(value == 0 for value in determinants):
            continue  # probability N / p
        inverses = np.array([pow(value, -1, prime) for value in determinants], dtype=object)
        lower = (r * d - b * t) * inverses % prime
        upper = (a * t - r * c) * inverses % prime
        values = np.concatenate([lower, upper[::-1]])
        solution = _centred(_inverse(values, prime), prime)
        if all(-1 <= value <= 1 for value in solution):
            return RecoveredKey(solution.astype(np.int64), prime)
    return None


def _equations(seen: DecryptedSum) -> tuple[Whole, Whole, Whole]:
    """Return both coefficients and the right side at the first root of each conjugate pair.

    In bit-reversed order the conjugate of root i is root N - 1 - i.
    """
    half = len(seen.c0) // 2
    doubled = _transform(_encode(2 * seen.slots, seen.scale) % seen.prime, seen.prime)
    right = (doubled - seen.c0 - seen.c0[::-1]) % seen.prime
    return seen.c1[:half], seen.c1[::-1][:half], right[:half]


def from_tenseal(vector: Any, slots: NDArray[np.float64], *, chain: Sequence[int]) -> DecryptedSum:
    """Read one TenSEAL CKKS ciphertext; ``slots`` is what the key holder gave out for it.

    Args:
      vector: TenSEAL's, of one ciphertext.
      slots: Numbers ``[N/2]``.
      chain: Bits of the coefficient primes.

    Raises:
      InvalidInputError: Not one CKKS ciphertext of two polynomials.
    """
    import tenseal.sealapi as seal

    inner = vector.ciphertext()[0]
    if len(vector.ciphertext()) != 1 or inner.size() != 2 or not inner.is_ntt_form():
        raise InvalidInputError("Expected one CKKS ciphertext of two polynomials.")
    degree = inner.poly_modulus_degree()
    primes = seal.CoeffModulus.Create(degree, list(chain))
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(degree)
    parameters.set_coeff_modulus(primes)
    raw = seal.Ciphertext()
    with TemporaryDirectory() as folder:  # SEAL's bindings read and write files alone
        path = str(Path(folder) / "ciphertext")
        inner.save(path)
        raw.load(seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128), path)
    words = raw.dyn_array()
    second = degree * raw.coeff_modulus_size()
    return DecryptedSum(
        np.array([words.at(i) for i in range(degree)], dtype=object),
        np.array([words.at(second + i) for i in range(degree)], dtype=object),
        primes[0].value(),
        raw.scale,
        np.asarray(slots, dtype=np.float64),
    )


def _orbit(degree: int) -> NDArray[np.int64]:
    """Exponents 3^j of the slots' roots (SEAL's generator)."""
    powers = [1]
    for _ in range(degree // 2 - 1):
        powers.append(powers[-1] * 3 % (2 * degree))
    return np.array(powers)


def _decode(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluate at the roots exp(i pi 3^j / N): the numbers in the slots."""
    degree = len(coefficients)
    twisted = coefficients * np.exp(1j * np.pi * np.arange(degree) / degree)
    at_odd_powers = np.fft.ifft(twisted) * degree
    return np.asarray(at_odd_powers[(_orbit(degree) - 1) // 2].real)


def _encode(slots: NDArray[np.float64], scale: float) -> Whole:
    """Invert ``_decode`` and round at the scale: Python integers."""
    degree = 2 * len(slots)
    spectrum = np.zeros(degree, dtype=np.complex128)
    places = (_orbit(degree) - 1) // 2
    spectrum[places] = slots
    spectrum[degree - 1 - places] = np.conj(slots)
    twisted = np.fft.fft(spectrum) / degree
    real = (twisted * np.exp(-1j * np.pi * np.arange(degree) / degree)).real
    return np.array([round(float(value)) for value in real * scale], dtype=object)


@lru_cache(maxsize=4)
def _powers(degree: int, prime: int) -> tuple[Whole, Whole]:
    """Powers of the smallest 2N-th root of 1 (SEAL's choice) and of its inverse, bit-reversed."""
    exponent = (prime - 1) // (2 * degree)
    root = next(
        found
        for g in range(2, prime)
        if pow(found := pow(g, exponent, prime), degree, prime) == prime - 1
    )
    square, power, smallest = root * root % prime, root, root
    for _ in range(degree - 1):
        power = power * square % prime
        smallest = min(smallest, power)
    bits = degree.bit_length() - 1
    order = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(degree)]
    tables = []
    for base in (smallest, pow(smallest, -1, prime)):
        table = [1]
        for _ in range(degree - 1):
            table.append(table[-1] * base % prime)
        tables.append(np.array([table[i] for i in order], dtype=object))
    return tables[0], tables[1]


def _transform(coefficients: Whole, prime: int) -> Whole:
    """Number-theoretic transform in SEAL's order (Longa and Naehrig 2016, Algorithm 1)."""
    degree = len(coefficients)
    powers, _ = _powers(degree, prime)
    out, groups = coefficients.copy(), 1
    while groups < degree:
        half = out.reshape(groups, 2, -1)
        upper, lower = half[:, 0].copy(), half[:, 1] * powers[groups : 2 * groups, None] % prime
        half[:, 0], half[:, 1] = (upper + lower) % prime, (upper - lower) % prime
        groups *= 2
    return out


def _inverse(values: Whole, prime: int) -> Whole:
    """Undo ``_transform`` (Algorithm 2)."""
    degree = len(values)
    _, powers = _powers(degree, prime)
    out, groups = values.copy(), degree // 2
    while groups >= 1:
        half = out.reshape(groups, 2, -1)
        upper, lower = half[:, 0].copy(), half[:, 1].copy()
        half[:, 0] = (upper + lower) % prime
        half[:, 1] = (upper - lower) * powers[groups : 2 * groups, None] % prime
        groups //= 2
    scaled: Whole = out * pow(degree, -1, prime) % prime
    return scaled


def _centred(values: Whole, prime: int) -> Whole:
    return np.array([v - prime if v > prime // 2 else v for v in values], dtype=object)
