"""Which points nobody would trade for another: no less risk is to be had without losing AUC."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.record import Record

__all__ = ["pareto", "surely_dominated"]


def pareto(records: Sequence[Record]) -> list[Record]:
    """Return the points that no other beats in AUC and risk, by their point estimates.

    Guarantees (each is a test in ``tests/experiments/test_pareto.py``):
      - no point of the set is beaten in one of the two without being better in the other;
      - every point left out is beaten, or equalled in one and beaten in the other, by one in it.
    """
    return [r for r in records if not any(_beats(other.metrics, r.metrics) for other in records)]


def surely_dominated(records: Sequence[Record]) -> list[Record]:
    """Return the points that some other beats in both by whole intervals."""
    return [r for r in records if any(_surely_beats(other.metrics, r.metrics) for other in records)]


def _beats(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    auc, risk = one["auc_within"]["value"], one["risk"]["value"]
    their_auc, their_risk = other["auc_within"]["value"], other["risk"]["value"]
    no_worse = auc >= their_auc and risk <= their_risk
    return bool(no_worse and (auc > their_auc or risk < their_risk))


def _surely_beats(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(
        one["auc_within"]["lower"] > other["auc_within"]["upper"]
        and one["risk"]["upper"] < other["risk"]["lower"]
    )
