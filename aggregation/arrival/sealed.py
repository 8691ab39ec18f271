r"""An asynchronous run as it really happens: ledgers, discrete noise and sealed sums.

It follows a schedule. Each upload is that of a ``Hospital`` like any other: spend, read, clip,
weigh, round, add the share of noise, seal, sign; the opener opens a sum once the trigger has fired.
Nothing here is a model of a private run: it is one.

Shares are sized for the smallest sum ever opened, less colluders, and no hospital may be in a sum
twice (see ``simulate(waits=True)``).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.arrival.paced import Paced, memory_events
from aggregation.arrival.rules import Buffered, FedAsync, Memory
from aggregation.arrival.schedule import Opening, Schedule
from aggregation.hospital import Hospital
from aggregation.patients import Patients
from aggregation.plan import Plan
from aggregation.sealing import (
    Opener,
    Policy,
    Roster,
    Scheme,
    largest_sum,
    make_scheme,
)
from aggregation.transcript import AGGREGATOR, OPENER, Transcript
from privacy.errors import InvalidInputError
from privacy.ledger import Budget, Ledger, SigningKey
from privacy.mechanisms import Seeded

__all__ = ["SealedRun", "run_sealed", "scheme_for"]


@dataclass(frozen=True)
class SealedRun:
    """What an asynchronous run leaves.

    Attributes:
      models: All models, the first included; float64 ``[versions, dim]``.
      opened: The opened sums, integers; int64 ``[openings, dim]``.
      transcript: Every message that crossed a wall, in order of time.
      ledgers: Of each hospital, in memory.
    """

    models: Float[np.ndarray, "versions dim"]
    opened: Int[np.ndarray, "openings dim"]
    transcript: Transcript
    ledgers: Mapping[str, Ledger]


def run_sealed(
    plan: Plan,
    schedule: Schedule,
    patients: Mapping[str, Patients],
    *,
    seed: int,
    rule: Buffered | Memory | None = None,
    target_epsilon: float = math.inf,
) -> SealedRun:
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
      InvalidInputError: A plan or a rule that this path does not cover, or a schedule in which a
        hospital is in one sum twice.
      BudgetExceededError: The uploads would pass a hospital's budget.
    """
    rule = Memory(shares=dict.fromkeys(plan.hospitals, 1.0)) if rule is None else rule
    _check(plan, schedule, rule)
    events = memory_events(plan, schedule, rule) if isinstance(rule, Memory) else None

    def course() -> Paced:
        return Paced(plan, schedule, rule, events=events)

    keys = {name: SigningKey.generate() for name in plan.hospitals}
    scheme = scheme_for(plan, schedule, memory=isinstance(rule, Memory))
    policy = Policy(
        Roster(plan.run, {name: key.public for name, key in keys.items()}),
        min_honest=plan.honest_shares,
        c_assumed=plan.colluders,
        require_ledger_head=True,
    )
    budget = Budget(target_epsilon, plan.delta)
    hospitals = {
        name: Hospital(
            name,
            patients[name],
            plan=plan,
            sealer=scheme.sealer(name),
            ledger=Ledger.in_memory(hospital=name, budget=budget, key=keys[name]),
            key=keys[name],
            source=Seeded((seed, number)),
            course=course(),
        )
        for number, name in enumerate(plan.hospitals)
    }
    for hospital in hospitals.values():
        hospital.join()
    opener, server = scheme.opener(policy), course()
    models, sums = [plan.first_model()], []
    messages = [
        _Message(0.0, AGGREGATOR, name, "plan", plan.to_bytes(), 0, {}) for name in plan.hospitals
    ]
    for opening in schedule.openings:
        total, found = _open(opening, models, rule, hospitals, scheme, opener)
        messages += found
        sums.append(total)
        models.append(server.advance(models[-1], total, opening.version))
        for hospital in hospitals.values():
            hospital.learn(total)
    transcript = Transcript()
    for m in sorted(messages, key=lambda m: m.time):
        transcript.send(
            m.sender, m.receiver, m.kind, m.payload, round_=m.version, public=m.public, time=m.time
        )
    opened = np.stack(sums) if sums else np.empty((0, plan.model.dim), dtype=np.int64)
    ledgers = {name: hospital.ledger for name, hospital in hospitals.items()}
    return SealedRun(np.stack(models), opened, transcript, ledgers)


@dataclass(frozen=True)
class _Message:
    """A message before it is put in order of time."""

    time: float
    sender: str
    receiver: str
    kind: str
    payload: bytes
    version: int
    public: Mapping[str, Any]


def _open(
    opening: Opening,
    models: list[NDArray[np.float64]],
    rule: Buffered | Memory,
    hospitals: Mapping[str, Hospital],
    scheme: Scheme,
    opener: Opener,
) -> tuple[NDArray[np.int64], list[_Message]]:
    """Collect one sum's contributions, add and open them; and what was sent meanwhile."""
    adder = scheme.adder()
    contributions, messages = [], []
    for arrival in opening.arrivals:
        params = models[arrival.base_version]
        contribution = hospitals[arrival.hospital].contribute(
            params, round_=arrival.base_version, weight=rule.weight(arrival)
        )
        adder.add(contribution.sealed)
        contributions.append(contribution)
        model = params.astype("<f8").tobytes()
        messages += [
            _Message(
                arrival.started, AGGREGATOR, arrival.hospital, "model", model,
                arrival.base_version, {},
            ),
            _Message(
                arrival.arrived, arrival.hospital, AGGREGATOR, "update", contribution.sealed,
                arrival.base_version, contribution.public,
            ),
        ]  # fmt: skip
    sealed_sum = adder.total()
    opened = opener.open(sealed_sum, contributions)
    payload = opened.astype("<i8").tobytes()
    messages.append(
        _Message(opening.time, AGGREGATOR, OPENER, "total", sealed_sum, opening.version, {})
    )
    messages += [
        _Message(opening.time, OPENER, receiver, "opened", payload, opening.version, {})
        for receiver in (AGGREGATOR, *hospitals)
    ]
    return opened, messages


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
