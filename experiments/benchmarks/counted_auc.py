"""How near the AUC of an evaluation round comes to that of the very patients, in simulated runs.

Hospitals of a stroke trial's shape (``sealed_run.stroke_like``) count held-out patients by score
bin and outcome, with the noise of a plan that spends a part of a budget of 1. Each run draws its
own patients and its own noise: that of all hospitals at once, of the law that each adds, so that
the sum is the one that a federation opens.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from aggregation.data.patients import Column, Patients, Schema
from aggregation.evaluation import (
    Evaluated,
    HeldOut,
    binned,
    evaluation_plan,
    opened_counts,
    part,
    score_edges,
)
from aggregation.models import Counts, Logistic
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.update import noised_update
from attacks.scoring.rates import clopper_pearson
from experiments.benchmarks.sealed_run import stroke_like
from experiments.evaluation import Scored, auc
from privacy._validate import natural
from privacy.errors import InvalidInputError
from privacy.mechanisms import Seeded

__all__ = [
    "CASES",
    "MODEL",
    "PARAMS",
    "SCHEMA",
    "Case",
    "CountedAuc",
    "measure",
    "open_counts",
    "plan_of",
    "told",
]

_FEATURES, _BINS = 22, 8
MODEL = Logistic(_FEATURES)
PARAMS = np.array([1.7, *[0.1, -0.1] * 10, 0.1, 0.05])  # near what such patients' risks are
SCHEMA = Schema(
    tuple(Column(f"x{i}", high=6.0, low=-6.0, binary=False) for i in range(_FEATURES)), "stroke"
)
_NEAR = 0.01


@dataclass(frozen=True)
class Case:
    """What is simulated: how many hospitals, which part is held out, at which epsilon.

    Attributes:
      hospitals: Of the trial's shape.
      held_out: Fraction of patients that is counted.
      epsilon: Of the evaluation alone.
    """

    hospitals: int
    held_out: float
    epsilon: float


CASES = (Case(464, 1.0, 0.1), Case(464, 0.5, 0.1), Case(464, 0.5, 0.2), Case(6, 1.0, 0.1))


@dataclass(frozen=True)
class CountedAuc:
    """What was found in one case.

    Attributes:
      case: Of what.
      patients: Counted, in the mean of the runs.
      noise_std: Of a cell, in patients.
      runs: Simulated.
      near: In how many the AUC is within .01 of that of the counted patients.
      lower: Lower end of a 95 % interval of the share of such runs (Clopper and Pearson).
      upper: Upper end.
      drowned: In how many noise drowns the AUC: none is told.
      width: Of the round's own 95 % interval, in the mean.
    """

    case: Case
    patients: float
    noise_std: float
    runs: int
    near: int
    lower: float
    upper: float
    drowned: int
    width: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


def measure(
    cases: tuple[Case, ...] | None = None,
    *,
    runs: int = 200,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Simulate every case; return plain JSON.

    Args:
      cases: What to simulate; None: ``CASES``.
      runs: Of each, at least 1.
      seed: Of patients and noise.
      progress: Told what is being done.

    Raises:
      InvalidInputError: No run, or no case.
    """
    natural(runs=runs, least=1)
    cases = CASES if cases is None else cases
    if not cases:
        raise InvalidInputError("Give at least one case to simulate.")
    rows = []
    for number, case in enumerate(cases):
        progress(f"{case.hospitals} hospitals, {case.held_out:.0%} at {case.epsilon:g}")
        rows.append(_simulated(case, runs, (seed, number)).to_json())
    return {"rows": rows, "near": _NEAR, "bins": _BINS, "seed": seed}


def _simulated(case: Case, runs: int, seed: tuple[int, int]) -> CountedAuc:
    edges = score_edges(MODEL, PARAMS, SCHEMA, _BINS)
    patients, near, drowned, width, std = 0, 0, 0, 0.0, 0.0
    # Nobody is sampled, so the noise follows the number of hospitals and not their sizes.
    plan = plan_of(_held_out(case, seed, 0), case.epsilon)
    for run in range(runs):
        held = _held_out(case, seed, run)
        scores = {name: MODEL.scores(PARAMS, people.features) for name, people in held.items()}
        truth = auc({
            "all": Scored(
                np.concatenate([*scores.values()]),
                np.concatenate([people.outcomes for people in held.values()]),
            )
        })  # fmt: skip
        opened = open_counts(plan, held, scores, edges, Seeded((*seed, run)))
        estimate = Evaluated(plan, opened).figures["AUC"]
        patients += sum(map(len, held.values()))
        std = opened.noise_std
        drowned += estimate.value is None
        near += estimate.value is not None and abs(estimate.value - truth) <= _NEAR
        width += estimate.upper - estimate.lower
    lower, upper = clopper_pearson(near, runs)
    return CountedAuc(case, patients / runs, std, runs, near, lower, upper, drowned, width / runs)


def _held_out(case: Case, seed: tuple[int, int], run: int) -> dict[str, Patients]:
    drawn = stroke_like(case.hospitals, seed=(seed[0] * 1000 + seed[1]) * 100_000 + run)
    if case.held_out == 1:
        return drawn
    return {
        name: part(people, case.held_out, run=str(run), hospital=name)[1]
        for name, people in drawn.items()
    }


def told(bench: Mapping[str, Any]) -> str:
    """Return what the guide says of a record, in its words; shares are rounded down.

    Args:
      bench: What ``measure`` returned for ``CASES``.
    """
    whole, half, dear, few = bench["rows"]

    def percent(row: Mapping[str, Any], name: str = "near") -> int:
        return int(100 * row[name] / row["runs"])  # down

    return (
        f"At epsilon {whole['case']['epsilon']:g} and delta 1e-5 a cell's noise has a standard "
        f"deviation of {math.ceil(whole['noise_std'])} patients. On {whole['case']['hospitals']} "
        f"simulated hospitals of a stroke trial's shape, all of whose "
        f"{1000 * (whole['patients'] // 1000):,.0f} patients are counted, the AUC is within "
        f"{bench['near']:g} of theirs in {percent(whole)} % of {whole['runs']} runs (95 % interval "
        f"{math.floor(100 * whole['lower'])} to {math.ceil(100 * whole['upper'])} %). With half of "
        f"them counted it is in {percent(half)} %, and at epsilon {dear['case']['epsilon']:g} in "
        f"{percent(dear)} %. Of {few['case']['hospitals']} hospitals with "
        f"{10 * (few['patients'] // 10):.0f} patients in all, epsilon {few['case']['epsilon']:g} "
        f"tells no AUC in {percent(few, 'drowned')} % of runs, and the round says so."
    )


def plan_of(held: dict[str, Patients], epsilon: float) -> Plan:
    """Return an evaluation's plan at an epsilon, of hospitals with these held-out patients."""
    sizes = tuple(max(1, len(people)) for people in held.values())
    trained = Plan(
        run="counted", model=MODEL, hospitals=tuple(held), declared_sizes=sizes, rounds=1,
        learning_rate=1.0, noise=NoiseKind.SHARED, scheme="shares", clip_norm=1.0, radius=2**10,
        noise_multiplier=8.0, colluders=1,
    )  # fmt: skip
    return evaluation_plan(trained, sizes, epsilon=epsilon, bins=_BINS)


def open_counts(
    plan: Plan,
    held: dict[str, Patients],
    scores: dict[str, np.ndarray],
    edges: np.ndarray,
    source: Seeded,
) -> HeldOut:
    """Return what a federation of this evaluation's plan opens.

    Args:
      plan: Of the evaluation.
      held: Held-out patients, by hospital.
      scores: Their log-odds, by hospital.
      edges: Between the bins.
      source: Of the noise.
    """
    counts = plan.model
    if not isinstance(counts, Counts):
        raise InvalidInputError(f"The plan of {plan.run!r} counts nothing.")
    first = plan.hospitals[0]
    cells = [binned(held[name], scores[name], edges, counts, name) for name in held]
    bare = replace(
        plan, noise=NoiseKind.NONE, noise_multiplier=0.0, colluders=0, scheme="plain",
        hospitals=(first,), declared_sizes=(1,),
    )  # fmt: skip
    total = noised_update(bare, first, (Patients.together(cells),), np.zeros(plan.dim), source)
    noise = source.discrete_gaussian(plan.share_std, len(held) * plan.dim)
    return opened_counts(plan, total + noise.reshape(len(held), plan.dim).sum(axis=0), edges)
