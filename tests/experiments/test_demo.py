"""The demo's federation: whole or set aside, never half believed; the command can be run again."""

import dataclasses
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from aggregation.roles.aggregator import Aggregator
from experiments import demo, federate
from experiments.cli import parsed
from experiments.cohorts import load
from experiments.commands.frontier import Demo
from experiments.studies.design import TRAINING, Regime
from experiments.studies.frontier.grid import quick_grid
from privacy.errors import InvalidInputError
from privacy.ledger import load_trust, verify
from tests.experiments.test_grid_figures import made_up
from tests.test_readme import OF_THE_DEMO

QUIET = Console(file=io.StringIO())


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rounds: nothing here depends on their number."""
    found = TRAINING[Regime.FULL, "logistic"]
    brief = dataclasses.replace(found, rounds=3, average_last=2)
    monkeypatch.setattr(federate, "training_of", lambda *_: brief)


def files(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def ran(out: Path, console: Console = QUIET) -> None:
    federate.settle(out, console)
    federate.deploy(out, load("heart"), console, federate.Wanted(1.0))


def verified(out: Path) -> bool:
    return verify([out], load_trust(out / "trust.json")).status == 0


def interrupted_after(calls: int, whole: Any) -> Any:
    left = iter(range(calls))

    def one(*arguments: Any, **named: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return whole(*arguments, **named)

    return one


def test_an_interrupted_federation_is_set_aside_whole_and_the_next_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Aggregator, "step", interrupted_after(1, Aggregator.step))
        with pytest.raises(KeyboardInterrupt):
            ran(tmp_path)
    spent = files(tmp_path / "running")
    assert "ledgers/va.jsonl" in spent and "manifest.json" not in spent
    said = Console(file=io.StringIO(), width=200)
    ran(tmp_path, said)
    assert files(tmp_path / "cut-short-1") == spent
    assert isinstance(said.file, io.StringIO)
    told = said.file.getvalue()
    assert "cut short" in told and "stays spent" in told.replace("\n", " ")
    assert verified(tmp_path)
    assert "cut short before" in (tmp_path / "ledgers" / "va.jsonl").read_text(encoding="utf-8")
    kept = files(tmp_path)
    ran(tmp_path)  # a third time: what is whole is left as it is
    assert files(tmp_path) == kept


@pytest.mark.parametrize("moved", range(5))
def test_a_federation_that_ended_gets_its_place_wherever_moving_it_was_cut_short(
    moved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.rename
    with monkeypatch.context() as patched:
        moves = interrupted_after(moved, original)

        def rename(self: Path, target: Path) -> Path:
            inner = self.parent.name == "running"
            found: Path = moves(self, target) if inner else original(self, target)
            return found

        patched.setattr(Path, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            ran(tmp_path)
    assert not (tmp_path / "manifest.json").exists()  # it is moved last
    ran(tmp_path)
    assert verified(tmp_path)
    assert not (tmp_path / "running").exists() and not (tmp_path / "cut-short-1").exists()


def test_ledgers_of_unknown_origin_are_never_overwritten_and_found_before_work(
    tmp_path: Path,
) -> None:
    (tmp_path / "ledgers").mkdir()
    with pytest.raises(InvalidInputError, match="choose another folder with --out"):
        federate.settle(tmp_path, QUIET)


def test_the_ledgers_say_what_was_run_on_whom_by_which_code(tmp_path: Path) -> None:
    ran(tmp_path)
    verdict = verify([tmp_path], load_trust(tmp_path / "trust.json"))
    for reading in verdict.readings:
        if reading.hospital:
            (told,) = reading.stated()
            assert told["patients"].startswith("920: cleveland 303")
            assert told["model"] == "logistic, 19 parameters"
            assert told["cohort"].startswith("heart")
            assert re.fullmatch("[0-9a-f]{40}(-dirty)?", told["commit"])


def test_the_demo_leaves_what_the_readmes_name_and_its_page_says_which_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it but the points, whose records are made up here."""
    records = []
    for found in made_up(quick_grid()):
        risks = {name: {**risk, "targets": 10} for name, risk in found.metrics["risks"].items()}
        more = {"adversary": "server_sealed", "prior_success": 0.1, "risks": risks, "bound": 0.9}
        records.append(dataclasses.replace(found, metrics={**found.metrics, **more}))
    monkeypatch.setattr(demo, "sweep", lambda *_, **__: records)
    typed = parsed(["demo", "--out", str(tmp_path), "--evaluate", "0.5", "--held-out", "0.3"])
    assert isinstance(typed, Demo) and typed.run() == 0
    for path in OF_THE_DEMO:
        assert (tmp_path / path).exists(), path
    said = " ".join(capsys.readouterr().out.split())
    assert "who knows all other patients" in said and "What was found" in said
    assert "Evaluation round at epsilon 0.5" in said and "evaluation/manifest.json" in said
    page = (tmp_path / "report" / "report.en.html").read_text(encoding="utf-8")
    assert len(page.encode()) < 200_000
    assert "920: cleveland 303" in page
    same = page.split('id="attacks-same"')[1].split("</table>")[0]
    assert same.count("<tr>") == 1 + 2  # a heading, a curious server, the informed adversary
    assert "sealed sum, shared noise, all patients, logistic, ε = 1" in same
    other = page.split('id="attacks-other"')[1].split("</table>")[0]
    assert "the article&#39;s noise" in other
