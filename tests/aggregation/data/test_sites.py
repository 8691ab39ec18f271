"""A table of several hospitals, and several tables of one cohort."""

from pathlib import Path

import numpy as np
import pytest

from aggregation.data import Cohort, Schema, read_table
from aggregation.data.tables import read_sites
from privacy.errors import InvalidInputError
from tests.aggregation.data.parts import (
    MAPPING,
    SCHEMA,
    by_hand,
    csv_table,
    rows,
    same,
    write_csv,
)


def test_a_table_with_a_site_column_gives_each_hospital_its_own(tmp_path: Path) -> None:
    content = [(*r[:-1], "AB"[r[0] % 2]) for r in rows()]
    table, schema = csv_table(tmp_path, content, 'site = "comment"')
    sites = read_sites(table, schema)
    assert list(sites) == ["A", "B"]
    expected = by_hand(content)
    for name, odd in (("A", 0), ("B", 1)):
        assert same(sites[name], expected.take(expected.ids % 2 == odd))
    with pytest.raises(InvalidInputError, match=r"names a site column.*cohort\.toml"):
        read_table(table, schema)
    named = 'site = "comment"\nsites = {B = "south", A = "north"}'
    assert list(read_sites(*csv_table(tmp_path, content, named))) == ["south", "north"]
    with pytest.raises(InvalidInputError, match="No patient is left at west"):
        read_sites(
            *csv_table(
                tmp_path, content, 'site = "comment"\nsites = {B = "b", A = "a", C = "west"}'
            )
        )
    with pytest.raises(InvalidInputError, match=r"code of the site \(comment\).*'A'"):
        read_sites(*csv_table(tmp_path, content, 'site = "comment"\nsites = {B = "south"}'))


def test_a_site_whose_code_is_no_name_is_refused(tmp_path: Path) -> None:
    content = [(*r[:-1], "../a") for r in rows()]
    with pytest.raises(InvalidInputError, match="letters, digits, spaces"):
        read_sites(*csv_table(tmp_path, content, 'site = "comment"'))


def test_numbered_sites_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    content = [(*r[:-1], f"{r[0] % 12}.0") for r in rows()]
    sites = read_sites(*csv_table(tmp_path, content, 'site = "comment"'))
    assert list(sites) == [str(i) for i in range(12)]


def test_one_id_may_stand_in_two_hospitals_and_not_twice_in_one(tmp_path: Path) -> None:
    content = [((r[0] + 1) // 2, *r[1:-1], "AB"[r[0] % 2]) for r in rows()]
    sites = read_sites(*csv_table(tmp_path, content, 'site = "comment"'))
    assert {len(p) for p in sites.values()} == {30}
    with pytest.raises(InvalidInputError, match="30 ids in column patient"):
        read_table(*csv_table(tmp_path, content))


def test_neighbouring_hospitals_may_share_an_id(tmp_path: Path) -> None:
    content = [(7, *r[1:-1], "AB"[i]) for i, r in enumerate(rows()[:2])]
    sites = read_sites(*csv_table(tmp_path, content, 'site = "comment"'))
    assert {name: p.ids.tolist() for name, p in sites.items()} == {"A": [7], "B": [7]}


def test_a_cohort_reads_hospitals_from_their_own_files(tmp_path: Path) -> None:
    for name, seed in (("north", 1), ("south", 2)):
        write_csv(tmp_path / f"{name}.csv", rows(40, seed))
        (tmp_path / f"{name}.toml").write_text(f'source = "{name}.csv"\n{MAPPING}')
    (tmp_path / "schema.toml").write_text(SCHEMA)
    listed = tmp_path / "stroke.toml"
    text = 'schema = "schema.toml"\n[sites]\nnorth = "north.toml"\nsouth = "south.toml"\n'
    listed.write_text(text)
    cohort = Cohort.from_file(listed)
    assert cohort.name == "stroke"
    assert cohort.sizes == (40, 40)
    assert not cohort.public
    assert same(cohort.hospitals["south"], by_hand(rows(40, 2)))
    listed.write_text(
        'public = true\nname = "other"\n'
        + text.replace('"north.toml"', '{table = "north.toml", tier = "clinic"}')
    )
    with pytest.raises(InvalidInputError, match="lacks the tier"):
        Cohort.from_file(listed)
    listed.write_text(text.replace("north =", '"../x" ='))
    with pytest.raises(InvalidInputError, match="letters, digits"):
        Cohort.from_file(listed)
    listed.write_text('table = "north.toml"\n' + text)
    with pytest.raises(InvalidInputError, match=r"either \[sites\] or table, and not both"):
        Cohort.from_file(listed)


def test_a_key_names_exactly_these_patients_and_hides_private_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INPATIENT_HOME", str(tmp_path / "home"))
    patients = read_table(*csv_table(tmp_path, rows()))
    schema = Schema.from_toml(tmp_path / "schema.toml")
    public = Cohort("x", {"a": patients}, schema, public=True)
    private = Cohort("x", {"a": patients}, schema, public=False)
    keys = {
        public.key(),
        private.key(),
        private.key(b"k" * 32),
        Cohort("x", {"b": patients}, schema).key(),
        Cohort("x", {"a": patients.take(np.arange(59))}, schema).key(),
        Cohort("x", {"a": patients}, schema, {"a": "tier"}).key(),
    }
    assert len(keys) == 6
    assert private.key() == private.key()
    assert Cohort("another name", {"a": patients}, schema).key() == public.key()
    key = tmp_path / "home" / "table.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in key.parent.iterdir()] == ["table.key"]
    key.write_bytes(b"short")
    with pytest.raises(InvalidInputError, match="is no key of 32 bytes"):
        private.key()
    monkeypatch.setenv("INPATIENT_HOME", str(key))
    with pytest.raises(InvalidInputError, match="INPATIENT_HOME"):
        private.key()
