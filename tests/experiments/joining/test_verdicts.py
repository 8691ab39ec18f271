"""Verdicts follow from records by the protocol's rules, and turn where a margin is turned."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from experiments.evaluation import Estimate
from experiments.margins import Margins
from experiments.run.record import Record
from experiments.studies.conclusion import Conclusion, side_of
from experiments.studies.joining.arm_point import End, JoiningArm, JoiningPoint
from experiments.studies.joining.arms import SETTING, grid
from experiments.studies.joining.risk import JoiningRisk
from experiments.studies.joining.sums import HospitalSums
from experiments.studies.joining.verdicts import (
    Judged,
    _holm,
    _notes,
    _Test,
    judged,
    size_classes,
)
from tests.experiments.made_up import frontier_metrics, interval

SIZES = [15] * 12 + [30] * 12 + [60] * 12 + [120] * 12 + [300] * 6
ARMS: dict[tuple[JoiningArm, float | None], float] = {
    (JoiningArm.OWN, None): 0.70,
    (JoiningArm.SCORE, None): 0.74,
    (JoiningArm.NONE, None): 0.78,
    (JoiningArm.SEALED, 1.0): 0.775,
    (JoiningArm.LOCAL, 1.0): 0.70,
}


def metrics(
    value: float, brier: float = 0.2, sizes: Sequence[int] = SIZES, spread: float = 0.003
) -> dict[str, Any]:
    """Sums of hospitals whose AUC is near a value."""
    rng = np.random.default_rng(round(value * 10_000))
    patients = np.tile(np.array(sizes, dtype=float), (5, 1))
    pairs = (patients / 2) ** 2
    wins = (value + spread * rng.normal(size=patients.shape)) * pairs
    return {
        "wins": wins.tolist(), "pairs": pairs.tolist(), "patients": patients.tolist(),
        "squares": (brier * patients).tolist(), "excess": (0 * patients).tolist(),
    }  # fmt: skip


def record(point: JoiningPoint, ends: dict[End, dict[str, Any]]) -> Record:
    content = {"hospitals": [str(k) for k in range(len(SIZES))], "ends": ends}
    return Record(point.config, content, {})


def records(arms: dict[tuple[JoiningArm, float | None], float] = ARMS) -> list[Record]:
    found = []
    for (arm, epsilon), value in arms.items():
        ends = {End.BARE: metrics(value, 0.19)}
        if arm is JoiningArm.OWN:
            ends = {End.FIT: metrics(value)}
        elif arm is JoiningArm.SEALED:
            ends |= {End.FIT: metrics(value - 0.001, 0.17)}
        found.append(record(JoiningPoint(arm, epsilon, "ist-odd", SETTING), ends))
    return found


def verdicts(some: list[Record], margins: Margins | None = None) -> dict[str, Judged]:
    return {one.question: one for one in judged(some, margins)}


def of(some: dict[str, Judged], start: str) -> Judged:
    (found,) = [one for question, one in some.items() if question.startswith(start)]
    return found


def test_each_rule_on_plain_cases() -> None:
    found = verdicts(records())
    assert of(found, "Q1").verdict is Conclusion.HOLDS
    assert of(found, "Q2 no class").verdict is Conclusion.HOLDS
    assert sum(q.startswith("Q2 not worse") for q in found) == 5
    assert all(v.verdict is Conclusion.HOLDS for q, v in found.items() if q.startswith("Q3"))
    assert of(found, "Q4 sealed").verdict is Conclusion.HOLDS
    assert of(found, "Q4 local").verdict is Conclusion.DOES_NOT_HOLD
    assert of(found, "Q5").verdict is Conclusion.HOLDS
    assert of(found, "Q6").verdict is Conclusion.NOT_TRIED
    assert of(found, "Q7").verdict is Conclusion.NOT_TRIED
    assert of(found, "Q8 the local fit keeps").verdict is Conclusion.HOLDS
    assert of(found, "Q8 the local fit mends").verdict is Conclusion.HOLDS
    effect = of(found, "Q8 the local fit mends").effect
    assert effect is not None and effect.value == pytest.approx(0.02)


def test_without_records_everything_is_not_tried_and_nothing_fails() -> None:
    assert {one.verdict for one in judged([])} == {Conclusion.NOT_TRIED}


def test_a_gain_that_is_none_is_undecided_and_a_loss_does_not_hold() -> None:
    level = verdicts(records({**ARMS, (JoiningArm.OWN, None): 0.774}))
    assert of(level, "Q1").verdict is Conclusion.UNDECIDED
    assert of(level, "Q2 no class").verdict is Conclusion.HOLDS
    worse = verdicts(records({**ARMS, (JoiningArm.OWN, None): 0.83}))
    assert of(worse, "Q1").verdict is Conclusion.DOES_NOT_HOLD
    assert of(worse, "Q2 no class").verdict is Conclusion.DOES_NOT_HOLD
    assert "loses" in of(worse, "Q2 not worse, 21-40").note


def test_a_class_that_is_worse_withdraws_the_promise_and_one_without_power_leaves_it_open() -> None:
    some = records()
    own = next(r for r in some if r.config["arm"] == JoiningArm.OWN)
    sums = {k: np.array(v) for k, v in own.metrics["ends"][End.FIT].items()}
    small = np.array(SIZES) == 15

    def with_small(wins: np.ndarray) -> list[Record]:
        changed = {**sums, "wins": np.where(small, wins, sums["wins"])}
        ends = {End.FIT: {k: v.tolist() for k, v in changed.items()}}
        return [replace(r, metrics={**r.metrics, "ends": ends}) if r is own else r for r in some]

    lost = verdicts(with_small(0.9 * sums["pairs"]))
    assert of(lost, "Q2 no class").verdict is Conclusion.DOES_NOT_HOLD
    assert of(lost, "Q2 not worse, 10-20").verdict is Conclusion.DOES_NOT_HOLD
    assert of(lost, "Q2 not worse, 41-80").verdict is Conclusion.HOLDS
    wild = 0.775 + 0.3 * np.where(np.arange(len(SIZES)) % 2, 1, -1)
    open_ = verdicts(with_small(wild * sums["pairs"]))
    assert of(open_, "Q2 no class").verdict is Conclusion.UNDECIDED
    assert "without power" in of(open_, "Q2 not worse, 10-20").note


def test_margins_turn_verdicts() -> None:
    some = records({**ARMS, (JoiningArm.SEALED, 1.0): 0.765})
    assert of(verdicts(some), "Q4 sealed").verdict is Conclusion.DOES_NOT_HOLD
    wide = verdicts(some, Margins(worse=0.05))
    assert of(wide, "Q4 sealed").verdict is Conclusion.HOLDS
    assert of(verdicts(some, Margins(target=3.0)), "Q1").verdict is Conclusion.NOT_TRIED
    assert "without power" in of(verdicts(some, Margins(power=1e-9)), "Q2 not worse, 41-80").note


def test_holm_takes_back_what_one_of_many_tests_may_find_by_chance() -> None:
    """The same interval decides alone, and is undecided beside four more that find nothing."""
    near = Estimate(0.021, 0.001, 0.041)  # z of 2.06: one-sided p of .020
    nothing = Estimate(0.0, -0.02, 0.02)
    (alone,) = _holm([_Test("x", 0.0, near)], Margins())
    assert alone.verdict is Conclusion.HOLDS and alone.note == ""
    (strict,) = _holm([_Test("x", 0.0, near)], Margins(level=0.01))
    assert strict.verdict is Conclusion.UNDECIDED
    first, *rest = _holm([_Test("x", 0.0, near), *[_Test("y", 0.0, nothing)] * 4], Margins())
    assert first.verdict is Conclusion.UNDECIDED and "before Holm" in first.note
    assert {one.verdict for one in rest} == {Conclusion.UNDECIDED}
    strong = Estimate(0.1, 0.08, 0.12)
    both = _holm([_Test("s", 0.0, strong), _Test("x", 0.0, near)], Margins())
    assert [one.verdict for one in both] == [Conclusion.HOLDS, Conclusion.HOLDS]
    lost = _holm([_Test("s", 0.0, Estimate(-0.1, -0.12, -0.08)), _Test("n", 0.0, None)], Margins())
    assert [one.verdict for one in lost] == [Conclusion.DOES_NOT_HOLD, Conclusion.NOT_TRIED]


@pytest.mark.parametrize(
    ("gains", "verdict", "note"),
    [
        ({4: 0.10, 10: 0.10, 25: 0.10}, Conclusion.HOLDS, "from 4 on"),
        ({4: -0.10, 10: 0.10, 25: 0.10}, Conclusion.HOLDS, "from 10 on"),
        ({4: 0.10, 10: -0.10, 25: 0.10}, Conclusion.HOLDS, "from 25 on"),
        ({4: 0.10, 10: 0.10, 25: 0.0}, Conclusion.UNDECIDED, "not within 25"),
    ],
)
def test_from_how_many_hospitals_on(
    gains: dict[int, float], verdict: Conclusion, note: str
) -> None:
    made = []
    for count, gain in gains.items():
        own = JoiningPoint(JoiningArm.OWN, None, "ist-odd", SETTING, hospitals=count)
        ours = replace(own, arm=JoiningArm.SEALED, epsilon=1.0)
        made.append(record(own, {End.FIT: metrics(0.70)}))
        made.append(record(ours, {End.FIT: metrics(0.70 + gain)}))
    found = of(verdicts(made), "Q6")
    assert (found.verdict, found.note) == (verdict, note)


def attacked(arm: JoiningArm, bound: float | None, *risks: float, half: float = 0.02) -> Record:
    made = {k: {**interval(r, half), "attack": k} for k, r in zip("ab", risks, strict=False)}
    point = JoiningRisk(arm, 1.0, "ist-odd", SETTING)
    return Record(point.config, frontier_metrics(bound=bound) | {"risks": made}, {})


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        ([attacked(JoiningArm.SEALED, 0.16, 0.12, 0.15)], Conclusion.HOLDS),
        ([attacked(JoiningArm.SEALED, 0.16, 0.12, 0.17)], Conclusion.HOLDS),  # by chance
        ([attacked(JoiningArm.SEALED, 0.16, 0.12, 0.25)], Conclusion.DOES_NOT_HOLD),
        ([attacked(JoiningArm.ARTICLE, None, 0.9)], Conclusion.NOT_TRIED),
        (
            # One of four just outside is chance; alone it would not be.
            [
                attacked(JoiningArm.SEALED, 0.16, 0.1, 0.183),
                attacked(JoiningArm.LOCAL, 0.16, 0.1, 0.1),
            ],
            Conclusion.HOLDS,
        ),
        ([attacked(JoiningArm.SEALED, 0.16, 0.183)], Conclusion.DOES_NOT_HOLD),
        ([], Conclusion.NOT_TRIED),
    ],
)
def test_no_risk_is_above_its_bound_beyond_chance(
    records: list[Record], verdict: Conclusion
) -> None:
    assert of(verdicts(records), "Q9").verdict is verdict


def test_the_grid_is_the_protocols() -> None:
    under_attack = grid("ist-odd", SETTING, parts=("risk",))
    assert [(p.arm, p.epsilon) for p in under_attack if isinstance(p, JoiningRisk)] == [
        (JoiningArm.NONE, None), (JoiningArm.SEALED, 0.3), (JoiningArm.SEALED, 1.0),
        (JoiningArm.SEALED, 3.0), (JoiningArm.LOCAL, 1.0), (JoiningArm.ARTICLE, 1.0),
    ]  # fmt: skip
    assert len(under_attack) == 6 and all(len(p.units) == 5 for p in under_attack)
    every = grid("ist-odd", SETTING, parts=("whole", "unseen", "growing"))
    points = [p for p in every if isinstance(p, JoiningPoint)]
    assert len(points) == len(every)
    assert len(points) == len({str(p.config) for p in points}) == 9 + 8 + 35
    assert sum(p.unseen for p in points) == 8 and len([p for p in points if p.hospitals]) == 35
    assert all(len(p.seeds) == 5 and p.folds == 5 for p in points)
    again = grid("ist-odd", SETTING, parts=("again",))
    assert [(p.arm, p.epsilon, p.seeds) for p in again if isinstance(p, JoiningPoint)] == [
        (JoiningArm.OWN, None, (5, 6, 7, 8, 9)), (JoiningArm.SEALED, 1.0, (5, 6, 7, 8, 9)),
    ]  # fmt: skip
    opened = grid("ist-odd", SETTING, parts=("releases",))
    assert [(p.arm.value, p.epsilon) for p in opened if isinstance(p, JoiningPoint)] == [
        ("one gradient", 1.0), ("two gradients", 1.0), ("moments", 0.3), ("moments", 1.0),
        ("moments", 3.0),
    ]  # fmt: skip
    assert [(p.arm, p.epsilon, p.setting.rounds) for p in opened if isinstance(p, JoiningRisk)] == [
        (JoiningArm.MOMENTS, 1.0, 1)
    ]
    fewer = grid("heart", SETTING, scored=False, growing=(), parts=("whole", "growing"))
    arms = {p.arm for p in fewer if isinstance(p, JoiningPoint)}
    assert len(fewer) == 8 and JoiningArm.SCORE not in arms


def test_the_size_classes_are_the_protocols_to_the_patient() -> None:
    ends = [0, 1, 9, 10, 20, 21, 40, 41, 80, 81, 200, 201]
    sums = HospitalSums(**metrics(0.7, sizes=ends))
    found = {n: [ends[k] for k in np.flatnonzero(c)] for n, c in size_classes(sums).items()}
    assert found == {
        "10-20": [10, 20], "21-40": [21, 40], "41-80": [41, 80], "81-200": [81, 200],
        "above 200": [201], "all": ends[1:],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lower", "upper", "verdict"),
    [
        (-0.009, 0.1, Conclusion.HOLDS),
        (-0.011, 0.1, Conclusion.UNDECIDED),
        (-0.012, -0.002, Conclusion.UNDECIDED),  # below 0, and perhaps not by the margin
        (-0.02, -0.011, Conclusion.DOES_NOT_HOLD),
    ],
)
def test_an_interval_decides_where_it_stands_on_one_side_of_the_margin(
    lower: float, upper: float, verdict: Conclusion
) -> None:
    assert side_of(Estimate((lower + upper) / 2, lower, upper), -0.01) is verdict


def test_a_class_is_without_power_above_the_half_width_and_loses_below_nothing() -> None:
    assert _notes(Estimate(0.0, -0.031, 0.031), Margins()) == ["without power"]
    assert _notes(Estimate(0.0, -0.029, 0.029), Margins()) == []
    assert _notes(Estimate(-0.03, -0.059, -0.001), Margins()) == ["loses"]


def test_holm_stops_at_the_first_that_is_not_rejected() -> None:
    near = Estimate(0.021, 0.001, 0.041)  # alone it would hold; two of them do not
    both = _holm([_Test("x", 0.0, near), _Test("y", 0.0, near)], Margins())
    assert {one.verdict for one in both} == {Conclusion.UNDECIDED}
