r"""Membership of the public model in *one run*: no shadow model is trained.

LiRA trains shadows to learn what a stranger's loss looks like. Strangers say it here: people of
whom the adversary knows that they took no part. A regression of the model's log-odds of the outcome
on the strangers' records says what it would give each person as a stranger, and how widely that
spreads; who stands above is called a member (after the quantile regression of Bertran et al. 2023,
*Scalable Membership Inference Attacks via Quantile Regression*, Algorithm 1, with a normal fit).

With coins that say who takes part, the same scores audit the one run: the surest guesses, right and
wrong, bound epsilon from below (Steinke, Nasr, Jagielski 2023, Algorithm 1).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from attacks.inference.membership import confidences
from attacks.views import AnswersView, Observation, require
from privacy._validate import natural, positive
from privacy.auditing import epsilon_lower_bound
from privacy.errors import InvalidInputError

__all__ = ["OneRun"]

_LEAST_SPREAD = 1e-3


@dataclass(frozen=True)
class OneRun:
    """Score people by how far the model is surer of them than of strangers like them.

    Guarantees (each is a test in ``tests/attacks/inference/test_attributes.py``):
      - an overfitted model tells members from strangers;
      - at a small epsilon it tells nothing, and the audit's bound is not above the truth.

    Attributes:
      ridge: Penalty of the regression on standardised columns, in strangers.
    """

    name: ClassVar[str] = "one_run"
    needs: ClassVar[type[AnswersView]] = AnswersView

    ridge: float = 5.0

    def __post_init__(self) -> None:
        positive(ridge=self.ridge)

    def scores(
        self, observation: Observation, people: Patients, strangers: Patients
    ) -> Float[np.ndarray, "people"]:
        """Return how many deviations above a stranger like it each person stands.

        Args:
          observation: The released model, or its answers.
          people: Whom to judge; the adversary holds their records, not whether they took part.
          strangers: People who took no part.

        Raises:
          RefusedError: The adversary gets no answers of the model.
          InvalidInputError: No more strangers than columns.
        """
        view = require(observation, AnswersView, self.name)
        if len(strangers) <= people.features.shape[1]:
            raise InvalidInputError(
                f"Expected more strangers than columns ({people.features.shape[1]}), got "
                f"{len(strangers)}: the regression would fit anything."
            )
        design, other = _design(strangers), _design(people)
        seen = confidences(view, strangers)
        gram = design.T @ design + self.ridge * np.diag([0.0] + [1.0] * (design.shape[1] - 1))
        weights = np.linalg.solve(gram, design.T @ seen)
        spread = max(float(np.std(seen - design @ weights)), _LEAST_SPREAD)
        return (confidences(view, people) - other @ weights) / spread

    def audit(
        self,
        scores: Float[np.ndarray, "people"],
        members: Bool[np.ndarray, "people"],
        *,
        guesses: int,
        delta: float,
        confidence: float = 0.95,
    ) -> float:
        """Return a lower bound of the run's epsilon from the surest guesses.

        Half of the guesses are members, half strangers. ``members`` must be fair coins.

        Raises:
          InvalidInputError: More guesses than people.
        """
        natural(guesses=guesses, least=2)
        if guesses > len(scores):
            raise InvalidInputError(f"Expected guesses={guesses} <= people={len(scores)}.")
        order = np.argsort(scores, kind="stable")
        out, inside = order[: guesses // 2], order[-(guesses - guesses // 2) :]
        correct = int((~members[out]).sum() + members[inside].sum())
        return epsilon_lower_bound(
            guesses, correct, len(scores), delta=delta, confidence=confidence
        )


def _design(people: Patients) -> NDArray[np.float64]:
    """An intercept, the outcome, the columns, and the columns beside the outcome."""
    sign = 2.0 * people.outcomes[:, None] - 1
    return np.hstack([np.ones((len(people), 1)), sign, people.features, sign * people.features])
