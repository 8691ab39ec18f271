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
