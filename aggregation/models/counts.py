r"""A "model" whose sum over patients is a table of counts.

Trained by a plan of one round, it makes an evaluation of that round: everything that guards a
training round (ledger, integers, noise, sealing, opening, evidence) guards the counts.

>>> counts = Counts(bins=2, evaluated="0" * 64)
>>> rows = counts.per_patient_gradients(np.zeros(4), np.array([[1.0, 0.0]]), np.array([1]))
>>> rows.tolist()
[[0.0, 0.0, 0.0, 1.0]]
"""

from dataclasses import dataclass
from re import fullmatch
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from aggregation.models.model import Model
from privacy._validate import natural
from privacy.errors import InvalidInputError
from privacy.names import distinct_names

__all__ = ["Counts"]

_MOST_CELLS = 1 << 20


@dataclass(frozen=True)
class Counts(Model):
    """One cell for each class of sites, outcome and score bin; a patient is one in one cell.

    A patient's row of "features" is (number of the score bin, number of the class of sites), as
    ``binned`` makes it inside the hospital.

    Guarantees (each is a test in ``tests/aggregation/evaluation/test_counts.py``):
      - a patient's row has one entry, 1, by that patient's row and outcome alone: coming or going
        moves one cell by one, and a change of outcome or score two cells;
      - a bin or a class that is not there counts nowhere, and tells nobody.

    Attributes:
      bins: Score bins.
      evaluated: Digest, in hex, of the plan whose final model is evaluated.
      sites: Classes of sites by name, each with its hospitals: counts are opened class by class.
        With all hospitals in one class (none: that) no hospital's own counts are opened; a class of
        one hospital opens that hospital's noised counts.
      features: 2.

    Raises:
      InvalidInputError: A size out of range, no digest, or a hospital in two classes.
    """

    kind: ClassVar[str] = "counts"
    released: ClassVar[str] = "evaluation"
    bins: int
    evaluated: str
    sites: tuple[tuple[str, tuple[str, ...]], ...] = ()
    features: int = 2

    def __post_init__(self) -> None:
        natural(bins=self.bins, least=2)
        if self.features != 2:
            raise InvalidInputError(f"Counts have features=2 (bin, class), got {self.features}.")
        if not fullmatch(r"[0-9a-f]{64}", self.evaluated):
            raise InvalidInputError(
                f"Expected evaluated as 64 hex digits, got {self.evaluated[:80]!r}."
            )
        if self.sites:
            distinct_names(site=[name for name, _ in self.sites])
            distinct_names(hospital=[one for _, group in self.sites for one in group])
        natural(cells=_MOST_CELLS - self.dim, hint="Take fewer bins or classes of sites.")

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of sites; one without a name where there are none."""
        return tuple(name for name, _ in self.sites) or ("",)

    @property
    def dim(self) -> int:
        """Number of cells."""
        return len(self.classes) * 2 * self.bins

    def class_of(self, hospital: str) -> int:
        """Return the number of a hospital's class.

        Raises:
          InvalidInputError: It is in none.
        """
        if not self.sites:
            return 0
        for number, (_, group) in enumerate(self.sites):
            if hospital in group:
                return number
        raise InvalidInputError(
            f"Hospital {hospital!r} is in no class of sites; put each hospital of the plan in one."
        )

    def initial(self, rng: np.random.Generator) -> Float[np.ndarray, "dim"]:
        """Return zeros."""
        return np.zeros(self.dim)

    def per_patient_gradients(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
    ) -> Float[np.ndarray, "patients dim"]:
        """Return one row a patient: 1 in the patient's cell, 0 elsewhere."""
        place, site = features[:, 0], features[:, 1]
        inside = (place >= 0) & (place < self.bins) & (place == np.floor(place))
        inside &= (site >= 0) & (site < len(self.classes)) & (site == np.floor(site))
        inside &= (outcomes == 0) | (outcomes == 1)
        rows = np.zeros((len(outcomes), self.dim))
        which = np.flatnonzero(inside)
        cells = (site[which].astype(np.int64) * 2 + outcomes[which]) * self.bins
        rows[which, cells + place[which].astype(np.int64)] = 1.0
        return rows

    def scores(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
    ) -> Float[np.ndarray, "patients"]:
        """Return zeros: counts predict nothing."""
        return np.zeros(len(features))
