"""Two sentences from records of joining: their verdicts follow by class, and turn with margins."""

from typing import Any

import numpy as np
import pytest

from experiments.evaluation import Scored, auc
from experiments.run.record import Record
from experiments.studies.conclusion import Conclusion
from experiments.studies.joining import sentence_answers
from experiments.studies.joining.arm_point import End, JoiningArm, JoiningPoint
from experiments.studies.joining.arms import SETTING
from experiments.studies.joining.sentence_answers import COHORTS, alone, naively, side_by_side
from experiments.studies.joining.sums import HospitalSums, difference
from experiments.studies.joining.verdicts import size_classes
from experiments.studies.ruling import Ruling

SIZES = {"10-20": 15, "21-40": 30, "41-80": 60, "81-200": 120, "above 200": 300}
EACH = 12
Figures = dict[str, float]


def sums(aucs: Figures, briers: Figures, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    sizes = np.repeat(list(SIZES.values()), EACH).astype(float)
    patients = np.tile(sizes, (5, 1))
    pairs = (patients / 2) ** 2
    value = np.repeat([aucs[name] for name in SIZES], EACH)
    brier = np.repeat([briers[name] for name in SIZES], EACH)
    wins = (value + 0.004 * rng.normal(size=pairs.shape)) * pairs
    squares = (brier + 0.002 * rng.normal(size=pairs.shape)) * patients
    return {
        "wins": wins.tolist(), "pairs": pairs.tolist(), "patients": patients.tolist(),
        "squares": squares.tolist(), "excess": (0 * patients).tolist(),
    }  # fmt: skip


def every(value: float, **changed: float) -> Figures:
    return {**dict.fromkeys(SIZES, value), **{k.replace("_", " "): v for k, v in changed.items()}}


def records(
    gain: Figures, harm: Figures | None = None, cohorts: tuple[str, ...] = COHORTS
) -> list[Record]:
    """Own models of .7 and .2; of joined ones AUC is more by ``gain``, Brier by ``harm``."""
    found = []
    joined = {name: 0.7 + more for name, more in gain.items()}
    briers = {name: 0.2 + more for name, more in (harm or every(-0.01)).items()}
    for k, cohort in enumerate(cohorts):
        names = [str(i) for i in range(EACH * len(SIZES))]
        own = {End.FIT: sums(every(0.7), every(0.2), 10 * k)}
        none = {end: sums(joined, briers, 10 * k + 1) for end in (End.BARE, End.FIT)}
        for arm, ends in ((JoiningArm.OWN, own), (JoiningArm.NONE, none)):
            point = JoiningPoint(arm, None, cohort, SETTING)
            found.append(Record(point.config, {"hospitals": names, "ends": ends}, {}))
    return found


def ruled(ruling: Ruling | None) -> Ruling:
    assert ruling is not None
    return ruling


SMALL = {"10-20": 0.1, "21-40": 0.1}


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        (every(0.05), Conclusion.HOLDS),
        (every(0.0) | SMALL, Conclusion.HOLDS_ONLY_IF),
        (every(0.0), Conclusion.DOES_NOT_HOLD),
        (every(0.02), Conclusion.UNDECIDED),
        (every(0.0) | {"10-20": 0.02}, Conclusion.UNDECIDED),
    ],
)
def test_alone(gain: Figures, verdict: Conclusion) -> None:
    ruling = ruled(alone(records(gain)))
    assert ruling.verdict is verdict
    assert ruling.lower is not None and ruling.lower <= ruling.value
    weights = np.array(list(SIZES.values()), dtype=float) ** 2
    assert ruling.value == pytest.approx(
        float(np.average(list(gain.values()), weights=weights)), abs=2e-3
    )
    if verdict is Conclusion.HOLDS_ONLY_IF:
        assert "below that of the joined one: 10-20, 21-40. AUC gained" in ruling.condition.en
        assert "：10-20、21-40。" in ruling.condition.zh
        assert "Of 120 hospitals 48 gain more than 0.02" in ruling.condition.en


@pytest.mark.parametrize(
    ("gain", "harm", "verdict"),
    [
        (every(0.05), every(-0.01), Conclusion.DOES_NOT_HOLD),
        (every(0.05), every(-0.01, above_200=0.02), Conclusion.HOLDS_ONLY_IF),
        (every(0.05, above_200=-0.05), every(-0.01), Conclusion.HOLDS_ONLY_IF),
        (every(-0.05), every(0.02), Conclusion.HOLDS),
        (every(0.05), every(0.0), Conclusion.UNDECIDED),
        (every(-0.01), every(-0.01), Conclusion.UNDECIDED),
    ],
)
def test_naively(gain: Figures, harm: Figures, verdict: Conclusion) -> None:
    ruling = ruled(naively(records(gain, harm)))
    assert ruling.verdict is verdict
    if verdict is Conclusion.HOLDS_ONLY_IF:
        figure = "AUC" if gain["above 200"] < 0 else "Brier"
        assert f"surely higher: above 200 ({figure}). By patients" in ruling.condition.en
        assert f"200 以上（{figure}）。" in ruling.condition.zh


def test_margins_turn_them_and_a_missing_half_is_no_ruling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_answers, "AUC_MARGIN", 0.08)
    assert ruled(alone(records(every(0.05)))).verdict is Conclusion.DOES_NOT_HOLD
    monkeypatch.setattr(sentence_answers, "PRIVACY_COST", 0.1)
    assert ruled(naively(records(every(-0.05)))).verdict is Conclusion.DOES_NOT_HOLD
    for some in ([], records(every(0.05), cohorts=COHORTS[:1]), records(every(0.05))[:3]):
        assert alone(some) is None and naively(some) is None


def test_correction_leaves_open_what_one_test_alone_would_decide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = records(every(0.0) | {"10-20": 0.0228})
    ruling = ruled(alone(found))
    monkeypatch.setattr(sentence_answers, "holm", lambda p, level: set(range(len(p))))
    assert ruled(alone(found)).verdict is Conclusion.HOLDS_ONLY_IF
    assert ruling.verdict in (Conclusion.HOLDS_ONLY_IF, Conclusion.UNDECIDED)
    monkeypatch.setattr(
        sentence_answers, "holm", lambda p, level: {k for k, v in enumerate(p) if v > 1}
    )
    assert ruled(alone(found)).verdict is Conclusion.UNDECIDED


def test_side_by_side_is_both_cohorts_hospital_by_hospital() -> None:
    rng = np.random.default_rng(3)

    def site() -> Scored:
        return Scored(rng.normal(size=30), rng.integers(0, 2, 30))

    folds = [[{"a": site(), "b": site()}], [{"c": site()}]]
    parts = [
        HospitalSums.of(names, [one]) for names, one in zip((["a", "b"], ["c"]), folds, strict=True)
    ]
    both = side_by_side(parts)
    assert np.array(both.patients).shape == (1, 3)
    none = HospitalSums([[0.0] * 3], both.pairs, both.squares, both.excess, both.patients)
    everybody = size_classes(both)["all"]
    assert difference(both, none, everybody, replicates=2).value == pytest.approx(
        auc({**folds[0][0], **folds[1][0]})
    )
