r"""A ring for add-only RLWE: :math:`\mathbb{Z}_q[X]/(X^N + 1)` in residues, with numpy alone.

The modulus is a product of primes below 2^31 that are 1 modulo 2N, so that every product of two
residues fits 64 bits. The first primes make up the *plaintext modulus* :math:`t`, the others the
*noise modulus* :math:`Q = q/t`. A message travels as :math:`Q m + e`: modulo the noise primes this
is the noise alone, which is read exactly while :math:`|e| < Q/2`, taken off, and what is left is
:math:`Q m` modulo the plaintext primes. Everything is in whole numbers; nothing is rounded.

Polynomials are ``uint64[primes, ..., N]`` residues, in coefficients or at the roots of -1
("values", bit-reversed order), where multiplication is coordinate by coordinate.
"""

import math
import os
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from aggregation.sealing.primes import ring_primes
from privacy.errors import CorruptMessageError, InvalidInputError

__all__ = ["LARGEST_NOISE", "NOISE_STD", "Residues", "Ring", "noise", "ternary"]

Residues = NDArray[np.uint64]

_COINS = 21
LARGEST_NOISE = _COINS
"""Largest absolute noise in a coefficient."""
NOISE_STD = (_COINS / 2) ** 0.5
"""Standard deviation of the centred binomial noise (3.24; the HE standard asks for 3.2)."""


@dataclass(frozen=True)
class Ring:
    """The ring, and how its modulus is split.

    Attributes:
      degree: N, a power of two.
      plain_bits: Bits of each plaintext prime.
      noise_bits: Bits of each noise prime.
    """

    degree: int
    plain_bits: tuple[int, ...]
    noise_bits: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.degree < 2 or self.degree & (self.degree - 1):
            raise InvalidInputError(f"Expected degree={self.degree} a power of two.")
        for bits in (*self.plain_bits, *self.noise_bits):
            if not self.degree.bit_length() < bits <= 31:
                raise InvalidInputError(
                    f"Expected primes of {self.degree.bit_length() + 1} to 31 bits, got {bits}."
                )

    @cached_property
    def primes(self) -> tuple[int, ...]:
        """All primes, those of the plaintext modulus first; each is used once."""
        bits = (*self.plain_bits, *self.noise_bits)
        pools = {b: list(ring_primes(self.degree, b, bits.count(b))) for b in set(bits)}
        return tuple(pools[b].pop(0) for b in bits)

    @property
    def plain_primes(self) -> tuple[int, ...]:
        """The primes whose product is ``t``."""
        return self.primes[: len(self.plain_bits)]

    @property
    def noise_primes(self) -> tuple[int, ...]:
        """The primes whose product is ``Q``."""
        return self.primes[len(self.plain_bits) :]

    @cached_property
    def t(self) -> int:
        """The plaintext modulus."""
        return math.prod(self.plain_primes)

    @cached_property
    def noise_modulus(self) -> int:
        """Q: noise below half of it is read exactly."""
        return math.prod(self.noise_primes)

    @property
    def log_q(self) -> int:
        """Bits of the modulus, rounded up."""
        return (self.t * self.noise_modulus).bit_length()

    @cached_property
    def _column(self) -> Residues:
        return np.array(self.primes, dtype=np.uint64)

    def _moduli(self, like: Residues) -> Residues:
        return self._column.reshape(-1, *(1,) * (like.ndim - 1))

    def add(self, a: Residues, b: Residues) -> Residues:
        """Add residues below their primes."""
        return _fold(a + b, self._moduli(a))

    def subtract(self, a: Residues, b: Residues) -> Residues:
        """Subtract residues below their primes."""
        moduli = self._moduli(a)
        return _fold(a + (moduli - b), moduli)

    def multiply(self, a: Residues, b: Residues) -> Residues:
        """Multiply coordinate by coordinate."""
        product = a * b
        return product % self._moduli(product)

    def residues(self, coefficients: NDArray[np.int64]) -> Residues:
        """Return the residues of small signed integers ``[..., N]``."""
        moduli = self._column.astype(np.int64).reshape(-1, *(1,) * coefficients.ndim)
        return np.mod(coefficients[None], moduli).astype(np.uint64)

    def to_values(self, coefficients: Residues) -> Residues:
        """Evaluate at the roots of -1 (Cooley-Tukey, as in Longa and Naehrig 2016, Algorithm 1)."""
        out = coefficients.copy()
        for row, p, (powers, _) in zip(out, self.primes, self._powers, strict=True):
            flat, prime = row.reshape(-1, self.degree), np.uint64(p)
            groups = 1
            while groups < self.degree:
                half = flat.reshape(len(flat), groups, 2, -1)
                upper = half[:, :, 0].copy()
                lower = half[:, :, 1] * powers[groups : 2 * groups, None] % prime
                half[:, :, 0] = _fold(upper + lower, prime)
                half[:, :, 1] = _fold(upper + (prime - lower), prime)
                groups *= 2
        return out

    def to_coefficients(self, values: Residues) -> Residues:
        """Undo ``to_values`` (Gentleman-Sande, Longa and Naehrig 2016, Algorithm 2)."""
        out = values.copy()
        for row, p, (_, powers) in zip(out, self.primes, self._powers, strict=True):
            flat, prime = row.reshape(-1, self.degree), np.uint64(p)
            groups = self.degree // 2
            while groups >= 1:
                half = flat.reshape(len(flat), groups, 2, -1)
                upper, lower = half[:, :, 0].copy(), half[:, :, 1].copy()
                half[:, :, 0] = _fold(upper + lower, prime)
                difference = _fold(upper + (prime - lower), prime)
                half[:, :, 1] = difference * powers[groups : 2 * groups, None] % prime
                groups //= 2
            flat *= np.uint64(pow(self.degree, -1, p))
            flat %= prime
        return out

    def lift(self, messages: NDArray[np.uint64]) -> Residues:
        """Return the residues of ``Q m`` for messages ``[..., N]`` below ``t``."""
        out = np.zeros((len(self.primes), *messages.shape), dtype=np.uint64)
        for i, p in enumerate(self.plain_primes):
            out[i] = messages % np.uint64(p) * np.uint64(self.noise_modulus % p) % np.uint64(p)
        return out

    def lower(self, phase: Residues) -> NDArray[np.uint64]:
        """Return the messages of ``Q m + e``, exact while ``|e| < Q/2``."""
        split = len(self.plain_primes)
        digits = _mixed_radix(phase[split:], self.noise_primes)
        negative = _above_half(digits, self.noise_primes)
        messages = []
        for row, p in zip(phase[:split], self.plain_primes, strict=True):
            prime, q = np.uint64(p), np.uint64(self.noise_modulus % p)
            error = _evaluate(digits, self.noise_primes, p)
            error = np.where(negative, _fold(error + (prime - q), prime), error)
            lifted = _fold(row + (prime - error), prime)
            messages.append(lifted * np.uint64(pow(self.noise_modulus, -1, p)) % prime)
        return _compose(_mixed_radix(np.array(messages), self.plain_primes), self.plain_primes)

    def to_bytes(self, residues: Residues) -> bytes:
        """Return residues as they travel: 4 bytes each, little-endian."""
        return residues.astype("<u4").tobytes()

    def from_bytes(self, content: bytes, shape: tuple[int, ...]) -> Residues:
        """Read polynomials of a shape.

        Raises:
          CorruptMessageError: Another size, or a residue not below its prime.
        """
        expected = 4 * len(self.primes) * math.prod(shape)
        if len(content) != expected:
            raise CorruptMessageError(
                f"Expected {expected} bytes of polynomials, got {len(content)}; another run's, "
                "perhaps."
            )
        flat = np.frombuffer(content, dtype="<u4").astype(np.uint64)
        residues = flat.reshape(len(self.primes), *shape)
        for row, prime in zip(residues, self.primes, strict=True):
            if row.max(initial=0) >= prime:
                raise CorruptMessageError(
                    "A ciphertext holds a residue that is not below its prime."
                )
        return residues

    def smudge(self, shape: tuple[int, ...], bits: int) -> Residues:
        """Draw residues of integers uniform on ``[-2^bits, 2^bits)``, from the operating system.

        An integer is made of 31-bit limbs, so that it may be wider than a machine word.
        """
        out = np.zeros((len(self.primes), *shape), dtype=np.uint64)
        moduli = self._moduli(out)
        bits_left = bits + 1
        shift = np.ones_like(moduli)
        while bits_left > 0:
            width = min(31, bits_left)
            limb = _words(shape) >> np.uint64(64 - width)
            out = (out + limb[None] % moduli * shift) % moduli
            shift = shift * np.uint64(1 << width) % moduli
            bits_left -= width
        offset = np.array([(1 << bits) % p for p in self.primes], dtype=np.uint64)
        return _fold(out + (moduli - offset.reshape(moduli.shape)), moduli)

    @property
    def _powers(self) -> tuple[tuple[Residues, Residues], ...]:
        return tuple(_root_powers(self.degree, p) for p in self.primes)


def ternary(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Draw uniformly from {-1, 0, 1}, from the operating system (bias below 2^-61)."""
    return (_words(shape) % np.uint64(3)).astype(np.int64) - 1


def noise(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Draw centred binomial noise of 21 coins a side, from the operating system."""
    words = _words(shape)
    mask = np.uint64((1 << _COINS) - 1)
    return _ones(words & mask) - _ones((words >> np.uint64(_COINS)) & mask)


def _words(shape: tuple[int, ...]) -> NDArray[np.uint64]:
    return np.frombuffer(os.urandom(8 * int(np.prod(shape))), dtype="<u8").reshape(shape)


_TABLE = np.array([i.bit_count() for i in range(1 << 11)], dtype=np.int64)


def _ones(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Count the ones of words below 2^22."""
    ones: NDArray[np.int64] = _TABLE[words & np.uint64(2047)] + _TABLE[words >> np.uint64(11)]
    return ones


def _fold(sums: Residues, prime: Residues | np.uint64) -> Residues:
    """Reduce sums below twice the prime: below it, subtracting wraps around to a huge word."""
    folded: Residues = np.minimum(sums, sums - prime)
    return folded


def _mixed_radix(residues: Residues, primes: tuple[int, ...]) -> list[Residues]:
    """Return digits x with value ``x0 + x1 p0 + x2 p0 p1 + ...`` (Garner's algorithm)."""
    digits: list[Residues] = []
    for i, (row, p) in enumerate(zip(residues, primes, strict=True)):
        prime = np.uint64(p)
        lower_part = _evaluate(digits, primes, p) if digits else np.zeros_like(row)
        inverse = np.uint64(pow(math.prod(primes[:i]), -1, p)) if i else np.uint64(1)
        digits.append(_fold(row + (prime - lower_part), prime) * inverse % prime)
    return digits


def _evaluate(digits: list[Residues], primes: tuple[int, ...], p: int) -> Residues:
    """Return the value of mixed-radix digits modulo ``p``."""
    value, prime = digits[-1] % np.uint64(p), np.uint64(p)
    for digit, radix in zip(digits[-2::-1], primes[len(digits) - 2 :: -1], strict=False):
        value = (value * np.uint64(radix % p) + digit) % prime
    return value


def _compose(digits: list[Residues], primes: tuple[int, ...]) -> NDArray[np.uint64]:
    """Return the value of mixed-radix digits, which fits 64 bits."""
    value = digits[-1]
    for digit, radix in zip(digits[-2::-1], primes[len(digits) - 2 :: -1], strict=False):
        value = value * np.uint64(radix) + digit
    return value


def _above_half(digits: list[Residues], primes: tuple[int, ...]) -> NDArray[np.bool_]:
    """Whether the value is above (Q - 1)/2, whose digits are the (p - 1)/2."""
    above = np.zeros(digits[0].shape, dtype=np.bool_)
    for digit, p in zip(digits, primes, strict=True):  # the last digit decides first
        half = np.uint64((p - 1) // 2)
        above = (digit > half) | ((digit == half) & above)
    return above


@lru_cache(maxsize=64)
def _root_powers(degree: int, prime: int) -> tuple[Residues, Residues]:
    """Return powers of a 2N-th root of 1 and of its inverse modulo a prime, bit-reversed."""
    bits = degree.bit_length() - 1
    order = np.array([int(f"{i:0{bits}b}"[::-1], 2) for i in range(degree)])
    exponent = (prime - 1) // (2 * degree)
    root = next(
        candidate
        for g in range(2, prime)
        if pow(candidate := pow(g, exponent, prime), degree, prime) == prime - 1
    )
    tables = []
    for base in (root, pow(root, -1, prime)):
        powers = [1]
        for _ in range(degree - 1):
            powers.append(powers[-1] * base % prime)
        tables.append(np.array(powers, dtype=np.uint64)[order])
    return tables[0], tables[1]
