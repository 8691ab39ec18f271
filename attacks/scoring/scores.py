r"""Attack success, the only place where the truth is seen.

A reconstruction is a set of records without order: each patient of the batch is assigned one of
them so that the total error over mixed features is least (Hungarian algorithm), as TabLeak does
(Vero et al. 2023, section 5.1). The same is done for what the prior alone would have guessed, with
the same number of records, so that the number of guesses favours nobody.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from aggregation.data.patients import Patients
from attacks.knowledge.features import Feature, errors, features_of
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Reconstruction
from privacy._validate import natural, unit_open
from privacy.errors import InvalidInputError

__all__ = [
    "LEVELS",
    "Score",
    "baseline_accuracies",
    "lineup",
    "matched_accuracies",
    "score",
    "worst_off",
]

LEVELS = (1.0, 0.9, 0.8, 0.6)
"""Shares of a patient's features that count as a match, for the exact-match rates."""


@dataclass(frozen=True)
class Score:
    """How much of one batch was reconstructed.

    Attributes:
      accuracy: Share of each patient's features that its record has right; 0 where there are fewer
        records than patients and it got none.
      baselines: The same for as many guesses from the prior, by the kind of guessing.
      certified: Certified records.
      false_certificates: Certified records that are no patient of the batch, in all columns.
    """

    accuracy: Float[np.ndarray, "patients"]
    baselines: Mapping[str, NDArray[np.float64]]
    certified: int
    false_certificates: int

    def exact(self, level: float = 1.0) -> Bool[np.ndarray, "patients"]:
        """Patients with at least ``level`` of their features right."""
        return np.asarray(self.accuracy >= level - 1e-9)

    @property
    def baseline(self) -> Float[np.ndarray, "patients"]:
        """What the prior's best guesses get right: chosen before the truth is seen."""
        return self.baselines["best"]

    @property
    def worst_off(self) -> tuple[float, float]:
        """Mean accuracy over the 5 % of patients who fared worst; and the baseline's."""
        return worst_off(self.accuracy), worst_off(self.baseline)

    @property
    def advantage(self) -> Float[np.ndarray, "patients"]:
        """Accuracy over what guessing gives, patient by patient."""
        return np.asarray(self.accuracy - self.baseline)


def worst_off(accuracy: Float[np.ndarray, "patients"], *, share: float = 0.05) -> float:
    """Return the mean accuracy over the share of patients of whom most was recovered.

    At least one patient. They are chosen with the truth in view, so only the same figure of the
    baseline, over the same number of patients, says what it means.

    Raises:
      InvalidInputError: No patient, or a share outside (0, 1).
    """
    unit_open(share=share)
    natural(patients=len(accuracy), least=1)
    count = math.ceil(share * len(accuracy) - 1e-9)
    return float(np.sort(accuracy)[-count:].mean())


def score(
    reconstruction: Reconstruction,
    truth: Float[np.ndarray, "patients features"],
    prior: Prior,
    rng: np.random.Generator,
    *,
    draws: int = 20,
    public: Patients | None = None,
) -> Score:
    """Score one batch against the truth.

    Args:
      reconstruction: What the attack returned.
      truth: The batch's patients, standardised.
      prior: The prior that the attack had; the baseline has no more and no less.
      rng: Draws the baseline's guesses.
      draws: Batches of guesses that the baseline is averaged over.
      public: A public table, for the baselines that need one.

    Raises:
      InvalidInputError: No patient, or other columns than the prior's.
    """
    features = features_of(prior.schema)
    if len(truth) == 0 or truth.shape[1] != len(prior.schema):
        raise InvalidInputError(
            f"Expected patients of {len(prior.schema)} columns, got shape {truth.shape}; skip "
            "rounds in which nobody was drawn."
        )
    certified = reconstruction.records[reconstruction.certified]
    gaps = np.abs(certified[:, None, :] - truth[None, :, :])
    real = (gaps <= 1e-9).all(-1).any(1)  # floats of one grid value may differ in the last bit
    return Score(
        accuracy=matched_accuracies(reconstruction.records, truth, features),
        baselines=baseline_accuracies(
            prior, truth, len(reconstruction), rng, draws=draws, public=public
        ),
        certified=len(certified),
        false_certificates=int((~real).sum()),
    )


def matched_accuracies(
    records: Float[np.ndarray, "records features"],
    truth: Float[np.ndarray, "patients features"],
    features: Sequence[Feature],
) -> Float[np.ndarray, "patients"]:
    """Return each patient's share of right features under the best assignment of records."""
    accuracy = np.zeros(len(truth))
    if len(records):
        cost = errors(records, truth, tuple(features)).mean(-1)
        rows, patients = linear_sum_assignment(cost)
        accuracy[patients] = 1 - cost[rows, patients]
    return accuracy


def baseline_accuracies(
    prior: Prior,
    truth: Float[np.ndarray, "patients features"],
    count: int,
    rng: np.random.Generator,
    *,
    draws: int = 20,
    public: Patients | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Return what ``count`` guesses from the prior get right, patient by patient, by their kind.

    ``best``: what the prior itself thinks best, and what an attack returns that found nothing.
    ``modes``: medians and modes, ``count`` times. ``draws``: independent marginals, the mean over
    ``draws`` batches of guesses. With a public table also ``donors``: so many of its patients,
    the mean over ``draws`` choices, each patient given the donor nearest to it; and ``labelled``:
    the best guesses for either outcome by itself, in the shares that the table has.
    """
    features = features_of(prior.schema)
    drawn = [matched_accuracies(prior.draw(count, rng), truth, features) for _ in range(draws)]
    accuracies = {
        "best": matched_accuracies(prior.best_guesses(count), truth, features),
        "modes": matched_accuracies(prior.modes(count), truth, features),
        "draws": np.asarray(np.mean(drawn, axis=0)),
    }
    if public is not None:
        chosen = [rng.choice(len(public), count, replace=True) for _ in range(draws)]
        donated = [matched_accuracies(public.features[rows], truth, features) for rows in chosen]
        accuracies["donors"] = np.asarray(np.mean(donated, axis=0))
        accuracies["labelled"] = matched_accuracies(
            _labelled(prior, public, count), truth, features
        )
    return accuracies


def _labelled(prior: Prior, public: Patients, count: int) -> Float[np.ndarray, "count features"]:
    ill = round(count * float(public.outcomes.mean()))
    parts = []
    for outcome, share in ((0, count - ill), (1, ill)):
        alike = public.take(public.outcomes == outcome)
        if share:
            parts.append(Prior.from_table(prior.schema, alike).best_guesses(share))
    return np.concatenate(parts) if parts else prior.best_guesses(0)


def lineup(
    reconstruction: Reconstruction,
    candidates: Float[np.ndarray, "people features"],
    rng: np.random.Generator,
) -> int:
    r"""Name the candidate nearest to any reconstructed record.

    The line-up: a patient of the attacked batch (the target) and K - 1 people of the same hospital
    and outcome drawn at random from the held-out fold, in random order. As the split into folds is
    random within hospital and outcome, each of the K is equally likely to be the target given all
    of them; whoever has not seen the release succeeds with probability exactly
    :math:`\kappa = 1/K`, whatever the prior. Success is naming the target's *place*, and ties are
    broken at random: people alike in all columns share their chance, so duplicates leave
    :math:`\kappa` exact too.

    Args:
      reconstruction: What the attack returned; with no record at all the answer is drawn.
      candidates: The K people, standardised; the attack does not know who the target is.
      rng: Breaks ties.

    Raises:
      InvalidInputError: No candidate.
    """
    if len(candidates) == 0:
        raise InvalidInputError("A line-up needs at least one candidate.")
    if len(reconstruction) == 0:
        return int(rng.integers(len(candidates)))
    gaps = np.abs(reconstruction.records[:, None, :] - candidates[None, :, :])
    distance = np.minimum(gaps, 1.0).mean(-1).min(axis=0)  # Gower's, in public deviations
    nearest = np.flatnonzero(distance <= distance.min() + 1e-12)
    return int(rng.choice(nearest))
