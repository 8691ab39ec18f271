"""Figures from noised counts: right without noise, and intervals that are never too narrow."""

from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom, norm, rankdata

from aggregation.evaluation import HeldOut, figures
from privacy.errors import InvalidInputError

EDGES = 1.4 * norm.ppf(np.arange(1, 8) / 8)
RUNS = 100


def auc(scores: np.ndarray, outcomes: np.ndarray) -> float:
    """Mann and Whitney's, ties one half."""
    ranks, ill = rankdata(scores), int(outcomes.sum())
    return float((ranks[outcomes == 1].sum() - ill * (ill + 1) / 2) / (ill * (len(outcomes) - ill)))


def counted(scores: np.ndarray, outcomes: np.ndarray, edges: np.ndarray = EDGES) -> np.ndarray:
    place = np.searchsorted(edges, scores, side="right")
    return np.stack(
        [np.bincount(place[outcomes == y], minlength=len(edges) + 1) for y in (0, 1)]
    ).astype(float)


def population(
    rng: np.random.Generator, n: int, slope: float = 1.0, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and outcomes that follow them by a slope (1: calibrated) and a shift."""
    scores = 1.3 * rng.normal(size=n)
    return scores, (rng.random(n) < expit(slope * scores + shift)).astype(np.int64)


def test_without_noise_it_is_the_auc_of_the_counted_patients() -> None:
    scores, outcomes = population(np.random.default_rng(0), 20_000)
    held_out = HeldOut(counted(scores, outcomes)[None], 0.0, EDGES)
    found = figures(held_out)["AUC"]
    assert found.value == pytest.approx(auc(scores, outcomes), abs=0.002)
    # Ties one half and the rest from within bins, written out pair by pair.
    well, ill = held_out.counts[0]
    wins = sum(
        ill[b] * well[c] * (1.0 if b > c else 0.5 + held_out.widths[b] / 12 if b == c else 0.0)
        for b in range(8)
        for c in range(8)
    )
    assert found.value == pytest.approx(wins / ill.sum() / well.sum(), rel=1e-12)
    coarse = auc(np.searchsorted(EDGES, scores).astype(float), outcomes)
    assert found.value is not None and coarse < found.value  # ties hide some of it


def test_calibration_without_noise_is_observed_less_predicted() -> None:
    scores, outcomes = population(np.random.default_rng(1), 50_000, shift=-1.0)
    found = figures(HeldOut(counted(scores, outcomes)[None], 0.0, EDGES))
    truth = outcomes.mean() - expit(scores).mean()
    large = found["observed less predicted"]
    assert large.value == pytest.approx(truth, abs=0.004) and truth < -0.15
    assert large.lower < truth < large.upper < 0
    for k in range(8):
        inside = np.searchsorted(EDGES, scores, side="right") == k
        assert found[f"observed in bin {k}"].value == pytest.approx(outcomes[inside].mean())


@pytest.mark.parametrize("slope", [0.7, 1.5])
@pytest.mark.parametrize(("n", "std"), [(300, 0.0), (300, 5.0), (2000, 30.0), (20_000, 30.0)])
def test_intervals_hold_the_populations_truth_as_often_as_they_say(
    slope: float, n: int, std: float
) -> None:
    """Eight figures a setting; below 95 % by chance once in 100,000 each."""
    rng = np.random.default_rng([7, n, int(std), int(10 * slope)])
    scores, outcomes = population(rng, 400_000, slope, shift=-1.0)
    place = np.searchsorted(EDGES, scores, side="right")
    truth = {
        "AUC": auc(scores, outcomes),
        "observed less predicted": outcomes.mean() - expit(scores).mean(),
        **{f"observed in bin {k}": outcomes[place == k].mean() for k in (0, 3, 7)},
    }
    held = dict.fromkeys(truth, 0)
    for _ in range(RUNS):
        counts = counted(*population(rng, n, slope, shift=-1.0))
        found = figures(HeldOut((counts + std * rng.normal(size=(2, 8)))[None], std, EDGES))
        for name, value in truth.items():
            held[name] += found[name].lower <= value <= found[name].upper
    least = binom.ppf(1e-5, RUNS, 0.95)
    assert all(often >= least for often in held.values()), held


def test_the_closed_form_agrees_with_noise_that_is_drawn() -> None:
    """Counts as they are, noise drawn 200 times: never wider than said, and not half of it."""
    rng = np.random.default_rng(3)
    counts = counted(*population(rng, 20_000, shift=-1.0))
    std = 60.0  # far more than chance brings to counts of thousands
    drawn = counts + std * rng.normal(size=(200, 2, 8))
    many = [figures(HeldOut(one[None], std, EDGES)) for one in drawn]
    for name in ("AUC", "observed less predicted", "observed in bin 4"):
        values = np.array([found[name].value for found in many])
        widths = np.array([(found[name].upper - found[name].lower) / 2 for found in many])
        assert values.std() <= widths.mean() / norm.ppf(0.975) * 1.15
        assert values.std() >= widths.mean() / norm.ppf(0.975) * 0.5
    exact = figures(HeldOut(counts[None], 0.0, EDGES))["AUC"].value
    values = np.array([found["AUC"].value for found in many])
    assert exact is not None
    assert abs(values.mean() - exact) < 4 * values.std() / np.sqrt(len(values))


def test_counts_that_noise_drowns_tell_nothing_and_say_so() -> None:
    rng = np.random.default_rng(4)
    told = 0
    for _ in range(120):
        held_out = HeldOut(30 * rng.normal(size=(1, 2, 8)), 30.0, EDGES)
        found = figures(held_out)
        told += found["AUC"].value is not None
        assert found["AUC"].value is not None or (found["AUC"].lower, found["AUC"].upper) == (0, 1)
        assert found["AUC"].upper - found["AUC"].lower > 0.3
    assert told < 12
    empty = figures(HeldOut(np.zeros((1, 2, 8)), 0.0, EDGES))
    assert all(one.value is None for one in empty.values())


def test_few_patients_who_are_ranked_without_fault_prove_little() -> None:
    counts = np.zeros((1, 2, 8))
    counts[0, 0, 0] = counts[0, 1, 7] = 5
    found = figures(HeldOut(counts, 0.0, EDGES))["AUC"]
    assert found.value == 1.0 and found.upper == 1.0 and found.lower < 0.8


def test_more_noise_is_a_wider_interval_in_the_mean() -> None:
    rng = np.random.default_rng(5)
    counts = counted(*population(rng, 4000))
    widths = []
    for std in (0.0, 5.0, 10.0, 20.0, 40.0):
        found = [
            figures(HeldOut((counts + std * rng.normal(size=(2, 8)))[None], std, EDGES))["AUC"]
            for _ in range(40)
        ]
        widths.append(np.mean([one.upper - one.lower for one in found]))
    assert (np.diff(widths) > 0).all()


def test_a_lower_confidence_is_a_narrower_interval() -> None:
    held_out = HeldOut(counted(*population(np.random.default_rng(6), 4000))[None], 5.0, EDGES)
    wide, narrow = (figures(held_out, confidence=c)["AUC"] for c in (0.99, 0.8))
    assert wide.lower < narrow.lower < narrow.upper < wide.upper
    assert (wide.confidence, narrow.confidence) == (0.99, 0.8)


def test_sites_add_up_and_so_does_their_noise() -> None:
    rng = np.random.default_rng(8)
    parts = np.stack([counted(*population(rng, 500)) for _ in range(4)])
    several = HeldOut(parts, 3.0, EDGES, ("a", "b", "c", "d"))
    one = several.together()
    assert one.noise_std == 6.0 and (one.counts[0] == parts.sum(axis=0)).all()
    assert figures(several) == figures(one) and one.together() is one
    assert (several.of("c").counts[0] == parts[2]).all() and several.of("c").noise_std == 3.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"counts": np.zeros((1, 2, 7))},
        {"counts": np.zeros((2, 2, 8))},
        {"counts": np.full((1, 2, 8), np.nan)},
        {"edges": EDGES[::-1].copy()},
        {"edges": np.full(7, np.inf)},
        {"noise_std": -1.0},
    ],
)
def test_what_does_not_agree_is_refused(wrong: dict[str, Any]) -> None:
    good: dict[str, Any] = {"counts": np.zeros((1, 2, 8)), "noise_std": 1.0, "edges": EDGES}
    HeldOut(**good)
    with pytest.raises(InvalidInputError):
        HeldOut(**good | wrong)


def test_bins_of_one_edge_have_a_width() -> None:
    held_out = HeldOut(np.full((1, 2, 2), 50.0), 0.0, np.array([0.0]))
    assert held_out.widths.tolist() == [1.0, 1.0]
    np.testing.assert_allclose(held_out.risks, expit([-0.5, 0.5]))
    np.testing.assert_allclose(held_out.spans, expit([[-1.0, 0.0], [0.0, 1.0]]))


def contradicted(held_out: HeldOut, name: str, value: float, z: float) -> bool:
    """The docstring's test of one value: a statistic, and its slope in each of the 16 cells."""
    widths = [*np.diff(EDGES)[:1], *np.diff(EDGES), *np.diff(EDGES)[-1:]]
    ends = [EDGES[0] - widths[0], *EDGES, EDGES[-1] + widths[-1]]

    def statistic(well: np.ndarray, ill: np.ndarray) -> float:
        total = 0.0
        for b in range(8):
            if name == "AUC":
                for c in range(8):
                    won = float(b > c) if b != c else 0.5 + widths[b] / 12
                    total += ill[b] * well[c] * (won - value)
            else:
                risk = expit((ends[b] + ends[b + 1]) / 2)
                total += ill[b] * (1 - risk - value) + well[b] * (0 - risk - value)
        return total

    counts, variance = held_out.counts[0], 0.0
    for cell in np.ndindex(2, 8):
        more = counts.copy()
        more[cell] += 1  # the statistic is linear in each cell
        slope = statistic(*more) - statistic(*counts)
        variance += (max(counts[cell], 0.0) + held_out.noise_std**2 + 1) * slope**2
    return statistic(*counts) ** 2 > z**2 * variance


@pytest.mark.parametrize("name", ["AUC", "observed less predicted"])
@pytest.mark.parametrize("std", [0.0, 4.0, 12.0])
def test_an_interval_ends_where_the_counts_contradict_and_what_bins_hide_is_added(
    name: str, std: float
) -> None:
    """Second road: the ends by search with slopes cell by cell; the rest by hand."""
    rng = np.random.default_rng([9, int(std)])
    counts = counted(*population(rng, 600, shift=-1.0)) + std * rng.normal(size=(2, 8))
    held_out = HeldOut(counts[None], std, EDGES)
    found = figures(held_out)[name]
    well, ill = counts
    value, low, high = found.value, (0.0 if name == "AUC" else -1.0), 1.0
    if name == "AUC":
        cells = zip(ill, well, held_out.widths, strict=True)
        ties = sum(max(i, 0) * max(w, 0) * width / 12 for i, w, width in cells)
        hidden = ties / (ill.sum() * well.sum())
    else:
        # A twelfth of the span of risks of each patient's bin; outer bins end after one more width.
        spans = np.diff(expit([2 * EDGES[0] - EDGES[1], *EDGES, 2 * EDGES[-1] - EDGES[-2]]))
        hidden = float(np.maximum(ill + well, 0) @ spans) / 12 / counts.sum()
    assert value is not None and hidden > 0.003
    z = norm.ppf(0.975)

    def edge(inside: float, outside: float) -> float:
        assert not contradicted(held_out, name, inside, z)
        for _ in range(30):
            middle = (inside + outside) / 2
            if contradicted(held_out, name, middle, z):
                outside = middle
            else:
                inside = middle
        return inside

    step = (high - low) / 2000  # of the grid that the interval is read off, a step wider
    first = max(low, edge(value, low) - hidden)
    last = min(high, edge(value, high) + hidden)
    assert first - 2 * step <= found.lower <= first and last <= found.upper <= last + 2 * step
    assert std == 12 or low < first < last < high


@pytest.mark.parametrize("std", [0.0, 2.0, 6.0])
@pytest.mark.parametrize(("ill", "well"), [(3.0, 60.0), (30.0, 40.0), (58.5, 2.5)])
def test_a_bins_interval_is_the_quadratics_between_its_roots(
    ill: float, well: float, std: float
) -> None:
    r"""Wilson's with noise: :math:`(i - vT)^2 \le z^2 (T v(1-v) + \sigma^2 ((1-v)^2 + v^2))`."""
    counts = np.full((1, 2, 8), 10.0)
    counts[0, :, 3] = well, ill
    found = figures(HeldOut(counts, std, EDGES))["observed in bin 3"]
    total, z2 = ill + well, norm.ppf(0.975) ** 2
    square = total**2 + z2 * total - 2 * z2 * std**2
    linear = -2 * total * ill - z2 * total + 2 * z2 * std**2
    roots = np.sort(np.roots([square, linear, ill**2 - z2 * std**2]).real)
    low, high = max(0.0, roots[0]), min(1.0, roots[1])
    assert low - 1e-3 <= found.lower <= low and high <= found.upper <= high + 1e-3


@pytest.mark.parametrize("few", [0, 3])
def test_a_figure_is_given_where_its_totals_stand_two_deviations_of_noise_above_nothing(
    few: int,
) -> None:
    """AUC: each outcome's total of 8 cells; in the large: of 16; a bin: of its two."""
    std = 5.0

    def told(share: float, ill: bool, well: bool) -> dict[str, bool]:
        counts = np.full((1, 2, 8), 1000.0)
        for row, drowned in ((0, well), (1, ill)):
            if drowned:
                counts[0, row] = share * 2 * std * np.sqrt(8) / 8
        return {
            name: found.value is not None
            for name, found in figures(HeldOut(counts, std, EDGES)).items()
        }

    for ill, well in ((True, False), (False, True)):
        assert told(1.01, ill, well)["AUC"] and not told(0.99, ill, well)["AUC"]
    both = np.full((1, 2, 8), 2 * std * np.sqrt(16) / 16)
    for share in (0.99, 1.01):
        found = figures(HeldOut(share * both, std, EDGES))
        assert (found["observed less predicted"].value is not None) == (share > 1)
        counts = np.full((1, 2, 8), 1000.0)
        counts[0, :, few] = share * std * np.sqrt(2)  # the two of a bin
        found = figures(HeldOut(counts, std, EDGES))
        assert (found[f"observed in bin {few}"].value is not None) == (share > 1)


def test_a_bin_whose_noised_count_is_negative_hides_nothing() -> None:
    """Of both figures: it would take from what the other bins hide."""
    counts = np.full((1, 2, 8), 100.0)
    counts[0, :, 2] = 0.0
    empty = figures(HeldOut(counts, 0.0, EDGES))
    counts[0, :, 2] = -1e-6
    below = figures(HeldOut(counts, 0.0, EDGES))
    counts[0, :, 2] = -300.0
    far = figures(HeldOut(counts, 0.0, EDGES))
    for name in ("AUC", "observed less predicted"):
        assert below[name].lower == pytest.approx(empty[name].lower, abs=1e-6)
        assert below[name].upper == pytest.approx(empty[name].upper, abs=1e-6)
    # The 1,400 patients of the other bins hide a twelfth of their bins' spans, of 800 in all.
    spans = np.diff(expit([2 * EDGES[0] - EDGES[1], *EDGES, 2 * EDGES[-1] - EDGES[-2]]))
    found, hidden = far["observed less predicted"], 200 * (spans.sum() - spans[2]) / 12 / 800
    bare = [v for v in np.linspace(-1, 1, 2001) if not contradicted(
        HeldOut(counts, 0.0, EDGES), "observed less predicted", v, norm.ppf(0.975))]  # fmt: skip
    assert found.upper == pytest.approx(bare[-1] + hidden, abs=2.1e-3)
    assert found.upper > bare[-1] + hidden - 1e-4


def test_ties_in_a_bin_of_any_width_are_won_at_most_always() -> None:
    """Scores that are a hundred apart within one bin: 1/2 + 100/12 would be no probability."""
    wide = HeldOut(np.full((1, 2, 3), 50.0), 0.0, np.array([0.0, 100.0]))
    # Each bin is 100 wide: equal ones are won always, and the rest as the bins are.
    assert figures(wide)["AUC"].value == pytest.approx((3 * 1.0 + 3 * 1.0 + 3 * 0.0) / 9)
