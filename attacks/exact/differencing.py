r"""Membership differencing: a hospital's own gradient, from sums in which it is missing at times.

When the same gradients enter several opened sums with changing membership, the sums are
:math:`S = P G + \text{noise}` with a public 0/1 matrix P of who took part. The transcript shows
it: what Lam et al. (2021, *Gradient Disaggregation*, section 4) have to search for by an integer
program is given here. Whatever row of the identity lies in P's row space is isolated by its least
squares weights; the same weights average repeated releases, and the noise left over is known.

It needs gradients at one model over all patients: a model that stands still (a converged one, a
server that repeats a round), and no sampling. The opening policy forbids it by letting each
contribution enter one sum only; repeated rounds are the accountant's business.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from attacks.exact.closed_form import ClosedForm
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Reconstruction
from attacks.views import Gradient, GradientView, Observation, SumPart, require
from privacy.errors import RefusedError

__all__ = ["Differencing"]

_EXACT = 1e-9


@dataclass(frozen=True)
class Differencing:
    """The attack on sums at one model, of full batches, whose contributors are seen.

    Guarantees (each is a test in ``tests/attacks/exact/test_differencing.py``):
      - without noise, an isolated gradient is the hospital's, to the last integer;
      - with noise, its standard deviation is the one stated, smaller for every repeat;
      - a hospital that the sums do not determine is left out.
    """

    name: ClassVar[str] = "differencing"
    needs: ClassVar[type[GradientView]] = GradientView

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Isolate whom the sums determine, then read each one's own gradient in closed form.

        Raises:
          RefusedError: As ``isolate``; or the sums determine nobody.
        """
        view = self.isolate(observation)
        if not view.gradients:
            raise RefusedError(
                "The sums determine no hospital's own gradient: the same ones take part in all "
                "sums at one model. Watch more rounds, or attack the sums as they are."
            )
        return ClosedForm().reconstruct(view, prior)

    def isolate(self, observation: Observation) -> GradientView:
        """Return each hospital's own gradient as far as the sums determine it.

        Raises:
          RefusedError: The adversary sees no gradient; rounds were sampled, so that the same
            hospital's gradients are not the same; or their noise is correlated.
        """
        view = require(observation, GradientView, self.name)
        if view.plan.draws_patients:
            raise RefusedError(
                "Differencing needs the same patients in every sum; this plan draws them anew each "
                "round. Attack the rounds one by one."
            )
        groups: dict[bytes, list[Gradient]] = defaultdict(list)
        for g in view.gradients:
            if all(np.array_equal(c.params, g.contributions[0].params) for c in g.contributions):
                groups[g.contributions[0].params.tobytes()].append(g)
        gradients = [isolated for group in groups.values() for isolated in _isolate(group)]
        return replace(view, gradients=tuple(gradients))


def _isolate(group: list[Gradient]) -> list[Gradient]:
    names = sorted({name for g in group for name in g.hospitals})
    membership = np.array([[float(name in g.hospitals) for name in names] for g in group])
    stds = np.array([max(g.noise_std, 1e-12) for g in group])
    # Weighted least squares: the best linear unbiased combination under independent noise.
    scaled = membership / stds[:, None]
    weights = np.linalg.pinv(scaled) / stds
    determined = np.abs(weights @ membership - np.eye(len(names))).max(axis=1) < _EXACT
    sums = np.stack([g.integers for g in group]).astype(np.float64)
    isolated = []
    for k in np.flatnonzero(determined):
        noise = float(np.sqrt((weights[k] ** 2) @ np.array([g.noise_std**2 for g in group])))
        isolated.append(
            Gradient(
                round=group[0].round,
                contributions=(SumPart(names[k], group[0].contributions[0].params),),
                integers=np.rint(weights[k] @ sums).astype(np.int64),
                noise_std=noise,
            )
        )
    return isolated
