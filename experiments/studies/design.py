"""The designs of a federation that the frontier compares, and the plan of each.

An infinite epsilon means clipping without noise; what is not noised is not protected.

How each regime is trained (``TRAINING``) was chosen once, the same for every design and epsilon, on
simulated studies that share what is public of the heart study (its schema and its hospitals'
sizes), by the within-site AUC at epsilon 1: ``inpatient tune``, whose
records stand in ``paper/tuning``. That search reads no heart patient, but it is not blind: heart
AUCs of other settings had been seen before, and a search on the Framingham table was given up
partly because what it chose lost more on heart. So the cost of privacy may be understated a little.
The two settings without a record come from an earlier search and are used by no published number.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from dp_accounting import ComposedDpEvent, DpEvent, NeighboringRelation

from aggregation.correlation import Correlation
from aggregation.data.patients import Patients
from aggregation.models import Model
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import run_event
from privacy._validate import natural
from privacy.calibration import noise_multiplier
from privacy.errors import InvalidInputError

__all__ = [
    "DELTA",
    "FEDERATED",
    "RELATION",
    "TRAINING",
    "WIDTH",
    "Design",
    "Regime",
    "TrainingSetting",
    "make_plan",
    "radius_for",
    "training_of",
]

DELTA = 1e-5
RELATION = NeighboringRelation.ADD_OR_REMOVE_ONE
WIDTH = 64  # hidden units of the perceptron


class Design(StrEnum):
    """Who adds which noise, and who opens; the value is the name in records and commands.

    - ``none``: clear uploads, nothing clipped, no noise.
    - ``article``: clear uploads with the article's noise, whose scale follows the upload itself.
    - ``local``: clear uploads, each hospital adds all of the noise.
    - ``sealed``: sealed sums, the hospitals share the noise.
    - ``pooled``: no federation: all patients in one place, whose keeper reads them.
    - ``local only``: no federation: each hospital trains alone, and nothing leaves it.
    """

    NONE = "none"
    ARTICLE = "article"
    LOCAL = "local"
    SEALED = "sealed"
    POOLED = "pooled"
    LOCAL_ONLY = "local only"

    @property
    def federated(self) -> bool:
        """Whether hospitals train together and send anything."""
        return self not in (Design.POOLED, Design.LOCAL_ONLY)

    @property
    def clips(self) -> bool:
        """Whether patients' gradients are clipped."""
        return self in (Design.LOCAL, Design.SEALED)


FEDERATED = tuple(design for design in Design if design.federated)


class Regime(StrEnum):
    """How many patients of a hospital take part in a round: all of them, or about 8."""

    FULL = "full"
    SMALL = "small"


@dataclass(frozen=True)
class TrainingSetting:
    """How a model is trained.

    Attributes:
      rounds: Number of rounds.
      learning_rate: Step on the mean gradient.
      clip_norm: Largest norm of a patient's gradient.
      average_last: Models averaged at the end.
      sampling_size: Expected patients of a hospital in a round; None: all of them.
    """

    rounds: int
    learning_rate: float
    clip_norm: float
    average_last: int
    sampling_size: int | None = None

    def in_passes(self, pass_rounds: int) -> "TrainingSetting":
        """Return as many rounds, filled up to whole passes, of which nobody is sampled."""
        natural(pass_rounds=pass_rounds, least=1)
        rounds = -(-self.rounds // pass_rounds) * pass_rounds
        return replace(self, rounds=rounds, sampling_size=None)


TRAINING: Mapping[tuple[Regime, str], TrainingSetting] = MappingProxyType(
    {
        (Regime.FULL, "logistic"): TrainingSetting(40, 4.0, 1.0, 20),
        (Regime.FULL, "mlp"): TrainingSetting(20, 2.0, 1.0, 10),
        (Regime.FULL, "moments"): TrainingSetting(1, 1.0, 0.5, 1),
        (Regime.SMALL, "logistic"): TrainingSetting(200, 0.5, 0.5, 100, 8),
        (Regime.SMALL, "mlp"): TrainingSetting(100, 0.5, 0.5, 50, 8),
    }
)


_NOISE = {
    Design.NONE: NoiseKind.NONE,
    Design.ARTICLE: NoiseKind.ARTICLE,
    Design.LOCAL: NoiseKind.LOCAL,
    Design.SEALED: NoiseKind.SHARED,
}
"""What a plan calls the noise of a design."""


def training_of(regime: Regime, model: str) -> TrainingSetting:
    """Return how a model is trained; one that nothing was searched for takes the perceptron's."""
    return TRAINING.get((regime, model), TRAINING[regime, "mlp"])


def radius_for(dim: int) -> int:
    """Smallest power of two that is at least 100 sqrt(dim); below, rounding eats the gradient."""
    return int(2 ** math.ceil(math.log2(100 * math.sqrt(dim))))


def make_plan(
    *,
    run: str,
    design: str,
    epsilon: float,
    model: Model,
    setting: TrainingSetting,
    patients: Mapping[str, Patients],
    colluders: int = 1,
    scheme: str = "shares",
    local_steps: int = 1,
    model_seed: int = 0,
    delta: float = DELTA,
    beside: DpEvent | None = None,
    patient_hospitals: int = 1,
    pass_rounds: int | None = None,
    correlated: Correlation | None = None,
    own_noise: bool = False,
) -> Plan:
    """Return the plan of a design, with the least noise whose certified epsilon is kept.

    The epsilon is that of the whole run, for the hospital where it is largest.

    Args:
      run: Name of the run.
      design: One of ``FEDERATED``.
      epsilon: Of the whole run (``article``: of one upload, as the article has it); ``inf``: no
        noise.
      model: What is trained.
      setting: How.
      patients: By hospital; their numbers are declared.
      colluders: Hospitals whose share of the noise does not count (``sealed``).
      scheme: How ``sealed`` seals.
      local_steps: Of a hospital in a round (FedAvg). Several of them admit no shared noise, so that
        ``sealed`` then adds all of it at each hospital and each step.
      model_seed: The committed seed of the first model.
      delta: Goes with every epsilon.
      beside: What else is released of each hospital's patients within ``epsilon``.
      patient_hospitals: Hospitals in which one patient may stand.
      pass_rounds: As in ``Plan``; the setting's rounds are whole passes.
      correlated: As in ``Plan``; ``own_noise`` then.
      own_noise: Whether each hospital of ``sealed`` adds all of the noise, as after a dropout.

    Raises:
      InvalidInputError: An unknown design, an epsilon that is not above 0, an empty hospital.
    """
    if design not in FEDERATED:
        raise InvalidInputError(f"Unknown design {design!r}; choose one of {', '.join(FEDERATED)}.")
    design = Design(design)
    if not epsilon > 0:
        raise InvalidInputError(
            f"Expected epsilon={epsilon} > 0. Smaller means more noise; use inf for none."
        )
    for name, group in patients.items():
        if len(group) == 0:
            raise InvalidInputError(
                f"Hospital {name!r} has no patients; leave it out of the federation."
            )
    noise = _NOISE[design]
    if noise == NoiseKind.SHARED and (local_steps > 1 or correlated is not None or own_noise):
        noise = NoiseKind.LOCAL
    if not math.isfinite(epsilon):
        noise = NoiseKind.NONE

    def plan_at(multiplier: float) -> Plan:
        return Plan(
            run=run,
            model=model,
            hospitals=tuple(patients),
            declared_sizes=tuple(p.count for p in patients.values()),
            rounds=setting.rounds,
            learning_rate=setting.learning_rate,
            noise=noise,
            scheme=scheme if design is Design.SEALED else "plain",
            clip_norm=setting.clip_norm if design.clips else None,
            radius=radius_for(model.dim) if design.clips else 2**24,
            noise_multiplier=multiplier,
            epsilon=epsilon if noise == NoiseKind.ARTICLE else None,
            delta=delta,
            sampling_size=setting.sampling_size,
            pass_rounds=pass_rounds,
            correlated=correlated,
            colluders=colluders if noise == NoiseKind.SHARED else 0,
            local_steps=local_steps,
            model_seed=model_seed,
            average_last=setting.average_last,
            patient_hospitals=patient_hospitals,
        )

    if not noise.protects:
        return plan_at(0.0)
    smallest = min(patients, key=lambda name: patients[name].count)  # drawn most often: worst off

    def event_at(multiplier: float) -> DpEvent:
        event = run_event(plan_at(multiplier), smallest)
        return event if beside is None else ComposedDpEvent([event, beside])

    plan = plan_at(
        noise_multiplier(event_at, target_epsilon=epsilon, delta=delta, relation=RELATION)
    )
    moved = setting.learning_rate * plan.noise_multiplier * setting.clip_norm / plan.normaliser
    return replace(plan, model=model.above_noise(moved * math.sqrt(setting.rounds)))
