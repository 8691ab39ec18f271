"""What an attack returns: records, how sure it is of each, and which of them are proved."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from attacks.knowledge.priors import Prior
from privacy.errors import InvalidInputError

__all__ = ["Note", "Reconstruction", "guesses", "join"]


class Note(str):
    """A sentence of an attack about what could not be read, which other languages can say too.

    Attributes:
      words: What it says, for a table of strings (``note_...`` in ``privacy/review``).
      values: What stands in it.
    """

    words: str
    values: Mapping[str, str]

    def __new__(cls, text: str, words: str = "", **values: str) -> "Note":
        """Put the values into the English text (a copy comes with the finished one, and none)."""
        note = super().__new__(cls, text.format(**values) if values else text)
        note.words, note.values = words, values
        return note


@dataclass(frozen=True)
class Reconstruction:
    """Reconstructed patients, most trusted first.

    Attributes:
      records: Standardised by the schema's public constants; float64 ``[records, features]``.
      confidence: The attack's own probability that a record is right in all features.
      certified: Which records are proved to be patients of the batch, by replay of the gradient.
      steps: Where each record comes from: ``read`` (closed form), ``unmixed``, ``searched`` or
        ``guessed``; empty where an attack has one step only.
      notes: Sentences about what could not be read, and why.

    Raises:
      InvalidInputError: Shapes do not agree, or a confidence is not in [0, 1].
    """

    records: Float[np.ndarray, "records features"]
    confidence: Float[np.ndarray, "records"]
    certified: Bool[np.ndarray, "records"]
    steps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.records)
        if self.steps and len(self.steps) != n:
            raise InvalidInputError(f"Expected one step a record, got {len(self.steps)} for {n}.")
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
    nonempty = [p for p in parts if len(p)]
    whole = all(p.steps for p in nonempty)
    return Reconstruction(
        np.concatenate([p.records for p in parts]),
        np.concatenate([p.confidence for p in parts]),
        np.concatenate([p.certified for p in parts]),
        tuple(step for p in nonempty for step in p.steps) if whole else (),
        tuple(dict.fromkeys(note for p in parts for note in p.notes)),
    )
