"""A first ``schema.toml`` and ``table.toml`` for a table, to be edited by somebody who knows it.

The schema is public, so nothing of the patients goes into it: no mean, no range, no level. Codes
that at least five rows have go into the hospital's own mapping, which stays there.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from aggregation.data.cells import NotANumberError, code, number
from aggregation.data.encoding import FEW
from aggregation.data.safe_names import printable
from aggregation.data.sources import columns_of, read_file

__all__ = ["Draft", "draft"]

_MOST_LEVELS = 12
_IDS = ("id", "patient", "pid", "patient_id", "patientid")
_OUTCOMES = ("outcome", "event", "death", "died", "dead", "disease", "label", "target", "y")


@dataclass
class _Seen:
    codes: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    filled: int = 0
    numbers: int = 0
    commas: int = 0
    unique: bool = True

    def add(self, cell: str) -> None:
        plain = code(cell)
        self.rows += 1
        if not plain:
            self.unique = False
            return
        self.filled += 1
        self.unique = self.unique and plain not in self.codes
        self.codes[plain] += 1
        for decimal in ".,":
            try:
                number(cell, decimal)
            except NotANumberError:
                continue
            self.numbers += 1
            self.commas += decimal == ","
            return

    @property
    def frequent(self) -> list[str]:
        return sorted(c for c, n in self.codes.items() if n >= FEW)


@dataclass(frozen=True)
class Draft:
    """Texts of the files.

    Attributes:
      schema: Public; holds names of columns, and nothing that was computed from patients.
      table: The hospital's own.
    """

    schema: str
    table: str


def draft(path: Path) -> Draft:
    """Read a CSV or Parquet table and propose its files.

    Raises:
      InvalidInputError: The table can't be read.
    """
    names = columns_of(path)
    seen = {name: _Seen() for name in names}
    for batch in read_file(path, names):
        for name, cells in batch.items():
            for cell in cells:
                seen[name].add(cell)
    unique = [n for n in names if seen[n].unique and seen[n].rows]
    binary = [n for n in names if 0 < len(seen[n].codes) <= 2]
    id_ = next((n for n in unique if n.lower() in _IDS), unique[0] if unique else "?")
    outcome = next((n for n in binary if n.lower() in _OUTCOMES), "?")
    schema = [
        "# Public: the same file at every hospital. Fill in each ? from the literature, never from",
        "# the patients, and take the # away; delete what should not be a feature.",
        'outcome = "?"                     # what an outcome of 1 means',
        "",
        "[columns]",
    ]
    table = [
        "# Stays at this hospital.",
        f"source = {_quoted(path.name)}",
        f"id = {_quoted(id_)}",
        'missing = []                      # codes that mean "not measured", such as "NA" or -9',
        *(['decimal = ","'] if any(one.commas >= FEW for one in seen.values()) else []),
        "",
        "[outcome]",
        f"column = {_quoted(outcome)}",
        f"one = [1]                         # of {_list(seen[outcome].frequent)}"
        if outcome in seen
        else "one = [1]",
        "zero = [0]",
        "",
        "[columns]",
    ]
    for name in names:
        if name not in (id_, outcome):
            _propose(name, seen[name], schema, table)
    return Draft("\n".join(schema) + "\n", "\n".join(table) + "\n")


def _propose(name: str, seen: _Seen, schema: list[str], table: list[str]) -> None:
    key = _quoted(name) if not name.replace("_", "").replace("-", "").isalnum() else name
    if not seen.codes:
        schema.append(f"# {key}: empty")
    elif len(seen.codes) <= 2:
        schema.append(f"{key} = {{}}")
        if not set(seen.codes) <= {"0", "1"}:
            table.append(f"# {key} = {{one = [?], zero = [?]}}   # of {_list(seen.frequent)}")
    elif seen.numbers >= 0.9 * seen.filled and len(seen.codes) > _MOST_LEVELS:
        schema.append(f'# {key} = {{unit = "?", mean = ?, sd = ?, low = ?, high = ?}}')
    elif len(seen.codes) <= _MOST_LEVELS:
        schema.append(f'# {key} = {{levels = ["?", "?"]}}   # the reference first; or a number')
        codes = ", ".join(f'{_quoted(c)} = "?"' for c in seen.frequent)
        table.append(f"# {key} = {{levels = {{{codes}}}}}")
    else:
        schema.append(f"# {key}: neither a number nor few levels")


def _quoted(text: str) -> str:
    return json.dumps(printable(text), ensure_ascii=False)


def _list(codes: list[str]) -> str:
    return ", ".join(_quoted(c) for c in codes[:_MOST_LEVELS]) or f"codes of fewer than {FEW} rows"
