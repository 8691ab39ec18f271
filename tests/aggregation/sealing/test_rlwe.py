"""The ring against Python's own integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.sealing.rlwe import NOISE_STD, Ring, noise, ternary
from privacy.errors import InvalidInputError

SMALL = Ring(16, (20, 20), (25, 26))


def whole(residues: np.ndarray, ring: Ring) -> list[int]:
    """Chinese remainders by Python's integers, centred modulo q."""
    q = ring.t * ring.noise_modulus
    values = []
    for column in residues.reshape(len(ring.primes), -1).T:
        value = sum(
            int(r) * (q // p) * pow(q // p, -1, p) for r, p in zip(column, ring.primes, strict=True)
        )
        values.append((value + q // 2) % q - q // 2)
    return values


def negacyclic(a: list[int], b: list[int]) -> list[int]:
    """Multiply modulo X^N + 1 by the schoolbook."""
    out = [0] * len(a)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            sign = 1 if i + j < len(a) else -1
            out[(i + j) % len(a)] += sign * x * y
    return out


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_products_are_negacyclic_convolutions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-1000, 1000, (2, 16))
    values = [SMALL.to_values(SMALL.residues(x)) for x in (a, b)]
    product = SMALL.to_coefficients(SMALL.multiply(values[0], values[1]))
    assert whole(product, SMALL) == negacyclic(a.tolist(), b.tolist())


@pytest.mark.parametrize("ring", [SMALL, Ring(4096, (21,), (31, 31, 18)), Ring(2, (9,), (9,))])
def test_values_and_coefficients_are_two_views_of_one_thing(ring: Ring) -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(-(2**40), 2**40, (3, ring.degree))
    residues = ring.residues(small)
    assert np.array_equal(ring.to_coefficients(ring.to_values(residues)), residues)


def test_sums_and_differences() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(-(2**30), 2**30, (2, 16))
    ra, rb = SMALL.residues(a), SMALL.residues(b)
    assert whole(SMALL.add(ra, rb), SMALL) == (a + b).tolist()
    assert whole(SMALL.subtract(ra, rb), SMALL) == (a - b).tolist()


@settings(max_examples=30)
@given(
    plain=st.lists(st.integers(14, 30), min_size=1, max_size=2),
    hidden=st.lists(st.integers(14, 31), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_message_is_read_exactly_below_half_of_the_noise_modulus(
    plain: list[int], hidden: list[int], seed: int
) -> None:
    ring = Ring(16, tuple(plain), tuple(hidden))
    q, most = ring.noise_modulus, (ring.noise_modulus - 1) // 2
    rng = np.random.default_rng(seed)
    errors = [
        0,
        1,
        -1,
        most,
        -most,
        most - 1,
        1 - most,
        *(int(e) for e in rng.integers(-99, 99, 9)),
    ]
    messages = [int(m) for m in rng.integers(0, ring.t, 16, dtype=np.uint64)]
    messages[:4] = 0, ring.t - 1, 0, ring.t - 1
    phase = np.array(
        [[(q * m + e) % p for m, e in zip(messages, errors, strict=True)] for p in ring.primes],
        dtype=np.uint64,
    )
    assert ring.lower(phase).tolist() == messages
    errors[3] = most + 1  # one more, and it opens to the neighbour
    phase = np.array(
        [[(q * m + e) % p for m, e in zip(messages, errors, strict=True)] for p in ring.primes],
        dtype=np.uint64,
    )
    assert int(ring.lower(phase)[3]) == (messages[3] + 1) % ring.t


def test_lifted_messages_vanish_modulo_the_noise_primes() -> None:
    messages = np.arange(16, dtype=np.uint64) * np.uint64(65_537)
    lifted = SMALL.lift(messages)
    assert not lifted[2:].any()
    assert [v % (SMALL.t * SMALL.noise_modulus) for v in whole(lifted, SMALL)] == [
        SMALL.noise_modulus * int(m) for m in messages
    ]


@pytest.mark.parametrize("bits", [3, 31, 40, 80])
def test_smudging_is_uniform_on_its_range(bits: int) -> None:
    ring = Ring(4096, (20,), (31, 31, 31))
    drawn = np.array(whole(ring.smudge((4096,), bits), ring), dtype=float) / 2.0**bits
    assert drawn.min() >= -1
    assert drawn.max() < 1
    assert abs(drawn.mean()) < 5 * np.sqrt(1 / 3 / 4096) + 2.0**-bits
    assert abs(np.mean(drawn**2) - 1 / 3) < 5 * np.sqrt(4 / 45 / 4096) + 2.0**-bits
    assert abs(np.mean(drawn > 0.5) - 0.25) < 5 * np.sqrt(3 / 16 / 4096) + 2.0**-bits


def test_noise_and_secrets_have_their_distributions() -> None:
    drawn = noise((200_000,))
    assert abs(drawn.mean()) < 5 * NOISE_STD / np.sqrt(200_000)
    assert drawn.std() == pytest.approx(NOISE_STD, rel=0.01)
    assert NOISE_STD >= 3.2  # the HE standard's least
    assert np.abs(drawn).max() <= 21
    kurtosis = np.mean(drawn**4.0) / np.mean(drawn**2.0) ** 2
    assert kurtosis == pytest.approx(3 - 1 / 21, abs=0.06)  # of a centred binomial of 42 coins
    counts = np.bincount(ternary((90_000,)) + 1)
    assert np.abs(counts - 30_000).max() < 5 * np.sqrt(90_000 * 2 / 9)


def test_primes_are_distinct_and_an_unfit_ring_is_refused() -> None:
    ring = Ring(4096, (24, 24), (24, 31, 31))
    assert len(set(ring.primes)) == 5
    for unfit in [(12, (20,), (20,)), (16, (32,), (20,)), (4096, (13,), (20,))]:
        with pytest.raises(InvalidInputError, match="Expected"):
            Ring(*unfit)
