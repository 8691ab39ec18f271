r"""The article's noise in three readings: what does ``compute_sensitivity(gradient)`` compute?

The snippet scales its noise by a sensitivity that it leaves open. Three readings of one upload's
noise, all with :math:`\sigma = s \sqrt{2 \ln(1.25 / \delta)} / \varepsilon`:

- the *upload's* own norm: what can be computed from the gradient that is passed in, and what the
  design ``article`` has everywhere else;
- the norm of the *largest patient's* gradient of that upload: one patient's share, still computed
  from the patients, so that nothing is proved;
- a *constant* clip norm: the classical Gaussian mechanism, of which an epsilon and a bound can be
  proved; over a run of many uploads they are those of all of them together.

Each is trained on the same folds as training without noise, all patients in every round, and
attacked by who knows all other patients and reads every upload: the maximum of the exact posterior
over the ten people of a line-up, the noise's scale included.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from dp_accounting import GaussianDpEvent, SelfComposedDpEvent
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from aggregation.models import Logistic
from experiments.cohorts import load
from experiments.evaluation import Estimate, Scored, bootstrap_difference, by_patient
from experiments.studies.design import DELTA, RELATION, TRAINING, Regime, TrainingSetting
from experiments.studies.frontier.risks import Risk
from experiments.studies.lineups import INFORMED, Trial, risk, trials_of
from experiments.studies.people import LINEUP, LineUp, LineUpFold, targets_of, with_line_ups
from privacy.mechanisms import clip
from privacy.reconstruction import success_bound

__all__ = ["NoiseReading", "ReadingMetrics", "ReadingPoint", "noise_factor", "readings"]

Matrix = NDArray[np.float64]
_TINY = 1e-30  # variance of an upload that is zero, and so has no noise


class NoiseReading(StrEnum):
    """Which norm the noise is scaled by; the value is the name in records."""

    UPLOAD = "norm of the upload"
    PATIENT = "norm of the largest patient"
    CONSTANT = "constant clip norm"


@dataclass(frozen=True)
class ReadingPoint:
    """One reading, beside no noise; its fields are the record's key. A unit is a seed and a fold.

    Attributes:
      reading: Of the sensitivity.
      epsilon: Of one upload.
      cohort: As ``experiments.cohorts.load`` takes it.
      seeds: Of splits and noise.
      folds: Of a cross-validation.
      code_version: Raised when a change moves the numbers.
    """

    reading: NoiseReading
    epsilon: float = 1.0
    cohort: str = "heart"
    seeds: tuple[int, ...] = (0, 1, 2)
    folds: int = 5
    code_version: int = 1

    @property
    def setting(self) -> TrainingSetting:
        """How all are trained: as the frontier's full batches."""
        return TRAINING[Regime.FULL, "logistic"]

    @property
    def config(self) -> dict[str, Any]:
        """What names the record."""
        shared = {"experiment": "readings", "delta": DELTA, "lineup": LINEUP}
        return {**shared, "setting": asdict(self.setting), **asdict(self)}

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        return f"the article's noise by the {self.reading}, eps={self.epsilon:g}"

    @property
    def units(self) -> list[tuple[int, int]]:
        """Seed and fold."""
        return [(seed, fold) for seed in self.seeds for fold in range(self.folds)]

    def measure(self, unit: tuple[int, int], data_dir: Path | None) -> "ReadFold":
        """Train with the noise and without, and attack every upload."""
        seed, fold = unit
        cohort = load(self.cohort, data_dir)
        split = with_line_ups(cohort, count=self.folds, seed=seed)[fold]
        rng = np.random.default_rng([seed, fold, *b"readings"])
        noised = _trained(self, split.train, rng)
        bare = _trained(None, split.train, rng, setting=self.setting)
        logs = _informed(self, noised, split.train, split.lineups)
        trials = trials_of(INFORMED, split.lineups, logs, f"{seed}/{fold}", rng)
        scored = tuple(
            {n: Scored(run.model.scores(run.final, t.features), t.outcomes)
             for n, t in split.test.items()}
            for run in (noised, bare)
        )  # fmt: skip
        return ReadFold(unit, split, scored[0], scored[1], tuple(trials))

    def summarise(self, parts: "list[ReadFold]") -> dict[str, Any]:
        """Gain over no noise, risk and bound."""
        seeds = [[p for p in parts if p.unit[0] == seed] for seed in self.seeds]
        ours, theirs = (
            [
                by_patient([getattr(p, kind) for p in folds], [p.split for p in folds])
                for folds in seeds
            ]
            for kind in ("noised", "bare")
        )
        trials = [trial for part in parts for trial in part.trials]
        return {
            "gain": asdict(bootstrap_difference(ours, theirs)),
            "risk": risk(trials, INFORMED),
            "bound": self.bound,
        }

    @property
    def bound(self) -> float | None:
        """On naming a patient out of ten from all uploads; None: the scale follows patients."""
        if self.reading is not NoiseReading.CONSTANT:
            return None
        run = SelfComposedDpEvent(GaussianDpEvent(noise_factor(self.epsilon)), self.setting.rounds)
        return float(success_bound(run, prior_success=1 / LINEUP, relation=RELATION))


@dataclass(frozen=True)
class ReadFold:
    """What one fold gave.

    Attributes:
      unit: Seed and fold.
      split: Who trained, who was tested.
      noised: The test patients as the model with noise scores them, by hospital.
      bare: As the model without scores them.
      trials: Every line-up.
    """

    unit: tuple[int, int]
    split: LineUpFold
    noised: Mapping[str, Scored]
    bare: Mapping[str, Scored]
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class ReadingMetrics:
    """What a record holds.

    Attributes:
      gain: Within-site AUC, with the noise less without.
      risk: How often who knows all others names the patient.
      bound: Proven; None: none is.
    """

    gain: Estimate
    risk: Risk
    bound: float | None


def readings(
    cohort: str = "heart", *, epsilon: float = 1.0, seeds: Sequence[int] = (0, 1, 2)
) -> list[ReadingPoint]:
    """All three."""
    return [ReadingPoint(reading, epsilon, cohort, tuple(seeds)) for reading in NoiseReading]


def noise_factor(epsilon: float, *, delta: float = DELTA) -> float:
    r"""Return :math:`\sqrt{2 \ln(1.25 / \delta)} / \varepsilon`, as the snippet has it."""
    return math.sqrt(2 * math.log(1.25 / delta)) / epsilon


@dataclass(frozen=True)
class _Run:
    """Models of every round, and every hospital's uploads ``[rounds, dim]``."""

    model: Logistic
    models: tuple[Matrix, ...]
    uploads: Mapping[str, Matrix]
    final: Matrix


def _trained(
    point: ReadingPoint | None,
    patients: Mapping[str, Patients],
    rng: np.random.Generator,
    *,
    setting: TrainingSetting | None = None,
) -> _Run:
    """Gradient descent on the mean of all patients; None: without noise."""
    how = setting or (point.setting if point else TRAINING[Regime.FULL, "logistic"])
    model = Logistic(next(iter(patients.values())).features.shape[1])
    models, count = [np.zeros(model.dim)], sum(map(len, patients.values()))
    uploads: dict[str, list[Matrix]] = {name: [] for name in patients}
    for _ in range(how.rounds):
        for name, people in patients.items():
            rows = _rows(point, model, models[-1], people.features, people.outcomes)
            upload = rows.sum(axis=0)
            if point is not None:
                norms = np.linalg.norm(rows, axis=1)
                std = _scale(point, np.linalg.norm(upload), norms.max(initial=0.0))
                upload = upload + std * rng.normal(size=model.dim)
            uploads[name].append(upload)
        total = np.sum([sent[-1] for sent in uploads.values()], axis=0)
        models.append(models[-1] - how.learning_rate * total / count)
    final = np.mean(models[-how.average_last :], axis=0)
    return _Run(model, tuple(models), {n: np.stack(u) for n, u in uploads.items()}, final)


def _rows(
    point: ReadingPoint | None,
    model: Logistic,
    params: Matrix,
    features: Matrix,
    outcomes: NDArray[np.int64],
) -> Matrix:
    rows = model.per_patient_gradients(params, features, outcomes)
    if point is None or point.reading is not NoiseReading.CONSTANT:
        return np.asarray(rows)
    return np.asarray(clip(rows, clip_norm=point.setting.clip_norm).values)


def _scale(point: ReadingPoint, upload: Any, largest: Any) -> Any:
    """Standard deviation of the noise, from norms of the upload and of its largest patient."""
    sensitivity = {
        NoiseReading.UPLOAD: upload,
        NoiseReading.PATIENT: largest,
        NoiseReading.CONSTANT: np.full_like(upload, point.setting.clip_norm),
    }
    return noise_factor(point.epsilon) * sensitivity[point.reading]


def _informed(
    point: ReadingPoint,
    run: _Run,
    patients: Mapping[str, Patients],
    lineups: Sequence[LineUp],
) -> Matrix:
    """Log-likelihood of every candidate over all uploads of the target's hospital."""
    logs = np.zeros((len(lineups), LINEUP))
    for name in dict.fromkeys(one.hospital for one in lineups):
        at = [i for i, one in enumerate(lineups) if one.hospital == name]
        some = [lineups[i] for i in at]
        people = np.concatenate([one.people for one in some])
        outcomes = np.repeat([one.outcome for one in some], LINEUP).astype(np.int64)
        places = targets_of(some)
        members = patients[name]
        index = {int(patient): k for k, patient in enumerate(members.ids)}
        rows_at = [index[one.patient] for one in some]
        for params, seen in zip(run.models, run.uploads[name], strict=False):
            rows = _rows(point, run.model, params, members.features, members.outcomes)
            added = _rows(point, run.model, params, people, outcomes).reshape(len(at), LINEUP, -1)
            hidden = added[np.arange(len(at)), places]
            means = (rows.sum(axis=0) - hidden)[:, None, :] + added
            norms = np.linalg.norm(rows, axis=1)
            others = np.array([np.delete(norms, k).max(initial=0.0) for k in rows_at])
            largest = np.maximum(others[:, None], np.linalg.norm(added, axis=2))
            scale = _scale(point, np.linalg.norm(means, axis=2), largest)
            variance = np.maximum(scale**2, _TINY)
            gaps = ((seen - means) ** 2).sum(axis=2)
            logs[at] -= 0.5 * (gaps / variance + run.model.dim * np.log(variance))
    return logs
