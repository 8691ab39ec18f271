"""Key streams as integers: AES-256 in counter mode, added to vectors block by block.

A block stays in the processor's cache between the cipher and the sum, so that masking takes little
more time than the cipher alone.
"""

import operator
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

__all__ = ["SEED", "add_streams", "lane", "stream", "subtract_streams"]

SEED = 32
"""Bytes of a seed."""

_BLOCK = 1 << 16  # bytes
_CIPHER_BLOCK = 16

Words = NDArray[np.unsignedinteger[Any]]


def lane(bits: int) -> np.dtype[Any]:
    """Return the type of a stream's words: 32-bit where ``bits`` fit, else 64-bit, little-endian.

    Sums of words count modulo ``2 ** bits`` and may be taken modulo the type's own power of two.
    """
    return np.dtype("<u4") if bits <= 32 else np.dtype("<u8")


def stream(seed: bytes, dim: int, bits: int) -> Words:
    """Expand a seed to ``dim`` words of ``lane(bits)``, counter from 0.

    A seed is used for one contribution and one piece, so the counter never repeats under a key.
    """
    words = np.zeros(dim, dtype=lane(bits))
    add_streams(words, [seed])
    return words


def add_streams(words: Words, seeds: Sequence[bytes]) -> None:
    """Add the streams of all seeds to ``words``, in place, modulo the type's power of two."""
    _combine(operator.iadd, words, seeds)


def subtract_streams(words: Words, seeds: Sequence[bytes]) -> None:
    """Subtract the streams of all seeds from ``words``, in place, likewise."""
    _combine(operator.isub, words, seeds)


def _combine(apply: Callable[[Any, Any], Any], words: Words, seeds: Sequence[bytes]) -> None:
    ciphers = [
        Cipher(algorithms.AES(seed), modes.CTR(bytes(_CIPHER_BLOCK))).encryptor() for seed in seeds
    ]
    zeros, buffer = memoryview(_zeros(_BLOCK)), bytearray(_BLOCK + _CIPHER_BLOCK)
    key = np.frombuffer(buffer, dtype=words.dtype, count=_BLOCK // words.itemsize)
    for start in range(0, len(words), len(key)):
        part = words[start : start + len(key)]
        for cipher in ciphers:
            cipher.update_into(zeros[: part.nbytes], buffer)
            apply(part, key[: len(part)])


@lru_cache(maxsize=1)
def _zeros(size: int) -> bytes:
    """Keep what the ciphers run over."""
    return bytes(size)
