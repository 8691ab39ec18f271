"""The server's end of the way: a site's daemon, reached by whatever sends frames to its relay."""

import time
from collections.abc import Callable

from aggregation.sites.flare.frame_relay import AWAY
from aggregation.sites.frames import SMALL, FrameKind, Greeting
from aggregation.sites.link import largest_reply
from privacy.errors import CorruptMessageError, RefusedError

__all__ = ["RelayedLink", "Sender", "Sending"]

Sender = Callable[[str, int, bytes, float], tuple[object, object] | None]
"""Sends a frame to a site's relay; returns what came back, or None within so many seconds."""

_GREET_WITHIN = 5.0  # seconds
_ANSWER_WITHIN = 60.0  # seconds; a message is then handed over again, and has been taken once
_BEGIN_WITHIN = 60.0  # seconds that a relay's part of a job may take until it answers


class Sending:
    """Sends frames to relays, and knows which have not answered since when.

    Args:
      sender: How.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._silent: dict[str, float] = {}
        self._heard: set[str] = set()

    def __call__(self, site: str, kind: FrameKind, body: bytes) -> tuple[FrameKind, bytes]:
        """Send one frame; return the one that answers it.

        Raises:
          ConnectionError: The relay does not answer, or the daemon behind it does not.
          CorruptMessageError: What answers is no frame.
        """
        within = _GREET_WITHIN if kind is FrameKind.GREETING else _ANSWER_WITHIN
        answer = self._sender(site, kind, body, within)
        if answer is None:
            self._silent.setdefault(site, time.monotonic())
            raise ConnectionError(f"the relay of {site} does not answer")
        self._hear(site)
        answer_kind, content = answer
        if answer_kind == AWAY:
            raise ConnectionError(f"the daemon of {site} does not answer")
        if (
            not isinstance(answer_kind, int)
            or answer_kind not in set(FrameKind)
            or not isinstance(content, bytes)
        ):
            raise CorruptMessageError(f"The relay of {site} answered with what is no frame.")
        return FrameKind(answer_kind), content

    def ask(self, site: str) -> None:
        """Ask a relay whether it is there: it answers by itself, whatever its daemon is at."""
        if self._sender(site, AWAY, b"", _GREET_WITHIN) is None:
            self._silent.setdefault(site, time.monotonic())
        else:
            self._hear(site)

    def silent(self, seconds: float) -> list[str]:
        """Return the sites whose relays have not answered for so long.

        One that has not answered yet is given a minute to begin.
        """
        now, begin = time.monotonic(), max(seconds, _BEGIN_WITHIN)
        return sorted(
            site
            for site, since in [*self._silent.items()]
            if now - since > (seconds if site in self._heard else begin)
        )

    def _hear(self, site: str) -> None:
        self._heard.add(site)
        self._silent.pop(site, None)


class RelayedLink:
    """A site's daemon on another machine.

    Guarantees (each is a test in ``tests/aggregation/sites/flare/test_relayed_link.py``):
      - who answers under a site's certificate answers as that site, or is carried nothing.

    Args:
      site: The site's name, as its certificate has it.
      send: How frames reach it.

    Raises:
      RefusedError: Nobody answers there yet, or another version does.
      CorruptMessageError: Another site answers there.
    """

    def __init__(self, site: str, send: Sending) -> None:
        self._site, self._send = site, send
        try:
            kind, body = send(site, FrameKind.GREETING, b"")
        except OSError as error:
            raise RefusedError(f"The site {site} can't be reached: {error}.") from error
        if kind is not FrameKind.GREETING or len(body) > SMALL:
            raise CorruptMessageError(f"What came as the greeting of {site} is none.")
        self.greeting = Greeting.from_bytes(body)
        if self.greeting.name != site:
            raise CorruptMessageError(
                f"Under the certificate of {site!r} a daemon answers as {self.greeting.name!r}. "
                "Nothing is carried to it: see which folder that site's relay serves."
            )

    def exchange(self, kind: FrameKind, body: bytes = b"") -> tuple[FrameKind, bytes]:
        """As ``Link.exchange``."""
        answered, content = self._send(self._site, kind, body)
        if len(content) > largest_reply(self.greeting):
            raise CorruptMessageError(f"The site {self._site} said more than is read.")
        return answered, content

    def close(self) -> None:
        """Let the site go; its relay keeps its own connection."""
