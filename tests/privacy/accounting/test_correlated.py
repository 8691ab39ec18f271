"""Correlated noise: the sensitivity against brute force, the bound against exact sums."""

import itertools
import math

import numpy as np
import pytest
from dp_accounting import NeighboringRelation, SelfComposedDpEvent
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import toeplitz

from privacy.accounting import delta, epsilon
from privacy.accounting.events import DiscreteGaussianDpEvent, to_json
from privacy.accounting.matrix_noise import (
    banded_square_root,
    buffered,
    squared_sensitivity,
    upload_event,
)
from privacy.errors import InvalidInputError
from privacy.ledger.preset_order import renyi

ADD = NeighboringRelation.ADD_OR_REMOVE_ONE
FINE = 10**9  # a radius at which rounding is nothing


def matrix(coefficients: tuple[float, ...], rounds: int) -> np.ndarray:  # [rounds rounds]
    column = np.zeros(rounds)
    column[: len(coefficients)] = coefficients[:rounds]
    return toeplitz(column, np.zeros(rounds))


def test_the_square_root_times_itself_is_prefix_sums() -> None:
    c = matrix(banded_square_root(12), 12)
    np.testing.assert_allclose(c @ c, np.tril(np.ones((12, 12))), atol=1e-12)


def test_buffers_give_the_coefficients_of_their_recursion() -> None:
    scales, decays = (0.3, 0.2), (0.9, 0.1)
    found, buffers = [1.0], np.ones(2)
    for _ in range(9):
        found.append(float(np.array(scales) @ buffers))
        buffers = np.array(decays) * buffers
    np.testing.assert_allclose(buffered(scales, decays, 10), found, rtol=1e-12)


def by_brute_force(coefficients: tuple[float, ...], rounds: int, every: int) -> float:
    """The largest squared distance over all offsets, rounds that are missed, and directions."""
    c, worst = matrix(coefficients, rounds), 0.0
    for offset in range(every):
        here = list(range(offset, rounds, every))
        for signs in itertools.product((-1.0, 0.0, 1.0), repeat=len(here)):
            moved = np.zeros(rounds)
            moved[here] = signs
            worst = max(worst, float(((c @ moved) ** 2).sum()))
    return worst


@pytest.mark.parametrize("every", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "coefficients",
    [
        (1.0,),
        banded_square_root(2),
        banded_square_root(3),
        banded_square_root(7),
        buffered((0.4, 0.1), (0.8, 0.2), 7),
        (1.0, 0.0, 2.0),
    ],
    ids=lambda c: f"{len(c)}",
)
def test_the_formula_is_what_brute_force_finds(coefficients: tuple[float, ...], every: int) -> None:
    found = squared_sensitivity(coefficients, rounds=7, every=every, radius=FINE, dim=1)
    assert found == pytest.approx(by_brute_force(coefficients, 7, every), rel=1e-7)


def test_with_passes_as_long_as_bands_it_is_the_published_one() -> None:
    c = banded_square_root(4)
    found = squared_sensitivity(c, rounds=20, every=4, radius=FINE, dim=1)
    assert found == pytest.approx(5 * sum(one**2 for one in c), rel=1e-7)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([banded_square_root(3), buffered((0.7,), (0.6,), 8), (1.0, 1.5)]),
)
def test_no_course_of_rounded_noise_passes_the_bound(
    seed: int, every: int, coefficients: tuple[float, ...]
) -> None:
    """The integers themselves: what z has to be, given y, under two neighbours."""
    rng = np.random.default_rng(seed)
    rounds, dim, radius = 8, 3, 6
    c = np.array(coefficients)
    seen = rng.integers(-50, 50, (rounds, dim))
    moved = np.zeros((rounds, dim))
    for t in range(int(rng.integers(every)), rounds, every):
        moved[t] = np.trunc(
            radius * (direction := rng.normal(size=dim)) / np.linalg.norm(direction)
        )

    def drawn(data: np.ndarray) -> np.ndarray:  # [rounds dim]
        w, z = seen - data, np.zeros((rounds, dim))
        for t in range(rounds):
            past = w[max(0, t - len(c) + 1) : t][::-1]
            z[t] = w[t] + np.rint(c[1 : len(past) + 1] @ past)
        return z

    apart = drawn(np.zeros((rounds, dim))) - drawn(moved)
    bound = squared_sensitivity(coefficients, rounds=rounds, every=every, radius=radius, dim=dim)
    assert float((apart**2).sum()) <= bound * radius**2


def exact(coefficients: tuple[float, float], std: float, radius: int, eps: float) -> float:
    """Delta of two rounds of one coordinate by sums over all outcomes: absent against present."""
    reach = int(12 * std) + 4 * radius
    grid = np.arange(-reach, reach + 1)
    masses = np.exp(-(grid**2) / (2 * std**2))
    masses /= masses.sum()

    def mass(z: np.ndarray) -> np.ndarray:
        inside = np.abs(z) <= reach
        return np.asarray(np.where(inside, masses[np.clip(z + reach, 0, 2 * reach)], 0.0))

    def law(x: int) -> np.ndarray:  # [outcomes outcomes]
        w1, w2 = grid[:, None] - x, grid[None, :] - x
        z2 = w2 + np.rint(coefficients[1] * w1).astype(np.int64)
        return np.asarray(mass(w1) * mass(z2))

    absent, present = law(0), law(radius)
    return max(
        float(np.maximum(p - math.exp(eps) * q, 0).sum())
        for p, q in ((absent, present), (present, absent))
    )


@pytest.mark.parametrize(
    ("std", "radius", "second"), [(6.0, 5, 0.5), (12.0, 9, 0.9), (9.0, 2, 0.3)]
)
@pytest.mark.parametrize("eps", [0.0, 0.5, 1.5])
def test_the_certified_delta_is_above_the_exact_one(
    std: float, radius: int, second: float, eps: float
) -> None:
    coefficients = (1.0, second)
    event = SelfComposedDpEvent(
        upload_event(
            coefficients, noise_multiplier=std / radius, rounds=2, every=1, radius=radius, dim=1
        ),
        2,
    )
    true = exact(coefficients, std, radius, eps)
    certified = delta(event, epsilon=eps, relation=ADD).upper
    assert true <= certified
    with_rounding = radius**2 + (radius * (1 + second) + 1.001) ** 2
    # All that is given away is the rounding, and a little for the discrete law.
    gaussian = DiscreteGaussianDpEvent(std / math.sqrt(with_rounding) * 0.9, 1000)
    assert certified <= delta(gaussian, epsilon=eps, relation=ADD).upper


def test_independent_noise_costs_what_it_costs() -> None:
    one = upload_event((1.0,), noise_multiplier=4.0, rounds=9, every=1, radius=1024, dim=20)
    together, plain = (
        epsilon(SelfComposedDpEvent(event, 9), delta=1e-5, relation=ADD).upper
        for event in (one, DiscreteGaussianDpEvent(4.0, 1024))
    )
    assert together == pytest.approx(plain, rel=1e-4)
    first, second = (
        renyi(to_json(SelfComposedDpEvent(event, 9)), 8, "ADD_OR_REMOVE_ONE")
        for event in (one, DiscreteGaussianDpEvent(4.0, 1024))
    )
    assert first == pytest.approx(second, rel=1e-4)


@pytest.mark.parametrize("wrong", [(), (0.5,), (1.0, -0.1), (1.0, math.nan), (1.0, math.inf)])
def test_what_has_no_bound_is_refused(wrong: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInputError, match="have no bound here"):
        squared_sensitivity(wrong, rounds=5, every=1, radius=10, dim=1)
