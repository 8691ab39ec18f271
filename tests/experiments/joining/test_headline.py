"""The study's first number by another road, from the committed records of the confirmation half."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.margins import Margins
from experiments.run.record import read_records
from experiments.studies.conclusion import Conclusion
from experiments.studies.joining.arm_point import JoiningArm
from experiments.studies.joining.verdicts import judged

ROOT = Path(__file__).resolve().parents[3]
HALVES = ("ist-even", "ist-odd")


def told(cohort: str) -> dict[str, Any]:
    made = json.loads((ROOT / "paper" / "numbers.json").read_text(encoding="utf-8"))
    half: dict[str, Any] = made["joining"][{"ist-even": "confirmed", "ist-odd": "explored"}[cohort]]
    return half


def sums(cohort: str, arm: str, *, again: bool = False) -> tuple[NDArray[np.float64], ...]:
    """Wins and pairs, ``[seeds, hospitals]``, straight from the record."""
    for record in read_records(ROOT / "paper" / "records"):
        c = record.config
        if (c["experiment"], c.get("cohort"), c.get("arm")) != ("joining", cohort, arm):
            continue
        if c["unseen"] or c["hospitals"] or c["epsilon"] not in (None, 1.0):
            continue
        if (0 not in c["seeds"]) == again:
            end = record.metrics["ends"]["fit"]
            return np.array(end["wins"]), np.array(end["pairs"])
    raise AssertionError(f"{cohort} has no record of {arm} (again={again}).")


def linearised(cohort: str, *, again: bool = False) -> tuple[float, float]:
    """The gain and its standard error by the delta method; nothing is drawn.

    A ratio's variance over sampled hospitals is that of their influence on it; seeds are added.
    """
    (ours, pairs), (own, same) = (sums(cohort, arm, again=again) for arm in ("sealed", "own"))
    np.testing.assert_array_equal(pairs, same)
    gaps, totals = ours - own, pairs.sum(axis=1)
    by_seed = gaps.sum(axis=1) / totals
    influence = ((gaps - by_seed[:, None] * pairs) / totals[:, None]).mean(axis=0)
    hospitals = int((pairs.sum(axis=0) > 0).sum())
    variance = (influence**2).sum() * hospitals / (hospitals - 1)
    return float(by_seed.mean()), float(np.sqrt(variance + by_seed.var() / len(by_seed)))


def ends(text: str) -> list[float]:
    """The value and both ends of a signed number with its interval."""
    return [
        float(part)
        for part in text.replace("−", "-").strip(")").replace(" (", " to ").split(" to ")
    ]


@pytest.mark.parametrize("cohort", HALVES)
def test_the_gain_and_its_interval_come_by_the_delta_method_too(cohort: str) -> None:
    value, lower, upper = ends(told(cohort)["gain"])
    gain, error = linearised(cohort)
    assert gain == pytest.approx(value, abs=5e-4)
    assert upper - lower == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert gain - 1.96 * error > 0  # the verdict is the same


@pytest.mark.parametrize("cohort", HALVES)
def test_with_five_other_seeds_it_is_the_same_number(cohort: str) -> None:
    """Other folds and other noise, the same hospitals: what differs is the seeds' own spread."""
    first, again = linearised(cohort)[0], linearised(cohort, again=True)[0]
    assert told(cohort)["again"]
    assert ends(told(cohort)["again"])[0] == pytest.approx(again, abs=5e-4)
    assert abs(first - again) < 0.005
    assert ends(told(cohort)["again"])[1] > 0


def test_other_seeds_have_no_part_in_a_verdict() -> None:
    records = [
        r
        for r in read_records(ROOT / "paper" / "records")
        if r.config["experiment"] == "joining" and r.config["cohort"] == "ist-even"
    ]
    first = [r for r in records if 0 in r.config["seeds"]]
    assert len(first) == len(records) - 2
    assert judged(records) == judged(first)
    again = {one.question: one for one in judged(list(reversed(records)))}
    assert again == {one.question: one for one in judged(first)}  # whichever comes last


def test_a_margin_that_is_moved_moves_its_verdict() -> None:
    records = [
        r
        for r in read_records(ROOT / "paper" / "records")
        if r.config["experiment"] == "joining" and r.config["cohort"] == "ist-even"
    ]

    def verdict(margins: Margins) -> Conclusion:
        rows = judged(records, margins)
        return next(v for v in rows if v.question.startswith("Q4 sealed at epsilon 1")).verdict

    assert verdict(Margins()) is Conclusion.HOLDS
    assert verdict(Margins(worse=1e-6)) is not Conclusion.HOLDS


def test_a_federation_that_was_not_attacked_is_not_left_out() -> None:
    """Risks stand for all that were trained together; where nobody tried, it says so."""
    rows = {(row["arm"], row["epsilon"]): row for row in told("ist-even")["risks"]}
    assert len(rows) == 6
    tried = {
        (r.config["arm"], r.config["epsilon"])
        for r in read_records(ROOT / "paper" / "records")
        if r.config["experiment"] == "joining risk" and r.config["cohort"] == "ist-even"
        if not JoiningArm(r.config["arm"]).few
    }
    untried = [row for row in rows.values() if row["informed"] == "not tried"]
    assert len(untried) == 6 - len(tried)
    assert all(row["curious"] == "not tried" for row in untried)
