"""A site as a process: who is let in, what is refused and recorded, and how it ends."""

import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from aggregation.roles.messages import AGGREGATOR, Message, MessageKind, pack
from aggregation.sites import daemon as daemon_module
from aggregation.sites.daemon import BROKEN, LOG, Daemon
from aggregation.sites.frames import (
    SMALL,
    VERSION,
    FrameKind,
    Greeting,
    read_reply,
    receive,
    send,
    socket_place,
)
from aggregation.sites.link import SocketLink, ask, state_of
from aggregation.sites.site import Site
from privacy.errors import CorruptMessageError, RefusedError
from tests.aggregation.sites.parts import SENTINEL, dealt, made

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def running(folder: Path) -> Iterator[Daemon]:
    daemon = Daemon(folder)
    thread = threading.Thread(target=daemon.run)
    thread.start()
    try:
        yield daemon
    finally:
        daemon.end()
        thread.join(timeout=20)
        assert not thread.is_alive()


@contextmanager
def connected(folder: Path, *, greeted: bool = True) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        with socket_place(folder / "socket") as place:
            connection.connect(place)
        if greeted:
            send(connection, FrameKind.GREETING, Greeting("test", (), "", "0" * 16, 0).to_bytes())
            assert receive(connection, SMALL)[0] is FrameKind.GREETING
        yield connection


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


@pytest.fixture
def north(tmp_path: Path) -> Path:
    return dealt(tmp_path / "run", made())["north"]


def plan_message(folder: Path) -> bytes:
    plan = (folder / "agreed" / "plan.json").read_bytes()
    said = Message(AGGREGATOR, "north", MessageKind.PLAN, 0, plan, run="test")
    return pack([said.to_bytes()])


def test_it_answers_on_a_socket_that_its_owner_alone_can_use(north: Path) -> None:
    old = os.umask(0)
    try:
        with running(north):
            mode = (north / "socket").stat().st_mode
            assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
            assert stat.S_IMODE((north / LOG).stat().st_mode) == 0o600
            with connected(north) as connection:
                send(connection, FrameKind.DELIVER, plan_message(north))
                kind, body = receive(connection, SMALL)
                assert kind is FrameKind.REPLY and read_reply(body) == (
                    {"closed": False, "ended": False},
                    [],
                )
        assert not (north / "socket").exists()
        assert [line["event"] for line in lines(north)] == ["started", "handled", "ended"]
    finally:
        os.umask(old)


def test_another_users_process_is_not_answered(
    north: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_module, "_CREDENTIALS", _Stranger())
    with running(north), connected(north, greeted=False) as connection:
        assert connection.recv(1) == b""
    assert "of user 12345 connected" in next(x for x in lines(north) if "reason" in x)["reason"]


class _Stranger:
    size = 12

    def unpack(self, _: bytes) -> tuple[int, int, int]:
        return 1, 12345, 1


def test_a_second_daemon_is_refused_while_the_first_lives(north: Path) -> None:
    with running(north):
        with pytest.raises(RefusedError, match="One daemon runs a site"):
            Daemon(north)
        with SocketLink(north / "socket") as link:  # the first one has not noticed
            assert state_of(link)["name"] == "north"
    with running(north):
        pass
    (north / "socket").touch()  # left by one that was killed
    with running(north), SocketLink(north / "socket") as link:
        assert state_of(link)["run"] == "test"


@pytest.mark.parametrize("greeted", [True, False])
@pytest.mark.parametrize(
    "sent",
    [
        struct.pack("<QB", 2**62, FrameKind.DELIVER),
        struct.pack("<QB", 2**40, FrameKind.GREETING),
        struct.pack("<QB", 4, 99) + b"abcd",
        struct.pack("<QB", 2, FrameKind.REPLY) + b"ab",
        struct.pack("<QB", 2, FrameKind.GREETING) + b"ab",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_frame_ends_the_connection_and_nothing_else(
    sent: bytes, greeted: bool, north: Path
) -> None:
    with running(north):
        with connected(north, greeted=greeted) as connection:
            connection.sendall(sent)
            with suppress(ConnectionResetError):
                while connection.recv(1 << 16):
                    pass  # a greeting, at most
        with SocketLink(north / "socket") as link:
            assert ask(link, FrameKind.DELIVER, plan_message(north)) == (
                {"closed": False, "ended": False},
                [],
            )
    assert "connection refused" in [line["event"] for line in lines(north)]


def test_who_speaks_another_version_is_refused_at_the_greeting(
    north: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(north):
        other = Greeting("test", (), "", "0" * 16, 0).to_bytes()
        other = other.replace(b'"version":%d' % VERSION, b'"version":%d' % (VERSION + 1))
        with connected(north, greeted=False) as connection:
            send(connection, FrameKind.GREETING, other)
            assert receive(connection, SMALL)[0] is FrameKind.GREETING
            assert connection.recv(1) == b""
        with pytest.raises(RefusedError, match="same release"):
            Greeting.from_bytes(other)
    for content in (b"[]", b"{}", b'{"version":1}', b"\xff"):
        with pytest.raises((CorruptMessageError, RefusedError)):
            Greeting.from_bytes(content)


def test_a_refused_message_leaves_one_line_and_no_word_of_it_leaves_the_site(north: Path) -> None:
    evil = 'east"}\n{"event": "ended'
    said = Message(evil, "north", MessageKind.PLAN, 0, b"\x00\n", run="test")
    with running(north), SocketLink(north / "socket") as link:
        for content in (b"", b"\x00" * 30, pack([said.to_bytes()]), pack([b"1", b"2", b"3"])):
            assert ask(link, FrameKind.DELIVER, content) is None
        assert ask(link, FrameKind.WAKE) == ({"closed": False, "ended": False}, [])
    told = lines(north)  # each is one JSON object
    assert [line["event"] for line in told].count("refused") == 4
    assert [line["event"] for line in told].count("ended") == 1
    assert all(len(line.get("reason", "")) <= 500 for line in told)


def test_asked_to_end_it_finishes_what_it_is_at(
    north: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, finished = threading.Event(), threading.Event()
    real = Site.deliver

    def slow(self: Site, envelope: bytes) -> Any:
        began.set()
        time.sleep(0.3)
        finished.set()
        return real(self, envelope)

    monkeypatch.setattr(Site, "deliver", slow)
    with running(north) as daemon, SocketLink(north / "socket") as link:

        def end_it() -> None:
            began.wait()
            daemon.end()

        threading.Thread(target=end_it).start()
        with suppress(OSError):  # it may be gone before its answer is
            ask(link, FrameKind.DELIVER, plan_message(north))
    assert finished.is_set()
    assert [line["event"] for line in lines(north)][-2:] == ["handled", "ended"]


def test_at_what_nobody_foresaw_it_ends_and_says_no_word_of_it(
    north: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Site, envelope: bytes) -> None:
        raise ValueError(f"patient with {SENTINEL}")

    monkeypatch.setattr(Site, "deliver", broken)
    daemon = Daemon(north)
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(daemon.run()))
    thread.start()
    with SocketLink(north / "socket") as link, pytest.raises(OSError):
        ask(link, FrameKind.DELIVER, plan_message(north))
    thread.join(timeout=20)
    assert statuses == [BROKEN]
    (line,) = [line for line in lines(north) if line["event"] == "broken"]
    assert line["kind"] == "ValueError" and "test_daemon.py" in line["place"]
    assert str(SENTINEL) not in (north / LOG).read_text()


def test_what_a_wrong_table_says_is_in_no_log(north: Path) -> None:
    (north / "ward.csv").write_text("id,a,b,c,event\n" + f"1,Smith {SENTINEL},0,0,1\n" * 9)
    with pytest.raises(Exception, match="look like"):
        Daemon(north)
    (line,) = lines(north)
    assert line["event"] == "not started" and "reason" not in line
    assert "Smith" not in (north / LOG).read_text()


def test_too_many_connections_are_not_served_and_let_go_again(north: Path) -> None:
    with running(north):
        held = [_plain(north) for _ in range(16)]
        try:
            time.sleep(0.1)
            with pytest.raises(RefusedError, match="No site answers"):
                SocketLink(north / "socket")
        finally:
            for one in held:
                one.close()
        _eventually(lambda: SocketLink(north / "socket").close())


def _plain(folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    with socket_place(folder / "socket") as place:
        connection.connect(place)
    return connection


def _eventually(work: Callable[[], None]) -> None:
    for _ in range(50):
        try:
            work()
        except RefusedError:
            time.sleep(0.05)
        else:
            return
    work()


def test_a_reply_that_is_none_is_refused() -> None:
    for content in (b"", pack([]), pack([b"{}", b"north"]), pack([b"[]"]), pack([b"{"]), b"\x01"):
        with pytest.raises(CorruptMessageError):
            read_reply(content)
    with pytest.raises(CorruptMessageError, match="no text"):
        read_reply(pack([b"{}", b"\xff", b""]))


def test_the_command_serves_without_torch_and_ends_in_order(north: Path) -> None:
    command = [sys.executable, "-m", "experiments.cli", "site", str(north)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            for _ in range(600):
                if (north / "socket").exists():
                    break
                time.sleep(0.05)
            asked = subprocess.run(
                [*command, "--status"], cwd=ROOT, capture_output=True, text=True, check=True
            )
            told = json.loads(asked.stdout)
            assert told["name"] == "north" and told["roles"] == ["hospital", "holder"]
            assert "torch" not in told["memory"]["mapped"]
            maps = Path(f"/proc/{process.pid}/maps").read_text()
            assert "libtorch" not in maps and "tenseal" not in maps
        finally:
            process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
        assert (process.returncode, error) == (0, "")
    refused = subprocess.run([*command, "--status"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2 and "Start its daemon" in refused.stderr
