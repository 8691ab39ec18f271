"""Several tests at once: which still stand when a false one should be rare among all of them."""

from collections.abc import Sequence
from statistics import NormalDist

from experiments.evaluation.scored import Estimate
from privacy._validate import fraction

__all__ = ["holm", "p_beyond"]

_NORMAL = NormalDist()


def holm(p_values: Sequence[float], *, level: float) -> frozenset[int]:
    """Return the places of what is rejected by Holm (1979), Scand J Stat 6:65.

    Whatever the tests' dependence, one or more true hypotheses are rejected with probability at
    most ``level`` (a test in ``tests/experiments/evaluation/test_several_tests.py`` draws them).

    >>> sorted(holm([0.01, 0.04, 0.03], level=0.05)), sorted(holm([0.01, 0.02, 0.03], level=0.05))
    ([0], [0, 1, 2])

    Raises:
      InvalidInputError: A level that is no probability.
    """
    fraction(level=level)
    rejected = set()
    for rank, k in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        if p_values[k] > level / (len(p_values) - rank):
            break
        rejected.add(k)
    return frozenset(rejected)


def p_beyond(estimate: Estimate, margin: float) -> float:
    """Return the one-sided p-value of an estimate's standing on its own side of a margin.

    It is that of a normal estimate with the interval's width: an interval of level 1 - 2p just
    touches the margin.

    >>> two_sided = Estimate(1.96, 0.0, 3.92)
    >>> round(p_beyond(two_sided, 0.0), 3), round(p_beyond(two_sided, 1.96), 3)
    (0.025, 0.5)
    """
    error = estimate.half_width / _NORMAL.inv_cdf((1 + estimate.confidence) / 2)
    gap = abs(estimate.value - margin)
    return _NORMAL.cdf(-gap / error) if error > 0 else (0.5 if gap == 0 else 0.0)
