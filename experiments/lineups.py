"""Risk, measured so that the proven bound applies to the very rate that was measured.

A target who took part stands among ten people: itself and nine of the same hospital and outcome
that the fold left out. Folds are drawn at random within hospital and outcome, so whoever has not
seen the run does no better than one in ten, exactly; the attack names the one that is nearest to
anything it reconstructed. Thus the prior success is 1/10, and reconstruction robustness (Hayes,
Mahloujifar and Balle 2023, Theorem 2) bounds the rate of naming the target.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.federation import Outcome
from aggregation.patients import Schema
from attacks import ClosedForm, Prior, TabLeak, lineup, observe
from attacks.intervals import cluster_bootstrap
from attacks.views import GradientView, Name, require
from experiments.cohorts import Fold
from privacy.errors import InvalidInputError

__all__ = ["LINEUP", "LineUp", "Settings", "attack_round", "risk"]

LINEUP = 10
TARGETS = 8  # patients of a hospital that stand in a line-up, per fold


@dataclass(frozen=True)
class Settings:
    """Which attacks are tried, and how hard.

    Attributes:
      attacks: ``closed_form`` and ``tableak``.
      restarts: Restarts of TabLeak.
      iterations: Iterations of each.
    """

    attacks: tuple[str, ...]
    restarts: int = 30
    iterations: int = 1500

    def make(self, seed: int) -> tuple[ClosedForm | TabLeak, ...]:
        """Make the attacks anew; whatever they draw follows from the seed."""
        kinds = {"closed_form": ClosedForm(), "tableak": None}
        unknown = set(self.attacks) - set(kinds)
        if unknown:
            raise InvalidInputError(f"Unknown attacks {sorted(unknown)}; choose of {list(kinds)}.")
        return tuple(
            kinds[name] or TabLeak(self.restarts, self.iterations, seed=seed)
            for name in self.attacks
        )


@dataclass(frozen=True)
class LineUp:
    """One line-up of one attack.

    Attributes:
      attack: Its name.
      batch: Which batch the target was in: fold and hospital.
      named: Whether it named the target.
      exact: Whether a reconstructed record is the target in every feature.
    """

    attack: str
    batch: str
    named: bool
    exact: bool


def attack_round(
    settings: Settings,
    outcome: Outcome,
    split: Fold,
    schema: Schema,
    *,
    adversary: Name,
    seed: Sequence[int],
) -> tuple[LineUp, ...]:
    """Attack the first round of a run, and hold a line-up for each target.

    Args:
      settings: The attacks.
      outcome: The run: its transcript for the attack, who was drawn for the line-ups.
      split: The fold; its test patients stand beside the targets.
      schema: What the columns mean: all that the attacker knows beforehand.
      adversary: ``server_plain`` (each update by itself) or ``server_sealed`` (their sum).
      seed: Of the line-ups and of what the attacks draw.
    """
    view = require(observe(outcome.transcript, adversary), GradientView, "the frontier")
    first = view.only(round_=0)
    prior = Prior.from_schema(schema)
    rng = np.random.default_rng([*seed, 1])
    shown = []
    people = {name: _people(name, outcome, split, rng) for name in outcome.drawn}
    for attack in settings.make(seed=int(rng.integers(2**31))):
        whole = attack.reconstruct(first, prior) if adversary == "server_sealed" else None
        for name, groups in people.items():
            if not groups:
                continue
            found = whole or attack.reconstruct(first.only(hospital=name), prior)
            for candidates in groups:  # the target stands first; the attack does not know
                same = np.isclose(found.records, candidates[0], atol=1e-6).all(axis=1)
                named = lineup(found, candidates, rng) == 0
                batch = "/".join(map(str, (*seed, name)))
                shown.append(LineUp(attack.name, batch, named, bool(same.any())))
    return tuple(shown)


def _people(
    hospital: str, outcome: Outcome, split: Fold, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """For each target of a hospital's first batch: itself, and nine of its outcome left out.

    At most ``TARGETS``, drawn at random; a target with fewer than nine such people in its hospital
    (the well of a hospital where nearly all are ill) has no line-up.
    """
    batch, held_out = outcome.drawn[hospital][0][0], split.test[hospital]
    groups = []
    for row in rng.permutation(len(batch))[:TARGETS]:
        alike = np.flatnonzero(held_out.outcomes == batch.outcomes[row])
        if len(alike) >= LINEUP - 1:
            others = rng.choice(alike, LINEUP - 1, replace=False)
            groups.append(np.vstack([batch.features[row], held_out.features[others]]))
    return groups


def risk(lineups: Sequence[LineUp], attack: str) -> dict[str, Any]:
    """How often an attack named its target, with an interval over whole batches.

    Patients of a batch are found or missed together, so batches are drawn, not patients.
    """
    ours = [one for one in lineups if one.attack == attack]
    named = np.array([float(one.named) for one in ours])
    batches = np.unique([one.batch for one in ours], return_inverse=True)[1].astype(np.int64)
    lower, upper = cluster_bootstrap(named, batches, np.random.default_rng(0))
    return {
        "value": float(named.mean()),
        "lower": lower,
        "upper": upper,
        "targets": len(ours),
        "exact": float(np.mean([one.exact for one in ours])),
    }
