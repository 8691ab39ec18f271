"""One cell of a table: text in, a number or a code out, by rules that no library guesses.

>>> code(" 63.0 "), code("TRUE"), code("typical angina")
('63', '1', 'typical angina')
>>> number("2.30")
2.3
>>> shape("Smith, 12")
'aaaaa, 99'
"""

import re

from privacy.errors import InvalidInputError

__all__ = ["NotANumberError", "code", "number", "shape"]

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_WHOLE = re.compile(r"([+-]?)0*(\d+)(?:\.0*)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_DATE = re.compile(
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T].*)?|\d{1,2}[- ][A-Za-z]{3,9}(?:[- ]\d{2,4})?"
    r"|[A-Za-z]{3,9}[- ]\d{1,4}"
)
_SHOWN = 20
_LONGEST = 64  # characters of a number


class NotANumberError(InvalidInputError):
    """A cell is no number; the message says what it looks like, never what it holds."""


def code(cell: str, decimal: str = ".") -> str:
    """Return a cell in the one form in which codes are compared.

    Without spaces around; a whole number plain (``03``, ``3.0`` and ``+3`` are 3), as spreadsheets
    and databases write it in many ways; true and false in any case are 1 and 0.

    Args:
      cell: Its text.
      decimal: The decimal sign of the table.
    """
    cell = cell.strip()
    whole = _WHOLE.fullmatch(cell if decimal == "." else cell.replace(decimal, ".", 1))
    if whole:
        digits = whole[2]
        return digits if whole[1] != "-" or digits == "0" else f"-{digits}"
    return {"true": "1", "false": "0"}.get(cell.lower(), cell)


def number(cell: str, decimal: str = ".") -> float:
    """Return the number in a cell: plain digits, one decimal sign, an exponent.

    Args:
      cell: Its text, spaces around allowed.
      decimal: ``.`` or ``,``.

    Raises:
      NotANumberError: Anything else, thousands separators, ``nan`` and ``inf`` among it.
    """
    text = cell.strip()
    if decimal == ",":
        if "." in text:
            raise NotANumberError("a point where the decimal sign is said to be a comma")
        text = text.replace(",", ".", 1)
    if len(text) > _LONGEST or not _NUMBER.fullmatch(text):
        if decimal == "." and _COMMA.fullmatch(text):
            raise NotANumberError("decimal commas; write decimal = ',' into the table's file")
        if _DATE.fullmatch(text):
            raise NotANumberError("dates, as spreadsheets make of numbers; export as plain text")
        raise NotANumberError(f"no numbers, of the shape {shape(cell)}")
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise NotANumberError("numbers too large to hold")
    return value


def shape(cell: str) -> str:
    """Return what a cell looks like without what it says: every digit 9, every letter a."""
    cell = cell.strip()
    masked = "".join(
        "a" if c.isalpha() else "9" if c.isnumeric() else c if c.isprintable() else "?"
        for c in cell
    )
    return masked[:_SHOWN] + ("..." if len(masked) > _SHOWN else "")
