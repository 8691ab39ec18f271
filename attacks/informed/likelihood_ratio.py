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
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from attacks.informed.candidates import allocated_log_ratios, posterior
from attacks.informed.others import article_ratios, normal_ratios
from attacks.informed.seen_sums import Openings
from attacks.informed.walks import walk_ratios
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Reconstruction
from attacks.views import GradientView, Observation, require
from privacy._validate import natural
from privacy.errors import InvalidInputError, RefusedError

__all__ = ["LikelihoodRatio"]

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
        view = require(observation, GradientView, self.name, together=True)
        return self.of_openings(_relevant(view, hospital), prior, hospital, people, outcomes)

    def of_openings(
        self,
        openings: Openings,
        prior: Prior,
        hospital: str | None,
        people: Float[np.ndarray, "lineups people features"],
        outcomes: Int[np.ndarray, "lineups people"],
    ) -> Float[np.ndarray, "lineups people"]:
        """Return the same of sums whose mixture of uploads is given."""
        if hospital is None:
            if len(openings.hospitals) != 1:
                raise RefusedError(
                    f"The sums hold patients of {', '.join(openings.hospitals)}: say by "
                    "Knowledge.hospital whose patients the candidates would be."
                )
            hospital = openings.hospitals[0]
        flat = people.reshape(-1, people.shape[-1])
        drawn = self._drawn(prior)

        def of(labels: NDArray[np.int64]) -> NDArray[np.float64]:
            rng = np.random.default_rng([self.seed, 12])
            return _log_ratios(openings, hospital, Patients(flat, labels), drawn, rng)

        if self.outcomes_known:
            found = of(outcomes.ravel().astype(np.int64))
        else:
            rates = (1 - prior.outcome_rate, prior.outcome_rate)
            each = [
                math.log(rate) + of(np.full(len(flat), k, dtype=np.int64))
                for k, rate in enumerate(rates)
            ]
            found = np.asarray(np.logaddexp(*each))
        return found.reshape(outcomes.shape)

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


def _relevant(view: GradientView, hospital: str | None) -> Openings:
    """Sums that say anything of a hospital: updates seen by themselves say it of their sender."""
    single = all(len(g.contributions) == 1 for g in view.gradients)
    openings = Openings.of(view.only(hospital=hospital) if single and hospital else view)
    if hospital is not None and hospital not in openings.hospitals:
        raise RefusedError(f"No sum of this view holds patients of {hospital!r}.")
    return openings


def _log_ratios(
    openings: Openings, hospital: str, people: Patients, drawn: Patients, rng: np.random.Generator
) -> NDArray[np.float64]:
    plan = openings.plan
    ours = (part for part in openings.each() if hospital in part.hospitals)
    if plan.pass_rounds is not None:
        return _of_passes(openings, hospital, people, drawn, rng)
    if plan.local_steps > 1:
        return walk_ratios(next(ours), hospital, people, drawn, rng)
    if plan.noise == "article":
        return article_ratios(next(ours), hospital, people, drawn, rng)
    if plan.sampling_size is None:
        return normal_ratios(openings, hospital, people, drawn)
    return normal_ratios(next(ours), hospital, people, drawn)


def _of_passes(
    openings: Openings, hospital: str, people: Patients, drawn: Patients, rng: np.random.Generator
) -> NDArray[np.float64]:
    """One who is in some step of a pass: of the first, or of all, where it is the same in all."""
    plan, steps = openings.plan, openings.plan.pass_rounds or 1
    read = plan.rounds if plan.correlated is not None else steps
    own: dict[int, list[int]] = {}
    for t, round_ in enumerate(openings.rounds):
        if round_ < read and hospital in openings.some([t]).hospitals:
            own.setdefault(round_ % steps, []).append(t)
    ratios = np.zeros((len(own), len(people)))
    for k, sums in enumerate(own.values()):
        part = openings.some(sums)
        if plan.noise == "article":
            ratios[k] = article_ratios(part, hospital, people, drawn, rng)
        else:
            ratios[k] = normal_ratios(part, hospital, people, drawn)
    return allocated_log_ratios(ratios, steps=steps)
