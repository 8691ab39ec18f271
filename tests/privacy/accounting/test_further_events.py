"""dp-accounting's rarer events: mixtures, trees, claims, samples with replacement, selections."""

import inspect
import itertools
import math

import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from dp_accounting.pld import privacy_loss_distribution as library
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from privacy.accounting import delta, epsilon
from privacy.accounting.drawn_runs import mean_runs, stopping_prob
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    RandomAllocationDpEvent,
    ShuffledBatchesDpEvent,
    SkellamDpEvent,
    check,
    from_json,
    to_json,
)
from privacy.accounting.lowering import lower
from privacy.accounting.moments import log_moments
from privacy.errors import InvalidInputError

ADD, REPLACE, SPECIAL = (
    Relation.ADD_OR_REMOVE_ONE,
    Relation.REPLACE_ONE,
    Relation.REPLACE_SPECIAL,
)
EXAMPLES: dict[str, tuple[dp.DpEvent, Relation]] = {
    "MixtureOfGaussiansDpEvent": (
        dp.MixtureOfGaussiansDpEvent(2.0, [0.0, 1.0, 3.0], [0.7, 0.2, 0.1]),
        ADD,
    ),
    "RepeatAndSelectDpEvent": (dp.RepeatAndSelectDpEvent(dp.GaussianDpEvent(4.0), 5.0, 1.0), ADD),
    "SampledWithReplacementDpEvent": (
        dp.SampledWithReplacementDpEvent(1000, 20, dp.GaussianDpEvent(2.0)),
        REPLACE,
    ),
    "SingleEpochTreeAggregationDpEvent": (
        dp.SingleEpochTreeAggregationDpEvent(8.0, [7, 100]),
        SPECIAL,
    ),
    "ZCDpEvent": (dp.ZCDpEvent(0.05, 0.01), ADD),
}


def test_every_event_of_the_library_is_accounted_for_or_refused_by_name() -> None:
    kinds = [
        kind
        for kind in vars(dp).values()
        if inspect.isclass(kind) and issubclass(kind, dp.DpEvent) and kind is not dp.DpEvent
    ]
    assert len(kinds) >= 17
    with pytest.raises(InvalidInputError) as refused:
        check(dp.UnsupportedDpEvent())
    named = str(refused.value)
    unknown = [kind.__name__ for kind in kinds if f"{kind.__name__}" not in named]
    assert unknown == []
    assert "event is a UnsupportedDpEvent, which is not accounted for" in named


@pytest.mark.parametrize("name", sorted(EXAMPLES))
@pytest.mark.parametrize("count", [1, 3])
def test_an_event_has_finite_ends_and_comes_back_from_json(name: str, count: int) -> None:
    event, relation = EXAMPLES[name]
    assert from_json(to_json(event)) == event
    found = epsilon(dp.SelfComposedDpEvent(event, count), delta=1e-5, relation=relation)
    assert 0 <= found.lower <= found.estimate <= found.upper < math.inf
    assert found.upper > 0.01
    sampled = dp.PoissonSampledDpEvent(0.05, event)
    if relation is not REPLACE:
        assert epsilon(sampled, delta=1e-5, relation=relation).upper < found.upper


@settings(max_examples=20)
@given(st.floats(0.01, 0.99), st.floats(0.5, 5.0), st.floats(0.0, 4.0))
def test_a_shift_that_may_be_nothing_is_a_sample(prob: float, noise: float, at: float) -> None:
    mixture = dp.MixtureOfGaussiansDpEvent(2 * noise, [0.0, 2.0], [1 - prob, prob])
    sample = dp.PoissonSampledDpEvent(prob, dp.GaussianDpEvent(noise))
    for relation in (ADD, SPECIAL):
        mine, same = (delta(e, epsilon=at, relation=relation) for e in (mixture, sample))
        assert (mine.lower, mine.upper) == pytest.approx((same.lower, same.upper), rel=1e-6)
    mine, same = (epsilon(e, delta=1e-6, relation=ADD) for e in (mixture, sample))
    assert mine.upper == pytest.approx(same.upper, rel=1e-5)


@pytest.mark.parametrize("count", [1, 6])
def test_a_mixture_lies_between_the_ends_of_the_librarys(count: int) -> None:
    deviation, shifts, probs = 1.5, [0.5, 1.0, 2.0], [0.5, 0.3, 0.2]
    event = dp.SelfComposedDpEvent(dp.MixtureOfGaussiansDpEvent(deviation, shifts, probs), count)
    ours = epsilon(event, delta=1e-5, relation=ADD)
    above, below = (
        library.from_mixture_gaussian_mechanism(
            deviation,
            shifts,
            probs,
            value_discretization_interval=1e-3,
            pessimistic_estimate=side,
        )
        .self_compose(count)
        .get_epsilon_for_delta(1e-5)
        for side in (True, False)
    )
    assert ours.lower <= above * (1 + 1e-9)
    assert below <= ours.upper * (1 + 1e-9)
    assert ours.upper - ours.lower <= 0.011 * ours.upper + 1e-3


def test_one_shift_is_a_gaussian_and_none_is_nothing() -> None:
    one = dp.MixtureOfGaussiansDpEvent(3.0, [1.5, 1.5], [0.4, 0.6])
    plain = epsilon(dp.GaussianDpEvent(2.0), delta=1e-5, relation=ADD)
    assert epsilon(one, delta=1e-5, relation=ADD).upper == plain.upper
    none = dp.MixtureOfGaussiansDpEvent(3.0, [0.0, 9.0], [1.0, 0.0])
    assert epsilon(none, delta=1e-5, relation=ADD).upper == 0


@pytest.mark.parametrize(
    ("steps", "depth"), [(1, 1), (2, 2), (3, 2), (4, 3), ([9, 127], 7), (128, 8)]
)
def test_a_tree_is_one_gaussian_of_its_depth(steps: int | list[int], depth: int) -> None:
    event = dp.SingleEpochTreeAggregationDpEvent(5.0, steps)
    for relation, factor in ((SPECIAL, 1), (REPLACE, 1)):
        gaussian = dp.GaussianDpEvent(5.0 / math.sqrt(depth) / factor)
        assert epsilon(event, delta=1e-5, relation=relation).upper == pytest.approx(
            epsilon(gaussian, delta=1e-5, relation=relation).upper, rel=1e-9
        )
    theirs = RdpAccountant(neighboring_relation=SPECIAL).compose(event).get_epsilon(1e-5)
    assert epsilon(event, delta=1e-5, relation=SPECIAL).upper <= theirs


@settings(max_examples=15)
@given(st.floats(1e-4, 2.0), st.sampled_from((0.0, 0.05)), st.integers(1, 5))
def test_a_claim_of_concentrated_dp_costs_what_the_library_says(
    rho: float, xi: float, count: int
) -> None:
    event = dp.SelfComposedDpEvent(dp.ZCDpEvent(rho, xi), count)
    ours = epsilon(event, delta=1e-5, relation=ADD)
    theirs = RdpAccountant().compose(event).get_epsilon(1e-5)
    assert ours.lower == 0
    assert 0.9 * theirs - 0.01 <= ours.upper <= 1.05 * theirs + 0.01  # whole orders alone
    # A Gaussian is one such mechanism: no bound may lie below it.
    gaussian = dp.GaussianDpEvent(1 / math.sqrt(2 * rho * count))
    assert ours.upper >= epsilon(gaussian, delta=1e-5, relation=ADD).lower


def test_moments_of_claims_and_of_selections_hold_all_that_is_known() -> None:
    k = np.arange(2, 60)
    claim = lower(dp.ZCDpEvent(0.1, 0.05), ADD, "above").parts[0][0]
    assert log_moments(claim)[k] == pytest.approx((k - 1) * (0.1 * k + 0.05), rel=1e-12)
    shares = DistributedDiscreteGaussianDpEvent(1.1 * 40**0.5, 1, 1, 40)
    inner = lower(shares, ADD, "above")
    assert inner.slack > 1e-5
    twice = (
        lower(dp.RepeatAndSelectDpEvent(one, 3.0, 1.0), ADD, "above").parts[0][0]
        for one in (shares, dp.GaussianDpEvent(1 / inner.gaussian_mu))
    )
    with_slack, without = (log_moments(profile)[k] for profile in twice)
    assert (with_slack >= without + 0.9 * k * inner.slack).all()


def test_a_claim_is_of_no_mechanism_that_could_be_sampled_for_a_replaced_record() -> None:
    event = dp.PoissonSampledDpEvent(0.1, dp.ZCDpEvent(0.1))
    with pytest.raises(InvalidInputError, match="no sound bound is known under REPLACE_ONE"):
        epsilon(event, delta=1e-5, relation=REPLACE)
    assert epsilon(event, delta=1e-5, relation=ADD).upper > 0


@pytest.mark.parametrize(
    ("n", "m", "noise"), [(10, 3, 1.0), (4, 4, 3.0), (50, 20, 0.7), (1, 2, 4.0)]
)
def test_samples_with_replacement_cost_no_less_than_one_of_their_pairs(
    n: int, m: int, noise: float
) -> None:
    """All others are of no influence; the patient pulls one way, or the other, k times."""
    event = dp.SampledWithReplacementDpEvent(n, m, dp.GaussianDpEvent(noise))
    x = np.linspace(-40, 40, 80_001)
    k = np.arange(m + 1)
    weights = stats.binom.pmf(k, m, 1 / n)
    p, q = (
        (weights * stats.norm.pdf(x[:, None], side * k / noise)).sum(axis=1) for side in (1, -1)
    )
    for at in (0.0, 0.3, 1.0, 3.0):
        truth = np.maximum(p - math.exp(at) * q, 0.0).sum() * (x[1] - x[0])
        found = delta(event, epsilon=at, relation=REPLACE)
        assert truth <= found.upper * (1 + 1e-6) + 1e-12
        assert found.lower == 0


def test_one_draw_is_the_same_with_and_without_replacement() -> None:
    gaussian = dp.GaussianDpEvent(1.3)
    with_, without = (
        epsilon(dp.SelfComposedDpEvent(kind(30, 1, gaussian), 4), delta=1e-5, relation=REPLACE)
        for kind in (dp.SampledWithReplacementDpEvent, dp.SampledWithoutReplacementDpEvent)
    )
    assert with_.upper == pytest.approx(without.upper, rel=1e-6)
    two = dp.SampledWithReplacementDpEvent(30, 2, gaussian)
    assert (
        epsilon(two, delta=1e-5, relation=REPLACE).upper
        > epsilon(
            dp.SampledWithoutReplacementDpEvent(30, 2, gaussian), delta=1e-5, relation=REPLACE
        ).lower
    )


@pytest.mark.parametrize("shape", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("mean", [1.5, 10.0, 300.0])
def test_the_stopping_probability_gives_the_mean(mean: float, shape: float) -> None:
    """By the law's own masses, added up; and from below, so that runs are no fewer."""
    stopping = stopping_prob(mean, shape)
    k = np.arange(1, 200_000)
    log_masses = k * math.log1p(-stopping) + np.cumsum(
        np.log((k - 1 + shape + (k == 1) * (shape == 0)) / k)
    )
    masses = np.exp(log_masses - log_masses.max())
    assert float(masses @ k / masses.sum()) == pytest.approx(mean, rel=1e-6)
    assert mean_runs(stopping, shape) >= mean * (1 - 1e-12)


@pytest.mark.parametrize("shape", [0.0, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("mean", [1.0, 2.0, 30.0])
def test_the_best_of_some_runs_costs_at_least_what_an_enumeration_shows(
    mean: float, shape: float
) -> None:
    """Randomised response, its answers in an order: the law of the best, by the law of runs."""
    noise, buckets = 0.8, 4
    run = dp.RandomizedResponseDpEvent(noise, buckets)
    event = dp.RepeatAndSelectDpEvent(run, mean, shape)
    own, other = 1 - noise * (buckets - 1) / buckets, noise / buckets

    def best(masses: list[float]) -> np.ndarray:
        if mean == 1:
            return np.array(masses)
        k = np.arange(1, 20_000)
        stopping = stopping_prob(mean, shape)
        logs = k * math.log1p(-stopping)
        logs = logs + np.cumsum(np.log((k - 1 + shape + (k == 1) * (shape == 0)) / k))
        chance = np.exp(logs - logs.max())
        chance /= chance.sum()
        below = np.concatenate([[0.0], np.cumsum(masses)])
        return np.diff([float(chance @ b**k) for b in below])

    p_of, q_of = ([own if i == at else other for i in range(buckets)] for at in (3, 0))
    for at in (0.0, 0.2, 0.6, 1.5):
        worst = 0.0
        for p, q in itertools.permutations((best(p_of), best(q_of))):
            worst = max(worst, float(np.maximum(p - math.exp(at) * q, 0.0).sum()))
        assert worst <= delta(event, epsilon=at, relation=REPLACE).upper * (1 + 1e-9)


@pytest.mark.parametrize(
    ("event", "relation", "words"),
    [
        (
            dp.SampledWithoutReplacementDpEvent(9, 3, dp.GaussianDpEvent(1.0)),
            ADD,
            "changes who else is drawn. Account for it under REPLACE_ONE.",
        ),
        (
            dp.SampledWithReplacementDpEvent(9, 3, dp.GaussianDpEvent(1.0)),
            SPECIAL,
            "changes who else is drawn. Account for it under REPLACE_ONE.",
        ),
        (
            ShuffledBatchesDpEvent(4, dp.GaussianDpEvent(1.0)),
            ADD,
            "moves the others. Account for it under REPLACE_SPECIAL or REPLACE_ONE.",
        ),
        (
            dp.TruncatedSubsampledGaussianDpEvent(9, 0.1, 3, 1.0),
            REPLACE,
            "it has a bound under ADD_OR_REMOVE_ONE and REPLACE_SPECIAL only.",
        ),
        (
            dp.RandomizedResponseDpEvent(0.5, 2),
            ADD,
            "account for it under REPLACE_ONE or REPLACE_SPECIAL, not ADD_OR_REMOVE_ONE.",
        ),
        (
            dp.PoissonSampledDpEvent(0.5, dp.RandomizedResponseDpEvent(0.5, 2)),
            SPECIAL,
            "is missing, not special. Account for it without the sampling.",
        ),
        (
            RandomAllocationDpEvent(4, dp.RandomizedResponseDpEvent(0.5, 2)),
            SPECIAL,
            "is missing, not special. Account for it without the allocation.",
        ),
        (
            dp.PoissonSampledDpEvent(
                0.5,
                dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.5, dp.GaussianDpEvent(1.0)), 2),
            ),
            REPLACE,
            "under REPLACE_ONE. Account for it under ADD_OR_REMOVE_ONE, or sample once.",
        ),
    ],
)
def test_a_refusal_names_the_relation_that_has_a_bound_and_following_it_finds_one(
    event: dp.DpEvent, relation: Relation, words: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        epsilon(event, delta=1e-5, relation=relation)
    said = str(refused.value)
    assert said.startswith("event ") and said.endswith(words)
    way_out = words.split("ccount for it under ")[-1] if "under" in words else ""
    way_out = way_out.split(", ")[0].replace("it has a bound under ", "")
    for other in (ADD, REPLACE, SPECIAL):
        if other.name in way_out:
            assert 0 < epsilon(event, delta=1e-5, relation=other).upper < math.inf


@pytest.mark.parametrize("relation", [ADD, REPLACE, SPECIAL])
def test_of_skellam_noise_the_method_and_the_reason_are_said(relation: Relation) -> None:
    found = epsilon(SkellamDpEvent(3.0, 100, 9), delta=1e-5, relation=relation)
    assert found.method == "concentrated DP"
    assert found.why == (
        "The noise is Skellam, or so narrow that this is the tightest certified bound."
    )
    both = dp.ComposedDpEvent([SkellamDpEvent(3.0, 100, 9), dp.GaussianDpEvent(3.0)])
    mixed = epsilon(both, delta=1e-5, relation=relation)
    assert mixed.why == "Sampling or mixed noise, composed with certified ends."
    plain = epsilon(dp.GaussianDpEvent(3.0), delta=1e-5, relation=relation)
    assert "Skellam" not in plain.why and plain.method == "closed form"
    assert found.upper > plain.lower


def test_selection_costs_about_what_the_library_says_and_more_than_one_run() -> None:
    run = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.02, dp.GaussianDpEvent(2.0)), 50)
    one = epsilon(run, delta=1e-6, relation=ADD)
    for mean, shape in ((5.0, 1.0), (40.0, 0.0), (12.0, 2.5)):
        event = dp.RepeatAndSelectDpEvent(run, mean, shape)
        ours = epsilon(event, delta=1e-6, relation=ADD)
        theirs = RdpAccountant().compose(event).get_epsilon(1e-6)
        assert ours.upper == pytest.approx(theirs, rel=0.03)
        assert ours.upper > one.upper
        more = dp.RepeatAndSelectDpEvent(run, 2 * mean, shape)
        assert epsilon(more, delta=1e-6, relation=ADD).upper > ours.upper
    integers = dp.RepeatAndSelectDpEvent(DiscreteGaussianDpEvent(2.0, 1000), 5.0, 1.0)
    reals = dp.RepeatAndSelectDpEvent(dp.GaussianDpEvent(2.0), 5.0, 1.0)
    assert epsilon(integers, delta=1e-6, relation=ADD).upper == pytest.approx(
        epsilon(reals, delta=1e-6, relation=ADD).upper, rel=1e-3
    )
    nothing = dp.RepeatAndSelectDpEvent(dp.NonPrivateDpEvent(), 5.0, 1.0)
    assert epsilon(nothing, delta=1e-6, relation=ADD).upper == math.inf


@pytest.mark.parametrize(
    ("event", "relation", "words"),
    [
        (EXAMPLES["MixtureOfGaussiansDpEvent"][0], REPLACE, "ADD_OR_REMOVE_ONE or REPLACE_SPECIAL"),
        (EXAMPLES["SingleEpochTreeAggregationDpEvent"][0], ADD, "REPLACE_SPECIAL or REPLACE_ONE"),
        (EXAMPLES["SampledWithReplacementDpEvent"][0], ADD, "under REPLACE_ONE"),
        (
            dp.SampledWithReplacementDpEvent(9, 3, dp.LaplaceDpEvent(1.0)),
            REPLACE,
            "Use a GaussianDpEvent, or SampledWithoutReplacementDpEvent",
        ),
        (
            dp.MixtureOfGaussiansDpEvent(1.0, [1.0], [0.5, 0.5]),
            ADD,
            "as many as the 1 sensitivities",
        ),
        (dp.MixtureOfGaussiansDpEvent(1.0, [0.0, 1.0], [0.5, 0.4]), ADD, "add up to 1"),
        (dp.MixtureOfGaussiansDpEvent(1.0, [-1.0, 1.0], [0.5, 0.5]), ADD, "sensitivities"),
        (dp.MixtureOfGaussiansDpEvent(1.0, [], []), ADD, "sensitivities"),
        (dp.SingleEpochTreeAggregationDpEvent(1.0, []), SPECIAL, "step_counts"),
        (dp.SingleEpochTreeAggregationDpEvent(1.0, [0]), SPECIAL, "step_counts"),
        (dp.ZCDpEvent(-1.0), ADD, "rho"),
        (dp.ZCDpEvent(1.0, math.nan), ADD, "xi"),
        (dp.RepeatAndSelectDpEvent(dp.GaussianDpEvent(1.0), 0.5, 1.0), ADD, "mean"),
        (dp.RepeatAndSelectDpEvent(dp.GaussianDpEvent(1.0), 2.0, math.inf), ADD, "shape"),
    ],
)
def test_what_has_no_meaning_or_no_bound_is_refused_by_name(
    event: dp.DpEvent, relation: Relation, words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        epsilon(event, delta=1e-5, relation=relation)
