"""A declared schedule: where a release has its place in it, and what of it was made.

Where patients are allocated to the steps of a pass, a pass of t steps is t releases that are
charged once, all of it with the first one: t times in a row, or a multiple, such an event is
planned, and release r has the place of step r mod t of its pass, by its round. A round that was
skipped is forfeited, and what is then left of its pass stays charged.

>>> step = {"type": "GaussianDpEvent", "noise_multiplier": 40.0}
>>> plan = DeclaredPlan.read(
...     {"plan": "ab" * 32, "schedule": [{"kind": "a", "event": step, "count": 2}], "repeats": 3}
... )
>>> plan.size, plan.find("a", step), plan.find("b", step)
(6, 0, None)
>>> plan.position = 5
>>> [count for _, count in plan.made], [count for _, count in plan.unmade]
([5], [1])
>>> passes = {"type": "RandomAllocationDpEvent", "steps": 4, "event": step}
>>> plan = DeclaredPlan.read(
...     {"plan": "ab" * 32, "schedule": [{"kind": "a", "event": passes, "count": 4}], "repeats": 3}
... )
>>> [count for _, count in plan.whole], plan.find("a", passes, round_=6)
([3], 6)
>>> plan.position = 5
>>> [count for _, count in plan.made], plan.find("a", passes, round_=4)
([2], None)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from privacy.ledger.log.canonical import encode

__all__ = ["DeclaredPlan", "Fate", "Part", "parts_of"]

Part = tuple[Mapping[str, Any], int]  # an event, and how often


class Fate(Enum):
    """What became of a plan.

    ``STANDING``: its places may be taken. ``KEPT``: abandoned; its places are forfeited and it
    counts as before. ``FREED``: abandoned; only what was made of it counts.
    """

    STANDING = "standing"
    KEPT = "kept"
    FREED = "freed"


@dataclass(frozen=True)
class _Step:
    key: bytes
    event: Mapping[str, Any]
    count: int

    @property
    def covers(self) -> int:
        """Releases that one event covers: the steps of a pass, or 1."""
        if "Allocation" not in self.event["type"]:
            return 1
        steps: int = self.event["steps"]
        return steps if self.count % steps == 0 else 1

    def events(self, releases: int) -> int:
        """How often so many releases in a row are charged: a pass as soon as it is begun."""
        return -(-releases // self.covers)


@dataclass
class DeclaredPlan:
    """A declared schedule and how far it was walked.

    Attributes:
      digest: What its releases call it by.
      steps: Kind and event of the releases of one cycle, and how many of each in a row.
      repeats: Cycles.
      position: Places passed: taken, or skipped and so forfeited.
      fate: Whether it stands.
    """

    digest: str
    steps: tuple[_Step, ...]
    repeats: int
    position: int = 0
    fate: Fate = Fate.STANDING

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "DeclaredPlan":
        """Return the plan of a ``plan`` entry."""
        steps = tuple(
            _Step(_key(step["kind"], step["event"]), step["event"], step["count"])
            for step in content["schedule"]
        )
        return cls(content["plan"], steps, content["repeats"])

    @property
    def cycle(self) -> int:
        """Places in one cycle."""
        return sum(step.count for step in self.steps)

    @property
    def size(self) -> int:
        """Places in all."""
        return self.cycle * self.repeats

    @property
    def left(self) -> int:
        """Places that may still be taken."""
        return self.size - self.position if self.fate is Fate.STANDING else 0

    def find(self, kind: str, event: Mapping[str, Any], round_: int = 0) -> int | None:
        """First place not yet passed where such a release is planned, None if there is none.

        Args:
          kind: Of the release.
          event: Its event.
          round_: Its round: what tells the pass, and the step of it, that it is.
        """
        if not self.left:
            return None
        if (place := self._of_pass(_key(kind, event), round_)) is not None:
            return place if place >= self.position else None
        key, start = _key(kind, event), self.position // self.cycle
        for lap in (start, start + 1):
            place = lap * self.cycle
            for step in self.steps:
                first = max(place, self.position)
                if (
                    step.key == key
                    and step.covers == 1
                    and first < place + step.count
                    and first < self.size
                ):
                    return first
                place += step.count
        return None

    def _of_pass(self, key: bytes, round_: int) -> int | None:
        """The one place of a round of a pass; None: no pass of such releases has it."""
        start = 0
        for step in self.steps:
            if step.key == key and step.covers > 1:
                lap, within = divmod(round_, step.count)
                return lap * self.cycle + start + within if lap < self.repeats else None
            start += step.count
        return None

    @property
    def whole(self) -> list[Part]:
        """All that was declared."""
        return [(step.event, step.events(step.count) * self.repeats) for step in self.steps]

    @property
    def made(self) -> list[Part]:
        """What was passed of it; a skipped place counts as made, and a pass that was begun."""
        return _some(zip((step.event for step in self.steps), self._made, strict=True))

    @property
    def unmade(self) -> list[Part]:
        """What was not passed of it."""
        parts = zip(self.whole, self._made, strict=True)
        return _some((event, count - made) for (event, count), made in parts)

    @property
    def _made(self) -> list[int]:
        laps, rest = divmod(self.position, self.cycle)
        counts, place = [], 0
        for step in self.steps:
            begun = step.events(min(max(rest - place, 0), step.count))
            counts.append(laps * step.events(step.count) + begun)
            place += step.count
        return counts

    @property
    def counted(self) -> list[Part]:
        """What has to be accounted for."""
        return self.made if self.fate is Fate.FREED else self.whole


def parts_of(schedule: Iterable[Mapping[str, Any]], repeats: int) -> list[Part]:
    """Return the events of a schedule of ``{"kind", "event", "count"}``, and how often each."""
    steps = [_Step(b"", step["event"], step["count"]) for step in schedule]
    return [(step.event, step.events(step.count) * repeats) for step in steps]


def _some(parts: Iterable[Part]) -> list[Part]:
    return [(event, count) for event, count in parts if count]


def _key(kind: str, event: Mapping[str, Any]) -> bytes:
    return encode([kind, event])
