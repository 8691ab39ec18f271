"""How far an AUC moves with splits and noise, beside the frontier's interval: rows from records."""

import math
from collections.abc import Sequence

from experiments.run.record import Record
from experiments.run.text import epsilon, interval, nearest
from experiments.studies.design import Design
from experiments.studies.spread import SpreadPoint, read_spread
from paper.points import Points

__all__ = ["COLUMNS", "spread_rows"]

COLUMNS = {
    "en": (
        "design (heart, all patients in a round)",
        "ε",
        "frontier: AUC of five cross-validations",
        "AUC of forty others",
        "95 % of single cross-validations",
    ),
    "zh": (
        "方案（心脏病，每轮全部患者）",
        "ε",
        "前沿：五次交叉验证的 AUC",
        "另外四十次的 AUC",
        "单次交叉验证的 95%",
    ),
}


def spread_rows(records: Sequence[Record], points: Points) -> list[dict[str, str]]:
    """Return what each design's AUC is in the frontier, over many runs, and in one of them.

    Returns:
      ``design``, ``epsilon``, ``runs``, and each of ``frontier``, ``auc`` and ``single`` with its
      interval (``frontier_interval`` ...); what the frontier has no record of is empty there.
    """
    rows = []
    spreads = read_spread([r for r in records if r.config["experiment"] == "spread"])
    for read in sorted(spreads, key=lambda one: _place(one.point)):
        point, metrics = read.point, read.metrics
        beside = points.find(point.regime, point.model, point.design, point.epsilon)
        auc = None if beside is None else beside.metrics.auc_within
        rows.append(
            {
                "design": point.design.value,
                "epsilon": epsilon(point.epsilon),
                "runs": str(len(metrics.runs)),
                "frontier": "" if auc is None else nearest(auc.value),
                "frontier_interval": "" if auc is None else interval(auc),
                "auc": nearest(metrics.auc_within.value),
                "auc_interval": interval(metrics.auc_within),
                "single_interval": interval(metrics.single),
            }
        )
    return rows


def _place(point: SpreadPoint) -> tuple[int, float]:
    return [*Design].index(point.design), point.epsilon or math.inf
