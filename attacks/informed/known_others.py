r"""A7: the informed adversary, who knows all patients but one and the model of every round.

It subtracts the known patients' clipped gradients from each release; what is left is the target's
gradient and the noise. From a finite pool of candidates the best guess is exact:

.. math:: \arg\max_z \sum_t \frac{\langle g_t(z), r_t\rangle - \lVert g_t(z)\rVert^2 / 2}{s_t^2}
          + \log \pi(z),

the maximum of the posterior under Gaussian noise of deviation :math:`s_t`, and under one discrete
Gaussian too (residuals are integers, and its normaliser does not depend on an integer shift). It is
the attack that meets the bound of reconstruction robustness from below (Balle, Cherubin, Hayes
2022; Hayes, Mahloujifar, Balle 2023, section 4).

Without a pool, the target is a free patient: least squares over the noise's variance with clipping
inside the graph, minus the log-prior. The cosine would throw the magnitude away.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from aggregation.data.patients import Patients
from aggregation.noise_kind import NoiseKind
from attacks.exact.closed_form import peel
from attacks.informed.candidates import (
    article_log_ratios,
    correlated_log_ratios,
    log_ratios,
    passes_log_ratios,
    posterior,
)
from attacks.knowledge.features import project
from attacks.knowledge.priors import Prior
from attacks.knowledge.replay import integer_rows, integer_sum
from attacks.reconstructed import Reconstruction, guesses
from attacks.searching.descent import descend
from attacks.searching.device import PROCESSOR
from attacks.searching.relaxation import Relaxation
from attacks.searching.search_settings import SearchSettings
from attacks.searching.surrogate import BatchGradient
from attacks.views import Gradient, InformedView, Observation, require
from privacy._validate import natural
from privacy.errors import InvalidInputError, RefusedError
from privacy.unit import Unit

__all__ = ["InformedExact", "InformedPool", "InformedSearch", "residuals"]


@dataclass(frozen=True)
class InformedPool:
    """Name the target among a finite pool of people.

    Guarantees (each is a test in ``tests/attacks/informed/test_known_others.py``):
      - two antipodal candidates at q = 1 are told apart as often as the proven bound allows;
      - orthogonal candidates are named as often as theory says is optimal;
      - over sampled rounds the posterior is exact: it is right as often as it says;
      - a certificate is never given.

    Attributes:
      pool: Who the target may be, with outcomes.
      log_prior: Log-probability of each candidate; None: all alike.
      presence: Probability that the target took part in each round of the view; None: for certain,
        which full batches alone allow. Sampled rounds need ``Knowledge.batches`` too.
    """

    name: ClassVar[str] = "informed_pool"
    needs: ClassVar[type[InformedView]] = InformedView

    pool: Patients
    log_prior: Float[np.ndarray, "candidates"] | None = None
    presence: Float[np.ndarray, "rounds"] | None = None

    def __post_init__(self) -> None:
        natural(pool=len(self.pool), least=1)
        if self.log_prior is not None and len(self.log_prior) != len(self.pool):
            raise InvalidInputError(
                f"Expected one log_prior a candidate: {len(self.pool)}, got {len(self.log_prior)}."
            )

    def posterior(self, observation: Observation) -> Float[np.ndarray, "candidates"]:
        """Return the probability of each candidate, given the releases.

        Raises:
          RefusedError: The adversary is not informed, or the plan's releases are no plain sums.
        """
        view = require(observation, InformedView, self.name, together=True)
        if (self.presence is None) != (view.plan.sampling_size is None) or (
            self.presence is not None and len(self.presence) != len(view.gradients)
        ):
            raise RefusedError(
                "The probability that the target took part in each round must be given for sampled "
                f"rounds, and for them alone: presence={self.presence}, rounds in the view: "
                f"{len(view.gradients)}."
            )
        logs = np.zeros(len(self.pool)) if self.log_prior is None else self.log_prior.copy()
        target_sums, plan = residuals(view), view.plan
        rounds = [g.round for g in view.gradients]
        if plan.correlated is not None:
            rows = [self._rows(view, gradient) for gradient in view.gradients]
            who = [gradient.hospitals for gradient in view.gradients]
            return posterior(logs + correlated_log_ratios(
                plan, target_sums, np.stack(rows, axis=1), rounds=rounds, contributors=who
            ))  # fmt: skip
        presence = np.ones(len(rounds)) if self.presence is None else self.presence
        ratios = [
            self._of_round(view, gradient, residual, float(prob))
            for gradient, residual, prob in zip(view.gradients, target_sums, presence, strict=True)
        ]
        if plan.pass_rounds is not None:
            return posterior(
                logs + passes_log_ratios(np.stack(ratios), rounds, steps=plan.pass_rounds)
            )
        return posterior(sum(ratios, logs))

    def _rows(self, view: InformedView, gradient: Gradient) -> NDArray[np.int64]:
        return integer_rows(view.plan, gradient.params, self.pool.features, self.pool.outcomes)

    def _of_round(
        self, view: InformedView, gradient: Gradient, residual: NDArray[np.int64], prob: float
    ) -> NDArray[np.float64]:
        """One release's log-likelihoods of the candidates, drawn with this probability."""
        if view.plan.noise != NoiseKind.ARTICLE:
            rows = self._rows(view, gradient)
            return log_ratios(residual, rows, std=gradient.noise_std, prob=prob)
        model, params = view.plan.model, gradient.params
        x, y = self.pool.features, self.pool.outcomes
        known_sum = sum(
            p.per_patient(model.per_patient_gradients(params, p.features, p.outcomes)).sum(0)
            for p in _known(view, gradient)
        )
        return article_log_ratios(
            view.plan, gradient.integers, known_sum + np.zeros(len(params)),
            model.per_patient_gradients(params, x, y), prob=prob,
        )  # fmt: skip

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Return the candidates, likeliest first, each with its posterior probability."""
        posterior = self.posterior(observation)
        order = np.argsort(-posterior, kind="stable")
        return Reconstruction(
            self.pool.features[order],
            np.minimum(posterior[order], 1.0),
            np.zeros(len(order), dtype=np.bool_),
        )


@dataclass(frozen=True)
class InformedExact:
    r"""Read the target off the residual, in closed form (A10).

    The residual of one patient is :math:`s (p - y) (x, 1)` in a linear or logistic model: divided
    by its last entry it is the patient, at any model (Balle, Cherubin, Hayes 2022, section 3, do
    it at an optimum, where the residual is minus the known gradients). A perceptron's active units
    say the same.

    Guarantees (each is a test in ``tests/attacks/informed/test_known_others.py``):
      - without noise the target is recovered and certified, in logistic models and perceptrons;
      - under noise of .003 of the clip norm it is right in all features still, and said to be;
      - with noise nothing is certified.
    """

    name: ClassVar[str] = "informed_exact"
    needs: ClassVar[type[InformedView]] = InformedView

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Return the target, or the prior's mode.

        Raises:
          RefusedError: The adversary is not informed, or the plan's releases are no plain sums.
        """
        view = require(observation, InformedView, self.name, together=True)
        for gradient, residual in zip(view.gradients, residuals(view), strict=True):
            reading = peel(view.plan, replace(gradient, integers=residual), prior)
            if len(reading.records) == 1:
                return Reconstruction(reading.records, reading.confidence, reading.certified)
        return guesses(prior, 1)


@dataclass(frozen=True)
class InformedSearch(SearchSettings):
    """Search for the target among all patients that the schema allows.

    Guarantees (each is a test in ``tests/attacks/informed/test_known_others.py``):
      - without noise, and clipped or not, the target is found exactly in most cases;
      - with noise that drowns it, the answer is the prior's mode.

    Attributes:
      restarts: Starts for each outcome.
    """

    name: ClassVar[str] = "informed_search"
    needs: ClassVar[type[InformedView]] = InformedView

    restarts: int = 8
    iterations: int = 300

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Return the best patient of either outcome, the likelier first.

        Raises:
          RefusedError: The adversary is not informed, or the plan's releases are no plain sums.
        """
        view = require(observation, InformedView, self.name)
        plan = view.plan
        seen = residuals(view)
        # Rounding is the smallest noise: half a step a coordinate, uniform.
        stds = np.sqrt(np.array([g.noise_std for g in view.gradients]) ** 2 + 1 / 12)
        relaxation = Relaxation.of(prior, torch.float64, self.device)
        y = torch.arange(2, dtype=torch.float64, device=self.device).repeat(self.restarts)[:, None]
        free = relaxation.start(len(y), 1, np.random.default_rng(self.seed))
        forwards = [
            BatchGradient.at(plan.model, g.params, plan.clip_norm, torch.float64, self.device)
            for g in view.gradients
        ]
        targets = y.new_tensor(seen * plan.step)
        scales = y.new_tensor(stds * plan.step)

        def losses() -> Tensor:
            x, shares = relaxation.soften(*free)
            loss = relaxation.negative_log_prior(x, shares).sum(1)
            for forward, target, scale in zip(forwards, targets, scales, strict=True):
                gap = forward(x, y, torch.ones_like(y)) - target
                loss = loss + gap.square().sum(1) / (2 * scale**2)
            return loss

        descend(free, losses, iterations=self.iterations, rate=self.rate)
        with torch.no_grad():
            soft, shares = relaxation.soften(*free)
            doubt = relaxation.negative_log_prior(soft, shares).sum(1).to(PROCESSOR).numpy()
        people = project(relaxation.to_numpy(soft)[:, 0], prior.features)
        outcomes = y[:, 0].to(PROCESSOR, torch.int64).numpy()
        rows = np.stack([integer_rows(plan, g.params, people, outcomes) for g in view.gradients])
        rate = np.where(outcomes == 1, prior.outcome_rate, 1 - prior.outcome_rate)
        ratios = [
            log_ratios(residual, candidate_rows, std=float(std), prob=1.0)
            for residual, candidate_rows, std in zip(seen, rows, stds, strict=True)
        ]
        logs = np.log(rate) - doubt + np.sum(ratios, axis=0)
        best = [int(np.flatnonzero(outcomes == k)[np.argmax(logs[outcomes == k])]) for k in (0, 1)]
        best.sort(key=lambda i: -logs[i])
        weights = np.exp(logs[best] - logs[best[0]])
        return Reconstruction(
            people[best], weights / weights.sum(), np.zeros(len(best), dtype=np.bool_)
        )


def residuals(view: InformedView) -> Int[np.ndarray, "rounds dim"]:
    """Subtract what the known patients sent from every release; exact integers.

    Raises:
      RefusedError: Several local steps, the hospital as the unit, or sampled rounds without
        ``Knowledge.batches``: there the known patients' part is not known to the last integer. Or
        several sums of one round: the target is in one of them only.
    """
    plan = view.plan
    if plan.local_steps > 1 or plan.unit != Unit.PATIENT:
        raise RefusedError(
            "The informed adversary subtracts what the known patients sent; that is exact for "
            "one-step sums of patients' gradients only. Use a plan without local steps."
        )
    rounds = [g.round for g in view.gradients]
    if len(set(rounds)) != len(rounds):
        raise RefusedError(
            "The view holds several sums of one round, and the target is in one of them. Narrow it "
            "with view.only(hospital=...)."
        )
    return np.stack([_less_known(g, view) for g in view.gradients])


def _less_known(gradient: Gradient, view: InformedView) -> NDArray[np.int64]:
    residual = gradient.integers.copy()
    for known_patients in _known(view, gradient):
        residual -= integer_sum(view.plan, gradient.params, known_patients)
    return residual


def _known(view: InformedView, gradient: Gradient) -> list[Patients]:
    """The known patients who took part in a sum."""
    knowledge, participants = view.knowledge, []
    for hospital in gradient.hospitals:
        patients = knowledge.patients.get(hospital)
        if view.plan.draws_patients:
            patients = knowledge.batches.get((gradient.round, hospital))
            if patients is None:
                raise RefusedError(
                    f"Who of {hospital} was drawn in round {gradient.round} is not known, so that "
                    "nothing can be subtracted. Give Knowledge.batches, or use a plan without "
                    "sampling."
                )
        if patients is not None and len(patients):
            participants.append(patients)
    return participants
