"""Hypothesis strategies: events, neighbouring cohorts, schedules and arrivals."""

from typing import Any

import numpy as np
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from privacy.accounting.events import DiscreteGaussianDpEvent, DistributedDiscreteGaussianDpEvent

__all__ = ["arrivals", "events", "neighbouring_cohorts", "schedules"]

Rows = NDArray[np.float64]


def events(*, sampled: bool = True, discrete: bool = True) -> st.SearchStrategy[dp.DpEvent]:
    """Draw (nested compositions of) additive noise that is affordable to account for."""
    multiplier = st.floats(0.6, 30.0)
    leaves: list[st.SearchStrategy[dp.DpEvent]] = [
        st.builds(dp.GaussianDpEvent, multiplier),
        st.builds(dp.LaplaceDpEvent, st.floats(1.0, 50.0)),
    ]
    if discrete:
        leaves += [
            st.builds(DiscreteGaussianDpEvent, multiplier, st.integers(50, 5000)),
            st.builds(
                DistributedDiscreteGaussianDpEvent,
                multiplier,
                st.integers(100, 5000),
                st.integers(1, 1000),
                st.integers(1, 10),
            ),
        ]
    leaf = st.one_of(leaves)
    if sampled:
        leaf = st.one_of(leaf, st.builds(dp.PoissonSampledDpEvent, st.floats(0.01, 1.0), leaf))
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.builds(dp.SelfComposedDpEvent, inner, st.integers(0, 5)),
            st.builds(dp.ComposedDpEvent, st.lists(inner, max_size=3)),
        ),
        max_leaves=4,
    )


@st.composite
def neighbouring_cohorts(
    draw: Any, relation: Relation, *, dim: int, max_patients: int = 8
) -> tuple[Rows, Rows]:
    """Draw a cohort and its neighbour, float64 ``[patients, dim]``; any patient may differ."""
    n = draw(st.integers(1, max_patients))
    values = st.floats(-1e6, 1e6, allow_subnormal=False)
    rows = draw(arrays(np.float64, (n, dim), elements=values))
    place = draw(st.integers(0, n - 1))
    if relation is Relation.ADD_OR_REMOVE_ONE:
        return rows, np.delete(rows, place, axis=0)
    other = rows.copy()
    special = relation is Relation.REPLACE_SPECIAL
    other[place] = 0.0 if special else draw(arrays(np.float64, dim, elements=values))
    return rows, other


def schedules(*, max_rounds: int = 20) -> st.SearchStrategy[list[tuple[float, float]]]:
    """Draw (noise multiplier, sampling probability) round by round."""
    one = st.tuples(st.floats(0.6, 20.0), st.floats(0.0, 1.0))
    return st.lists(one, min_size=1, max_size=max_rounds)


@st.composite
def arrivals(draw: Any, *, contributors: int, openings: int, most: int) -> NDArray[np.bool_]:
    """Draw who is in which opened sum: bool ``[openings, contributors]``, at most ``most`` each."""
    incidence = np.zeros((openings, contributors), dtype=np.bool_)
    for column in range(contributors):
        times = draw(st.lists(st.integers(0, openings - 1), max_size=most, unique=True))
        incidence[times, column] = True
    return incidence
