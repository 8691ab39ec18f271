r"""Attribute inference: a patient's sensitive feature, from the released model and what is known.

The adversary knows everything about a patient but one feature (the quasi-identifiers and the
outcome), and that the patient took part. Each value that the feature can have makes a whole person,
and the question is which of them the model was trained on (Yeom et al. 2018, *Privacy Risk in
Machine Learning*, Algorithm 4). Shadow models are trained on all these people, each with a value
drawn by what an imputer thinks; how sure the shadows are of each version of a person, given which
of them they were trained on, makes normal laws of one covariance, as LiRA's are of one person's
losses (``attacks.inference.membership``). The answer is the maximum of

.. math:: \log \Pr(\text{value} \mid \text{known}) + s\,\log p(\text{answers} \mid \text{value}),

with the imputer's probability. The laws are estimated from few shadows, so that their ratio is
noisy: s, between 0 and 1, is the one that answers best for models that were kept apart from them,
whose truth the adversary drew itself; of what tells nothing s is 0.

The imputer alone, given the quasi-identifiers, is the **baseline**: what a model says of everybody
is no breach of anybody.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from attacks.inference.membership import confidences, train_shadows
from attacks.knowledge.features import Feature
from attacks.knowledge.priors import Prior
from attacks.views import AnswersView, Observation, require
from privacy._validate import natural, positive
from privacy.errors import InvalidInputError

__all__ = ["AttributeInference", "impute"]

_APART = 4  # a quarter of the shadows says how far the others are to be believed
_SCALES = (0.0, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
_LEAST_SPREAD = 1e-3


@dataclass(frozen=True)
class AttributeInference:
    """Infer one categorical feature of people who took part.

    Guarantees (each is a test in ``tests/attacks/inference/test_attributes.py``):
      - an overfitted model gives more features away than the imputer knows;
      - at a small epsilon it gives away no more;
      - the feature's own columns are never read.

    Attributes:
      feature: Name of the sensitive feature.
      shadows: Models to train.
      seed: Draws their people's values, and their noise.
    """

    name: ClassVar[str] = "attributes"
    needs: ClassVar[type[AnswersView]] = AnswersView

    feature: str
    shadows: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        natural(shadows=self.shadows, least=16)

    def infer(
        self, observation: Observation, people: Patients, public: Patients, prior: Prior
    ) -> Int[np.ndarray, "people"]:
        """Return the inferred level of each person; 0 is the reference.

        Args:
          observation: The released model, or its answers.
          people: Their records; the sensitive feature's columns are overwritten.
          public: People who took no part, in full: the imputer learns from them.
          prior: Says what the columns are.

        Raises:
          RefusedError: The adversary gets no answers of the model, or the plan's training is none
            that shadows repeat.
          InvalidInputError: The feature is unknown or a number.
        """
        view = require(observation, AnswersView, self.name)
        feature = _sensitive(prior, self.feature)
        levels = len(feature.columns) + 1
        chances = impute(feature, people, public)
        versions = []
        for level in range(levels):
            rows = people.features.copy()
            feature.write(rows, np.full(len(rows), level, dtype=np.int64))
            versions.append(Patients(rows, people.outcomes))
        crowd = Patients.together(versions)
        rng = np.random.default_rng(self.seed)
        drawn = _drawn(chances, self.shadows, rng)
        taken = (drawn[:, None, :] == np.arange(levels)[:, None]).reshape(self.shadows, -1)
        signs = 2.0 * crowd.outcomes - 1
        answers = np.stack([
            view.as_told(view.plan.model.scores(m, crowd.features)) * signs
            for m in train_shadows(view.plan, crowd, taken, rng)
        ]).reshape(self.shadows, levels, len(people))  # fmt: skip
        seen = confidences(view, crowd).reshape(1, levels, len(people))
        kept = self.shadows - self.shadows // _APART
        log_chances = np.log(chances)
        ratios = _log_laws(answers[kept:], answers[:kept], drawn[:kept])
        truth = drawn[kept:]
        scale = max(_SCALES, key=lambda s: _right(log_chances + s * ratios, truth))
        log_posterior = log_chances + scale * _log_laws(seen, answers[:kept], drawn[:kept])[0]
        return np.asarray(log_posterior.argmax(axis=1), dtype=np.int64)


def _drawn(chances: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Levels by the imputer's chances, one row a shadow."""
    at = rng.random((count, len(chances), 1)) > np.cumsum(chances, axis=1)[:, :-1]
    return np.asarray(at.sum(axis=2))


def _log_laws(
    seen: NDArray[np.float64], answers: NDArray[np.float64], drawn: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Log-density of answers, given each level: ``[models, people, levels]``."""
    levels, people = answers.shape[1:]
    log_laws = np.zeros((len(seen), people, levels))
    for i in range(people):
        rows, level = answers[:, :, i], drawn[:, i]
        # A level that few shadows drew has the law of all, until it has shadows of its own.
        every = rows.mean(axis=0)
        means = np.stack([
            (rows[level == k].sum(axis=0) + every) / ((level == k).sum() + 1) for k in range(levels)
        ])  # fmt: skip
        rest = rows - means[level]
        spread = rest.T @ rest / len(rows) + _LEAST_SPREAD**2 * np.eye(levels)
        gaps = seen[:, None, :, i] - means
        log_laws[:, i] = -0.5 * (gaps * np.linalg.solve(spread, gaps[..., None])[..., 0]).sum(-1)
    return log_laws


def _right(log_posterior: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Mean log-probability of the truth."""
    logs = log_posterior - np.logaddexp.reduce(log_posterior, axis=-1, keepdims=True)
    return float(np.take_along_axis(logs, truth[..., None], axis=-1).mean())


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
    design, other = _known(feature, public), _known(feature, people)
    targets = np.eye(len(feature.columns) + 1)[codes]
    gram = design.T @ design + ridge * np.eye(design.shape[1])
    linear = other @ np.linalg.solve(gram, design.T @ targets)  # least-squares class probabilities
    clipped = np.clip(linear, 0.02, None)
    return np.asarray(clipped / clipped.sum(axis=1, keepdims=True))


def _known(feature: Feature, people: Patients) -> NDArray[np.float64]:
    others = np.delete(people.features, list(feature.columns), axis=1)
    return np.hstack([np.ones((len(people), 1)), people.outcomes[:, None], others])


def _sensitive(prior: Prior, name: str) -> Feature:
    matches = [f for f in prior.features if f.name == name and not f.numeric]
    if not matches:
        names = [f.name for f in prior.features if not f.numeric]
        raise InvalidInputError(f"Unknown categorical feature {name!r}; choose one of {names}.")
    return matches[0]
