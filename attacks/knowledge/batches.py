r"""How many patients of either outcome stand behind a gradient (A5), inferred and never given.

The last bias receives :math:`\sum_i (p_i - y_i)` (clipped where the plan clips). Public draws say
what one patient of either outcome gives there, on average and in spread; the sampling size says how
many patients to expect; and without noise the rank of the first layer's gradient counts them, as
each patient adds one outer product (Geiping et al. 2020 know the labels; Wainakh et al. 2022,
*User-Level Label Leakage*, and Vero et al. 2023 count them in this way).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aggregation.models import LinearInput
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from attacks.exact.closed_form import expected_patients, first_layer
from attacks.knowledge.priors import Prior
from attacks.knowledge.replay import integer_rows
from attacks.views import Gradient

__all__ = ["Batch", "infer_batches", "last_bias_moments", "rank_of_first_layer"]

_DRAWS = 256


@dataclass(frozen=True)
class Batch:
    """A guess of a batch's make-up.

    Attributes:
      well: Patients without the outcome.
      ill: Patients with it.
      probability: Posterior probability.
    """

    well: int
    ill: int
    probability: float

    @property
    def size(self) -> int:
        """Patients in all."""
        return self.well + self.ill

    @property
    def labels(self) -> NDArray[np.int64]:
        """Outcomes, those without first."""
        return np.repeat(np.array([0, 1], dtype=np.int64), [self.well, self.ill])


def infer_batches(
    plan: Plan, gradient: Gradient, prior: Prior, rng: np.random.Generator, *, most: int = 4
) -> tuple[Batch, ...]:
    """Return the likeliest make-ups, best first, their probabilities summing to at most 1.

    Guarantees (each is a test in ``tests/attacks/knowledge/test_batches.py``):
      - declared labels are taken as they are;
      - else the true counts are among the answers in most small batches without noise;
      - with noise that drowns everything, the answer is the expected size.
    """
    if gradient.labels is not None:
        ill = int(gradient.labels.sum())
        return (Batch(len(gradient.labels) - ill, ill, 1.0),)
    expected = expected_patients(plan, gradient)
    sampled = plan.draws_patients
    spread = 4 * np.sqrt(expected) if sampled else 0.0
    least = 1 if sampled else expected  # of what is left of a sample, few may be left
    sizes = np.arange(least, int(expected + spread) + 1)
    counts = np.arange(sizes[-1] + 1)
    pairs = np.stack(np.meshgrid(counts, counts), axis=-1).reshape(-1, 2)
    total = pairs.sum(axis=1)
    pairs = pairs[(total >= sizes[0]) & (total <= sizes[-1])]
    well, ill = pairs[:, 0], pairs[:, 1]
    score = _log_size(well + ill, expected if sampled else None)
    score += _log_rank(plan, gradient, well + ill)
    rate = prior.outcome_rate
    score += _log_choose(well + ill, ill) + ill * np.log(rate) + well * np.log1p(-rate)
    (m0, v0), (m1, v1) = last_bias_moments(plan, gradient, prior, rng)
    seen = float(gradient.integers[-1])
    variance = well * v0 + ill * v1 + (well + ill) / 12 + gradient.noise_std**2 + 1e-9
    score += -0.5 * ((seen - well * m0 - ill * m1) ** 2 / variance + np.log(variance))
    posterior = np.exp(score - score.max())
    posterior /= posterior.sum()
    best = np.argsort(-posterior, kind="stable")[:most]
    return tuple(Batch(int(well[i]), int(ill[i]), float(posterior[i])) for i in best)


def rank_of_first_layer(plan: Plan, gradient: Gradient) -> int:
    """Return how many directions of the first layer's gradient stand out of rounding and noise."""
    weights, biases = first_layer(plan, gradient.integers)
    matrix = np.column_stack([weights, biases])
    singular = np.linalg.svd(matrix, compute_uv=False)
    # A known error is a bound: errors themselves are of a third of it, or less.
    error_sd = (
        0.0 if gradient.error is None else float(first_layer(plan, gradient.error)[0].mean()) / 3
    )
    per_entry = np.sqrt(
        expected_patients(plan, gradient) / 12 + gradient.noise_std**2 + error_sd**2
    )
    return int((singular > 3 * per_entry * sum(np.sqrt(matrix.shape))).sum())


def _log_rank(plan: Plan, gradient: Gradient, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log-likelihood of the sizes given the rank; flat where the rank says nothing."""
    if not isinstance(plan.model, LinearInput):
        return np.zeros(len(sizes))
    rank = rank_of_first_layer(plan, gradient)
    full = min(plan.model.features + 1, len(first_layer(plan, gradient.params)[1]))
    if plan.noise != NoiseKind.NONE or plan.local_steps > 1:
        return np.zeros(len(sizes))
    if rank >= full:
        return np.where(sizes >= full, 0.0, -20.0)
    missed = sizes - rank  # patients alike in all, or lost in the rounding
    return np.where(missed < 0, -20.0, -2.5 * missed.astype(float))


def last_bias_moments(
    plan: Plan, gradient: Gradient, prior: Prior, rng: np.random.Generator
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Mean and variance of one patient's entry in the last bias, by outcome, in integer steps."""
    records = prior.draw(_DRAWS, rng)
    params = gradient.contributions[0].params
    moments = []
    for outcome in (0, 1):
        labels = np.full(_DRAWS, outcome, dtype=np.int64)
        last = integer_rows(plan, params, records, labels)[:, -1].astype(float)
        moments.append((float(last.mean()), float(last.var())))
    return moments[0], moments[1]


def _log_size(sizes: NDArray[np.int64], expected: int | None) -> NDArray[np.float64]:
    """Poisson log-mass of the sizes: a close upper image of the Poisson-binomial."""
    from scipy.special import gammaln

    if expected is None:
        return np.zeros(len(sizes))
    return np.asarray(sizes * np.log(expected) - gammaln(sizes + 1.0))


def _log_choose(n: NDArray[np.int64], k: NDArray[np.int64]) -> Float[np.ndarray, "pairs"]:
    from scipy.special import gammaln

    return np.asarray(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0))
