"""The course of a run whose hospitals work at their own pace, along a declared schedule."""

import copy
from collections.abc import Mapping
from itertools import combinations
from math import comb

import numpy as np
from dp_accounting import DpEvent, NonPrivateDpEvent
from jaxtyping import Float, Int

from aggregation.arrival.leverage import opening_matrix
from aggregation.arrival.rules import Buffered, Memory
from aggregation.arrival.schedule import Schedule
from aggregation.plan import Plan
from aggregation.releases import round_event
from privacy.accounting.events import LinearOpeningsDpEvent
from privacy.accounting.linear import upload_events
from privacy.errors import InvalidInputError

__all__ = ["Paced", "memory_events"]

_MOST_COALITIONS = 2_000


class Paced:
    """What a hospital, or the aggregator, knows of a run at everybody's own pace.

    Guarantees (each is a test in ``tests/aggregation/arrival/test_sealed.py``):
      - every party gets the same models from the same opened sums, rule state included;
      - with hospital-held memory an upload costs its part of *all* declared openings, for the worst
        coalition of ``plan.colluders`` hospitals.

    Args:
      plan: With ``smallest_sum`` hospitals in the smallest sum.
      schedule: What is opened together; declared before the first patient is read.
      rule: Fresh; each party keeps a copy.
      events: Of an upload, by hospital, of a rule with memory; None computes them.
    """

    def __init__(
        self,
        plan: Plan,
        schedule: Schedule,
        rule: Buffered | Memory,
        *,
        events: Mapping[str, DpEvent] | None = None,
    ) -> None:
        self.plan = plan
        self.schedule = schedule
        self.rule = copy.deepcopy(rule)
        self.keeps_memory = isinstance(rule, Memory)
        if events is None and self.keeps_memory:
            events = memory_events(plan, schedule, rule)
        self._events = events or {}

    def event(self, hospital: str, weight: float) -> DpEvent:
        """Return the DP event of one upload."""
        if hospital in self._events:
            return self._events[hospital]
        return round_event(self.plan, hospital, weight=weight)

    def uploads(self, hospital: str) -> int | None:
        """Return the schedule's number of uploads; None where weights follow the staleness."""
        if isinstance(self.rule, Buffered) and self.rule.discount:
            return None
        return self.schedule.uploads.get(hospital)

    def weight(self, hospital: str, staleness: int = 0) -> float:
        """Return the rule's weight of an upload."""
        return self.rule.weight(hospital, staleness)

    def bases(self, version: int) -> Mapping[str, int]:
        """Return whose uploads the sum opened at a version holds, as declared."""
        if version >= len(self.schedule.openings):
            return {}
        return {a.hospital: a.base_version for a in self.schedule.openings[version].arrivals}

    def takers(self, version: int) -> tuple[tuple[str, float | None], ...]:
        """Return who takes the model of a version, and when: those whose upload is opened later."""
        opened = [a for opening in self.schedule.openings for a in opening.arrivals]
        started = sorted((a.started, a.hospital) for a in opened if a.base_version == version)
        return tuple((hospital, time) for time, hospital in started)

    def advance(
        self, params: Float[np.ndarray, "dim"], opened_sum: Int[np.ndarray, "slots"], version: int
    ) -> Float[np.ndarray, "dim"]:
        """Return the model that the rule makes of an opened sum."""
        plan = self.plan
        moved = (
            -plan.learning_rate
            * plan.step
            / sum(plan.declared_sizes)
            * opened_sum[: plan.model.dim]
        )
        return self.rule.step(params, moved, self.schedule.openings[version], params)


def memory_events(plan: Plan, schedule: Schedule, rule: Buffered | Memory) -> dict[str, DpEvent]:
    """Return each hospital's event of one upload when memories are held: its part of the whole.

    The cost of all openings is spread evenly over the uploads that the schedule has, for the worst
    coalition of ``plan.colluders`` others, who know their own patients and noise.

    Raises:
      InvalidInputError: An upload of the schedule is lost (it would have to be sent again as it
        is), or there are too many coalitions to look at each.
    """
    if plan.noise == "none" or plan.noise_multiplier == 0:
        return dict.fromkeys(plan.hospitals, NonPrivateDpEvent())
    if schedule.lost:
        raise InvalidInputError(
            f"{len(schedule.lost)} uploads of the schedule are lost. With memories a lost upload "
            "must be sent again, the same bytes; a fresh one beside it would be a sum nobody "
            "accounted for. Use paces without dropout, or a rule without memory."
        )
    names = sorted(schedule.uploads)
    if comb(len(names), plan.colluders) > _MOST_COALITIONS:
        raise InvalidInputError(
            f"{plan.colluders} colluders among {len(names)} hospitals are more than "
            f"{_MOST_COALITIONS} coalitions; assume fewer."
        )
    matrix, owners = opening_matrix(schedule)
    share, made = plan.share_std / plan.radius, []
    for coalition in combinations(names, plan.colluders):
        kept = [j for j, owner in enumerate(owners) if owner not in coalition]
        made.append(
            upload_events(
                matrix[:, kept],
                owners=[owners[j] for j in kept],
                noise_multiplier=share,
                radius=plan.radius,
                dim=plan.model.dim,
                uploads=dict(schedule.uploads.items()),
            )
        )
    # The worst of each figure, over coalitions: at least the cost of every one of them.
    found: dict[str, DpEvent] = {}
    for name in names:
        own = [events[name] for events in made if name in events]
        radius = plan.radius_of(1.0 if rule.shares is None else rule.shares[name])
        if own:
            found[name] = LinearOpeningsDpEvent(
                noise_multiplier=share * plan.radius / radius,
                radius=radius,
                dim=plan.model.dim,
                leverage=max(e.leverage for e in own),
                openings=len(schedule.openings),
                uploads=max(e.uploads for e in own),
                least_eigenvalue=min(e.least_eigenvalue for e in own),
                coset_spread=max(e.coset_spread for e in own),
            )
    return found
