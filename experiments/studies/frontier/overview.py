"""The frontier's records as tables, and as one figure."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from experiments.cohorts import called
from experiments.evaluation import Estimate
from experiments.run.record import Record
from experiments.run.text import epsilon, interval, nearest, up
from experiments.studies.design import Regime
from experiments.studies.frontier.figures import draw_frontier
from experiments.studies.frontier.grid_figures import draw_factors
from experiments.studies.frontier.own_pace import AsynchronousPoint, AttackedPoint
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.frontier.risks import (
    ADVERSARIES,
    NOT_TRIED,
    FrontierResult,
    read_frontier,
    risk_of,
    told,
    varied,
)
from experiments.studies.lineups import AttackSuite

__all__ = ["LEGEND", "overview", "plain", "tables"]

_REGIMES = {
    Regime.FULL: "All patients in every round",
    Regime.SMALL: "About 8 patients a hospital",
}


def overview(records: Sequence[Record]) -> Figure:
    """The frontier of one cohort; all points row by row, where nothing of the frontier is there."""
    results = read_frontier(records)
    cohorts = {r.point.cohort for r in results}
    cohort = "heart" if "heart" in cohorts or len(cohorts) > 1 else cohorts.pop()
    core = [r for r in results if _on_frontier(r.point, cohort)]
    return draw_frontier(core) if core else draw_factors(results)


def tables(records: Sequence[Record]) -> list[Table]:
    """The records as tables for the terminal, one for each setting in which designs compare."""
    results = read_frontier(records)
    titles = dict.fromkeys(_title(r.point) for r in results)
    return [_table(title, [r for r in results if _title(r.point) == title]) for title in titles]


def plain(record: Record) -> dict[str, Any]:
    """The record as JSON, each adversary's risk said by name, and "not tried" where it is so."""
    (result,) = read_frontier([record])
    risks = {adversary: risk_of(result, adversary) for adversary in ADVERSARIES}
    by_name = {who: NOT_TRIED if r is None else dataclasses.asdict(r) for who, r in risks.items()}
    return {**dataclasses.asdict(record), "adversaries": by_name}


def _on_frontier(point: AttackedPoint, cohort: str) -> bool:
    """Whether a point varies design and epsilon alone: others would cross each other's lines."""
    if not isinstance(point, FrontierPoint) or point.rounds_together:
        return False
    core = (point.cohort, point.local_steps) == (cohort, 1)
    return core and point.sees is None and point.ablation is None


def _title(point: AttackedPoint) -> str:
    more = [called(point.cohort)] if point.cohort != "heart" else []
    if isinstance(point, AsynchronousPoint):
        more.append(f"{point.arrival}, {point.buffer} hospitals a sum")
    else:
        more += ["hospitals never seen"] if point.unseen else []
        more += [f"{point.local_steps} local steps"] if point.local_steps > 1 else []
        more += [] if point.correlated is None else [f"noise {point.correlated.told}"]
        more += [f"seen by the {point.sees.replace('_', ' ')}"] if point.sees else []
        if point.ablation:
            more.append(f"{point.ablation} {varied(point, point.ablation):g}")
    patients = _REGIMES[point.regime]
    if isinstance(point, FrontierPoint) and point.pass_rounds is not None:
        patients = f"Each patient in one of {point.pass_rounds} rounds"
    return ", ".join([f"{patients} ({point.model})", *more])


def _table(title: str, results: Sequence[FrontierResult]) -> Table:
    shown = Table(title=title, title_justify="left", caption_justify="left")
    headings = ("design", "ε", "within-site AUC", *_COLUMNS.values(), "bound", "kB up")
    for name in headings:
        shown.add_column(name, no_wrap=True, justify="left" if name == "design" else "right")
    for result in results:
        m = result.metrics
        shown.add_row(
            result.point.design,
            epsilon(result.point.epsilon),
            _auc(m.auc_within),
            *(_risk(result, adversary) for adversary in _COLUMNS),
            "none" if m.bound is None else up(m.bound),
            nearest(m.upload_bytes / 1e3, 1),
        )
    score = results[0].metrics.auc_within_published_score
    if score is not None:
        shown.add_row("score alone", "", _auc(score), *("" for _ in _COLUMNS), "", "")
    return shown


def _auc(estimate: Estimate) -> str:
    return f"{nearest(estimate.value)}\n{interval(estimate)}".replace(" to ", "–")


_COLUMNS = {"curious": "curious", "informed": "informed"}

LEGEND = (
    "curious, informed: how often that adversary's best attack names the patient out of ten "
    "(guessing: 0.10), with a 95 % interval; the curious server sees what is sent or opened, the "
    "informed adversary knows all other patients too; bound: what is proven of any attack; kB up: "
    "one hospital's upload in a round; score alone: a published score, without training; *: of a "
    "search that was cut short (few restarts)."
)


_PUBLISHED_RESTARTS = {"tableak": 30, "fedavg": 15}


def _risk(result: FrontierResult, adversary: str) -> str:
    value, between = told(result, adversary)
    suite = result.point.attacks if isinstance(result.point, FrontierPoint) else AttackSuite(())
    least = max((_PUBLISHED_RESTARTS.get(name, 0) for name in suite.attacks), default=0)
    reduced = adversary == "curious" and suite.restarts < least
    return f"{value}{'*' if reduced else ''}\n{between}".rstrip().replace(" to ", "–")
