"""Every command, every kind of bad input: one sentence and status 2, before any work begins."""

import ast
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from experiments.cli import COMMANDS, main
from privacy.ledger import save_trust
from tests.privacy.ledger.test_verify import run_federation

ROOT = Path(__file__).resolve().parents[2]
NEEDED = {  # what a command can't do without
    "account": ("--noise-multiplier", "1"),
    "attack": ("closed_form",),
    "bench authors": ("--tabular-gia", ".", "--adult", "."),
    "cohort check": ("nowhere",),
    "cohort init": ("nowhere",),
    "ledger verify": ("nowhere",),
    "ledger show": ("nowhere",),
    "ledger prove": ("nowhere",),
    "ledger report": ("nowhere",),
    "ledger export": ("nowhere",),
    "site": ("nowhere",),
    "deploy run": ("nowhere",),
    "deploy init": ("nowhere",),
    "deploy join": ("nowhere", "nowhere"),
    "deploy reveal": ("nowhere", "nowhere", "nowhere"),
    "deploy agree": ("nowhere", "nowhere"),
    "deploy accept": ("nowhere", "nowhere"),
    "deploy status": ("nowhere",),
    "deploy check": ("nowhere",),
    "deploy relay": ("nowhere",),
    "deploy renew": ("nowhere",),
    "deploy certify": ("nowhere", "nowhere"),
}


def leaves() -> Iterator[tuple[str, Any]]:
    """Each command, or each action of one, as it is typed, and its dataclass."""
    commands: dict[str, Any] = dict(COMMANDS)
    for name, kind in commands.items():
        hints = get_type_hints(kind, include_extras=True)
        actions = [hints[f.name] for f in fields(kind) if f.name in ("action", "what", "command")]
        parts = get_args(get_args(actions[0])[0]) if actions else ()
        named = [(get_args(part)[0], get_args(part)[1].name) for part in parts]
        yield from ((f"{name} {label}", part) for part, label in named) if named else [(name, kind)]


LEAVES = dict(leaves())
BAD: dict[str, tuple[str, ...]] = {
    "seed": ("-1", str(2**53), "one"),
    "jobs": ("0", "-2", "1000000"),
    "seeds": ("0",),
    "studies": ("1",),
    "restarts": ("0",),
    "iterations": ("-3",),
    "width": ("0",),
    "rounds": ("0",),
    "different": ("0",),
    "repeats": ("0",),
    "batches": ("0",),
    "sizes": ("0",),
    "hospitals": ("-1",),
    "peer_hospitals": ("-1",),
    "threads": ("0",),
    "entry": ("-1",),
    "data_dir": ("nowhere",),
    "out": ("file", "file/inside", "/proc/nowhere"),
    "trust": ("nowhere", "file", "."),
    "root": ("nowhere",),
    "tuned": ("nowhere", "file"),
    "parts": ("mars",),
    "quasi": ("mars",),
    "backend": ("cloud",),
    "shard": ("0/2", "3/2", "one"),
    "cohorts": ("mars",),
    "cohort": ("mars",),
    "only": ("mars",),
    "groups": ("mars",),
    "cells": ("0123456789ab",),
    "tableak": ("nowhere", "file"),
    "tabular_gia": ("nowhere", "file"),
    "python": ("nowhere",),
    "architectures": ("mars",),
    "adult": ("nowhere", "file"),
    "device": ("mars", "cuda:99", "mps"),
    "designs": ("mars",),
    "figure": ("mars",),
    "regimes": ("mars",),
    "models": ("mars",),
    "design": ("mars",),
    "regime": ("mars",),
    "model": ("mars",),
    "view": ("mars",),
    "epsilon": ("-1", "nan"),
    "noise_multiplier": ("-1", "nan"),
    "sampling_prob": ("2",),
    "delta": ("0",),
    "prior_success": ("2",),
    "attribute_prior": ("2", "-1"),
    "targets": ("0",),
    "runs": ("0",),
    "relation": ("mars",),
    "scheme": ("mars",),
    "questions": ("mars",),
    "bins": ("1", "-8"),
    "pass_rounds": ("0", "1", "-4"),
    "correlated": ("banded", "banded:0", "mars:3"),
    "evaluate": ("0", "1", "nan"),
    "held_out": ("0", "1", "nan"),
    "within": ("0", "-1", "nan"),
    "silent": ("0", "-1", "nan"),
}
CASES = [
    (name, field.name, value)
    for name, kind in LEAVES.items()
    for field in fields(kind)
    if not (name.startswith("ledger") and field.name in ("entry", "out", "trust"))  # below
    for value in BAD.get(field.name, ())
    if (name, field.name) != ("results", "out")
    if not (name == "frontier" and field.name in ("regime", "model"))  # idle without --designs
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return int(stopped.value.code or 0), told


@pytest.mark.parametrize(("name", "field", "value"), CASES)
def test_bad_input_is_refused_at_the_door(
    name: str,
    field: str,
    value: str,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if name != "account":  # whose work is to check its numbers
        monkeypatch.setattr(LEAVES[name], "run", lambda _: pytest.fail("work began"))
    given = [] if field == "noise_multiplier" else list(NEEDED.get(name, ()))
    status, told = said([*name.split(), *given, f"--{field.replace('_', '-')}", value], capsys)
    assert status == 2, told
    assert told.strip()
    assert {p.name for p in place.iterdir()} == {"file"}  # nothing is left behind
    assert (place / "file").read_text(encoding="utf-8") == "mine"


def test_every_field_of_every_command_is_tried_or_known_to_have_no_wrong_value() -> None:
    free = {
        "json",
        "durable",
        "quick",
        "ours",
        "paced",
        "scaling",
        "registry",
        "know_labels",
        "same_patients",
        "unseen",
    }
    elsewhere = {"paths", "path", "query", "what", "name", "hospital", "pfl_python", "epsilons"}
    elsewhere |= {"file", "table", "ledgers", "key", "plan", "reason"}  # tests of standing ledgers
    elsewhere |= {"risks", "module"}  # tests/aggregation/test_trained.py
    elsewhere |= {"safetensors", "onnx"}  # tests/aggregation/test_exported.py
    # tests/attacks/test_captured_command.py
    elsewhere |= {"update", "learning_rate", "batch_size", "steps", "optimizer", "labels"}
    elsewhere |= {"momentum", "weight_decay", "patients"}
    elsewhere |= {"checkpoint", "clip_norm"}  # tests/captures/test_fixtures.py
    elsewhere |= {"seconds"}  # tests/experiments/test_review.py
    # tests/privacy/ledger/test_spending.py
    elsewhere |= {"plot"}  # tests/experiments/test_phases.py
    elsewhere |= {"growth"}  # tests/experiments/test_bench_deployment.py
    free |= {"status"}
    elsewhere |= {"folder"}  # tests/aggregation/sites/test_daemon.py
    # tests/experiments/deployment/test_begin.py
    elsewhere |= {"proposal", "draft", "site", "schema", "requests", "agreed", "digest"}
    elsewhere |= {"authority", "renewals", "signed"}
    free |= {"network"}  # of join it is a file; tests/experiments/deployment/test_begin.py
    elsewhere |= {"spent", "operator", "source", "corrects", "phases"}
    asked = {field.name for kind in LEAVES.values() for field in fields(kind)}
    assert asked - set(BAD) - free - elsewhere - {"since", "size"} == set()


@pytest.mark.parametrize("action", ["verify", "show", "prove", "report", "export"])
@pytest.mark.parametrize("path", ["nowhere", "file", "."])
def test_a_ledger_that_is_none_is_a_sentence(
    action: str, path: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"prove": ["--entry", "0"], "export": ["--registry"]}.get(action, [])
    status, told = said(["ledger", action, path, *more], capsys)
    assert status in (1, 2)
    assert told or status == 1
    assert {p.name for p in place.iterdir()} == {"file"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    trust, _ = run_federation(out)
    save_trust(out / "trust.json", trust)
    return out


@pytest.mark.parametrize("trust", ["nowhere", "file", "."])
def test_keys_that_are_none_are_a_sentence(
    trust: str, run: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for action in ("verify", "report"):
        more = ["--out", str(place / "out")] if action == "report" else []
        status, told = said(["ledger", action, str(run), "--trust", trust, *more], capsys)
        assert status == 2 and told.startswith("inpatient: ")


def program(
    *arguments: str,
    before: Callable[[], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", "from experiments.cli import main; main()", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | dict(environment or {}),
        preexec_fn=before,
    )


SPEAKING = [
    ("--help",),
    ("frontier", "--help"),
    ("account", "--noise-multiplier", "1"),
    ("results", "select name, config from records"),
    ("ledger", "show", "{run}/ledgers/north.jsonl"),
    ("ledger", "verify", "{run}", "--trust", "{run}/trust.json", "--json"),
]


@pytest.mark.parametrize("arguments", SPEAKING, ids=" ".join)
def test_who_stops_reading_gets_no_traceback(arguments: tuple[str, ...], run: Path) -> None:
    with program(*(one.format(run=run) for one in arguments)) as child:
        assert child.stdout and child.stderr
        child.stdout.close()
        told = child.stderr.read().decode()
    assert (child.returncode, told) == (141, "")


@pytest.mark.parametrize("arguments", SPEAKING, ids=" ".join)
def test_a_terminal_of_ascii_alone_gets_no_traceback(arguments: tuple[str, ...], run: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    child = program(*(one.format(run=run) for one in arguments), environment=plain)
    out, err = child.communicate()
    assert (child.returncode, err) == (0, b"")
    assert out.isascii() and out


@pytest.mark.parametrize("arguments", SPEAKING[2:4], ids=" ".join)
def test_a_full_disk_behind_stdout_is_a_sentence(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", "from experiments.cli import main; main()", *arguments],
            stdout=full, stderr=subprocess.PIPE, cwd=ROOT, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("inpatient: the machine refuses") and "Trace" not in done.stderr


def no_file_may_grow() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_a_full_disk_under_out_is_a_sentence_and_leaves_no_half(run: Path, tmp_path: Path) -> None:
    for arguments in (
        ("ledger", "report", str(run), "--trust", f"{run}/trust.json"),
        ("attack", "closed_form"),
    ):
        out = tmp_path / arguments[0]
        child = program(*arguments, "--out", str(out), before=no_file_may_grow)
        _, err = child.communicate()
        assert child.returncode == 2 and err.startswith(b"inpatient: "), err
        assert b"Traceback" not in err and err.count(b"\n") == 1
        assert not [p for p in out.iterdir() if p.stat().st_size]


def test_no_file_is_read_or_written_in_the_locales_encoding() -> None:
    """Greek and Chinese stand in what is written: ASCII locales would fail in the middle of it."""
    found = []
    for package in ("privacy", "aggregation", "attacks", "experiments"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    bare = node.func.attr in ("read_text", "write_text")
                    if bare and "encoding" not in {k.arg for k in node.keywords}:
                        found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []
