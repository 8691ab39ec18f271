"""Plain names: what passes can't leave a folder, end a line or share a file with another."""

import os
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger import Budget, Ledger, SigningKey
from privacy.ledger.log.entries import parse
from privacy.names import LONGEST_NAME, distinct_names, plain_name

GOOD = [
    "cleveland",
    "long beach",
    "St. Mary's",
    "Österreich 3",
    "北京协和医院",
    "a-b_c.d",
    "V.A",
    "x",
    "x" * 64,
    "京" * 64,
]
BAD = [
    "", ".", "..", "../../evil", "/etc/passwd", "a/b", "a\\b", "a\0b", "a\nb", "a\rb", "a\tb",
    "a\x1b[31mb", "a\u202eb", "a\u200bb", "a\ufeffb", "a\u2028b", "a\u00a0b", " a", "a ", "a  b",
    ".hidden", "-rf", "a.", "con", "NUL", "Com1.txt", "a:b", "a*", "a?", 'a"', "<a>", "a|b",
    "x" * (LONGEST_NAME + 1), "𝔸" * 49, "e\u0301", "\ud800", "\ue000", "\U000e0001",
    None, 7, b"north", ["north"],
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_names_of_hospitals_pass_unchanged(name: str) -> None:
    assert plain_name(hospital=name) == name


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_what_is_no_plain_name_is_refused_in_words_that_print(name: object) -> None:
    with pytest.raises(InvalidInputError, match="plain name") as caught:
        plain_name(hospital=name)
    told = str(caught.value)
    assert told.isprintable()
    assert told.isascii() or len(told) < 200
    assert len(told) < 250


@given(st.text(max_size=200))
def test_whatever_passes_is_one_file_in_its_folder_and_one_line(text: str) -> None:
    try:
        name = plain_name(hospital=text)
    except InvalidInputError:
        return
    assert name == text == unicodedata.normalize("NFC", text)
    assert name.isprintable()
    assert name.splitlines() == [name]
    with tempfile.TemporaryDirectory() as folder:
        longest = Path(folder) / f"openings-{name}.jsonl.torn-000000000-00000000"
        longest.write_bytes(b"")
        (Path(folder) / f"{name}.jsonl").write_bytes(b"")
        assert {os.path.dirname(path) for path in Path(folder).iterdir()} == {folder}  # noqa: PTH120 -- as text
        assert (Path(folder) / f"{name}.jsonl").resolve().parent == Path(folder).resolve()


@pytest.mark.parametrize(
    "pair", [("north", "north"), ("North", "north"), ("STRASSE", "straße"), ("１", "1")]
)
def test_names_that_could_share_a_file_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(InvalidInputError, match="distinct hospitals"):
        distinct_names(hospitals=pair)


def test_distinct_names_pass_in_their_order() -> None:
    assert distinct_names(hospitals=GOOD) == tuple(GOOD)
    with pytest.raises(InvalidInputError, match="plain name"):
        distinct_names(hospitals=["north", "../south"])


EVIL = "../../evil"


def test_a_ledger_under_an_evil_name_is_not_even_begun(tmp_path: Path) -> None:
    key, path = SigningKey.generate(), tmp_path / "ledger.jsonl"
    for hospital, enrolled in ((EVIL, {}), ("north", {EVIL: key.public})):
        with pytest.raises(InvalidInputError, match="plain name"):
            Ledger.create(path, hospital=hospital, key=key, budget=Budget(1.0), enrolled=enrolled)
    with pytest.raises(InvalidInputError, match="share one file"):
        Ledger.in_memory(
            hospital="north", budget=Budget(1.0), enrolled={"a": key.public, "A": key.public}
        )
    assert list(tmp_path.iterdir()) == []


def test_an_entry_under_an_evil_name_is_not_read() -> None:
    (entry,) = Ledger.in_memory(hospital="north", budget=Budget(1.0)).entries()
    with pytest.raises(CorruptMessageError, match="plain name"):
        parse(entry.line.replace(b'"hospital":"north"', b'"hospital":"../../evil"'))
