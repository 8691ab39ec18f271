"""The study's federations under attack: lost without protection, held by the bound with it."""

import pytest

from experiments.studies.design import TrainingSetting
from experiments.studies.joining.arm_point import JoiningArm
from experiments.studies.joining.arms import FEW
from experiments.studies.joining.risk import JoiningRisk

BRIEF = TrainingSetting(4, 4.0, 1.0, 2)


@pytest.mark.parametrize(
    ("arm", "epsilon", "least", "most"),
    [
        (JoiningArm.NONE, None, 0.95, 1.0),
        (JoiningArm.SEALED, 0.3, 0.0, 0.25),
        (JoiningArm.MOMENTS, None, 0.95, 1.0),
        (JoiningArm.MOMENTS, 0.3, 0.0, 0.25),
    ],
)
def test_who_knows_all_others_wins_undefended_and_loses_to_sealed_sums(
    arm: JoiningArm, epsilon: float | None, least: float, most: float
) -> None:
    setting = FEW.get(arm, BRIEF)
    point = JoiningRisk(arm, epsilon, "heart", setting, folds=3)
    found = point.summarise([point.measure(unit, None) for unit in point.units])
    informed = found["risks"]["informed"]
    assert least <= informed["value"] <= most and informed["targets"] > 60
    assert set(found["risks"]) == {"informed", "likelihood_ratio"}
    if epsilon is None:
        assert found["bound"] is None
    else:
        assert 0.1 < found["bound"] < 0.13 and informed["lower"] <= found["bound"]


def test_a_point_is_named_apart_from_the_frontiers() -> None:
    point = JoiningRisk(JoiningArm.LOCAL, 1.0, "heart", BRIEF)
    assert point.config["experiment"] == "joining risk" and "setting" in point.config
    assert point.attacked.setting == BRIEF and point.attacked.design == "local"
    assert point.label == "joining heart local eps=1: risk" and len(point.units) == 5
