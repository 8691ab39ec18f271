"""Promises of ``read_table``: every form the same bits, and each fault one paragraph."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.data import Schema, encoding, read_table
from aggregation.data.tables import survey
from privacy.errors import InvalidInputError
from tests.aggregation.data.parts import (
    SCHEMA,
    Row,
    by_hand,
    csv_table,
    refusal,
    rows,
    same,
    site,
    write_csv,
    write_parquet,
    write_sqlite,
)

Writer = Callable[[Path, list[Row]], Path]


def test_every_form_gives_the_same_patients_bit_for_bit(tmp_path: Path) -> None:
    content = rows()
    expected = by_hand(content)
    write_csv(tmp_path / "a.csv", content)
    write_csv(tmp_path / "b.csv", content, delimiter=";", bom=True)
    write_csv(tmp_path / "c.csv", sorted(content), delimiter="\t")
    write_parquet(tmp_path / "d.parquet", content)
    write_sqlite(tmp_path / "e.db", content)
    sources = [f'source = "{name}"' for name in ("a.csv", "b.csv", "c.csv", "d.parquet")]
    sources.append('[database]\nurl = "sqlite:///e.db"\nquery = "SELECT * FROM ward"')
    for source in sources:
        table, schema = site(tmp_path, source)
        assert same(read_table(table, schema), expected), source


def test_a_column_with_quotes_in_its_name_is_only_a_name(tmp_path: Path) -> None:
    import duckdb

    content = rows()
    write_parquet(tmp_path / "plain.parquet", content)
    named = 'age "in years"'
    duckdb.connect(":memory:").execute(
        'COPY (SELECT * EXCLUDE (age_years), age_years AS "age ""in years""" FROM '
        f"'{tmp_path}/plain.parquet') TO '{tmp_path}/ward.parquet' (FORMAT parquet)"
    )
    table, schema = site(tmp_path, 'source = "ward.parquet"')
    table.write_text(table.read_text().replace('"age_years"', f"'{named}'"))
    assert same(read_table(table, schema), by_hand(content))


def test_decimal_commas_are_read_where_they_are_declared(tmp_path: Path) -> None:
    content = rows()
    commas = [
        tuple(str(v).replace(".", ",") if isinstance(v, float) else v for v in r) for r in content
    ]
    write_csv(tmp_path / "ward.csv", commas, delimiter=";")
    table, schema = site(tmp_path, 'source = "ward.csv"', 'decimal = ","')
    assert same(read_table(table, schema), by_hand(content))
    table, schema = site(tmp_path, 'source = "ward.csv"')
    assert "decimal commas; write decimal = ','" in refusal(table, schema)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 40))
def test_a_row_is_a_function_of_itself_and_the_order_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    content = rows(count, seed)
    whole = read_table(*csv_table(folder, content))
    assert same(whole, read_table(*csv_table(folder, content[::-1])))
    assert (np.diff(whole.ids) > 0).all()
    fewer = read_table(*csv_table(folder, content[1:]))  # one patient leaves, nobody else moves
    assert same(fewer, whole.take(whole.ids != content[0][0]))


def test_an_id_that_is_a_text_has_a_number_of_its_own_that_never_changes(tmp_path: Path) -> None:
    content = [("P-001" if r[0] == 1 else r[0], *r[1:]) for r in rows()]
    (named,) = (i for i in read_table(*csv_table(tmp_path, content)).ids if i > 60)
    assert named == 8_688_594_361_704_250_380  # 2^62 + 62 bits of SHA-256


def test_more_rows_than_are_read_at_once_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_MOST_ROWS", 60)
    assert len(read_table(*csv_table(tmp_path, rows(60)))) == 60
    assert "more than 60 rows" in refusal(*csv_table(tmp_path, rows(61)))


@pytest.mark.parametrize("column", [1, 4])  # the outcome, and a field of the schema
def test_a_code_is_shown_from_five_rows_on(tmp_path: Path, column: int) -> None:
    for count in (4, 5):
        content = [
            (*r[:column], "later" if r[0] <= count else r[column], *r[column + 1 :]) for r in rows()
        ]
        assert ("'later'" in refusal(*csv_table(tmp_path, content))) == (count == 5)


def test_a_patient_with_a_name_for_an_id_keeps_its_number_whoever_else_is_there(
    tmp_path: Path,
) -> None:
    content = [(f"P-{r[0]:03d}", *r[1:]) for r in rows()]
    whole = read_table(*csv_table(tmp_path, content))
    fewer = read_table(*csv_table(tmp_path, content[7:]))
    assert set(fewer.ids) < set(whole.ids)
    assert len(set(whole.ids)) == len(content)
    assert min(whole.ids) >= 1 << 62


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("age_years", "alter"), r"has no column 'age_years'; it has 'patient', 'event', 'alter'"),
        (("comment", "event"), r"more than one column event"),
    ],
)
def test_unknown_and_repeated_columns_are_named(
    tmp_path: Path, change: tuple[str, str], expected: str
) -> None:
    path = write_csv(tmp_path / "ward.csv", rows())
    path.write_text(path.read_text().replace(*change, 1))
    table, schema = site(tmp_path, 'source = "ward.csv"')
    assert expected in refusal(table, schema)


def test_a_wrong_unit_is_suspected_and_a_few_wild_values_are_not(tmp_path: Path) -> None:
    table, schema = csv_table(tmp_path, rows())
    table.write_text(table.read_text().replace("factor = 38.67, ", ""))
    assert "a wrong unit? Give the factor to mg/dl under columns.chol" in refusal(table, schema)
    wild = [(*r[:2], 150.0 if r[0] == 3 else r[2], *r[3:]) for r in rows()]
    told = refusal(*csv_table(tmp_path, wild))
    assert "fewer than 5 of 5" in told  # of 5x values
    assert "wrong unit" not in told
    assert "150" not in told


def test_what_is_out_of_range_is_moved_where_the_schema_says_clip(tmp_path: Path) -> None:
    wild = [(*r[:2], 150.0 if r[0] == 3 else r[2], *r[3:]) for r in rows()]
    table, _ = csv_table(tmp_path, wild)
    clipped = SCHEMA.replace("high = 100}", "high = 100, clip = true}", 1)
    (tmp_path / "schema.toml").write_text(clipped)
    patients = read_table(table, Schema.from_toml(tmp_path / "schema.toml"))
    assert patients.features[patients.ids == 3, 0] == 4.5


def test_repeated_and_absent_ids_are_refused_without_naming_a_patient(tmp_path: Path) -> None:
    content = rows()
    told = refusal(*csv_table(tmp_path, [*content, content[7], content[8]]))
    assert "fewer than 5 ids in column patient stand in more than one row" in told
    assert "no id in column patient" in refusal(
        *csv_table(tmp_path, [*content, (None, *content[0][1:])])
    )


def test_codes_without_a_meaning_are_shown_only_where_five_rows_have_them(tmp_path: Path) -> None:
    many = [(*r[:4], "perhaps" if r[0] < 9 else r[4], *r[5:]) for r in rows()]
    told = refusal(*csv_table(tmp_path, many))
    assert "'perhaps'" in told
    assert "columns.smoker" in told
    few = [(*r[:4], "Mrs Smith" if r[0] == 9 else r[4], *r[5:]) for r in rows()]
    told = refusal(*csv_table(tmp_path, few))
    assert "Smith" not in told
    assert "fewer than 5" in told


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("3-Jan", "dates, as spreadsheets make"),
        ("2023-01-05 00:00:00", "dates, as spreadsheets make"),
        ("05.01.2023", "dates, as spreadsheets make"),
        ("sixty", "no numbers"),
        ("1_000", "no numbers"),
        ("nan", "no numbers"),
        ("inf", "no numbers"),
        ("1e999", "too large"),
        ("٣", "no numbers"),  # digits of another script are no digits here
    ],
)
def test_what_is_no_number_is_told_by_its_kind(tmp_path: Path, cell: str, expected: str) -> None:
    content = [(*r[:2], cell if r[0] == 4 else r[2], *r[3:]) for r in rows()]
    told = refusal(*csv_table(tmp_path, content))
    assert expected in told
    assert cell not in told.split("(most")[0]


def test_a_missing_value_is_refused_where_the_schema_refuses_it(tmp_path: Path) -> None:
    table, _ = csv_table(tmp_path, rows())
    strict = SCHEMA.replace("smoker = {}", 'smoker = {missing = "refuse"}')
    (tmp_path / "schema.toml").write_text(strict)
    assert "lack smoker" in refusal(table, Schema.from_toml(tmp_path / "schema.toml"))


def test_an_indicator_of_missing_values_comes_after_all_columns(tmp_path: Path) -> None:
    table, schema = csv_table(tmp_path, rows())
    marked = SCHEMA.replace("smoker = {}", 'smoker = {missing = "indicator"}')
    (tmp_path / "schema.toml").write_text(marked)
    wider = read_table(table, Schema.from_toml(tmp_path / "schema.toml"))
    narrow = read_table(table, schema)
    assert np.array_equal(wider.features[:, :-1], narrow.features)
    without = {r[0] for r in rows() if r[4] in (None, "NA")}
    assert {int(i) for i in wider.ids[wider.features[:, -1] == 1]} == without


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"\n\n", "begins with an empty line"),
        ("patient,event\n".encode("utf-16"), "is UTF-16; save it as CSV UTF-8"),
        (b"PK\x03\x04etc", "a workbook or an archive"),
        (b"\x1f\x8b\x08", "is compressed"),
        (b"patient,event\n1,J\xfcrgen\n", "about line 2: bytes that are no UTF-8"),
        (b"patient,event\n1,\0\n", "zero bytes"),
        (b"patient,event\n1,\xc3", "cut short"),
    ],
)
def test_what_is_no_csv_is_told(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "ward.csv").write_bytes(content)
    told = refusal(*site(tmp_path, 'source = "ward.csv"'))
    assert expected in told
    assert "rgen" not in told


def test_a_line_of_another_length_names_its_number_and_no_cell(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "ward.csv", [(*r[:-1], "") for r in rows()])
    lines = path.read_text().splitlines()
    lines[30] += ",Smith"
    path.write_text("\n".join(lines))
    told = refusal(*site(tmp_path, 'source = "ward.csv"'))
    assert "line 31: 8 cells where the header has 7" in told
    assert "Smith" not in told


def test_missing_files_and_globs_are_told(tmp_path: Path) -> None:
    assert "Can't read" in refusal(*site(tmp_path, 'source = "nowhere.csv"'))
    write_csv(tmp_path / "ward1.csv", rows())
    assert "holds one of * ? [" in refusal(*site(tmp_path, 'source = "ward*.csv"'))


def test_outcome_codes_need_a_meaning_and_dropped_patients_leave(tmp_path: Path) -> None:
    content = [(r[0], 9 if r[0] <= 6 else r[1], *r[2:]) for r in rows()]
    kept = read_table(*csv_table(tmp_path, content))
    assert min(kept.ids) == 7
    assert survey(tmp_path / "table.toml", Schema.from_toml(tmp_path / "schema.toml")).left_out == 6
    content = [(r[0], 2 if r[0] <= 6 else r[1], *r[2:]) for r in rows()]
    assert "6 rows have a code of the outcome (event)" in refusal(*csv_table(tmp_path, content))


def test_only_drop_fix_and_upper_do_what_they_say(tmp_path: Path) -> None:
    content = [(*r[:4], (r[4] or "").title() or None, *r[5:]) for r in rows()]
    more = 'upper = true\nonly = {smoker = ["Yes", "no"]}\ndrop = {angina = [4]}\n'
    more += 'fix = [{id = 5, column = "smoker", value = "yes"}]'
    kept = read_table(*csv_table(tmp_path, content, more))
    expected = [(*r[:4], "yes" if r[0] == 5 else r[4], *r[5:]) for r in rows()]
    expected = [r for r in expected if r[4] in ("yes", "no") and r[5] != 4]
    assert same(kept, by_hand(expected))


def test_a_whole_table_left_out_is_no_hospital(tmp_path: Path) -> None:
    told = refusal(*csv_table(tmp_path, rows(), 'only = {smoker = ["never"]}'))
    assert "has no patient: 60 rows, of which 60 were left out" in told


def test_codes_in_another_case_are_others_unless_the_mapping_says_upper(tmp_path: Path) -> None:
    content = [(*r[:4], r[4] and r[4].upper(), *r[5:]) for r in rows()]
    assert "smoker" in refusal(*csv_table(tmp_path, content))
    assert same(read_table(*csv_table(tmp_path, content, "upper = true")), by_hand(rows()))


def test_a_header_of_thousands_of_columns_is_refused(tmp_path: Path) -> None:
    for count, told in ((8_192, "has no column"), (8_193, "has 8193 columns, more than 8192")):
        names = ",".join(f"c{i}" for i in range(count))
        assert told in refusal(*csv_table(tmp_path, f"{names}\n"))


def test_a_delimiter_inside_quotes_of_the_header_is_not_one(tmp_path: Path) -> None:
    table, schema = csv_table(tmp_path, rows())
    expected = read_table(table, schema)
    ward = next(tmp_path.glob("*.csv"))
    first, rest = ward.read_text().split("\n", 1)
    assert first.endswith(",comment")
    many = "so; many; of; them; and; more; here; than; there; are; commas"
    ward.write_text(f'{first.removesuffix("comment")}"{many}"\n{rest}')
    assert same(read_table(table, schema), expected)


def test_all_that_is_wrong_is_counted_by_a_survey(tmp_path: Path) -> None:
    content = [(*r[:2], "x" if r[0] < 9 else r[2], r[3], "?" * (r[0] < 9), *r[5:]) for r in rows()]
    table, schema = csv_table(tmp_path, content)
    problems = survey(table, schema).problems
    assert len(problems) == 2
    assert "1 more: `inpatient cohort check` tells all" in refusal(table, schema)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('id = "patient"', 'id = "patient"\ncolour = "red"', "colour is no key that is known"),
        ('id = "patient"', "", "id is missing"),
        ("factor = 38.67", "facto = 38.67", "columns.chol.facto is no key that is known"),
        ("factor = 38.67", 'factor = "38.67"', "columns.chol.factor"),
        ("factor = 38.67", "factor = -1", "factor=-1"),
        ("factor = 38.67", "factor = inf", "an infinite number"),
        ('id = "patient"', "id = 2020-01-01", "a date"),
        ('age = "age_years"', 'weight = "kg"', "columns.weight is not in the schema"),
        ("1 = \"typical\"", '1 = "unstable"', "angina has no level unstable"),
        ('one = ["yes"]', 'one = ["yes", "no"]', "'no' stands under one and under zero"),
        ('smoker = {one = ["yes"], zero = ["no", "stopped"]}', "smoker = {factor = 2.0}",
         "takes no factor"),
        ('id = "patient"', 'id = "patient"\nsites = {A = "a"}', "say which by site"),
        ('id = "patient"', 'id = "patient"\nsite = "comment"\nsites = {A = "../a"}',
         "letters, digits"),
        ('id = "patient"', 'id = "patient"\nfix = [{id = 1, column = "patient", value = 2}]',
         "fix names column patient"),
        ('[outcome]', "[outcome", "is not TOML"),
        ('column = "event"', 'column = "event"\none = [0]', "stands under one and under zero"),
        ('column = "event"', 'column = "event"\nzero = []', "at least one code under one"),
        ('column = "event"', 'column = "event"\none = []', "at least one code under one"),
        ('column = "event"', 'column = "event"\none = [9]', "stands under one and under drop"),
        ('one = ["yes"]', 'one = ["yes"], missing = ["no"]', "'no' stands under zero and under"),
    ],
)  # fmt: skip
def test_a_wrong_mapping_is_one_paragraph(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    table, schema = csv_table(tmp_path, rows())
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new, 1))
    told = refusal(table, schema)
    assert expected in told
    assert "table.toml" in told


def test_a_table_needs_one_source(tmp_path: Path) -> None:
    table, schema = site(tmp_path, "")
    assert "give either source or [database]" in refusal(table, schema)
    assert "Can't read" in refusal(tmp_path / "nowhere.toml", schema)
    table.write_bytes(b"#" * (1 << 20) + b"\nid = 1")
    assert "larger than" in refusal(table, schema)


def test_a_schema_made_by_hand_reads_no_table(tmp_path: Path) -> None:
    table, schema = csv_table(tmp_path, rows())
    with pytest.raises(InvalidInputError, match="made by hand"):
        read_table(table, Schema(schema.columns, schema.outcome))
