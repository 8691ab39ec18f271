"""One release on a grid, from both sides; and many composed, by two roads."""

import math

import numpy as np
import pytest
from dp_accounting.pld import pld_pmf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import fft

from privacy.accounting import grids
from privacy.accounting.composition import (
    Composition,
    compose,
    compose_below,
    compose_rounds,
    spread,
)
from privacy.accounting.convolution import convolution
from privacy.accounting.cost import Budget
from privacy.accounting.gaussian import gaussian_delta, gaussian_epsilon
from privacy.accounting.profiles import (
    Attained,
    DiscreteLaplace,
    Finite,
    Gaussian,
    Laplace,
    Profile,
    Sampled,
    SampledGaussianReplace,
)

Floats = NDArray[np.float64]
CUT = 1e-9
FLOATING = 5e-15  # a profile's own rounding; one release is allowed 2.5e-14 (Composition.floating)
probs = st.floats(1e-3, 0.999)
mus = st.floats(0.02, 9.0)
outcomes = st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), min_size=2, max_size=5)
attained = st.one_of(
    st.builds(Gaussian, mus),
    st.builds(Laplace, st.floats(0.05, 6.0)),
    st.builds(DiscreteLaplace, st.floats(0.05, 2.0), st.integers(1, 6)),
    st.builds(SampledGaussianReplace, probs, mus),
    st.builds(Sampled, probs, st.builds(Gaussian, mus)),
)


def hockey(
    places: NDArray[np.int64], masses: Floats, infinite: float, step: float, e: Floats
) -> Floats:
    """Delta of a loss on the grid, outcome by outcome."""
    losses = places * step
    excess = masses * np.maximum(-np.expm1(e[:, None] - losses), 0.0)
    return np.asarray(infinite + excess.sum(axis=1))


def finite(masses: list[tuple[float, float]]) -> Finite:
    p, q = (sum(side) for side in zip(*masses, strict=True))
    return Finite(tuple((a / p, b / q) for a, b in masses))


@settings(max_examples=250)
@given(attained, st.floats(0.01, 1.2), st.sampled_from([0.0, 1 / 64, 1 / 8]))
def test_both_grids_enclose_the_profile_in_both_directions(
    profile: Attained, share: float, growth: float
) -> None:
    """Any step, however coarse: below <= profile <= above at every epsilon."""
    enclosed(profile, share, growth)


@settings(max_examples=50)
@given(outcomes, st.floats(0.01, 1.2), st.floats(0.01, 1.0))
def test_grids_enclose_a_few_outcomes_sampled_or_not(
    masses: list[tuple[float, float]], share: float, prob: float
) -> None:
    enclosed(Sampled(prob, finite(masses)), share, 0.0)
    enclosed(finite(masses), share, 0.0)


def enclosed(profile: Attained, share: float, growth: float) -> None:
    remove, add = grids.loss_ends(profile, 1e-9)
    ends = float(remove[0]), float(add[0])
    step = share * math.sqrt(float(grids.typical_square(profile, ends[0])[0])) + 1e-4
    at = grids.places(-ends[1], ends[0], step=step, growth=growth)
    lower = grids.below(profile, at, step=step)
    e = np.linspace(-3.0, 1.1 * ends[0] + 1, 120)
    for direction in (0, 1):
        truth = profile.deltas(e)[direction]
        facing = -at[::-1] if direction else at
        upper = grids.above(profile, direction, facing, step=step)
        found = hockey(upper.places, upper.masses[0], float(upper.infinite[0]), step, e)
        assert (found >= truth - FLOATING).all()
        grid = lower[direction]
        assert (hockey(grid.places, grid.masses[0], 0.0, step, e) <= truth + FLOATING).all()
        assert grid.masses[0].sum() == pytest.approx(1.0, abs=1e-12)


@given(
    st.one_of(
        st.builds(Gaussian, st.floats(0.05, 6)),
        st.builds(Sampled, st.floats(0.05, 0.999), st.builds(Gaussian, st.floats(0.1, 2))),
    )
)
def test_what_a_grid_costs_is_of_second_order(profile: Attained) -> None:
    """A quarter of the step: about a sixteenth of the mean loss that is added, or lost.

    The mean loss is a divergence: what dominates has more of it, what is dominated less. Where
    sampling is rarer than here so coarse a grid may tell nothing from below, which is sound.
    """
    remove, add = grids.loss_ends(profile, 1e-12)
    square = float(grids.typical_square(profile, float(remove[0]))[0])

    def means(share: float) -> tuple[float, float]:
        step = share * math.sqrt(square)
        at = grids.places(-float(add[0]), float(remove[0]), step=step, growth=0.0)
        upper = grids.above(profile, 0, at, step=step)
        lower = grids.below(profile, at, step=step)[0]
        return float(upper.masses[0] @ upper.places) * step, float(
            lower.masses[0] @ lower.places
        ) * step

    coarse, fine = means(0.04), means(0.01)
    assert coarse[1] < fine[1] < fine[0] < coarse[0]
    assert coarse[0] - coarse[1] < 0.002 * square
    assert fine[0] - fine[1] < 0.2 * (coarse[0] - coarse[1])  # of first order: a quarter


def test_places_hold_zero_and_reach_the_ends() -> None:
    for growth in (0.0, 1 / 64, 1 / 3):
        at = grids.places(-0.31, 5.02, step=0.1, growth=growth)
        assert 0 in at
        assert at[0] * 0.1 <= -0.31
        assert at[-1] * 0.1 >= 5.02
        assert (np.diff(at) >= 1).all()
        assert (np.diff(at) <= 1 + growth * np.maximum(np.abs(at[1:]), np.abs(at[:-1]))).all()


@settings(max_examples=30)
@given(st.lists(st.tuples(probs, st.floats(0.1, 2), st.integers(1, 5)), min_size=2, max_size=6))
def test_transforms_compose_as_the_library_does(rows: list[tuple[float, float, int]]) -> None:
    parts = tuple({Sampled(q, Gaussian(mu)): n for q, mu, n in rows}.items())
    step = 0.2 * spread(parts)
    pieces = []
    whole: pld_pmf.PLDPmf | None = None
    for profile, n in parts:
        remove, add = (float(end[0]) for end in grids.loss_ends(profile, 1e-10))
        at = grids.places(-add, remove, step=step, growth=0.0)
        grid = grids.above(profile, 0, at, step=step)
        pieces.append((grid, np.array([n])))
        one = pld_pmf.DensePLDPmf(step, int(at[0]), grid.masses[0], 0.0, True)
        for _ in range(n):
            whole = one if whole is None else whole.compose(one)
    assert whole is not None
    made = convolution(pieces, cut=1e-13, budget=Budget())
    first, masses = made.rounds(1)
    e = np.linspace(-2.0, 6.0, 30)
    ours = hockey(first + np.arange(len(masses)), masses, 0.0, step, e)
    np.testing.assert_allclose(ours, np.maximum(whole.get_delta_for_epsilon(e), 0), atol=2e-12)


@settings(max_examples=60)
@given(st.floats(0.02, 3), st.integers(2, 3000), st.floats(1e-9, 1e-2), st.floats(0.01, 0.5))
def test_composed_grids_enclose_the_closed_form(
    mu: float, n: int, delta: float, share: float
) -> None:
    parts = ((Gaussian(mu), n),)
    truth = gaussian_epsilon(mu=mu * math.sqrt(n), delta=delta)
    upper = compose(parts, step=share * mu, delta=delta)
    lower = compose_below(parts, step=share * mu, delta=delta)
    assert upper is not None
    assert lower is not None
    assert lower.lower_epsilon(delta) <= truth <= upper.upper_epsilon(delta)
    at = min(truth, 600.0)
    exact = gaussian_delta(mu=mu * math.sqrt(n), epsilon=at)
    assert lower.lower_delta(at) <= exact <= upper.upper_delta(at)
    rounds = compose_rounds(((Gaussian(mu), 1),), [n], step=share * mu, delta=delta)
    below = compose_rounds(((Gaussian(mu), 1),), [n], step=share * mu, delta=delta, below=True)
    assert rounds is not None
    assert below is not None
    (again,), (under,) = list(rounds), list(below)
    assert under.lower_epsilon(delta) <= truth <= again.upper_epsilon(delta)
    assert again.upper_epsilon(delta) == pytest.approx(
        upper.upper_epsilon(delta), rel=1e-4, abs=1e-6
    )


def test_composition_brackets_itself_from_coarse_to_fine() -> None:
    parts: tuple[tuple[Profile, int], ...] = (
        (Sampled(0.05, Gaussian(0.8)), 40),
        (Laplace(0.1), 3),
        (Gaussian(0.2), 1),
    )
    uppers = [compose(parts, step=step, delta=1e-6) for step in (2e-2, 2e-3)]
    lowers = [compose_below(parts, step=step, delta=1e-6) for step in (2e-2, 2e-3)]
    for delta in (1e-3, 1e-6):
        up = [one.upper_epsilon(delta) for one in uppers if one is not None]
        low = [one.lower_epsilon(delta) for one in lowers if one is not None]
        assert low[0] <= low[1] <= up[1] <= up[0]
        assert up[1] <= 1.01 * low[1]
    for epsilon in (0.1, 1.0):
        up = [one.upper_delta(epsilon) for one in uppers if one is not None]
        low = [one.lower_delta(epsilon) for one in lowers if one is not None]
        assert low[0] <= low[1] <= up[1] <= up[0]


def test_too_fine_a_grid_is_not_made() -> None:
    parts = ((Sampled(0.1, Gaussian(1.0)), 10), (Laplace(1.0), 10))
    assert compose(parts, step=1e-8, delta=1e-5) is None
    assert compose_below(parts, step=1e-8, delta=1e-5) is None
    assert compose_rounds(parts, [5], step=1e-8, delta=1e-5) is None


@settings(max_examples=30)
@given(
    st.floats(1e-3, 0.9),
    st.floats(0.05, 2.5),
    st.integers(2, 20_000),
    st.floats(0.05, 0.8),
    st.booleans(),
)
def test_what_floating_point_changes_is_allowed_for(
    prob: float, mu: float, n: int, share: float, by_library: bool
) -> None:
    """The same transform in extended precision: another road, a thousand times finer."""
    profile = Sampled(prob, Gaussian(mu))
    parts = ((profile, n),)
    step = share * spread(parts)
    remove, add = (float(end[0]) for end in grids.loss_ends(profile, 1e-9 / n))
    at = grids.places(-add, remove, step=step, growth=0.0)
    assume(len(at) * math.sqrt(n) < 20_000)
    grid = grids.above(profile, 0, at, step=step)
    if by_library:
        single = pld_pmf.DensePLDPmf(step, int(at[0]), grid.masses[0], 0.0, True)
        side = single.self_compose(n, CUT)
        first, masses = side._lower_loss, side._probs
        size = fft.next_fast_len(max(len(masses), len(at)))
    else:
        ours = convolution([(grid, np.array([n]))], cut=CUT, budget=Budget())
        first, masses = ours.rounds(1)
        side, size = pld_pmf.DensePLDPmf(step, first, masses, CUT, True), ours.size
    spectrum = fft.rfft(grid.masses[0].astype(np.longdouble), size)
    truth = np.roll(fft.irfft(spectrum**n, size), n * int(at[0]) - first)[: len(masses)]
    assert truth.dtype == np.longdouble
    places = first + np.arange(len(masses))
    low, high = float(places[0] * step), float(places[-1] * step)
    assume(low > -600 and high < 600)  # e to them is a float
    e = np.linspace(max(-3.0, low), high, 9)
    found = np.asarray(side.get_delta_for_epsilon(e)) - side._infinity_mass
    exact = hockey(places, truth, 0.0, step, e)
    allowed = Composition(side, side, step, n, CUT).floating
    assert np.abs(found - exact).max() <= allowed
