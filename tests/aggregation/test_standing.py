"""One ledger for the same patients: a second run finds what the first has spent."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aggregation.federation import Federation
from aggregation.standing import StandingLedgers
from experiments.cli import main
from privacy.errors import BudgetExceededError, CostlierPlanWarning, RefusedError
from privacy.ledger import Budget, Planned, SigningKey, load_trust, verify
from privacy.report import write_report
from tests.aggregation.parts import HOSPITALS, cohort, plan

STEP = {"type": "GaussianDpEvent", "noise_multiplier": 40.0}


def test_a_second_run_goes_on_with_the_ledger_and_its_own_budget(tmp_path: Path) -> None:
    home = StandingLedgers(tmp_path)
    key = home.key("north")
    assert home.key("north").public == key.public
    asked: dict[str, Any] = {"key": key, "enrolled": {"north": key.public}}
    first = home.ledger("north", budget=Budget(1.0), **asked)
    first.declare([Planned("update", STEP, 60)], plan="ab" * 32)
    again = home.ledger("north", budget=Budget(50.0), **asked)
    assert again.identity == first.identity
    assert again.state().budget.epsilon == 1.0
    with pytest.raises(BudgetExceededError):
        again.declare([Planned("update", STEP, 200)], plan="cd" * 32)


def test_a_newcomer_is_enrolled_and_nobody_takes_anothers_place(tmp_path: Path) -> None:
    home = StandingLedgers(tmp_path)
    key = home.key("north")
    keys = {"north": key.public}
    home.ledger("north", key=key, budget=Budget(1.0), enrolled=keys)
    more = keys | {"south": SigningKey.generate().public}
    again = home.ledger("north", key=key, budget=Budget(1.0), enrolled=more)
    assert again.enrolled == more
    assert [entry.kind for entry in again.entries()] == ["opening", "enrolled"]
    assert home.ledger("north", key=key, budget=Budget(1.0), enrolled=keys).size == 2
    other = keys | {"south": SigningKey.generate().public}
    with pytest.raises(RefusedError, match="enrols south under another public key"):
        home.ledger("north", key=key, budget=Budget(1.0), enrolled=other)


def test_a_ledger_under_anothers_name_is_refused(tmp_path: Path) -> None:
    home = StandingLedgers(tmp_path)
    key = home.key("north")
    home.ledger("north", key=key, budget=Budget(1.0), enrolled={})
    (tmp_path / "ledgers" / "north.jsonl").rename(tmp_path / "ledgers" / "south.jsonl")
    with pytest.raises(RefusedError, match="that of north, not of south"):
        home.ledger("south", key=key, budget=Budget(1.0), enrolled={})


def federation(tmp_path: Path, name: str, hospitals: tuple[str, ...] = HOSPITALS) -> Federation:
    everybody = cohort()
    made = replace(
        plan(scheme="bfv", noise_multiplier=60.0, rounds=3),
        run=name,
        hospitals=hospitals,
        declared_sizes=tuple(len(everybody[hospital]) for hospital in hospitals),
    )
    return Federation.real(
        made,
        {hospital: everybody[hospital] for hospital in hospitals},
        out=tmp_path / name,
        ledgers=tmp_path / "home",
        target_epsilon=2.0,
        context={"commit": f"that of {name}"},
    )


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Two whole runs of one folder's ledgers; one hospital joined for the second."""
    for name, hospitals in (("one", HOSPITALS[:-1]), ("two", HOSPITALS)):
        run = federation(tmp_path, name, hospitals)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CostlierPlanWarning)
            run.run()
        run.save(tmp_path / name)
    return tmp_path


def told(folder: Path, *runs: str) -> list[str]:
    paths = [folder / "home", *(folder / run for run in runs)]
    verdict = verify(paths, load_trust(folder / "two" / "trust.json"))
    return [str(finding) for finding in verdict.findings if finding.level != "OK"]


def test_two_runs_on_one_ledger_are_verified_together(two: Path) -> None:
    assert told(two, "one", "two") == []
    for reading in verify([two / "home", two / "one", two / "two"], None).readings:
        (spent,) = reading.spent
        assert spent.releases == (3 if reading.hospital == HOSPITALS[-1] else 6)
        facts = {facts["run"]: facts["commit"] for facts in reading.stated()}
        assert facts["two"] == "that of two"


def test_a_run_whose_folder_is_not_shown_fails(two: Path) -> None:
    found = told(two, "two")
    assert found == [
        f"FAIL: {name}: no manifest of the run 'one' says where its 3 releases went"
        for name in sorted(HOSPITALS[:-1])
    ]


def test_a_log_of_opened_sums_that_was_taken_away_is_missed(two: Path) -> None:
    (two / "one" / "openings.jsonl").unlink()
    (finding,) = told(two, "one", "two")
    assert finding.startswith("FAIL: one/manifest.json: no log (openings*.jsonl) says which sums")


def test_the_page_of_a_run_names_that_run(two: Path) -> None:
    trust = load_trust(two / "two" / "trust.json")
    _, (page, _) = write_report(two / "two", trust=trust, out=two / "page", ledgers=two / "home")
    assert "that of two" in page.read_text(encoding="utf-8")
    assert "that of one" not in page.read_text(encoding="utf-8")


def test_a_run_that_died_counts_until_all_its_hospitals_give_it_up(
    two: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class DiedError(Exception):
        """The process is gone."""

    def progress(done: int) -> None:
        raise DiedError

    dead = federation(two, "dead")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CostlierPlanWarning)
        with pytest.raises(DiedError):
            dead.run(progress)
    expected = [
        f"FAIL: {name}: no manifest of the run 'dead' says where its 1 releases went"
        for name in sorted(HOSPITALS)
    ]
    assert [line for line in told(two, "one", "two") if "dead" in line] == expected
    for name in HOSPITALS[:-1]:
        assert abandon(two, name) == 0
    assert "what was not made of it is freed" in capsys.readouterr().out
    assert [line for line in told(two, "one", "two") if "dead" in line] == expected
    assert abandon(two, HOSPITALS[-1]) == 0
    assert [line for line in told(two, "one", "two") if "dead" in line] == [
        line.replace("FAIL", "NOTE") + "; all its hospitals gave it up" for line in expected
    ]
    assert not any(line.startswith("FAIL") for line in told(two, "one", "two"))
    trust = load_trust(two / "two" / "trust.json")
    _, pages = write_report(two / "two", trust=trust, out=two / "page", ledgers=two / "home")
    for page, word in zip(pages, ("abandoned", "放弃计划"), strict=True):
        assert word in page.read_text(encoding="utf-8")
    assert abandon(two, HOSPITALS[-1]) == 2
    assert "plans with places left: there is none" in capsys.readouterr().err


def abandon(folder: Path, hospital: str) -> int:
    home = folder / "home"
    ledger, key = home / "ledgers" / f"{hospital}.jsonl", home / "keys" / f"{hospital}.key"
    with pytest.raises(SystemExit) as ended:
        main(["ledger", "abandon", str(ledger), "--key", str(key), "--reason", "its machine died"])
    assert isinstance(ended.value.code, int)
    return ended.value.code
