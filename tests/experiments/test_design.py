"""Designs: the plan of each, the least noise that keeps its epsilon."""

import math

import numpy as np
import pytest

from aggregation.models import Logistic
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import run_event
from experiments.studies.design import (
    DELTA,
    FEDERATED,
    RELATION,
    TRAINING,
    Regime,
    TrainingSetting,
    make_plan,
    radius_for,
)
from privacy.accounting import epsilon as epsilon_of
from privacy.errors import InvalidInputError
from tests.aggregation.parts import cohort, patients

SHORT = TrainingSetting(rounds=4, learning_rate=1.0, clip_norm=1.0, average_last=2)
SAMPLED = TrainingSetting(
    rounds=4, learning_rate=1.0, clip_norm=1.0, average_last=2, sampling_size=3
)


def made(design: str, epsilon: float, setting: TrainingSetting = SHORT) -> Plan:
    return make_plan(
        run="test",
        design=design,
        epsilon=epsilon,
        model=Logistic(3),
        setting=setting,
        patients=cohort(),
    )


@pytest.mark.parametrize("setting", [SHORT, SAMPLED], ids=["all", "sampled"])
@pytest.mark.parametrize("epsilon", [0.3, 1.0, 8.0])
@pytest.mark.parametrize("design", ["local", "sealed"])
def test_the_noise_keeps_epsilon_and_is_no_more_than_that(
    design: str, epsilon: float, setting: TrainingSetting
) -> None:
    plan = made(design, epsilon, setting)
    spent = epsilon_of(run_event(plan, "north"), delta=DELTA, relation=RELATION)
    assert 0.98 * epsilon <= spent.upper <= epsilon


def test_sealed_shares_and_local_does_not() -> None:
    sealed, local = made("sealed", 1.0), made("local", 1.0)
    assert sealed.noise_multiplier == pytest.approx(local.noise_multiplier, rel=1e-3)
    assert sealed.share_std == pytest.approx(local.share_std / math.sqrt(2), rel=1e-3)
    assert (sealed.scheme, local.scheme) == ("shares", "plain")


@pytest.mark.parametrize("design", FEDERATED)
def test_an_infinite_epsilon_means_no_noise(design: str) -> None:
    plan = made(design, math.inf)
    assert plan.noise == NoiseKind.NONE and plan.share_std == 0
    assert (plan.clip_norm is None) == (design in ("none", "article"))


def test_every_design_has_its_kind_of_noise() -> None:
    assert {design: made(design, 1.0).noise for design in FEDERATED} == {
        "none": NoiseKind.NONE,
        "article": NoiseKind.ARTICLE,
        "local": NoiseKind.LOCAL,
        "sealed": NoiseKind.SHARED,
    }


def test_the_radius_keeps_the_gradient() -> None:
    for dim in (1, 19, 2001, 10**6):
        assert radius_for(dim) >= 100 * np.sqrt(dim)
        assert radius_for(dim) < 200 * np.sqrt(dim)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan])
def test_an_epsilon_that_is_not_above_zero_is_refused(epsilon: float) -> None:
    with pytest.raises(InvalidInputError, match=r"epsilon=.* > 0"):
        made("sealed", epsilon)


def test_an_unknown_design_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="Unknown design 'magic'; choose one of none"):
        made("magic", 1.0)


def test_an_empty_hospital_is_refused() -> None:
    group = cohort() | {"south": patients(0, 0)}
    with pytest.raises(InvalidInputError, match="'south' has no patients"):
        make_plan(
            run="test",
            design="none",
            epsilon=1.0,
            model=Logistic(3),
            setting=SHORT,
            patients=group,
        )


def test_every_regime_has_its_setting() -> None:
    assert {regime for regime, _ in TRAINING} == {"full", "small"}
    assert all((s.sampling_size is None) == (r == "full") for (r, _), s in TRAINING.items())


def test_a_setting_in_passes_is_filled_up_to_whole_ones() -> None:
    small = TRAINING[Regime.SMALL, "logistic"].in_passes(30)
    assert (small.rounds, small.sampling_size) == (210, None)
    with pytest.raises(InvalidInputError, match="pass_rounds=0"):
        small.in_passes(0)
