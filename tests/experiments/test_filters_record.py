"""What was found in other people's filters: the record, its versions, the page that tells it."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.benchmarks.filters import Filters, as_table
from privacy.errors import InvalidInputError

ROOT = Path(__file__).resolve().parents[2]
RECORD = Filters.from_json(json.loads((ROOT / "paper" / "bench" / "filters.json").read_text()))


def test_the_page_tells_what_was_recorded() -> None:
    page = (ROOT / "docs" / "test-your-mechanism.md").read_text(encoding="utf-8")
    table = page.split("<!-- filters -->")[1].split("<!-- /filters -->")[0]
    assert table.strip() == as_table(RECORD)


def test_the_record_is_of_the_versions_that_are_locked() -> None:
    asked = (ROOT / "requirements-bench.txt").read_text()
    assert set(RECORD.versions) == {"flwr", "nvflare"}
    for name, version in RECORD.versions.items():
        assert f"{name}=={version}" in asked.replace("[simulation]", "")


def test_the_sentences_of_the_page_hold() -> None:
    """Each claim in words, by the row that it stands on."""

    def row(name: str, part: str) -> tuple[tuple[str, ...], dict[str, float]]:
        (found,) = [r for r in RECORD.rows if r.name.endswith(name) and part in r.setting + r.claim]
        return found.found, dict(found.numbers)

    assert row("FixedClipping", "8 clients of 200") == ((), {"multiplier": 2.0})
    found, numbers = row("FixedClipping", "two clients of 2,000")
    assert found == ("sensitivity",)
    assert numbers["multiplier"] == pytest.approx(2 / 8 * 5200 / 2000)  # a third of 2
    assert row("FixedClipping", "one more or less")[0] == ("sensitivity",)
    assert row("FixedClipping", "float32")[0] == ("fresh",)
    assert row("FixedClipping", "exactly zero")[0] == ("control",)
    assert row("FixedClipping", "NaN")[0] == ("sensitivity",)
    assert row("AdaptiveClipping", "all clipped")[1]["noise"] == pytest.approx(0.9048, abs=1e-4)
    found, numbers = row("LocalDpMod", "sensitivity 1,")
    assert found == ("sensitivity",) and numbers["epsilon"] > 1.6
    found, numbers = row("LocalDpMod", "sensitivity 2,")
    assert found == () and numbers["epsilon"] < 1
    assert row("PercentilePrivacy", "defaults")[0] == ("fresh",)
    assert row("SVTPrivacy", "epsilon_release 2.9")[0] == ("sensitivity",)
    assert row("SVTPrivacy", "1 / 3)")[0] == ()
    found, numbers = row("SVTPrivacy", "and a scalar")
    assert numbers["epsilon"] == pytest.approx(1004 * 0.1 + 0.1)
    assert numbers["scalar_error"] == 0
    assert row("SVTPrivacy", "100 NaN")[0] == ("hangs",)


def test_what_is_no_record_is_refused() -> None:
    assert Filters.from_json(RECORD.to_json()) == RECORD
    wrong: list[dict[str, Any]] = [
        {"versions": {}},
        {"rows": [{}], "versions": {}},
        {"rows": [{"found": []}], "versions": {}},
    ]
    for content in wrong:
        with pytest.raises(InvalidInputError, match="inpatient bench filters"):
            Filters.from_json(content)
