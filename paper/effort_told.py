"""How hard the searching attacks tried, and whether more would have found more."""

from collections.abc import Mapping, Sequence

from experiments.run.text import interval, nearest
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.frontier.risks import FrontierResult
from experiments.studies.words import BRACKETS, DESIGNS, NOTHING_YET
from paper.markdown import table
from paper.points import Points

__all__ = ["effort_block", "effort_rows"]

_SEARCHES = {"tableak": "TabLeak", "fedavg": "FedAvg"}
_HEADINGS = {
    "en": ("search", "design, no noise", "restarts", "steps of each", "names the patient"),
    "zh": ("搜索", "方案，无噪声", "重启次数", "每次步数", "指认患者"),
}
_WALKS = {"en": "along walks of {} steps", "zh": "沿 {} 步的轨迹"}


def effort_rows(points: Points) -> list[dict[str, str]]:
    """One row a search and its effort, from least to most."""
    searches = [r for r in points.results if _searches(r)]
    return [
        {
            "search": name,
            "steps_of_walk": str(r.point.local_steps),
            "design": r.point.design.value,
            "restarts": str(r.point.attacks.restarts),
            "iterations": str(r.point.attacks.iterations),
            "named": nearest(r.metrics.risks[name].value, 2),
            "named_interval": interval(r.metrics.risks[name], 2),
        }
        for r in sorted(searches, key=_place)
        if isinstance(r.point, FrontierPoint)
        for name in _SEARCHES
        if name in r.metrics.risks
    ]


def effort_block(rows: Sequence[Mapping[str, str]], language: str) -> str:
    """The rows as a table."""
    if not rows:
        return NOTHING_YET[language]
    opening, closing = BRACKETS[language]
    body = [
        (
            _SEARCHES["tableak"]
            if row["search"] == "tableak"
            else _WALKS[language].format(row["steps_of_walk"]),
            DESIGNS[language][row["design"]],
            row["restarts"],
            row["iterations"],
            f"{row['named']}{opening}{row['named_interval'].replace(' to ', '–')}{closing}",
        )
        for row in rows
    ]
    return table(_HEADINGS[language], body)


def _searches(result: FrontierResult) -> bool:
    """What varies a search's effort, and what stands beside it at the grid's own."""
    point = result.point
    if not isinstance(point, FrontierPoint) or point.cohort != "heart":
        return False
    if not point.design.federated:  # its risk is by definition: nothing was searched
        return False
    varied = point.ablation in ("restarts", "search steps")
    walks = point.local_steps > 1 and point.ablation is None and point.epsilon is None
    return varied or (walks and "fedavg" in point.attacks.attacks)


def _place(result: FrontierResult) -> tuple[bool, str, int, int]:
    point = result.point
    assert isinstance(point, FrontierPoint)  # noqa: S101 - ``_searches`` chose them
    return point.local_steps > 1, point.design, point.attacks.restarts, point.attacks.iterations
