"""Risk, measured so that the proven bound applies to the very rate that was measured.

A target who took part stands among ten people (``studies.people``); the attack names the likeliest
of them, or the one that is nearest to anything it reconstructed. The prior success is 1/10, and
reconstruction robustness (Hayes, Mahloujifar and Balle 2023, Theorem 2) bounds the rate.

``likelihood_ratio`` stands for who knows nobody's patients, only their public law, and reads all
full-batch rounds of its view (of sampled ones the first).

``informed`` stands for the strongest adversary of all, who knows all patients but the target, sees
every round, and colludes (``studies.likelihoods``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aggregation.data.patients import Schema
from aggregation.federation import Outcome
from attacks import Prior, lineup, observe
from attacks.reconstructed import Reconstruction, join
from attacks.scoring.rates import success_rate
from attacks.scoring.selection import worst_attack
from attacks.suite import Attack, make_attack
from attacks.views import GradientView, Name, require
from experiments.studies import likelihoods
from experiments.studies.people import LineUp
from privacy.errors import InvalidInputError

__all__ = [
    "INFORMED",
    "LIKELIHOOD",
    "AttackSuite",
    "Trial",
    "attack_round",
    "risk",
    "trials_of",
    "worst_risk",
]

INFORMED = "informed"
LIKELIHOOD = "likelihood_ratio"
_BY_LIKELIHOOD = (INFORMED, LIKELIHOOD)
_ALIKE = 1e-6  # in public deviations: what separates a record that is read from one that is near


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
            if name not in _BY_LIKELIHOOD
        )


@dataclass(frozen=True)
class Trial:
    """One line-up before one attack.

    Attributes:
      attack: Its name.
      batch: The fold whose run was attacked: successes within one hang together.
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
    lineups: Sequence[LineUp],
    schema: Schema,
    *,
    adversary: Name,
    seed: Sequence[int],
) -> tuple[Trial, ...]:
    """Attack a run, and let every attack name somebody of each line-up.

    Attacks that reconstruct read the first round, in which the targets surely took part, or each of
    the first pass, in one of which they did; those that compare likelihoods read what they can use
    of all.

    Args:
      suite: The attacks.
      outcome: The run: its transcript for the attack, who was drawn for the informed adversary.
      lineups: Disjoint; their targets were in the first batches of their hospitals, or in any of
        the first pass.
      schema: What the columns mean: all that the attacker knows beforehand.
      adversary: ``server_plain`` (each update by itself) or ``server_sealed`` (their sum).
      seed: Of the fold's run, and of what the attacks draw.
    """
    if not lineups:
        return ()
    view = require(
        observe(outcome.transcript, adversary), GradientView, "the frontier", together=True
    )
    plan = view.plan
    firsts = [view.only(round_=round_) for round_ in range(plan.pass_rounds or 1)]
    prior = Prior.from_schema(schema)
    rng = np.random.default_rng([*seed, 1])
    batch = "/".join(map(str, seed))
    sums = adversary == "server_sealed"
    trials = []
    for attack in suite.make(seed=int(rng.integers(2**31))):
        of_sums = _of_each(attack, firsts, prior) if sums else None
        for name in dict.fromkeys(one.hospital for one in lineups):
            views = [first.only(hospital=name) for first in firsts]
            records = of_sums or _of_each(attack, views, prior)
            for one in lineups:
                if one.hospital == name:
                    target = one.people[one.target]
                    same = np.isclose(records.records, target, rtol=0, atol=_ALIKE).all(axis=1)
                    named = lineup(records, one.people, rng) == one.target
                    exact = bool(same.any())
                    trials.append(Trial(attack.name, batch, named, exact, one.traits))
    if LIKELIHOOD in suite.attacks:
        logs = likelihoods.of_public(view, prior, lineups)
        trials += trials_of(LIKELIHOOD, lineups, logs, batch, rng)
    if INFORMED in suite.attacks:
        walks = plan.local_steps > 1
        informed = likelihoods.of_walks if walks else likelihoods.of_rounds
        logs = informed(view, outcome, lineups)
        trials += trials_of(INFORMED, lineups, logs, batch, rng)
    return tuple(trials)


def _of_each(attack: Attack, views: Sequence[GradientView], prior: Prior) -> Reconstruction:
    """What it reads off each of some rounds; where nothing was sent, nothing can be read."""
    sent = [view for view in views if any(g.integers.any() for g in view.gradients)]
    return join(*(attack.reconstruct(view, prior) for view in sent or views[:1]))


def trials_of(
    attack: str,
    lineups: Sequence[LineUp],
    logs: Float[np.ndarray, "lineups people"],
    batch: str,
    rng: np.random.Generator,
) -> list[Trial]:
    """Let an attack name the likeliest of each line-up.

    Args:
      attack: Its name.
      lineups: Its line-ups.
      logs: The likelihood of everybody (``studies.likelihoods``).
      batch: The fold that they are of.
      rng: Breaks ties.
    """
    trials = []
    for one, place in zip(lineups, likelihoods.name_targets(logs, rng), strict=True):
        gaps = np.abs(one.people[place] - one.people[one.target])
        named, same = bool(place == one.target), bool((gaps <= _ALIKE).all())
        trials.append(Trial(attack, batch, named, same, one.traits))
    return trials


def risk(trials: Sequence[Trial], attack: str) -> dict[str, Any]:
    """How often an attack named its target, over all line-ups, with an interval.

    Patients of a fold are found or missed together, so folds are drawn, not patients.
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
        raise InvalidInputError(
            "No line-up was held: every stratum of hospital and outcome is too small for one, so "
            "that no risk is measurable. Use fewer folds, or larger hospitals."
        )
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
