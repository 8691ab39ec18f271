"""Figures of the grid: each draws all its points, from their records alone, readable in grey."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from experiments import frontier, grid, scaling
from experiments.figures import LABELS, LOOKS, save
from experiments.grid_figures import ABLATIONS, FIGURES
from experiments.record import Record
from experiments.sweep import Point


def interval(value: float) -> dict[str, float]:
    return {"value": value, "lower": value - 0.01, "upper": value + 0.02}


def made_up(points: Sequence[Point]) -> list[Record]:
    """A record a point, whose numbers no two points share."""
    records = []
    for k, point in enumerate(points):
        found: dict[str, Any] = {
            "auc_within": interval(0.6 + k / 1000),
            "risk": {**interval(0.1 + k / 300), "attack": "informed"},
            "risks": {"informed": {}},
            "risks_by_trait": {
                "rare": {"informed": {"with": interval(0.5), "without": interval(0.2)}}
            },
            "bound": 0.3 + k / 300,
            "upload_bytes": 100.0,
            "gain": interval(0.01 + k / 1000),
        }
        records.append(Record(point.config, found, {}))
    return records


def drawn(figure: Figure) -> set[tuple[float, float]]:
    """Where any marker of an errorbar stands, rounded."""
    places = set()
    for ax in figure.axes:
        for container in ax.containers:
            if isinstance(container, ErrorbarContainer) and container.lines[0] is not None:
                x, y = (np.asarray(v, dtype=float) for v in container.lines[0].get_data())
                places |= {(round(a, 9), round(b, 9)) for a, b in zip(x, y, strict=True)}
    return places


@pytest.mark.parametrize("name", list(FIGURES))
def test_a_figure_is_the_same_bytes_each_time(name: str, tmp_path: Path) -> None:
    records = made_up(FIGURES[name].points(0))
    one, two = (save(FIGURES[name].draw(records), tmp_path / place) for place in "ab")
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
    assert b"<svg" in one[0].read_bytes()


def test_the_headline_shows_every_gain_at_its_number_of_hospitals() -> None:
    records = made_up(scaling.grid())
    shown = drawn(FIGURES["headline"].draw(records))
    assert shown == {
        (float(r.config["hospitals"]), round(r.metrics["gain"]["value"], 9)) for r in records
    }


def test_factors_show_the_auc_and_the_risk_of_every_point() -> None:
    records = made_up(FIGURES["factors"].points(0))
    shown = drawn(FIGURES["factors"].draw(records))
    for row, record in enumerate(records):
        for metric in ("auc_within", "risk"):
            assert (round(record.metrics[metric]["value"], 9), float(row)) in shown


def test_ablations_show_every_point_at_what_was_varied() -> None:
    records = made_up(FIGURES["ablations"].points(0))
    figure = FIGURES["ablations"].draw(records)
    assert {ax.get_xlabel() for ax in figure.axes} - {""} == set(ABLATIONS)
    shown = drawn(figure)
    for record in records:
        if record.config["ablation"] is not None:
            at = float(ABLATIONS[record.config["ablation"]](record.config))
            assert (at, round(record.metrics["risk"]["value"], 9)) in shown


def test_the_frontier_has_intervals_on_both_axes_and_its_bounds() -> None:
    records = [
        r
        for r in made_up(grid.group("small"))
        if r.config["design"] not in ("pooled", "local only")
    ]
    figure = FIGURES["frontier"].draw(records)
    ax = figure.axes[0]
    bars = [c for c in ax.containers if isinstance(c, ErrorbarContainer)]
    assert all(c.has_xerr and c.has_yerr for c in bars)
    assert all(isinstance(part, LineCollection) for c in bars for part in c.lines[2])
    bounds = [line for line in ax.lines if line.get_marker() == "_"]
    ticks = {
        tuple(float(np.round(np.asarray(v, dtype=float)[0], 9)) for v in line.get_data())
        for line in bounds
        if len(np.asarray(line.get_data()[0])) == 1
    }
    for r in records:
        place = (round(r.metrics["auc_within"]["value"], 9), round(r.metrics["bound"], 9))
        assert place in ticks


def test_series_of_one_figure_differ_in_grey_and_in_shape() -> None:
    """Colours alone tell nobody apart in print: markers differ; so does each light, if a little."""
    assert set(LOOKS) == set(LABELS)
    markers = [marker for _, marker in LOOKS.values()]
    assert len(set(markers)) == len(markers)
    light = {k: float(np.dot(to_rgb(c), (0.2126, 0.7152, 0.0722))) for k, (c, _) in LOOKS.items()}
    assert max(light.values()) < 0.72  # nothing fades into the paper


def test_tables_tell_settings_apart() -> None:
    """No table has two rows of one design at one epsilon."""
    records = made_up(grid.full_grid())
    for record in records:
        record.metrics["risks"].clear()
    shown = frontier.tables(records)
    assert len({t.title for t in shown}) == len(shown)
    for table in shown:
        rows = list(zip(*(list(column.cells) for column in table.columns[:2]), strict=True))
        assert len(set(rows)) == len(rows)
