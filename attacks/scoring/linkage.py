"""Harm to persons: who is linked, what is learnt of them, and who fares worst.

A mean over patients hides the few who are laid bare. So: the rank of the true patient among
candidates, a sensitive feature read off by whoever knows the quasi-identifiers, and the worst-off
share of patients, each beside what the same adversary does without the run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from attacks.knowledge.features import TOLERANCE, Feature, features_of
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Reconstruction
from privacy._validate import natural, unit_open
from privacy.errors import InvalidInputError

__all__ = ["Sensitive", "impute", "linkage_ranks", "sensitive_accuracy", "worst_off"]


def linkage_ranks(
    reconstruction: Reconstruction,
    candidates: Float[np.ndarray, "people features"],
    targets: Int[np.ndarray, "targets"],
) -> Float[np.ndarray, "targets"]:
    """Return each target's place among the candidates, by distance to the nearest record.

    1 is the nearest; candidates at the same distance share their mean place, so that whoever
    reconstructed nothing ranks everybody at (people + 1) / 2.

    Args:
      reconstruction: What the attack returned.
      candidates: Standardised; the targets are among them.
      targets: Rows of ``candidates``.

    Raises:
      InvalidInputError: A target that is no candidate.
    """
    if len(targets) and not 0 <= targets.min() <= targets.max() < len(candidates):
        raise InvalidInputError(
            f"Expected targets among the {len(candidates)} candidates, got {targets.tolist()[:5]}."
        )
    if len(reconstruction) == 0:
        return np.full(len(targets), (len(candidates) + 1) / 2)
    gaps = np.abs(reconstruction.records[:, None, :] - candidates[None, :, :])
    distance = np.minimum(gaps, 1.0).mean(-1).min(axis=0).round(12)
    own = distance[targets][:, None]
    return np.asarray((distance < own).sum(1) + ((distance == own).sum(1) + 1) / 2)


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


@dataclass(frozen=True)
class Sensitive:
    """A sensitive feature, read by whoever knows the quasi-identifiers.

    Attributes:
      right: Whether the attack has each patient's value.
      imputed_right: Whether an imputer given the same quasi-identifiers has it, without the run.
    """

    right: Bool[np.ndarray, "patients"]
    imputed_right: Bool[np.ndarray, "patients"]


def sensitive_accuracy(
    reconstruction: Reconstruction,
    truth: Float[np.ndarray, "patients features"],
    prior: Prior,
    *,
    quasi: Sequence[str],
    sensitive: str,
    donors: Float[np.ndarray, "donors features"],
) -> Sensitive:
    """Read each patient's sensitive feature off the record with the nearest quasi-identifiers.

    Guarantees (each is a test in ``tests/attacks/scoring/test_linkage.py``):
      - a perfect reconstruction reads every value, whatever its order;
      - one without records does as the imputer.

    Args:
      reconstruction: What the attack returned.
      truth: Patients, standardised; their quasi-identifiers are known to the adversary.
      prior: Says what the columns mean.
      quasi: Names of the features that the adversary knows (age, sex, ...).
      sensitive: Name of the feature that it wants.
      donors: Public patients from which the imputer learns, and the adversary where it has nothing.

    Raises:
      InvalidInputError: An unknown feature, or the sensitive one among the quasi-identifiers.
    """
    known, wanted = _named(prior, quasi, sensitive)
    imputed = impute(donors, truth, known, wanted)
    guessed = imputed
    if len(reconstruction):
        nearest = _distances(truth, reconstruction.records, known).argmin(axis=1)
        guessed = reconstruction.records[nearest]
    return Sensitive(_right(guessed, truth, wanted), _right(imputed, truth, wanted))


def impute(
    donors: Float[np.ndarray, "donors features"],
    truth: Float[np.ndarray, "patients features"],
    known: Sequence[Feature],
    wanted: Feature,
    *,
    neighbours: int = 15,
) -> Float[np.ndarray, "patients features"]:
    """Return the wanted feature of the donors nearest in the known ones: their mode or median.

    Of ``truth`` only the known features are read; all other columns of the result are 0.

    Raises:
      InvalidInputError: No donor.
    """
    natural(donors=len(donors), least=1)
    order = np.argsort(_distances(truth, donors, known), axis=1, kind="stable")[:, :neighbours]
    result = np.zeros_like(truth)
    for i, near in enumerate(order):
        if wanted.numeric:
            column = wanted.columns[0]
            result[i, column] = np.median(donors[near, column])
        else:
            codes = wanted.codes(donors[near])
            wanted.write(result[i : i + 1], np.array([int(np.bincount(codes).argmax())]))
    return result


def _named(prior: Prior, quasi: Sequence[str], sensitive: str) -> tuple[list[Feature], Feature]:
    features = {f.name: f for f in features_of(prior.schema)}
    unknown = sorted({*quasi, sensitive} - set(features))
    if unknown or sensitive in quasi or not quasi:
        raise InvalidInputError(
            f"Expected quasi-identifiers and another sensitive feature of {sorted(features)}; got "
            f"quasi={list(quasi)}, sensitive={sensitive!r}."
        )
    return [features[name] for name in quasi], features[sensitive]


def _distances(
    truth: Float[np.ndarray, "patients features"],
    others: Float[np.ndarray, "others features"],
    known: Sequence[Feature],
) -> Float[np.ndarray, "patients others"]:
    """Gower's distance over some features: levels differ or not, numbers by up to a deviation."""
    total = np.zeros((len(truth), len(others)))
    for f in known:
        if f.numeric:
            gaps = np.abs(truth[:, None, f.columns[0]] - others[None, :, f.columns[0]])
            total += np.minimum(gaps, 1.0)
        else:
            total += f.codes(truth)[:, None] != f.codes(others)[None, :]
    return total / max(len(known), 1)


def _right(
    guessed: Float[np.ndarray, "patients features"],
    truth: Float[np.ndarray, "patients features"],
    wanted: Feature,
) -> Bool[np.ndarray, "patients"]:
    if wanted.numeric:
        column = wanted.columns[0]
        return np.asarray(np.abs(guessed[:, column] - truth[:, column]) <= TOLERANCE + 1e-9)
    return np.asarray(wanted.codes(guessed) == wanted.codes(truth))
