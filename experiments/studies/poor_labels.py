"""Hospitals with poor labels or columns: what helps, and what does not.

Full-batch training of clipped sums, five folds; tables are spoilt in training only. Defences are
those that a sealed sum allows (``aggregation.rules.bounded_influence``). Contribution scores are
noised losses, paid for with an epsilon of their own beside the training's; training itself is not
noised, so that what is seen is the labels' harm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from dp_accounting import GaussianDpEvent
from jaxtyping import Float
from rich.box import SIMPLE
from rich.table import Table

from aggregation.data.patients import Patients, Schema
from aggregation.engines.clear import follow
from aggregation.models import Logistic
from aggregation.rules import BoundedInfluence, Call
from aggregation.rules.agnostic import loss_release
from aggregation.rules.bounded_influence import kept
from aggregation.timing import Rounds
from experiments.cohorts import Fold, folds, load
from experiments.evaluation import Scored, auc, join
from experiments.run.record import Record
from experiments.run.typed import TypedRecord, read_all
from experiments.studies.design import DELTA, RELATION
from privacy.calibration import noise_multiplier
from privacy.mechanisms import clip

__all__ = ["SEEDS", "Defence", "Harm", "LabelMetrics", "LabelPoint", "grid", "read_labels", "table"]

SEEDS = 5
_LOOSE, _TIGHT = 100.0, 1.0  # clip norms
_BOUND = 4.0  # nats: where a patient's loss is cut
_MARGIN = 0.3  # nats above the median
_ROUNDS = 120
_FOLDS = 5


class Harm(StrEnum):
    """What is wrong with a hospital's table; the value is the name in records.

    The last three spoil columns, not labels: the number of the largest public mean recorded in a
    unit in which it is a tenth; yes and no swapped in every such column; half of all values
    missing, which a hospital fills with the schema's constant.
    """

    NONE = "none"
    WRONG = "25 % wrong at one"
    HIDDEN = "25 % hidden at one"
    WRONG_AT_TWO = "40 % wrong at two"
    REVERSED = "all reversed at one"
    UNITS = "another unit at one"
    CODES = "codes swapped at one"
    MISSING = "half missing at one"

    @property
    def rates(self) -> tuple[float, ...]:
        """What fraction of labels is hit at the largest hospital, the second largest, ..."""
        return _RATES[self]

    @property
    def hides(self) -> bool:
        """Whether who is ill is recorded as well; else both are recorded as the other."""
        return self is Harm.HIDDEN


_RATES: Mapping[Harm, tuple[float, ...]] = MappingProxyType(
    {
        Harm.NONE: (),
        Harm.WRONG: (0.25,),
        Harm.HIDDEN: (0.25,),
        Harm.WRONG_AT_TWO: (0.4, 0.4),
        Harm.REVERSED: (1.0,),
        Harm.UNITS: (0.0,),
        Harm.CODES: (0.0,),
        Harm.MISSING: (0.0,),
    }
)


class Defence(StrEnum):
    """What is done against it; the value is the name in records."""

    NO_BOUND = "no bound"
    NORM_BOUND = "norm bound"
    BOUNDED_INFLUENCE = "bounded influence"
    SCORES_CHEAP = "scores, eps .1"
    SCORES_DEAR = "scores, eps .5"

    @property
    def clip_norm(self) -> float:
        """Of a patient's gradient."""
        return _LOOSE if self is Defence.NO_BOUND else _TIGHT

    @property
    def score_epsilon(self) -> float | None:
        """What contribution scores cost each patient; None: there are none."""
        return {Defence.SCORES_CHEAP: 0.1, Defence.SCORES_DEAR: 0.5}.get(self)


@dataclass(frozen=True)
class FoldWithHarm:
    """One fold, trained on spoilt labels.

    Attributes:
      sites: The test patients as the model scores them, with clean labels.
      left_out: Whether contribution scores left a hospital out, by hospital.
    """

    sites: Mapping[str, Scored]
    left_out: Mapping[str, bool]


@dataclass(frozen=True)
class LabelPoint:
    """One harm, at a cohort's largest hospitals, and one defence; a unit is a fold.

    Attributes:
      harm: Of the training labels.
      defence: Against it.
      seed: Of folds, spoilt labels and noise.
      exponent: Of bounded influence.
      cohort: Whose patients, named as ``experiments.cohorts.resolve`` names it.
      code_version: Raised when a change moves the numbers.
    """

    harm: Harm
    defence: Defence
    seed: int = 0
    exponent: float = 0.7
    cohort: str = "heart"
    code_version: int = 1

    @property
    def config(self) -> dict[str, Any]:
        """What names the point's record."""
        return {"experiment": "poor labels", **asdict(self)}

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        return f"poor labels, {self.harm}: {self.defence}"

    @property
    def units(self) -> range:
        """Folds."""
        return range(_FOLDS)

    def measure(self, unit: int, data_dir: Path | None = None) -> FoldWithHarm:
        """Spoil one fold's training labels, defend, and score its test patients."""
        cohort = load(self.cohort, data_dir)
        fold = folds(cohort, count=_FOLDS, seed=self.seed)[unit]
        rng = np.random.default_rng([57, self.seed, unit])
        largest = sorted(cohort.hospitals, key=lambda name: -len(cohort.hospitals[name]))
        rates = dict(zip(largest, self.harm.rates, strict=False))
        sites = _spoilt(self.harm, rates, fold, cohort.schema, rng)
        exponent = self.exponent if self.defence is Defence.BOUNDED_INFLUENCE else 0.0
        model = Logistic(next(iter(sites.values())).features.shape[1])
        params = _train(model, sites, clip_norm=self.defence.clip_norm, exponent=exponent)
        left_out = dict.fromkeys(sites, False)
        epsilon = self.defence.score_epsilon
        if epsilon is not None:
            stays = kept(_scores(model, sites, params, epsilon, rng), margin=_MARGIN)
            left_out = {name: not stay for name, stay in zip(sites, stays, strict=True)}
            chosen = {name: site for name, site in sites.items() if not left_out[name]}
            params = _train(model, chosen, clip_norm=self.defence.clip_norm, exponent=exponent)
        tested = {
            n: Scored(model.scores(params, p.features), p.outcomes) for n, p in fold.test.items()
        }
        return FoldWithHarm(tested, left_out)

    def summarise(self, parts: list[FoldWithHarm]) -> dict[str, Any]:
        """Within-site AUC on clean labels, and in how many folds each hospital was left out."""
        return {
            "auc_within": auc(join(*(part.sites for part in parts))),
            "left_out": {
                name: sum(int(part.left_out[name]) for part in parts) for name in parts[0].left_out
            },
            "score_epsilon": self.defence.score_epsilon,
        }


def grid(seed: int = 0, *, seeds: int = SEEDS, cohort: str = "heart") -> list[LabelPoint]:
    """Every defence against every harm, once a seed."""
    every = range(seed, seed + seeds)
    return [
        LabelPoint(harm, defence, s, cohort=cohort)
        for harm in Harm
        for defence in Defence
        for s in every
    ]


def _spoilt(
    harm: Harm,
    rates: Mapping[str, float],
    fold: Fold,
    schema: Schema,
    rng: np.random.Generator,
) -> dict[str, Patients]:
    """The fold's training patients as the harmed hospitals' tables have them."""
    sites = {}
    for name, p in fold.train.items():
        hit = rng.random(len(p)) < rates.get(name, 0.0)
        spoilt = np.zeros_like(p.outcomes) if harm.hides else 1 - p.outcomes
        features = _recorded(harm, p.features, schema, rng) if name in rates else p.features
        sites[name] = Patients(features, np.where(hit, spoilt, p.outcomes), p.ids)
    return sites


def _recorded(
    harm: Harm,
    features: Float[np.ndarray, "patients columns"],
    schema: Schema,
    rng: np.random.Generator,
) -> Float[np.ndarray, "patients columns"]:
    columns = schema.columns
    if harm is Harm.MISSING:
        return np.where(rng.random(features.shape) < 0.5, 0.0, features)
    recorded = features.copy()
    if harm is Harm.CODES:
        yes_or_no = [k for k, column in enumerate(columns) if column.binary and not column.group]
        recorded[:, yes_or_no] = 1 - recorded[:, yes_or_no]
    if harm is Harm.UNITS:
        numeric = [k for k, column in enumerate(columns) if not column.binary]
        for k in sorted(numeric, key=lambda k: columns[k].mean)[-1:]:
            mean, sd = columns[k].mean, columns[k].sd
            recorded[:, k] = ((recorded[:, k] * sd + mean) / 10 - mean) / sd
    return recorded


def _train(
    model: Logistic, sites: Mapping[str, Patients], *, clip_norm: float, exponent: float
) -> Float[np.ndarray, "dim"]:
    rule = BoundedInfluence(exponent)

    def update(call: Call) -> Float[np.ndarray, "dim"]:
        site = sites[call.hospital]
        rows = model.per_patient_gradients(call.params, site.features, site.outcomes)
        weighed = rule.rows(call.hospital, rows, site.features, site.outcomes)
        return np.asarray(clip(weighed, clip_norm=clip_norm).values.sum(axis=0))

    scale = -1 / sum(len(site) for site in sites.values())
    rounds = Rounds(tuple(sites), _ROUNDS)
    first = np.zeros(model.dim)
    return np.asarray(follow(rule, rounds, first, update=update, scale=scale).models[-1])


def _scores(
    model: Logistic,
    sites: Mapping[str, Patients],
    params: Float[np.ndarray, "dim"],
    target_epsilon: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "hospitals"]:
    """Each hospital's noised mean loss: one Gaussian release of each patient's cut loss."""
    multiplier = noise_multiplier(
        GaussianDpEvent, target_epsilon=target_epsilon, delta=DELTA, relation=RELATION
    )
    means = []
    for site in sites.values():
        losses = model.losses(params, site.features, site.outcomes)
        total = loss_release(losses, bound=_BOUND)
        means.append((total + rng.normal(scale=multiplier * _BOUND)) / len(site))
    return np.array(means)


@dataclass(frozen=True)
class LabelMetrics:
    """What a record holds.

    Attributes:
      auc_within: On clean labels.
      left_out: In how many folds scores left a hospital out, by hospital.
    """

    auc_within: float
    left_out: Mapping[str, int]


def read_labels(records: Sequence[Record]) -> list[TypedRecord[LabelPoint, LabelMetrics]]:
    """Read records of this study, in order."""
    return read_all(records, LabelPoint, LabelMetrics)


def table(records: Sequence[Record]) -> Table:
    """Within-site AUC, harms down and defences across; below, the share of folds left out."""
    shown = Table(title=_TITLE, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    shown.add_column("harm", no_wrap=True)
    for defence in Defence:
        shown.add_column(defence, justify="right")
    repeats: dict[tuple[Harm, Defence], list[LabelMetrics]] = {}
    for r in read_labels(records):
        repeats.setdefault((r.point.harm, r.point.defence), []).append(r.metrics)
    for harm in dict.fromkeys(harm for harm, _ in repeats):
        shown.add_row(harm, *(_cell(repeats.get((harm, d), [])) for d in Defence))
    return shown


_TITLE = "wrong and hidden labels: within-site AUC; whom scores leave out, in % of the folds"


def _cell(repeats: Sequence[LabelMetrics]) -> str:
    if not repeats:
        return ""
    lines = [f"{np.mean([m.auc_within for m in repeats]):.3f}"]
    for name in repeats[0].left_out:
        part = np.mean([m.left_out[name] / _FOLDS for m in repeats])
        if part > 0:
            lines.append(f"{name[:3]} {part:.0%}")
    return "\n".join(lines)
