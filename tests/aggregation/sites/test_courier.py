"""Real processes, killed at any moment: the run ends with the model that its openings say."""

import contextlib
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregation.agreement import Agreement, Trajectory
from aggregation.roles.messages import AGGREGATOR, OPENER
from aggregation.sites.agreed import Agreed
from aggregation.sites.courier import Courier, Dial
from aggregation.sites.daemon import LOG
from aggregation.sites.frames import FrameKind
from aggregation.sites.link import Link, SocketLink, ask
from aggregation.trained import Trained
from aggregation.transcript import Transcript
from privacy.errors import RefusedError
from privacy.ledger import load_trust, verify
from tests.aggregation.parts import HOSPITALS
from tests.aggregation.sites.parts import SENTINEL, dealt, made
from tests.aggregation.sites.test_daemon import ROOT, running

_NURSERY = """
import os, signal, sys
from pathlib import Path
import aggregation.sites.daemon, duckdb, opendp.measurements, pydantic
from aggregation.sites.daemon import serve
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os._exit(serve(Path(line.rstrip())))
    print(child, flush=True)
"""


class Processes:
    """Each site's daemon as a process, that can be killed and is started again.

    They are forked from one that has imported what they need: a second each is saved.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.folders = folders
        self.killed: Counter[str] = Counter()
        self._pids: dict[str, int] = {}
        self._lock = threading.Lock()

    def start(self, name: str) -> None:
        nursery = self._nursery
        assert nursery.stdin is not None and nursery.stdout is not None
        nursery.stdin.write(f"{self.folders[name]}\n")
        nursery.stdin.flush()
        self._pids[name] = int(nursery.stdout.readline())

    def kill(self, name: str) -> None:
        with self._lock:
            os.kill(self._pids[name], signal.SIGKILL)
            self.gone(name)
            self.killed[name] += 1
            self.start(name)

    def started(self, name: str) -> None:
        """Wait until the process answers: before, a signal just kills it."""
        for _ in range(3000):
            log = self.folders[name] / LOG
            if log.exists() and f'"pid": {self._pids[name]}' in log.read_text():
                return
            time.sleep(0.01)
        raise AssertionError(name)

    def gone(self, name: str) -> None:
        """Wait until the process is there no more."""
        for _ in range(3000):
            try:
                os.kill(self._pids[name], 0)
            except ProcessLookupError:
                return
            time.sleep(0.01)
        raise AssertionError(name)

    @contextmanager
    def running(self) -> Iterator["Processes"]:
        command = [sys.executable, "-c", _NURSERY]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as self._nursery:  # type: ignore[call-overload]
            try:
                for name in self.folders:
                    self.start(name)
                yield self
                for name, pid in self._pids.items():
                    self.started(name)
                    os.kill(pid, signal.SIGTERM)
                for name, folder in self.folders.items():
                    self.gone(name)
                    assert '"event": "ended"' in (folder / LOG).read_text().splitlines()[-1]
            finally:
                for pid in self._pids.values():
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                assert self._nursery.stdin is not None
                self._nursery.stdin.close()


def sockets(folders: Mapping[str, Path]) -> dict[str, Dial]:
    return {name: partial(SocketLink, folder / "socket") for name, folder in folders.items()}


def whole(out: Path, folders: Mapping[str, Path]) -> None:
    """What holds of a run in the end, whoever was killed."""
    agreed = Agreed.load(folders[AGGREGATOR] / "agreed")
    rounds = agreed.agreement.timing.sums
    passed = Transcript.load(folders[AGGREGATOR] / "transcript")
    updates: dict[tuple[str, int], set[bytes]] = {}
    for message in passed.select(kind="update"):
        updates.setdefault((message.sender, message.round), set()).add(message.to_bytes())
    assert all(len(bodies) == 1 for bodies in updates.values())  # no second noise
    assert set(updates) == {(name, r) for name in HOSPITALS for r in range(rounds)}
    opened = {m.round: m.payload for m in passed.select(kind="opened", sender=AGGREGATOR)}
    path = Trajectory(Agreement.of(agreed.plan, agreed.schedule))
    for number in range(rounds):
        path.step(np.frombuffer(opened[number], dtype="<i8").astype(np.int64))
    for name in HOSPITALS:
        assert np.array_equal(Trained.read(folders[name] / "model").params, path.params)
    verdict = verify([*folders.values()], load_trust(out / "trust.json"))
    assert [str(f) for f in verdict.findings if f.level not in ("OK", "NOTE")] == []
    assert not any("not counter-signed" in str(f) for f in verdict.findings)
    for reading in verdict.readings:
        assert [spent.releases for spent in reading.spent] == [rounds]


def forfeits(folders: Mapping[str, Path]) -> str:
    """Who has lost an update's bytes twice, so that the run can't go on; empty: nobody."""
    logs = {name: folders[name] / LOG for name in HOSPITALS}
    lost = [name for name, log in logs.items()
            if log.exists() and "The spend is forfeited" in log.read_text()]  # fmt: skip
    return f"forfeited by {', '.join(lost)}" if lost else ""


def assert_no_patients_value(folders: Mapping[str, Path]) -> None:
    """No file but the table holds the planted value, as text or as a number's bytes."""
    forms = [str(SENTINEL).encode(), struct.pack("<d", SENTINEL), struct.pack(">d", SENTINEL)]
    for folder in folders.values():
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "ward.csv":
                content = path.read_bytes()
                assert not any(form in content for form in forms), path


@pytest.mark.parametrize("scheme", ["shares", "bfv"])
def test_each_kind_of_process_is_killed_once(scheme: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    folders = dealt(out, made(scheme, rounds=6))
    victims = ["east", AGGREGATOR, *([OPENER] if scheme == "bfv" else [])]
    with Processes(folders).running() as processes:
        done: set[str] = set()

        def watch(state: Mapping[str, object]) -> None:
            reached = state["round"]
            for number, name in enumerate(victims, start=1):
                if reached == number and name not in done:
                    done.add(name)
                    # From a thread of its own: this one carries for the aggregator.
                    threading.Thread(target=processes.kill, args=(name,)).start()

        with pytest.raises(RefusedError, match="Nothing is lost"):  # so is the courier
            Courier(sockets(folders), watch).run(seconds=0.0)
        state = Courier(sockets(folders), watch).run(seconds=120.0)
        assert state == {"ended": True, "late": [], "round": 6}
        assert processes.killed == dict.fromkeys(victims, 1)
    whole(out, folders)
    assert_no_patients_value(folders)


@pytest.mark.nightly
def test_two_hundred_random_kill_points(tmp_path: Path) -> None:
    kills, dice, number = 0, random.Random(17), 0
    while kills < 200:
        scheme = ("shares", "bfv", "threshold")[number % 3]
        out = tmp_path / f"run {number}"
        folders = dealt(out, made(scheme, rounds=40))
        with Processes(folders).running() as processes:
            ended = threading.Event()

            def hunt(processes: Processes = processes, ended: threading.Event = ended) -> None:
                for _ in range(20):
                    if ended.wait(dice.uniform(0.5, 4.0)):
                        return
                    processes.kill(dice.choice([*processes.folders]))

            hunter = threading.Thread(target=hunt)
            hunter.start()
            forfeited = False
            try:
                Courier(sockets(folders), fails=partial(forfeits, folders)).run(seconds=300.0)
            except RefusedError:
                # Killed twice while it computed one update, a hospital forfeits it, and the run
                # can't go on. That is the one reason that there may be.
                forfeited = forfeits(folders) != ""
                assert forfeited
            finally:
                ended.set()
                hunter.join()
            kills += processes.killed.total()
        if not forfeited:
            whole(out, folders)
        assert_no_patients_value(folders)
        number += 1


def test_a_site_with_another_agreement_is_carried_nothing(tmp_path: Path) -> None:
    folders = dict(dealt(tmp_path / "a", made()))
    other = dealt(tmp_path / "b", made())
    with running(folders["north"]), running(other[AGGREGATOR]):
        courier = Courier(sockets({"north": folders["north"], AGGREGATOR: other[AGGREGATOR]}))
        with pytest.raises(RefusedError, match="Compare the files of agreed/"):
            courier.run(seconds=20.0)
        assert courier.carried == {}


def test_two_daemons_of_one_site_are_caught(tmp_path: Path) -> None:
    folders = dict(dealt(tmp_path / "a", made()))
    copy = tmp_path / "copy"
    shutil.copytree(folders["north"], copy)
    with running(folders["north"]), running(copy), running(folders[AGGREGATOR]):
        named = {"north": folders["north"], "copy": copy, AGGREGATOR: folders[AGGREGATOR]}
        courier = Courier(sockets(named))
        with pytest.raises(RefusedError, match="Two sites are addressed"):
            courier.run(seconds=20.0)


def test_who_is_late_is_said_and_connecting_late_is_no_fault(tmp_path: Path) -> None:
    out = tmp_path / "run"
    folders = dealt(out, made(rounds=2))
    names = [n for n in folders if n != "south"]
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(running(folders[name]))
        with pytest.raises(RefusedError, match="south can't be reached"):
            Courier(sockets(folders)).run(seconds=0.5)
        begun = threading.Timer(1.0, lambda: stack.enter_context(running(folders["south"])))
        begun.start()
        assert Courier(sockets(folders)).run(seconds=60.0)["ended"]
        begun.join()
    whole(out, folders)


def test_a_message_whose_answer_did_not_come_is_handed_over_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by waking the aggregator, which would take its time: at once."""
    folders = dealt(tmp_path / "run", made(rounds=2))
    monkeypatch.setattr("aggregation.sites.courier._WAKE_AFTER", 1000.0)
    cut: list[str] = []

    def cut_off(link: Link, kind: FrameKind, body: bytes = b"") -> Any:
        answer = ask(link, kind, body)
        name = link.greeting.name
        if kind is FrameKind.DELIVER and cut.count(name) < 3:
            cut.append(name)
            raise ConnectionError  # the answer was on its way
        return answer

    monkeypatch.setattr("aggregation.sites.courier.ask", cut_off)
    with contextlib.ExitStack() as stack:
        for folder in folders.values():
            stack.enter_context(running(folder))
        assert Courier(sockets(folders)).run(seconds=60.0)["ended"]
    assert Counter(cut) == dict.fromkeys(folders, 3)
    whole(tmp_path / "run", folders)


def test_a_courier_without_an_aggregator_is_refused() -> None:
    with pytest.raises(RefusedError, match="name its site"):
        Courier(sockets({"north": Path("nowhere")}))


def test_a_restored_copy_of_a_site_releases_nothing_more(tmp_path: Path) -> None:
    """A whole site is put back to an older copy of itself while the others went on."""
    out = tmp_path / "run"
    folders = dealt(out, made(rounds=4))
    north, newest, old = folders["north"], tmp_path / "newest", tmp_path / "old"

    def go_on(until: int = -1, *, seconds: float = 60.0) -> None:
        def watch(state: Mapping[str, object]) -> None:
            if state["round"] == until:
                raise RefusedError("far enough")

        with contextlib.ExitStack() as stack:
            for folder in folders.values():
                stack.enter_context(running(folder))
            Courier(sockets(folders), watch).run(seconds=seconds)

    with pytest.raises(RefusedError, match="far enough"):
        go_on(1)
    shutil.copytree(north, old)
    with pytest.raises(RefusedError, match="far enough"):
        go_on(3)
    north.rename(newest)
    shutil.copytree(old, north)
    ledger = (north / "ledgers" / "north.jsonl").read_bytes()
    with pytest.raises(RefusedError, match="waiting for"):
        go_on(seconds=4.0)
    assert "awaits the sum of round" in (north / LOG).read_text()
    assert (north / "ledgers" / "north.jsonl").read_bytes() == ledger
    shutil.rmtree(north)
    newest.rename(north)
    go_on()
    whole(out, folders)
