"""The reference passes; every mutant dies of the check that is named for it."""

from collections.abc import Callable
from typing import Any

import dp_accounting as dp
import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from privacy.accounting.events import DiscreteGaussianDpEvent, SkellamDpEvent
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
from privacy.testing import Recording, check_mechanism, neighbours
from privacy.testing.mutants import MUTANTS, Mutant, reference
from privacy.testing.plugin import FalseAlarms
from privacy.testing.strategies import neighbouring_cohorts

ADD, REPLACE, SPECIAL = (
    Relation.ADD_OR_REMOVE_ONE,
    Relation.REPLACE_ONE,
    Relation.REPLACE_SPECIAL,
)
Rows = NDArray[np.float64]


def test_the_reference_passes() -> None:
    assert check_mechanism(reference.run, reference.claim, dim=5) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_every_mutant_dies(mutant: Mutant) -> None:
    found = {f.check for f in check_mechanism(mutant.run, mutant.claim, dim=5)}
    assert mutant.caught_by in found


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_mutants_are_otherwise_ordinary(mutant: Mutant) -> None:
    """They run on real noise and return numbers: nothing but the check gives them away."""
    released = mutant.run(np.ones((6, 5)), Seeded(1))
    assert all(np.isfinite(r).all() and r.shape == (5,) for r in released)


def test_ten_lines_for_somebody_elses_mechanism() -> None:
    def my_training(patients: Rows, source: NoiseSource) -> list[NDArray[Any]]:
        clipped = clip(patients, clip_norm=1.0)
        return [clipped.sum() + source.gaussian(2.0, patients.shape[1]) for _ in range(10)]

    claim = dp.SelfComposedDpEvent(dp.GaussianDpEvent(2.0), 10)
    assert check_mechanism(my_training, claim, dim=5) == []
    too_much = dp.SelfComposedDpEvent(dp.GaussianDpEvent(2.1), 10)
    assert [f.check for f in check_mechanism(my_training, too_much, dim=5)] == ["sensitivity"]


Make = Callable[[Rows, NoiseSource], list[NDArray[Any]]]


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
@pytest.mark.parametrize("relation", [ADD, SPECIAL])
def test_the_librarys_mechanisms_keep_their_promises(
    case: tuple[str, Make, dp.DpEvent], relation: Relation
) -> None:
    _, run, claim = case
    assert check_mechanism(run, claim, dim=5, relation=relation) == []


def test_replacing_moves_a_sum_twice_as_far() -> None:
    """The event's sensitivity is that of adding: under replace-one the accountant doubles it."""
    _, run, _ = library_mechanisms()[0]
    assert check_mechanism(run, dp.GaussianDpEvent(1.3 / 2), dim=5, relation=REPLACE) == []
    found = check_mechanism(run, dp.GaussianDpEvent(1.3), dim=5, relation=REPLACE)
    assert [f.check for f in found] == ["sensitivity"]


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


def test_neighbours_differ_as_the_relation_says() -> None:
    for relation in (ADD, REPLACE, SPECIAL):
        for rows, other in neighbours(6, 3, relation):
            if relation is ADD:
                assert len(other) == len(rows) - 1
                assert (rows[1:] == other).all()
            else:
                assert (rows[1:] == other[1:]).all()


def test_claims_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="LaplaceDpEvent is not"):
        check_mechanism(reference.run, dp.LaplaceDpEvent(1.0), dim=2)


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
