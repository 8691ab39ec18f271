"""A site's relay passes a courier's frames to the daemon, and nothing else in either direction."""

from pathlib import Path

import pytest

from aggregation.roles.messages import AGGREGATOR
from aggregation.sites.flare.frame_relay import AWAY, FrameRelay
from aggregation.sites.frames import SMALL, FrameKind, Greeting, read_reply
from tests.aggregation.sites.parts import dealt, made
from tests.aggregation.sites.test_daemon import plan_message, running


def test_frames_pass_to_the_daemon_and_back(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made())
    north, relay = folders["north"], FrameRelay(folders["north"])
    assert relay.pass_on(FrameKind.GREETING, b"") == (AWAY, b"")  # nobody is there yet
    with running(north):
        assert relay.pass_on(FrameKind.WAKE, b"") == (AWAY, b"")  # nobody has greeted
        kind, body = relay.pass_on(int(FrameKind.GREETING), b"")
        greeting = Greeting.from_bytes(body)
        assert kind == FrameKind.GREETING and greeting.name == "north"
        kind, body = relay.pass_on(FrameKind.DELIVER, plan_message(north))
        assert kind == FrameKind.REPLY and read_reply(body)[0]["ended"] is False
        assert relay.pass_on(FrameKind.DELIVER, b"no message") == (FrameKind.REFUSED, b"")
        assert relay.pass_on(FrameKind.WAKE, b"")[0] == FrameKind.REPLY
    assert relay.pass_on(FrameKind.WAKE, b"") == (AWAY, b"")
    relay.close()


def test_what_no_courier_says_does_not_reach_the_daemon(tmp_path: Path) -> None:
    north = dealt(tmp_path / "run", made())["north"]
    with running(north):
        relay = FrameRelay(north)
        _, body = relay.pass_on(FrameKind.GREETING, b"")
        before = (north / "site.log").read_bytes()
        for kind in (FrameKind.STATUS, FrameKind.REPLY, FrameKind.REFUSED, 0, 99, "2", None):
            assert relay.pass_on(kind, b"") == (AWAY, b"")
        for content in ("text", None, 7, [b"x"]):
            assert relay.pass_on(FrameKind.DELIVER, content) == (AWAY, b"")
        large = bytes(Greeting.from_bytes(body).largest + SMALL + 1)
        assert relay.pass_on(FrameKind.DELIVER, large) == (FrameKind.REFUSED, b"")
        assert (north / "site.log").read_bytes() == before
        assert relay.pass_on(FrameKind.WAKE, b"")[0] == FrameKind.REPLY  # and it goes on
        relay.close()


def test_a_site_that_says_more_than_is_carried_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = dealt(tmp_path / "run", made())[AGGREGATOR]
    with running(folder):
        relay = FrameRelay(folder)
        relay.pass_on(FrameKind.GREETING, b"")
        monkeypatch.setattr("aggregation.sites.flare.frame_relay.MOST_BYTES", 10)
        assert relay.pass_on(FrameKind.WAKE, b"") == (AWAY, b"")
        assert relay.pass_on(FrameKind.WAKE, bytes(11)) == (AWAY, b"")
        monkeypatch.undo()
        assert relay.pass_on(FrameKind.GREETING, b"")[0] == FrameKind.GREETING
        relay.close()
