"""Published curves that need no table: reconstruction, one-run audits, imprint's isolation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from dp_accounting import GaussianDpEvent, NeighboringRelation
from jaxtyping import Float

from aggregation.data.patients import Patients, Schema
from aggregation.models import Perceptron
from aggregation.plan import Plan
from attacks.exact.closed_form import first_layer
from attacks.informed.candidates import log_ratios
from attacks.knowledge.confidence import records_right
from attacks.knowledge.priors import Prior
from attacks.malicious.active import Imprint, imprint_model
from attacks.scoring.rates import clopper_pearson, cluster_bootstrap
from attacks.views import GradientView, Knowledge
from experiments.replicate.undefended import undefended_plan, undefended_update
from privacy.accounting.gaussian import gaussian_mu
from privacy.auditing import epsilon_lower_bound, gaussian_lower_bound, split_lower_bound
from privacy.reconstruction import success_bound

__all__ = ["BOUNDS", "MeasuredBound", "audit_median", "isolated", "reconstruction_success"]


@dataclass(frozen=True)
class MeasuredBound:
    """A number of ours.

    Attributes:
      value: The estimate.
      lower: Lower end of the 95 % interval.
      upper: Upper end.
      expected: What theory or the paper says.
    """

    value: float
    lower: float
    upper: float
    expected: float


def reconstruction_success(mu: float, *, trials: int, seed: int) -> MeasuredBound:
    """Success of the informed attack on ten orthogonal patients, beside the proven bound at 1/10.

    Hayes, Mahloujifar and Balle (2023), Figure 2: the prior-aware attack comes near the bound of
    Theorem 2 at kappa = 1/10. In ten orthogonal directions the best possible is a little below.
    """
    people = 10
    rng = np.random.default_rng(seed)
    radius = 1024
    rows = radius * np.eye(people, dtype=np.int64)
    targets = rng.integers(people, size=trials)
    noise = np.rint(rng.normal(0, radius / mu, (trials, people))).astype(np.int64)
    logs = log_ratios(
        rows[targets] + noise,
        np.broadcast_to(rows, (trials, people, people)),
        std=radius / mu,
        prob=1.0,
    )
    hits = int((logs.argmax(axis=1) == targets).sum())
    bound = success_bound(
        GaussianDpEvent(1 / mu),
        prior_success=1 / people,
        relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    )
    return MeasuredBound(hits / trials, *clopper_pearson(hits, trials), bound)


BOUNDS: Mapping[str, Callable[..., float]] = {
    "one-run": epsilon_lower_bound,
    "f-DP": gaussian_lower_bound,
}
"""Steinke, Nasr and Jagielski (2023), Theorem 5.2; Mahloujifar, Melis and Chaudhuri (2024)."""


def audit_median(
    epsilon: float, canaries: int, bound: str, published: float, *, runs: int = 25
) -> MeasuredBound:
    """Median lower bound on the Gaussian mechanism with orthogonal canaries, at delta 1e-5.

    As the published medians of five were made: the threshold chosen on one half of the canaries,
    the bound taken on the other. The interval holds 95 % of our own medians of five.

    Args:
      epsilon: The truth.
      canaries: In all; half of them are in.
      bound: One of ``BOUNDS``.
      published: The paper's median.
      runs: Ours, that medians of five are drawn from.
    """
    mu = gaussian_mu(epsilon=epsilon, delta=1e-5)
    members = np.arange(canaries) % 2 == 0
    bounds = []
    for seed in range(runs):
        rng = np.random.default_rng([seed, canaries])
        scores = rng.normal(size=canaries) + mu * members
        bounds.append(
            split_lower_bound(
                scores, members, bound=BOUNDS[bound], delta=1e-5, confidence=0.95, rng=rng
            )
        )
    picks = np.random.default_rng(0).integers(runs, size=(2000, 5))
    low, high = np.quantile(np.median(np.array(bounds)[picks], axis=1), [0.025, 0.975])
    return MeasuredBound(float(np.median(bounds)), float(low), float(high), published)


def isolated(
    people: Patients, schema: Schema, *, patients: int, bins: int, seed: int, batches: int = 40
) -> MeasuredBound:
    """Share of a sum's patients whom imprint reads right, beside the share alone in their bins.

    Fowl, Geiping, Czaja, Goldblum and Goldstein (2022), section 3, have (1 - 1/K)^(n - 1) for K
    equally likely bins. Ours are not: of bins with shares p_k of the table, one holds a patient
    alone with probability sum p_k (1 - p_k)^(n - 1), which is what we expect. Every batch has a
    direction, and so bins, of its own: the interval is over batches.

    Not the certified: Adult's finest grid (fnlwgt) is below what integers of 2^-24 can prove.
    """
    prior = Prior.from_table(schema, people)
    plan = undefended_plan("imprint", Perceptron(len(schema), bins), patients)
    shares, expected = [], []
    for k in range(batches):
        rng = np.random.default_rng([seed, k])
        batch = people.take(rng.choice(len(people), patients, replace=False))
        params = imprint_model(plan.model, prior, rng)
        update = undefended_update(plan, params, batch)
        view = GradientView(plan, "active", Knowledge(), (update,))
        answer = Imprint().reconstruct(view, prior)
        read = answer.confidence > 0
        shares.append((records_right(answer, batch.features, prior) & read).sum() / patients)
        expected.append(_alone(plan, params, people, patients))
    low, high = cluster_bootstrap(np.array(shares), np.arange(batches), np.random.default_rng(seed))
    return MeasuredBound(float(np.mean(shares)), low, high, float(np.mean(expected)))


def _alone(plan: Plan, params: Float[np.ndarray, "dim"], people: Patients, patients: int) -> float:
    """Probability that one of so many people is alone between two thresholds, above the lowest."""
    weights, biases = first_layer(plan, params)
    bins = np.searchsorted(np.sort(-biases), people.features @ weights[0])
    mass = np.bincount(bins, minlength=len(biases) + 1)[1:] / len(people)
    return float((mass * (1 - mass) ** (patients - 1)).sum())
