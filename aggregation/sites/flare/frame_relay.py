"""A site's end of the way: frames that came over the network go to the daemon's socket and back."""

import threading
from contextlib import suppress
from pathlib import Path

from aggregation.sites.frames import SMALL, FrameKind
from aggregation.sites.link import SocketLink, largest_reply
from aggregation.sites.site_settings import SiteSettings
from privacy.errors import CorruptMessageError, InpatientError

__all__ = ["AWAY", "MOST_BYTES", "FrameRelay"]

AWAY = 0
"""In place of a frame's kind: the daemon can't be reached, or was lost before it answered."""

MOST_BYTES = 1 << 30
"""Of any frame over the network; a site's own bound is what it says in its greeting."""

_PASSED = frozenset({FrameKind.GREETING, FrameKind.DELIVER, FrameKind.WAKE, FrameKind.DUE})


class FrameRelay:
    """Passes frames to a site's daemon, and what it answers back; it reads neither.

    Guarantees (each is a test in ``tests/aggregation/sites/flare/test_frame_relay.py``):
      - a frame that is larger than the site reads, or that is none of a courier's, does not reach
        the daemon;
      - a site's state (its ledger's budget, its memory) is not told over the network;
      - whatever fails is ``AWAY``: no word of the site's own leaves.

    Args:
      folder: The site's folder, with its ``site.toml`` and socket.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._link: SocketLink | None = None
        self._lock = threading.Lock()

    def pass_on(self, kind: object, body: object) -> tuple[int, bytes]:
        """Hand one frame to the daemon; return the frame that answers it, or ``AWAY``."""
        if not isinstance(kind, int) or kind not in _PASSED or not isinstance(body, bytes):
            return AWAY, b""
        with self._lock:
            try:
                return self._exchanged(FrameKind(kind), body)
            except (OSError, InpatientError):
                self._lose()
                return AWAY, b""

    def _exchanged(self, kind: FrameKind, body: bytes) -> tuple[int, bytes]:
        if kind is FrameKind.GREETING:
            self._lose()
            self._link = SocketLink(self._folder / SiteSettings.load(self._folder).socket)
            return kind, self._link.greeting.to_bytes()
        if self._link is None:
            return AWAY, b""
        largest = min(self._link.greeting.largest + SMALL, MOST_BYTES)
        if len(body) > largest:
            return FrameKind.REFUSED, b""
        answered, content = self._link.exchange(kind, body)
        if len(content) > min(largest_reply(self._link.greeting), MOST_BYTES):
            raise CorruptMessageError("A site said more than is carried.")
        return answered, content

    def _lose(self) -> None:
        if self._link is not None:
            with suppress(OSError):
                self._link.close()
        self._link = None

    def close(self) -> None:
        """Let the daemon go."""
        with self._lock:
            self._lose()
