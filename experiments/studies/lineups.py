"""Risk, measured so that the proven bound applies to the very rate that was measured.

A target who took part stands among ten people (``studies.people``); the attack names the one that
is nearest to anything it reconstructed. The prior success is 1/10, and reconstruction robustness
(Hayes, Mahloujifar and Balle 2023, Theorem 2) bounds the rate of naming the target.

``informed`` stands for the strongest adversary of all, who knows all patients but the target, sees
every round, and colludes (``studies.likelihoods``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aggregation.data.patients import Schema
from aggregation.federation import Outcome
from attacks import Prior, lineup, observe
from attacks.scoring.rates import success_rate
from attacks.scoring.selection import worst_attack
from attacks.suite import Attack, make_attack
from attacks.views import GradientView, Name, require
from experiments.cohorts import Fold
from experiments.studies import likelihoods
from experiments.studies.people import LineUp, people_beside
from privacy.errors import InvalidInputError

__all__ = [
    "INFORMED",
    "AttackSuite",
    "Trial",
    "attack_round",
    "informed_trials",
    "risk",
    "worst_risk",
]

INFORMED = "informed"


@dataclass(frozen=True)
class AttackSuite:
    """Which attacks are tried, and how hard.

    Attributes:
      attacks: Of ``attacks.suite.ATTACKS``; and ``informed``.
      restarts: Restarts of those that search.
      iterations: Iterations of each.
    """

    attacks: tuple[str, ...]
    restarts: int = 30
    iterations: int = 1500

    def make(self, seed: int) -> tuple[Attack, ...]:
        """Make those that reconstruct records anew; whatever they draw follows from the seed."""
        return tuple(
            make_attack(name, restarts=self.restarts, iterations=self.iterations, seed=seed)
            for name in self.attacks
            if name != INFORMED
        )


@dataclass(frozen=True)
class Trial:
    """One line-up before one attack.

    Attributes:
      attack: Its name.
      batch: Which batch the target was in, that is, what was attacked as a whole: fold and
        hospital; the fold alone where only sums are seen.
      named: Whether it named the target.
      exact: Whether a reconstructed record is the target in every feature.
      traits: What may put the target at more risk than others.
    """

    attack: str
    batch: str
    named: bool
    exact: bool
    traits: tuple[str, ...] = ()


def attack_round(
    suite: AttackSuite,
    outcome: Outcome,
    split: Fold,
    schema: Schema,
    *,
    adversary: Name,
    seed: Sequence[int],
) -> tuple[Trial, ...]:
    """Attack the first round of a run, and hold a line-up for each target.

    Args:
      suite: The attacks.
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
    trials = []
    people = {
        name: people_beside(name, drawn[0][0], split, rng) for name, drawn in outcome.drawn.items()
    }
    sums = adversary == "server_sealed"

    def batch(hospital: str) -> str:
        return "/".join(map(str, seed if sums else (*seed, hospital)))

    for attack in suite.make(seed=int(rng.integers(2**31))):
        of_sums = attack.reconstruct(first, prior) if sums else None
        for name, lineups in people.items():
            if not lineups:
                continue
            records = of_sums or attack.reconstruct(first.only(hospital=name), prior)
            for one in lineups:  # the target stands first; the attack does not know
                same = np.isclose(records.records, one.people[0], atol=1e-6).all(axis=1)
                named = lineup(records, one.people, rng) == 0
                trials.append(Trial(attack.name, batch(name), named, bool(same.any()), one.traits))
    everybody = [one for lineups in people.values() for one in lineups]
    if INFORMED in suite.attacks and everybody:
        logs = likelihoods.of_rounds(view, outcome, everybody)
        trials += informed_trials(everybody, logs, batch, rng)
    return tuple(trials)


def informed_trials(
    lineups: Sequence[LineUp],
    logs: Float[np.ndarray, "lineups people"],
    batch: Callable[[str], str],
    rng: np.random.Generator,
) -> list[Trial]:
    """Let the informed adversary name the likeliest of each line-up.

    Args:
      lineups: Its line-ups.
      logs: The likelihood of everybody (``studies.likelihoods``).
      batch: The batch of a hospital's targets.
      rng: Breaks ties.
    """
    trials = []
    for one, place in zip(lineups, likelihoods.name_targets(logs, rng), strict=True):
        same = np.isclose(one.people[place], one.people[0], atol=1e-6).all()
        trials.append(
            Trial(INFORMED, batch(one.hospital), bool(place == 0), bool(same), one.traits)
        )
    return trials


def risk(trials: Sequence[Trial], attack: str) -> dict[str, Any]:
    """How often an attack named its target, over all line-ups, with an interval.

    Patients of a batch are found or missed together, so batches are drawn, not patients.
    """
    named, exact, batches = _of(trials, attack)
    rate = success_rate(named, batches, np.random.default_rng([0, 1]))
    return {
        "value": rate.value,
        "lower": rate.lower,
        "upper": rate.upper,
        "targets": rate.units,
        "batches": rate.clusters,
        "exact": float(exact.mean()),
    }


def worst_risk(trials: Sequence[Trial], *, seed: int = 0) -> dict[str, Any]:
    """The attack that named most targets in half of the batches, and how it did in the other half.

    So the figure is not flattered by the choice among attacks (``attacks.scoring.selection``). The
    keys are those of ``risk``, and ``attack``, ``tried``, ``chosen_on`` (batches of the choosing
    half).

    Args:
      trials: Of all attacks; each attack held the same line-ups in the same order.
      seed: Draws the halves.

    Raises:
      InvalidInputError: No line-up; several attacks, and fewer than three batches.
    """
    tried = {name: _of(trials, name) for name in dict.fromkeys(one.attack for one in trials)}
    if not tried:
        raise InvalidInputError("No line-up was held: no hospital had nine people beside a target.")
    batches = next(iter(tried.values()))[2]
    worst = worst_attack({name: named for name, (named, _, _) in tried.items()}, batches, seed=seed)
    exact = tried[worst.attack][1]
    return {
        "attack": worst.attack,
        "tried": list(worst.tried),
        "chosen_on": worst.chosen_on,
        "value": worst.rate.value,
        "lower": worst.rate.lower,
        "upper": worst.rate.upper,
        "targets": worst.rate.units,
        "batches": worst.rate.clusters,
        "exact": float(exact[worst.reported].mean()),
    }


def _of(
    trials: Sequence[Trial], attack: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    """Whether an attack named each target, whether exactly, and the number of the batch."""
    tried = [one for one in trials if one.attack == attack]
    names = sorted({one.batch for one in trials})
    number = {name: i for i, name in enumerate(names)}
    return (
        np.array([one.named for one in tried], dtype=np.bool_),
        np.array([one.exact for one in tried], dtype=np.bool_),
        np.array([number[one.batch] for one in tried], dtype=np.int64),
    )
