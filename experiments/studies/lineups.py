"""Risk, measured so that the proven bound applies to the very rate that was measured.

A target who took part stands among ten people: itself and nine of the same hospital and outcome
that the fold left out. Folds are drawn at random within hospital and outcome, so whoever has not
seen the run does no better than one in ten, exactly; the attack names the one that is nearest to
anything it reconstructed. Thus the prior success is 1/10, and reconstruction robustness (Hayes,
Mahloujifar and Balle 2023, Theorem 2) bounds the rate of naming the target.

``informed`` stands for the strongest adversary of all, who knows all patients but the target, sees
every round, and colludes (``studies.informed``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.federation import Outcome
from aggregation.patients import Patients, Schema
from attacks import Prior, lineup, observe
from attacks.intervals import success_rate
from attacks.selection import worst_attack
from attacks.suite import Attack, make_attack
from attacks.views import GradientView, Name, require
from experiments.cohorts import Fold
from experiments.studies.informed import Group, name_targets
from privacy.errors import InvalidInputError

__all__ = [
    "LINEUP",
    "AttackSuite",
    "LineUp",
    "attack_round",
    "people_beside",
    "risk",
    "traits_of",
    "worst_risk",
]

INFORMED = "informed"
LINEUP = 10
_RARE = 0.05  # of a hospital's patients
TARGETS = 8  # patients of a hospital that stand in a line-up, per fold


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
class LineUp:
    """One line-up of one attack.

    Attributes:
      attack: Its name.
      batch: Which batch the target was in, that is, what was attacked as a whole: fold and
        hospital; the fold alone where only sums are seen.
      named: Whether it named the target.
      exact: Whether a reconstructed record is the target in every feature.
      traits: What may put the target at more risk than others (``traits_of``).
    """

    attack: str
    batch: str
    named: bool
    exact: bool
    traits: tuple[str, ...] = ()


def attack_round(
    settings: AttackSuite,
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
    people = {
        name: people_beside(name, drawn[0][0], split, rng) for name, drawn in outcome.drawn.items()
    }

    def batch(hospital: str) -> str:
        return "/".join(map(str, seed if adversary == "server_sealed" else (*seed, hospital)))

    for attack in settings.make(seed=int(rng.integers(2**31))):
        whole = attack.reconstruct(first, prior) if adversary == "server_sealed" else None
        for name, groups in people.items():
            if not groups:
                continue
            found = whole or attack.reconstruct(first.only(hospital=name), prior)
            for group in groups:  # the target stands first; the attack does not know
                same = np.isclose(found.records, group.people[0], atol=1e-6).all(axis=1)
                named = lineup(found, group.people, rng) == 0
                shown.append(
                    LineUp(attack.name, batch(name), named, bool(same.any()), group.traits)
                )
    everybody = [group for groups in people.values() for group in groups]
    if INFORMED in settings.attacks and everybody:
        for group, place in zip(
            everybody, name_targets(view, outcome, everybody, rng), strict=True
        ):
            same = np.isclose(group.people[place], group.people[0], atol=1e-6).all()
            shown.append(
                LineUp(INFORMED, batch(group.hospital), bool(place == 0), bool(same), group.traits)
            )
    return tuple(shown)


def people_beside(
    hospital: str, batch: Patients, split: Fold, rng: np.random.Generator
) -> list[Group]:
    """For each target of a hospital's first batch: itself, and nine of its outcome left out.

    At most ``TARGETS``, drawn at random; a target with fewer than nine such people in its hospital
    (the well of a hospital where nearly all are ill) has no line-up.
    """
    held_out = _held_out(hospital, split)
    traits = traits_of(batch.features, hospital, split)
    groups = []
    for row in rng.permutation(len(batch))[:TARGETS]:
        alike = np.flatnonzero(held_out.outcomes == batch.outcomes[row])
        if len(alike) >= LINEUP - 1:
            others = rng.choice(alike, LINEUP - 1, replace=False)
            people = np.vstack([batch.features[row], held_out.features[others]])
            label = int(batch.outcomes[row])
            groups.append(Group(hospital, int(row), people, label, traits[row]))
    return groups


def _held_out(hospital: str, split: Fold) -> Patients:
    """Test patients of the hospital, or of all that are pooled with it; none where it only trains.

    Nobody of a hospital that is not tested is left to stand beside its targets.
    """
    names = split.pooled if hospital in split.pooled else (hospital,)
    parts = [split.test[name] for name in names if name in split.test]
    if not parts:
        return split.train[hospital].take(np.zeros(len(split.train[hospital]), dtype=np.bool_))
    if len(parts) == 1:
        return parts[0]
    return Patients(
        np.concatenate([p.features for p in parts]), np.concatenate([p.outcomes for p in parts])
    )


def traits_of(features: NDArray[np.float64], hospital: str, split: Fold) -> list[tuple[str, ...]]:
    """Say of each patient what may put it at more risk than others.

    - ``rare``: has a binary feature of a value that fewer than 5 % of the hospital's patients have;
    - ``outlying``: farther from the hospital's mean than 80 % of its patients, columns in units of
      their standard deviation;
    - ``small hospital``: treated where the fewest are.
    """
    own = split.train[hospital].features
    centre, spread = own.mean(axis=0), np.maximum(own.std(axis=0), 1e-9)
    limit = np.quantile((((own - centre) / spread) ** 2).sum(axis=1), 0.8)
    far = (((features - centre) / spread) ** 2).sum(axis=1) > limit
    binary = np.isin(own, (0.0, 1.0)).all(axis=0)
    share = np.where(features == 1.0, centre, 1 - centre)
    rare = ((share < _RARE) & binary).any(axis=1)
    small = len(own) == min(len(p) for p in split.train.values())
    return [
        tuple(
            name for name, held in (("rare", r), ("outlying", f), ("small hospital", small)) if held
        )
        for r, f in zip(rare, far, strict=True)
    ]


def risk(lineups: Sequence[LineUp], attack: str) -> dict[str, Any]:
    """How often an attack named its target, over all line-ups, with an interval.

    Patients of a batch are found or missed together, so batches are drawn, not patients.
    """
    named, exact, batches = _of(lineups, attack)
    rate = success_rate(named, batches, np.random.default_rng([0, 1]))
    return {
        "value": rate.value,
        "lower": rate.lower,
        "upper": rate.upper,
        "targets": rate.units,
        "batches": rate.clusters,
        "exact": float(exact.mean()),
    }


def worst_risk(lineups: Sequence[LineUp], *, seed: int = 0) -> dict[str, Any]:
    """The attack that named most targets in half of the batches, and how it did in the other half.

    So the figure is not flattered by the choice among attacks (``attacks.selection``). The keys are
    those of ``risk``, and ``attack``, ``tried``, ``chosen_on`` (batches of the choosing half).

    Args:
      lineups: Of all attacks; each attack held the same line-ups in the same order.
      seed: Draws the halves.

    Raises:
      InvalidInputError: No line-up; several attacks, and fewer than three batches.
    """
    found = {name: _of(lineups, name) for name in dict.fromkeys(one.attack for one in lineups)}
    if not found:
        raise InvalidInputError("No line-up was held: no hospital had nine people beside a target.")
    batches = next(iter(found.values()))[2]
    worst = worst_attack({name: named for name, (named, _, _) in found.items()}, batches, seed=seed)
    exact = found[worst.attack][1]
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
    lineups: Sequence[LineUp], attack: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    """Whether an attack named each target, whether exactly, and the number of the batch."""
    ours = [one for one in lineups if one.attack == attack]
    names = sorted({one.batch for one in lineups})
    number = {name: i for i, name in enumerate(names)}
    return (
        np.array([one.named for one in ours], dtype=np.bool_),
        np.array([one.exact for one in ours], dtype=np.bool_),
        np.array([number[one.batch] for one in ours], dtype=np.int64),
    )
