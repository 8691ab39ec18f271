"""Names of hospitals and runs: what may become a file, a line, a word on a page.

Every name that arrives from elsewhere passes here before anything is made of it, so that it can't
leave a folder, end a line, hide in a terminal, or share a file with another name.

>>> plain_name(hospital="Österreich 3"), plain_name(hospital="../../evil")
Traceback (most recent call last):
    ...
privacy.errors.InvalidInputError: Expected hospital='../../evil' to be a plain name: it holds '/'.
"""

import unicodedata
from collections.abc import Iterable

from privacy.errors import InvalidInputError

__all__ = ["LONGEST_NAME", "distinct_names", "plain_name"]

LONGEST_NAME = 64  # characters
_MOST_BYTES = 192  # in UTF-8: with what is put before and behind it, a file's name has 255
# What no path or file system of any platform takes, beside control characters.
_FORBIDDEN = frozenset('/\\:*?"<>|')
_DEVICES = frozenset(
    ("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)))
)


def plain_name(**named: object) -> str:
    r"""Return a name, given as one keyword, if it is one that everything can carry.

    A plain name has 1 to ``LONGEST_NAME`` characters (192 bytes in UTF-8), is composed (Unicode
    NFC), holds no control, format, private or unassigned character, no white space but single
    blanks inside, none of ``/ \ : * ? " < > |``, begins with neither ``.`` nor ``-``, ends with no
    ``.``, and is no device of Windows (``con``, ``nul``).

    Raises:
      InvalidInputError: It is not, and why.
    """
    ((label, value),) = named.items()
    why = "it is no text" if not isinstance(value, str) else _objection(value)
    if why:
        shown = ascii(value)
        shown = shown if len(shown) <= 80 else f"{shown[:80]}..."
        raise InvalidInputError(f"Expected {label}={shown} to be a plain name: {why}.")
    return str(value)


def distinct_names(**named: Iterable[object]) -> tuple[str, ...]:
    """Return plain names, given as one keyword, if no two of them could share a file.

    Raises:
      InvalidInputError: One is not plain, or two differ at most by their capitals.
    """
    ((label, values),) = named.items()
    names = tuple(plain_name(**{label: value}) for value in values)
    first: dict[str, str] = {}
    for name in names:
        folded = unicodedata.normalize("NFKC", name).casefold()
        if folded in first:
            raise InvalidInputError(
                f"Expected distinct {label}, got {first[folded]!r} and {name!r}: on some file "
                "systems they would share one file."
            )
        first[folded] = name
    return names


def _objection(name: str) -> str:
    """Why a text is no plain name; empty if it is one."""
    if not name:
        return "it is empty"
    if len(name) > LONGEST_NAME or len(name.encode("utf-8", "replace")) > _MOST_BYTES:
        return f"it is longer than {LONGEST_NAME} characters or {_MOST_BYTES} bytes"
    for character in name:
        if character in _FORBIDDEN:
            return f"it holds {character!r}"
        if character != " " and unicodedata.category(character)[0] in "CZ":
            return f"it holds the character U+{ord(character):04X}, which does not print"
    if name != unicodedata.normalize("NFC", name):
        return "its characters are not composed (Unicode NFC)"
    if name[0] in ".- " or name[-1] in ". " or "  " in name:
        return "it begins or ends with a blank, a dot or a hyphen, or holds two blanks in a row"
    if name.split(".", 1)[0].casefold() in _DEVICES:
        return "it is a device's name on some systems"
    return ""
