r"""An asynchronous run as it really happens: ledgers, discrete noise and sealed sums.

It follows a schedule. Each upload is that of a ``Hospital`` like any other: spend, read, clip,
weigh, round, add the share of noise, seal, sign; the opener opens a sum once the trigger has fired.
Nothing here is a model of a private run: it is one.

Shares are sized for the smallest sum ever opened, less colluders, and no hospital may be in a sum
twice (see ``simulate(waits=True)``).
"""

import math
from collections.abc import Mapping

from aggregation.arrival.paced import Paced, memory_events
from aggregation.arrival.rules import Buffered, FedAsync, Memory
from aggregation.arrival.schedule import Schedule
from aggregation.federation import Asynchronous, Federation, Outcome
from aggregation.patients import Patients
from aggregation.plan import Plan
from aggregation.sealing import Scheme, largest_sum, make_scheme
from privacy.errors import InvalidInputError, RefusedError

__all__ = ["run_sealed", "scheme_for"]


def run_sealed(
    plan: Plan,
    schedule: Schedule,
    patients: Mapping[str, Patients],
    *,
    seed: int,
    rule: Buffered | Memory | None = None,
    target_epsilon: float = math.inf,
) -> Outcome:
    """Run a rule along a schedule, for an experiment: seeded noise, ledgers in memory.

    Guarantees (each is a test in ``tests/aggregation/arrival/test_sealed.py``):
      - nothing is computed from a patient before its release is in the hospital's ledger;
      - the same arguments open to the same integers, whichever scheme seals;
      - every hospital computes each model itself and trains on no other;
      - without noise the models are ``replay``'s to within the rounding of integers.

    Args:
      plan: Model, clip norm, radius, noise of the sum, scheme, learning rate on the mean gradient,
        colluders, and ``smallest_sum``, the trigger's distinct hospitals; its rounds don't count.
      schedule: Made with ``waits=True``. All of its uploads are declared and checked against the
        budget before the first, but for a rule that discounts staleness: its weights are not known
        beforehand, so each is asked for as it comes, which an adaptive filter grants less of.
      patients: Of each hospital.
      seed: The experiment's seed; each hospital draws from a stream of its own.
      rule: By default Memory. Its shares weigh *sums* over patients: 1 for all.
      target_epsilon: Budget of each hospital.

    Raises:
      RefusedError: The plan's scheme is ``pairwise``: its masks cancel within one round only.
      InvalidInputError: A plan or a rule that this path does not cover, or a schedule in which a
        hospital is in one sum twice.
      BudgetExceededError: The uploads would pass a hospital's budget.
    """
    rule = Memory(shares=dict.fromkeys(plan.hospitals, 1.0)) if rule is None else rule
    _check(plan, schedule, rule)
    events = memory_events(plan, schedule, rule) if isinstance(rule, Memory) else None

    def course() -> Paced:
        return Paced(plan, schedule, rule, events=events)

    scheme = scheme_for(plan, schedule, memory=isinstance(rule, Memory))
    paced = Asynchronous(course, schedule, scheme)
    federation = Federation.simulated(
        plan, patients, seed=seed, target_epsilon=target_epsilon, paced=paced
    )
    return federation.run()


def scheme_for(plan: Plan, schedule: Schedule, *, memory: bool) -> Scheme:
    """Size the sealing from the plan and from what the schedule will open."""
    contributors = max((len(o.arrivals) for o in schedule.openings), default=1)
    opened = 2 if memory else 1  # differences hold two updates and two shares
    bound = largest_sum(
        radius=plan.radius,
        units=plan.declared_sizes * opened,
        noise_variance=opened * contributors * plan.share_std**2,
        dim=plan.model.dim,
        rounds=max(1, len(schedule.openings)),
    )
    return make_scheme(plan.scheme, dim=plan.model.dim, contributors=contributors, bound=bound)


def _check(plan: Plan, schedule: Schedule, rule: Buffered | Memory) -> None:
    if isinstance(rule, FedAsync):
        raise InvalidInputError(
            "FedAsync opens every update alone, and no sealing can help. Choose a buffered rule or "
            "Memory."
        )
    if plan.scheme == "pairwise":
        raise RefusedError(
            "Pairwise masks cancel within one round of one cohort only, and sums of hospitals at "
            "their own pace mix rounds: buffered and memory runs can't be opened under 'pairwise'. "
            "Choose shares, bfv or threshold."
        )
    if plan.clip_norm is None or plan.noise not in ("none", "shared"):
        raise InvalidInputError(
            f"An asynchronous sealed run needs a clip norm and noise none or shared; the plan has "
            f"clip_norm={plan.clip_norm} and noise={plan.noise!r}."
        )
    if plan.local_steps != 1 or plan.unit != "patient" or plan.sampling_size is not None:
        raise InvalidInputError(
            "An asynchronous sealed run takes one step over all patients an upload, with the "
            "patient as the unit; set local_steps=1, unit='patient', sampling_size=None."
        )
    if isinstance(rule, Buffered) and rule.oldest is not None:
        raise InvalidInputError(
            "A rule that drops the stale sends noise without a weight to sign; use the discount."
        )
    for opening in schedule.openings:
        names = [arrival.hospital for arrival in opening.arrivals]
        if len(set(names)) < len(names):
            raise InvalidInputError(
                f"A hospital is twice in the sum opened at {opening.time:g}: its patients would "
                "move it by twice the clip norm. Make the schedule with waits=True."
            )
        if len(names) < (plan.smallest_sum or len(plan.hospitals)):
            raise InvalidInputError(
                f"The sum opened at {opening.time:g} holds {len(names)} hospitals, fewer than the "
                f"{plan.smallest_sum or len(plan.hospitals)} that the noise is sized for. Set the "
                "plan's smallest_sum to the trigger's distinct hospitals."
            )
