"""Ours beside the authors' code: from the committed measurement, and nothing from a dirty one."""

import json
import re
from pathlib import Path

import pytest

from experiments.studies.words import NOTHING_YET
from paper.authors_told import authors_rows, committed
from paper.readme import block
from privacy.errors import InvalidInputError

PAPER = Path(__file__).resolve().parents[2] / "paper"
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def test_ours_finds_as_much_in_less_time_and_both_counts_of_theirs_agree() -> None:
    content = committed(PAPER)
    assert content is not None and re.fullmatch(r"[0-9a-f]{40}", content["tableak"])
    for row in content["rows"]:
        assert (row["restarts"], row["iterations"]) == (30, 1500)
        assert row["counted"] == pytest.approx(row["accuracy"], abs=0.01)
        assert row["our_accuracy"] > row["accuracy"] - 0.03
        assert row["seconds"] > 5 * row["our_seconds"]
    rows = authors_rows(content)
    rows = json.loads(json.dumps(rows, sort_keys=True))  # as numbers.json keeps them
    told = {lang: block("authors", {"authors": rows}, lang) for lang in ("en", "zh")}
    assert told["en"].splitlines()[2].startswith("| 8 | 30, 1500 | 0.")
    assert sorted(NUMBER.findall(told["en"])) == sorted(NUMBER.findall(told["zh"]))
    assert told["en"].count("\n") == 1 + len(content["rows"])


def test_what_was_not_measured_or_not_from_a_clean_commit_is_not_told(tmp_path: Path) -> None:
    assert committed(tmp_path) is None
    for language in ("en", "zh"):
        assert block("authors", {"authors": []}, language) == NOTHING_YET[language]
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "authors.json").write_text(json.dumps({"stamp": {"dirty": True}}))
    with pytest.raises(InvalidInputError, match="clean commit"):
        committed(tmp_path)
