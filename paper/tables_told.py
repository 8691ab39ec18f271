"""What is told of published k-anonymous tables, from their records."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from experiments.evaluation import Estimate
from experiments.run.record import Record
from experiments.run.text import interval, nearest, signed
from experiments.studies.deidentified.lost_value import way_of
from experiments.studies.deidentified.table_metrics import read_tables
from experiments.studies.lineups import INFORMED
from experiments.studies.words import NOTHING_YET
from paper.markdown import table

__all__ = ["HEADINGS", "tables_block", "tables_of"]

HEADINGS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "en": (
        (
            "made coarser, by whom",
            "k",
            "rows left out",
            "AUC",
            "less pooled patients",
            "less sealed, ε = 1",
            "less own models",
        ),
        (
            "made coarser, by whom",
            "k",
            "named: by who knows nobody",
            "named: by who knows all others",
            "bound",
            "linked (of the likeliest)",
            "outcome known oftener",
            "of strangers",
        ),
    ),
    "zh": (
        (
            "粗化的字段，由谁",
            "k",
            "未公布的行",
            "AUC",
            "减去集中训练",
            "减去密封，ε = 1",
            "减去各院自己的模型",
        ),
        (
            "粗化的字段，由谁",
            "k",
            "指认：不认识任何人",
            "指认：认识其余所有人",
            "上界",
            "链接成功（最易者）",
            "更常说对结局",
            "对表外的人",
        ),
    ),
}


def tables_of(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One row a table, as text; without records none.

    Args:
      records: Of all studies.
    """
    table_records = [r for r in records if r.config["experiment"] == "deidentified"]
    read = sorted(read_tables(table_records), key=lambda one: (one.point.quasi, one.point.curator))
    return [
        {
            "way": asdict(way_of(one.point)),
            "k": str(table.k),
            "left_out": f"{100 * table.left_out:.0f}%",
            "auc": _told(table.auc, 3),
            "less_pooled": _signed(table.less_pooled),
            "less_sealed": _signed(table.less_sealed),
            "less_own": _signed(table.less_own),
            "public": _told(table.risk, 2),
            "informed": _told(table.risks[INFORMED], 2),
            "linked": f"{nearest(table.linked.value, 3)} ({nearest(table.linked_most, 2)})",
            "known": _signed(table.outcome_known),
            "strangers": _signed(table.outcome_of_strangers),
        }
        for one in read
        for table in one.metrics.tables
    ]


def tables_block(rows: Sequence[Mapping[str, Any]], language: str) -> str:
    """Two tables: what the published rows are worth; who is named from them and linked."""
    if not rows:
        return NOTHING_YET[language]
    worth, risks = HEADINGS[language]
    none = {"en": "no bound", "zh": "无"}[language]
    first = [
        (row["way"][language], *(row[c] for c in ("k", "left_out", "auc", *_GAPS))) for row in rows
    ]
    second = [
        (row["way"][language], row["k"], row["public"], row["informed"], none,
         *(row[c] for c in ("linked", "known", "strangers")))
        for row in rows
    ]  # fmt: skip
    return f"{table(worth, first)}\n\n{table(risks, second)}"


_GAPS = ("less_pooled", "less_sealed", "less_own")


def _told(one: Estimate, digits: int) -> str:
    return f"{nearest(one.value, digits)} ({interval(one, digits).replace(' to ', '–')})"


def _signed(one: Estimate) -> str:
    return f"{signed(one.value)} ({signed(one.lower)} to {signed(one.upper)})"
