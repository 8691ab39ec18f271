"""A real run that died is taken up by the same parties, each from what it kept on disk."""

import os
import signal
import subprocess
import sys
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregation.federation import Federation, Outcome
from aggregation.plan import Plan
from aggregation.roles.messages import MessageKind
from aggregation.timing import Pace, Trigger
from aggregation.timing.schedule import Schedule, simulate
from privacy.errors import InvalidInputError
from privacy.ledger import load_trust, verify
from tests.aggregation.parts import HOSPITALS, cohort, plan
from tests.aggregation.power import DiedError, Disk

SCHEMES = ("shares", "threshold", "pairwise", "bfv")


def made(scheme: str = "shares", **changes: Any) -> Plan:
    return plan(**({"scheme": scheme, "noise_multiplier": 60.0, "rounds": 2} | changes))


def real(out: Path, agreed: Plan, **options: Any) -> Federation:
    return Federation.real(agreed, cohort(), out=out, target_epsilon=3.0, **options)


def whole(out: Path, outcome: Outcome, sums: int, federation: Federation) -> None:
    """What holds of a run in the end, whatever it died at."""
    passed = federation.transcript
    updates = {(m.sender, m.round): m.to_bytes() for m in passed.select(kind=MessageKind.UPDATE)}
    sent = Counter((m.sender, m.round) for m in passed.select(kind=MessageKind.UPDATE))
    for message in passed.select(kind=MessageKind.UPDATE):  # said again, it is the same message
        assert updates[message.sender, message.round] == message.to_bytes()
    assert len(sent) == sum(outcome.ledgers[name].state().releases for name in HOSPITALS)
    for ledger in outcome.ledgers.values():
        spent = Counter(e.content["round"] for e in ledger.entries() if e.kind == "release")
        sealed = [e for e in ledger.entries() if e.kind == "sealed"]
        assert set(spent.values()) == {1}  # no second noise
        assert len(sealed) == len(spent)
        assert ledger.pending() == ()
    opened = {m.round: m.payload for m in passed.select(kind=MessageKind.OPENED)}
    assert {m.payload for m in passed.select(kind=MessageKind.OPENED)} == {*opened.values()}
    assert len(opened) == len(outcome.opened) == sums
    for hospital in federation._hospitals.values():
        assert np.array_equal(hospital._path.params, federation._aggregator.params)
    federation.save(out)
    verdict = verify([out], load_trust(out / "trust.json"))
    assert [str(f) for f in verdict.findings if f.level == "FAIL"] == []
    assert not (out / "kept").exists()


def writes_of(out: Path, agreed: Plan) -> tuple[int, int]:
    """How many writes a run has before its first round, and until its end."""
    disk = Disk(out)
    with disk.dying():
        federation = real(out, agreed)
        before = disk.writes
        federation.run()
    federation.close()
    return before, disk.writes


@pytest.mark.parametrize("power", [True, False], ids=["the power fails", "the process dies"])
def test_a_run_that_died_at_any_write_is_taken_up(power: bool, tmp_path: Path) -> None:
    agreed = made()
    before, until = writes_of(tmp_path / "count", agreed)
    for at in range(before + 8 * power, until, 16):
        out = tmp_path / f"{at}"
        disk = Disk(out)
        with disk.dying(at, after=not power), pytest.raises(DiedError):
            federation = real(out, agreed)
            federation.run()
        federation.close()
        if power:
            disk.loses()
        again = real(out, agreed, resume=True)
        whole(out, again.run(), agreed.rounds, again)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_under_every_scheme_it_is_taken_up_again_and_again(scheme: str, tmp_path: Path) -> None:
    agreed, out = made(scheme), tmp_path / "run"
    federation = real(out, agreed)
    for at in (11, 44, 38, 40):
        disk = Disk(out)
        with disk.dying(at), pytest.raises(DiedError):
            federation.run()
        federation.close()
        disk.loses()
        federation = real(out, agreed, resume=True)
    whole(out, federation.run(), agreed.rounds, federation)


def test_at_their_own_pace_it_is_taken_up_along_the_schedule(tmp_path: Path) -> None:
    paces = {name: Pace(duration=1.0 + k, variation=0.3) for k, name in enumerate(HOSPITALS)}
    schedule = simulate(paces, Trigger(count=2, distinct=2), horizon=12.0, seed=1, waits=True)
    agreed = made(smallest_sum=2, noise_multiplier=90.0)
    assert isinstance(schedule, Schedule) and schedule.sums >= 3
    out = tmp_path / "run"
    disk = Disk(out)
    with disk.dying(45), pytest.raises(DiedError):
        federation = real(out, agreed, schedule=schedule)
        federation.run()
    federation.close()
    disk.loses()
    other = simulate(paces, Trigger(count=2, distinct=2), horizon=12.0, seed=2, waits=True)
    with pytest.raises(InvalidInputError, match="another plan, rule or schedule"):
        real(out, agreed, resume=True, schedule=other)
    again = real(out, agreed, resume=True, schedule=schedule)
    whole(out, again.run(), schedule.sums, again)


def test_only_the_run_that_died_is_taken_up(tmp_path: Path) -> None:
    agreed, out = made(), tmp_path / "run"
    with pytest.raises(InvalidInputError, match="No run that could be taken up"):
        real(out, agreed, resume=True)
    federation = real(out, agreed)
    with pytest.raises(InvalidInputError, match="nothing of it is ever overwritten"):
        real(out, agreed)
    federation.close()
    for other in (replace(agreed, rounds=3), replace(agreed, run="another")):
        with pytest.raises(InvalidInputError, match="another plan"):
            real(out, other, resume=True)
    again = real(out, agreed, resume=True)
    whole(out, again.run(), agreed.rounds, again)
    with pytest.raises(InvalidInputError, match="it has ended"):
        real(out, agreed, resume=True)


@pytest.mark.parametrize("scheme", ["shares", "bfv"])
def test_what_is_kept_is_for_its_owner_alone(scheme: str, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        federation = real(tmp_path, made(scheme, rounds=1))
        federation.run()
    finally:
        os.umask(old)
    kept = tmp_path / "kept"
    for path in (kept, *kept.rglob("*")):
        expected = 0o700 if path.is_dir() else 0o600
        assert path.stat().st_mode & 0o777 == expected, path
    secrets = [path.parent.name for path in kept.glob("*/secret")]
    names = [f"holder {name}" for name in HOSPITALS] if scheme == "shares" else ["opener"]
    assert sorted(secrets) == sorted(names)
    federation.close()


KILLED = """
import sys
from pathlib import Path
from tests.aggregation.test_resumed import made, real
federation = real(Path(sys.argv[1]), made(rounds=3), resume=sys.argv[2] == "again")
print("made", flush=True)
federation.run(lambda done: print(done, flush=True))
"""


def test_kill_minus_nine_in_a_round(tmp_path: Path) -> None:
    out, root = tmp_path / "run", Path(__file__).resolve().parents[2]
    for how, word in (("first", "1"), ("again", "2")):
        command = [sys.executable, "-c", KILLED, str(out), how]
        with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip() == word:
                    process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    again = real(out, made(rounds=3), resume=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole(out, again.run(), 3, again)
