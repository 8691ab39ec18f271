"""The frontier: what each design gives away against what it gains, point by point.

Every point is a record; a second run into the same folder computes only what is missing.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from experiments.cohorts import called
from experiments.run.record import Record
from experiments.run.text import epsilon, interval, nearest, up
from experiments.studies.frontier.figures import draw_frontier
from experiments.studies.frontier.grid_figures import ABLATIONS, draw_factors
from experiments.studies.frontier.risks import ADVERSARIES, NOT_TRIED, risk_of, told
from experiments.studies.lineups import AttackSuite

__all__ = ["LEGEND", "overview", "plain", "tables"]

_REGIMES = {"full": "All patients in every round", "small": "About 8 patients a hospital"}


def overview(records: Sequence[Record]) -> Figure:
    """The frontier of one cohort; all points row by row, where nothing of the frontier is there."""
    cohorts = {r.config["cohort"] for r in records}
    cohort = "heart" if "heart" in cohorts or len(cohorts) > 1 else cohorts.pop()
    core = [r for r in records if _on_frontier(r, cohort)]
    return draw_frontier(core) if core else draw_factors(records)


def tables(records: Sequence[Record]) -> list[Table]:
    """The records as tables for the terminal, one for each setting in which designs compare."""
    titles = dict.fromkeys(_title(r) for r in records)
    return [_table(title, [r for r in records if _title(r) == title]) for title in titles]


def plain(record: Record) -> dict[str, Any]:
    """The record as JSON, each adversary's risk said by name, and "not tried" where it is so."""
    risks = {adversary: risk_of(record, adversary) for adversary in ADVERSARIES}
    told = {who: NOT_TRIED if risk is None else risk for who, risk in risks.items()}
    return {**dataclasses.asdict(record), "adversaries": told}


def _on_frontier(record: Record, cohort: str) -> bool:
    """Whether a point varies design and epsilon alone: others would cross each other's lines."""
    c = record.config
    plain = (c["experiment"], c["cohort"], c["local_steps"]) == ("frontier", cohort, 1)
    return plain and c["sees"] is None and c["ablation"] is None


def _title(record: Record) -> str:
    c = record.config
    more = [called(c["cohort"])] if c["cohort"] != "heart" else []
    more += ["hospitals never seen"] if c.get("unseen") else []
    more += [f"{c['local_steps']} local steps"] if c["local_steps"] > 1 else []
    more += [f"seen by the {c['sees'].replace('_', ' ')}"] if c["sees"] else []
    more += [f"{c['arrival']}, {c['buffer']} hospitals a sum"] if "arrival" in c else []
    if c["ablation"] and "arrival" not in c:
        more.append(f"{c['ablation']} {ABLATIONS[c['ablation']](c):g}")
    return ", ".join([f"{_REGIMES[c['regime']]} ({c['model']})", *more])


def _table(title: str, records: Sequence[Record]) -> Table:
    shown = Table(title=title, title_justify="left", caption_justify="left")
    headings = ("design", "ε", "within-site AUC", *_COLUMNS.values(), "bound", "kB up")
    for name in headings:
        shown.add_column(name, no_wrap=True, justify="left" if name == "design" else "right")
    for record in records:
        config, m = record.config, record.metrics
        auc = f"{nearest(m['auc_within']['value'])}\n{interval(m['auc_within'])}"
        shown.add_row(
            config["design"],
            epsilon(config["epsilon"]),
            auc.replace(" to ", "–"),
            *(_risk(record, adversary) for adversary in _COLUMNS),
            "none" if m["bound"] is None else up(m["bound"]),
            nearest(m["upload_bytes"] / 1e3, 1),
        )
    published = records[0].metrics.get("auc_within_published_score")
    if published is not None:
        auc = f"{nearest(published['value'])}\n{interval(published)}".replace(" to ", "–")
        shown.add_row("score alone", "", auc, *("" for _ in _COLUMNS), "", "")
    return shown


_COLUMNS = {"curious": "curious", "informed": "informed"}

LEGEND = (
    "curious, informed: how often that adversary's best attack names the patient out of ten "
    "(guessing: 0.10), with a 95 % interval; the curious server sees what is sent or opened, the "
    "informed adversary knows all other patients too; bound: what is proven of any attack; kB up: "
    "one hospital's upload in a round; score alone: a published score, without training; *: of a "
    "search that was cut short (few restarts)."
)


def _risk(record: Record, adversary: str) -> str:
    found = risk_of(record, adversary)
    value, between = told(record, adversary)
    attacks = record.config["attacks"]
    short = found and adversary == "curious" and "tableak" in attacks["attacks"]
    reduced = "*" if short and attacks["restarts"] < AttackSuite(()).restarts else ""
    return f"{value}{reduced}\n{between}".rstrip().replace(" to ", "–")
