"""A declared schedule: where a release has its place in it, and what of it was made.

>>> step = {"type": "GaussianDpEvent", "noise_multiplier": 40.0}
>>> plan = DeclaredPlan.read(
...     {"plan": "ab" * 32, "schedule": [{"kind": "a", "event": step, "count": 2}], "repeats": 3}
... )
>>> plan.size, plan.find("a", step), plan.find("b", step)
(6, 0, None)
>>> plan.position = 5
>>> [count for _, count in plan.made], [count for _, count in plan.unmade]
([5], [1])
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from privacy.ledger.log.canonical import encode

__all__ = ["DeclaredPlan", "Fate", "Part"]

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

    def find(self, kind: str, event: Mapping[str, Any]) -> int | None:
        """First place not yet passed where such a release is planned, None if there is none."""
        if not self.left:
            return None
        key, start = _key(kind, event), self.position // self.cycle
        for lap in (start, start + 1):
            place = lap * self.cycle
            for step in self.steps:
                first = max(place, self.position)
                if step.key == key and first < place + step.count and first < self.size:
                    return first
                place += step.count
        return None

    @property
    def whole(self) -> list[Part]:
        """All that was declared."""
        return [(step.event, step.count * self.repeats) for step in self.steps]

    @property
    def made(self) -> list[Part]:
        """What was passed of it; a skipped place counts as made."""
        laps, rest = divmod(self.position, self.cycle)
        found, place = [], 0
        for step in self.steps:
            found.append((step.event, laps * step.count + min(max(rest - place, 0), step.count)))
            place += step.count
        return _some(found)

    @property
    def unmade(self) -> list[Part]:
        """What was not passed of it."""
        laps, rest = divmod(self.position, self.cycle)
        found, place = [], 0
        for step in self.steps:
            passed = laps * step.count + min(max(rest - place, 0), step.count)
            found.append((step.event, step.count * self.repeats - passed))
            place += step.count
        return _some(found)

    @property
    def counted(self) -> list[Part]:
        """What has to be accounted for."""
        return self.made if self.fate is Fate.FREED else self.whole


def _some(parts: Iterable[Part]) -> list[Part]:
    return [(event, count) for event, count in parts if count]


def _key(kind: str, event: Mapping[str, Any]) -> bytes:
    return encode([kind, event])
