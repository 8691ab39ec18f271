"""Names of hospitals and cohorts that come from files: they become file names and table cells."""

import re

from privacy.errors import InvalidInputError

__all__ = ["printable", "site_name"]

_NAME = re.compile(r"\w[\w .()-]{0,63}")


def printable(text: str) -> str:
    """Return a text from a file with ``?`` for what would steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def site_name(name: str) -> str:
    """Return a hospital's or a cohort's name if it can safely be a file's.

    Raises:
      InvalidInputError: It is empty, longer than 64 characters, or holds a character other than
        letters, digits, ``_``, ``.``, ``-``, brackets and inner spaces.
    """
    if not _NAME.fullmatch(name) or name != name.strip() or ".." in name:
        raise InvalidInputError(
            f"Expected a name of 1 to 64 letters, digits, spaces and . - _ ( ), got {name[:80]!r}."
        )
    return name
