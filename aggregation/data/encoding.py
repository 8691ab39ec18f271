"""From batches of text to features, outcomes and ids, by a schema and a hospital's mapping.

Every row is encoded by itself: no constant, level or order is taken from other rows. What is wrong
is counted over the whole table and told once a column, without a value of fewer than five patients.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from aggregation.data.cells import NotANumberError, code, number, shape
from aggregation.data.mapping import FieldSource, TableFile
from aggregation.data.patients import Field, Patients, Schema
from aggregation.data.sources import Batch
from privacy.errors import InvalidInputError

__all__ = ["FEW", "Encoded", "encode", "masked"]

FEW = 5
"""Counts below this are never shown: courtesy towards few patients, not differential privacy."""

_MOST_ROWS = 50_000_000
_WRONG_UNIT = 0.2  # share of a column's values beyond the range that reads as a wrong unit
_OF_SHAPE = ", of the shape "
_CACHE = 100_000  # decoded cells of a column that are kept
_INTEGER_IDS = 1 << 62  # ids below are whole numbers as written, those above digests of text


def masked(count: int) -> str:
    """A count, or ``fewer than 5``."""
    return f"fewer than {FEW}" if 0 < count < FEW else str(count)


@dataclass
class Encoded:
    """A table, encoded, and what was met on the way.

    Attributes:
      sites: Patients of each hospital, rows in the order of their ids; ``{"": ...}`` without a site
        column.
      rows: Rows of the table.
      left_out: Rows that ``only``, ``drop`` or the outcome's ``drop`` left out.
      missing: Missing values by field, of the patients that are kept.
      problems: One paragraph for each thing that is wrong; ``sites`` are of no use unless empty.
    """

    sites: dict[str, Patients] = field(default_factory=dict)
    rows: int = 0
    left_out: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class _Decoder:
    """Cells of one field as floats: clinical units, the number of a level, 1 or 0; NaN: missing."""

    def __init__(self, one: Field, mapping: TableFile) -> None:
        self.field = one
        self.source: FieldSource = mapping.of(one.name)
        self.mapping = mapping
        self.absent = mapping.codes((*mapping.missing, *self.source.missing)) | {""}
        self.codes = self._codes()
        self.cells: dict[str, tuple[float, str]] = {}
        self.wrong: Counter[tuple[str, str]] = Counter()  # kind, shown form
        self.seen = self.outside = 0

    def _codes(self) -> dict[str, float]:
        mapping, source = self.mapping, self.source
        if self.field.levels:
            places = {level: float(i) for i, level in enumerate(self.field.levels)}
            named = {mapping.code(level): place for level, place in places.items()}
            return named | {mapping.code(c): places[lv] for c, lv in source.levels.items()}
        ones, zeros = source.one or (1,), source.zero or (0,)
        return dict.fromkeys(mapping.codes(zeros), 0.0) | dict.fromkeys(mapping.codes(ones), 1.0)

    def column(self, cells: Sequence[str]) -> Float[np.ndarray, "rows"]:
        values = np.empty(len(cells))
        for row, cell in enumerate(cells):
            decoded = self.cells.get(cell)
            if decoded is None:
                decoded = self._decode(cell)
                if len(self.cells) < _CACHE:
                    self.cells[cell] = decoded
            values[row], wrong = decoded
            if wrong:
                self.wrong[wrong, shape(cell) if self.field.number else cell.strip()] += 1
        return self._ranged(values) if self.field.number else values

    def _decode(self, cell: str) -> tuple[float, str]:
        plain = self.mapping.code(cell)
        if plain in self.absent:
            return np.nan, ""
        if self.field.number:
            try:
                return number(cell, self.mapping.decimal) * self.source.factor, ""
            except NotANumberError as error:
                return np.nan, str(error).split(_OF_SHAPE)[0]
        value = self.codes.get(plain)
        return (np.nan, "unknown code") if value is None else (value, "")

    def _ranged(self, values: Float[np.ndarray, "rows"]) -> Float[np.ndarray, "rows"]:
        column = self.field.columns[0]
        outside = (values < column.low) | (values > column.high)  # NaN is neither
        self.seen += int(np.isfinite(values).sum())
        if self.field.clip:
            return np.asarray(np.clip(values, column.low, column.high))
        self.outside += int(outside.sum())
        return values

    def problems(self) -> list[str]:
        name, source = self.field.name, self.source.column
        problems = []
        by_kind: dict[str, Counter[str]] = {}
        for (kind, form), count in self.wrong.items():
            by_kind.setdefault(kind, Counter())[form] += count
        for kind, shown in by_kind.items():
            total = shown.total()
            if kind != "unknown code":
                problems.append(
                    f"Column {source} ({name}) has {masked(total)} cells that are {kind} (most "
                    f"look like {shown.most_common(1)[0][0]!r})."
                )
                continue
            frequent = [repr(c[:40]) for c, n in shown.most_common(6) if n >= FEW]
            which = ", ".join(frequent) or "each in fewer than 5 rows"
            codes = ", ".join(sorted(self.codes))
            problems.append(
                f"Column {source} ({name}) has {masked(total)} cells whose code has no meaning "
                f"({which}); known are {codes}. Give them one under columns.{name}, or list them "
                "as missing."
            )
        if self.outside:
            problems.append(self._told_outside())
        return problems

    def _told_outside(self) -> str:
        column, unit = self.field.columns[0], self.field.unit or "the schema's unit"
        share = self.outside / max(self.seen, 1)
        problem = (
            f"Column {self.source.column} ({self.field.name}) has {masked(self.outside)} of "
            f"{self.seen} values outside {column.low:g} to {column.high:g} {unit}"
        )
        if share >= _WRONG_UNIT:
            return (
                f"{problem}: a wrong unit? Give the factor to {unit} under "
                f"columns.{self.field.name}."
            )
        return (
            f"{problem}. List codes such as 0 or -9 as missing, mend single cells by fix, or let "
            "the schema say clip = true."
        )


def encode(
    batches: Iterable[Batch],
    schema: Schema,
    mapping: TableFile,
    origin: str,
    *,
    most_records: int = 1,
) -> Encoded:
    """Encode a whole table.

    Guarantees (each is a test in ``tests/aggregation/data``):
      - the order of the rows changes nothing;
      - a row's features, outcome and id are a function of that row alone;
      - no text of ``problems`` holds a value that fewer than five rows have.

    Args:
      batches: Rows as text; every column of ``mapping.needed(schema)``.
      schema: What the columns mean.
      mapping: What the table's columns and codes are.
      origin: The table's name in errors.
      most_records: Rows of a hospital that one id may have; above 1 they are one patient's records.

    Raises:
      InvalidInputError: More rows than are read at once, or no patient at all.
    """
    table = _Table(schema, mapping, most_records)
    done = table.done
    for batch in batches:
        table.add(batch)
        if done.rows > _MOST_ROWS:
            raise InvalidInputError(f"{origin} has more than {_MOST_ROWS} rows.")
    done.problems = [f"{origin}: {problem}" for problem in table.problems()]
    if not done.problems:
        if not table.parts:
            raise InvalidInputError(
                f"{origin} has no patient: {done.rows} rows, of which {done.left_out} were left "
                "out by only, drop or the outcome's drop."
            )
        done.sites = table.sites()
    return done


@dataclass
class _Part:
    features: Float[np.ndarray, "rows features"]
    outcomes: Int[np.ndarray, "rows"]
    ids: Int[np.ndarray, "rows"]
    sites: Int[np.ndarray, "rows"]


class _Table:
    """The table as far as it was read."""

    def __init__(self, schema: Schema, mapping: TableFile, most_records: int) -> None:
        self.schema, self.mapping, self.most_records = schema, mapping, most_records
        self.done = Encoded()
        self.decoders = [_Decoder(one, mapping) for one in schema.fields]
        ones, zeros = (mapping.codes(c) for c in (mapping.outcome.one, mapping.outcome.zero))
        self.outcome = dict.fromkeys(ones, 1) | dict.fromkeys(zeros, 0)
        self.dropped = mapping.codes(mapping.outcome.drop)
        self.named = {mapping.code(c): name for c, name in mapping.sites.items()}
        self.numbers: dict[str, int] = {name: i for i, name in enumerate(self.named.values())}
        self.fixes: dict[str, list[tuple[str, str]]] = {}
        for fix in mapping.fix:
            self.fixes.setdefault(code(str(fix.id)), []).append((fix.column, str(fix.value)))
        self.parts: list[_Part] = []
        self.bad_outcomes: Counter[str] = Counter()
        self.bad_sites: Counter[str] = Counter()
        self.without_id = self.repeated = 0

    def add(self, rows_read: Batch) -> None:
        batch = {name: list(cells) for name, cells in rows_read.items()}
        mapping = self.mapping
        ids = [code(cell) for cell in batch[mapping.id]]
        self.done.rows += len(ids)
        for row, patient in enumerate(ids):
            for column, value in self.fixes.get(patient, ()):
                batch[column][row] = value
        outcomes, kept = self._outcomes(batch)
        self.done.left_out += len(ids) - len(kept)
        self.without_id += sum(not ids[row] for row in kept)
        sites = self._sites(batch, kept)
        rows = {d.source.column: [batch[d.source.column][r] for r in kept] for d in self.decoders}
        fields = [d.column(rows[d.source.column]) for d in self.decoders]
        for decoder, values in zip(self.decoders, fields, strict=True):
            self.done.missing[decoder.field.name] += int(np.isnan(values).sum())
        if kept:
            self.parts.append(
                _Part(
                    _features(self.schema, fields),
                    np.array([outcomes[row] for row in kept], dtype=np.int64),
                    np.array([_id_number(ids[row]) for row in kept], dtype=np.int64),
                    np.array(sites, dtype=np.int64),
                )
            )

    def _outcomes(self, batch: Batch) -> tuple[list[int], list[int]]:
        """The outcome of each row, and the rows that stay."""
        mapping = self.mapping
        filters = [(n, mapping.codes(codes), True) for n, codes in mapping.only.items()]
        filters += [(n, mapping.codes(codes), False) for n, codes in mapping.drop.items()]
        cells = batch[mapping.outcome.column]
        outcomes, kept = [0] * len(cells), []
        for row, cell in enumerate(cells):
            if any((mapping.code(batch[n][row]) in codes) != want for n, codes, want in filters):
                continue
            plain = mapping.code(cell)
            if plain in self.dropped:
                continue
            value = self.outcome.get(plain)
            if value is None:
                self.bad_outcomes[cell.strip()] += 1
            else:
                outcomes[row] = value
                kept.append(row)
        return outcomes, kept

    def _sites(self, batch: Batch, kept: Sequence[int]) -> list[int]:
        mapping = self.mapping
        if not mapping.site:
            return [self.numbers.setdefault("", 0)] * len(kept)
        numbers = []
        for row in kept:
            cell = batch[mapping.site][row].strip()
            plain = mapping.code(cell)
            name = self.named.get(plain) if self.named else plain
            if not name:
                self.bad_sites[cell] += 1
            numbers.append(self.numbers.setdefault(name or "", len(self.numbers)))
        return numbers

    def problems(self) -> list[str]:
        problems = [text for decoder in self.decoders for text in decoder.problems()]
        problems += [
            f"{masked(self.done.missing[f.name])} patients lack {f.name}, and the schema refuses "
            "missing values of it."
            for f in self.schema.fields
            if f.missing == "refuse" and self.done.missing[f.name]
        ]
        for counter, what, way_out in (
            (self.bad_outcomes, f"the outcome ({self.mapping.outcome.column})",
             "List each code under outcome.one, zero or drop; an empty cell as \"\"."),
            (self.bad_sites, f"the site ({self.mapping.site})",
             "Name each code under sites, or leave its rows out by drop."),
        ):  # fmt: skip
            if counter:
                frequent = [repr(c[:40]) for c, n in counter.most_common(6) if n >= FEW]
                problems.append(
                    f"{masked(counter.total())} rows have a code of {what} that has no meaning "
                    f"({', '.join(frequent) or 'each in fewer than 5 rows'}). {way_out}"
                )
        if self.without_id:
            problems.append(
                f"{masked(self.without_id)} rows have no id in column {self.mapping.id}; each "
                "patient needs one."
            )
        repeated, most = 0 if problems else self._repeated(), self.most_records
        if repeated:
            allowed = "one row" if most == 1 else f"{most} rows"
            problems.append(
                f"{masked(repeated)} ids in column {self.mapping.id} stand in more than {allowed} "
                "of a hospital. Join or choose among a patient's rows first, or let the cohort "
                "file say how many one patient may have (records, under [patients]): they count as "
                "one patient then."
            )
        empty = [name for name in self.named.values() if not self._has(name)]
        if empty and not problems:
            problems.append(
                f"No patient is left at {', '.join(empty)}; take the site out of sites, or see "
                "what only and drop leave out."
            )
        return problems

    def _has(self, name: str) -> bool:
        return any((part.sites == self.numbers[name]).any() for part in self.parts)

    def _repeated(self) -> int:
        if not self.parts:
            return 0
        sites, ids = self._keys()
        order = np.lexsort((ids, sites))
        sites, ids = sites[order], ids[order]
        most = self.most_records  # sorted: one too many is so many rows behind its first
        again = (ids[most:] == ids[:-most]) & (sites[most:] == sites[:-most])
        return int(again.sum())

    def _keys(self) -> tuple[Int[np.ndarray, "rows"], Int[np.ndarray, "rows"]]:
        """Each row's rank of the site, and its id."""
        if self.named:
            ranks = np.arange(len(self.numbers), dtype=np.int64)  # as the file lists them
        else:
            ranks = np.empty(len(self.numbers), dtype=np.int64)
            for rank, name in enumerate(sorted(self.numbers, key=_natural)):
                ranks[self.numbers[name]] = rank
        sites = ranks[np.concatenate([part.sites for part in self.parts])]
        return sites, np.concatenate([part.ids for part in self.parts])

    def sites(self) -> dict[str, Patients]:
        """Every hospital's patients; parts are given up one by one, so that no third copy lives."""
        keys, ids = self._keys()
        order = np.lexsort((ids, keys))
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        features = np.empty((len(order), len(self.schema)))
        outcomes = np.empty(len(order), dtype=np.int64)
        first = 0
        self.parts.reverse()
        while self.parts:
            part = self.parts.pop()
            here = place[first : first + len(part.ids)]
            features[here], outcomes[here] = part.features, part.outcomes
            first += len(part.ids)
        ids, keys = ids[order], keys[order]
        names = list(self.named.values()) if self.named else sorted(self.numbers, key=_natural)
        sites = {}
        for rank, name in enumerate(names):
            start, end = np.searchsorted(keys, [rank, rank + 1])
            sites[name] = self._patients(features[start:end], outcomes[start:end], ids[start:end])
        return sites

    def _patients(
        self,
        features: Float[np.ndarray, "rows features"],
        outcomes: Int[np.ndarray, "rows"],
        ids: Int[np.ndarray, "rows"],
    ) -> Patients:
        if self.most_records == 1:
            return Patients(features, outcomes, ids)
        # A patient's records by their content: sums of floats are those of any order of the table.
        order = np.lexsort((*features.T[::-1], outcomes, ids))
        return Patients(features[order], outcomes[order], ids[order], several_records=True)


def _features(
    schema: Schema, fields: Sequence[Float[np.ndarray, "rows"]]
) -> Float[np.ndarray, "rows features"]:
    columns = []
    for one, values in zip(schema.fields, fields, strict=True):
        if one.levels:  # NaN equals no level: the reference
            columns += [(values == level).astype(float) for level in range(1, len(one.levels))]
        else:
            column = one.columns[0]
            columns.append(np.nan_to_num((values - column.mean) / column.sd, nan=0.0))
    columns += [
        np.isnan(values).astype(float)
        for one, values in zip(schema.fields, fields, strict=True)
        if one.missing == "indicator"
    ]
    return np.stack(columns, axis=1)


def _id_number(text: str) -> int:
    """A whole number as it is; any other id by 62 bits of its SHA-256, whoever else is there."""
    try:
        value = int(text)
    except ValueError:
        value = _INTEGER_IDS
    if abs(value) < _INTEGER_IDS and str(value) == text:
        return value
    return _INTEGER_IDS + (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 2)


def _natural(name: str) -> tuple[int, int, str]:
    """Numbers by value, then names."""
    plain = name.isascii() and name.isdigit() and len(name) <= 18
    return (0, int(name), "") if plain else (1, 0, name)
