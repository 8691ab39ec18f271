"""What an evaluation starts from: the scored test patients of one hospital, and an estimate.

All of this is computed from patients. Inside an experiment it is free; a figure that leaves a real
hospital is a release, paid for in its ledger or marked as unprotected.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from aggregation.data.patients import Patients
from attacks.scoring.rates import student_half_width
from privacy._validate import finite_array
from privacy.errors import InvalidInputError

__all__ = ["POOLED", "Estimate", "Scored", "Tested", "by_patient", "join", "pool"]

POOLED = "hospitals too small to rank alone"
"""Whose pairs are compared over all of them together."""


@dataclass(frozen=True)
class Estimate:
    """A value with an interval.

    Attributes:
      value: Point estimate.
      lower: Lower end of the interval.
      upper: Upper end.
      method: How the interval came about; empty where a record does not say.
      confidence: Its nominal coverage.
    """

    value: float
    lower: float
    upper: float
    method: str = ""
    confidence: float = 0.95

    @classmethod
    def over_runs(cls, values: Sequence[float]) -> "Estimate":
        """The mean of independent runs, by Student's t.

        Raises:
          InvalidInputError: Fewer than two runs.
        """
        mean, half = float(np.mean(values)), student_half_width(np.asarray(values))
        return cls(mean, mean - half, mean + half, "Student's t over runs")

    @property
    def half_width(self) -> float:
        """Half the width of the interval, in units of the value."""
        return (self.upper - self.lower) / 2


@dataclass(frozen=True)
class Scored:
    """Test patients of one hospital.

    Attributes:
      scores: Log-odds of the outcome as the model gave them, ``[patients]``.
      outcomes: 0 or 1, ``[patients]``.
      folds: Which model scored each patient, ``[patients]``. Discrimination compares patients
        scored by the same model only; one model: all 0.

    Raises:
      InvalidInputError: Lengths differ, a score is not finite, an outcome is not 0 or 1.
    """

    scores: Float[np.ndarray, "patients"]
    outcomes: Int[np.ndarray, "outcomes"]
    folds: Int[np.ndarray, "folds"] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if len(self.folds) == 0:
            object.__setattr__(self, "folds", np.zeros(len(self.scores), dtype=np.int64))
        if not len(self.scores) == len(self.outcomes) == len(self.folds):
            raise InvalidInputError(
                f"Expected as many scores as outcomes and folds, got {len(self.scores)}, "
                f"{len(self.outcomes)} and {len(self.folds)}."
            )
        finite_array(scores=self.scores)
        if not np.isin(self.outcomes, (0, 1)).all():
            raise InvalidInputError(f"Expected outcomes in {{0, 1}}, got {set(self.outcomes)}.")

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def positives(self) -> int:
        """Patients with the outcome."""
        return int(self.outcomes.sum())

    @property
    def negatives(self) -> int:
        """Patients without it."""
        return len(self) - self.positives

    @property
    def risks(self) -> Float[np.ndarray, "patients"]:
        """Predicted probability of the outcome."""
        return np.asarray(0.5 * (1 + np.tanh(0.5 * self.scores)))  # no overflow, unlike 1/(1+e^-s)

    def shifted(self, intercept: float) -> "Scored":
        """Return the same patients with the scores moved by an intercept."""
        return Scored(self.scores + intercept, self.outcomes, self.folds)


def join(*folds: Mapping[str, Scored]) -> dict[str, Scored]:
    """Put the folds of a cross-validation together, numbering the models that scored."""
    hospitals = list(dict.fromkeys(name for fold in folds for name in fold))
    joined = {}
    for name in hospitals:
        parts = [(k, fold[name]) for k, fold in enumerate(folds) if name in fold]
        joined[name] = Scored(
            np.concatenate([part.scores for _, part in parts]),
            np.concatenate([part.outcomes for _, part in parts]),
            np.concatenate([np.full(len(part), k, dtype=np.int64) for k, part in parts]),
        )
    return joined


@runtime_checkable
class Tested(Protocol):
    """What has tested patients: a fold, for one."""

    @property
    def test(self) -> Mapping[str, Patients]:
        """By hospital."""
        ...


def by_patient(folds: Sequence[Mapping[str, Scored]], split: Sequence[Tested]) -> dict[str, Scored]:
    """Put folds together, each hospital's patients in the order of their numbers.

    The bootstrap then draws the same patients in every cross-validation: averaging over many takes
    away the noise of the splits, and leaves that of the patients.

    Args:
      folds: One cross-validation's scores.
      split: Who was scored in each fold, in the scores' order.
    """
    sites = {}
    for name, site in join(*folds).items():
        ids = [one.test[name].ids for one in split if name in one.test]
        order = np.argsort(np.concatenate(ids))
        sites[name] = Scored(site.scores[order], site.outcomes[order], site.folds[order])
    return sites


def pool(sites: Mapping[str, Scored], small: Collection[str]) -> dict[str, Scored]:
    """Put small hospitals together as one, ``POOLED``, after all others.

    Their within-site AUC then compares patients of different hospitals, too: it rewards telling
    hospitals apart, and is said to be pooled wherever it is shown.

    Args:
      sites: Every hospital's scored patients.
      small: Names of the small ones; any that is not in ``sites`` is passed over.
    """
    alone = {name: site for name, site in sites.items() if name not in small}
    parts = [sites[name] for name in sorted(small) if name in sites]
    if not parts:
        return alone
    alone[POOLED] = Scored(
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.outcomes for part in parts]),
        np.concatenate([part.folds for part in parts]),
    )
    return alone
