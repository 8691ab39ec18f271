"""The sentence's verdict follows from its tables and turns with their numbers."""

from typing import Any

import pytest

from experiments import margins
from experiments.run.record import Record
from experiments.studies.conclusion import Conclusion
from experiments.studies.deidentified import lost_value
from experiments.studies.deidentified.lost_value import JUDGED, tables_rule
from experiments.studies.deidentified.shown_tables import grid, tables
from experiments.studies.ruling import Ruling
from privacy.errors import InvalidInputError
from tests.experiments.made_up import interval


def table(k: int, loss: float, named: float) -> dict[str, Any]:
    risk = {**interval(named), "attack": "density ratio", "targets": 9, "batches": 3, "exact": 0.0}
    names = ("auc", "less_pooled", "less_sealed", "less_own", "linked", "alone", "outcome_known",
             "outcome_of_strangers")  # fmt: skip
    found = {name: interval(0.0) for name in names}
    return {
        **found,
        "k": k,
        "less_pooled": interval(loss, 0.002),
        "risk": risk,
        "risks": {"density ratio": risk, "informed": {**risk, **interval(0.9)}},
        "left_out": 0.05,
        "said": 0.5,
        "linked_most": 0.2,
    }


def records(*found: tuple[float, float], others: tuple[float, float] = (0.0, 0.1)) -> list[Record]:
    """Four ways to publish; (loss, named) of each judged k in turn, and of those that are not."""
    pairs = iter(found)
    return [
        Record(
            point.config,
            {
                "beside": {},
                "epsilon": 1.0,
                "tables": [table(k, *(next(pairs) if k in JUDGED else others)) for k in point.ks],
            },
            {},
        )
        for point in grid()
    ]


BOTH, SAFE, USEFUL, NEITHER, OPEN = (-0.1, 0.3), (-0.1, 0.1), (0.0, 0.9), (0.0, 0.1), (-0.01, 0.15)


def ruled(*found: tuple[float, float]) -> Ruling:
    ruling = tables_rule(records(*found))
    assert ruling is not None
    return ruling


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([BOTH] * 8, Conclusion.HOLDS),
        ([BOTH] + [SAFE] * 7, Conclusion.HOLDS_ONLY_IF),
        ([OPEN] * 7 + [BOTH], Conclusion.HOLDS_ONLY_IF),
        ([SAFE, USEFUL] * 4, Conclusion.DOES_NOT_HOLD),
        ([NEITHER] * 8, Conclusion.DOES_NOT_HOLD),
        ([SAFE] * 7 + [OPEN], Conclusion.UNDECIDED),
        ([OPEN] * 8, Conclusion.UNDECIDED),
    ],
)
def test_each_verdict_is_reached_and_no_table_that_is_not_judged_counts(
    found: list[tuple[float, float]], verdict: Conclusion
) -> None:
    assert ruled(*found).verdict is verdict
    assert tables_rule(records(*found)[::-1]) == ruled(*found)
    for others in ((-0.5, 1.0), (0.5, 0.0)):
        ruling = tables_rule(records(*found, others=others))
        assert ruling is not None and ruling.verdict is verdict


def test_the_condition_names_the_tables_and_the_effect_is_the_first_one_s() -> None:
    ruling = ruled(BOTH, *[SAFE] * 3, *[USEFUL] * 3, NEITHER)
    assert ruling.condition.en == (
        "It holds only if the table is one of these: (all fields, each hospital's own table, "
        "k = 5); of 8 tables: the AUC is surely lower by 0.01: "
        "(all fields, each hospital's own table, k = 5); "
        "(all fields, each hospital's own table, k = 20); (all fields, a curator's table, k = 5); "
        "(all fields, a curator's table, k = 20); patients are surely named: "
        "(all fields, each hospital's own table, k = 5); "
        "(age and sex alone, each hospital's own table, k = 5); "
        "(age and sex alone, each hospital's own table, k = 20); "
        "(age and sex alone, a curator's table, k = 5); neither, surely: "
        "(age and sex alone, a curator's table, k = 20)."
    )
    assert ruling.condition.zh.count("k = ") == ruling.condition.en.count("k = ")
    assert (ruling.value, ruling.lower, ruling.upper) == pytest.approx((-0.1, -0.102, -0.098))


def test_the_margins_stand_in_their_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PRIVACY_COST", "RISK_MARGIN"):
        assert getattr(lost_value, name) == getattr(margins, name)
    monkeypatch.setattr(lost_value, "PRIVACY_COST", 0.2)
    assert ruled(*[BOTH] * 8).verdict is Conclusion.DOES_NOT_HOLD
    monkeypatch.undo()
    monkeypatch.setattr(lost_value, "RISK_MARGIN", 0.25)
    assert ruled(*[BOTH] * 8).verdict is Conclusion.DOES_NOT_HOLD


def test_without_records_nothing_is_ruled_and_with_them_the_terminal_shows_all() -> None:
    assert tables_rule([]) is None and tables([]) == []
    shown = tables(records(*[BOTH] * 8))
    assert len(shown) == 9 and str(shown[-1]).startswith("holds: Every table does both")


def test_a_grid_without_fields_of_its_own_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="one or more fields"):
        grid(quasi=())
    assert [(p.quasi, p.curator) for p in grid(quasi=("chol",))] == [
        ((), False), ((), True), (("chol",), False), (("chol",), True),
    ]  # fmt: skip
