"""The promises of the default scheme: margin, security, sizes, keys apart."""

import numpy as np
import pytest
import tenseal as ts
from hypothesis import given
from hypothesis import strategies as st

from aggregation.sealing import load_adder, load_opener, load_sealer, make_scheme
from aggregation.sealing.bfv import (
    LEAST_MARGIN,
    SETS,
    Bfv,
    BfvLayout,
    BfvParameters,
    failure_margin,
)
from aggregation.sealing.lanes import Lanes
from aggregation.sealing.parameters import Parameters
from aggregation.sealing.primes import is_prime, ring_prime_above, ring_primes
from aggregation.sealing.tenseal_io import new_bfv_context
from privacy.errors import CorruptMessageError, InvalidInputError
from tests.aggregation.sealing.parties import Parties

# Albrecht et al. 2018, Homomorphic Encryption Security Standard, Table 1: largest log q for a
# ternary secret at 128 bits (classical), by ring degree.
STANDARD_128 = {2048: 54, 4096: 109, 8192: 218, 16384: 438}


def made(**sizes: int) -> Bfv:
    scheme = make_scheme("bfv", **sizes)
    assert isinstance(scheme, Bfv)
    return scheme


@pytest.mark.parametrize("ring", SETS)
def test_every_set_has_128_bits_by_the_standards_table(ring: BfvParameters) -> None:
    assert sum(ring.chain) <= STANDARD_128[ring.degree]


@given(
    dim=st.integers(1, 10**6),
    bits=st.integers(2, 62),
    contributors=st.integers(1, 1000),
    ring=st.sampled_from(SETS),
)
def test_a_layout_keeps_the_margin_and_holds_the_sum(
    dim: int, bits: int, contributors: int, ring: BfvParameters
) -> None:
    layout = BfvLayout.fitting(ring, dim=dim, bits=bits, contributors=contributors)
    if layout is None:
        return
    assert failure_margin(ring, layout.plain_modulus, contributors) >= LEAST_MARGIN
    assert is_prime(layout.plain_modulus)
    assert layout.plain_modulus % (2 * ring.degree) == 1
    assert contributors * (2**layout.lanes.limb_bits - 1) < 2**layout.lanes.width
    assert layout.lanes.limbs * layout.lanes.limb_bits >= bits
    assert layout.lanes.slots * layout.lanes.per_slot >= dim * layout.lanes.limbs
    assert 2 ** (layout.lanes.width * layout.lanes.per_slot) < layout.plain_modulus


def test_the_margin_is_the_published_arithmetic() -> None:
    # Published: 2^(60-44-1) / (3.2 sqrt(1 + 4*8192/3) sqrt(50)) = 13.9 standard deviations, and
    # 2^(54-38-1) / (3.2 sqrt(1 + 4*4096/3) sqrt(50)) = 19.6; ours takes sqrt(21/2) for the 3.2.
    slightly = 3.2 / np.sqrt(21 / 2)
    for ring, bits, published in (
        (BfvParameters(8192, (60,), 0), 44, 13.9),
        (BfvParameters(4096, (54,), 0), 38, 19.6),
    ):
        ours = failure_margin(ring, 2**bits, 50)
        assert ours == pytest.approx(published * slightly, rel=0.006)


def test_a_sum_that_no_set_holds_with_the_margin_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"13\.0 standard deviations"):
        make_scheme("bfv", dim=10, contributors=10**9, bound=100)
    with pytest.raises(InvalidInputError, match="No bfv parameters"):
        Bfv.make(dim=10, contributors=10**6, bound=2**55, ring=SETS[0])


def test_parameters_that_someone_edited_below_the_margin_are_refused() -> None:
    scheme = made(dim=10, contributors=4, bound=100)
    settings = {**scheme.parameters.settings, "plain_modulus": str(ring_prime_above(4096, 2**46))}
    weak = Parameters("bfv", 10, 4, 100, settings)
    with pytest.raises(CorruptMessageError, match="none of the sets"):
        Bfv.load_adder(weak, scheme.adder()._material())


@pytest.mark.parametrize("ring", SETS)
def test_sums_fail_where_the_formula_says_and_nowhere_else(ring: BfvParameters) -> None:
    # A coefficient opens wrongly once its noise, normal to the eye, passes the stated number of
    # standard deviations; a slot mixes all coefficients, so that one of them spoils the ciphertext.
    # Over 40 ciphertexts: none at 13 (chance 1e-33), all at 1.5 (13 % of the coefficients).
    values = list(range(ring.degree))
    for least, expected in ((LEAST_MARGIN, 0), (1.5, 40)):
        bits = max(b for b in range(20, 60) if failure_margin(ring, 2**b, 1) >= least)
        modulus = ring_prime_above(ring.degree, 1 << bits)
        assert failure_margin(ring, modulus, 1) == pytest.approx(least, rel=1.01)
        context = new_bfv_context(ring.degree, ring.chain, modulus)
        wrong = sum(ts.bfv_vector(context, values).decrypt() != values for _ in range(40))
        assert wrong == expected


def test_seal_refuses_a_chain_beyond_the_standards_table() -> None:
    with pytest.raises(InvalidInputError, match="SEAL refuses ring 2048"):
        new_bfv_context(2048, (55,), ring_prime_above(2048, 1 << 20))


def test_the_smallest_set_is_chosen() -> None:
    def chain(dim: int, bound: int) -> list[int]:
        found: list[int] = made(dim=dim, contributors=4, bound=bound).parameters.settings["chain"]
        return found

    assert chain(19, 10**6) == [54]
    assert chain(100_000, 2**40) == [60]
    assert chain(10, 2**60) == [54]


def test_all_updates_of_a_run_have_one_size() -> None:
    scheme = made(dim=20_000, contributors=4, bound=10**6)
    sealer = scheme.sealer("zurich")
    rng = np.random.default_rng(0)
    vectors = [np.zeros(20_000, dtype=np.int64), rng.integers(-(10**6), 10**6, 20_000)]
    assert len({len(sealer.seal(v)) for v in vectors for _ in range(3)}) == 1


def test_two_seals_of_one_vector_differ() -> None:
    sealer = made(dim=3, contributors=2, bound=9).sealer("zurich")
    values = np.array([1, 2, 3])
    assert sealer.seal(values) != sealer.seal(values)


def test_roles_survive_serialising_and_do_their_own_work() -> None:
    scheme = made(dim=3, contributors=2, bound=9)
    parties = Parties(scheme, ("a", "b"))
    sealer = load_sealer(scheme.sealer("a").to_bytes(), "a")
    contributions = [
        parties.contribute("a", [], sealed=sealer.seal(np.array([1, 2, 3]))),
        parties.contribute("b", [1, 1, 1]),
    ]
    adder = load_adder(scheme.adder().to_bytes())
    for contribution in contributions:
        adder.add(contribution.sealed)
    opener = load_opener(scheme.opener(parties.policy()).to_bytes(), parties.policy())
    assert opener.open(adder.total(), contributions).tolist() == [2, 3, 4]


def test_no_sealer_and_no_adder_holds_the_secret_key() -> None:
    scheme = made(dim=3, contributors=2, bound=9)
    policy = Parties(scheme).policy()
    for role in (scheme.sealer("a"), scheme.adder()):
        with pytest.raises(CorruptMessageError, match="expected"):
            load_opener(role.to_bytes(), policy)
    assert len(scheme.adder().to_bytes()) < 1000  # no key at all; a key has tens of kilobytes
    for stolen in (scheme.sealer("a")._material(), scheme.adder()._material()):
        assert not ts.context_from(stolen, n_threads=1).has_secret_key()
        with pytest.raises(CorruptMessageError, match="no secret key"):
            Bfv.load_opener(scheme.parameters, stolen, policy)


def test_another_public_key_is_refused_by_the_sealer() -> None:
    ours, theirs = (made(dim=3, contributors=2, bound=9) for _ in range(2))
    with pytest.raises(CorruptMessageError, match="not the one that the parameters name"):
        Bfv.load_sealer(ours.parameters, theirs._public, "zurich")


@given(
    dim=st.integers(1, 300),
    bits=st.integers(1, 30),
    contributors=st.integers(1, 40),
    room=st.integers(1, 59),
    seed=st.integers(0, 2**32 - 1),
)
def test_lanes_never_run_into_one_another(
    dim: int, bits: int, contributors: int, room: int, seed: int
) -> None:
    lanes = Lanes.fitting(dim=dim, bits=bits, contributors=contributors, room=room)
    if lanes is None:
        assert -(-bits // min(3, bits)) + (contributors - 1).bit_length() > room
        return
    rng = np.random.default_rng(seed)
    vectors = rng.integers(0, 2**bits, (contributors, dim), dtype=np.uint64)
    vectors[:, 0] = 2**bits - 1
    packed = sum((lanes.pack(v) for v in vectors), np.zeros(lanes.slots, dtype=np.uint64))
    assert int(packed.max()) < 2**room
    assert np.array_equal(lanes.unpack(packed), vectors.sum(axis=0))


def test_ring_primes_are_prime_and_fit_the_ring() -> None:
    found = ring_primes(1024, 30, 5)
    assert len(set(found)) == 5
    for p in found:
        assert p.bit_length() == 30
        assert p % 2048 == 1
        assert pow(3, p - 1, p) == 1
    assert [n for n in range(60) if is_prime(n)] == [
        *(2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59)
    ]
    assert not is_prime(3215031751)  # a strong pseudoprime to bases 2, 3, 5 and 7
    with pytest.raises(InvalidInputError, match="primes of 12 bits"):
        ring_primes(1024, 12, 5)
