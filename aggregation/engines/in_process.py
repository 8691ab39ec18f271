"""All roles in one process: messages in order of time, and the transcript of what passed.

Every message of a federation begins or ends at the aggregator, and is written down there: as it
leaves, or as it arrives. Without a schedule everything takes no time, and timers fire only when
nobody has anything more to say.
"""

import heapq
from collections.abc import Callable, Mapping
from itertools import count
from time import perf_counter

from aggregation.roles import Role
from aggregation.roles.messages import AGGREGATOR, Message, MessageKind, SetTimer, Timer, TimerKind
from aggregation.timing.schedule import Schedule
from aggregation.transcript import Transcript
from privacy.errors import RefusedError

__all__ = ["Delays", "InProcess"]

Moment = tuple[int, float]  # sums opened by then, and the time: equal times keep the declared order


class Delays:
    """When messages arrive along a schedule: a model once the update is computed, updates late.

    A hospital hands its update over the moment it is sealed, so the time for computing is spent on
    the model's way.

    Args:
      schedule: What is opened together.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._moments: dict[tuple[MessageKind, str, int], Moment] = {}
        for opening in schedule.openings:
            for arrival in opening.arrivals:
                name, base = arrival.hospital, arrival.base_version
                sealed = (arrival.sealed_version, arrival.sealed)
                self._moments[MessageKind.MODEL, name, base] = sealed
                self._moments[MessageKind.UPDATE, name, base] = (opening.version, arrival.arrived)

    def __call__(self, message: Message, now: Moment) -> Moment:
        """Return when a message that is sent now arrives."""
        hospital = message.receiver if message.sender == AGGREGATOR else message.sender
        return self._moments.get((message.kind, hospital, message.round), now)


class InProcess:
    """Carries messages between roles until nobody has anything more to say.

    Guarantees (each is a test in ``tests/aggregation/engines/test_in_process.py``):
      - the transcript holds each message once, as it passed the aggregator, in order of time;
      - messages of one moment keep the order in which they were sent;
      - a message to nobody is refused.

    Attributes:
      transcript: Everything that passed so far.
      seconds: Spent in each role so far, by address.

    Args:
      roles: By address.
      delays: When a message arrives; None: at once.
      watch: Called with every message that was written down.
      transcript: What passed before, where a run is taken up.
      begin: When the aggregator is woken.
    """

    def __init__(
        self,
        roles: Mapping[str, Role],
        *,
        delays: Callable[[Message, Moment], Moment] | None = None,
        watch: Callable[[Message], None] = lambda _: None,
        transcript: Transcript | None = None,
        begin: Moment = (0, 0.0),
    ) -> None:
        self.transcript = Transcript() if transcript is None else transcript
        self.seconds = dict.fromkeys(roles, 0.0)
        self._begin = begin
        self._roles = roles
        self._delays = delays
        self._watch = watch
        self._order = count()
        self._queue: list[tuple[Moment, int, str, Message | Timer]] = []

    def run(self) -> None:
        """Wake the aggregator, and carry on."""
        self._put(self._begin, AGGREGATOR, Timer(TimerKind.START, time=self._begin[1]))
        while self._queue:
            now, _, party, incoming = heapq.heappop(self._queue)
            if isinstance(incoming, Message) and party == AGGREGATOR:
                incoming = self._write(incoming, now)
            began = perf_counter()
            answer = self._roles[party].handle(incoming)
            self.seconds[party] += perf_counter() - began
            for said in answer:
                self._post(party, said, now)

    def _post(self, party: str, said: Message | SetTimer, now: Moment) -> None:
        if isinstance(said, SetTimer):
            self._put((max(said.timer.round, now[0]), said.timer.time), party, said.timer)
            return
        if said.receiver not in self._roles or said.sender == said.receiver:
            raise RefusedError(
                f"{said.sender!r} sent a {said.kind.value!r} to {said.receiver!r}, whom this "
                f"federation does not have; it has {', '.join(self._roles)}."
            )
        arrives = now if self._delays is None else max(now, self._delays(said, now))
        if party == AGGREGATOR:
            said = self._write(said, now)
        self._put(arrives, said.receiver, said)

    def _put(self, moment: Moment, party: str, incoming: Message | Timer) -> None:
        heapq.heappush(self._queue, (moment, next(self._order), party, incoming))

    def _write(self, message: Message, now: Moment) -> Message:
        written = self.transcript.carry(message, time=now[1])
        self._watch(written)
        return written
