r"""An asynchronous run as it really happens: ledgers, discrete noise and sealed sums.

It follows a schedule. At each upload the hospital spends from its ledger, clips its patients'
gradients at the model that it took, weighs them, rounds them to integers, adds its share of noise
and seals; the opener opens a sum once the trigger has fired. Nothing here is a model of a private
run: it is one.

Shares are sized for the smallest sum ever opened, less colluders, and no hospital may be in a sum
twice (see ``simulate(waits=True)``).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from dp_accounting import NonPrivateDpEvent
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.arrival.rules import Buffered
from aggregation.arrival.schedule import Arrival, Opening, Schedule
from aggregation.arrival.spending import upload_event, whole_weight
from aggregation.arrival.trigger import Trigger
from aggregation.patients import Patients
from aggregation.plan import Plan
from aggregation.sealing import (
    Contribution,
    Opener,
    Policy,
    Roster,
    Scheme,
    largest_sum,
    make_scheme,
)
from aggregation.transcript import AGGREGATOR, OPENER, Transcript
from privacy.errors import InvalidInputError
from privacy.ledger import Budget, Ledger, Planned, Release, SigningKey
from privacy.ledger.canonical import digest
from privacy.mechanisms import NoiseSource, Seeded, clip, to_integers

__all__ = ["SealedRun", "run_sealed"]


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
    trigger: Trigger,
    schedule: Schedule,
    rule: Buffered,
    patients: Mapping[str, Patients],
    *,
    seed: int,
    target_epsilon: float = math.inf,
    limits: Mapping[str, int] | None = None,
) -> SealedRun:
    """Run a buffered rule along a schedule, for an experiment: seeded noise, ledgers in memory.

    Guarantees (each is a test in ``tests/aggregation/arrival/test_sealed.py``):
      - nothing is computed from a patient before its release is in the hospital's ledger;
      - the same arguments open to the same integers, whichever scheme seals;
      - without noise the models are ``replay``'s to within the rounding of integers.

    Args:
      plan: Model, clip norm, radius, noise of the sum, scheme, learning rate on the mean gradient,
        colluders. Its hospitals and declared sizes count; its rounds don't.
      trigger: The one that the schedule was made with.
      schedule: Made with ``waits=True``.
      rule: Its shares weigh *sums* over patients: 1 for all in ``corrected``.
      patients: Of each hospital.
      seed: The experiment's seed; each hospital draws from a stream of its own.
      target_epsilon: Budget of each hospital; ``allowed_uploads`` gives the limits that keep it.
      limits: Uploads that each hospital declares beforehand, those of the schedule: their total is
        checked once, by the accountant. None: each is asked for as it comes, which an adaptive
        filter grants a little less of. A rule that discounts staleness can't be declared.

    Raises:
      InvalidInputError: A plan or a rule that this path does not cover, or a schedule in which a
        hospital is in one sum twice.
      BudgetExceededError: An upload would pass a hospital's budget.
    """
    _check(plan, schedule, rule)
    keys = {name: SigningKey.generate() for name in plan.hospitals}
    scheme = _scheme(plan, trigger, schedule)
    policy = Policy(
        Roster(plan.run, {name: key.public for name, key in keys.items()}),
        min_honest=trigger.distinct - plan.colluders,
        c_assumed=plan.colluders,
        require_ledger_head=True,
    )
    hospitals = {
        name: _Hospital(
            name,
            plan,
            trigger,
            patients[name],
            keys[name],
            Ledger.in_memory(
                hospital=name, budget=Budget(target_epsilon, plan.delta), key=keys[name]
            ),
            scheme,
            Seeded((seed, number)),
        )
        for number, name in enumerate(plan.hospitals)
    }
    for name, limit in (limits or {}).items():
        hospitals[name].declare(rule, limit)
    opener = scheme.opener(policy)
    models, sums = [plan.first_model()], []
    messages = [
        _Message(0.0, AGGREGATOR, name, "plan", plan.to_bytes(), 0, {"distinct": trigger.distinct})
        for name in plan.hospitals
    ]
    for opening in schedule.openings:
        total, found = _open(opening, models, rule, hospitals, scheme, opener)
        messages += found
        sums.append(total)
        scale = plan.learning_rate * plan.step / sum(plan.declared_sizes)
        moved = -scale * total.astype(np.float64)
        base = models[opening.arrivals[0].base_version]
        models.append(rule.step(models[-1], moved, opening, base))
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


@dataclass(frozen=True)
class _Hospital:
    """What a hospital needs to answer at its own pace."""

    name: str
    plan: Plan
    trigger: Trigger
    patients: Patients
    key: SigningKey
    ledger: Ledger
    scheme: Scheme
    source: NoiseSource

    def declare(self, rule: Buffered, uploads: int) -> None:
        """Enter all uploads into the ledger before the first; nothing is read."""
        if rule.discount:
            raise InvalidInputError(
                "A rule that discounts staleness does not know its weights beforehand; leave "
                "limits out."
            )
        weight = 1.0 if rule.shares is None else rule.shares[self.name]
        event = upload_event(self.plan, self.trigger, weight=weight)
        self.ledger.declare([Planned("update", event)], repeats=uploads)

    def contribute(
        self, arrival: Arrival, params: NDArray[np.float64], weight: float
    ) -> Contribution:
        """Spend, then read: weigh, clip, round, add noise, seal, sign."""
        plan = self.plan
        radius = whole_weight(plan, weight)
        event = upload_event(plan, self.trigger, weight=weight)
        unprotected = isinstance(event, NonPrivateDpEvent)
        clip_norm = plan.step * radius
        entry = self.ledger.spend(
            Release(
                "update",
                event,
                round=arrival.base_version,
                clip_norm=clip_norm,
                noise_source="none" if unprotected else "seeded",
                reason="the plan has no noise: unprotected" if unprotected else "",
                details={"plan": plan.digest, "upload": arrival.number},
            )
        )
        rows = plan.model.per_patient_gradients(
            params, self.patients.features, self.patients.outcomes
        )
        clipped = clip(rows, clip_norm=plan.step * plan.radius).values * (radius / plan.radius)
        update = to_integers(clip(clipped, clip_norm=clip_norm), radius=radius).sum()
        if not unprotected:
            total_std = plan.noise_multiplier * plan.radius
            share = self.trigger.share_std(total_std, colluders=plan.colluders)
            update = update + self.source.discrete_gaussian(share, plan.model.dim)
        sealed = self.scheme.sealer(self.name).seal(update)
        self.ledger.attach(entry, sealed)
        return Contribution.sign(
            self.key,
            sealed,
            run=plan.run,
            hospital=self.name,
            base_version=arrival.base_version,
            parameters=self.scheme.parameters.digest,
            weight=radius / plan.radius,
            ledger_head=digest(self.ledger.head().note),
        )


def _open(
    opening: Opening,
    models: list[NDArray[np.float64]],
    rule: Buffered,
    hospitals: Mapping[str, _Hospital],
    scheme: Scheme,
    opener: Opener,
) -> tuple[NDArray[np.int64], list[_Message]]:
    """Collect one sum's contributions, add and open them; and what was sent meanwhile."""
    adder = scheme.adder()
    contributions, messages = [], []
    for arrival in opening.arrivals:
        params = models[arrival.base_version]
        contribution = hospitals[arrival.hospital].contribute(arrival, params, rule.weight(arrival))
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


def _scheme(plan: Plan, trigger: Trigger, schedule: Schedule) -> Scheme:
    """Size the sealing from the plan and from what the schedule will open."""
    contributors = max((len(o.arrivals) for o in schedule.openings), default=1)
    variance = 0.0
    if plan.noise != "none" and plan.noise_multiplier > 0:
        share = trigger.share_std(plan.noise_multiplier * plan.radius, colluders=plan.colluders)
        variance = contributors * share**2
    bound = largest_sum(
        radius=plan.radius,
        units=plan.declared_sizes,
        noise_variance=variance,
        dim=plan.model.dim,
        rounds=max(1, len(schedule.openings)),
    )
    return make_scheme(plan.scheme, dim=plan.model.dim, contributors=contributors, bound=bound)


def _check(plan: Plan, schedule: Schedule, rule: Buffered) -> None:
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
    if rule.oldest is not None:
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
