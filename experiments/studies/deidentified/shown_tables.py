"""The points of the study, and what the terminal shows of its records."""

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.table import Table

from experiments.cohorts import called
from experiments.evaluation import Estimate
from experiments.run.record import Record
from experiments.run.text import interval, nearest, signed
from experiments.studies.deidentified.lost_value import tables_rule, way_of
from experiments.studies.deidentified.published_point import DeidentifiedPoint
from experiments.studies.deidentified.table_metrics import read_tables
from experiments.studies.lineups import INFORMED
from privacy._validate import natural
from privacy.errors import InvalidInputError

__all__ = ["DEMOGRAPHIC", "grid", "tables"]

DEMOGRAPHIC = ("age", "sex")
"""What is commonly made coarser, while clinical values are published as they are."""


def grid(
    cohort: str = "heart",
    *,
    quasi: Sequence[str] = DEMOGRAPHIC,
    seed: int = 0,
    seeds: int = 5,
) -> list[DeidentifiedPoint]:
    """Return all fields and some, each by hospitals and by a curator.

    Args:
      cohort: As ``experiments.cohorts.load`` takes it.
      quasi: The some.
      seed: The first.
      seeds: How many.

    Raises:
      InvalidInputError: No seed, or none of the fields.
    """
    natural(seeds=seeds, least=1)
    if not quasi:
        raise InvalidInputError("Expected one or more fields to be made coarser alone (--quasi).")
    every = tuple(range(seed, seed + seeds))
    return [
        DeidentifiedPoint(fields, curator, cohort, seeds=every)
        for fields in ((), tuple(quasi))
        for curator in (False, True)
    ]


def tables(records: Sequence[Record]) -> list[Table | str]:
    """What the tables are worth, who is named from them and who is linked; then the verdict."""
    shown: list[Table | str] = []
    for one in read_tables(records):
        title = f"{called(one.point.cohort)}, {way_of(one.point).en}"
        worth, risks = (
            Table(title=f"{title}: {what}", title_justify="left", box=SIMPLE)
            for what in ("AUC, and less that of", "named of ten, and linked")
        )
        for heading in ("k", "AUC", "pooled", "sealed", "own", "left out"):
            worth.add_column(heading, justify="right", no_wrap=True)
        for heading in ("k", "knows nobody", "all others", "bound", "linked", "outcome"):
            risks.add_column(heading, justify="right", no_wrap=True)
        for table in one.metrics.tables:
            gaps = (table.less_pooled, table.less_sealed, table.less_own)
            worth.add_row(
                str(table.k),
                nearest(table.auc.value),
                *(signed(gap.value) for gap in gaps),
                f"{table.left_out:.0%}",
            )
            risks.add_row(
                str(table.k),
                _cell(table.risk),
                _cell(table.risks[INFORMED]),
                "no bound",
                _cell(table.linked),
                signed(table.outcome_known.value, 2),
            )
        shown += [worth, risks]
    ruling = tables_rule(records)
    return [*shown, f"{ruling.verdict}: {ruling.condition.en}"] if ruling else shown


def _cell(one: Estimate) -> str:
    return f"{nearest(one.value, 2)} ({interval(one, 2)})"
