"""The frontier's page: whole, self-contained, the same bytes each time, and true in a browser."""

import html
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from experiments.studies.frontier.risks import ADVERSARIES, NOT_TRIED, risk_of
from paper.frontier_page import page, write_page
from paper.numbers import published
from paper.points import Points, change, plain
from paper.reproduction import command_of

ROOT = Path(__file__).resolve().parents[2]
POINTS = Points(published(ROOT / "paper"))
RESULTS = POINTS.results
COMMITTED = (ROOT / "paper" / "frontier.html").read_text()


def test_the_committed_page_is_what_the_records_give() -> None:
    assert page(POINTS) == COMMITTED


def test_the_page_is_small_and_names_no_outside_address() -> None:
    assert len(COMMITTED.encode()) < 500_000
    assert re.findall(r"https?://|//[a-z]|src=|@import|url\(", COMMITTED) == []


def test_every_point_is_there_with_its_record_and_its_command() -> None:
    for result in RESULTS:
        record = POINTS.records[result.name]
        drawn = sum(risk_of(result, adversary) is not None for adversary in ADVERSARIES)
        assert COMMITTED.count(f'data-name="{record.name}"') == drawn
        assert f"paper/records/{record.name}.json" in COMMITTED
        assert command_of(record) in COMMITTED


def test_what_was_not_tried_is_said_under_its_plot_and_in_the_table() -> None:
    untried = [r for r in RESULTS if any(risk_of(r, a) is None for a in ADVERSARIES)]
    assert untried
    said = html.unescape(" ".join(re.findall(r'<p class="untried">Not tried: ([^<]*)', COMMITTED)))
    for result in untried:
        assert plain(result) or ": ".join(change(result)) in said
    cells = sum(risk_of(r, a) is None for r in RESULTS for a in ADVERSARIES)
    assert COMMITTED.count(f"<td>{NOT_TRIED}</td>") == cells


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(params=[1200, 360])
def shown(request: pytest.FixtureRequest, browser: Browser, tmp_path: Path) -> Iterator[Page]:
    found = browser.new_page(viewport={"width": request.param, "height": 900})
    asked: list[str] = []
    wrong: list[str] = []
    found.on("request", lambda r: asked.append(r.url))
    found.on("pageerror", lambda e: wrong.append(str(e)))
    here = write_page(tmp_path / "frontier.html", POINTS).as_uri()
    found.goto(here)
    yield found
    assert [url for url in asked if not url.startswith("data:")] == [here]
    assert wrong == []
    found.close()


@pytest.mark.browser
def test_axe_finds_nothing(shown: Page) -> None:
    results = Axe().run(shown)
    assert results.violations_count == 0, results.generate_report()
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert shown.evaluate(wider) <= 0


@pytest.mark.browser
def test_hover_and_focus_show_the_point_and_enter_keeps_it(shown: Page) -> None:
    details = shown.locator("#details")
    first, second = shown.locator(".point").nth(0), shown.locator(".point").nth(1)
    names = [p.get_attribute("data-name") or "" for p in (first, second)]
    first.focus()
    assert names[0] in details.inner_text()
    assert "inpatient frontier" in details.inner_text()
    shown.keyboard.press("ArrowRight")
    assert shown.evaluate("document.activeElement.dataset.name") == names[1]
    assert names[1] in details.inner_text()
    shown.keyboard.press("Enter")
    assert second.get_attribute("aria-pressed") == "true"


@pytest.mark.browser
def test_the_pointer_means_the_nearest_point_also_where_points_lie_over_one_another(
    shown: Page,
) -> None:
    details = shown.locator("#details")
    for plot in shown.locator("svg.plot").all():
        plot.scroll_into_view_if_needed()
        points = [
            (point.get_attribute("data-name") or "", box)
            for point in plot.locator(".point").all()
            if (box := point.locator(".hit").bounding_box()) is not None
        ]
        centres = [(b["x"] + b["width"] / 2, b["y"] + b["height"] / 2) for _, b in points]
        for (name, _), centre in zip(points, centres, strict=True):
            apart = [math.dist(centre, other) for other in centres]
            if sum(far < 3.0 for far in apart) > 1:
                continue  # one place to a pointer of whole pixels: the keyboard tells them apart
            shown.mouse.move(*centre)
            assert name in details.inner_text()


@pytest.mark.browser
def test_a_click_keeps_the_nearest_point(shown: Page) -> None:
    point = shown.locator(".point").nth(1)
    point.locator(".hit").click(force=True)
    assert point.get_attribute("aria-pressed") == "true"
    assert shown.locator(".point[aria-pressed=true]").count() == 1


@pytest.mark.browser
def test_the_keyboard_reaches_every_panel_and_leaves_it(shown: Page) -> None:
    panels, boxes = shown.locator("svg.plot").count(), shown.locator("input").count()
    seen = []
    for _ in range(boxes + panels + 1):
        shown.keyboard.press("Tab")
        seen.append(shown.evaluate("document.activeElement.getAttribute('class')"))
    assert seen == [None] * boxes + ["point"] * panels + ["scroll"]


@pytest.mark.browser
def test_a_design_is_hidden_and_shown_again(shown: Page) -> None:
    point = shown.locator('.point[data-design="none"]').first
    box = shown.locator('input[value="none"]')
    box.uncheck()
    assert not point.is_visible()
    box.check()
    assert point.is_visible()
