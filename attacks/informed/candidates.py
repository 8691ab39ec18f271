r"""The exact likelihood of each person of a finite pool, given a release less what is known.

A release is the known patients' sum, the target's clipped and rounded gradient g, and noise. What
is left after subtraction, r, is g + noise if the target took part, and noise alone if not. Against
the latter, a candidate z is worth

.. math:: \ell_t(z) = \log\left(1 - q_t + q_t \exp\frac{\lVert r_t \rVert^2
          - \lVert r_t - g_t(z) \rVert^2}{2 s_t^2}\right)

in a round that draws the target with probability :math:`q_t` (1: it took part for certain): the
likelihood of the sampled Gaussian mechanism, whose trade-off curve is what the accountant composes.
Summed over rounds, with the prior's logarithm, it is the exact posterior, so that no attack on the
same view names the target more often (Hayes, Mahloujifar and Balle 2023, section 4, attack by the
prior-aware likelihood).
"""

import math
from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float, Int, Real
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from aggregation.plan import Plan
from privacy.errors import InvalidInputError

__all__ = [
    "allocated_log_ratios",
    "article_log_ratios",
    "correlated_log_ratios",
    "log_ratios",
    "matrix_log_ratios",
    "passes_log_ratios",
    "posterior",
]

_ROUNDING = 1 / 12  # variance of what rounding alone leaves, in squared integer steps


def log_ratios(
    residuals: Real[np.ndarray, "*targets dim"],
    rows: Real[np.ndarray, "*targets candidates dim"],
    *,
    std: float,
    prob: float,
) -> Float[np.ndarray, "*targets candidates"]:
    """Return one round's log-likelihood of each candidate, against nobody's taking part.

    Args:
      residuals: The release less what is known, in integer steps, for each target.
      rows: What each candidate would add, in integer steps.
      std: Noise on a coordinate, in integer steps; 0 is taken as rounding alone.
      prob: Probability that the target took part in this round.
    """
    unexplained = residuals.astype(np.float64)
    gaps = (unexplained[..., None, :] - rows) ** 2
    ratios = ((unexplained**2).sum(-1)[..., None] - gaps.sum(-1)) / (2 * max(std**2, _ROUNDING))
    return _sampled(np.asarray(ratios), prob)


def matrix_log_ratios(
    residuals: Real[np.ndarray, "*targets openings dim"],
    moves: Real[np.ndarray, "*targets candidates openings dim"],
    *,
    openings: Float[np.ndarray, "openings uploads"],
    std: float,
) -> Float[np.ndarray, "*targets candidates"]:
    r"""Return the log-likelihood of each candidate where one upload's noise is in several openings.

    Openings are :math:`A (x + z)`, z independent normal noise of the uploads, so their noise has
    covariance :math:`s^2 A A^\top` on each coordinate, and with its Cholesky factor L a candidate
    that moves them by M is worth :math:`(\lVert L^{-1} R \rVert^2 - \lVert L^{-1} (R - M)
    \rVert^2) / 2`, R what is left of them: the matrix mechanism's likelihood, exactly (Denisov et
    al. 2022, arXiv 2202.08312v2, section 2). Uploads that differ by the models which earlier
    openings led to change nothing: those models are seen.

    Args:
      residuals: The openings less what is known, in integer steps, for each target.
      moves: What each candidate would add to every opening, in integer steps.
      openings: A, one column an upload; those of colluders, who know their noise, are left out.
      std: Noise on a coordinate of *one upload*, in integer steps; 0 is taken as rounding alone.
    """
    lower = np.linalg.cholesky(max(std**2, _ROUNDING) * (openings @ openings.T))

    def whitened(values: Real[np.ndarray, "*any openings dim"]) -> Float[np.ndarray, "*any all"]:
        count, dim = values.shape[-2:]
        columns = np.moveaxis(values.astype(np.float64), -2, 0).reshape(count, -1)
        white = solve_triangular(lower, columns, lower=True).reshape(count, *values.shape[:-2], dim)
        return np.asarray(np.moveaxis(white, 0, -2).reshape(*values.shape[:-2], count * dim))

    white_residuals, added = whitened(residuals), whitened(moves)
    gaps = (white_residuals[..., None, :] - added) ** 2
    return np.asarray(((white_residuals**2).sum(-1)[..., None] - gaps.sum(-1)) / 2)


def article_log_ratios(
    plan: Plan,
    seen: Int[np.ndarray, "dim"],
    known_sum: Float[np.ndarray, "*targets dim"],
    gradients: Float[np.ndarray, "*targets candidates dim"],
    *,
    prob: float,
) -> Float[np.ndarray, "*targets candidates"]:
    r"""Return the same under the article's noise, whose scale is a function of the patients.

    Under candidate z the upload is normal around :math:`u_z = k + g(z)` with deviation
    :math:`c \lVert u_z \rVert`: the scale of the noise alone says something of z, which a
    mechanism with constant noise never does.

    Args:
      plan: With the article's noise.
      seen: The upload, in integer steps.
      known_sum: Sum of the known patients' gradients, in units of the parameters, for each target.
      gradients: Each candidate's gradient, in units of the parameters.
      prob: Probability that the target took part.
    """
    factor = math.sqrt(2 * math.log(1.25 / plan.delta)) / (plan.epsilon or math.inf)
    upload = seen * plan.step

    def log_density(mean: Float[np.ndarray, "*any dim"]) -> Float[np.ndarray, "*any"]:
        variance = factor**2 * (mean**2).sum(-1) + _ROUNDING * plan.step**2
        gap = ((upload - mean) ** 2).sum(-1)
        return np.asarray(-0.5 * (gap / variance + len(seen) * np.log(variance)))

    present = log_density(known_sum[..., None, :] + gradients)
    return _sampled(np.asarray(present - log_density(known_sum)[..., None]), prob)


def allocated_log_ratios(
    ratios: Float[np.ndarray, "steps *any"], *, steps: int
) -> Float[np.ndarray, "*any"]:
    """Return the same of a whole pass, of which one took part in one step, whichever.

    Given the step, the pass is worth what that step is; so the ratios' mean is the likelihood.

    Args:
      ratios: Of the steps that were seen, each as if one had surely taken part in it.
      steps: How many the pass has; one who was in a step that was not seen left no trace.
    """
    unseen = np.zeros((steps - len(ratios), *ratios.shape[1:]))
    return np.asarray(logsumexp(np.concatenate([ratios, unseen]), axis=0) - math.log(steps))


def passes_log_ratios(
    ratios: Float[np.ndarray, "sums *any"], rounds: Sequence[int], *, steps: int
) -> Float[np.ndarray, "*any"]:
    """Return the same of several passes, the step drawn anew for each.

    Args:
      ratios: Of each sum that was seen, as in ``allocated_log_ratios``.
      rounds: Of these sums, no round twice.
      steps: Rounds of a pass.
    """
    number = np.asarray(rounds) // steps
    passes = [allocated_log_ratios(ratios[number == k], steps=steps) for k in np.unique(number)]
    return np.asarray(np.sum(passes, axis=0))


def correlated_log_ratios(
    plan: Plan,
    residuals: Real[np.ndarray, "*targets sums dim"],
    moves: Real[np.ndarray, "*targets candidates sums dim"],
    *,
    rounds: Sequence[int],
    contributors: Sequence[Collection[str]],
) -> Float[np.ndarray, "*targets candidates"]:
    r"""Return the same where each hospital's noise is correlated over rounds.

    But for rounding the sums are :math:`x + C^{-1} z` (``privacy.accounting.matrix_noise``): a
    matrix mechanism whose columns are what each hospital drew for each round.

    Args:
      plan: With a correlation; in passes, a patient is in the same step of each.
      residuals: The sums less what is known, in integer steps, for each target.
      moves: What each candidate would add to every sum in which it took part.
      rounds: Of the sums, no round twice.
      contributors: Of each sum, whose noise is not known.
    """
    if plan.correlated is None:
        raise InvalidInputError(f"The noise of plan {plan.run!r} is not correlated over rounds.")
    sent = plan.correlated.inverse(plan.rounds)[list(rounds)]
    names = sorted({name for some in contributors for name in some})
    there = np.array([[name in some for name in names] for some in contributors])
    openings = np.hstack([sent * there[:, [k]] for k in range(len(names))])
    if plan.pass_rounds is None:
        return matrix_log_ratios(residuals, moves, openings=openings, std=plan.share_std)
    step = np.asarray(rounds) % plan.pass_rounds
    ratios = [
        matrix_log_ratios(
            residuals, moves * (step == k)[:, None], openings=openings, std=plan.share_std
        )
        for k in np.unique(step)
    ]
    return allocated_log_ratios(np.stack(ratios), steps=plan.pass_rounds)


def posterior(
    log_likelihoods: Float[np.ndarray, "*targets candidates"],
) -> Float[np.ndarray, "*targets candidates"]:
    """Return probabilities that sum to 1 over the candidates."""
    weights = np.exp(log_likelihoods - log_likelihoods.max(-1, keepdims=True))
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def _sampled(
    ratios: Float[np.ndarray, "*targets candidates"], prob: float
) -> Float[np.ndarray, "*targets candidates"]:
    """Mix with not having taken part: log(1 - q + q e^ratio), without overflow."""
    if prob >= 1:
        return ratios
    return np.asarray(np.logaddexp(math.log1p(-prob), math.log(prob) + ratios))
