"""TenSEAL's bytes, checked before TenSEAL sees them.

TenSEAL parses what it is given; what follows here is the form that its pinned version writes, byte
by byte, so that damaged, foreign or oversized content never reaches its parser, and what does reach
it is checked again afterwards: two polynomials, at the level and in the form of a fresh ciphertext.
"""

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tenseal as ts
from tenseal import sealapi

from privacy.errors import CorruptMessageError, InvalidInputError

__all__ = [
    "VERSION",
    "new_bfv_context",
    "pad",
    "read_ciphertext",
    "read_context",
    "read_foreign_context",
    "write_context",
]

VERSION = version("tenseal")

_SEAL_HEADER = b"\x5e\xa1\x10\x04\x03\x02\x00\x00"  # magic, size 16, SEAL 4.3, zstd, reserved
_LENGTH = struct.Struct("<I")
_SETTINGS = b"\x10\x07\x19" + struct.pack("<d", -1.0)  # automatic flags, and no scale
_SECONDS = 60.0
_CHILD = """
import sys
import tenseal as ts
context = ts.context_from(sys.stdin.buffer.read(), n_threads=1)
if context.has_public_key():
    scheme = context.seal_context().data.key_context_data().parms().scheme()
    bfv = str(scheme).endswith("BFV")
    (ts.bfv_vector(context, [1]) if bfv else ts.ckks_vector(context, [1.0])).serialize()
"""
_ERRORS = (ValueError, RuntimeError, TypeError, IndexError, MemoryError, OverflowError)


def new_bfv_context(degree: int, chain: tuple[int, ...], plain_modulus: int) -> Any:
    """Make a key pair of BFV whose ciphertexts use the whole chain.

    TenSEAL's own call sets a prime aside for multiplying ciphertexts, which a sum never does:
    without it a ciphertext of the same security has half of the coefficients, or twice the room.
    SEAL makes the keys, from the operating system's randomness, and checks the parameters against
    its table of 128 bits.

    Raises:
      InvalidInputError: SEAL refuses the parameters.
    """
    parms = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.BFV)
    parms.set_poly_modulus_degree(degree)
    parms.set_coeff_modulus(sealapi.CoeffModulus.Create(degree, list(chain)))
    parms.set_plain_modulus(sealapi.Modulus(plain_modulus))
    seal = sealapi.SEALContext(parms, True, sealapi.SEC_LEVEL_TYPE.TC128)
    if not seal.parameters_set():
        raise InvalidInputError(
            f"SEAL refuses ring {degree} with primes of {chain} bits and plaintext modulus "
            f"{plain_modulus}: {seal.parameters_error_message()}."
        )
    generator, public = sealapi.KeyGenerator(seal), sealapi.PublicKey()
    generator.create_public_key(public)
    written = [_saved(part.save) for part in (parms, public, generator.secret_key())]
    return read_context(
        _field(1, written[0])
        + _field(2, _field(1, written[1]) + _SETTINGS)
        + _field(3, _field(1, written[2]))
    )


def write_context(context: Any, *, public_key: bool = False, secret_key: bool = False) -> bytes:
    """Serialise a context with the keys that are asked for, and no others."""
    content: bytes = context.serialize(
        save_public_key=public_key,
        save_secret_key=secret_key,
        save_galois_keys=False,
        save_relin_keys=False,
    )
    return content


def read_context(material: bytes) -> Any:
    """Read what ``write_context`` wrote.

    Raises:
      CorruptMessageError: TenSEAL can't read it.
    """
    try:
        return ts.context_from(material, n_threads=1)
    except _ERRORS as error:
        raise CorruptMessageError(f"This key material can't be read: {error}.") from error


def read_foreign_context(material: bytes, bare: bytes) -> Any:
    """Read a context with a key that came from elsewhere.

    SEAL ends the process at some damaged parameters (status 134). So the parameters are not read
    from what came: they must be those of a context that was made here, byte for byte. Whether the
    key behind them can be read and used, a child tries first.

    Args:
      material: As it came.
      bare: The context of the same parameters without a key, made here.

    Raises:
      CorruptMessageError: Other parameters, or a key that can't be read and used.
    """
    size = len(_field(1, bare[2 : 2 + bare[1]]))  # less than 128 bytes: its length is one byte
    if material[:size] != bare[:size]:
        raise CorruptMessageError(
            "This key material is for other parameters than it says; it was not parsed."
        )
    status = _tried(material)
    if status != 0:
        raise CorruptMessageError(
            f"This key material can't be read and used: a process that tried ended with status "
            f"{status}."
        )
    context = read_context(material)
    public, secret = context.has_public_key(), context.has_secret_key()
    if write_context(context, public_key=public, secret_key=secret) != material:
        raise CorruptMessageError("This key material is not what the pinned TenSEAL writes.")
    return context


@lru_cache(maxsize=16)  # all hospitals of one process seal under the same key
def _tried(material: bytes) -> int:
    """Return the status of a child that reads and uses a key.

    Raises:
      CorruptMessageError: It does not come to an end.
    """
    command = [sys.executable, "-c", _CHILD]
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter, a constant program
            command, input=material, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CorruptMessageError(
            f"This key material could not be read within {_SECONDS} s."
        ) from error
    return done.returncode


def pad(ciphertext: bytes, stored: int) -> bytes:
    """Return length, ciphertext and zeros: ``stored`` bytes in all.

    SEAL compresses, so that sizes vary by some dozens of bytes with the randomness; padded, they
    say nothing.
    """
    if len(ciphertext) + _LENGTH.size > stored:
        raise CorruptMessageError(
            f"A ciphertext serialised to {len(ciphertext)} bytes, beyond the {stored} that its set "
            "allows; this TenSEAL writes another format than the one pinned."
        )
    return (_LENGTH.pack(len(ciphertext)) + ciphertext).ljust(stored, b"\0")


def read_ciphertext(context: Any, stored: bytes, *, slots: int, scale: float | None) -> Any:
    """Parse one padded ciphertext after its outer form was checked byte by byte.

    Args:
      context: TenSEAL's, with or without keys.
      stored: What ``pad`` made.
      slots: Values that the vector declares.
      scale: The scale that a CKKS vector declares; None for BFV.

    Raises:
      CorruptMessageError: Not the form that the pinned version writes for these parameters.
    """
    (length,) = _LENGTH.unpack_from(stored)
    body, padding = stored[_LENGTH.size :][:length], stored[_LENGTH.size :][length:]
    tail = b"" if scale is None else b"\x19" + struct.pack("<d", scale)
    start = body.find(_SEAL_HEADER)
    blob = body[start : len(body) - len(tail)] if start >= 0 else b""
    form = b"\n\x02" + _varint(slots) + b"\x12" + _varint(len(blob)) + blob + tail
    declared = int.from_bytes(blob[8:16], "little")
    if length != len(body) or any(padding) or body != form or declared != len(blob):
        raise CorruptMessageError(
            "A ciphertext does not have the form that SEAL 4.3 writes; it was not parsed."
        )
    parse = ts.bfv_vector_from if scale is None else ts.ckks_vector_from
    try:
        vector = parse(context, body)
        (inner,) = vector.ciphertext()
        fresh = (
            inner.size() == 2
            and inner.is_ntt_form() == (scale is not None)
            and inner.parms_id() == context.seal_context().data.first_parms_id()
            and (scale is None or inner.scale == scale)
            and not inner.is_transparent()
        )
    except _ERRORS as error:
        raise CorruptMessageError(f"A ciphertext can't be read: {error}.") from error
    if not fresh:
        raise CorruptMessageError(
            "A ciphertext has another size, form or level than a freshly sealed one."
        )
    return vector


def _saved(save: Callable[[str], None]) -> bytes:
    """Return what SEAL, which knows files alone, saves: through memory where there is such a file.

    Elsewhere through a folder that the owner alone reads, removed at once.
    """
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("seal"), "rb") as file:
            save(f"/proc/self/fd/{file.fileno()}")
            return file.read()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "seal"
        save(str(path))
        return path.read_bytes()


def _field(number: int, content: bytes) -> bytes:
    """Spell a field of bytes as protocol buffers do."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Spell a number as protocol buffers do."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
