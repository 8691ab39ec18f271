"""Published curves that need no table: reconstruction, one-run audits, imprint's isolation."""

from dataclasses import dataclass

import numpy as np
from dp_accounting import GaussianDpEvent, NeighboringRelation
from scipy.stats import norm

from aggregation.models import Model
from aggregation.patients import Patients, Schema
from aggregation.plan import Plan
from attacks.active import Imprint, imprint_model, isolation_rate
from attacks.calibration import records_right
from attacks.intervals import clopper_pearson
from attacks.pool import log_ratios
from attacks.priors import Prior
from attacks.replay import integer_rows
from attacks.views import Contribution, Gradient, GradientView, Knowledge
from privacy.accounting.gaussian import gaussian_mu
from privacy.auditing import epsilon_lower_bound
from privacy.reconstruction import success_bound

__all__ = ["Measured", "audit_median", "isolated", "reconstruction_success"]


@dataclass(frozen=True)
class Measured:
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


def reconstruction_success(mu: float, *, trials: int, seed: int) -> Measured:
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
    return Measured(hits / trials, *clopper_pearson(hits, trials), bound)


def audit_median(epsilon: float, canaries: int, published: float, *, runs: int = 25) -> Measured:
    """Median of the one-run lower bound on the Gaussian mechanism with orthogonal canaries.

    Steinke, Nasr and Jagielski (2023), Theorem 5.2, at delta 1e-5; the number of guesses is chosen
    among 25, each with a 25th of the error allowed. The interval is of the median, by its ranks.
    """
    mu = gaussian_mu(epsilon=epsilon, delta=1e-5)
    bounds = []
    for seed in range(runs):
        rng = np.random.default_rng([seed, canaries])
        coins = rng.random(canaries) < 0.5
        scores = rng.normal(size=canaries) + mu * (coins - 0.5)
        sure = np.argsort(-np.abs(scores))
        right = np.cumsum((scores[sure] > 0) == coins[sure])
        counts = np.unique(np.geomspace(20, canaries, 25).astype(int))
        bounds.append(
            max(
                epsilon_lower_bound(
                    int(r), int(right[r - 1]), canaries, delta=1e-5,
                    confidence=1 - 0.05 / len(counts),
                )
                for r in counts
            )
        )  # fmt: skip
    half = norm.ppf(0.975) * np.sqrt(runs) / 2
    ranked = np.sort(bounds)
    low, high = ranked[int(runs / 2 - half)], ranked[min(runs - 1, int(np.ceil(runs / 2 + half)))]
    return Measured(float(np.median(bounds)), float(low), float(high), published)


def isolated(people: Patients, schema: Schema, *, patients: int, bins: int, seed: int) -> Measured:
    """Share of a sum's patients whom imprint reads right, beside (1 - 1/K)^(n - 1).

    Not the certified: Adult's finest grid (fnlwgt) is below what integers of 2^-24 can prove.

    Fowl, Geiping, Czaja, Goldblum and Goldstein (2022), section 3.
    """
    batches = 6
    prior = Prior.from_table(schema, people)
    plan = Plan(
        run="imprint",
        model=Model("mlp", len(schema), bins),
        hospitals=("one",),
        declared_sizes=(patients,),
        rounds=1,
        learning_rate=1.0,
        noise="none",
        scheme="plain",
        clip_norm=None,
        radius=2**24,
    )
    found = 0
    for k in range(batches):
        rng = np.random.default_rng([seed, k])
        batch = people.take(rng.choice(len(people), patients, replace=False))
        params = imprint_model(plan.model, prior, rng)
        total = integer_rows(plan, params, batch.features, batch.outcomes).sum(axis=0)
        gradient = Gradient(0, (Contribution("one", params),), total, 0.0)
        view = GradientView(plan, "active", Knowledge(), (gradient,))
        answer = Imprint().reconstruct(view, prior)
        read = answer.confidence > 0
        found += int((records_right(answer, batch.features, prior) & read).sum())
    share = found / (batches * patients)
    low, high = clopper_pearson(found, batches * patients)
    return Measured(share, low, high, isolation_rate(patients, bins))
