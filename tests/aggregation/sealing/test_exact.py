"""All schemes open to the same integers, bit for bit, and none minds what was sealed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.sealing import SCHEMES, make_scheme
from privacy.errors import RefusedError
from tests.aggregation.sealing.parties import Parties, wrapped

EXACT = [name for name in SCHEMES if name != "ckks"]


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, int, int, int]:
    dim = draw(st.integers(1, 60) | st.sampled_from([4095, 4097, 8200]))
    contributors = draw(st.integers(2, 6))
    bound = draw(st.integers(1, 2**20) | st.sampled_from([2**39, 2**31 - 1]))
    return dim, contributors, bound, draw(st.integers(0, 2**32 - 1))


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=12)
@given(case=cases())
def test_opens_to_the_sum_of_whoever_contributed(
    name: str, case: tuple[int, int, int, int]
) -> None:
    dim, contributors, bound, seed = case
    rng = np.random.default_rng(seed)
    names = tuple(f"h{i}" for i in range(contributors))
    scheme = make_scheme(name, dim=dim, contributors=contributors, bound=bound)
    parties = Parties(scheme, names)
    # Some hospitals never send; those that do weigh before they seal, and arrive in any order. The
    # aggregator and whoever opens see them in different orders. A holder is gone at the opening.
    present = rng.permutation(contributors)[: rng.integers(1, contributors + 1)]
    weights = rng.integers(1, 4, len(present))
    largest = bound // (3 * contributors)
    vectors = weights[:, None] * rng.integers(-largest, largest + 1, (len(present), dim))
    contributions = [
        parties.contribute(names[p], v, weight=float(w))
        for p, v, w in zip(present, vectors, weights, strict=True)
    ]
    total = parties.total([contributions[i] for i in rng.permutation(len(present))])
    opener = parties.opener()
    if name in ("shares", "threshold"):
        opener.holders.pop(f"holder {rng.integers(1, 5)}")
    opened = opener.open(total, contributions)
    assert opened.dtype == np.int64
    assert np.array_equal(opened, vectors.sum(axis=0))


@pytest.mark.parametrize("name", EXACT)
def test_a_hospital_that_leaves_at_any_moment_leaves_a_right_sum_or_none(name: str) -> None:
    # Before it sends; after it has sent; and between a refused opening and the next.
    scheme = make_scheme(name, dim=3, contributors=4, bound=1000)
    parties = Parties(scheme)
    opener = parties.opener(min_honest=2, c_assumed=1)
    mine = [parties.contribute(n, [1, 2, 3]) for n in parties.names[:3]]
    with pytest.raises(RefusedError, match="2 distinct hospitals; 3 are needed"):
        opener.open(parties.total(mine[:2]), mine[:2])
    assert opener.open(parties.total(mine), mine).tolist() == [3, 6, 9]
    if name == "pairwise":  # a synchronous scheme: a late update belongs to no later round
        return
    late = parties.contribute(parties.names[3], [4, 4, 4])  # sealed before, arrived after
    again = [parties.contribute(n, [1, 2, 3]) for n in parties.names[:2]]
    assert opener.open(parties.total([late, *again]), [late, *again]).tolist() == [6, 8, 10]


@pytest.mark.parametrize("name", EXACT)
def test_a_sum_beyond_the_bound_wraps_alike_everywhere_and_nothing_is_refused(name: str) -> None:
    scheme = make_scheme(name, dim=50, contributors=4, bound=1000)
    parties = Parties(scheme)
    vectors = np.random.default_rng(3).integers(-(2**62), 2**62, (4, 50))
    vectors[:, :2] = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    contributions = [parties.contribute(n, v) for n, v in zip(parties.names, vectors, strict=True)]
    opened = parties.opener().open(parties.total(contributions), contributions)
    assert np.array_equal(opened, wrapped(vectors, scheme.parameters.bits))


@pytest.mark.parametrize("name", EXACT)
def test_the_order_of_arrival_does_not_matter(name: str) -> None:
    scheme = make_scheme(name, dim=5, contributors=4, bound=100)
    parties = Parties(scheme)
    contributions = [parties.contribute(n, np.arange(5) * i) for i, n in enumerate(parties.names)]
    total = parties.total(contributions[::-1])
    opened = parties.opener().open(total, contributions)
    assert np.array_equal(opened, np.arange(5) * 6)
