r"""Confidences that mean what they say: fitted to public simulations of the very attack.

An attack knows the plan and a prior. So it can simulate batches of public patients, attack them,
and see how often a record of a given confidence was right in all features. The raw confidence is
then mapped to that share, by isotonic regression (pool adjacent violators, Ayer et al. 1955): more
confident never means less often right. Shares are rounded against the attack (k of n becomes
k / (n + 1)), so that few simulations make it modest.

Certificates are proofs and stay at 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from aggregation.plan import Plan
from attacks.knowledge.features import errors
from attacks.knowledge.priors import Prior
from attacks.knowledge.replay import integer_rows
from attacks.reconstructed import Reconstruction
from attacks.scoring.rates import clopper_pearson
from attacks.suite import Attack
from attacks.views import Gradient, GradientView, Knowledge, SumPart
from privacy._validate import natural
from privacy.errors import InvalidInputError

__all__ = ["Bin", "ConfidenceCurve", "records_right", "reliability", "simulate"]


@dataclass(frozen=True)
class ConfidenceCurve:
    """A rising step function from raw confidence to the share of records that were right.

    Guarantees (each is a test in ``tests/attacks/knowledge/test_confidence.py``):
      - it never falls, and lies within [0, 1);
      - false alarms are controlled: of records it calls likely, at least that share is right;
      - under noise that drowns everything it calls nothing likely;
      - certified records keep confidence 1.

    Attributes:
      edges: Raw confidence from which each share holds, rising, the first 0.
      shares: The share.
    """

    edges: Float[np.ndarray, "steps"]
    shares: Float[np.ndarray, "steps"]

    @classmethod
    def fit(
        cls, confidence: Float[np.ndarray, "records"], right: Bool[np.ndarray, "records"]
    ) -> "ConfidenceCurve":
        """Fit to records whose truth is known: simulated ones.

        Raises:
          InvalidInputError: No record, or not one truth a record.
        """
        if len(confidence) == 0 or confidence.shape != right.shape:
            raise InvalidInputError(
                f"Expected as many truths as records, and some: got {len(right)} for "
                f"{len(confidence)}."
            )
        levels, places = np.unique(confidence, return_inverse=True)
        blocks: list[list[float]] = []  # first level, right, records
        for level, k, n in zip(
            levels, np.bincount(places, weights=right), np.bincount(places), strict=True
        ):
            blocks.append([float(level), float(k), float(n)])
            while len(blocks) > 1 and _share(blocks[-2]) >= _share(blocks[-1]):
                _, k_last, n_last = blocks.pop()
                blocks[-1][1] += k_last
                blocks[-1][2] += n_last
        edges = np.array([b[0] for b in blocks])
        edges[0] = 0.0
        return cls(edges, np.maximum.accumulate([b[1] / (b[2] + 1) for b in blocks]))

    def __call__(self, confidence: Float[np.ndarray, "records"]) -> Float[np.ndarray, "records"]:
        """Return calibrated confidences."""
        place = np.searchsorted(self.edges, confidence, side="right") - 1
        return np.asarray(self.shares[place])

    def apply(self, reconstruction: Reconstruction) -> Reconstruction:
        """Return the same records with calibrated confidences."""
        return replace(
            reconstruction,
            confidence=np.where(reconstruction.certified, 1.0, self(reconstruction.confidence)),
        )


def _share(block: Sequence[float]) -> float:
    return block[1] / block[2]


def records_right(
    reconstruction: Reconstruction, truth: Float[np.ndarray, "patients features"], prior: Prior
) -> Bool[np.ndarray, "records"]:
    """Say which records are right in all features, each patient being given to one record.

    Needs the truth: for simulations, and for judging, alone.
    """
    right = np.zeros(len(reconstruction), dtype=np.bool_)
    if len(reconstruction):
        cost = errors(reconstruction.records, truth, prior.features).sum(-1)
        rows, patients = linear_sum_assignment(cost)
        right[rows] = cost[rows, patients] == 0
    return right


def simulate(
    attack: Attack, plan: Plan, prior: Prior, rng: np.random.Generator, *, batches: int
) -> ConfidenceCurve:
    """Attack batches of public patients under the plan, and fit the calibration to the outcome.

    Patients are drawn from the prior, as many as the first hospital's expected batch, and sent
    as that hospital would send them at a fresh model; noise is the plan's law for one update.

    Raises:
      InvalidInputError: No batch asked for.
      RefusedError: What the attack refuses.
    """
    natural(batches=batches, least=1)
    size = max(1, round(plan.batch_sizes[0]))
    confidence: list[NDArray[np.float64]] = []
    right: list[NDArray[np.bool_]] = []
    for _ in range(batches):
        truth = prior.draw(size, rng)
        labels = (rng.random(size) < prior.outcome_rate).astype(np.int64)
        params = plan.model.initial(rng)
        total = integer_rows(plan, params, truth, labels).sum(axis=0)
        total = total + np.rint(rng.normal(0.0, 1.0, len(total)) * plan.share_std).astype(np.int64)
        part = (SumPart(plan.hospitals[0], params),)
        view = GradientView(
            plan, "server_plain", Knowledge(), (Gradient(0, part, total, plan.share_std),)
        )
        reconstruction = attack.reconstruct(view, prior)
        open_ = ~reconstruction.certified
        confidence.append(reconstruction.confidence[open_])
        right.append(records_right(reconstruction, truth, prior)[open_])
    pooled = np.concatenate(confidence)
    if len(pooled) == 0:  # everything was proved: nothing else was ever said
        return ConfidenceCurve(np.zeros(1), np.zeros(1))
    return ConfidenceCurve.fit(pooled, np.concatenate(right))


@dataclass(frozen=True)
class Bin:
    """Records of like confidence.

    Attributes:
      said: Their mean confidence.
      right: Share of them that was right in all features.
      lower: Lower end of its 95 % interval (Clopper and Pearson).
      upper: Upper end.
      records: How many.
    """

    said: float
    right: float
    lower: float
    upper: float
    records: int


def reliability(
    confidence: Float[np.ndarray, "records"], right: Bool[np.ndarray, "records"], *, bins: int = 10
) -> tuple[Bin, ...]:
    """Return what was said against what was so, in bins of equal width; empty bins are left out."""
    natural(bins=bins, least=1)
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    filled_bins = []
    for place in np.unique(places):
        chosen = places == place
        k, n = int(right[chosen].sum()), int(chosen.sum())
        filled_bins.append(Bin(float(confidence[chosen].mean()), k / n, *clopper_pearson(k, n), n))
    return tuple(filled_bins)
