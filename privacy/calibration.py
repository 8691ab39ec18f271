"""How much noise a promise takes: for an epsilon, or for a reconstruction risk.

>>> from dp_accounting import GaussianDpEvent, NeighboringRelation, SelfComposedDpEvent
>>> round(noise_multiplier(lambda z: SelfComposedDpEvent(GaussianDpEvent(z), 100),
...                        target_epsilon=1.0, delta=1e-5,
...                        relation=NeighboringRelation.ADD_OR_REMOVE_ONE), 2)
37.31
"""

import math
from collections.abc import Callable

from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp

from privacy._validate import positive, unit_open
from privacy.accounting._search import bisect_up
from privacy.accounting.intervals import epsilon, upper_epsilon
from privacy.errors import InvalidInputError
from privacy.reconstruction import success_bound

__all__ = ["noise_multiplier"]

_LEAST, _MOST = 2.0**-10, 2.0**30
_TOLERANCE = 1e-5  # relative


def noise_multiplier(
    make_event: Callable[[float], dp.DpEvent],
    *,
    target_epsilon: float | None = None,
    target_success: float | None = None,
    prior_success: float | None = None,
    delta: float,
    relation: Relation,
) -> float:
    """Return the smallest noise multiplier that keeps the promise, rounded up.

    Exactly one target: ``target_epsilon`` (with ``delta``), or ``target_success`` (with
    ``prior_success``), which a hospital may find more natural: how often at most may anybody
    reconstruct a patient?

    Guarantees (each is a test in ``tests/privacy/test_calibration.py``):
      - the *certified upper* bound of the event with the returned multiplier is at most the target;
      - .2 % less noise (1e-4 less where a closed form exists) breaks it;
      - what no noise can reach is refused, naming the nearest that can be reached.

    Args:
      make_event: From a noise multiplier to all that will be released; more noise, less loss.
      target_epsilon: Largest epsilon, above 0.
      target_success: Largest probability of reconstruction, above ``prior_success``, below 1.
      prior_success: What guessing without the release attains.
      delta: The delta that goes with ``target_epsilon``.
      relation: dp-accounting's relation between neighbouring data sets.

    Raises:
      InvalidInputError: The target can't be reached, or a parameter is out of range.
    """
    unit_open(delta=delta)
    if (target_epsilon is None) == (target_success is None):
        raise InvalidInputError("Give either target_epsilon or target_success.")

    if target_epsilon is not None:
        target = positive(target_epsilon=target_epsilon)
        multiplier = _smallest(
            lambda z: upper_epsilon(make_event(z), delta=delta, relation=relation), target
        )
        # The quick road may differ from the full one by .2 %.
        while epsilon(make_event(multiplier), delta=delta, relation=relation).upper > target:
            multiplier *= 1 + 2e-4
        return _round_up(multiplier)
    return _round_up(_smallest(*_success(make_event, target_success, prior_success, relation)))


def _success(
    make_event: Callable[[float], dp.DpEvent],
    target_success: float | None,
    prior_success: float | None,
    relation: Relation,
) -> tuple[Callable[[float], float], float]:
    if prior_success is None or target_success is None:
        raise InvalidInputError("target_success needs prior_success, what guessing attains.")
    prior = unit_open(prior_success=prior_success)
    target = unit_open(target_success=target_success)
    if target <= prior:
        raise InvalidInputError(
            f"Expected target_success={target} > prior_success={prior}: even without any release "
            "guessing succeeds that often."
        )

    def quick(z: float) -> float:
        return success_bound(make_event(z), prior_success=prior, relation=relation)

    return quick, target


def _smallest(quick: Callable[[float], float], target: float) -> float:
    high = 1.0
    while quick(high) > target:
        high *= 2
        if high > _MOST:
            raise InvalidInputError(
                f"No noise multiplier up to 2^30 reaches {target}: the nearest is "
                f"{quick(_MOST):.4g}, from releases that the multiplier does not touch or from a "
                "bound that noise does not lower. Spend less on those, or ask for that."
            )
    low = high / 2
    while low > _LEAST and quick(low) <= target:
        high, low = low, low / 2
    return bisect_up(lambda z: quick(z) <= target, low, high, tolerance=_TOLERANCE)


def _round_up(value: float) -> float:
    """Round up to seven significant digits."""
    digits = 6 - math.floor(math.log10(value))
    scale = 10.0**digits
    return math.ceil(value * scale) / scale
