"""Hospitals with wrong or hidden labels on the four real hospitals: what helps, and what does not.

Full-batch training of clipped sums, five folds; labels are spoilt in training only. Defences are
those that a sealed sum allows (``aggregation.rules.bounded_influence``). Contribution scores are
noised losses, paid for with an epsilon of their own beside the training's; training itself is not
noised, so that what is seen is the labels' harm.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dp_accounting import GaussianDpEvent
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.table import Table

from aggregation.engines.clear import follow
from aggregation.rules import BoundedInfluence, Call
from aggregation.rules.agnostic import loss_release
from aggregation.rules.bounded_influence import kept
from aggregation.timing import Rounds
from experiments.cohorts import Fold, folds, load
from experiments.evaluation import Scored, auc, join
from experiments.run.record import Record, completed
from experiments.studies.design import DELTA, RELATION
from privacy.calibration import noise_multiplier
from privacy.errors import InvalidInputError
from privacy.mechanisms import clip

__all__ = ["DEFENCES", "HARMS", "SEEDS", "Point", "grid", "measure", "run", "table"]

HARMS: Mapping[str, Mapping[str, float]] = {
    "none": {},
    "25 % wrong at one": {"cleveland": 0.25},
    "25 % hidden at one": {"cleveland": 0.25},  # ill patients recorded as well
    "40 % wrong at two": {"cleveland": 0.4, "hungary": 0.4},
    "all reversed at one": {"cleveland": 1.0},
}
DEFENCES = ("no bound", "norm bound", "bounded influence", "scores, eps .1", "scores, eps .5")
SEEDS = 5
_LOOSE, _TIGHT = 100.0, 1.0  # clip norms
_BOUND = 4.0  # nats: where a patient's loss is cut
_MARGIN = 0.3  # nats above the median
_ROUNDS = 120
_FOLDS = 5

Vector = NDArray[np.float64]
Site = tuple[Vector, NDArray[np.int64]]  # design and labels of one hospital


@dataclass(frozen=True)
class Point:
    """One harm and one defence.

    Attributes:
      harm: One of ``HARMS``.
      defence: One of ``DEFENCES``.
      seed: Of folds, spoilt labels and noise.
      exponent: Of bounded influence.
      code_version: Raised when a change moves the numbers.
    """

    harm: str
    defence: str
    seed: int = 0
    exponent: float = 0.7
    code_version: int = 1

    def __post_init__(self) -> None:
        if self.harm not in HARMS or self.defence not in DEFENCES:
            raise InvalidInputError(
                f"Expected a harm of {tuple(HARMS)} and a defence of {DEFENCES}, got {self.harm!r} "
                f"and {self.defence!r}."
            )

    @property
    def config(self) -> dict[str, Any]:
        """What names the point's record."""
        return {"experiment": "poor labels", **dataclasses.asdict(self)}

    @property
    def score_epsilon(self) -> float | None:
        """What the contribution scores cost each patient, if there are any."""
        return float(self.defence.rpartition(" ")[2]) if "eps" in self.defence else None


def grid(seed: int = 0, *, seeds: int = SEEDS) -> list[Point]:
    """Every defence against every harm, once a seed."""
    every = range(seed, seed + seeds)
    return [Point(harm, defence, s) for harm in HARMS for defence in DEFENCES for s in every]


def run(out: Path, points: Sequence[Point], *, data_dir: Path | None = None) -> list[Record]:
    """Compute the points that have no record in ``out`` yet; return all of them, in order."""
    return completed(out, points, lambda point: measure(point, data_dir))


def measure(point: Point, data_dir: Path | None = None) -> dict[str, Any]:
    """Return within-site AUC on clean labels, and in how many folds each hospital was left out."""
    scored, left_out = [], dict.fromkeys(load("heart", data_dir).hospitals, 0)
    for number, fold in enumerate(folds(load("heart", data_dir), count=_FOLDS, seed=point.seed)):
        rng = np.random.default_rng([57, point.seed, number])
        sites = _spoilt(point, fold, rng)
        clip_norm = _LOOSE if point.defence == "no bound" else _TIGHT
        exponent = point.exponent if point.defence == "bounded influence" else 0.0
        w = _train(sites, clip_norm=clip_norm, exponent=exponent)
        if point.score_epsilon is not None:
            stays = kept(_scores(sites, w, point.score_epsilon, rng), margin=_MARGIN)
            for name, stay in zip(sites, stays, strict=True):
                left_out[name] += int(not stay)
            chosen = {n: s for (n, s), stay in zip(sites.items(), stays, strict=True) if stay}
            w = _train(chosen, clip_norm=clip_norm, exponent=exponent)
        scored.append(
            {n: Scored(_design(p.features) @ w, p.outcomes) for n, p in fold.test.items()}
        )
    return {
        "auc_within": auc(join(*scored)),
        "left_out": left_out,
        "score_epsilon": point.score_epsilon,
    }


def _spoilt(point: Point, fold: Fold, rng: np.random.Generator) -> dict[str, Site]:
    sites = {}
    for name, p in fold.train.items():
        hit = rng.random(len(p)) < HARMS[point.harm].get(name, 0.0)
        spoilt = np.zeros_like(p.outcomes) if "hidden" in point.harm else 1 - p.outcomes
        sites[name] = (_design(p.features), np.where(hit, spoilt, p.outcomes))
    return sites


def _train(sites: Mapping[str, Site], *, clip_norm: float, exponent: float) -> Vector:
    rule = BoundedInfluence(exponent)

    def update(call: Call) -> Vector:
        rows, outcomes = sites[call.hospital]
        residuals = 0.5 * (1 + np.tanh(0.5 * rows @ call.params)) - outcomes
        weighed = rule.rows(call.hospital, residuals[:, None] * rows, rows, outcomes)
        return np.asarray(clip(weighed, clip_norm=clip_norm).values.sum(axis=0))

    first = np.zeros(next(iter(sites.values()))[0].shape[1])
    scale = -1 / sum(len(outcomes) for _, outcomes in sites.values())
    rounds = Rounds(tuple(sites), _ROUNDS)
    return np.asarray(follow(rule, rounds, first, update=update, scale=scale).models[-1])


def _scores(
    sites: Mapping[str, Site], w: Vector, target_epsilon: float, rng: np.random.Generator
) -> Vector:
    """Each hospital's noised mean loss: one Gaussian release of each patient's cut loss."""
    multiplier = noise_multiplier(
        GaussianDpEvent, target_epsilon=target_epsilon, delta=DELTA, relation=RELATION
    )
    means = []
    for rows, outcomes in sites.values():
        logits = rows @ w
        total = loss_release(np.logaddexp(0, logits) - outcomes * logits, bound=_BOUND)
        means.append((total + rng.normal(scale=multiplier * _BOUND)) / len(outcomes))
    return np.array(means)


def _design(features: Vector) -> Vector:
    return np.column_stack([features, np.ones(len(features))])


def table(records: Sequence[Record]) -> Table:
    """Within-site AUC, harms down and defences across; below, the share of folds left out."""
    shown = Table(title=_TITLE, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    shown.add_column("harm", no_wrap=True)
    for defence in DEFENCES:
        shown.add_column(defence, justify="right")
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for r in records:
        found.setdefault((r.config["harm"], r.config["defence"]), []).append(r.metrics)
    for harm in dict.fromkeys(r.config["harm"] for r in records):
        shown.add_row(harm, *(_cell(found.get((harm, d), [])) for d in DEFENCES))
    return shown


_TITLE = "wrong and hidden labels: within-site AUC; whom scores leave out, in % of the folds"


def _cell(repeats: Sequence[Mapping[str, Any]]) -> str:
    if not repeats:
        return ""
    lines = [f"{np.mean([m['auc_within'] for m in repeats]):.3f}"]
    for name in repeats[0]["left_out"]:
        part = np.mean([m["left_out"][name] / _FOLDS for m in repeats])
        if part > 0:
            lines.append(f"{name[:3]} {part:.0%}")
    return "\n".join(lines)
