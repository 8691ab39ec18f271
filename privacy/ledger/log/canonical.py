"""RFC 8785 canonical JSON: one value has one spelling, so that its digest means something.

>>> encode({"b": 1.0, "a": "ward 3"})
b'{"a":"ward 3","b":1}'
"""

import hashlib
import json
import math
from typing import Any

import rfc8785

from privacy.errors import CorruptMessageError, InvalidInputError

__all__ = ["decode", "digest", "encode", "from_number", "to_number"]


def encode(value: Any) -> bytes:
    """Return the canonical bytes of a plain JSON value (RFC 8785).

    Raises:
      InvalidInputError: The value holds NaN, infinity, an integer beyond 2^53 or a foreign type.
    """
    try:
        return _canonical(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise InvalidInputError(
            f"This value has no canonical JSON: {error}. Give finite numbers, and integers beyond "
            "2^53 as text."
        ) from error


def decode(content: bytes) -> Any:
    """Read canonical JSON, and nothing but canonical JSON.

    Raises:
      CorruptMessageError: Not JSON, a key twice, or any spelling but the canonical one.
    """
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_int=_integer)
        if _canonical(value) != content:
            raise ValueError("not in canonical form")
    except (ValueError, RecursionError, rfc8785.CanonicalizationError) as error:
        raise CorruptMessageError(f"Expected canonical JSON (RFC 8785): {error}.") from error
    return value


def digest(content: bytes) -> str:
    """SHA-256 in lower-case hex."""
    return hashlib.sha256(content).hexdigest()


def from_number(value: float) -> float | str:
    """Spell infinity as text, because JSON has none; finite numbers stay as they are.

    Raises:
      InvalidInputError: The value is NaN.
    """
    if math.isnan(value):
        raise InvalidInputError("Expected a number, got NaN.")
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def to_number(value: object) -> float:
    """Read what ``from_number`` wrote.

    Raises:
      CorruptMessageError: Neither a number nor ``"inf"`` or ``"-inf"``.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise CorruptMessageError(f"Expected a number, got {value!r}.")
    if isinstance(value, str) and value not in ("inf", "-inf"):
        raise CorruptMessageError(f"Expected a number, got {value!r}.")
    return float(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice")
    return members


def _integer(text: str) -> int | float:
    """Whole numbers beyond 2^53 are floats that happen to be spelt without a point."""
    value = int(text)
    return value if abs(value) < 2**53 else float(text)


def _canonical(value: Any) -> bytes:
    """Spell a value; a plain one by the standard library, which does it ten times faster."""
    if not _plain(value):
        return rfc8785.dumps(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _plain(value: Any) -> bool:
    """Whether the standard library spells a value as RFC 8785 does; False decides nothing.

    It does where there are no floats, all keys are ASCII, and integers are below 2^53.
    """
    if isinstance(value, str) or value is None:
        return True
    if isinstance(value, dict):
        return all(
            isinstance(key, str) and key.isascii() and _plain(inner) for key, inner in value.items()
        )
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    return type(value) is bool or (type(value) is int and abs(value) < 2**53)
