r"""Files and bytes that somebody else wrote: capped before they are read, and read strictly.

Every file, message and proof may come from an adversary. So a foreign file is a plain file of a
capped size, and foreign JSON has one meaning: UTF-8, no key twice, no NaN, no number that a reader
would round to infinity, no depth that a recursive reader could fall into.

>>> parse_json(b'{"a": [1, 2.5]}', what="an example")
{'a': [1, 2.5]}
>>> print(printable("north\n\x1b[32mOK: all is well"))
north\n\x1b[32mOK: all is well
"""

import hashlib
import json
import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from privacy.errors import CorruptMessageError
from privacy.files import open_regular, read_regular

__all__ = [
    "DEPTH",
    "LARGEST_FILE",
    "digest_file",
    "json_text",
    "parse_json",
    "printable",
    "quoted",
    "read_file",
    "toml_table",
    "within_depth",
]

LARGEST_FILE = 2**26  # bytes, of what is read whole
DEPTH = 48  # brackets within brackets
_SHOWN = 80  # characters of a foreign value in an error


def read_file(path: Path, *, most: int = LARGEST_FILE, what: str = "The file") -> bytes:
    """Return the bytes of a plain file of at most ``most`` bytes.

    Raises:
      CorruptMessageError: Missing, unreadable, too large, or a pipe, socket, device or folder.
    """
    try:
        return read_regular(path, largest=most)
    except OSError as error:
        raise CorruptMessageError(
            f"{what} {quoted(path)} can't be read: {_reason(error)}."
        ) from error


def digest_file(path: Path) -> tuple[int, str]:
    """Return the size of a plain file and its SHA-256 in hex, whatever its size.

    Raises:
      CorruptMessageError: As ``read_file``.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            return file.tell(), digest.hexdigest()
    except OSError as error:
        raise CorruptMessageError(f"{quoted(path)} can't be read: {_reason(error)}.") from error


def parse_json(content: bytes, *, what: str, most: int = LARGEST_FILE) -> Any:
    """Return the value of strict JSON (RFC 8259, and I-JSON's rules of RFC 7493).

    Raises:
      CorruptMessageError: Too large, too deep, not UTF-8, a key twice, a lone surrogate, or a
        number that is not finite or beyond 2^53.
    """
    if len(content) > most:
        raise CorruptMessageError(f"{what} has {len(content)} bytes; at most {most} are read.")
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_no_constant,
        )
        if b"\\u" in content:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails on a lone surrogate
    except (ValueError, RecursionError) as error:
        raise CorruptMessageError(f"{what} is not plain JSON: {_reason(error)}.") from error
    if not within_depth(content, value):
        raise CorruptMessageError(f"{what} is nested more than {DEPTH} deep.")
    return value


def toml_table(content: bytes, *, what: str) -> dict[str, Any]:
    """Return the table of a TOML file.

    Raises:
      CorruptMessageError: It is none, or not UTF-8.
    """
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CorruptMessageError(f"{what} is no TOML: {str(error)[:200]}.") from error


def within_depth(content: bytes, value: Any) -> bool:
    """Whether the JSON value that ``content`` spells is nested at most ``DEPTH`` deep."""
    if content.count(b"{") + content.count(b"[") <= DEPTH:
        return True
    level = [value]
    for _ in range(DEPTH):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, Mapping):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        level = [item for item in inner if isinstance(item, Mapping | list)]
        if not level:
            return True
    return False


def printable(text: str) -> str:
    """Return foreign text as one line that a terminal can't take for anything but text.

    Line ends, escape sequences, marks that turn the direction of reading, and whatever else has no
    shape of its own are spelt as Python spells them.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _spelt(c) for c in text)


def quoted(value: object) -> str:
    """Return a foreign value for an error: its ``repr``, in short and safe to print."""
    text = f"'{value}'" if isinstance(value, os.PathLike) else repr(value)
    text = printable(text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def json_text(value: object) -> str:
    r"""Return JSON for people's eyes: letters stay, what has no shape is spelt ``\uXXXX``."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _spelt(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands twice")
    return fields


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > 2**53:
        raise ValueError("a whole number is beyond 2^53")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is beyond every float")
    return value


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, json.JSONDecodeError):  # its own message is short and quotes nothing
        return f"{error.msg} at character {error.pos}"
    if isinstance(error, UnicodeError):
        return "it is not UTF-8"
    return printable(str(error))
