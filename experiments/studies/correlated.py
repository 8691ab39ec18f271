"""What noise that is correlated over rounds buys, at equal epsilon: within-site AUC.

Five ways to let each hospital add all of its noise. With all patients in every round; in passes, a
patient in one round of each (fixed for the whole run, or allocated anew, which is amplified); and
with the noise of rounds correlated in either. All are calibrated to one epsilon, each over the same
step sizes; the best of them is chosen on the very patients that are scored, which is optimistic by
as much for each. What is opened is summed as hospitals compute it (``aggregation.update``), without
seals and ledgers, which change no number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.box import SIMPLE
from rich.table import Table

from aggregation.agreement import Agreement, Trajectory
from aggregation.correlation import Correlation
from aggregation.data.patients import Patients
from aggregation.models import Logistic
from aggregation.plan import Plan
from aggregation.roles.draws import Draws
from aggregation.update import noised_update
from experiments.cohorts import called, folds, load
from experiments.evaluation import Scored, auc, join
from experiments.run.record import Record
from experiments.run.typed import TypedRecord, read_all
from experiments.studies.design import Design, TrainingSetting, make_plan
from privacy._validate import natural, positive
from privacy.mechanisms import Seeded

__all__ = ["CorrelatedArm", "CorrelatedPoint", "follow_plan", "grid", "read_correlated", "table"]

_FOLDS = 5
_ROUNDS = 40
_PASS = 8  # rounds
_RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_BUFFERS = Correlation(scales=(0.3, 0.3), decays=(0.8, 0.6))


class CorrelatedArm(StrEnum):
    """How patients take part, and how noise is correlated; the value is the name in records."""

    ALL = "all rounds, independent"
    ALL_BANDED = "all rounds, banded"
    ALLOCATED = "one of a pass, drawn anew, independent"
    FIXED = "one of a pass, fixed, one band"
    BANDED = "one of a pass, fixed, banded"
    BUFFERED = "one of a pass, fixed, buffers"

    @property
    def passes(self) -> bool:
        """Whether each patient is in one round of a pass."""
        return self not in (CorrelatedArm.ALL, CorrelatedArm.ALL_BANDED)

    @property
    def correlation(self) -> Correlation | None:
        """Of the noise of a hospital's rounds."""
        return {
            CorrelatedArm.ALL_BANDED: Correlation(bands=_PASS),
            CorrelatedArm.FIXED: Correlation(bands=1),
            CorrelatedArm.BANDED: Correlation(bands=_PASS),
            CorrelatedArm.BUFFERED: _BUFFERS,
        }.get(self)


@dataclass(frozen=True)
class FoldAtRates:
    """One fold, trained at each step size.

    Attributes:
      sites: The test patients as each model scores them.
      noise_multiplier: Of what each hospital draws in a round.
    """

    sites: tuple[Mapping[str, Scored], ...]
    noise_multiplier: float


@dataclass(frozen=True)
class CorrelatedPoint:
    """One arm on one cohort; a unit is a fold.

    Attributes:
      arm: How.
      epsilon: Of the whole run.
      seed: Of folds and noise.
      cohort: Whose patients, named as ``experiments.cohorts.resolve`` names it.
      code_version: Raised when a change moves the numbers.
    """

    arm: CorrelatedArm
    epsilon: float = 1.0
    seed: int = 0
    cohort: str = "heart"
    code_version: int = 1

    @property
    def config(self) -> dict[str, Any]:
        """What names the point's record."""
        return {"experiment": "correlated", "rounds": _ROUNDS, "pass_rounds": _PASS, **asdict(self)}

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        return f"correlated, {called(self.cohort)}, epsilon {self.epsilon:g}: {self.arm}"

    @property
    def units(self) -> range:
        """Folds."""
        return range(_FOLDS)

    def plan(self, patients: Mapping[str, Patients]) -> Plan:
        """Return the plan of a fold, at the first step size."""
        return make_plan(
            run="correlated",
            design=Design.SEALED,
            epsilon=self.epsilon,
            model=Logistic(next(iter(patients.values())).features.shape[1]),
            setting=TrainingSetting(_ROUNDS, _RATES[0], 1.0, _ROUNDS // 2),
            patients=patients,
            pass_rounds=_PASS if self.arm.passes else None,
            correlated=self.arm.correlation,
            own_noise=True,
        )

    def measure(self, unit: int, data_dir: Path | None = None) -> FoldAtRates:
        """Train on one fold at each step size, and score its test patients."""
        fold = folds(load(self.cohort, data_dir), count=_FOLDS, seed=self.seed)[unit]
        calibrated, scored = self.plan(fold.train), []
        for k, rate in enumerate(_RATES):
            plan = replace(calibrated, learning_rate=rate)
            params = follow_plan(plan, fold.train, (58, self.seed, unit, k))
            scored.append(
                {
                    name: Scored(plan.model.scores(params, p.features), p.outcomes)
                    for name, p in fold.test.items()
                }
            )
        return FoldAtRates(tuple(scored), calibrated.noise_multiplier)

    def summarise(self, parts: list[FoldAtRates]) -> dict[str, Any]:
        """Within-site AUC at each step size, and the noise: the mean over folds."""
        every = zip(*(part.sites for part in parts), strict=True)
        aucs = {f"{rate:g}": auc(join(*sites)) for rate, sites in zip(_RATES, every, strict=True)}
        noise = float(np.mean([part.noise_multiplier for part in parts]))
        return {"auc_within": max(aucs.values()), "by_rate": aucs, "noise_multiplier": noise}


def follow_plan(
    plan: Plan, patients: Mapping[str, Patients], seed: tuple[int, ...]
) -> Float[np.ndarray, "dim"]:
    """Return the final model of a plan, without seals or ledgers.

    Guarantees (each is a test in ``tests/experiments/test_correlated_study.py``):
      - it is the model of ``Federation.simulated`` with this seed, bit for bit.

    Args:
      plan: Of one step a round.
      patients: By hospital.
      seed: As ``Federation.simulated`` takes it.
    """
    sources = {name: Seeded((*seed, k)) for k, name in enumerate(plan.hospitals)}
    draws = {name: Draws(plan, name, source) for name, source in sources.items()}
    path = Trajectory(Agreement.of(plan))
    models = [path.params]
    for round_ in range(plan.rounds):
        total = np.zeros(plan.dim, dtype=np.int64)
        for name, drawn in draws.items():
            drawn.prepare(round_, last=round_ - 1)
            batches = drawn.batches(patients[name], round_)
            total += noised_update(plan, name, batches, path.params, drawn.noise)
        path.step(total)
        models.append(path.params)
    return plan.final_model(models)


def grid(
    seed: int = 0, *, seeds: int = 1, epsilon: float = 1.0, cohort: str = "heart"
) -> list[CorrelatedPoint]:
    """Every arm, once a seed.

    Raises:
      InvalidInputError: No seed, or an epsilon that is not above 0 and finite.
    """
    natural(seeds=seeds, least=1)
    positive(epsilon=epsilon)
    every = range(seed, seed + seeds)
    return [CorrelatedPoint(arm, epsilon, s, cohort) for arm in CorrelatedArm for s in every]


@dataclass(frozen=True)
class CorrelatedMetrics:
    """What a record holds.

    Attributes:
      auc_within: At the best step size.
      by_rate: At each.
      noise_multiplier: Of what each hospital draws in a round.
    """

    auc_within: float
    by_rate: Mapping[str, float]
    noise_multiplier: float


def read_correlated(
    records: Sequence[Record],
) -> list[TypedRecord[CorrelatedPoint, CorrelatedMetrics]]:
    """Read records of this study, in order."""
    return read_all(records, CorrelatedPoint, CorrelatedMetrics)


def table(records: Sequence[Record]) -> Table:
    """Each arm's AUC, the mean over seeds, and its noise."""
    title = f"Within-site AUC; {_ROUNDS} rounds, passes of {_PASS}, all noise at each hospital"
    shown = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    shown.add_column("cohort")
    shown.add_column("epsilon", justify="right")
    shown.add_column("noise of rounds")
    for heading in ("noise multiplier", "AUC", "lowest", "highest"):
        shown.add_column(heading, justify="right")
    groups: dict[tuple[str, float, CorrelatedArm], list[CorrelatedMetrics]] = {}
    for record in read_correlated(records):
        point = record.point
        key = called(point.cohort), point.epsilon, point.arm
        groups.setdefault(key, []).append(record.metrics)
    for (cohort, epsilon, arm), metrics in groups.items():
        values = [one.auc_within for one in metrics]
        noise = float(np.mean([one.noise_multiplier for one in metrics]))
        shown.add_row(
            cohort, f"{epsilon:g}", str(arm), f"{noise:.3g}", f"{np.mean(values):.3f}",
            f"{min(values):.3f}", f"{max(values):.3f}",
        )  # fmt: skip
    return shown
