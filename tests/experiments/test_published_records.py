"""A published record comes again from its own command: integers bit for bit, floats to 1e-9."""

import dataclasses
import json
import math
import shlex
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import main
from experiments.run.record import Record, read_records
from experiments.studies.frontier import grid
from experiments.studies.poor_labels import read_labels
from paper.reproduction import command_of, orphans

PAPER = Path(__file__).parents[2] / "paper"


def same(ours: Any, theirs: Any) -> bool:
    """Equal JSON; floats to 1e-9 of the larger or of 1."""
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9)
    return type(ours) is type(theirs) and bool(ours == theirs)


def again(record: Record, out: Path) -> Record:
    """Run the record's command into an empty folder; return what it wrote of this name."""
    program, *arguments = shlex.split(command_of(record))
    assert program == "inpatient"
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--out", str(out), "--jobs", "1"])
    assert left.value.code == 0
    return next(r for r in read_records(out / "records") if r.name == record.name)


def published() -> list[Record]:
    return [r for r in read_records(PAPER / "records") if "experiment" in r.config]


def test_the_comparison_tells_numbers_apart() -> None:
    kept = {"a": [1, 0.5], "b": None}
    assert same(kept, {"a": [1, 0.5 + 1e-12], "b": None})
    for changed in ({"a": [2, 0.5], "b": None}, {"a": [1, 0.5001], "b": None}, {"a": [1, 0.5]}):
        assert not same(kept, changed)


def test_every_published_point_of_the_frontier_is_made_by_a_grid() -> None:
    assert [r.name for r in orphans(published())] == []


def test_a_record_of_a_point_that_is_gone_is_an_orphan() -> None:
    kept = next(iter(grid.group("ablation")))
    gone = dataclasses.replace(kept, seeds=(0, 17))
    records = [Record(p.config, {}, {}) for p in (kept, gone)]
    assert orphans(records) == records[1:]
    assert kept.config != gone.config and command_of(records[0]).endswith(records[0].name)


def test_one_published_record_comes_again() -> None:
    """Of the labels' study, whose points take seconds; all others come again by night."""
    records = [r for r in published() if r.config["experiment"] == "poor labels"]
    (first, *_) = read_labels(records)
    found = first.point.summarise([first.point.measure(unit) for unit in first.point.units])
    (record,) = [r for r in records if r.name == first.name]
    assert same(json.loads(json.dumps(found)), record.metrics)


@pytest.mark.nightly
@pytest.mark.parametrize("name", [r.name for r in published()])
def test_every_published_record_comes_again(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One folder a command: records of one grid are computed once."""
    record = next(r for r in published() if r.name == name)
    command = command_of(record)
    if not command.startswith("inpatient"):
        command = "inpatient " + " ".join(command.split()[2:])
    out = tmp_path_factory.getbasetemp() / f"again-{abs(hash(command))}"
    assert same(again(record, out).metrics, record.metrics), command_of(record)
