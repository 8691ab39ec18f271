"""A way to one site's daemon: over its Unix socket, or over whatever carries frames to that."""

import secrets
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from aggregation.sites.frames import (
    SMALL,
    FrameKind,
    Greeting,
    read_reply,
    receive,
    send,
    socket_place,
)
from privacy._foreign import parse_json
from privacy.errors import CorruptMessageError, RefusedError

__all__ = ["Link", "Said", "SocketLink", "ask", "largest_reply", "state_of"]

_ANSWER_WITHIN = 600.0  # seconds that a site may take for one message
_MOST_SAID = 64

Said = list[tuple[str, bytes]]


@runtime_checkable
class Link(Protocol):
    """One site's daemon, as whoever carries for it sees it: a frame goes in, a frame comes back."""

    @property
    def greeting(self) -> Greeting:
        """What the daemon said of itself when it was reached."""

    def exchange(self, kind: FrameKind, body: bytes = b"") -> tuple[FrameKind, bytes]:
        """Hand over one frame; return the one that answers it.

        Raises:
          OSError: It is gone; whether it had taken the frame is not known.
          CorruptMessageError: Its answer is none.
        """

    def close(self) -> None:
        """Let the site go."""


class SocketLink:
    """A connection to the socket of a daemon on this machine.

    Args:
      path: The site's socket.

    Raises:
      RefusedError: Nobody answers there, or another version does.
    """

    def __init__(self, path: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._connection.settimeout(_ANSWER_WITHIN)
            with socket_place(path) as place:
                self._connection.connect(place)
            ours = Greeting("courier", (), "", secrets.token_hex(8), 0)
            send(self._connection, FrameKind.GREETING, ours.to_bytes())
            _, body = receive(self._connection, SMALL)
            self.greeting = Greeting.from_bytes(body)
        except OSError as error:
            self.close()
            raise RefusedError(
                f"No site answers at {path}: {error.strerror or error}. Start its daemon: "
                f"inpatient site {path.parent}."
            ) from error
        except BaseException:
            self.close()
            raise

    def exchange(self, kind: FrameKind, body: bytes = b"") -> tuple[FrameKind, bytes]:
        """As ``Link.exchange``."""
        send(self._connection, kind, body)
        return receive(self._connection, largest_reply(self.greeting))

    def close(self) -> None:
        """Let the site go."""
        self._connection.close()

    def __enter__(self) -> "SocketLink":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def largest_reply(greeting: Greeting) -> int:
    """Return how many bytes of an answer are read: several messages, each as large as it reads."""
    return _MOST_SAID * max(greeting.largest, SMALL)


def ask(link: Link, kind: FrameKind, body: bytes = b"") -> tuple[dict[str, Any], Said] | None:
    """Hand a site something; return its state and what leaves it. None: it refuses.

    Raises:
      OSError: It is gone; whether it had taken the message is not known.
      CorruptMessageError: Its answer is none.
    """
    answered, content = link.exchange(kind, body)
    if answered is FrameKind.REFUSED:
        return None
    if answered is not FrameKind.REPLY:
        raise CorruptMessageError("A site answered with what is no reply.")
    return read_reply(content)


def state_of(link: Link) -> dict[str, Any]:
    """Return what a site tells of itself.

    Raises:
      RefusedError: It is gone.
      CorruptMessageError: What it says is no state.
    """
    try:
        _, content = link.exchange(FrameKind.STATUS)
    except OSError as error:
        raise RefusedError("The site was gone before it answered; ask again.") from error
    state = parse_json(content, what="A site's state", most=SMALL)
    if not isinstance(state, dict):
        raise CorruptMessageError("A site's state is no object.")
    return state
