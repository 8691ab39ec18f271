"""What a hospital releases and its DP event, derived from the plan alone.

Nobody types an event beside a mechanism: the ledger, the accountant and the auditor all derive it
from the plan that the mechanism itself runs by.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from dp_accounting import (
    ComposedDpEvent,
    DpEvent,
    NonPrivateDpEvent,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)

from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.sealing.slots import SlotGroup
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    RandomAllocationDpEvent,
    SeenAllocationDpEvent,
)
from privacy.accounting.matrix_noise import upload_event
from privacy.accounting.units import in_several_hospitals
from privacy.ledger import Ledger, Planned, Release
from privacy.ledger.requests import NoiseSource, ReleaseSchedule
from privacy.ledger.samplers import AllPatients, Poisson, RandomAllocation, Sampler
from privacy.unit import Unit

__all__ = [
    "declare",
    "overseen",
    "releases",
    "round_event",
    "rounds_covered",
    "run_event",
    "scalar_event",
    "schedule",
    "stated",
]

_OVERSEEN = 16


def round_event(plan: Plan, hospital: str, *, weight: float = 1.0) -> DpEvent:
    """Return the event of one round, or one upload, of one hospital.

    A weight before the noise, rounded down to whole steps, lowers the sensitivity: hospitals that
    upload more often than others pay less each time.

    - No noise, or the article's (whose scale follows the data): unprotected.
    - Shared noise, judged by the honest shares of the smallest sum: distributed discrete Gaussian.
    - Local noise: discrete Gaussian, once a local step when the patient is the unit.
    - A sampled round: Poisson-sampled at the hospital's own probability.
    - A round of a pass: the event of the *whole pass*, which its first round is charged and which
      covers the others (``privacy.ledger.declared_schedule``). Where every update is seen in clear,
      what is known of a hospital's batches from outside (sizes, outcomes, how long it took) is seen
      beside it, and the allocation is counted as seen: one event a pass.
    - Correlated noise: an equal part of what all rounds cost together.
    - A patient in several hospitals: what they move in all of them at once, in each one's ledger
      (``_drawn``). Nothing is amplified then: a hospital vouches for its own draw alone, and may
      not know another's; and the others may weigh 1.
    """
    if not plan.noise.protects or plan.noise_multiplier == 0:
        return NonPrivateDpEvent()
    event: DpEvent
    if plan.correlated is not None:  # of all weights: the others may weigh 1
        return upload_event(
            plan.correlated.coefficients(plan.rounds),
            noise_multiplier=plan.noise_multiplier,
            rounds=plan.rounds,
            every=plan.pass_rounds or 1,
            radius=plan.radius,
            dim=plan.update_dim,
        )
    radius = plan.radius_of(weight if plan.patient_hospitals == 1 else 1.0)
    multiplier = plan.noise_multiplier * plan.radius / radius
    if plan.noise == NoiseKind.SHARED:
        event = DistributedDiscreteGaussianDpEvent(
            noise_multiplier=multiplier,
            radius=radius,
            dim=plan.update_dim,
            contributors=plan.honest_shares,
        )
    else:
        event = DiscreteGaussianDpEvent(multiplier, radius)
    if plan.unit == Unit.HOSPITAL:
        return event
    event = _drawn(plan, hospital, event, plan.noise_shares)
    return event if plan.local_steps == 1 else SelfComposedDpEvent(event, plan.local_steps)


def _drawn(plan: Plan, hospital: str, event: DpEvent, shares: int) -> DpEvent:
    """Return the event of one step for a patient who may be drawn, or stands in more hospitals.

    Args:
      plan: With the patient as the unit.
      hospital: Whose draw it is.
      event: For a patient of one hospital, certainly drawn.
      shares: Honest shares that make up its noise; 1 where each hospital adds all of it.
    """
    several = plan.patient_hospitals
    if several > 1:
        # Beside a noise of its own each hospital's part is one release more; in a sum with one
        # noise they move the same thing, which is worse.
        if shares == 1:
            return SelfComposedDpEvent(event, several)
        return in_several_hospitals(event, hospitals=several)
    if plan.pass_rounds is not None:
        kind = SeenAllocationDpEvent if plan.scheme == "plain" else RandomAllocationDpEvent
        return kind(plan.pass_rounds, event)
    prob = plan.sampling_probs[plan.hospitals.index(hospital)]
    return PoissonSampledDpEvent(prob, event) if prob < 1 else event


def scalar_event(plan: Plan, scalar: SlotGroup, hospital: str) -> DpEvent:
    """Return the event of one scalar in one round of one hospital, from a sample of its own."""
    event = scalar.event(plan.shares_of(scalar))
    if plan.unit == Unit.HOSPITAL or isinstance(event, NonPrivateDpEvent):
        return event
    return _drawn(plan, hospital, event, plan.shares_of(scalar))


def run_event(plan: Plan, hospital: str) -> DpEvent:
    """Return the event of all rounds of one hospital: the run's budget, fixed beforehand."""
    event = round_event(plan, hospital)
    if isinstance(event, NonPrivateDpEvent):
        return event
    if plan.scalars:
        beside = [scalar_event(plan, scalar, hospital) for scalar in plan.scalars]
        event = ComposedDpEvent([event, *beside])
    return SelfComposedDpEvent(event, plan.rounds // rounds_covered(plan))


def releases(
    plan: Plan,
    hospital: str,
    event: DpEvent,
    *,
    round_: int,
    weight: float,
    protects: bool,
) -> list[Release]:
    """Return what a hospital asks its ledger for before it reads a patient: one a release.

    Args:
      plan: The run's.
      hospital: Whose.
      event: Of the update, as declared; what travels beside it has events of its own.
      round_: Version of the model that is answered.
      weight: Of the update, before the noise.
      protects: Whether the noise is the operating system's.
    """
    radius = plan.radius_of(weight)
    clip_norm = plan.clip_norm if radius == plan.radius else plan.step * radius
    parts = [(plan.model.released, event, clip_norm)]
    parts += [(f"scalar {s.name}", scalar_event(plan, s, hospital), s.clip_norm)
              for s in plan.scalars]  # fmt: skip
    # Beside the update it travels in clear; the auditor compares (``privacy.ledger.audit``).
    details = {} if weight == 1 else {"weight": plan.applied_weight(weight)}
    prob = plan.sampling_probs[plan.hospitals.index(hospital)]
    sampler = _sampler(plan, prob)
    source = (
        "none" if plan.noise == NoiseKind.NONE else "operating system" if protects else "seeded"
    )
    unprotected = f"the plan's noise is {plan.noise.value!r}: unprotected"
    return [
        Release(
            kind,
            event,
            round=round_,
            unit=plan.unit,
            clip_norm=clip_norm,
            declared_sampler=sampler,
            actual_sampler=sampler,
            noise_source=cast(NoiseSource, source),
            reason=unprotected if isinstance(event, NonPrivateDpEvent) else "",
            details=details,
            plan=plan.digest,
        )
        for kind, event, clip_norm in parts
    ]


def rounds_covered(plan: Plan) -> int:
    """Return how many rounds one event covers.

    Those of a pass, unless each event is a part of the whole run's.
    """
    return 1 if plan.pass_rounds is None or plan.correlated is not None else plan.pass_rounds


def _sampler(plan: Plan, prob: float) -> Sampler:
    if plan.pass_rounds is not None:
        return RandomAllocation(plan.pass_rounds)
    return AllPatients() if plan.sampling_size is None else Poisson(prob)


def stated(plan: Plan) -> dict[str, str]:
    """Return what a ledger states of a plan whose epsilon is not that of the usual case.

    ``privacy.report.meant`` reads it, for the auditor's page and the model card.
    """
    statements = {}
    if plan.patient_hospitals > 1:
        statements["a patient's hospitals"] = f"at most {plan.patient_hospitals}"
    if plan.pass_rounds is not None:
        kept = plan.correlated is not None  # then a patient's step is the same in all passes
        statements["a patient's rounds"] = f"{'the same ' * kept}one of {plan.pass_rounds}"
    if plan.correlated is not None:
        statements["noise of rounds"] = plan.correlated.told
    return statements


def schedule(
    plan: Plan,
    counted_releases: Sequence[tuple[Sequence[Release], int]],
    *,
    context: Mapping[str, str] | None = None,
) -> ReleaseSchedule:
    """Return what a plan has a hospital release.

    Args:
      plan: The run's.
      counted_releases: The releases of a round, or of one upload, and how often they come in a row,
        in order.
      context: Plain facts for the auditor.
    """
    once = rounds_covered(plan)
    repeats = 1 if len(counted_releases) > 1 else counted_releases[0][1] // once
    steps = tuple(
        Planned(release.kind, release.event, once)
        for releases_, count in counted_releases
        for _ in range(count // once // repeats)
        for release in releases_
    )
    named = {**(context or {}), "run": plan.run, "plan": plan.digest, **stated(plan)}
    return ReleaseSchedule(plan.unit, steps, repeats, named, plan=plan.digest)


def overseen(plan: Plan, hospital: str) -> tuple[str, ...]:
    """Return the hospitals whose schedules a hospital names in its own ledger.

    The next ``_OVERSEEN`` in the plan's order, so that each is named by so many others.
    """
    start = plan.hospitals.index(hospital)
    others = plan.hospitals[start + 1 :] + plan.hospitals[:start]
    return others[:_OVERSEEN]


def declare(ledger: Ledger, hospital_schedule: ReleaseSchedule, others: Mapping[str, str]) -> None:
    """Enter a schedule into a ledger, its total checked once.

    Args:
      ledger: The hospital's.
      hospital_schedule: What the plan has it release.
      others: ``ReleaseSchedule.digest`` of what the plan has others release, as this hospital
        derives it: a hospital that declares less than its plan says is contradicted by them.

    A ledger that holds the plan already, as after a restart, is left as it is.

    Raises:
      BudgetExceededError: Together they pass the budget; nothing was read.
    """
    ledger.declare(
        hospital_schedule.schedule,
        repeats=hospital_schedule.repeats,
        unit=hospital_schedule.unit,
        context=hospital_schedule.context,
        others=others,
        plan=hospital_schedule.plan,
    )
