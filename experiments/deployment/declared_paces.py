"""``[arrival]`` of a ``federation.toml``: hospitals at their own pace, by a declared schedule.

Nobody's pace is measured later: who says how long an update takes there says when its uploads are
due, and which of them are opened together is fixed, priced and agreed on before a patient is read.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

from dp_accounting import DpEvent

from aggregation.agreement import Agreement
from aggregation.data._toml import STRICT
from aggregation.plan import Plan
from aggregation.rules import Rule, corrected
from aggregation.timing import Pace, Trigger
from aggregation.timing.schedule import Schedule, simulate
from experiments.studies.design import RELATION
from privacy._validate import natural, positive
from privacy.calibration import noise_multiplier
from privacy.errors import InvalidInputError

__all__ = ["DeclaredPaces", "corrected_rule", "least_noise", "paced_schedule"]

_SLOWEST = 1000.0  # times the fastest


@dataclass(frozen=True)
class DeclaredPaces:
    """At which pace hospitals work, and how many uploads are opened together.

    Attributes:
      together: Hospitals whose uploads make up one sum; the noise is sized for so many.
      pace: How long an update takes at each hospital, from the model to the sealed upload; all in
        one unit.
      corrected: Whether a hospital that is in more sums than another weighs less in each, so that
        every patient counts alike over the run; else hospitals that are fast count more.

    Raises:
      InvalidInputError: A time that is none, or far from the others'.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    together: int
    pace: dict[str, float] = field(default_factory=dict)
    corrected: bool = False

    def __post_init__(self) -> None:
        natural(together=self.together, least=1)
        for time in self.pace.values():
            positive(pace=time)
        if self.pace and max(self.pace.values()) > _SLOWEST * min(self.pace.values()):
            raise InvalidInputError(
                f"pace: one hospital takes more than {_SLOWEST:g} times as long as another; the "
                "slow one would be in hardly any sum. Leave it out, or run in rounds"
            )


def paced_schedule(paces: DeclaredPaces, *, sums: int) -> Schedule:
    """Return which uploads are opened together, in so many sums; it follows from the paces alone.

    A hospital waits while its last upload is unopened: none is in a sum twice. Uploads that no sum
    would hold are never made.

    Raises:
      InvalidInputError: Fewer hospitals than are opened together, or one that is in no sum.
    """
    # Within twice the slowest time all have an upload in the buffer, or it was opened.
    horizon = 2.0 * (sums + 1) * max(paces.pace.values(), default=1.0)
    made = simulate(
        {name: Pace(duration=time, variation=0.0) for name, time in paces.pace.items()},
        Trigger(count=paces.together, distinct=paces.together),
        horizon=horizon,
        seed=0,  # nothing is drawn: durations do not vary
        waits=True,
    )
    schedule = Schedule(made.openings[:sums], (), ())
    absent = sorted(set(paces.pace) - set(schedule.uploads))
    if absent:
        raise InvalidInputError(
            f"{', '.join(absent)} would be in none of the {sums} sums; raise rounds, leave it out, "
            "or run in rounds of all hospitals (without [arrival])"
        )
    return schedule


def least_noise(plan: Plan, schedule: Schedule | None, *, epsilon: float) -> Plan:
    """Return a plan with the least noise whose certified epsilon is kept, under its own rule.

    Args:
      plan: With its rule; its noise is of no account.
      schedule: What is opened together; None: all hospitals in every round.
      epsilon: Of the whole run, for each patient of the hospital that it costs most.

    Raises:
      InvalidInputError: As ``Agreement.of``.
      RefusedError: The rule's contract forbids the plan's design.
    """

    def noised(multiplier: float) -> Plan:
        return replace(plan, noise_multiplier=multiplier)

    def event_at(multiplier: float, name: str) -> DpEvent:
        return Agreement.of(noised(multiplier), schedule).run_event(name)

    names = plan.hospitals if schedule is None else tuple(schedule.uploads)
    # Most hospitals cost the same; who uploads less often but weighs more may cost most.
    alike = {repr(event_at(1.0, name)): name for name in names}
    least = max(
        noise_multiplier(
            partial(event_at, name=name),
            target_epsilon=epsilon, delta=plan.delta, relation=RELATION,
        )
        for name in alike.values()
    )  # fmt: skip
    return noised(least)


def corrected_rule(schedule: Schedule) -> Rule:
    """Return the rule under which every patient counts alike over a schedule.

    A sum has each hospital's patients in it already; so a hospital's share is 1, over its part of
    all uploads that are opened.
    """
    rates = schedule.rates
    return corrected(dict.fromkeys(rates, 1.0), rates)
