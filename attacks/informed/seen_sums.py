"""What a server saw of a run, as sums of uploads: how one patient enters all of it.

Every view of one-step sums has one form: T opened sums, each a known mixture of uploads. A single
update is a sum of one upload; a sealed sum has a row of ones; a buffered one has old models and
signed weights; under *Memory* a sum holds differences of uploads, and one upload's noise is in two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from aggregation.plan import Plan
from attacks.knowledge.replay import integer_rows
from attacks.views import GradientView
from privacy.errors import RefusedError
from privacy.unit import Unit

__all__ = ["ROUNDING", "Openings", "Upload"]

ROUNDING = 1 / 12
"""Variance of what rounding does to one coordinate of one patient, in squared integer steps."""


@dataclass(frozen=True)
class Upload:
    """One hospital's part in what was seen.

    Attributes:
      hospital: Its name.
      params: The model that its patients' gradients are taken at.
      weight: What it multiplied gradients by before the noise, as it signed.
      labels: Outcomes of its batch, if they are declared.
    """

    hospital: str
    params: Float[np.ndarray, "dim"]
    weight: float = 1.0
    labels: Int[np.ndarray, "patients"] | None = None


@dataclass(frozen=True)
class Openings:
    """Sums that were seen, and what they are sums of.

    Attributes:
      plan: What was agreed.
      uploads: Of all hospitals, less colluders.
      matrix: How often each upload is in each sum, ``[sums, uploads]``.
      seen: The sums, in integer steps.
      noise: Covariance of the noise between sums, the same on each coordinate, in squared integer
        steps.
      rounds: Of each sum; empty where they don't matter.
    """

    plan: Plan
    uploads: tuple[Upload, ...]
    matrix: Float[np.ndarray, "sums uploads"]
    seen: Float[np.ndarray, "sums dim"]
    noise: Float[np.ndarray, "sums sums"]
    rounds: tuple[int, ...] = ()

    @classmethod
    def of(cls, view: GradientView) -> "Openings":
        """Take the sums of a view, each upload in the one sum that it was sent for.

        Raises:
          RefusedError: The view has no sum, or the hospital is the unit: what was summed is then
            not patients' gradients.
        """
        if view.plan.unit != Unit.PATIENT or not view.gradients:
            raise RefusedError(
                f"A likelihood needs sums of patients' gradients; this view has "
                f"{len(view.gradients)} sums, of a plan whose unit is the {view.plan.unit}."
            )
        parts = [(t, c) for t, g in enumerate(view.gradients) for c in g.contributions]
        matrix = np.zeros((len(view.gradients), len(parts)))
        matrix[[t for t, _ in parts], np.arange(len(parts))] = 1.0
        return cls(
            view.plan,
            tuple(Upload(c.hospital, c.params, c.weight, c.labels) for _, c in parts),
            matrix,
            np.stack([g.integers for g in view.gradients]).astype(np.float64),
            _noise_between(view),
            tuple(g.round for g in view.gradients),
        )

    def of_hospital(self, hospital: str) -> Bool[np.ndarray, "sums"]:
        """Return which sums hold a hospital's patients."""
        return np.asarray(self.matrix[:, self._of_hospital.get(hospital, [])].any(axis=1))

    def some(self, sums: Sequence[int]) -> "Openings":
        """Return some of the sums, as if the others had not been seen."""
        at = np.asarray(sums, dtype=np.int64)
        part = np.flatnonzero(self.matrix[at].any(axis=0))
        return Openings(
            self.plan,
            tuple(self.uploads[j] for j in part),
            self.matrix[np.ix_(at, part)],
            self.seen[at],
            self.noise[np.ix_(at, at)],
            tuple(self.rounds[t] for t in at) if self.rounds else (),
        )

    @property
    def hospitals(self) -> tuple[str, ...]:
        """Whose patients are in any sum, each once."""
        return tuple(self._of_hospital)

    @cached_property
    def _of_hospital(self) -> dict[str, list[int]]:
        """Places of each hospital's uploads; hundreds of hospitals ask hundreds of times."""
        places: dict[str, list[int]] = {}
        for j, upload in enumerate(self.uploads):
            places.setdefault(upload.hospital, []).append(j)
        return places

    def prob(self, hospital: str) -> float:
        """Return the probability with which a hospital draws each of its patients."""
        return self.plan.sampling_probs[self.plan.hospitals.index(hospital)]

    def expected(self, hospital: str) -> float:
        """Return how many of a hospital's patients an upload is expected to hold."""
        return self.plan.batch_sizes[self.plan.hospitals.index(hospital)]

    def pattern(self, hospital: str) -> tuple[bytes, ...]:
        """Return what tells how a hospital's patients enter: hospitals of one pattern are alike."""
        entries = ((self.uploads[j], self.matrix[:, j]) for j in self._of_hospital[hospital])
        return tuple(
            u.params.tobytes() + np.float64(u.weight).tobytes() + column.tobytes()
            for u, column in entries
        )

    def labels(self, hospital: str) -> Int[np.ndarray, "patients"] | None:
        """Return the outcomes of a hospital's batch, if all of its uploads declare the same."""
        declared = [self.uploads[j].labels for j in self._of_hospital[hospital]]
        first = declared[0]
        if first is None or any(o is None or sorted(o) != sorted(first) for o in declared):
            return None
        return first

    @cached_property
    def lower(self) -> Float[np.ndarray, "sums sums"]:
        """Cholesky factor of the covariance that noise and rounding have between sums."""
        held = np.array([self.expected(u.hospital) for u in self.uploads])
        rounded = (self.matrix * held * ROUNDING) @ self.matrix.T
        return np.linalg.cholesky(self.noise + rounded)

    def rows(
        self,
        hospital: str,
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
    ) -> Float[np.ndarray, "patients sums dim"]:
        """Return what each person would add to every sum as a patient of a hospital.

        Args:
          hospital: Whose patient.
          features: The people, standardised.
          outcomes: Theirs.
        """
        added = np.zeros((len(features), *self.seen.shape))
        for j in self._of_hospital.get(hospital, []):
            params, radius = (
                self.uploads[j].params,
                self.plan.applied_radius(self.uploads[j].weight),
            )
            rows = integer_rows(
                self.plan, params, features, outcomes, hospital=hospital, radius=radius
            )
            for t in np.flatnonzero(self.matrix[:, j]):
                added[:, t] += self.matrix[t, j] * rows
        return added


def _noise_between(view: GradientView) -> Float[np.ndarray, "sums sums"]:
    """Covariance of the noise: where it is correlated, as far as the same hospitals sent it."""
    stds = np.array([g.noise_std for g in view.gradients])
    if view.plan.correlated is None:
        return np.diag(stds**2)
    sent = view.plan.correlated.inverse(view.plan.rounds)[[g.round for g in view.gradients]]
    who = [set(g.hospitals) for g in view.gradients]
    common = np.array([[len(one & other) for other in who] for one in who])
    return np.asarray(view.plan.share_std**2 * common * (sent @ sent.T))
