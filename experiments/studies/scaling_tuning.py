"""Where the steps of ``studies.scaling`` come from: a search on networks of seeds 10^6 and up.

In every place (arrangement, number of hospitals, design, epsilon) every step of ``CANDIDATES`` is
tried on the same networks with the same noise; the one of the greatest mean within-site AUC is
kept, the smaller of two that tie. Each design is thus compared at its own best. The published
replicates have seeds below 10^6: nothing is chosen on what is reported.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from experiments.run.record import Record, stamp
from experiments.studies.scaling import plan_of, split, trained
from experiments.studies.scaling_steps import SETTING

__all__ = ["CANDIDATES", "NETWORKS", "best_steps", "scores", "search"]

CANDIDATES = (0.0625, 0.25, 1.0, 4.0, 16.0, 64.0)
DESIGNS = (("sealed", math.inf), ("local", 0.1), ("sealed", 0.1), ("local", 1.0), ("sealed", 1.0))
NETWORKS: Mapping[tuple[str, int], int] = {
    ("growing", 4): 24,
    ("growing", 40): 6,
    ("growing", 400): 2,
    ("divided", 4): 6,
    ("divided", 40): 6,
    ("divided", 400): 6,
    ("divided", 4000): 2,
}
"""How many networks are searched: fewer where one holds more patients or more shares of noise.

The largest is not searched (hours of training): it takes the steps of the searched place whose mean
gradient is as noisy (``scaling_steps.step_of``).
"""
FIRST_SEED = 1_000_000


def scores(arrangement: str, hospitals: int, seed: int) -> list[dict[str, Any]]:
    """Return the AUC of every design at every step on one network."""
    train, test, _ = split(arrangement, hospitals, seed)
    found = []
    for design, epsilon in DESIGNS:
        plan = plan_of(train, design, epsilon)
        for step in CANDIDATES:
            auc, _ = trained(
                replace(plan, learning_rate=step), train, test, seed=(seed, len(design))
            )
            found.append({"design": design, "epsilon": epsilon, "step": step, "auc": auc})
    return found


def search(
    places: Sequence[tuple[str, int]] = tuple(NETWORKS), *, jobs: int = -1
) -> Iterator[Record]:
    """Search some places; yield a record a place, which holds the mean of each step."""
    for arrangement, hospitals in places:
        seeds = range(FIRST_SEED, FIRST_SEED + NETWORKS[arrangement, hospitals])
        found = Parallel(jobs)(delayed(scores)(arrangement, hospitals, seed) for seed in seeds)
        config = {
            "experiment": "tuning scaling",
            "arrangement": arrangement,
            "hospitals": hospitals,
            "candidates": list(CANDIDATES),
            "setting": {k: v for k, v in asdict(SETTING).items() if k != "learning_rate"},
            "networks": len(seeds),
            "first_seed": FIRST_SEED,
            "code_version": 1,
        }
        rows = [_row([one[k] for one in found]) for k in range(len(found[0]))]
        yield Record(config, {"scores": rows}, stamp())


def _row(tried: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One step of one design: the mean over networks, and its standard error."""
    values = np.array([one["auc"] for one in tried])
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    epsilon = tried[0]["epsilon"]
    return {
        "design": tried[0]["design"],
        "epsilon": None if math.isinf(epsilon) else epsilon,
        "step": tried[0]["step"],
        "auc": float(values.mean()),
        "standard_error": error,
    }


def best_steps(records: Sequence[Record]) -> dict[tuple[str, int, str, float], float]:
    """The step of the greatest mean AUC in each place; the smaller of two that tie."""
    best: dict[tuple[str, int, str, float], tuple[float, float]] = {}
    for record in records:
        for row in record.metrics["scores"]:
            epsilon = math.inf if row["epsilon"] is None else row["epsilon"]
            config = record.config
            place = (config["arrangement"], config["hospitals"], row["design"], epsilon)
            best[place] = max(best.get(place, (-math.inf, 0.0)), (row["auc"], -row["step"]))
    return {place: -step for place, (_, step) in best.items()}
