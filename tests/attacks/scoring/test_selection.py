"""The worst attack is chosen where it is not reported, and whole batches stay together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.scoring.rates import clopper_pearson, cluster_bootstrap, success_rate
from attacks.scoring.selection import choosing_half, worst_attack
from privacy.errors import InvalidInputError


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(0, 2**31))
@settings(max_examples=60)
def test_halves_keep_batches_whole_and_do_not_depend_on_order(places: list[int], seed: int) -> None:
    clusters = np.array(places)
    half = choosing_half(clusters, seed=seed)
    inside, outside = set(clusters[half].tolist()), set(clusters[~half].tolist())
    assert not inside & outside
    assert len(outside) - len(inside) in (0, 1)
    order = np.random.default_rng(seed).permutation(len(clusters))
    np.testing.assert_array_equal(choosing_half(clusters[order], seed=seed), half[order])


def test_among_equals_the_reported_rate_is_unbiased_and_the_largest_is_not() -> None:
    """Twelve attacks that guess: the luckiest shows more than one in ten, the split does not."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(12), 5)
    reported, largest = [], []
    for seed in range(400):
        hits = {str(k): rng.random(60) < 0.1 for k in range(12)}
        reported.append(worst_attack(hits, clusters, seed=seed).rate.value)
        largest.append(max(h.mean() for h in hits.values()))
    error = np.std(reported) / np.sqrt(len(reported))
    assert abs(np.mean(reported) - 0.1) < 3.3 * error
    assert np.mean(largest) - 0.1 > 20 * np.std(largest) / np.sqrt(len(largest))


def test_the_strongest_is_chosen_and_the_same_seed_chooses_alike() -> None:
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(20), 8)
    hits = {"weak": rng.random(160) < 0.1, "strong": rng.random(160) < 0.5}
    worst = worst_attack(hits, clusters, seed=3)
    assert worst.attack == "strong"
    assert (worst.tried, worst.chosen_on, worst.rate.clusters) == (("weak", "strong"), 10, 10)
    assert worst.rate.lower < 0.5 < worst.rate.upper
    assert worst.rate.value == hits["strong"][worst.reported].mean()
    again = worst_attack(hits, clusters, seed=3)
    assert again.rate == worst.rate
    alone = worst_attack({"weak": hits["weak"]}, clusters, seed=3)
    assert (alone.chosen_on, alone.rate.units) == (0, 160)


def test_a_success_rate_takes_the_wider_interval_at_each_end() -> None:
    clusters = np.repeat(np.arange(6), 5)
    never = success_rate(np.zeros(30), clusters, np.random.default_rng(0))
    assert (never.lower, never.upper) == clopper_pearson(0, 30)  # resampling shows no width
    fates = np.repeat(np.array([1, 0, 1, 0, 1, 0]), 5)
    shared = success_rate(fates, clusters, np.random.default_rng(0))
    resampled = cluster_bootstrap(fates.astype(float), clusters, np.random.default_rng(0))
    assert (shared.lower, shared.upper) == resampled
    assert shared.value == 0.5


def test_what_cannot_be_split_is_refused() -> None:
    one = np.zeros(8)
    with pytest.raises(InvalidInputError, match="at least 3 batches, got 2"):
        worst_attack({"a": one, "b": one}, np.repeat([0, 1], 4), seed=0)
    with pytest.raises(InvalidInputError, match="same targets"):
        worst_attack({"a": one, "b": one[:4]}, np.arange(8), seed=0)
    with pytest.raises(InvalidInputError, match="at least one attack"):
        worst_attack({}, np.arange(8), seed=0)
    with pytest.raises(InvalidInputError, match="0 and 1"):
        success_rate(one + 0.5, np.arange(8), np.random.default_rng(0))
