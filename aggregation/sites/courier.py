"""Carries bytes between sites, however it reaches them; it holds nothing that a run rests on.

Whatever it loses is said again: a courier is killed and begun anew like any other process.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from aggregation.roles.messages import AGGREGATOR
from aggregation.sites.frames import FrameKind, Greeting
from aggregation.sites.link import Link, Said, ask
from privacy.errors import InpatientError, RefusedError

__all__ = ["Courier", "Dial"]

_PAUSE = 0.05  # seconds between tries to reach a site
_WAKE_AFTER = 2.0  # seconds of silence before the aggregator is woken; doubled each time
_WAKE_MOST = 60.0
_LOOK = 0.05  # seconds between looks at what goes on
_DUE_EVERY = 1.0  # seconds between questions for what it is time for
_END_WITHIN = 5.0  # seconds that a message on its way is waited for in the end
_CLOSE_WITHIN = 20.0  # seconds of silence, after the last sum, that ledgers are waited for

Dial = Callable[[], Link]
"""Reaches a site's daemon; raises ``RefusedError`` while nobody answers."""


class Courier:
    """Hands each site what is addressed to it, in order, and passes on what it says.

    Guarantees (each is a test in ``tests/aggregation/sites/test_courier.py``):
      - of what one site says to another the order is kept;
      - a message whose answer did not come is handed over again, when the site is back;
      - when a site was started again, or nobody says anything, the aggregator is woken, so that
        what was lost is said again;
      - a site with another agreement than the aggregator's is carried nothing.

    Args:
      dials: How each site's daemon is reached, by the site's name; the aggregator is among them.
      watch: Called with the aggregator's state whenever it changes.
      fails: Asked again and again: why nothing more can come, or nothing.
    """

    def __init__(
        self,
        dials: Mapping[str, Dial],
        watch: Callable[[Mapping[str, Any]], None] = lambda _: None,
        fails: Callable[[], str] = lambda: "",
    ) -> None:
        if AGGREGATOR not in dials:
            raise RefusedError(f"None of {', '.join(dials)} is the {AGGREGATOR}; name its site.")
        self._carriers = {name: _Carrier(dial, self) for name, dial in dials.items()}
        self._watch, self._fails = watch, fails
        self._lock = threading.Lock()
        self._routes: dict[str, _Carrier] = {}
        self.agreed = ""
        self._stop = threading.Event()
        self.moved = time.monotonic()
        self.returned = threading.Event()  # some site was started again
        self.states: dict[str, Mapping[str, Any]] = {}
        self.refusals: dict[str, int] = dict.fromkeys(dials, 0)
        self.carried: dict[str, int] = {}
        self.failure: Exception | None = None

    def run(self, *, seconds: float) -> Mapping[str, Any]:
        """Carry until the run has ended at every hospital; return the aggregator's last state.

        Raises:
          RefusedError: It has not ended within so many seconds, or can't; a later courier goes on.
        """
        end = time.monotonic() + seconds
        try:
            for carrier in self._carriers.values():
                carrier.start()
            self._reach_all(end)
            self._watch_over(end)
        finally:
            self._stop.set()
            over = time.monotonic() + _END_WITHIN
            for carrier in self._carriers.values():
                carrier.join(over)
        return self.states[AGGREGATOR]

    def _reach_all(self, end: float) -> None:
        """Wait until each site has said where it is addressed."""
        while not all(carrier.greeting for carrier in self._carriers.values()):
            self._require(end, "was reached at every site")
            time.sleep(_LOOK)

    def _watch_over(self, end: float) -> None:
        server, wait = self._carriers[AGGREGATOR], _WAKE_AFTER
        server.put(FrameKind.WAKE)
        last_due = time.monotonic()
        while True:
            now = time.monotonic()
            if self._ended and self._idle and (self._closed or now - self.moved > _CLOSE_WITHIN):
                return
            self._require(end, "has ended")
            if self.returned.is_set() and server.greeting is not None:
                self.returned.clear()
                server.put(FrameKind.WAKE)
            elif self._idle and now - self.moved > wait:
                wait = min(2 * wait, _WAKE_MOST)
                server.put(FrameKind.WAKE)
            if now - last_due > _DUE_EVERY:
                last_due = now
                server.put(FrameKind.DUE)
            time.sleep(_LOOK if not self._ended else _LOOK / 5)

    def _require(self, end: float, what: str) -> None:
        if self.failure is not None:
            raise self.failure
        if why := self._fails():
            raise RefusedError(why)
        if time.monotonic() > end:
            late = [name for name, carrier in self._carriers.items() if carrier.greeting is None]
            unreachable = f"; {', '.join(late)} can't be reached" if late else ""
            state = self.states.get(AGGREGATOR, {})
            raise RefusedError(
                f"No run {what} in time (round {state.get('round', '?')}, waiting for "
                f"{', '.join(state.get('late', ())) or 'nobody'}{unreachable}). Nothing is lost: "
                "start it again, and it goes on."
            )

    @property
    def _ended(self) -> bool:
        """Whether the last sum was opened, and every hospital that we carry for has learnt it."""
        ended_flags = [state.get("ended") for state in self.states.values()]
        return AGGREGATOR in self.states and all(ended is not False for ended in ended_flags)

    @property
    def _closed(self) -> bool:
        """Whether the ledgers that we know of are counter-signed by all others."""
        return all(state.get("closed") is not False for state in self.states.values())

    @property
    def _idle(self) -> bool:
        return all(carrier.idle for carrier in self._carriers.values())

    # -- called by carriers, from their threads ----------------------------------------------------

    def reached(self, carrier: "_Carrier", greeting: Greeting) -> None:
        """Take note of who answers at a socket.

        Raises:
          RefusedError: It has another agreement, or an address that another site has.
        """
        with self._lock:
            self.agreed = self.agreed or greeting.agreed
            if greeting.agreed != self.agreed:
                raise RefusedError(
                    f"The site {greeting.name!r} has agreed to {greeting.agreed[:12]}, others to "
                    f"{self.agreed[:12]}. Compare the files of agreed/ at all sites; nothing is "
                    "carried between them."
                )
            for address in greeting.addresses:
                if self._routes.setdefault(address, carrier) is not carrier:
                    raise RefusedError(f"Two sites are addressed as {address!r}; end one of them.")

    def took(self, name: str, state: Mapping[str, Any], said: Said) -> None:
        """Pass on what a site said."""
        changed = self.states.get(name) != state
        self.states[name] = state
        for address, content in said:
            to = self._routes.get(address)
            if to is None:
                self.refusals[name] += 1
                continue
            self.carried[address] = self.carried.get(address, 0) + len(content)
            to.put(FrameKind.DELIVER, content)
        if said:
            self.moved = time.monotonic()
        if changed and name == AGGREGATOR:
            self._watch(state)

    @property
    def stopped(self) -> bool:
        """Whether carriers have to end."""
        return self._stop.is_set()


class _Carrier:
    """One site's queue, and the thread that empties it."""

    def __init__(self, dial: Dial, courier: Courier) -> None:
        self._dial, self._courier = dial, courier
        self._queue: queue.Queue[tuple[FrameKind, bytes]] = queue.Queue()
        self._link: Link | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.greeting: Greeting | None = None

    def start(self) -> None:
        self._thread.start()

    def join(self, end: float) -> None:
        self._thread.join(timeout=max(end - time.monotonic(), 0.0))
        if self._link is not None:
            self._link.close()

    def put(self, kind: FrameKind, body: bytes = b"") -> None:
        self._queue.put((kind, body))

    @property
    def idle(self) -> bool:
        return self._queue.unfinished_tasks == 0

    def _work(self) -> None:
        try:
            self._reach()
            while not self._courier.stopped:
                try:
                    kind, body = self._queue.get(timeout=_LOOK)
                except queue.Empty:
                    continue
                self._hand_over(kind, body)
                self._queue.task_done()
        except InpatientError as error:
            self._courier.failure = error

    def _hand_over(self, kind: FrameKind, body: bytes) -> None:
        while not self._courier.stopped:
            if self._link is None:
                self._reach()
            if self._link is None or self.greeting is None:
                return
            try:
                answer = ask(self._link, kind, body)
            except OSError:
                self._lose()
                continue
            if answer is None:
                self._courier.refusals[self.greeting.name] += 1
            else:
                self._courier.took(self.greeting.name, *answer)
            return

    def _lose(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None

    def _reach(self) -> None:
        """Connect, again and again until somebody answers."""
        while not self._courier.stopped:
            with suppress(RefusedError):
                self._link = self._dial()
                break
            time.sleep(_PAUSE)
        if self._link is None:
            return
        greeting, before = self._link.greeting, self.greeting
        self._courier.reached(self, greeting)
        self.greeting = greeting
        if before is not None and before.process != greeting.process:
            self._courier.returned.set()
