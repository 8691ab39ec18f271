"""What is right passes; every mutant dies of the check that is named for it."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import attr
import dp_accounting as dp
import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from privacy.accounting import epsilon
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    SkellamDpEvent,
)
from privacy.accounting.gaussian import gaussian_epsilon
from privacy.errors import InvalidInputError
from privacy.mechanisms import (
    DiscreteGaussian,
    Gaussian,
    NoiseSource,
    OperatingSystem,
    Seeded,
    Skellam,
    analytic_gaussian,
    clip,
    to_integers,
)
from privacy.testing import Recording, check_mechanism
from privacy.testing.demands import moves
from privacy.testing.mutants import CORRECT, MUTANTS, Mutant
from privacy.testing.neighbours import PATTERNS, Pair, pairs, samplers
from privacy.testing.plugin import FalseAlarms
from privacy.testing.strategies import neighbouring_cohorts

ADD, REPLACE, SPECIAL = (
    Relation.ADD_OR_REMOVE_ONE,
    Relation.REPLACE_ONE,
    Relation.REPLACE_SPECIAL,
)
Rows = NDArray[np.float64]
Make = Callable[[Rows, NoiseSource], list[NDArray[Any]]]


def checks(mutant: Mutant) -> list[str]:
    found = check_mechanism(mutant.run, mutant.claim, dim=5, relation=mutant.relation, crowd=128)
    return [f.check for f in found]


@pytest.mark.parametrize("mechanism", CORRECT, ids=lambda m: m.name)
def test_what_is_right_passes(mechanism: Mutant) -> None:
    assert checks(mechanism) == []


@pytest.mark.parametrize("mechanism", CORRECT, ids=lambda m: m.name)
def test_what_is_right_passes_at_another_size(mechanism: Mutant) -> None:
    claim, relation = mechanism.claim, mechanism.relation
    if hasattr(claim, "dim"):
        claim = attr.evolve(claim, dim=7)
    found = check_mechanism(
        mechanism.run, claim, dim=7, patients=3, relation=relation, crowd=0, non_finite=False
    )
    assert found == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_every_mutant_dies(mutant: Mutant) -> None:
    assert mutant.caught_by in checks(mutant)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_mutants_are_otherwise_ordinary(mutant: Mutant) -> None:
    """They run on real noise and return numbers: nothing but the check gives them away."""
    released = mutant.run(np.random.default_rng(1).normal(size=(6, 5)), Seeded(1))
    assert all(np.isfinite(r).all() and r.shape == (5,) for r in released)


def test_each_name_is_one_mistake() -> None:
    names = [m.name for m in (*CORRECT, *MUTANTS)]
    assert len(set(names)) == len(names)
    assert {m.caught_by for m in MUTANTS} == {"control", "count", "fresh", "sensitivity", "sampler"}
    assert not any(m.caught_by for m in CORRECT)


def sums(clip_norm: float, std: float, rounds: int = 2) -> Make:
    """Correct sums, for claims about them."""
    return lambda rows, source: [
        clip(rows, clip_norm=clip_norm).sum() + source.gaussian(std, rows.shape[1])
        for _ in range(rounds)
    ]


@settings(max_examples=4)
@given(
    st.floats(1e-3, 1e3), st.floats(0.3, 50), st.sampled_from([ADD, REPLACE, SPECIAL]),
    st.integers(1, 6), st.integers(2, 8),
)  # fmt: skip
def test_a_claim_holds_up_to_its_multiplier_and_no_further(
    clip_norm: float, multiplier: float, relation: Relation, dim: int, patients: int
) -> None:
    run = sums(clip_norm, multiplier * clip_norm)
    for factor, found in ((1.0, []), (0.9, []), (1.001, ["sensitivity"])):
        claim = dp.SelfComposedDpEvent(dp.GaussianDpEvent(factor * multiplier), 2)
        seen = check_mechanism(run, claim, dim=dim, patients=patients, relation=relation, crowd=0)
        assert [f.check for f in seen] == found, seen


@pytest.mark.parametrize("relation", [ADD, REPLACE, SPECIAL])
def test_the_kits_convention_is_the_accountants(relation: Relation) -> None:
    """What the kit lets one patient move, over the noise, is the mu that the accountant charges."""
    multiplier = 1.3
    event = dp.GaussianDpEvent(multiplier)
    assert check_mechanism(sums(1.0, multiplier, 1), event, dim=5, relation=relation) == []
    found = check_mechanism(
        sums(1.0, multiplier / 1.001, 1), event, dim=5, relation=relation
    )[0].message  # fmt: skip
    said = re.search(r"by ([\d.e+-]+), if", found)
    assert said is not None
    moved = float(said[1])
    truth = gaussian_epsilon(mu=moved / multiplier, delta=1e-5)
    charged = epsilon(event, delta=1e-5, relation=relation)
    assert charged.lower - 1e-9 <= truth <= charged.upper + 1e-9


def test_a_relation_that_is_none_is_refused() -> None:
    """Outside the tests nobody checks types: the function has to do it by itself."""
    for wrong in ("REPLACE_ONE", None, 2):
        with pytest.raises(InvalidInputError, match=r"relation=.*ADD_OR_REMOVE_ONE"):
            inspect.unwrap(moves)(wrong)
    assert [moves(relation) for relation in (ADD, REPLACE, SPECIAL)] == [1, 2, 1]


def test_what_raises_on_ordinary_rows_raises() -> None:
    def broken(rows: Rows, source: NoiseSource) -> list[NDArray[Any]]:
        raise KeyError("beta")

    with pytest.raises(KeyError, match="beta"):
        check_mechanism(broken, dp.GaussianDpEvent(1.0), dim=2)


def test_what_raises_on_some_patients_alone_tells_of_them() -> None:
    def nervous(rows: Rows, source: NoiseSource) -> list[NDArray[Any]]:
        if np.abs(rows).max(initial=0) > 1e5:
            raise ValueError("too long")
        return sums(1.0, 1.0, 1)(rows, source)

    (found,) = check_mechanism(nervous, dp.GaussianDpEvent(1.0), dim=2)
    assert found.check == "control"
    assert "raises ValueError: too long" in found.message


def test_non_finite_rows_may_be_refused_but_not_passed_on() -> None:
    def naive(rows: Rows, source: NoiseSource) -> list[NDArray[Any]]:
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        clipped = rows * np.minimum(1.0, 1.0 / np.maximum(norms, 1e-12))
        return [clipped.sum(axis=0) + source.gaussian(2.0, rows.shape[1])]

    (found,) = check_mechanism(naive, dp.GaussianDpEvent(2.0), dim=3)
    assert found.check == "sensitivity"
    assert "non_finite=False" in found.message
    assert check_mechanism(naive, dp.GaussianDpEvent(2.0), dim=3, non_finite=False) == []


def test_a_crowd_is_tried_as_large_as_was_asked_for() -> None:
    def from_500(rows: Rows, source: NoiseSource) -> list[NDArray[Any]]:
        noise = source.gaussian(2.0, rows.shape[1])
        return [clip(rows, clip_norm=1.0).sum() + noise * (len(rows) < 500)]

    claim = dp.GaussianDpEvent(2.0)
    assert "fresh" in [f.check for f in check_mechanism(from_500, claim, dim=3)]
    assert check_mechanism(from_500, claim, dim=3, crowd=400) == []


def test_what_a_run_leaves_behind_is_found_at_the_end() -> None:
    most = 0

    def run(rows: Rows, source: NoiseSource) -> list[NDArray[Any]]:
        nonlocal most
        most = max(most, len(rows))
        return [clip(rows, clip_norm=1.0).sum() + (most > 20) + source.gaussian(2.0, rows.shape[1])]

    (found,) = check_mechanism(run, dp.GaussianDpEvent(2.0), dim=3)
    assert found.check == "control" and "later" in found.message


def test_the_size_of_a_release_follows_no_patient() -> None:
    def run(rows: Rows, source: NoiseSource) -> list[NDArray[Any]]:
        noised = clip(rows, clip_norm=1.0).sum() + source.gaussian(2.0, rows.shape[1])
        return [noised[: rows.shape[1] - (len(rows) > 50)]]

    (found,) = check_mechanism(run, dp.GaussianDpEvent(2.0), dim=3, crowd=100)
    assert found.check == "control" and "releases [2] numbers" in found.message


def test_samples_of_another_probability_are_named() -> None:
    claim = dp.PoissonSampledDpEvent(0.25, dp.GaussianDpEvent(2.0))
    for prob, expected in ((0.25, []), (0.26, ["sampler"])):

        def run(rows: Rows, source: NoiseSource, prob: float = prob) -> list[NDArray[Any]]:
            taken = rows[source.poisson_sample(prob, len(rows))]
            return [clip(taken, clip_norm=1.0).sum() + source.gaussian(2.0, rows.shape[1])]

        found = check_mechanism(run, claim, dim=3, crowd=0)
        assert [f.check for f in found] == expected


def test_findings_are_the_same_each_time() -> None:
    for mutant in MUTANTS[:3]:
        first, again = (check_mechanism(mutant.run, mutant.claim, dim=5) for _ in range(2))
        assert first == again


def test_integer_claims_are_held_to_the_integer() -> None:
    def run(rows: Rows, source: NoiseSource, radius: int = 50) -> list[NDArray[Any]]:
        integers = to_integers(clip(rows, clip_norm=1.0), radius=radius)
        return [integers.sum() + source.discrete_gaussian(100.0, rows.shape[1])]

    assert check_mechanism(run, DiscreteGaussianDpEvent(2.0, 50), dim=3) == []
    for claim in (DiscreteGaussianDpEvent(2.0, 49), DiscreteGaussianDpEvent(2.01, 50)):
        assert [f.check for f in check_mechanism(run, claim, dim=3)] == ["sensitivity"]
    # A larger radius at the same ratio: the noise is too small for it.
    found = check_mechanism(run, DiscreteGaussianDpEvent(2.0, 51), dim=3)
    assert [f.check for f in found] == ["sensitivity"]
    wrong = SkellamDpEvent(2.0, 50, 3)
    assert [f.check for f in check_mechanism(run, wrong, dim=3)] == ["fresh"]


def test_a_claim_of_another_dimension_is_counted() -> None:
    def run(rows: Rows, source: NoiseSource) -> list[NDArray[Any]]:
        integers = to_integers(clip(rows, clip_norm=1.0), radius=50)
        return [Skellam(2.0).release(integers, source)]

    assert check_mechanism(run, SkellamDpEvent(2.0, 50, 3), dim=3) == []
    (found,) = check_mechanism(run, SkellamDpEvent(2.0, 50, 2), dim=3)
    assert found.check == "count" and "3 coordinates" in found.message


def test_shares_are_counted_and_equal() -> None:
    claim = DistributedDiscreteGaussianDpEvent(2.0, 300, 3, 3)

    def shares(*stds: float) -> Make:
        return lambda rows, source: [
            to_integers(clip(rows, clip_norm=1.0), radius=300).sum()
            + sum(source.discrete_gaussian(std, rows.shape[1]) for std in stds)
        ]

    fair = 2.0 * 300 / 3**0.5
    for stds, found in (
        ([fair] * 3, []),
        ([fair] * 4, []),
        ([fair, fair, 2 * fair], []),
        ([fair] * 2, ["fresh"]),
        ([fair, fair, 0.99 * fair], ["sensitivity"]),
        ([3 * fair, fair, 0.5 * fair], ["sensitivity"]),
    ):
        assert [f.check for f in check_mechanism(shares(*stds), claim, dim=3)] == found, stds


def test_ten_lines_for_somebody_elses_mechanism() -> None:
    def my_training(patients: Rows, source: NoiseSource) -> list[NDArray[Any]]:
        clipped = clip(patients, clip_norm=1.0)
        return [clipped.sum() + source.gaussian(2.0, patients.shape[1]) for _ in range(10)]

    claim = dp.SelfComposedDpEvent(dp.GaussianDpEvent(2.0), 10)
    assert check_mechanism(my_training, claim, dim=5) == []
    too_much = dp.SelfComposedDpEvent(dp.GaussianDpEvent(2.1), 10)
    assert [f.check for f in check_mechanism(my_training, too_much, dim=5)] == ["sensitivity"]


def library_mechanisms() -> list[tuple[str, Make, dp.DpEvent]]:
    def integers(rows: Rows) -> Any:
        return to_integers(clip(rows, clip_norm=0.7), radius=300)

    return [
        (
            "gaussian",
            lambda rows, source: [Gaussian(1.3).release(clip(rows, clip_norm=0.7), source)],
            dp.GaussianDpEvent(1.3),
        ),
        (
            "discrete gaussian",
            lambda rows, source: [DiscreteGaussian(1.3).release(integers(rows), source)],
            DiscreteGaussianDpEvent(1.3, 300),
        ),
        (
            "skellam",
            lambda rows, source: [Skellam(1.3).release(integers(rows), source)],
            SkellamDpEvent(1.3, 300, 5),
        ),
    ]


@pytest.mark.parametrize("case", library_mechanisms(), ids=lambda c: c[0])
@pytest.mark.parametrize("relation", [ADD, REPLACE, SPECIAL])
def test_the_librarys_mechanisms_keep_their_promises(
    case: tuple[str, Make, dp.DpEvent], relation: Relation
) -> None:
    _, run, claim = case
    assert check_mechanism(run, claim, dim=5, relation=relation) == []


@settings(max_examples=50)
@given(st.data(), st.sampled_from([ADD, REPLACE, SPECIAL]))
def test_no_pair_of_cohorts_passes_the_declared_sensitivity(
    data: st.DataObject, relation: Relation
) -> None:
    rows, other = data.draw(neighbouring_cohorts(relation, dim=4))
    bounded = [to_integers(clip(r, clip_norm=2.0), radius=200) for r in (rows, other)]
    moved = bounded[0].sum() - bounded[1].sum()
    assert int(moved @ moved) <= bounded[0].sensitivity(relation) ** 2
    clipped = [clip(r, clip_norm=2.0) for r in (rows, other)]
    distance = float(np.linalg.norm(clipped[0].sum() - clipped[1].sum()))
    assert distance <= clipped[0].sensitivity(relation) * (1 + 1e-9)


@pytest.mark.parametrize("relation", [ADD, REPLACE, SPECIAL])
def test_pairs_differ_as_the_relation_says(relation: Relation) -> None:
    made = list(pairs(6, 3, relation, unit=1.0, crowd=300, non_finite=True))
    sizes = {len(p.rows) for p in made}
    assert {1, 2, 6, 100, 300} <= sizes and max(sizes) == 300
    for p in made:
        left = np.delete(p.rows, p.place, axis=0)
        if relation is ADD:
            assert np.array_equal(p.other, left, equal_nan=True)
        else:
            assert np.array_equal(np.delete(p.other, p.place, axis=0), left, equal_nan=True)
            assert np.isfinite(p.other[p.place]).all()
            assert relation is REPLACE or not p.other[p.place].any()
        assert p.ordinary == (np.abs(p.rows) < 1e15).all()  # NaN is not
    assert not all(p.ordinary for p in made)
    alone = list(pairs(6, 3, relation, unit=1.0, crowd=0, non_finite=False))
    assert all(p.ordinary for p in alone) and max(len(p.rows) for p in alone) == 201


def test_the_neighbours_sample_is_the_same_but_for_the_patient() -> None:
    rows = np.arange(6.0)[:, None]
    for other, place in ((np.delete(rows, 2, axis=0), 2), (rows, 4)):
        pair = Pair(rows, other, place)
        seen = []
        for pattern in PATTERNS:
            of_rows, of_other = samplers(pattern, pair)
            for draw in range(4):
                taken, theirs = of_rows(draw, 6), of_other(draw, len(other))
                assert taken.dtype == theirs.dtype == np.bool_
                kept = np.delete(taken, place) if len(other) < 6 else taken
                assert (kept == theirs).all()
                seen.append((int(taken.sum()), bool(taken[place])))
        assert {(6, True), (0, False), (1, True), (5, False)} <= set(seen)
        assert any(1 < n < 5 and mine for n, mine in seen)
        assert any(1 < n < 5 and not mine for n, mine in seen)


def test_claims_that_cannot_be_read_are_refused() -> None:
    def run(rows: Rows, source: NoiseSource) -> list[NDArray[Any]]:
        return []

    with pytest.raises(InvalidInputError, match="RandomizedResponseDpEvent is not"):
        check_mechanism(run, dp.RandomizedResponseDpEvent(0.5, 3), dim=2)
    sample = dp.PoissonSampledDpEvent(0.5, dp.GaussianDpEvent(1.0))
    with pytest.raises(InvalidInputError, match="product of the probabilities"):
        check_mechanism(run, dp.PoissonSampledDpEvent(0.5, sample), dim=2)
    with pytest.raises(InvalidInputError, match="at most 1000 releases"):
        check_mechanism(run, dp.SelfComposedDpEvent(sample, 10**9), dim=2)
    for dim, patients, crowd in ((0, 6, 9), (2, 1, 9), (2, 6, -1)):
        with pytest.raises(InvalidInputError, match="Expected"):
            check_mechanism(run, dp.NoOpDpEvent(), dim=dim, patients=patients, crowd=crowd)
    assert check_mechanism(run, dp.NoOpDpEvent(), dim=2) == []


def test_a_recording_protects_nobody() -> None:
    assert not Recording().protects
    assert isinstance(Recording(), NoiseSource)


def test_mechanisms_draw_anew_and_know_their_scale(false_alarms: FalseAlarms) -> None:
    rows = to_integers(clip(np.ones((3, 2000)), clip_norm=1.0), radius=5000)
    for mechanism, std in ((DiscreteGaussian(2.0), 10_000.0), (Skellam(2.0), 10_000.0)):
        first, second = (mechanism.release(rows, OperatingSystem()) for _ in range(2))
        assert first.dtype == np.int64
        assert (first != second).any()
        noise = (first - rows.sum()) / std
        p_value = float(stats.chi2.cdf((noise**2).sum(), noise.size))
        assert min(p_value, 1 - p_value) > false_alarms.share() / 2
    short = clip(np.full((3, 2000), 0.01), clip_norm=2.5)
    continuous = (Gaussian(2.0).release(short, OperatingSystem()) - short.sum()) / 5.0
    p_value = float(stats.chi2.cdf((continuous**2).sum(), continuous.size))
    assert min(p_value, 1 - p_value) > false_alarms.share() / 2
    assert analytic_gaussian(epsilon=1.0, delta=1e-5).noise_multiplier == pytest.approx(
        3.7306, abs=1e-4
    )
    for bad in (0.0, -1.0, np.nan):
        for kind in (Gaussian, DiscreteGaussian, Skellam):
            with pytest.raises(InvalidInputError, match="noise_multiplier"):
                kind(float(bad))
