"""One release on a grid, from both sides; and many composed, by two roads."""

import math

import mpmath
import numpy as np
import pytest
from dp_accounting.pld import pld_pmf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import fft

from privacy.accounting import grids
from privacy.accounting.composition import (
    compose,
    compose_below,
    compose_rounds,
    moment_table,
    spread,
)
from privacy.accounting.convolution import convolution
from privacy.accounting.cost import WorkBudget
from privacy.accounting.gaussian import gaussian_delta, gaussian_epsilon
from privacy.accounting.profiles import (
    Attained,
    DiscreteLaplaceProfile,
    FiniteOutcomes,
    GaussianProfile,
    LaplaceProfile,
    Profile,
    Sampled,
    SampledGaussianReplace,
)
from privacy.accounting.tilt import Aim, at_delta, at_epsilon, at_success, log_chord

Floats = NDArray[np.float64]
CUT = 1e-9
FLOATING = 5e-15  # a profile's own rounding
probs = st.floats(1e-3, 0.999)
mus = st.floats(0.02, 9.0)
outcomes = st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), min_size=2, max_size=5)
attained = st.one_of(
    st.builds(GaussianProfile, mus),
    st.builds(LaplaceProfile, st.floats(0.05, 6.0)),
    st.builds(DiscreteLaplaceProfile, st.floats(0.05, 2.0), st.integers(1, 6)),
    st.builds(SampledGaussianReplace, probs, mus),
    st.builds(Sampled, probs, st.builds(GaussianProfile, mus)),
)


def hockey(
    places: NDArray[np.int64], masses: Floats, infinite: float, step: float, e: Floats
) -> Floats:
    """Delta of a loss on the grid, outcome by outcome."""
    losses = places * step
    excess = masses * np.maximum(-np.expm1(e[:, None] - losses), 0.0)
    return np.asarray(infinite + excess.sum(axis=1))


def finite(masses: list[tuple[float, float]]) -> FiniteOutcomes:
    p, q = (sum(side) for side in zip(*masses, strict=True))
    return FiniteOutcomes(tuple((a / p, b / q) for a, b in masses))


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
    e = np.linspace(-3.0, 1.1 * ends[0] + 1, 120)
    for direction in (0, 1):
        truth = profile.deltas(e)[direction]
        facing = -at[::-1] if direction else at
        upper = grids.above(profile, direction, facing, step=step)
        found = hockey(upper.places, upper.masses[0], float(upper.infinite[0]), step, e)
        assert (found >= truth - FLOATING).all()
        grid = grids.below(profile, direction, facing, step=step)
        lower = hockey(grid.places, grid.masses[0], 0.0, step, e - grid.shift[0])
        assert (lower <= truth + FLOATING).all()
        slack = 1e-12 if grid.shift[0] == 0 else 1e-8  # a moved grid ends a little lower
        assert grid.masses[0].sum() == pytest.approx(1.0, abs=slack)


@given(
    st.one_of(
        st.builds(GaussianProfile, st.floats(0.05, 6)),
        st.builds(Sampled, st.floats(0.05, 0.999), st.builds(GaussianProfile, st.floats(0.1, 2))),
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
        lower = grids.below(profile, 0, at, step=step)
        assert lower.shift[0] == 0
        return float(upper.masses[0] @ upper.places) * step, float(
            lower.masses[0] @ lower.places
        ) * step

    coarse, fine = means(0.04), means(0.01)
    assert coarse[1] < fine[1] < fine[0] < coarse[0]
    assert coarse[0] - coarse[1] < 0.002 * square
    assert fine[0] - fine[1] < 0.2 * (coarse[0] - coarse[1])  # of first order: a quarter


@given(
    st.floats(1e-7, 1e-2),
    st.floats(0.5, 3.0),
    st.floats(0.3, 3.0),
)
def test_a_grid_coarser_than_the_lowest_loss_still_tells_of_the_high_ones(
    prob: float, mu: float, ratio: float
) -> None:
    """Who is seldom sampled loses log(1 - q) nearly always: a grid without it told nothing."""
    profile, step = Sampled(prob, GaussianProfile(mu)), ratio * prob
    far = float(grids.loss_ends(profile, 1e-12)[0][0])
    at = grids.places(-2 * step, far, step=step, growth=1 / 256)
    found = grids.below(profile, 0, at, step=step)
    e = np.linspace(0.0, 0.8 * far, 40)[1:]
    lower = hockey(found.places, found.masses[0], 0.0, step, e - found.shift[0])
    truth = profile.deltas(e)[0]
    assert (lower <= truth * (1 + 1e-9)).all()
    assert (lower[e > 40 * step] >= 0.5 * truth[e > 40 * step]).all()


def test_places_hold_zero_and_reach_the_ends() -> None:
    for growth in (0.0, 1 / 64, 1 / 3):
        at = grids.places(-0.31, 5.02, step=0.1, growth=growth)
        assert 0 in at
        assert at[0] * 0.1 <= -0.31
        assert at[-1] * 0.1 >= 5.02
        assert (np.diff(at) >= 1).all()
        assert (np.diff(at) <= 1 + growth * np.maximum(np.abs(at[1:]), np.abs(at[:-1]))).all()


@settings(max_examples=30)
@given(
    st.lists(st.tuples(probs, st.floats(0.1, 2), st.integers(1, 5)), min_size=2, max_size=6),
    st.sampled_from([0.0, 0.5, 3.0]),
)
def test_transforms_compose_as_the_library_does(
    rows: list[tuple[float, float, int]], tilt: float
) -> None:
    parts = tuple({Sampled(q, GaussianProfile(mu)): n for q, mu, n in rows}.items())
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
    made = convolution(pieces, step=step, tilt=tilt, budget=WorkBudget()).rounds(1)
    e = np.linspace(-2.0, 6.0, 30)
    theirs = np.maximum(whole.get_delta_for_epsilon(e), 0)
    infinite = 1 - float(np.prod([(1 - g.infinite[0]) ** n[0] for g, n in pieces]))
    assert (made.lower_deltas(e) <= theirs + 2e-12).all()
    assert (made.upper_deltas(e) >= theirs + infinite - 2e-12).all()
    if tilt == 0:
        assert (made.upper_deltas(e) - infinite - made.lower_deltas(e) < 1e-9).all()


@settings(max_examples=60)
@given(st.floats(0.02, 3), st.integers(2, 3000), st.floats(-40, -0.5), st.floats(0.01, 0.5))
def test_composed_grids_enclose_the_closed_form(
    mu: float, n: int, exponent: float, share: float
) -> None:
    parts, delta = ((GaussianProfile(mu), n),), 10**exponent
    truth = gaussian_epsilon(mu=mu * math.sqrt(n), delta=delta)
    upper = compose(parts, at_delta(delta), step=share * mu)
    lower = compose_below(parts, at_delta(delta), step=share * mu)
    assert upper is not None
    assert lower is not None
    assert lower.lower_epsilon(delta) <= truth <= upper.upper_epsilon(delta)
    at = min(truth, 600.0)
    exact = gaussian_delta(mu=mu * math.sqrt(n), epsilon=at)
    assert lower.lower_delta(at) <= exact <= upper.upper_delta(at)
    aimed = compose(parts, at_epsilon(at), step=share * mu)
    under = compose_below(parts, at_epsilon(at), step=share * mu)
    assert aimed is not None
    assert under is not None
    assert under.lower_delta(at) <= exact <= aimed.upper_delta(at)
    rounds = compose_rounds(((GaussianProfile(mu), 1),), [n], step=share * mu, delta=delta)
    below = compose_rounds(
        ((GaussianProfile(mu), 1),), [n], step=share * mu, delta=delta, below=True
    )
    assert rounds is not None
    assert below is not None
    (again,), (beneath,) = list(rounds), list(below)
    assert beneath.lower_epsilon(delta) <= truth <= again.upper_epsilon(delta)
    assert again.upper_epsilon(delta) == pytest.approx(
        upper.upper_epsilon(delta), rel=1e-4, abs=1e-6
    )


def test_composition_brackets_itself_from_coarse_to_fine() -> None:
    parts: tuple[tuple[Profile, int], ...] = (
        (Sampled(0.05, GaussianProfile(0.8)), 40),
        (LaplaceProfile(0.1), 3),
        (GaussianProfile(0.2), 1),
    )
    uppers = [compose(parts, at_delta(1e-6), step=step) for step in (2e-2, 2e-3)]
    lowers = [compose_below(parts, at_delta(1e-6), step=step) for step in (2e-2, 2e-3)]
    for delta in (1e-3, 1e-6):
        up = [one.upper_epsilon(delta) for one in uppers if one is not None]
        low = [one.lower_epsilon(delta) for one in lowers if one is not None]
        assert low[0] <= low[1] <= up[1] <= up[0]
        assert up[1] <= 1.01 * low[1]
    for epsilon in (0.1, 1.0):
        up = [one.upper_delta(epsilon) for one in uppers if one is not None]
        low = [one.lower_delta(epsilon) for one in lowers if one is not None]
        assert low[0] <= low[1] <= up[1] <= up[0]


@pytest.mark.parametrize(("prob", "mu", "step"), [(1e-3, 3.0, 2e-2), (1e-4, 4.0, 5e-2)])
def test_rounds_of_a_moved_grid_are_moved_as_often(prob: float, mu: float, step: float) -> None:
    """A grid coarser than the loss of who was not sampled is moved there, in every round."""
    profile, n, delta = Sampled(prob, GaussianProfile(mu)), 50, 1e-7
    rounds = compose_rounds(((profile, 1),), [n], step=step, delta=delta, below=True)
    whole = compose_below(((profile, n),), at_delta(delta), step=step)
    assert rounds is not None
    assert whole is not None
    (one,) = rounds
    moved = [loss.shift for loss in one.remove]
    assert max(moved) < n * math.log1p(-prob) / 2
    assert moved == pytest.approx([loss.shift for loss in whole.remove], rel=1e-12)
    assert one.lower_epsilon(delta) == pytest.approx(whole.lower_epsilon(delta), rel=1e-12)
    assert one.lower_delta(0.5) == pytest.approx(whole.lower_delta(0.5), rel=1e-12)


def test_too_fine_a_grid_is_not_made() -> None:
    parts = ((Sampled(0.1, GaussianProfile(1.0)), 10), (LaplaceProfile(1.0), 10))
    assert compose(parts, at_delta(1e-5), step=1e-8) is None
    assert compose_below(parts, at_delta(1e-5), step=1e-8) is None
    assert compose_rounds(parts, [5], step=1e-8, delta=1e-5) is None


@settings(max_examples=30)
@given(
    st.floats(1e-3, 0.9),
    st.floats(0.05, 2.5),
    st.integers(2, 20_000),
    st.floats(0.05, 0.8),
    st.floats(-60, -1),
)
def test_what_floating_point_changes_is_allowed_for(
    prob: float, mu: float, n: int, share: float, exponent: float
) -> None:
    """The same transform in extended precision: another road, a thousand times finer."""
    profile = Sampled(prob, GaussianProfile(mu))
    parts = ((profile, n),)
    step, delta = share * spread(parts), 10**exponent
    remove, add = (float(end[0]) for end in grids.loss_ends(profile, 1e-5 * delta / n))
    at = grids.places(-add, remove, step=step, growth=0.0)
    assume(len(at) * math.sqrt(n) < 20_000)
    grid = grids.above(profile, 0, at, step=step)
    tilt = moment_table(parts, 1e-5 * delta / n).tilts(at_delta(delta))[0]
    made = convolution([(grid, np.array([n]))], step=step, tilt=tilt, budget=WorkBudget())
    ours = made.rounds(1)
    tilted = grid.masses[0].astype(np.longdouble) * np.exp(
        np.longdouble(tilt) * (at * np.longdouble(step))
    )
    spectrum = fft.rfft(tilted / tilted.sum(), made.size)
    truth = np.roll(fft.irfft(spectrum**n, made.size), n * int(at[0]) - ours.first)[: ours.size]
    assert truth.dtype == np.longdouble
    assert ours.log_scale == pytest.approx(float(n * np.log(tilted.sum())), rel=1e-12, abs=1e-12)
    assert float(np.abs(ours.masses - truth).max()) <= ours.error
    assert ours.error * ours.size < 1e-7


@given(st.floats(0.1, 2.0), st.integers(2, 50), st.floats(-30, -1))
def test_what_lies_outside_of_the_window_is_allowed_for(mu: float, n: int, exponent: float) -> None:
    """The tilted mass that a wide window finds and the usual one does not."""
    profile, delta = GaussianProfile(mu), 10**exponent
    step = 0.2 * mu
    end = float(grids.loss_ends(profile, 1e-5 * delta / n)[0][0])
    at = grids.places(-end, end, step=step, growth=0.0)
    grid = grids.above(profile, 0, at, step=step)
    tilt = moment_table(((profile, n),), 1e-5 * delta / n).tilts(at_delta(delta))[0]
    usual = convolution([(grid, np.array([n]))], step=step, tilt=tilt, budget=WorkBudget()).rounds(
        1
    )
    tilted = grid.masses[0] * np.exp(tilt * at * step)
    whole = tilted / tilted.sum()
    direct = np.ones(1)
    for _ in range(n):
        direct = np.convolve(direct, whole)
    start = usual.first - n * int(at[0])
    outside = direct[:start].sum() + direct[start + usual.size :].sum()
    assert outside <= 1e-11
    assert usual.size < len(direct) or n < 4


small = st.lists(st.floats(0.02, 1.0), min_size=2, max_size=6)


@settings(max_examples=25)
@given(small, st.integers(1, 5), st.floats(0.0, 12.0), st.sampled_from([0.05, 0.7]))
def test_readings_enclose_forty_digits(
    weights: list[float], n: int, tilt: float, step: float
) -> None:
    """A few masses convolved in forty digits: every delta and epsilon is enclosed, and tightly."""
    masses = np.array(weights) / sum(weights)
    at = np.arange(len(masses)) - 1
    grid = grids.Grid(at, masses[None, :], np.zeros(1), np.zeros(1))
    made = convolution([(grid, np.array([n]))], step=step, tilt=tilt, budget=WorkBudget()).rounds(1)
    with mpmath.workdps(40):
        exact = [mpmath.mpf(1)]
        for _ in range(n):
            longer = [mpmath.mpf(0)] * (len(exact) + len(masses) - 1)
            for i, p in enumerate(exact):
                for j, m in enumerate(masses):
                    longer[i + j] += p * mpmath.mpf(float(m))
            exact = longer
        losses = [(k - n) * mpmath.mpf(step) for k in range(len(exact))]
        for e in (-0.31, 0.0, 0.4 * float(losses[-1]), float(losses[-1]) - step / 3):
            truth = sum(
                (
                    p * (1 - mpmath.exp(e - loss))
                    for p, loss in zip(exact, losses, strict=True)
                    if loss > e
                ),
                mpmath.mpf(0),
            )
            low, high = made.lower_deltas(np.array([e]))[0], made.upper_deltas(np.array([e]))[0]
            assert low <= truth <= high
            if 0 < truth < 1 and e >= 0:
                above, below = made.upper_epsilon(float(truth)), made.lower_epsilon(float(truth))
                assert below - 1e-12 <= e <= above + 1e-12
                if high - low < 1e-6 * truth:
                    assert above - below < 1e-4


@pytest.mark.parametrize("aim", [at_delta(1e-30), at_epsilon(3.0), at_success(1e-12)], ids=str)
def test_the_tilt_is_near_that_of_the_closed_form(aim: Aim) -> None:
    """The loss of Gaussians is Gaussian: M is known, and so is where the bound is least."""
    mu = 0.7
    theta = np.geomspace(1e-3, 1e3, 20_000)
    log_m = theta * (1 + theta) * mu**2 / 2
    if aim.of == "success":
        bound = (theta * math.log(aim.value) + log_m) / (1 + theta)
    elif aim.of == "epsilon":
        bound = log_m - theta * aim.value + np.asarray(log_chord(theta))
    else:
        bound = (log_m + np.asarray(log_chord(theta)) - math.log(aim.value)) / theta
    found = moment_table(((GaussianProfile(mu / 4), 16),), 1e-60)
    assert found.tilts(aim)[0] == pytest.approx(theta[bound.argmin()], rel=0.2)
    assert found.tilts(aim)[0] == found.tilts(aim)[1]
    assert found.reached(aim) == pytest.approx(bound.min(), rel=0.02)
    assert moment_table(((GaussianProfile(mu / 4), 4),), 1e-60).tilts(aim, 4) == found.tilts(aim)


@pytest.mark.parametrize("n", [200, 2_000])
def test_a_loss_that_is_infinite_does_not_choose_the_tilt(n: int) -> None:
    """It has no moment: where it is rarer than delta, the tilt is that of all the rest."""
    rest = FiniteOutcomes(((0.6, 0.4), (0.4, 0.6)))
    torn = FiniteOutcomes(((0.6, 0.4), (0.4 - 1e-9, 0.6), (1e-9, 0.0)))
    aim = at_delta(1e-4)
    expected = moment_table(((rest, n),), 1e-12).tilts(aim)
    assert moment_table(((torn, n),), 1e-12).tilts(aim) == pytest.approx(expected, rel=0.2)


@settings(max_examples=60)
@given(
    st.floats(1e-4, 0.5),
    st.floats(0.1, 4.0),
    st.sampled_from([1e-2, 0.05, 0.2, 0.5]),
    st.integers(0, 1),
)
def test_a_grid_from_below_is_a_pair_or_tells_nothing(
    prob: float, mu: float, step: float, direction: int
) -> None:
    """Q's mass is at most 1 wherever the grid was moved; one atom alone lies at a loss of 0."""
    at = grids.places(-30.0, 30.0, step=step, growth=0.02)
    grid = grids.below(Sampled(prob, GaussianProfile(mu)), direction, at, step=step)
    losses = grid.places * step + grid.shift[0]
    assert (grid.masses @ np.exp(-losses)).item() <= 1 + 1e-12
    assert grid.masses.sum() == pytest.approx(1, abs=1e-9)
    assert grid.shift[0] <= 0
    if (grid.masses > 0).sum() == 1:
        assert losses[grid.masses[0] > 0].tolist() == [0.0]
