r"""The informed adversary's guess at a patient with *all* of their records, in all hospitals.

A patient's records move the sums together. Where each record was clipped and accounted for as if it
were a patient, k of them in one direction move a sum by k clip norms: what protects a record does
not protect who it is about. Where they are clipped as one, and the noise is made for so many
hospitals as the patient stands in, the proven bound holds for the whole patient.

From a finite pool of sets of records the best guess is exact, as ``known_others`` has it for one
row: what a set would have moved in a sum is computed by the functions that hospitals run.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from aggregation.noise_kind import NoiseKind
from attacks.informed.candidates import log_ratios, posterior
from attacks.informed.known_others import residuals
from attacks.knowledge.replay import integer_sum
from attacks.views import Gradient, InformedView, Observation, require
from privacy.errors import InvalidInputError, RefusedError

__all__ = ["WholePatient"]


@dataclass(frozen=True)
class WholePatient:
    """Name whose records are in the sums, among a finite pool.

    Guarantees (each is a test in ``tests/attacks/informed/test_whole_patient.py``):
      - against noise that was made for one record it is right more often than the bound for a
        record allows;
      - against noise that was made for the patient it is right at most as often as the bound
        allows, and about as often where all records pull in one direction.

    Attributes:
      pool: Of each candidate, the records that they would have, by hospital; ``several_records``
        as the hospitals have it. An empty one is nobody: whether the patient is there at all.
      log_prior: Log-probability of each candidate; None: all alike.
    """

    pool: tuple[Mapping[str, Patients], ...]
    log_prior: Float[np.ndarray, "candidates"] | None = None

    def __post_init__(self) -> None:
        if not self.pool or (self.log_prior is not None and len(self.log_prior) != len(self.pool)):
            raise InvalidInputError(
                f"Expected one or more candidates and a log_prior of each, got {len(self.pool)} "
                f"and {None if self.log_prior is None else len(self.log_prior)}."
            )

    def posterior(self, observation: Observation) -> Float[np.ndarray, "candidates"]:
        """Return the probability of each candidate, given the releases.

        Raises:
          RefusedError: The adversary is not informed; rounds are sampled, or the noise is the
            article's.
        """
        view = require(observation, InformedView, "whole patient")
        if view.plan.draws_patients or view.plan.noise == NoiseKind.ARTICLE:
            raise RefusedError(
                "A patient's records are drawn apart in several hospitals, and the article's noise "
                f"follows them: what is seen then is not known (draws_patients="
                f"{view.plan.draws_patients}, noise={view.plan.noise.value!r}). Use full batches "
                "and noise none, local or shared."
            )
        logs = np.zeros(len(self.pool)) if self.log_prior is None else self.log_prior.copy()
        for gradient, left in zip(view.gradients, residuals(view), strict=True):
            rows = np.stack([self._moved(view, gradient, one) for one in self.pool])
            logs += log_ratios(left, rows, std=gradient.noise_std, prob=1.0)
        return posterior(logs)

    @staticmethod
    def _moved(
        view: InformedView, gradient: Gradient, records: Mapping[str, Patients]
    ) -> NDArray[np.int64]:
        """What a candidate's records add to a sum, in integer steps."""
        moved = np.zeros(len(gradient.integers), dtype=np.int64)
        for hospital in gradient.hospitals:
            if (own := records.get(hospital)) is not None:
                moved += integer_sum(view.plan, gradient.params, own, hospital=hospital)
        return moved
