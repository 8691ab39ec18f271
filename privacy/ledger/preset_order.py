"""Rényi divergence at one preset order: what an adaptive filter may add up.

No theorem makes a total of privacy loss distributions a stopping rule when each event is chosen
after seeing the last result. Rényi divergences at *one* order, fixed beforehand, may be added up
and compared with a cap, however the events are chosen [1]. The order is an integer, chosen from
the budget alone and written into the ledger's first entry.

It is also the ledger's second road to every epsilon: nothing here is shared with the accountant.

>>> from privacy.ledger.requests import Budget
>>> budget = Budget(epsilon=1.0, delta=1e-5)
>>> best_order(budget)
18

References:
  [1] Feldman, Zrnic (2021), Individual Privacy Accounting via a Rényi Filter, Theorem 4.3
      (arXiv 2008.11193).
  [2] Canonne, Kamath, Steinke (2020), The Discrete Gaussian, Proposition 12 and Theorem 14
      (arXiv 2004.00010, v4).
  [3] Mironov, Talwar, Zhang (2019), Rényi DP of the Sampled Gaussian, Section 3.3
      (arXiv 1908.10530).
  [4] Zhu, Wang (2019), Poisson Subsampled Rényi DP, Theorem 5.
  [5] Kairouz, Liu, Steinke (2021), The Distributed Discrete Gaussian, Theorem 1
      (arXiv 2102.06387).
  [6] ``privacy.accounting.linear``: probabilities within a factor e^k of a Gaussian's, which adds
      at most k (2 order - 1) / (order - 1) <= 3 k to a divergence.
  [7] ``privacy.accounting.moments``: the proof, for sums of integer vectors too.
  [8] Papernot, Steinke (2022), Hyperparameter Tuning with Rényi DP, Theorem 2 (arXiv 2110.03620).
  [9] Kairouz and others (2021), Practical and Private Learning without Sampling, Appendix D
      (arXiv 2103.00039).
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from privacy.ledger.requests import Budget

__all__ = ["allowance", "best_order", "delta_at", "epsilon_at", "epsilon_of", "renyi"]

_ORDERS: tuple[int, ...] = (*range(2, 65), 80, 96, 128, 192, 256, 512, 1024)
_SLACK = 1 + 1e-12  # floating-point error, against us
_TERMS = 10_000  # of a sum over contributors that are added one by one
# One release of noise that is symmetric about 0: its pair is alike in both directions, and [3]'s
# sum bounds both ([7]). For any other mechanism [4] pays a factor of 3.
_ALIKE = ("GaussianDpEvent", "DiscreteGaussianDpEvent", "DistributedDiscreteGaussianDpEvent")


def epsilon_at(divergence: float, order: int, delta: float) -> float:
    """Epsilon that a divergence at ``order`` proves ([2], Proposition 12)."""
    alpha = order
    gain = math.log1p(-1 / alpha) - (math.log(delta) + math.log(alpha)) / (alpha - 1)
    return max(0.0, (divergence + gain) * _SLACK)


def epsilon_of(event: Mapping[str, Any], delta: float, relation: str) -> tuple[float, int]:
    """Epsilon that divergences prove for an event fixed beforehand, and the best order."""
    return min((epsilon_at(renyi(event, k, relation), k, delta), k) for k in _ORDERS)


def delta_at(
    event: Mapping[str, Any], epsilon: float, relation: str, order: int | None = None
) -> float:
    """Delta that divergences prove at an epsilon ([2], Proposition 12).

    Args:
      event: As plain JSON.
      epsilon: At least 0.
      relation: Name of the neighbouring relation.
      order: The preset order of an adaptive filter; None takes the best, which an event that was
        fixed beforehand allows.
    """
    best = 0.0  # log of delta = 1
    for alpha in _ORDERS if order is None else (order,):
        divergence = renyi(event, alpha, relation)
        if math.isfinite(divergence):
            gain = (alpha - 1) * (divergence - epsilon + math.log1p(-1 / alpha)) - math.log(alpha)
            best = min(best, gain)
    return min(1.0, math.exp(best) * _SLACK)


def allowance(budget: Budget, order: int) -> float:
    """Largest divergence at ``order`` that still proves the budget's epsilon."""
    return budget.epsilon / _SLACK - (
        math.log1p(-1 / order) - (math.log(budget.delta) + math.log(order)) / (order - 1)
    )


def best_order(budget: Budget) -> int:
    """The order that lets the largest Gaussian through, from the budget alone.

    For a divergence ``rho * order``, the shape of every Gaussian, the largest ``rho`` is
    ``allowance / order``.
    """
    if not budget.limited:
        return _ORDERS[0]
    return max(_ORDERS, key=lambda order: allowance(budget, order) / order)


def renyi(event: Mapping[str, Any], order: int, relation: str) -> float:
    """Upper bound on the Rényi divergence of an event at an integer order.

    Args:
      event: The event as plain JSON (``privacy.accounting.events.to_json``).
      order: At least 2.
      relation: Name of the neighbouring relation.

    Returns:
      The bound; ``inf`` where none is proved here: unknown events, unprotected ones, Poisson
      sampling under any relation but ``ADD_OR_REMOVE_ONE``, shuffled batches under that one, and a
      sample drawn from a sample (each further one would take ``order`` times as long).
    """
    return _divergence(event, order, relation, 0) * _SLACK


def _divergence(event: Mapping[str, Any], order: int, relation: str, samplings: int) -> float:
    rho = _concentrated(event, relation)
    if rho is not None:
        return rho * order
    match event["type"]:
        case "LinearOpeningsDpEvent":
            return _opened_together(event, order, relation)
        case "ComposedDpEvent":
            return _sum(_divergence(e, order, relation, samplings) for e in event["events"])
        case "SelfComposedDpEvent":
            once = _divergence(event["event"], order, relation, samplings)
            return float(event["count"] * once) if event["count"] else 0.0
        case "ZCDpEvent":
            return float(event["rho"]) * order + float(event["xi"])
        case "RepeatAndSelectDpEvent":
            return _selected(event, order, relation, samplings)
        case "RandomAllocationDpEvent" | "SeenAllocationDpEvent":
            # Given its step a patient is in one batch, and the others do not know of it.
            return _divergence(event["event"], order, relation, samplings)
        case "ShuffledBatchesDpEvent" if relation != "ADD_OR_REMOVE_ONE":
            # Given the order a patient is in one batch; orders are mixed, which is quasi-convex.
            return _divergence(event["event"], order, relation, samplings)
        case "PoissonSampledDpEvent" if relation == "ADD_OR_REMOVE_ONE" and not samplings:
            return _sampled(event["event"], float(event["sampling_probability"]), order)
    return math.inf


def _concentrated(event: Mapping[str, Any], relation: str) -> float | None:
    """Rho of a Gaussian of any make: its divergence is ``rho * order`` at every order."""
    shift = 1.0 if relation == "ADD_OR_REMOVE_ONE" else 2.0  # a replaced patient moves the sum 2 C
    match event["type"]:
        case "NoOpDpEvent":
            return 0.0
        case "GaussianDpEvent" | "DiscreteGaussianDpEvent":  # [2], Theorem 14, for the discrete one
            scale = float(event["noise_multiplier"])
            return _square(shift / scale) / 2 if scale > 0 else math.inf
        case "DistributedDiscreteGaussianDpEvent":
            return _distributed(event, shift)
        case "SingleEpochTreeAggregationDpEvent" if relation != "ADD_OR_REMOVE_ONE":
            shift = 1.0 if relation == "REPLACE_SPECIAL" else 2.0
            steps = event["step_counts"]
            nodes = int(max(steps) if isinstance(steps, list) else steps).bit_length()  # [9]
            return nodes * _square(shift / float(event["noise_multiplier"])) / 2
    return None


def _distributed(event: Mapping[str, Any], shift: float) -> float:
    """[5], Theorem 1 (the first two of its bounds), as rho."""
    scale = float(event["noise_multiplier"])
    if not scale > 0:
        return math.inf
    n, d = int(event["contributors"]), int(event["dim"])
    variance = _square(scale * float(event["radius"])) / n  # of one hospital's share, in steps
    alone = _square(shift / scale) * n / 2  # one share, the others being noise of their own: [2]
    if n > 1 and variance < 0.25:  # [5] asks for a parameter of 1/2
        return alone
    first = min(n - 1, _TERMS)
    terms = [math.exp(-2 * math.pi**2 * variance * (k / (k + 1))) for k in range(1, first + 1)]
    # the terms fall, so each that is left is at most the last
    tau = 10 * (math.fsum(terms) + (n - 1 - first) * (terms[-1] if terms else 0.0))
    lone = shift / scale
    return min(_square(lone) + tau * d / 2, _square(lone + tau * math.sqrt(d)), 2 * alone) / 2


def _opened_together(event: Mapping[str, Any], order: int, relation: str) -> float:
    """[6]: part of a Gaussian whose noise is narrower by r^2 in units of the openings."""
    shift = 1.0 if relation == "ADD_OR_REMOVE_ONE" else 2.0
    scale = float(event["noise_multiplier"])
    if not scale > 0:
        return math.inf
    variance = _square(scale * float(event["radius"]))
    answers = int(event["dim"]) * int(event["openings"])
    narrower = math.log(5e14 * answers) / (2 * math.pi**2)
    remaining_variance = variance * float(event["least_eigenvalue"]) - narrower
    tail = math.exp(-2 * math.pi**2 * variance / float(event["coset_spread"]))
    odd = 5 * max(0, int(event["uploads"]) - int(event["openings"])) * tail  # of one coordinate
    if remaining_variance < narrower or odd > 1e-6:
        return math.inf
    slack = 3 * answers * (5 * math.exp(-2 * math.pi**2 * narrower)) + 3 * int(event["dim"]) * odd
    rho = (
        _square(shift / scale) * float(event["leverage"]) / 2 * (1 + narrower / remaining_variance)
    )
    return rho * order + 3 * slack


def _selected(event: Mapping[str, Any], order: int, relation: str, samplings: int) -> float:
    """[8]: the best of K runs, K of a truncated negative binomial law with a given mean."""
    mean, shape = float(event["mean"]), float(event["shape"])
    once = _divergence(event["event"], order, relation, samplings)
    if mean == 1 or math.isinf(once):
        return once
    # No divergence is larger than one of a higher order, where the mean weighs less.
    least = min(
        _divergence(event["event"], k, relation, samplings) + math.log(mean) / (k - 1)
        for k in {order, *(order * 2**i for i in range(9) if order * 2**i <= 512)}
    )
    low, high = 0.0, 700.0  # of log(1 / gamma): the mean rises with it
    for _ in range(200):
        middle = (low + high) / 2
        lost = -math.expm1(-middle)  # 1 - gamma
        law = middle if shape == 0 else -math.expm1(-shape * middle) / shape
        low, high = (middle, high) if lost * math.exp(middle) < mean * law else (low, middle)
    seconds = (2, 3, 4, 6, 8, 12, 16, 24, 32, 64, order)
    both = [
        (1 - 1 / k) * _divergence(event["event"], k, relation, samplings) + high / k
        for k in seconds
    ]
    return float(least + (1 + shape) * min(high, *both))


def _sampled(inner: Mapping[str, Any], q: float, order: int) -> float:
    """Poisson sampling, adding or removing one."""
    if q == 0:
        return 0.0
    at = [0.0, 0.0] + [_divergence(inner, j, "ADD_OR_REMOVE_ONE", 1) for j in range(2, order + 1)]
    if q == 1 or math.isinf(at[order]):
        return at[order]
    factor = 1.0 if inner["type"] in _ALIKE else 3.0
    terms = [(order - 1) * math.log1p(-q) + math.log(order * q - q + 1)]
    for j in range(2, order + 1):
        weight = math.log(math.comb(order, j)) + (order - j) * math.log1p(-q) + j * math.log(q)
        terms.append(weight + (j - 1) * at[j] + (math.log(factor) if j > 2 else 0.0))
    top = max(terms)
    if math.isinf(top):
        return math.inf
    total = top + math.log(math.fsum(math.exp(term - top) for term in terms))
    return max(0.0, total) / (order - 1)


def _square(value: float) -> float:
    """The square; ``inf`` where it is beyond every float (``**`` would raise)."""
    return value * value


def _sum(values: Iterable[float]) -> float:
    """The sum; ``inf`` where it is beyond every float (``fsum`` would raise)."""
    try:
        return math.fsum(values)
    except OverflowError:
        return math.inf
