"""One site as a process: a lock, a socket, one message after the other, an orderly end."""

import os
import secrets
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from aggregation.data.tables import read_table
from aggregation.roles.messages import Message, unpack
from aggregation.sites.frames import SMALL, FrameKind, Greeting, receive, send, socket_place
from aggregation.sites.read_apart import read_apart
from aggregation.sites.server_site import open_site
from aggregation.sites.site import Reply, Site, TableReader, lock_site
from aggregation.sites.site_log import SiteLog
from aggregation.sites.site_settings import SiteSettings
from privacy.errors import CorruptMessageError, InpatientError, RefusedError
from privacy.ledger.log import canonical

__all__ = ["Daemon", "serve"]

LOG = "site.log"
BROKEN = 70
"""Exit status of a daemon that met what nobody foresaw: start it again."""

_MOST_CONNECTIONS = 16
_SILENCE = 600.0  # seconds that a connection may be silent
_CREDENTIALS = struct.Struct("3i")  # of the process at the other end: pid, user, group


class Daemon:
    """Answers on a site's socket.

    Guarantees (each is a test in ``tests/aggregation/sites/test_daemon.py``):
      - one daemon has a site, and a second one is refused while the first lives;
      - the socket has mode 600, and another user's process is not answered;
      - one message is handled to its end before the next one, and an answer leaves when all that it
        rests on is durable;
      - what is too large is not read, what is no message is refused and recorded, and the site goes
        on; at an error that nobody foresaw the process ends, for its state is not known;
      - asked to end (SIGTERM), it finishes the message that it is at.

    Args:
      folder: The site's.
      reader: Reads the site's own table.

    Raises:
      InpatientError: As ``open_site``, or another daemon has the site.
    """

    def __init__(self, folder: Path, reader: TableReader = read_table) -> None:
        self._folder = folder
        self._log = SiteLog(folder / LOG)
        self._release = lock_site(folder)
        self._handling = threading.Lock()
        self._ending = threading.Event()
        self._status = 0
        self._connections = threading.Semaphore(_MOST_CONNECTIONS)
        try:
            settings = SiteSettings.load(folder)
            started = time.monotonic()
            self._site: Site = open_site(folder, reader, self._log.say)
            self._socket_path = folder / settings.socket
            self._listener = self._listening()
        except BaseException as error:
            self._log.fault("not started", error)
            self._release()
            raise
        self._greeting = Greeting(
            self._site.name,
            self._site.addresses,
            self._site.agreed.digest,
            secrets.token_hex(8),
            self._site.largest,
        )
        seconds = round(time.monotonic() - started, 3)
        self._log.say("started", site=self._site.name, run=self._site.agreed.plan.run,
                      agreed=self._site.agreed.digest, seconds=seconds)  # fmt: skip

    def run(self) -> int:
        """Answer until ``end``; return the exit status."""
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        self._ending.wait()
        with self._handling:  # the message that it is at
            self._listener.close()
            self._socket_path.unlink(missing_ok=True)
            self._site.close()
            self._release()
            self._log.say("ended", status=self._status)
        return self._status

    def end(self, signum: int = 0, frame: FrameType | None = None) -> None:
        """Ask it to end; may be called from a signal handler."""
        self._ending.set()

    def _listening(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket_path.unlink(
                missing_ok=True
            )  # of a daemon that was killed: we have its lock
            before = os.umask(0o177)
            try:
                with socket_place(self._socket_path) as place:
                    listener.bind(place)
            finally:
                os.umask(before)
            listener.listen(_MOST_CONNECTIONS)
        except OSError as error:
            listener.close()
            raise RefusedError(
                f"No socket can be made at {self._socket_path}: {error.strerror}. Name another by "
                "socket in site.toml."
            ) from error
        return listener

    def _accept(self) -> None:
        while not self._ending.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if not self._connections.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """Answer one connection's frames until it is gone."""
        try:
            with connection:
                self._converse(connection)
        except OSError:
            return  # it is gone
        except Exception as error:  # noqa: BLE001 - recorded, and the process ends
            self._log.fault("broken", error)
            self._status = BROKEN
            self._ending.set()
        finally:
            self._connections.release()

    def _converse(self, connection: socket.socket) -> None:
        """Answer frames until one is none; that is recorded before the other end sees the end."""
        try:
            connection.settimeout(_SILENCE)
            self._require_own_user(connection)
            kind, body = receive(connection, SMALL)
            if kind is not FrameKind.GREETING:
                raise CorruptMessageError("A connection began without a greeting.")
            send(connection, FrameKind.GREETING, self._greeting.to_bytes())
            Greeting.from_bytes(body)  # answered first: the other end learns our version too
            while True:
                kind, body = receive(connection, self._site.largest + SMALL)
                send(connection, *self._answer(kind, body))
        except InpatientError as error:
            self._log.fault("connection refused", error)

    def _require_own_user(self, connection: socket.socket) -> None:
        ucred = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, user, _ = _CREDENTIALS.unpack(ucred)
        if user not in (os.getuid(), 0):
            raise RefusedError(f"A process of user {user} connected to a site of {os.getuid()}.")

    def _answer(self, kind: FrameKind, body: bytes) -> tuple[FrameKind, bytes]:
        site = self._site
        if kind is FrameKind.STATUS:
            with self._handling:
                status = {**site.status(), "memory": _memory(), "pid": os.getpid()}
            return FrameKind.REPLY, canonical.encode(status)
        handlers: dict[FrameKind, Callable[[], Reply]] = {
            FrameKind.DELIVER: lambda: site.deliver(body),
            FrameKind.WAKE: site.wake,
            FrameKind.DUE: site.due,
        }
        if kind not in handlers:
            raise CorruptMessageError(f"A courier does not say {kind.name}.")
        with self._handling:
            if self._ending.is_set():
                raise ConnectionError("the site ends")
            started = time.monotonic()
            facts = _facts(body) if kind is FrameKind.DELIVER else {"kind": kind.name.lower()}
            try:
                reply = handlers[kind]()
            except InpatientError as error:
                self._log.fault("refused", error, message=facts)
                return FrameKind.REFUSED, b""
            if kind is not FrameKind.DUE:
                seconds = round(time.monotonic() - started, 4)
                self._log.say("handled", message=facts, said=len(reply.messages), seconds=seconds,
                              **reply.state)  # fmt: skip
            return FrameKind.REPLY, reply.to_bytes()


def serve(folder: Path) -> int:
    """Run the daemon of a site until SIGTERM or SIGINT; return the exit status.

    Raises:
      InpatientError: As ``Daemon``.
    """
    daemon = Daemon(folder, read_apart)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, daemon.end)
    return daemon.run()


def _facts(envelope: bytes) -> dict[str, object]:
    """What a message says of itself in public, for the log; it may be anybody's."""
    try:
        content = unpack(envelope, most=2)[0]
        message = Message.from_bytes(content, largest=len(content))
    except (InpatientError, IndexError):
        return {"kind": "no message", "bytes": len(envelope)}
    return {
        "kind": message.kind.value,
        "sender": message.sender[:80],
        "receiver": message.receiver[:80],
        "round": message.round,
        "bytes": message.size,
        "digest": message.digest[:16],
    }


def _memory() -> dict[str, object]:
    """Resident bytes of this process, now and at most; the heavy libraries that it has mapped."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        lines = Path("/proc/self/status").read_bytes().splitlines()
        fields = dict(line.split(b":", 1) for line in lines)
        # Not getrusage: what it says of a process is its parent's, where that had more.
        most = int(fields[b"VmHWM"].split()[0]) * 1024
        maps = Path("/proc/self/maps").read_bytes()
    except (OSError, ValueError, IndexError, KeyError):
        return {}
    heavy = [name for name in ("torch", "tenseal", "numba") if f"/{name}/".encode() in maps]
    size = pages * os.sysconf("SC_PAGE_SIZE")
    return {"resident": size, "most resident": most, "mapped": heavy}
