r"""Telling two neighbouring data sets apart, and what a noise scale taken from the data gives away.

The article scales its noise by the gradient's own norm. Whoever sees many noisy coordinates reads
the scale, and with it the norm: neighbours whose norms differ are told apart whatever epsilon was
asked for (``scale_epsilon``, exact). And a gradient of norm 0 gets no noise: no finite epsilon.

>>> round(scale_epsilon(1.1, dim=100, delta=1e-5), 1)
8.0
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.special import bdtri, betaincinv, chdtr, chdtrc

from privacy._validate import finite_array, half_open, natural, positive, unit_open
from privacy.accounting._search import bisect_up
from privacy.errors import InvalidInputError

__all__ = ["distinguish", "scale_epsilon"]


def scale_epsilon(ratio: float, *, dim: int, delta: float) -> float:
    r"""Return the exact epsilon between normal noises whose scales differ, the centres being equal.

    :math:`N(0, s^2 I_d)` against :math:`N(0, \rho^2 s^2 I_d)`: the privacy loss is a monotone
    function of :math:`\|x\|^2`, which is chi-squared with d degrees of freedom, so both
    hockey-stick divergences are differences of two chi-squared tails.

    Args:
      ratio: Larger scale over the smaller, above 1: how much a neighbour's norm differs.
      dim: Coordinates that are seen.
      delta: In (0, 1).
    """
    positive(ratio=ratio)
    natural(dim=dim, least=1)
    unit_open(delta=delta)
    rho = max(ratio, 1 / ratio)
    if rho == 1:
        return 0.0
    offset, slope = dim * math.log(rho), (1 - rho**-2) / 2

    def divergence(epsilon: float) -> float:
        # t: squared norm over s^2. Wide noise has the larger density where slope t > offset + e.
        wide = (offset + epsilon) / slope
        wider = chdtrc(dim, wide / rho**2) - math.exp(epsilon) * chdtrc(dim, wide)
        narrow = max((offset - epsilon) / slope, 0.0)
        narrower = chdtr(dim, narrow) - math.exp(epsilon) * chdtr(dim, narrow / rho**2)
        return float(max(wider, narrower))

    if divergence(0.0) <= delta:
        return 0.0
    high = 1.0
    while divergence(high) > delta:
        high *= 2
    return bisect_up(lambda e: divergence(e) <= delta, 0.0, high)


def distinguish(
    release: Callable[[int, bool], Float[np.ndarray, "trials"]],
    *,
    trials: int,
    delta: float,
    confidence: float = 0.95,
) -> float:
    """Return a lower bound on a mechanism's epsilon, from runs on two neighbouring data sets.

    Half of the runs choose a threshold on the score, the other half bound by Clopper and Pearson
    how often each data set passes it: with probability ``confidence`` the mechanism is not
    (epsilon, delta)-DP for any epsilon below the result.

    Args:
      release: ``release(trials, with_patient)`` runs the mechanism that often and returns a score
        of each release, large where the patient seems to be in; fresh noise in every call.
      trials: Runs on each data set, in each half.
      delta: The claim's delta, in [0, 1).
      confidence: In (0, 1).

    Raises:
      InvalidInputError: A parameter is out of range, or ``release`` returned something else than
        ``trials`` finite scores.
    """
    natural(trials=trials, least=10)
    half_open(delta=delta)
    alpha = (1 - unit_open(confidence=confidence)) / 2  # two one-sided bounds

    def scores(with_patient: bool) -> Float[np.ndarray, "trials"]:
        trial_scores = finite_array(scores=release(trials, with_patient))
        if trial_scores.shape != (trials,):
            raise InvalidInputError(
                f"Expected release(trials, ...) to return {trials} scores, got the shape "
                f"{trial_scores.shape}."
            )
        return trial_scores

    choose_in, choose_out = scores(True), scores(False)
    candidates = np.unique(np.quantile(np.concatenate([choose_in, choose_out]), _QUANTILES))
    threshold = max(
        candidates,
        key=lambda c: _bound(
            int((choose_in >= c).sum()), int((choose_out >= c).sum()), trials, delta, alpha
        ),
    )
    hits = int((scores(True) >= threshold).sum())
    alarms = int((scores(False) >= threshold).sum())
    return _bound(hits, alarms, trials, delta, alpha)


_QUANTILES = np.linspace(0.005, 0.995, 199)


def _bound(hits: int, alarms: int, trials: int, delta: float, alpha: float) -> float:
    """Clopper-Pearson: hits at least, alarms at most; epsilon >= log((hits - delta) / alarms)."""
    least = float(betaincinv(hits, trials - hits + 1, alpha)) if hits else 0.0
    most = float(bdtri(alarms, trials, alpha)) if alarms < trials else 1.0
    if least <= delta or most <= 0:
        return 0.0
    return max(0.0, math.log((least - delta) / most))
