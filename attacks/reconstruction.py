"""What an attack returns: records, how sure it is of each, and which of them are proved."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from attacks.priors import Prior
from privacy.errors import InvalidInputError

__all__ = ["Reconstruction", "guesses", "join"]


@dataclass(frozen=True)
class Reconstruction:
    """Reconstructed patients, most trusted first.

    Attributes:
      records: Standardised by the schema's public constants; float64 ``[records, features]``.
      confidence: The attack's own probability that a record is right in all features.
      certified: Which records are proved to be patients of the batch, by replay of the gradient.

    Raises:
      InvalidInputError: Shapes do not agree, or a confidence is not in [0, 1].
    """

    records: Float[np.ndarray, "records features"]
    confidence: Float[np.ndarray, "records"]
    certified: Bool[np.ndarray, "records"]

    def __post_init__(self) -> None:
        n = len(self.records)
        if self.confidence.shape != (n,) or self.certified.shape != (n,):
            raise InvalidInputError(
                f"Expected one confidence and one certificate a record, got {n} records, "
                f"{len(self.confidence)} and {len(self.certified)}."
            )
        if n and not ((self.confidence >= 0) & (self.confidence <= 1)).all():
            raise InvalidInputError("Expected every confidence in [0, 1].")

    def __len__(self) -> int:
        return len(self.records)


def guesses(prior: Prior, count: int) -> Reconstruction:
    """Return the prior's best guess ``count`` times, with no confidence at all."""
    return Reconstruction(
        prior.best_guesses(count), np.zeros(count), np.zeros(count, dtype=np.bool_)
    )


def join(*parts: Reconstruction) -> Reconstruction:
    """Put reconstructions together, one after the other."""
    return Reconstruction(
        np.concatenate([p.records for p in parts]),
        np.concatenate([p.confidence for p in parts]),
        np.concatenate([p.certified for p in parts]),
    )
