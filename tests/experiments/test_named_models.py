"""Studies take any module by FILE:FACTORY, and their records name the file by its content."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from experiments.cohorts import load
from experiments.commands.frontier import FrontierCommand
from experiments.commands.tune import Tune
from experiments.door import checked
from experiments.run.record import config_hash
from experiments.studies.design import Design, Regime, TrainingSetting
from experiments.studies.frontier.grid import chosen_grid, trained_by
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.lineups import AttackSuite
from experiments.studies.named_models import called_model, identity
from experiments.studies.tuning import TrainingSearch
from privacy.errors import CorruptMessageError, InvalidInputError
from tests.aggregation.models.made import NORMED, written


@pytest.fixture
def mine(tmp_path: Path) -> str:
    return written(tmp_path, NORMED, width=4)


SHORT = TrainingSetting(2, 1.0, 1.0, 1)


def test_a_records_name_follows_the_file_and_not_its_folder(mine: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = written(tmp_path / "other", NORMED, width=4)
    changed = written(tmp_path / "other", NORMED, width=5)
    assert other == changed  # written again in its place: another model under the same name
    points = chosen_grid(["sealed"], [1.0], "full", mine) + chosen_grid(
        ["sealed"], [1.0], "full", other
    )
    written(tmp_path / "other", NORMED, width=4)
    names = [config_hash(point.config) for point in points]
    assert names[0] == names[1]
    written(tmp_path / "other", NORMED, width=5)
    assert config_hash(points[1].config) != names[0]
    assert points[0].config["model"] == "mine.make" and len(points[0].config["source"]) == 64
    assert str(tmp_path) not in points[0].label


def test_the_published_points_keep_their_names() -> None:
    assert identity("logistic") == identity("mlp") == {}
    assert "source" not in chosen_grid(["none"], [1.0], "small", "mlp")[0].config
    assert identity("deep")["model"] == "deep" and len(identity("deep")["source"]) == 64
    assert called_model("a/b/c.py:make") == "c.make" and called_model("mlp") == "mlp"
    with pytest.raises(CorruptMessageError, match="model's file"):
        identity("nowhere.py:make")


def test_a_frontier_of_a_module_is_trained_and_attacked(mine: str) -> None:
    (point,) = chosen_grid(["sealed"], [1.0], "full", mine)
    assert point.attacks.attacks == ("likelihood_ratio", "informed")
    point = dataclasses.replace(point, setting=SHORT, attacks=AttackSuite(("likelihood_ratio",)))
    found = point.measure((0, 0))
    assert found.plan.model.kind == "torch" and found.plan.model.features == 18
    assert found.plan.model.spec["groups"]  # the module was told which columns are levels
    assert {name for name, scores in found.scores.items() if len(scores)} == set(found.test)
    assert all(np.isfinite(scores).all() for scores in found.scores.values())
    assert found.trials and {trial.attack for trial in found.trials} == {"likelihood_ratio"}
    other = point.measure((0, 1))
    first = [one.plan.model.spec["first"] for one in (found, other)]
    assert first[0] != first[1]  # each fold begins elsewhere


def test_settings_of_a_module_are_searched_and_found_again(
    mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = TrainingSearch(Regime.FULL, mine, studies=2)
    monkeypatch.setattr(TrainingSearch, "candidates", property(lambda _: [SHORT]))
    (value,) = search.measure(0)
    assert 0 <= value <= 1
    assert search.config["model"] == "mine.make" and mine not in search.label
    points = [FrontierPoint(Design.SEALED, 1.0, Regime.FULL, mine, AttackSuite(()))]
    (tuned,) = trained_by(points, {(Regime.FULL, "mine.make"): SHORT})
    assert tuned.setting == SHORT


def test_the_commands_take_modules_and_refuse_what_names_none(mine: str) -> None:
    checked(FrontierCommand(designs=("sealed",), model=mine))
    checked(FrontierCommand(designs=("sealed",), model="transformer"))
    checked(Tune(models=("deep", mine)))
    for wrong in (
        lambda: checked(FrontierCommand(designs=("sealed",), model="forest")),
        lambda: checked(Tune(models=("forest",))),
        lambda: checked(Tune(regimes=("some",))),
    ):
        with pytest.raises(InvalidInputError, match="Unknown"):
            wrong()
    assert load("heart").hospitals  # nothing above has touched the patients' table
