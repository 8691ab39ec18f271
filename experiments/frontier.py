"""The frontier: what each design gives away against what it gains, point by point.

Every point is a record; a second run into the same folder computes only what is missing.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.figures import draw_frontier, save
from experiments.grid import cells, chosen_grid, command_of, full_grid, group, quick_grid
from experiments.grid_figures import ABLATIONS, draw_factors
from experiments.lineups import Settings
from experiments.record import Record, writable_folder
from experiments.sweep import Point, sweep

__all__ = [
    "LEGEND",
    "cells",
    "chosen_grid",
    "command_of",
    "draw",
    "full_grid",
    "group",
    "quick_grid",
    "run",
    "tables",
]

_REGIMES = {"full": "All patients in every round", "small": "About 8 patients a hospital"}


def run(
    out: Path,
    points: Sequence[Point],
    *,
    jobs: int = -1,
    backend: str = "joblib",
    data_dir: Path | None = None,
    console: Console | None = None,
) -> list[Record]:
    """Compute the points that have no record in ``out`` yet; return all of them, in order."""
    return sweep(out, points, jobs=jobs, backend=backend, data_dir=data_dir, console=console)


def draw(out: Path, records: Sequence[Record]) -> tuple[Path, Path]:
    """Write ``figures/frontier.svg`` and ``.png``; rows, where nothing of the frontier is there."""
    folder = writable_folder(out / "figures")
    core = [r for r in records if _on_frontier(r)]
    return save(draw_frontier(core) if core else draw_factors(records), folder / "frontier")


def tables(records: Sequence[Record]) -> list[Table]:
    """The records as tables for the terminal, one for each setting in which designs compare."""
    titles = dict.fromkeys(_title(r) for r in records)
    return [_table(title, [r for r in records if _title(r) == title]) for title in titles]


def _on_frontier(record: Record) -> bool:
    """Whether a point varies design and epsilon alone: others would cross each other's lines."""
    c = record.config
    plain = (c["experiment"], c["cohort"], c["local_steps"]) == ("frontier", "heart", 1)
    return plain and c["sees"] is None and c["ablation"] is None


def _title(record: Record) -> str:
    c = record.config
    more = [c["cohort"]] if c["cohort"] != "heart" else []
    more += [f"{c['local_steps']} local steps"] if c["local_steps"] > 1 else []
    more += [f"seen by the {c['sees'].replace('_', ' ')}"] if c["sees"] else []
    more += [f"{c['arrival']}, {c['buffer']} hospitals a sum"] if "arrival" in c else []
    if c["ablation"] and "arrival" not in c:
        more.append(f"{c['ablation']} {ABLATIONS[c['ablation']](c):g}")
    return ", ".join([f"{_REGIMES[c['regime']]} ({c['model']})", *more])


def _table(title: str, records: Sequence[Record]) -> Table:
    shown = Table(title=title, title_justify="left", caption_justify="left")
    for name in ("design", "ε", "within-site AUC", "risk", "bound", "kB up"):
        shown.add_column(name, no_wrap=True, justify="left" if name == "design" else "right")
    for record in records:
        config, m = record.config, record.metrics
        reduced = "tableak" in m["risks"] and config["attacks"]["restarts"] < Settings(()).restarts
        shown.add_row(
            config["design"],
            "∞" if config["epsilon"] is None else f"{config['epsilon']:g}",
            _with_half_width(m["auc_within"]),
            _with_half_width(m["risk"]) + ("*" if reduced else ""),
            "none" if m["bound"] is None else f"{m['bound']:.3f}",
            f"{m['upload_bytes'] / 1e3:.1f}",
        )
    return shown


LEGEND = (
    "risk: how often the best attack names the patient out of ten (guessing: 0.100); bound: what "
    "is proven of any attack; kB up: one hospital's upload in a round; ±: half of a 95 % interval; "
    "*: TabLeak was tried too, reduced to few restarts."
)


def _with_half_width(interval: dict[str, float]) -> str:
    return f"{interval['value']:.3f} ± {(interval['upper'] - interval['lower']) / 2:.3f}"
