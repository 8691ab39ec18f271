"""Paired gains, data equivalents, and what left the hospitals."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.evaluation import Scored, auc, auc_draws, bootstrap_difference
from experiments.studies.equivalent import ALONE, Equivalent, SizeCurves, crossing
from experiments.studies.uploads import Uploads
from privacy.errors import InvalidInputError


def study(seed: int, skill: float) -> dict[str, Scored]:
    """The same patients for every seed, other scores."""
    outcomes = np.array([0, 1] * 20)
    noise = np.random.default_rng(seed).normal(size=40)
    return {"a": Scored(skill * outcomes + noise, outcomes)}


def test_a_difference_of_one_cross_validation_is_the_paired_one() -> None:
    one, other = study(0, 1.0), study(1, 0.5)
    found = bootstrap_difference([one], [other], replicates=200)
    gaps = auc_draws(one, replicates=200) - auc_draws(other, replicates=200)  # the same patients
    assert found.value == pytest.approx(auc(one) - auc(other))
    assert (found.lower, found.upper) == pytest.approx(tuple(np.quantile(gaps, [0.025, 0.975])))


def test_the_mean_difference_and_none_at_all() -> None:
    ours, theirs = [study(s, 1.5) for s in range(3)], [study(s + 9, 0.2) for s in range(3)]
    found = bootstrap_difference(ours, theirs, replicates=200)
    assert found.value == pytest.approx(
        np.mean([auc(a) - auc(b) for a, b in zip(ours, theirs, strict=True)])
    )
    assert found.lower <= found.value <= found.upper
    same = bootstrap_difference(ours, ours, replicates=50)
    assert (same.value, same.lower, same.upper) == (0.0, 0.0, 0.0)
    with pytest.raises(InvalidInputError, match="as many"):
        bootstrap_difference(ours, theirs[:2])


def test_runs_that_disagree_widen_the_interval() -> None:
    steady = [study(0, 1.0)] * 4
    moving = [study(s, k) for s, k in enumerate((0.0, 2.0, 0.1, 1.9))]
    base = [study(50, 0.0)] * 4
    narrow, wide = (
        bootstrap_difference(x, base, replicates=300).half_width for x in (steady, moving)
    )
    assert wide > narrow


@settings(max_examples=50)
@given(st.integers(0, len(ALONE) - 1))
def test_a_federation_as_good_as_m_patients_crosses_at_m(place: int) -> None:
    curve = tuple(0.6 + 0.01 * k for k in range(len(ALONE)))
    assert crossing(ALONE, curve, curve[place]) == pytest.approx(ALONE[place])


def test_no_crossing_is_told_as_at_least() -> None:
    curve = tuple(0.6 + 0.01 * k for k in range(len(ALONE)))
    assert crossing(ALONE, curve, 0.5) == ALONE[0]
    assert crossing(ALONE, curve, 0.9) == ALONE[-1]
    joined = (0.9,) * 5
    found = Equivalent().summarise([SizeCurves(curve, joined, joined)] * 3)["ratio_joined"]
    assert [r["at_least"] for r in found] == [3] * 5
    assert found[0]["value"] == pytest.approx(ALONE[-1] / 25)


def test_every_byte_is_accounted_for() -> None:
    point = Uploads()
    found = point.summarise([point.measure(0, None)])
    assert found["unaccounted_bytes"] == 0
    assert found["to"] == ["aggregator"]
    assert found["messages"] == 4 * found["rounds"]
    for name, sent in found["bytes"].items():
        assert found["bytes_over_table"][name] == sent / found["table_bytes"][name]
    assert dataclasses.replace(point, seed=1).config != point.config
