"""What is told of published tables: a row a table, no bound, the same numbers in both languages."""

import re

from experiments.studies.words import NOTHING_YET
from paper.readme import block
from paper.tables_told import HEADINGS, tables_of
from tests.experiments.deidentified.test_rule import BOTH, records

NUMBER = re.compile(r"[−+]?\d+(?:\.\d+)?")


def test_two_tables_with_a_row_a_published_table_in_both_languages() -> None:
    rows = tables_of(records(*[BOTH] * 8)[::-1])
    assert len(rows) == 4 * 6
    assert [row["k"] for row in rows[:6]] == ["1", "2", "5", "10", "20", "25"]
    assert rows[0]["way"]["en"] == "all fields, each hospital's own table"
    told = {lang: block("tables", {"deidentified": rows}, lang) for lang in ("en", "zh")}
    for language, text in told.items():
        first, second = text.split("\n\n")
        assert first.count("\n") == second.count("\n") == 1 + len(rows)
        assert all(heading in text for heading in (*HEADINGS[language][0], *HEADINGS[language][1]))
        assert ("no bound" if language == "en" else "| 无 |") in second
    assert sorted(NUMBER.findall(told["en"])) == sorted(NUMBER.findall(told["zh"]))
    assert "−0.100 (−0.102 to −0.098)" in told["en"] and "−0.100（−0.102 至 −0.098）" in told["zh"]
    assert "0.30 (0.29–0.31)" in told["en"] and "0.90 (0.89–0.91)" in told["en"]


def test_without_records_it_says_so() -> None:
    for language in ("en", "zh"):
        assert block("tables", {"deidentified": []}, language) == NOTHING_YET[language]
        assert block("sentences", {"sentences": []}, language) == NOTHING_YET[language]
