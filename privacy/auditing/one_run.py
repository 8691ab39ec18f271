r"""Lower bounds on epsilon from guesses about canaries, in one run.

``m`` canaries are each put in or left out by a fair coin; somebody who sees the release guesses for
``r`` of them. A guess is right with probability at most :math:`e^\varepsilon/(1+e^\varepsilon)`
under pure epsilon-DP, so too many right guesses refute epsilon.

An audit of hospital size can falsify a claim but never confirm a small one: ``audit`` says
"falsified" or "not falsified", with the epsilon that it had the power to see.

>>> round(epsilon_lower_bound(100, 100, 100, delta=0.0, confidence=0.95), 3)
3.493
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import bdtrc, expit, ndtr, ndtri

from privacy._validate import finite_array, half_open, natural, non_negative, unit_open
from privacy.accounting._search import bisect_up
from privacy.errors import InvalidInputError

__all__ = [
    "Audit",
    "LowerBound",
    "audit",
    "ceiling",
    "epsilon_lower_bound",
    "gaussian_lower_bound",
    "split_lower_bound",
]

_LARGEST = 60.0
_THRESHOLDS = 10


@runtime_checkable
class LowerBound(Protocol):
    """A bound from counts of guesses."""

    def __call__(
        self, guesses: int, correct: int, canaries: int, *, delta: float, confidence: float
    ) -> float:
        """Return an epsilon that is refuted."""
        ...


def epsilon_lower_bound(
    guesses: int, correct: int, canaries: int, *, delta: float, confidence: float
) -> float:
    r"""Return an epsilon that is refuted: the mechanism is not (epsilon, delta)-DP below it.

    Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846), Theorem 5.2: with
    :math:`\beta_i = P[Bin(r, e^\varepsilon/(1+e^\varepsilon)) \ge v - i]`, the chance of v right
    guesses is at most :math:`\beta_0 + 2 m \delta \max_{1 \le i \le m} (\beta_i - \beta_0)/i`.

    Guarantees (each is a test in ``tests/privacy/auditing/test_one_run.py``):
      - of runs of a mechanism that *is* (epsilon, delta)-DP, at most 1 - ``confidence`` get a
        bound above epsilon; chance-level guesses get more than 0 in at most as many;
      - more right guesses never lower it; more delta, or more canaries, never raise it.

    Args:
      guesses: r, canaries that were guessed for (the rest abstained from).
      correct: v, right ones among them.
      canaries: m, all canaries whose coin was tossed.
      delta: The claim's delta, in [0, 1).
      confidence: In (0, 1), commonly .95.

    Raises:
      InvalidInputError: correct <= guesses <= canaries does not hold, or a value is out of range.
    """
    _check_counts(guesses, correct, canaries)
    half_open(delta=delta)
    alpha = 1 - unit_open(confidence=confidence)
    if _chance(guesses, correct, canaries, 0.0, delta) > alpha:
        return 0.0
    # The largest refuted epsilon, from below: bisect the smallest that is not refuted.
    refuted = bisect_up(
        lambda e: _chance(guesses, correct, canaries, e, delta) > alpha, 0.0, _LARGEST
    )
    return refuted * (1 - 1e-9)


def gaussian_lower_bound(
    guesses: int, correct: int, canaries: int, *, delta: float, confidence: float
) -> float:
    r"""Return a lower bound on epsilon *if* the mechanism's trade-off curve is some Gaussian's.

    Mahloujifar, Melis and Chaudhuri 2024 (arXiv 2410.22235), Algorithm 3, with the family of
    mu-Gaussian trade-off curves: sharper than ``epsilon_lower_bound`` and conditional on that
    family. The largest refuted mu becomes an epsilon at ``delta``.

    Raises:
      InvalidInputError: As ``epsilon_lower_bound``; ``delta`` must be above 0.
    """
    from privacy.accounting.gaussian import gaussian_epsilon

    _check_counts(guesses, correct, canaries)
    unit_open(delta=delta)
    alpha = 1 - unit_open(confidence=confidence)
    if not _gaussian_refuted(0.0, guesses, correct, canaries, alpha):
        return 0.0
    mu = bisect_up(
        lambda m: not _gaussian_refuted(m, guesses, correct, canaries, alpha),
        0.0,
        20.0,
        tolerance=1e-6,
    )
    return gaussian_epsilon(mu=mu * (1 - 1e-5), delta=delta) * (1 - 1e-9)


def split_lower_bound(
    scores: Float[np.ndarray, "canaries"],
    members: Bool[np.ndarray, "canaries"],
    *,
    bound: LowerBound,
    delta: float,
    confidence: float,
    rng: np.random.Generator,
) -> float:
    """Return a lower bound on epsilon from scores: how many guesses to make is itself chosen.

    Half of the canaries choose the threshold above which "in" is guessed; the other half bounds.
    Choosing and bounding on the same canaries would need a correction for every choice.

    Args:
      scores: Of each canary, large where it seems to be in.
      members: Which of them are in.
      bound: ``epsilon_lower_bound`` or ``gaussian_lower_bound``.
      delta: See ``bound``.
      confidence: See ``bound``.
      rng: Splits the canaries.

    Raises:
      InvalidInputError: Fewer than two canaries, scores that are no numbers, ``members`` that do
        not fit them, or as ``bound``.
    """
    finite_array(scores=scores)
    finite_array(members=members)
    if members.dtype != np.bool_ or members.shape != scores.shape or scores.ndim != 1:
        raise InvalidInputError(
            f"Expected scores and members of one length, members true or false; got the shapes "
            f"{scores.shape} and {members.shape}, members of type {members.dtype}."
        )
    natural(canaries=len(scores), least=2)
    order = rng.permutation(len(scores))
    choosing, held_out = order[: len(order) // 2], order[len(order) // 2 :]
    ranked = choosing[np.argsort(-scores[choosing], kind="stable")]
    right = np.cumsum(members[ranked])
    counts = np.unique(np.geomspace(1, len(ranked), _THRESHOLDS).astype(int))

    def chosen(r: int) -> float:
        return bound(r, int(right[r - 1]), len(ranked), delta=delta, confidence=confidence)

    best = max((int(r) for r in counts), key=chosen)
    guessed = scores[held_out] >= scores[ranked[best - 1]]
    correct = int((guessed & members[held_out]).sum())
    return bound(int(guessed.sum()), correct, len(held_out), delta=delta, confidence=confidence)


def ceiling(canaries: int, *, delta: float, confidence: float) -> float:
    """Return the largest epsilon such an audit could show: all canaries guessed, all right."""
    return epsilon_lower_bound(canaries, canaries, canaries, delta=delta, confidence=confidence)


@dataclass(frozen=True)
class Audit:
    """The outcome of an audit of a claimed epsilon.

    Attributes:
      claimed: The epsilon that was claimed.
      lower_bound: The epsilon that is refuted.
      power: The largest epsilon that the audit could have shown.
      falsified: Whether ``lower_bound`` exceeds ``claimed``.
    """

    claimed: float
    lower_bound: float
    power: float

    @property
    def falsified(self) -> bool:
        """Whether the claim is refuted."""
        return self.lower_bound > self.claimed

    def __str__(self) -> str:
        if self.falsified:
            return f"falsified: epsilon >= {self.lower_bound:.3g}, claimed {self.claimed:.3g}"
        return f"not falsified, with power to see epsilon >= {self.power:.3g} at most"


def audit(
    guesses: int,
    correct: int,
    canaries: int,
    *,
    claimed: float,
    delta: float,
    confidence: float = 0.95,
) -> Audit:
    """Put a claim to the test with the guesses of one run; see ``epsilon_lower_bound``."""
    non_negative(claimed=claimed)
    bound = epsilon_lower_bound(guesses, correct, canaries, delta=delta, confidence=confidence)
    return Audit(claimed, bound, ceiling(canaries, delta=delta, confidence=confidence))


def _check_counts(guesses: int, correct: int, canaries: int) -> None:
    natural(guesses=guesses)
    natural(correct=correct)
    natural(canaries=canaries)
    if not correct <= guesses <= canaries:
        raise InvalidInputError(
            f"Expected correct={correct} <= guesses={guesses} <= canaries={canaries}."
        )


def _chance(guesses: int, correct: int, canaries: int, epsilon: float, delta: float) -> float:
    """Return the largest chance of so many right guesses under (epsilon, delta)-DP."""
    if correct == 0:
        return 1.0
    p = float(expit(epsilon))
    least = np.arange(correct, -1, -1)  # v - i for i = 0 ... v; beyond, beta stays 1
    tails = np.where(least > 0, bdtrc(np.maximum(least - 1, 0), guesses, p), 1.0)
    gains = (tails[1:] - tails[0]) / np.arange(1, correct + 1)
    return min(1.0, float(tails[0] + 2 * canaries * delta * gains.max(initial=0.0)))


def _gaussian_refuted(mu: float, guesses: int, correct: int, canaries: int, alpha: float) -> bool:
    r"""Walk the recursion of Mahloujifar et al. 2024, Algorithm 3 (``audit_rh_with_cap``).

    ``right`` and ``wrong`` are the masses of right and of wrong guesses when so many are right by
    chance :math:`\alpha`; fewer right guesses follow, and what a wrong guess keeps is at least
    :math:`\Phi(\Phi^{-1}(right) - \mu)`. Together they can't pass the share of guesses.
    """
    right = alpha * correct / canaries
    wrong = alpha * (guesses - correct) / canaries
    for i in range(correct - 1, -1, -1):
        kept = float(ndtr(ndtri(right) - mu)) if right < 1 else 1.0
        if kept <= wrong:
            break  # neither mass changes any more
        right = min(1.0, right + i / (guesses - i) * (kept - wrong))
        wrong = kept
    return right + wrong > guesses / canaries
