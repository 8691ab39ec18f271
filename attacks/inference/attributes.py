r"""Attribute inference: a patient's sensitive feature, from the public model and what is known.

The adversary knows everything about a patient but one feature (the quasi-identifiers and the
outcome), and that the patient took part. Each value that the feature can have makes a whole person;
membership says which of them the model was trained on (Yeom et al. 2018, *Privacy Risk in Machine
Learning*, Algorithm 4). The answer is the maximum of

.. math:: \log \Pr(\text{value} \mid \text{known}) + \log\frac{p(\text{model} \mid \text{member})}
          {p(\text{model} \mid \text{stranger})},

an imputer's probability and LiRA's ratio (``attacks.inference.membership``). The imputer alone,
given the quasi-identifiers, is the **baseline**: what a model says of everybody is no breach of
anybody.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from attacks.inference.membership import Lira
from attacks.knowledge.features import Feature
from attacks.knowledge.priors import Prior
from attacks.views import Observation, PublicView, require
from privacy._validate import positive
from privacy.errors import InvalidInputError

__all__ = ["AttributeInference", "impute"]


@dataclass(frozen=True)
class AttributeInference:
    """Infer one categorical feature of people who took part.

    Guarantees (each is a test in ``tests/attacks/inference/test_attributes.py``):
      - an overfitted model gives more features away than the imputer knows;
      - at a small epsilon it gives away no more;
      - the feature's own columns are never read.

    Attributes:
      feature: Name of the sensitive feature.
      membership: What tells members from strangers.
    """

    name: ClassVar[str] = "attributes"
    needs: ClassVar[type[PublicView]] = PublicView

    feature: str
    membership: Lira = field(default_factory=lambda: Lira(shadows=32))

    def infer(
        self, observation: Observation, people: Patients, public: Patients, prior: Prior
    ) -> Int[np.ndarray, "people"]:
        """Return the inferred level of each person; 0 is the reference.

        Args:
          observation: The public view.
          people: Their records; the sensitive feature's columns are overwritten.
          public: People who took no part, in full: the imputer learns from them.
          prior: Says what the columns are.

        Raises:
          RefusedError: Not a public view, or a plan whose training shadows do not repeat.
          InvalidInputError: The feature is unknown or a number.
        """
        require(observation, PublicView, self.name)
        feature = _sensitive(prior, self.feature)
        levels = len(feature.columns) + 1
        log_prior = np.log(impute(feature, people, public))
        versions = []
        for level in range(levels):
            rows = people.features.copy()
            feature.write(rows, np.full(len(rows), level, dtype=np.int64))
            versions.append(Patients(rows, people.outcomes))
        # One crowd: each version is a candidate of its own, in half of the shadows.
        crowd = Patients.together(versions)
        ratio = self.membership.scores(observation, crowd).reshape(levels, len(people)).T
        return np.asarray((log_prior + ratio).argmax(axis=1), dtype=np.int64)


def impute(
    feature: Feature, people: Patients, public: Patients, *, ridge: float = 5.0
) -> Float[np.ndarray, "people levels"]:
    """Return each level's probability given all other columns and the outcome, from the public.

    Linear scores with unit covariance over the other columns (a naive discriminant), never 0.

    Raises:
      InvalidInputError: No public patient.
    """
    positive(ridge=ridge)
    if len(public) == 0:
        raise InvalidInputError("An imputer learns from public patients; give at least one.")
    codes = feature.codes(public.features)
    known, other = _known(feature, public), _known(feature, people)
    targets = np.eye(len(feature.columns) + 1)[codes]
    gram = known.T @ known + ridge * np.eye(known.shape[1])
    linear = other @ np.linalg.solve(gram, known.T @ targets)  # least-squares class probabilities
    clipped = np.clip(linear, 0.02, None)
    return np.asarray(clipped / clipped.sum(axis=1, keepdims=True))


def _known(feature: Feature, people: Patients) -> NDArray[np.float64]:
    others = np.delete(people.features, list(feature.columns), axis=1)
    return np.hstack([np.ones((len(people), 1)), people.outcomes[:, None], others])


def _sensitive(prior: Prior, name: str) -> Feature:
    found = [f for f in prior.features if f.name == name and not f.numeric]
    if not found:
        names = [f.name for f in prior.features if not f.numeric]
        raise InvalidInputError(f"Unknown categorical feature {name!r}; choose one of {names}.")
    return found[0]
