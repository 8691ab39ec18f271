"""Sweeps: the same records whoever computes them, nothing lost by a failure or an interruption."""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiments.run.record import config_hash, read_records
from experiments.run.sweep import Shard, sweep
from privacy.errors import IncompleteSweepError, InvalidInputError

QUIET = Console(quiet=True)


@dataclass(frozen=True)
class Tiny:
    """A point that squares; it fails while the file ``broken`` lies in the data folder.

    The system kills the first ``killed`` workers that measure its second unit.
    """

    number: int
    fails: bool = False
    killed: int = 0

    @property
    def config(self) -> dict[str, Any]:
        return {"number": self.number, "experiment": "tiny"}

    @property
    def label(self) -> str:
        return f"tiny {self.number}"

    @property
    def units(self) -> list[int]:
        return [0, 1, 2]

    def measure(self, unit: int, data_dir: Path | None) -> int:
        if self.fails and unit == 1 and data_dir is not None and (data_dir / "broken").exists():
            raise ValueError("a bad patient")
        if self.killed and unit == 1 and data_dir is not None:
            tries = len([*data_dir.glob(f"try-{self.number}-*")])
            (data_dir / f"try-{self.number}-{tries}").touch()
            if tries < self.killed:
                os.kill(os.getpid(), signal.SIGKILL)
        return (self.number + unit) ** 2

    def summarise(self, parts: list[int]) -> dict[str, Any]:
        return {"squares": parts}


def written(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (out / "records").iterdir()}


def test_any_number_of_workers_and_both_backends_write_the_same_bytes(tmp_path: Path) -> None:
    points = [Tiny(n) for n in range(4)]
    found = {}
    for name, jobs, backend in (("one", 1, "joblib"), ("two", 2, "joblib"), ("ray", 2, "ray")):
        records = sweep(tmp_path / name, points, jobs=jobs, backend=backend, console=QUIET)
        assert [r.metrics["squares"] for r in records] == [
            [(n + u) ** 2 for u in range(3)] for n in range(4)
        ]
        found[name] = written(tmp_path / name)
    assert found["one"] == found["two"] == found["ray"]
    assert len(found["one"]) == 4


def test_a_failed_point_is_told_loses_no_other_and_is_tried_again(tmp_path: Path) -> None:
    points = [Tiny(1), Tiny(2, fails=True), Tiny(3)]
    (tmp_path / "broken").touch()
    out = tmp_path / "out"
    with pytest.raises(IncompleteSweepError, match=r"1 of 3 points failed \(tiny 2: .*bad patient"):
        sweep(out, points, jobs=1, data_dir=tmp_path, console=QUIET)
    assert {r.config["number"] for r in read_records(out / "records")} == {1, 3}
    (told,) = (out / "failures").iterdir()
    assert told.stem == config_hash(points[1].config)
    content = json.loads(told.read_text())
    assert content["error"] == "ValueError: a bad patient"
    assert "Traceback" in content["trace"]
    before = written(out)
    (tmp_path / "broken").unlink()
    records = sweep(out, points, jobs=1, data_dir=tmp_path, console=QUIET)
    assert [r.config["number"] for r in records] == [1, 2, 3]
    assert not told.exists()
    assert before.items() <= written(out).items()
    assert set(json.loads((out / "timings.json").read_text())) == {r.name for r in records}


def test_an_interrupted_sweep_keeps_what_was_written_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Tiny, parts: list[int]) -> dict[str, Any]:
        if self.number == 2:
            raise KeyboardInterrupt
        return {"squares": parts}

    points = [Tiny(n) for n in range(4)]
    with monkeypatch.context() as patched:
        patched.setattr(Tiny, "summarise", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sweep(tmp_path, points, jobs=1, console=QUIET)
    kept = written(tmp_path)
    assert 0 < len(kept) < 4
    measured = []
    whole = Tiny.measure

    def counted(self: Tiny, unit: int, data_dir: Path | None) -> int:
        measured.append(self.number)
        return whole(self, unit, data_dir)

    monkeypatch.setattr(Tiny, "measure", counted)
    sweep(tmp_path, points, jobs=1, console=QUIET)
    assert kept.items() <= written(tmp_path).items()
    assert len(measured) == 3 * (4 - len(kept))  # what has a record is not computed again


@pytest.mark.parametrize("backend", ["joblib", "ray"])
def test_a_killed_worker_is_a_failed_unit_and_the_sweep_goes_on(
    tmp_path: Path, backend: str
) -> None:
    """Killed once, whatever ran beside it is measured again; killed twice, it has failed."""
    points = [Tiny(1), Tiny(2, killed=99), Tiny(3, killed=1), Tiny(4)]
    out, tries = tmp_path / "out", tmp_path / "tries"
    tries.mkdir()
    with pytest.raises(IncompleteSweepError, match=r"1 of 4 points failed \(tiny 2: KilledW"):
        sweep(out, points, jobs=2, backend=backend, data_dir=tries, console=QUIET)
    assert {r.config["number"] for r in read_records(out / "records")} == {1, 3, 4}
    (failure,) = (out / "failures").iterdir()
    assert "Memory is the usual reason" in json.loads(failure.read_text())["error"]
    assert len([*tries.glob("try-2-*")]) == 2
    sweep(tmp_path / "well", [Tiny(n) for n in (1, 3, 4)], jobs=1, console=QUIET)
    assert written(out) == written(tmp_path / "well")


def test_shards_that_share_a_folder_make_what_one_sweep_makes(tmp_path: Path) -> None:
    points = [Tiny(n) for n in (5, 3, 3, 1, 2)]
    shards = [Shard.parse(f"{k}/3") for k in (1, 2, 3)]
    lengths = [
        len(sweep(tmp_path / "many", points, jobs=1, shard=shard, console=QUIET))
        for shard in shards
    ]
    assert lengths == [1 + 1, 2 + 1 + 1, 5]  # 5 and 2, then 3 twice, then 1
    assert len([*(tmp_path / "many").glob("timings-*-of-3.json")]) == 3
    sweep(tmp_path / "one", points, jobs=1, console=QUIET)
    assert written(tmp_path / "many") == written(tmp_path / "one")


@pytest.mark.parametrize("text", ["3/2", "0/2", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="k from 1 to n"):
        Shard.parse(text)
    assert Shard.parse("") == Shard(1, 1)


def test_a_point_named_twice_is_computed_once(tmp_path: Path) -> None:
    records = sweep(tmp_path, [Tiny(1), Tiny(1)], jobs=1, console=QUIET)
    assert records[0] == records[1]


@pytest.mark.parametrize(
    ("asked", "told"), [({"jobs": 0}, "jobs=0"), ({"backend": "slurm"}, "Unknown backend 'slurm'")]
)
def test_bad_requests_are_refused(tmp_path: Path, asked: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        sweep(tmp_path, [Tiny(1)], console=QUIET, **asked)
