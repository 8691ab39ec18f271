"""Figures of the grid: each draws all its points, from their records alone, readable in grey."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from experiments.run.plots import save
from experiments.run.record import Record
from experiments.run.study import GridPoint
from experiments.studies import scaling
from experiments.studies.frontier import grid
from experiments.studies.frontier import overview as frontier
from experiments.studies.frontier.figures import LABELS, LOOKS
from experiments.studies.frontier.grid_figures import FIGURES
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.frontier.risks import (
    ABLATIONS,
    ADVERSARIES,
    NOT_TRIED,
    Risk,
    read_frontier,
    risk_of,
    varied,
)
from experiments.studies.lineups import AttackSuite
from tests.experiments.made_up import frontier_metrics


def interval(value: float) -> dict[str, float]:
    return {"value": value, "lower": value - 0.01, "upper": value + 0.02}


def made_up(points: Sequence[GridPoint]) -> list[Record]:
    """A record a point, whose numbers no two points share."""
    records = []
    for k, point in enumerate(points):
        halves = {"with": interval(0.5), "without": interval(0.2)}
        arms = {f"auc_{arm}": interval(0.7) for arm in ("none", "local", "sealed")}
        found = frontier_metrics(
            auc_within=interval(0.6 + k / 1000),
            risk={**interval(0.1 + k / 300), "attack": "whatever"},
            risks={"tableak": interval(0.2 + k / 300), "informed": interval(0.5 + k / 300)},
            risks_by_trait={"rare": {"informed": halves, "tableak": halves}},
            bound=0.3 + k / 300,
            gain=interval(0.01 + k / 1000),
            **arms,
        )
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
        for value in (record.metrics["auc_within"]["value"], *(r.value for r in risks(record))):
            assert (round(value, 9), float(row)) in shown


def risks(record: Record) -> list[Risk]:
    (result,) = read_frontier([record])
    tried = [risk_of(result, adversary) for adversary in ADVERSARIES]
    return [risk for risk in tried if risk is not None]


def test_what_was_not_tried_is_said_and_breaks_the_line() -> None:
    """Never an empty place, a guess in its stead, or a line across it."""
    records = made_up(grid.group("full"))
    for record in records:
        if record.config["epsilon"] == 1.0:
            record.metrics["risks"].pop("informed")
    figure = FIGURES["frontier"].draw(records)
    curious, informed = figure.axes
    assert not [t for t in curious.texts if NOT_TRIED in t.get_text()]
    (said,) = [t.get_text() for t in informed.texts if NOT_TRIED in t.get_text()]
    for design in ("article", "local", "sealed"):
        assert f"{LABELS[design]}, ε = 1" in said
    lines = [c for c in informed.containers if isinstance(c, ErrorbarContainer)]
    assert len(lines) == 1 + 2 * 3  # "none" has one point; the others are cut in two at epsilon 1
    factors = made_up(FIGURES["factors"].points(0))
    factors[0].metrics["risks"].pop("tableak")
    texts = [t.get_text() for ax in FIGURES["factors"].draw(factors).axes for t in ax.texts]
    assert texts.count(NOT_TRIED) == 1


@pytest.mark.parametrize("name", ["frontier", "factors", "ablations", "at-risk"])
def test_one_axis_shows_one_adversary_and_a_line_one_attack(name: str) -> None:
    """Each adversary's risks lie in a range of their own here, so that a mixture would be seen."""
    records = made_up(FIGURES[name].points(0))
    for k, record in enumerate(records):
        record.metrics["risks"]["tableak"] = interval(0.20 + k / 10_000)
        record.metrics["risks"]["informed"] = interval(0.50 + k / 10_000)
    for axes in FIGURES[name].draw(records).axes:
        for line in axes.lines:
            heights = np.asarray(line.get_data()[1], dtype=float)
            kinds = {place for v in heights for place in (0.2, 0.5) if place <= v < place + 0.03}
            assert len(kinds) <= 1, (axes.get_ylabel(), heights)


def test_points_that_met_other_attacks_are_not_joined() -> None:
    records = made_up([p for p in grid.group("full") if p.design == "sealed"])
    records[-1].metrics["risks"]["closed_form"] = interval(0.9)
    curious = FIGURES["frontier"].draw(records).axes[0]
    lines = [c for c in curious.containers if isinstance(c, ErrorbarContainer)]
    assert [len(np.atleast_1d(c.lines[0].get_xdata())) for c in lines] == [5, 1]


def test_ablations_show_every_point_at_what_was_varied() -> None:
    records = made_up(FIGURES["ablations"].points(0))
    figure = FIGURES["ablations"].draw(records)
    assert {ax.get_xlabel() for ax in figure.axes} - {""} == set(ABLATIONS)
    shown = drawn(figure)
    for record in records:
        if record.config["ablation"] is not None:
            (result,) = read_frontier([record])
            at = varied(result.point, record.config["ablation"])
            assert len(risks(record)) == len(ADVERSARIES)
            for risk in risks(record):
                assert (at, round(risk.value, 9)) in shown


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
    shown = frontier.tables(made_up(grid.full_grid()))
    assert len({t.title for t in shown}) == len(shown)
    for table in shown:
        rows = list(zip(*(list(column.cells) for column in table.columns[:2]), strict=True))
        assert len(set(rows)) == len(rows)


def test_tables_and_json_say_what_was_not_tried() -> None:
    point = next(p for p in grid.group("full") if (p.design, p.epsilon) == ("sealed", 1.0))
    (record,) = made_up([point])
    record.metrics["risks"].pop("informed")
    (table,) = frontier.tables([record])
    cells = {str(c.header): next(iter(c.cells)) for c in table.columns}
    assert cells["informed"] == NOT_TRIED
    assert cells["curious"] == "0.20\n0.19–0.22"
    (found,) = [frontier.plain(record)]
    assert found["adversaries"]["informed"] == NOT_TRIED
    assert found["adversaries"]["curious"]["attack"] == "tableak"


def test_a_searchs_effort_is_drawn_from_where_both_series_meet() -> None:
    records = made_up(FIGURES["effort"].points(0))
    left, right = FIGURES["effort"].draw(records).axes[:2]
    tried = {"restarts": [1, 3, 10, 30, 60], "iterations": [200, 600, 1500, 3000]}
    for ax, name in ((left, "restarts"), (right, "iterations")):
        bars = [c for c in ax.containers if isinstance(c, ErrorbarContainer)]
        assert [np.atleast_1d(c.lines[0].get_xdata()).tolist() for c in bars] == [tried[name]] * 2
    whole = AttackSuite(())
    assert (whole.restarts, whole.iterations) == (30, 1500)
    suites = [p.attacks for p in grid.group("small") if isinstance(p, FrontierPoint)]
    searched = [suite for suite in suites if "tableak" in suite.attacks]
    assert len(searched) == 3
    assert all(replace(suite, attacks=()) == whole for suite in searched)  # none is cut short


def test_a_search_that_was_cut_short_is_marked_in_the_tables() -> None:
    def marks(name: str) -> list[bool]:
        points = [p for p in grid.group(name) if isinstance(p, FrontierPoint)]
        cells = [str(c) for t in frontier.tables(made_up(points)) for c in t.columns[3].cells]
        assert len(cells) >= len(points)
        return ["*" in cell for cell in cells]

    assert not any(marks("small")) and not any(marks("fedavg"))  # as hard as was published
    quick = [p for p in grid.quick_grid() if "tableak" in p.attacks.attacks]
    shown = [str(c) for t in frontier.tables(made_up(quick)) for c in t.columns[3].cells]
    assert all("*" in cell for cell in shown) and shown
    short = [replace(p, attacks=replace(p.attacks, restarts=14)) for p in grid.group("fedavg")
             if isinstance(p, FrontierPoint) and "fedavg" in p.attacks.attacks]  # fmt: skip
    shown = [str(c) for t in frontier.tables(made_up(short)) for c in t.columns[3].cells]
    assert all("*" in cell for cell in shown) and len(shown) >= len(short) == 4
