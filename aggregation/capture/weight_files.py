"""Weights from a file that anybody may have written: ``.safetensors`` or ``.npz``, never a pickle.

Sizes are capped before anything is parsed, and nothing in a file is run. The safetensors format is
a length, a JSON header and the tensors' bytes, one behind the other:
https://huggingface.co/docs/safetensors
"""

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.capture.precision import Precision
from aggregation.capture.weights import Weights
from privacy._foreign import parse_json, printable, quoted, read_file
from privacy.errors import CorruptMessageError, InvalidInputError

__all__ = ["read_weights"]

_LARGEST = 2**28  # bytes of a file, and of what is unpacked from it
_LARGEST_HEADER = 2**20
_MOST_TENSORS = 10_000
_LENGTH = struct.Struct("<Q")
_TYPES = {
    "F64": (Precision.FLOAT64, "<f8"),
    "F32": (Precision.FLOAT32, "<f4"),
    "F16": (Precision.FLOAT16, "<f2"),
    "BF16": (Precision.BFLOAT16, "<u2"),
}


def read_weights(path: Path) -> Weights:
    """Read a model's tensors, all of one floating-point format.

    Raises:
      InvalidInputError: Neither ``.safetensors`` nor ``.npz``, no tensors, or of several formats.
      CorruptMessageError: Missing, too large, or not of its format.
    """
    if path.suffix not in (".safetensors", ".npz"):
        raise InvalidInputError(
            f"Weights are read from .safetensors and .npz, not from {quoted(path.name)}: a pickle "
            "(.pt, .pth, .bin) can run anything. Save it again with "
            "safetensors.torch.save_file(model.state_dict(), path)."
        )
    content = read_file(path, most=_LARGEST, what="The file of weights")
    try:
        kinds, tensors = _npz(content) if path.suffix == ".npz" else _safetensors(content)
    except CorruptMessageError as error:
        raise CorruptMessageError(f"{quoted(path.name)} can't be read: {error}") from error
    if len(kinds) != 1:
        formats = ", ".join(sorted(kinds)) or "none"
        raise InvalidInputError(
            f"{quoted(path.name)} holds tensors of {formats}; expected all of one format."
        )
    return Weights(tensors, kinds.pop())


def _safetensors(content: bytes) -> tuple[set[Precision], dict[str, NDArray[Any]]]:
    if len(content) < _LENGTH.size:
        raise CorruptMessageError("it is shorter than the length that it begins with.")
    (length,) = _LENGTH.unpack_from(content)
    start = _LENGTH.size + length
    if length > _LARGEST_HEADER or start > len(content):
        raise CorruptMessageError(f"its header would have {length} bytes.")
    header = parse_json(content[_LENGTH.size : start], what="Its header", most=_LARGEST_HEADER)
    if not isinstance(header, dict) or len(header) > _MOST_TENSORS:
        raise CorruptMessageError(f"its header is no object of at most {_MOST_TENSORS} tensors.")
    kinds, tensors, taken = set(), {}, []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        kind, shape, (first, last) = _told(name, entry)
        precision, dtype = _TYPES[kind]
        if last - first != math.prod(shape) * np.dtype(dtype).itemsize:
            raise CorruptMessageError(
                f"the tensor {printable(name)[:80]} has not its shape's size."
            )
        if not 0 <= first <= last <= len(content) - start:
            raise CorruptMessageError(f"the tensor {printable(name)[:80]} lies outside the file.")
        taken.append((first, last))
        raw = np.frombuffer(content[start + first : start + last], dtype=dtype).reshape(shape)
        kinds.add(precision)
        tensors[name] = _widened(raw) if precision is Precision.BFLOAT16 else raw.copy()
    taken.sort()
    if any(b[0] != a[1] for a, b in pairwise(taken)):
        raise CorruptMessageError("its tensors overlap or leave gaps.")
    return kinds, tensors


def _told(name: str, entry: Any) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    """Type, shape and place of a tensor, each checked."""
    short = printable(name)[:80]
    if not isinstance(entry, Mapping) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CorruptMessageError(f"the tensor {short} has not the fields of the format.")
    kind, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _TYPES:
        raise CorruptMessageError(
            f"the tensor {short} is of type {printable(str(kind))[:20]}; expected one of "
            f"{', '.join(_TYPES)}."
        )
    for numbers, most in ((shape, 8), (place, 2)):
        sound = isinstance(numbers, list) and len(numbers) <= most
        if not sound or not all(type(n) is int and 0 <= n <= _LARGEST for n in numbers):
            raise CorruptMessageError(f"the tensor {short} has a shape or place that is none.")
    if len(place) != 2:
        raise CorruptMessageError(f"the tensor {short} has a shape or place that is none.")
    return kind, tuple(shape), (place[0], place[1])


def _widened(raw: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Bfloat16 is the upper half of float32."""
    return (raw.astype(np.uint32) << 16).view(np.float32)


def _npz(content: bytes) -> tuple[set[Precision], dict[str, NDArray[Any]]]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            size = sum(member.file_size for member in members)
            if len(members) > _MOST_TENSORS or size > _LARGEST:
                raise CorruptMessageError(
                    f"it would unpack to {len(members)} arrays, {size} bytes."
                )
            # By the members' sizes: a reader of an .npz would believe each array's own header.
            tensors = {member.filename: _array(archive, member) for member in members}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise CorruptMessageError("it is no .npz archive.") from error
    named = {name.removesuffix(".npy"): array for name, array in tensors.items()}
    return {Precision.of(array.dtype) for array in named.values()}, named


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    try:
        raw = archive.read(member)
        array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)
    except (ValueError, TypeError, SyntaxError, MemoryError, zlib.error) as error:
        short = printable(member.filename)[:80]
        raise CorruptMessageError(f"its member {short} is no array of numbers.") from error
    return array
