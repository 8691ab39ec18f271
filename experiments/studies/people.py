"""Who stands in a line-up: a target who took part, and nine who did not.

The nine are of the same hospital and outcome, and were left out: of the fold, or of the network's
draw that was trained on. They are drawn at random, so whoever has not seen the run does no better
than one in ten, exactly.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from aggregation.engines.fleet import HospitalBlock
from experiments.cohorts import Fold

__all__ = ["LINEUP", "LineUp", "in_network", "people_beside", "traits_of"]

LINEUP = 10
TARGETS = 8  # patients of a hospital that stand in a line-up, per fold
_RARE = 0.05  # of a hospital's patients


@dataclass(frozen=True)
class LineUp:
    """Ten people, one of whom took part.

    Attributes:
      hospital: Where all ten were treated.
      target: The target's place among the patients of the hospital's first batch.
      people: ``[people, features]``, standardised, the target first.
      outcome: That of all ten.
      traits: What may put the target at more risk than others (``traits_of``), for scoring alone.
    """

    hospital: str
    target: int
    people: Float[np.ndarray, "people features"]
    outcome: int
    traits: tuple[str, ...] = ()


def people_beside(
    hospital: str, batch: Patients, split: Fold, rng: np.random.Generator
) -> list[LineUp]:
    """For each target of a hospital's first batch: itself, and nine of its outcome left out.

    At most ``TARGETS``, drawn at random; a target with fewer than nine such people in its hospital
    (the well of a hospital where nearly all are ill) has no line-up.
    """
    held_out = _held_out(hospital, split)
    traits = traits_of(batch.features, hospital, split)
    lineups = []
    for row in rng.permutation(len(batch))[:TARGETS]:
        alike = np.flatnonzero(held_out.outcomes == batch.outcomes[row])
        if len(alike) >= LINEUP - 1:
            others = rng.choice(alike, LINEUP - 1, replace=False)
            people = np.vstack([batch.features[row], held_out.features[others]])
            label = int(batch.outcomes[row])
            lineups.append(LineUp(hospital, int(row), people, label, traits[row]))
    return lineups


def in_network(
    train: HospitalBlock,
    later: HospitalBlock,
    *,
    count: int,
    colluders: int,
    alike: bool,
    rng: np.random.Generator,
) -> list[LineUp]:
    """Draw targets among all patients; one beside whom no nine can stand has no line-up.

    Hospitals are named by their numbers, five digits each.

    Args:
      train: Who took part.
      later: The next draw of the same hospitals, who did not.
      count: Targets that are looked at.
      colluders: Hospitals, the last ones, without targets.
      alike: Whether all hospitals draw from one population, so that anybody may stand there.
      rng: Draws targets and the nine.
    """
    home = np.repeat(np.arange(len(train.offsets) - 1), np.diff(train.offsets))
    candidates = np.flatnonzero(home < len(train.offsets) - 1 - colluders)
    rows = rng.choice(candidates, size=min(count, len(candidates)), replace=False)
    lineups = []
    for row in rows:
        low, high = (0, len(later.outcomes)) if alike else later.offsets[home[row] :][:2]
        fitting = low + np.flatnonzero(later.outcomes[low:high] == train.outcomes[row])
        if len(fitting) >= LINEUP - 1:
            others = rng.choice(fitting, LINEUP - 1, replace=False)
            people = np.vstack([train.features[row], later.features[others]])
            place, label = int(row - train.offsets[home[row]]), int(train.outcomes[row])
            lineups.append(LineUp(f"{home[row]:05d}", place, people, label))
    return lineups


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
    everybody = split.train[hospital].features
    centre, spread = everybody.mean(axis=0), np.maximum(everybody.std(axis=0), 1e-9)
    limit = np.quantile((((everybody - centre) / spread) ** 2).sum(axis=1), 0.8)
    far = (((features - centre) / spread) ** 2).sum(axis=1) > limit
    binary = np.isin(everybody, (0.0, 1.0)).all(axis=0)
    share = np.where(features == 1.0, centre, 1 - centre)
    rare = ((share < _RARE) & binary).any(axis=1)
    small = len(everybody) == min(len(p) for p in split.train.values())
    return [
        tuple(
            name for name, held in (("rare", r), ("outlying", f), ("small hospital", small)) if held
        )
        for r, f in zip(rare, far, strict=True)
    ]
