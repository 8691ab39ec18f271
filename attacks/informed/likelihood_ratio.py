r"""A11: the likelihood of each of some people, by who knows nobody's patients: only their law.

A release is a sum over patients, and of everybody but the target the adversary knows what is
public. So draw people from a public prior, send them through the very steps that hospitals take
(gradient, clip, integers, weight), and the sum of the n - 1 others is normal with their moments,

.. math:: S \sim N\big((n - 1)\,\mu + g(z),\; (n - 1)\,\Sigma + R\big),

R rounding and noise. Whitened by its covariance, the sum says how likely each person z of a line-up
is to be the one who took part. The central limit makes it sharp where hospitals are large; small
ones are no obstacle: the ratio only needs to rank ten people.

It is the informed adversary's likelihood (``candidates``) with less known: with nobody else in the
sum the two are one and the same, and colluders, whose sums are subtracted and whose patients make
the prior, stand between them.

- All full-batch rounds are read together, since the same others are in each: :math:`\Sigma` is that
  of a person's gradients in *all* sums, stale and weighted as they came (``seen_sums``).
- Sampled rounds draw others anew, few of many: the first is read, in which the target surely took
  part, a Poisson sample having covariance :math:`N q (\Sigma + (1 - q)\,\mu \mu^\top)`. Each later
  one holds the target with the plan's probability alone, and a law that is not quite the patients'
  own takes whoever fits it by chance for present (heart, sealed sums without noise: four rounds
  named .56, the first alone .75).
- In a pass each takes part in one step, so that the steps' likelihood ratios are averaged. The
  first pass is read: later ones mix the same others anew. Noise that is correlated over rounds has
  its covariance between the sums; the steps are then the same in all passes, all of which are read.
- The article's noise has a scale that depends on the patients: its law is averaged over drawn
  batches, since no normal law has it.
- Several local steps move the model by each batch: walks of drawn people are bent to where the seen
  one led, and their sums have the moments (``walks``).

Its limits: at most half as many coordinates as draws are read at once (those of the largest
variance; a covariance of more is not to be had from them); of sampled rounds, of the article's
noise and of several local steps the first sum alone. The cost is an eigenvalue problem in these
coordinates.

References:
  Carlini et al. 2022, arXiv 2112.03570v2, section IV (likelihood ratios of normal laws fitted to
  simulations); Hayes, Mahloujifar, Balle 2023, section 4 (the informed one).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from aggregation.noise_kind import NoiseKind
from attacks.informed.candidates import allocated_log_ratios, posterior
from attacks.informed.others import NormalOthers, article_ratios
from attacks.informed.seen_sums import Openings
from attacks.informed.walks import walk_ratios
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Reconstruction
from attacks.views import GradientView, Observation, require
from privacy._validate import natural
from privacy.errors import InvalidInputError, RefusedError

__all__ = ["Asked", "LikelihoodRatio"]

Asked = Callable[
    [str | None, Float[np.ndarray, "lineups people features"], Int[np.ndarray, "lineups people"]],
    Float[np.ndarray, "lineups people"],
]
"""A hospital, candidates of many line-ups and their outcomes, to log-likelihoods."""

_JOINT = 0.75  # of the draws are rows of a public table, where there is one; the rest its marginals


@dataclass(frozen=True)
class LikelihoodRatio:
    """Name the one who took part among some people, knowing nobody else.

    Guarantees (each is a test in ``tests/attacks/informed/test_likelihood_ratio.py``):
      - with nobody else in the sum it is the informed adversary's likelihood, to rounding;
      - on simulated patients, whose law is the prior's, it is calibrated: what it gives probability
        p happens in a share p, with and without noise, clipped or not, in all rounds together, as
        far as a sum of so many is normal;
      - people who are alike are equally likely, in whatever order they stand;
      - nothing is certified.

    Attributes:
      draws: People from the prior.
      outcomes_known: Whether the outcomes of the candidates are known; else they are averaged over.
      public: A public table: its rows are drawn, and not the prior's marginals alone.
      seed: Of the draws.
    """

    name: ClassVar[str] = "likelihood_ratio"
    needs: ClassVar[type[GradientView]] = GradientView

    draws: int = 3000
    outcomes_known: bool = True
    public: Patients | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        natural(draws=self.draws, least=10)

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Return the likeliest of ``Knowledge.candidates``, and who is as likely.

        Where the view holds sums of several hospitals, the candidates are patients of
        ``Knowledge.hospital``.

        Raises:
          RefusedError: The adversary sees no gradient, or declares no candidates.
        """
        view = require(observation, GradientView, self.name, together=True)
        pool = view.knowledge.candidates
        if pool is None or len(pool) == 0:
            raise RefusedError(
                "A likelihood ratio compares people of whom one took part: declare them as "
                "Knowledge.candidates (a line-up's, say)."
            )
        logs = self.log_likelihoods(
            view, prior, view.knowledge.hospital, pool.features[None], pool.outcomes[None]
        )[0]
        likely = posterior(logs)
        best = np.flatnonzero(logs >= logs.max() - 1e-9)
        none = np.zeros(len(best), dtype=np.bool_)
        return Reconstruction(pool.features[best], np.minimum(likely[best], 1.0), none)

    def log_likelihoods(
        self,
        observation: Observation,
        prior: Prior,
        hospital: str | None,
        people: Float[np.ndarray, "lineups people features"],
        outcomes: Int[np.ndarray, "lineups people"],
    ) -> Float[np.ndarray, "lineups people"]:
        """Return the log-likelihood of each person's having taken part, against nobody's.

        Args:
          observation: Sums of any rounds.
          prior: What is public of patients.
          hospital: Whose patients all of them would be; None: the view's only one.
          people: Candidates, many line-ups at once, standardised.
          outcomes: Theirs; not read unless ``outcomes_known``.

        Raises:
          RefusedError: The adversary sees no sum of this hospital's patients' gradients.
        """
        return self.by_hospital(observation, prior)(hospital, people, outcomes)

    def by_hospital(self, observation: Observation, prior: Prior) -> "Asked":
        """Return ``log_likelihoods`` of one observation, to be asked hospital by hospital.

        What hospitals share is computed once: of hundreds in one sum, nearly everything.
        """
        view = require(observation, GradientView, self.name, together=True)
        if any(len(g.contributions) > 1 for g in view.gradients):
            return self.of_openings(Openings.of(view), prior)

        def asked(
            hospital: str | None, people: NDArray[np.float64], outcomes: NDArray[np.int64]
        ) -> NDArray[np.float64]:
            """Updates seen by themselves say of their sender alone."""
            openings = Openings.of(view.only(hospital=hospital) if hospital else view)
            return self.of_openings(openings, prior)(hospital, people, outcomes)

        return asked

    def of_openings(self, openings: Openings, prior: Prior) -> "Asked":
        """Return the same of sums whose mixture of uploads is given."""
        drawn = self._drawn(prior)
        sums = _Sums(openings, drawn, self.seed)

        def asked(
            hospital: str | None, people: NDArray[np.float64], outcomes: NDArray[np.int64]
        ) -> NDArray[np.float64]:
            name = _whose(openings, hospital)
            flat = people.reshape(-1, people.shape[-1])
            if self.outcomes_known:
                labels = outcomes.ravel().astype(np.int64)
                return sums.log_ratios(name, Patients(flat, labels)).reshape(outcomes.shape)
            rates = (1 - prior.outcome_rate, prior.outcome_rate)
            each = [
                math.log(rate) + sums.log_ratios(name, Patients(flat, np.full(len(flat), k)))
                for k, rate in enumerate(rates)
            ]
            return np.asarray(np.logaddexp(*each)).reshape(outcomes.shape)

        return asked

    def _drawn(self, prior: Prior) -> Patients:
        """People as they are expected to be, with outcomes."""
        rng = np.random.default_rng([self.seed, 11])
        if self.public is None:
            features = prior.draw(self.draws, rng)
            ill = rng.random(self.draws) < prior.outcome_rate
            return Patients(features, ill.astype(np.int64))
        if self.public.features.shape[1] != len(prior.schema):
            raise InvalidInputError(
                f"Expected a public table of {len(prior.schema)} columns, got "
                f"{self.public.features.shape[1]}."
            )
        rows = rng.choice(len(self.public), math.ceil(_JOINT * self.draws))
        blurred = Prior.from_table(prior.schema, self.public)
        count = self.draws - len(rows)
        more = (rng.random(count) < blurred.outcome_rate).astype(np.int64)
        return Patients(
            np.concatenate([self.public.features[rows], blurred.draw(count, rng)]),
            np.concatenate([self.public.outcomes[rows], more]),
        )


def _whose(openings: Openings, hospital: str | None) -> str:
    if hospital is None and len(openings.hospitals) == 1:
        return openings.hospitals[0]
    if hospital is None:
        raise RefusedError(
            f"The sums hold patients of {', '.join(openings.hospitals)}: say by "
            "Knowledge.hospital whose patients the candidates would be."
        )
    if hospital not in openings.hospitals:
        raise RefusedError(f"No sum of this view holds patients of {hospital!r}.")
    return hospital


class _Sums:
    """What was opened, read for one hospital after another; laws of the others are kept."""

    def __init__(self, openings: Openings, drawn: Patients, seed: int) -> None:
        self._openings, self._drawn, self._seed = openings, drawn, seed
        self._others: dict[tuple[int, ...], NormalOthers] = {}

    def log_ratios(self, hospital: str, people: Patients) -> NDArray[np.float64]:
        openings, plan = self._openings, self._openings.plan
        rng = np.random.default_rng([self._seed, 12])
        if plan.pass_rounds is not None:
            return self._of_passes(hospital, people, rng)
        first = int(np.flatnonzero(openings.of_hospital(hospital))[0])
        if plan.local_steps > 1:
            return walk_ratios(openings.some([first]), hospital, people, self._drawn, rng)
        if plan.noise == NoiseKind.ARTICLE:
            return article_ratios(openings.some([first]), hospital, people, self._drawn, rng)
        if plan.sampling_size is None:
            return self._normal(tuple(range(len(openings.seen))), hospital, people)
        return self._normal((first,), hospital, people)

    def _normal(
        self, sums: tuple[int, ...], hospital: str, people: Patients
    ) -> NDArray[np.float64]:
        if sums not in self._others:
            self._others[sums] = NormalOthers(self._openings.some(sums), self._drawn)
        return self._others[sums].ratios(hospital, people)

    def _of_passes(
        self, hospital: str, people: Patients, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """One who is in some step of a pass: of the first; of all, where it is the same in all."""
        openings, plan = self._openings, self._openings.plan
        steps = plan.pass_rounds or 1
        read = plan.rounds if plan.correlated is not None else steps
        by_step: dict[int, list[int]] = {}
        for t in np.flatnonzero(openings.of_hospital(hospital)):
            if openings.rounds[t] < read:
                by_step.setdefault(openings.rounds[t] % steps, []).append(int(t))
        ratios = np.zeros((len(by_step), len(people)))
        for k, sums in enumerate(by_step.values()):
            if plan.noise == NoiseKind.ARTICLE:
                part = openings.some(sums)
                ratios[k] = article_ratios(part, hospital, people, self._drawn, rng)
            else:
                ratios[k] = self._normal(tuple(sums), hospital, people)
        return allocated_log_ratios(ratios, steps=steps)
