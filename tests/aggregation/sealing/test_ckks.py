"""The baseline is within its stated error, on its public grid, and no further."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.sealing import load_adder, load_opener, load_sealer, make_scheme
from aggregation.sealing.ckks import CHAIN, DEGREE, Ckks, error_bound
from privacy.errors import CorruptMessageError
from tests.aggregation.sealing.parties import Parties


def made(dim: int, contributors: int, bound: int) -> Ckks:
    scheme = make_scheme("ckks", dim=dim, contributors=contributors, bound=bound)
    assert isinstance(scheme, Ckks)
    return scheme


@settings(max_examples=8)
@given(
    dim=st.integers(1, 60) | st.sampled_from([4096, 4097]),
    contributors=st.integers(1, 6),
    bits=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_an_opened_sum_is_on_the_grid_and_within_one_step_of_the_exact_one(
    dim: int, contributors: int, bits: int, seed: int
) -> None:
    bound = 2**bits - 1
    scheme = made(dim, contributors, bound)
    names = tuple(f"h{i}" for i in range(contributors))
    parties = Parties(scheme, names)
    largest = bound // contributors
    vectors = np.random.default_rng(seed).integers(-largest, largest + 1, (contributors, dim))
    mine = [parties.contribute(n, v) for n, v in zip(names, vectors, strict=True)]
    opened = parties.opener().open(parties.total(mine), mine)
    half = 2**scheme.parameters.bits // 2
    off = (opened - vectors.sum(axis=0) + half) % (2 * half) - half  # the grid may pass the edge
    assert np.abs(off).max() <= scheme.grid
    assert not (opened % scheme.grid).any()


def test_the_grid_covers_twice_the_error() -> None:
    for bits, contributors in ((10, 4), (21, 4), (31, 50), (42, 400)):
        scheme = made(3, contributors, 2 ** (bits - 1) - 1)
        assert scheme.grid >= 2 * error_bound(bits, contributors)
        assert scheme.grid == 1 or scheme.grid < 4 * error_bound(bits, contributors)
    assert sum(CHAIN) <= 218  # HE standard, N = 8192, ternary, 128 bits
    assert DEGREE == 8192


def test_roles_survive_serialising_and_an_adder_is_no_opener() -> None:
    scheme = made(3, 4, 1000)
    parties = Parties(scheme)
    sealer = load_sealer(scheme.sealer("zurich").to_bytes(), "zurich")
    contribution = parties.contribute("zurich", [], sealed=sealer.seal(np.array([5, -6, 7])))
    adder = load_adder(scheme.adder().to_bytes())
    adder.add(contribution.sealed)
    opener = load_opener(scheme.opener(parties.policy()).to_bytes(), parties.policy())
    assert opener.open(adder.total(), [contribution]).tolist() == [5, -6, 7]
    with pytest.raises(CorruptMessageError, match="expected"):
        load_opener(adder.to_bytes(), parties.policy())
    with pytest.raises(CorruptMessageError, match="no secret key"):
        Ckks.load_opener(scheme.parameters, scheme._public, parties.policy())
    with pytest.raises(CorruptMessageError, match="not the one"):
        Ckks.load_sealer(made(3, 4, 1000).parameters, scheme._public, "zurich")
