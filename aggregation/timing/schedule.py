"""Who arrives when, and what is opened together: a simulation of events, apart from all numbers.

Times never depend on parameters, so the schedule is made first and a training run follows it:
``replay`` with any rule, or a federation with real noise and sealing.

>>> paces = {"fast": Pace(duration=1.0, variation=0.0), "slow": Pace(duration=4.0, variation=0.0)}
>>> made = simulate(paces, Trigger(count=3, distinct=2), horizon=9.0, seed=0)
>>> [[(a.hospital, a.staleness) for a in opening.arrivals] for opening in made.openings]
[[('fast', 0), ('fast', 0), ('fast', 0), ('slow', 0)], [('fast', 0), ('fast', 0), ('fast', 0), \
('fast', 0), ('slow', 0)]]
"""

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import simpy

from aggregation.timing.pace import Pace
from aggregation.timing.trigger import Trigger
from privacy._validate import natural, positive
from privacy.errors import InvalidInputError, RefusedError

__all__ = ["Arrival", "Schedule", "ScheduledOpening", "simulate"]


@dataclass(frozen=True)
class Arrival:
    """One upload.

    Attributes:
      hospital: Who sent it.
      number: The how-manyeth of this hospital it is, from 0: every one is paid for.
      base_version: Version of the model that it was computed at.
      sealed_version: Version that was current when it was weighed, noised and sealed. The
        staleness weight is applied before the noise, so it can know no later version.
      started: When the hospital took the model.
      sealed: When it sealed the update.
      arrived: When the aggregator had it; inf: never.
    """

    hospital: str
    number: int
    base_version: int
    sealed_version: int
    started: float
    sealed: float
    arrived: float

    @property
    def staleness(self) -> int:
        """Versions that passed while the update was computed."""
        return self.sealed_version - self.base_version


@dataclass(frozen=True)
class ScheduledOpening:
    """One sum that is opened; opening k makes version k + 1.

    Attributes:
      version: The current version when it is opened.
      time: When.
      arrivals: What it holds, in order of arrival.
      reason: ``count`` or ``time-out``.
    """

    version: int
    time: float
    arrivals: tuple[Arrival, ...]
    reason: Literal["count", "time-out"]


@dataclass(frozen=True)
class Schedule:
    """All that happened until the horizon.

    Attributes:
      openings: In order of time.
      left: Arrivals that waited in the buffer at the end; paid for and never opened.
      lost: Uploads that never arrived; paid for, too.
    """

    openings: tuple[ScheduledOpening, ...]
    left: tuple[Arrival, ...]
    lost: tuple[Arrival, ...]

    synchronous: ClassVar[bool] = False

    @property
    def sums(self) -> int:
        """How many sums are opened."""
        return len(self.openings)

    def arrivals(self, version: int) -> tuple[Arrival, ...]:
        """Return whose uploads the sum opened at a version holds."""
        return self.openings[version].arrivals if version < len(self.openings) else ()

    def takers(self, version: int) -> tuple[tuple[str, float | None], ...]:
        """Return who takes the model of a version, and when: those whose upload is opened later."""
        return self._takers.get(version, ())

    @cached_property
    def _takers(self) -> dict[int, tuple[tuple[str, float | None], ...]]:
        takers: dict[int, list[tuple[float, str]]] = {}
        for opening in self.openings:
            for arrival in opening.arrivals:
                taken = (arrival.started, arrival.hospital)
                takers.setdefault(arrival.base_version, []).append(taken)
        return {
            version: tuple((hospital, time) for time, hospital in sorted(taken))
            for version, taken in takers.items()
        }

    @property
    def rates(self) -> dict[str, float]:
        """Each hospital's fraction of all contributions that were opened.

        Of a pilot schedule, made from the declared paces with another seed, it is public and fixed
        beforehand: the planned rates of hospitals that wait.
        """
        names = [a.hospital for opening in self.openings for a in opening.arrivals]
        return {name: names.count(name) / len(names) for name in sorted(set(names))}

    @property
    def uploads(self) -> dict[str, int]:
        """Uploads sealed by each hospital: how often its budget was asked."""
        return {name: len(sealed) for name, sealed in self._sealed.items()}

    def staleness(self, hospital: str) -> tuple[int, ...]:
        """Return how many versions pass while each upload of a hospital is made, in order."""
        return tuple(arrival.staleness for arrival in self._sealed.get(hospital, ()))

    def stale(self, hospital: str, base_version: int) -> int:
        """Return how many versions pass while the upload on the model of a version is made.

        Raises:
          RefusedError: No upload of this hospital is due on that model.
        """
        if (staleness := self._stale.get((hospital, base_version))) is None:
            raise RefusedError(
                f"The schedule has no upload of {hospital!r} on the model of version "
                f"{base_version}; it was declared before the first patient was read, and nothing "
                "is added to it."
            )
        return staleness

    @cached_property
    def _stale(self) -> dict[tuple[str, int], int]:
        opened = [a for opening in self.openings for a in opening.arrivals]
        # A lost upload may be of the same model as the one that is made in its place.
        return {
            (a.hospital, a.base_version): a.staleness for a in [*self.lost, *self.left, *opened]
        }

    @cached_property
    def _sealed(self) -> dict[str, tuple[Arrival, ...]]:
        opened = [a for opening in self.openings for a in opening.arrivals]
        arrivals: dict[str, tuple[Arrival, ...]] = {}
        for arrival in sorted([*opened, *self.left, *self.lost], key=_in_turn):
            arrivals[arrival.hospital] = (*arrivals.get(arrival.hospital, ()), arrival)
        return arrivals


def _in_turn(arrival: Arrival) -> tuple[str, int]:
    return arrival.hospital, arrival.number


def simulate(
    paces: Mapping[str, Pace],
    trigger: Trigger,
    *,
    horizon: float,
    seed: int,
    waits: bool = False,
    limits: Mapping[str, int] | None = None,
) -> Schedule:
    """Let the hospitals work at their own pace until the horizon.

    Guarantees (each is a test in ``tests/aggregation/timing/test_schedule.py``):
      - the same arguments give the same schedule, and naming the hospitals in another order does
        not change it;
      - every arrival is in one opening at most, and its base version is not above the version that
        it is opened at;
      - with ``waits``, no hospital is in one opening twice;
      - no hospital uploads more often than its limit; with a limit its uploads are spread over the
        horizon, so that the fast don't spend their budget early;
      - hospitals that never answer, or always, stall nothing that the trigger allows.

    Args:
      paces: Each hospital's speed.
      trigger: When sums are opened.
      horizon: When to stop, in the paces' unit of time.
      seed: An experiment's seed; each hospital draws from a stream of its own.
      waits: Whether a hospital waits while its last upload is unopened. Then none is in one sum
        twice, as shared noise demands: a patient in two of n shares moves the sum by twice the clip
        norm, which no composition of single releases accounts for. Synchronous rounds wait too.
      limits: Largest number of uploads of a hospital, from its budget; None or absent: no limit.

    Raises:
      InvalidInputError: No hospitals, fewer than the trigger needs, or a horizon or limit that is
        not positive.
    """
    positive(horizon=horizon)
    if len(paces) < trigger.distinct:
        raise InvalidInputError(
            f"{len(paces)} hospitals can never make up the {trigger.distinct} distinct ones that "
            "the trigger asks for."
        )
    env = simpy.Environment(initial_time=0.0)
    server = _Server(env, trigger)
    for name in sorted(paces):  # the order of simultaneous events must not follow the caller's
        limit = None if limits is None else limits.get(name)
        if limit is not None:
            natural(limit=limit, least=1)
        worker = _Worker(name, paces[name], limit, horizon, waits)
        env.process(worker.work(server, np.random.default_rng([seed, *name.encode()])))
    env.run(until=horizon)
    return Schedule(tuple(server.openings), tuple(server.buffer), tuple(server.lost))


@dataclass
class _Server:
    """The aggregator's clock: a buffer, a version, and an alarm for what waits too long."""

    env: simpy.Environment
    trigger: Trigger
    version: int = 0
    overdue: bool = False
    buffer: list[Arrival] = field(default_factory=list)
    openings: list[ScheduledOpening] = field(default_factory=list)
    lost: list[Arrival] = field(default_factory=list)
    renewed: simpy.Event = field(init=False)

    def __post_init__(self) -> None:
        self.renewed = self.env.event()

    def receive(self, arrival: Arrival) -> None:
        """Take an upload in; open the buffer if it is time."""
        self.buffer.append(arrival)
        if len(self.buffer) == 1 and not math.isinf(self.trigger.timeout):
            self.env.process(self._alarm(self.version))
        self._open_if_ready()

    def _alarm(self, version: int) -> Generator[simpy.Event, Any, None]:
        yield self.env.timeout(self.trigger.timeout)
        if self.version == version:
            self.overdue = True
            self._open_if_ready()

    def _open_if_ready(self) -> None:
        names = [arrival.hospital for arrival in self.buffer]
        if not self.trigger.fires(names, overdue=self.overdue):
            return
        reason: Literal["count", "time-out"] = "count"
        if len(names) < self.trigger.count:
            reason = "time-out"
        self.openings.append(
            ScheduledOpening(self.version, self.env.now, tuple(self.buffer), reason)
        )
        self.buffer, self.overdue = [], False
        self.version += 1
        done, self.renewed = self.renewed, self.env.event()
        done.succeed()


@dataclass(frozen=True)
class _Worker:
    """One hospital: take a model, compute, seal, send, again."""

    name: str
    pace: Pace
    limit: int | None
    horizon: float
    waits: bool

    def work(self, server: _Server, rng: np.random.Generator) -> Generator[simpy.Event, Any, None]:
        env = server.env
        durations, presences = self.pace.durations(rng), self.pace.presences(rng)
        there, away = next(presences)
        leaves = there
        number = 0
        while self.limit is None or number < self.limit:
            if env.now >= leaves:
                yield env.timeout(away)
                there, away = next(presences)
                leaves = env.now + there
            base, started = server.version, env.now
            yield env.timeout(next(durations))
            sealed, current = env.now, server.version
            yield env.timeout(self.pace.upload)
            is_lost = bool(rng.random() < self.pace.dropout)
            arrived = math.inf if is_lost else env.now
            arrival = Arrival(self.name, number, base, current, started, sealed, arrived)
            if is_lost:
                server.lost.append(arrival)
            else:
                server.receive(arrival)
            number += 1
            if self.limit is not None:
                spread = number * self.horizon / self.limit
                yield env.timeout(max(0.0, spread - env.now))
            if self.waits and arrival in server.buffer:
                yield server.renewed
