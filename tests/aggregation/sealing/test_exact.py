"""All schemes open to the same integers, bit for bit, and none minds what was sealed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.sealing import SCHEMES, make_scheme
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
    present = sorted(rng.permutation(contributors)[: rng.integers(1, contributors + 1)])
    vectors = rng.integers(-(bound // contributors), bound // contributors + 1, (len(present), dim))
    contributions = [parties.contribute(names[p], v) for p, v in zip(present, vectors, strict=True)]
    opened = scheme.opener(parties.policy()).open(parties.total(contributions), contributions)
    assert opened.dtype == np.int64
    assert np.array_equal(opened, vectors.sum(axis=0))


@pytest.mark.parametrize("name", EXACT)
def test_a_sum_beyond_the_bound_wraps_alike_everywhere_and_nothing_is_refused(name: str) -> None:
    scheme = make_scheme(name, dim=50, contributors=4, bound=1000)
    parties = Parties(scheme)
    vectors = np.random.default_rng(3).integers(-(2**62), 2**62, (4, 50))
    vectors[:, :2] = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    contributions = [parties.contribute(n, v) for n, v in zip(parties.names, vectors, strict=True)]
    opened = scheme.opener(parties.policy()).open(parties.total(contributions), contributions)
    assert np.array_equal(opened, wrapped(vectors, scheme.parameters.bits))


@pytest.mark.parametrize("name", EXACT)
def test_the_order_of_arrival_does_not_matter(name: str) -> None:
    scheme = make_scheme(name, dim=5, contributors=4, bound=100)
    parties = Parties(scheme)
    contributions = [parties.contribute(n, np.arange(5) * i) for i, n in enumerate(parties.names)]
    total = parties.total(contributions[::-1])
    opened = scheme.opener(parties.policy()).open(total, contributions)
    assert np.array_equal(opened, np.arange(5) * 6)
