r"""Property inference: which share of a hospital's patients are women, or smokers, from its sum.

Shadow hospitals are put together from public patients, each with a share of its own of those who
have the property; their sums at the very model, with the noise of the plan, teach a regression
to read the share off a sum (Ateniese et al. 2015; Ganju et al. 2018, *Property Inference Attacks on
Fully Connected Neural Networks*, section 3, whose shadow models these shadow sums replace: a sum of
gradients needs no training). Noise for patients makes the estimate wider; it does not protect a
statement about all of them, and the stated error says how much it tells.

A sum shows men who are well *less* men who are ill. It is as good as the public patients are: where
illness has another relation to the property than theirs, the stated error is too small.

Cost: one gradient a public patient and model; a second.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from attacks.knowledge.features import Feature
from attacks.knowledge.replay import integer_rows
from attacks.views import Gradient, GradientView, require
from privacy._validate import natural
from privacy.errors import InvalidInputError, RefusedError
from privacy.unit import Unit

__all__ = ["Share", "property_share"]

_DIRECTIONS = 32


@dataclass(frozen=True)
class Share:
    """The share of a hospital's patients who have a property, as inferred.

    Attributes:
      hospital: Whose.
      estimate: In [0, 1].
      std: Its standard error over shadow hospitals that the regression has not seen.
    """

    hospital: str
    estimate: float
    std: float


def property_share(
    view: GradientView,
    feature: Feature,
    level: int,
    public: Patients,
    rng: np.random.Generator,
    *,
    shadows: int = 400,
) -> tuple[Share, ...]:
    """Infer each hospital's share of patients with one level of a categorical feature.

    Guarantees (each is a test in ``tests/attacks/inference/test_property.py``):
      - full batches without noise give the share away, better than the public patients' share;
      - noise widens the stated error, and drowned the answer is one half: the shadows' mean.

    Args:
      view: Sums of single hospitals.
      feature: The property's feature.
      level: Its level; 0 is the reference.
      public: Patients that shadow hospitals are made of; both with and without the property.
      rng: Draws the shadow hospitals.
      shadows: How many a sum.

    Raises:
      RefusedError: Several local steps, whole updates clipped, or no sum of a single hospital.
      InvalidInputError: A number for a feature, or public patients all alike in it.
    """
    plan = require(view, GradientView, "property").plan
    natural(shadows=shadows, least=50)
    if plan.local_steps > 1 or plan.unit != Unit.PATIENT:
        raise RefusedError("Properties are read from one-step sums; this plan walks several steps.")
    has = feature.codes(public.features) == level if not feature.numeric else np.zeros(0, np.bool_)
    if feature.numeric or not has.any() or has.all():
        raise InvalidInputError(
            f"Expected public patients with and without level {level} of a categorical feature; "
            f"{feature.name!r} does not tell them apart."
        )
    readings: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for g in view.gradients:
        if len(g.hospitals) == 1:
            readings[g.hospitals[0]].append(_read(view, g, has, public, rng, shadows))
    if not readings:
        raise RefusedError(
            "The view holds no sum of a single hospital: what belongs to whom is hidden."
        )
    shares = []
    for hospital, answers in readings.items():
        estimates, stds = np.array(answers).T
        weights = stds**-2 / (stds**-2).sum()
        shares.append(Share(hospital, float(np.clip(weights @ estimates, 0, 1)), float(stds.min())))
    return tuple(shares)


def _read(
    view: GradientView,
    gradient: Gradient,
    has: NDArray[np.bool_],
    public: Patients,
    rng: np.random.Generator,
    shadows: int,
) -> tuple[float, float]:
    """Estimate and standard error of one sum's share."""
    plan = view.plan
    size = max(1, round(plan.batch_sizes[plan.hospitals.index(gradient.hospitals[0])]))
    rows = integer_rows(plan, gradient.params, public.features, public.outcomes).astype(np.float64)
    # Directions in which patients differ: the rest of a sum is noise.
    basis = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:_DIRECTIONS]
    rows, seen = rows @ basis.T, basis @ gradient.integers
    truth = rng.uniform(0.05, 0.95, shadows)
    sums = np.empty((shadows, len(basis)))
    for i, share in enumerate(truth):
        chance = np.where(has, share / has.sum(), (1 - share) / (~has).sum())
        sums[i] = rows[rng.choice(len(rows), size, p=chance)].sum(axis=0)
    sums += rng.normal(0.0, max(gradient.noise_std, 1.0), sums.shape)
    centre, scale = sums.mean(axis=0), sums.std(axis=0)
    design, observed = (sums - centre) / scale, (seen - centre) / scale
    half = shadows // 2
    gram = design[:half].T @ design[:half] + len(basis) * np.eye(len(basis))
    weights = np.linalg.solve(gram, design[:half].T @ (truth[:half] - 0.5))
    error = 0.5 + design[half:] @ weights - truth[half:]
    return float(0.5 + observed @ weights), float(np.sqrt(np.mean(error**2)))
