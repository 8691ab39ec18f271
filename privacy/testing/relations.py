"""Metamorphic relations that every accountant must keep, as reusable checks.

An accountant is a function ``epsilon(event, delta, relation) -> float`` (an upper bound). A
relation compares it with itself on related events, or with a closed form: no oracle is needed.

    assert check_accountant(my_epsilon, unsupported=MyUnsupportedEventError) == []
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp

from privacy.accounting.gaussian import gaussian_epsilon

__all__ = ["Accountant", "Broken", "check_accountant"]

Accountant = Callable[[dp.DpEvent, float, Relation], float]
_ADD, _REPLACE = Relation.ADD_OR_REMOVE_ONE, Relation.REPLACE_ONE
_TOLERANCE = 5e-3  # relative, and 1e-3: what a grid may cost


@dataclass(frozen=True)
class Broken:
    """A relation that an accountant breaks.

    Attributes:
      relation: Its name: ``loop``, ``sampling``, ``noise``, ``rounds``, ``delta``, ``closed_form``,
        ``unsampled`` or ``positive``.
      message: The two numbers that don't fit.
    """

    relation: str
    message: str


def check_accountant(
    epsilon: Accountant, *, unsupported: type[Exception] | tuple[type[Exception], ...]
) -> list[Broken]:
    """Return the relations that do not hold, one finding a relation at most.

    Args:
      epsilon: The accountant.
      unsupported: What it raises for events or relations that it does not know; a comparison that
        needs one of these is left out.
    """
    findings: dict[str, Broken] = {}
    for compare in _comparisons(epsilon):
        try:
            broken = compare()
        except unsupported:
            continue
        if broken is not None:
            findings.setdefault(broken.relation, broken)
    return list(findings.values())


def _comparisons(epsilon: Accountant) -> Iterator[Callable[[], Broken | None]]:
    for event, relation in (
        (dp.GaussianDpEvent(2.0), _ADD),
        (dp.GaussianDpEvent(2.0), _REPLACE),
        (_sampled(1.0, 0.1), _ADD),
        (dp.LaplaceDpEvent(3.0), _ADD),
        (dp.RandomizedResponseDpEvent(0.5, 3), _REPLACE),
    ):
        nested = dp.SelfComposedDpEvent(dp.SelfComposedDpEvent(event, 2), 3)
        for other in (dp.ComposedDpEvent([event] * 6), nested):
            yield partial(_loop, epsilon, event, other, relation)
    for multiplier, prob, rounds in ((0.8, 0.05, 20), (2.0, 0.3, 50), (1.0, 0.01, 200)):
        base = _sampled(multiplier, prob)
        for name, one, n, delta in (
            ("noise", _sampled(0.9 * multiplier, prob), rounds, 1e-5),
            ("sampling", _sampled(multiplier, 1.2 * prob), rounds, 1e-5),
            ("rounds", base, 2 * rounds, 1e-5),
            ("delta", base, rounds, 1e-6),
            ("unsampled", dp.GaussianDpEvent(multiplier), rounds, 1e-5),
        ):
            worse = dp.SelfComposedDpEvent(one, n)
            yield partial(
                _monotone, epsilon, name, dp.SelfComposedDpEvent(base, rounds), worse, delta
            )
    for relation, factor in ((_ADD, 1), (_REPLACE, 2)):
        for multiplier, rounds in ((1.0, 10), (5.0, 1), (20.0, 300)):
            gaussian = dp.GaussianDpEvent(multiplier)
            mu = factor * math.sqrt(rounds) / multiplier
            for one in (gaussian, dp.PoissonSampledDpEvent(1.0, gaussian)):
                event = dp.SelfComposedDpEvent(one, rounds)
                yield partial(_closed_form, epsilon, event, mu, relation)


def _loop(
    epsilon: Accountant, event: dp.DpEvent, other: dp.DpEvent, relation: Relation
) -> Broken | None:
    """Composing n times is the same as listing it n times, or nesting the count."""
    counted = epsilon(dp.SelfComposedDpEvent(event, 6), 1e-5, relation)
    listed = epsilon(other, 1e-5, relation)
    if abs(counted - listed) <= _TOLERANCE * max(counted, listed) + 1e-3:
        return None
    return Broken("loop", f"{event} x 6: {counted:.6g} counted, {listed:.6g} otherwise.")


def _monotone(
    epsilon: Accountant, name: str, event: dp.DpEvent, worse: dp.DpEvent, delta: float
) -> Broken | None:
    """Less noise, more sampling, more rounds, a smaller delta: never a smaller epsilon."""
    base, other = epsilon(event, 1e-5, _ADD), epsilon(worse, delta, _ADD)
    if base < 0:
        return Broken("positive", f"{event}: epsilon {base:.6g} is negative.")
    if other >= base * (1 - _TOLERANCE) - 1e-3:
        return None
    return Broken(name, f"{event}: {base:.6g}, but worse for the patient gives {other:.6g}.")


def _closed_form(
    epsilon: Accountant, event: dp.DpEvent, mu: float, relation: Relation
) -> Broken | None:
    """Without sampling, Gaussians have a closed form; an upper bound can't lie below it."""
    truth, accounted = gaussian_epsilon(mu=mu, delta=1e-5), epsilon(event, 1e-5, relation)
    if accounted >= truth * (1 - 1e-6) - 1e-6:
        return None
    return Broken("closed_form", f"{event} under {relation.name}: {accounted:.6g} < {truth:.6g}.")


def _sampled(noise_multiplier: float, prob: float) -> dp.DpEvent:
    return dp.PoissonSampledDpEvent(prob, dp.GaussianDpEvent(noise_multiplier))
