"""The same courier, with every site but the server's behind a relay; and relays that lie."""

import contextlib
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from aggregation.federation import Federation
from aggregation.plan import Plan
from aggregation.roles.messages import AGGREGATOR, OPENER
from aggregation.sites.flare.carrying import carry_between_machines
from aggregation.sites.flare.frame_relay import AWAY, FrameRelay
from aggregation.sites.flare.progress import PROGRESS_FILE, Progress
from aggregation.sites.flare.relayed_link import RelayedLink, Sender, Sending
from aggregation.sites.frames import SMALL, FrameKind, Greeting
from aggregation.sites.link import largest_reply
from aggregation.timing.schedule import Schedule
from privacy.errors import CorruptMessageError, RefusedError
from tests.aggregation.sites.parts import dealt, made, opened_sums, patients_of
from tests.aggregation.sites.test_courier import whole
from tests.aggregation.sites.test_daemon import running
from tests.aggregation.sites.test_site import CASES


class Wire:
    """Relays in this process, in place of NVFLARE's."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.relays = {name: FrameRelay(folder) for name, folder in folders.items()}
        self.lost = 0

    def __call__(
        self, site: str, kind: int, body: bytes, within: float
    ) -> tuple[object, object] | None:
        answer = self.relays[site].pass_on(kind, body)
        if kind == FrameKind.DELIVER and self.lost:
            self.lost -= 1
            return None  # it was taken, and the answer got lost
        return answer

    def close(self) -> None:
        for relay in self.relays.values():
            relay.close()


def far(folders: Mapping[str, Path]) -> dict[str, Path]:
    return {name: folder for name, folder in folders.items() if name != AGGREGATOR}


def carried(
    server: Path, folders: Mapping[str, Path], sender: Sender, *, stopped: bool = False
) -> None:
    sending = Sending(sender)
    carry_between_machines(
        server, far(folders), sending, lambda: stopped, job="of the test", silent=0.3
    )


@pytest.mark.parametrize("scheme", ["shares", "bfv"])
def test_a_run_is_carried_between_machines(scheme: str, tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made(scheme))
    wire = Wire(far(folders))
    wire.lost = 5
    with contextlib.closing(wire), contextlib.ExitStack() as stack:
        for folder in folders.values():
            stack.enter_context(running(folder))
        server = folders[AGGREGATOR]
        carried(server, folders, wire)
        told = Progress.read(server)
    assert told is not None and told.ended and told.why == ""
    assert set(told.states) == set(folders) and told.carried["north"] > 0
    assert (OPENER in told.states) == (scheme == "bfv")
    whole(tmp_path / "run", folders)


@pytest.mark.parametrize(("_", "agreed", "schedule"), CASES, ids=[case[0] for case in CASES])
def test_it_opens_the_sums_of_one_process(
    _: str, agreed: Plan, schedule: Schedule | None, tmp_path: Path
) -> None:
    folders = dealt(tmp_path / "run", agreed, schedule=schedule, seed=5, epsilon=1000.0)
    wire = Wire(far(folders))
    with contextlib.closing(wire), contextlib.ExitStack() as stack:
        for folder in folders.values():
            stack.enter_context(running(folder))
        carried(folders[AGGREGATOR], folders, wire)
    sums = opened_sums(folders[AGGREGATOR])
    other = Federation.simulated(agreed, patients_of(folders), seed=5, schedule=schedule).run()
    assert len(sums) == len(other.opened) >= 2
    assert np.array_equal(np.stack(sums), other.opened)


def test_a_job_that_is_asked_to_end_says_so(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made())
    server = folders[AGGREGATOR]
    with running(server), pytest.raises(RefusedError, match="asked to end"):
        carried(server, folders, Wire(far(folders)), stopped=True)
    told = Progress.read(server)
    assert told is not None and not told.ended and "asked to end" in told.why
    assert told.job == "of the test"


def test_a_relay_that_is_silent_ends_the_job_and_a_daemon_that_is_away_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked whether it is there while another message waits for its answer."""
    monkeypatch.setattr("aggregation.sites.flare.carrying._ASK_EVERY", 0.05)
    folders = dealt(tmp_path / "run", made())
    server, asked, freed = folders[AGGREGATOR], Counter[str](), threading.Event()

    def answers(site: str, kind: int, body: bytes, within: float) -> tuple[object, object] | None:
        if kind == FrameKind.GREETING:
            freed.wait(20.0)  # as long as NVFLARE may wait
        asked[site] += 1
        return (AWAY, b"") if site == "east" or asked[site] < 5 else None

    with running(server), pytest.raises(RefusedError, match=r"relays of [a-z, ]+ have not"):
        carried(server, folders, answers)
    freed.set()
    assert asked["east"] > 5
    told = Progress.read(server)
    assert told is not None and "have not answered" in told.why


def greets(name: str, largest: int = 100) -> bytes:
    return Greeting(name, (name,), "a" * 64, "b", largest).to_bytes()


def test_who_answers_under_another_name_is_carried_nothing() -> None:
    with pytest.raises(CorruptMessageError, match="a daemon answers as 'east'"):
        RelayedLink("north", Sending(lambda *_: (int(FrameKind.GREETING), greets("east"))))


@pytest.mark.parametrize(
    "answer",
    [
        (FrameKind.REPLY, greets("north")),
        (int(FrameKind.GREETING), greets("north")[1:]),
        (int(FrameKind.GREETING), bytes(SMALL + 1)),
        (int(FrameKind.GREETING), "text"),
        ("1", greets("north")),
        (99, b""),
        (None, None),
    ],
)
def test_what_is_no_greeting_is_refused(answer: tuple[object, object]) -> None:
    with pytest.raises(CorruptMessageError):
        RelayedLink("north", Sending(lambda *_: answer))


def test_who_does_not_answer_can_not_be_reached() -> None:
    for answer in (None, (AWAY, b"")):
        with pytest.raises(RefusedError, match="can't be reached"):
            RelayedLink("north", Sending(lambda *_, told=answer: told))


def test_answers_have_a_bound_and_silence_is_counted_from_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[tuple[object, object] | None] = [(int(FrameKind.GREETING), greets("north"))]
    send = Sending(lambda *_: answers[0])
    link = RelayedLink("north", send)
    most = largest_reply(link.greeting)
    answers[0] = (int(FrameKind.REPLY), bytes(most))
    assert link.exchange(FrameKind.WAKE) == (FrameKind.REPLY, bytes(most))
    answers[0] = (int(FrameKind.REPLY), bytes(most + 1))
    with pytest.raises(CorruptMessageError, match="said more"):
        link.exchange(FrameKind.WAKE)
    now = [100.0]
    monkeypatch.setattr("aggregation.sites.flare.relayed_link.time.monotonic", lambda: now[0])
    answers[0] = None
    for at in (100.0, 104.0):
        now[0] = at
        with pytest.raises(ConnectionError):
            link.exchange(FrameKind.WAKE)
    now[0] = 106.0
    assert send.silent(5.0) == ["north"] and send.silent(7.0) == []
    send.ask("south")  # it has not answered yet
    assert send.silent(1.0) == ["north"]
    now[0] = 167.0
    assert send.silent(1.0) == ["north", "south"]
    send.ask("north")
    assert send.silent(1.0) == ["north", "south"]
    answers[0] = (AWAY, b"")  # its relay answers; the daemon is away
    with pytest.raises(ConnectionError):
        link.exchange(FrameKind.WAKE)
    assert send.silent(0.0) == ["south"]
    link.close()


def test_what_a_courier_wrote_is_read_or_refused(tmp_path: Path) -> None:
    assert Progress.read(tmp_path) is None
    for content in ("{}", "[]", '{"agreed": 1}', "no"):
        (tmp_path / PROGRESS_FILE).write_text(content)
        with pytest.raises(CorruptMessageError):
            Progress.read(tmp_path)
