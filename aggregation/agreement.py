"""What all parties agree on before the first patient is read: plan, timing, and what uploads cost.

``Agreement`` refuses what a rule's contract forbids; ``Trajectory`` is what every party computes
from it and from opened sums: hospitals train on no model but the one that their own gives.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import combinations, groupby
from math import comb

import numpy as np
from dp_accounting import ComposedDpEvent, DpEvent, NonPrivateDpEvent, SelfComposedDpEvent
from jaxtyping import Float, Int

from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import round_event, rounds_covered, scalar_event
from aggregation.rules import Opened
from aggregation.timing import Rounds, Schedule, Timing
from aggregation.timing.leverage import opening_matrix
from aggregation.timing.schedule import Arrival
from privacy.accounting.events import LinearOpeningsDpEvent
from privacy.accounting.linear import upload_events
from privacy.errors import InvalidInputError, RefusedError
from privacy.unit import Unit

__all__ = ["Agreement", "Trajectory", "memory_events"]

_MOST_COALITIONS = 2_000


@dataclass(frozen=True)
class Agreement:
    """A plan, and which uploads are opened together.

    Attributes:
      plan: With its rule.
      timing: Rounds, or a schedule that is declared before the first patient is read.
      events: Of one upload of each hospital, where memories make it depend on all openings.
    """

    plan: Plan
    timing: Timing
    events: Mapping[str, DpEvent] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, schedule: Schedule | None = None) -> "Agreement":
        """Return what a plan and a schedule (None: synchronous rounds) agree on.

        Raises:
          RefusedError: The scheme or the rule's contract forbids such a run.
          InvalidInputError: A plan that the rule does not cover, or a schedule in which a hospital
            is in one sum twice.
        """
        timing = Rounds(plan.hospitals, plan.rounds) if schedule is None else schedule
        _check(plan, timing)
        memory = plan.used_rule.contract.memory
        return cls(plan, timing, memory_events(plan, timing) if memory else {})

    @property
    def least(self) -> int:
        """Distinct hospitals that every opened sum holds at least."""
        names, smallest = self.plan.hospitals, self.plan.smallest_sum
        return len(names) if self.timing.synchronous else smallest or len(names)

    def weights(self, hospital: str) -> tuple[float, float] | None:
        """Return the least and the largest weight of a hospital's uploads.

        None: they follow what is opened, and are at most 1.
        """
        rule = self.plan.used_rule
        if rule.contract.adaptive:
            return None
        stale = set(self.timing.staleness(hospital)) or {0}
        weights = [rule.weight((), hospital, staleness) for staleness in stale]
        return min(weights), max(weights)

    def event(self, hospital: str, staleness: int) -> DpEvent:
        """Return the DP event of one upload, at the largest weight that it can have."""
        if hospital in self.events:
            return self.events[hospital]
        rule = self.plan.used_rule
        # What was opened is not known beforehand; 1 costs most.
        weight = 1.0 if rule.contract.adaptive else rule.weight((), hospital, staleness)
        return round_event(self.plan, hospital, weight=weight)

    def uploads(self, hospital: str) -> tuple[tuple[DpEvent, int], ...]:
        """Return the DP events of a hospital's uploads, and how many in a row each is of.

        All of it is fixed beforehand.
        """
        stale = self.timing.staleness(hospital)
        events = {staleness: self.event(hospital, staleness) for staleness in set(stale)}
        return tuple((event, len([*row])) for event, row in groupby(events[one] for one in stale))

    def run_event(self, hospital: str) -> DpEvent:
        """Return the DP event of all that a hospital releases in the run."""
        plan, once = self.plan, rounds_covered(self.plan)
        beside = [scalar_event(plan, scalar, hospital) for scalar in plan.scalars]
        parts: list[SelfComposedDpEvent] = []
        runs = sorted(self.uploads(hospital), key=lambda run: repr(run[0]))
        for event, row in groupby(runs, key=lambda run: run[0]):
            if isinstance(event, NonPrivateDpEvent):
                return event
            count = sum(count for _, count in row) // once
            whole = ComposedDpEvent([event, *beside]) if beside else event
            parts.append(SelfComposedDpEvent(whole, count))
        return parts[0] if len(parts) == 1 else ComposedDpEvent(parts)


class Trajectory:
    """The models that follow from opened sums; every party has one of its own.

    Guarantees (each is a test in ``tests/aggregation/rules/test_every_rule.py``):
      - the same opened sums give the same models, bit for bit, rule state included.

    Attributes:
      version: Sums opened so far.
      params: The model that follows from them.

    Args:
      agreement: What all parties agreed on.
    """

    def __init__(self, agreement: Agreement) -> None:
        self.agreement = agreement
        self.version = 0
        self.params: Float[np.ndarray, dim] = agreement.plan.first_model()
        self._rule = agreement.plan.used_rule
        self._public = self._rule.begin(self.params, agreement.plan.hospitals)

    def weight(self, hospital: str, base_version: int) -> float:
        """Return what the upload on the model of a version is multiplied by before the noise.

        Raises:
          RefusedError: The timing has no such upload.
        """
        staleness = self.agreement.timing.stale(hospital, base_version)
        return self._rule.weight(self._public, hospital, staleness)

    def step(
        self, opened_sum: Int[np.ndarray, "slots"], hospitals: Collection[str] | None = None
    ) -> Opened:
        """Follow an opened sum to the next model; return the sum as rules read it.

        Args:
          opened_sum: Update and scalars, integers.
          hospitals: Whose uploads it holds; None: all that the timing has.

        Raises:
          RefusedError: As ``arrived``.
        """
        whole = self.agreement.timing.arrivals(self.version)
        arrivals = whole if hospitals is None else self.arrived(hospitals)
        opening = self.agreement.plan.read(opened_sum, arrivals)
        self.params, self._public = self._rule.advance(self._public, self.params, opening)
        self.version += 1
        return opening

    def arrived(self, hospitals: Collection[str]) -> tuple[Arrival, ...]:
        """Return the arrivals of the next sum when it holds the uploads of these hospitals.

        Raises:
          RefusedError: Others than the timing has, or too few for the plan's noise or the rule.
        """
        present = frozenset(hospitals)
        plan, arrivals = self.agreement.plan, self.agreement.timing.arrivals(self.version)
        awaited = [arrival.hospital for arrival in arrivals]
        if strangers := sorted(present.difference(awaited)):
            raise RefusedError(
                f"Sum {self.version} holds an upload of {', '.join(strangers)}, which the plan "
                "does not have in it."
            )
        least = min(len(awaited), plan.smallest_sum or len(plan.hospitals))
        if plan.used_rule.contract.every_round or plan.patient_hospitals > 1:
            least = len(awaited)
        if len(present) < least:
            raise RefusedError(
                f"Sum {self.version} holds the uploads of {len(present)} hospitals; the "
                f"plan's noise and rule need {least}."
            )
        return tuple(arrival for arrival in arrivals if arrival.hospital in present)


def _check(plan: Plan, timing: Timing) -> None:
    contract = plan.used_rule.contract
    all_patients = plan.sampling_size is None and plan.pass_rounds is None
    all_patients = all_patients and plan.correlated is None
    one_step = plan.local_steps == 1 and plan.unit == Unit.PATIENT and all_patients
    if contract.memory and (plan.noise == NoiseKind.LOCAL or not one_step):
        raise InvalidInputError(
            f"Memory is held of one-step uploads over all patients under shared noise, or none: "
            f"each sum of differences is accounted for with the others. The plan has noise="
            f"{plan.noise.value!r}, local_steps={plan.local_steps}, unit={plan.unit.value!r} and "
            f"sampling_size={plan.sampling_size}."
        )
    if plan.scheme == "pairwise" and (contract.memory or not timing.synchronous):
        raise RefusedError(
            "Pairwise masks cancel within one round of one cohort only, and sums of hospitals at "
            "their own pace mix rounds: buffered and memory runs can't be opened under 'pairwise'. "
            "Choose shares, bfv or threshold."
        )
    if timing.synchronous:
        return
    if plan.patient_hospitals > 1:
        raise RefusedError(
            "A patient of several hospitals is in each one's ledger with what they move in all of "
            "them, so that all answer the same models. Run synchronous rounds, or set "
            "patient_hospitals=1."
        )
    if contract.every_round:
        raise RefusedError(
            f"The rule {contract.name!r} needs every hospital in every sum, and a schedule leaves "
            "some out. Run it in synchronous rounds."
        )
    if not one_step:
        raise InvalidInputError(
            "A run along a schedule takes one step over all patients an upload, with the patient "
            "as the unit; set local_steps=1, unit='patient', sampling_size=None, pass_rounds=None, "
            "correlated=None."
        )
    strangers = sorted(set(timing.uploads) - set(plan.hospitals))
    if strangers:
        raise InvalidInputError(
            f"The schedule has uploads of {', '.join(strangers)}, who are not in the plan. Make it "
            "from the paces of the plan's hospitals."
        )
    least = plan.smallest_sum or len(plan.hospitals)
    for version in range(timing.sums):
        names = [arrival.hospital for arrival in timing.arrivals(version)]
        if len(set(names)) < len(names):
            raise InvalidInputError(
                f"A hospital is twice in the sum opened at version {version}: its patients would "
                "move it by twice the clip norm. Make the schedule with waits=True."
            )
        if len(names) < least:
            raise InvalidInputError(
                f"The sum opened at version {version} holds {len(names)} hospitals, fewer than "
                f"the {least} that the noise is sized for. Set the plan's smallest_sum to the "
                "trigger's distinct hospitals."
            )


def memory_events(plan: Plan, timing: Timing) -> dict[str, DpEvent]:
    """Return each hospital's event of one upload when memories are held: its part of the whole.

    The cost of all openings is spread evenly over the uploads that the timing has, for the worst
    coalition of ``plan.colluders`` others, who know their own patients and noise.

    Raises:
      InvalidInputError: An upload of the schedule is lost (it would have to be sent again as it
        is), or there are too many coalitions to look at each.
    """
    if plan.noise == NoiseKind.NONE or plan.noise_multiplier == 0:
        return dict.fromkeys(plan.hospitals, NonPrivateDpEvent())
    if isinstance(timing, Schedule) and timing.lost:
        raise InvalidInputError(
            f"{len(timing.lost)} uploads of the schedule are lost. With memories a lost upload "
            "must be sent again, the same bytes; a fresh one beside it would be a sum nobody "
            "accounted for. Use paces without dropout, or a rule without memory."
        )
    names = sorted(timing.uploads)
    if comb(len(names), plan.colluders) > _MOST_COALITIONS:
        raise InvalidInputError(
            f"{plan.colluders} colluders among {len(names)} hospitals are more than "
            f"{_MOST_COALITIONS} coalitions; assume fewer."
        )
    matrix, owners = opening_matrix(timing)
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
                uploads=dict(timing.uploads.items()),
            )
        )
    # The worst of each figure, over coalitions: at least the cost of every one of them.
    rule, worst_events = plan.used_rule, dict[str, DpEvent]()
    for name in names:
        coalition_events = [events[name] for events in made if name in events]
        radius = plan.radius_of(rule.weight((), name, 0))
        if coalition_events:
            worst_events[name] = LinearOpeningsDpEvent(
                noise_multiplier=share * plan.radius / radius,
                radius=radius,
                dim=plan.model.dim,
                leverage=max(e.leverage for e in coalition_events),
                openings=timing.sums,
                uploads=max(e.uploads for e in coalition_events),
                least_eigenvalue=min(e.least_eigenvalue for e in coalition_events),
                coset_spread=max(e.coset_spread for e in coalition_events),
            )
    return worst_events
