"""What correlated noise buys, from the committed record: the table of ``docs/results``.

``paper/bench/correlated.json`` is what ``inpatient correlated --json`` printed, cohort by cohort.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.run.record import Record
from experiments.run.text import nearest
from experiments.studies.correlated import CorrelatedArm, read_correlated
from privacy.errors import InvalidInputError

__all__ = ["ARMS", "COHORTS", "COLUMNS", "committed", "rows"]

COLUMNS = {
    "en": ("hospitals", "who takes part, and the noise", "runs", "AUC (least to most)"),
    "zh": ("医院", "谁参加，以及噪声", "次数", "AUC（最低至最高）"),
}
COHORTS = {
    "en": {"heart": "heart, 4", "network": "simulated, 40", "ist-odd": "stroke trial, odd half"},
    "zh": {"heart": "心脏病，4 家", "network": "模拟，40 家", "ist-odd": "卒中试验，奇数半"},
}
ARMS: Mapping[str, Mapping[str, str]] = {
    "en": {
        CorrelatedArm.ALL: "all patients in every round, independent",
        CorrelatedArm.ALL_BANDED: "all patients in every round, banded",
        CorrelatedArm.ALLOCATED: "one round of each pass of 8, drawn anew, independent",
        CorrelatedArm.FIXED: "one fixed round of each pass of 8, independent",
        CorrelatedArm.BANDED: "one fixed round of each pass of 8, banded",
        CorrelatedArm.BUFFERED: "one fixed round of each pass of 8, with buffers",
    },
    "zh": {
        CorrelatedArm.ALL: "每轮全部患者，独立噪声",
        CorrelatedArm.ALL_BANDED: "每轮全部患者，带状相关噪声",
        CorrelatedArm.ALLOCATED: "每遍 8 轮中的一轮，每遍重新抽取，独立噪声",
        CorrelatedArm.FIXED: "每遍 8 轮中固定的一轮，独立噪声",
        CorrelatedArm.BANDED: "每遍 8 轮中固定的一轮，带状相关噪声",
        CorrelatedArm.BUFFERED: "每遍 8 轮中固定的一轮，缓冲相关噪声",
    },
}


def committed(paper: Path) -> list[Record]:
    """Return the records.

    Raises:
      InvalidInputError: One was made from a tree with changes.
    """
    content = json.loads((paper / "bench" / "correlated.json").read_text(encoding="utf-8"))
    records = [Record(one["config"], one["metrics"], one["stamp"]) for one in content]
    if any(record.stamp["dirty"] for record in records):
        raise InvalidInputError(
            "paper/bench/correlated.json holds a record of uncommitted code; make it anew with "
            "`inpatient correlated --json` from a clean commit."
        )
    return records


def rows(records: Sequence[Record]) -> list[dict[str, str]]:
    """Each cohort's arms, the mean of its cross-validations, and the least and the most of them.

    Returns:
      ``cohort``, ``arm``, ``runs``, ``auc`` and ``between``, the last empty for one run.
    """
    aucs: dict[tuple[str, CorrelatedArm], list[float]] = {}
    for read in read_correlated(records):
        aucs.setdefault((read.point.cohort, read.point.arm), []).append(read.metrics.auc_within)
    return [_row(cohort, arm, values) for (cohort, arm), values in aucs.items()]


def _row(cohort: str, arm: CorrelatedArm, values: Sequence[float]) -> dict[str, str]:
    ends = f"{nearest(min(values))} to {nearest(max(values))}" if len(values) > 1 else ""
    return {
        "cohort": cohort,
        "arm": arm.value,
        "runs": str(len(values)),
        "auc": nearest(float(np.mean(values))),
        "between": ends,
    }
