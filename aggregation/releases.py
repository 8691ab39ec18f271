"""The DP event of what a hospital sends, derived from the plan alone.

Nobody types an event beside a mechanism: the ledger, the accountant and the auditor all derive it
from the plan that the mechanism itself runs by.
"""

from dp_accounting import (
    ComposedDpEvent,
    DpEvent,
    NonPrivateDpEvent,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)

from aggregation.plan import Plan
from aggregation.sealing.slots import SlotGroup
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
)

__all__ = ["round_event", "run_event", "scalar_event"]


def round_event(plan: Plan, hospital: str, *, weight: float = 1.0) -> DpEvent:
    """Return the event of one round, or one upload, of one hospital.

    A weight before the noise, rounded down to whole steps, lowers the sensitivity: hospitals that
    upload more often than others pay less each time.

    - No noise, or the article's (whose scale follows the data): unprotected.
    - Shared noise, judged by the honest shares of the smallest sum: distributed discrete Gaussian.
    - Local noise: discrete Gaussian, once a local step when the patient is the unit.
    - A sampled round: Poisson-sampled at the hospital's own probability.
    """
    if plan.noise in ("none", "article") or plan.noise_multiplier == 0:
        return NonPrivateDpEvent()
    event: DpEvent
    radius = plan.radius_of(weight)
    multiplier = plan.noise_multiplier * plan.radius / radius
    if plan.noise == "shared":
        event = DistributedDiscreteGaussianDpEvent(
            noise_multiplier=multiplier,
            radius=radius,
            dim=plan.model.dim,
            contributors=plan.honest_shares,
        )
    else:
        event = DiscreteGaussianDpEvent(multiplier, radius)
    if plan.unit == "hospital":
        return event
    prob = plan.sampling_probs[plan.hospitals.index(hospital)]
    if prob < 1:
        event = PoissonSampledDpEvent(prob, event)
    return event if plan.local_steps == 1 else SelfComposedDpEvent(event, plan.local_steps)


def scalar_event(plan: Plan, scalar: SlotGroup, hospital: str) -> DpEvent:
    """Return the event of one scalar in one round of one hospital, from a sample of its own."""
    event = scalar.event(plan.noise_shares)
    prob = plan.sampling_probs[plan.hospitals.index(hospital)]
    if plan.unit == "hospital" or prob >= 1 or isinstance(event, NonPrivateDpEvent):
        return event
    return PoissonSampledDpEvent(prob, event)


def run_event(plan: Plan, hospital: str) -> DpEvent:
    """Return the event of all rounds of one hospital: the run's budget, fixed beforehand."""
    event = round_event(plan, hospital)
    if isinstance(event, NonPrivateDpEvent):
        return event
    if plan.scalars:
        beside = [scalar_event(plan, scalar, hospital) for scalar in plan.scalars]
        event = ComposedDpEvent([event, *beside])
    return SelfComposedDpEvent(event, plan.rounds)
