"""What joining is worth to a real hospital: the curve's parts, by a second road."""

import dataclasses

import numpy as np
import pytest

from aggregation.data.patients import Patients
from experiments.cohorts import folds, load
from experiments.evaluation import Scored, auc
from experiments.studies.equivalent_heart import ALONE, JOINED, Curves, OwnPatients, judged
from experiments.studies.problem import LogisticProblem, scores

POINT = OwnPatients(seeds=(0,), folds=2)


@pytest.fixture(scope="module")
def parts() -> list[Curves]:
    return [POINT.measure(unit, None) for unit in POINT.units]


def test_a_hospital_joins_with_the_very_patients_that_it_has_alone(parts: list[Curves]) -> None:
    split = folds(load("heart"), count=2, seed=0)[0]
    own = split.train["va"]
    order = np.random.default_rng([0, 0, *b"va"]).permutation(len(own))
    some = own.take(order[:40])
    alone = LogisticProblem({"va": some}, 10.0).optimum
    rest = {name: p for name, p in split.train.items() if name != "va"}
    joined = LogisticProblem({**rest, "va": some}, 10.0).optimum
    x = split.test["va"].features
    assert parts[0].alone["va"][40] == pytest.approx(scores(alone, x))
    assert parts[0].joined["va"][40] == pytest.approx(scores(joined, x), abs=1e-6)


def test_sizes_end_where_a_hospital_does(parts: list[Curves]) -> None:
    for name, sizes in parts[0].alone.items():
        available = len(folds(load("heart"), count=2, seed=0)[0].train[name])
        assert max(sizes) <= available
        assert set(parts[0].joined[name]) == {n for n in JOINED if n <= available}


def test_a_federation_as_good_as_m_patients_is_worth_m_over_n() -> None:
    """Models made so that n joined rank exactly as 80 alone do."""
    rng = np.random.default_rng(0)
    y = (np.arange(200) % 2).astype(np.int64)
    noise = rng.normal(size=200)
    made = {m: noise + y * m / 80 for m in ALONE}
    test = Patients(np.zeros((200, 1)), y)
    part = Curves({"a": made}, {"a": dict.fromkeys(JOINED, made[80])}, {"a": test})
    point = dataclasses.replace(POINT, hospitals=("a",), folds=1)
    found = point.summarise([part])["hospitals"]["a"]
    for ratio in found["ratio_joined"]:
        assert ratio["value"] == pytest.approx(80 / ratio["patients"])
        assert ratio["lower"] == pytest.approx(ratio["value"])  # the same patients in both
        assert not ratio["at_least"]
    best = Curves({"a": made}, {"a": {20: made[200] * 1.0 + y}}, {"a": test})
    (last,) = point.summarise([best])["hospitals"]["a"]["ratio_joined"]
    assert last["at_least"]
    assert last["value"] == 10.0


def test_curves_are_the_mean_within_site_auc(parts: list[Curves]) -> None:
    found = POINT.summarise(parts)["hospitals"]["cleveland"]["auc_alone"]["80"]
    per_fold = [
        auc({"c": Scored(p.alone["cleveland"][80], p.test["cleveland"].outcomes)}) for p in parts
    ]
    assert found == pytest.approx(np.mean(per_fold), abs=0.01)


def test_the_three_largest_that_can_be_judged_stand_in_the_cohorts_order() -> None:
    def hospital(ill: int, well: int) -> Patients:
        return Patients(np.zeros((ill + well, 1)), np.repeat([1, 0], [ill, well]).astype(np.int64))

    hospitals = {
        "small": hospital(40, 40),
        "few well": hospital(500, 39),
        "middle": hospital(41, 60),
        "largest": hospital(90, 80),
        "few ill": hospital(39, 500),
        "large": hospital(60, 90),
    }
    assert judged(hospitals) == ("middle", "largest", "large")
    assert judged({"small": hospitals["small"]}) == ("small",)
    assert judged({"few ill": hospitals["few ill"]}) == ()
