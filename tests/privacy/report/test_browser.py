"""The page in a real browser: accessible, silent on the network, usable by keyboard alone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from privacy.report import AttackResult, AuditResult, save_evidence, write_report
from privacy.report.page import LANGUAGES, SECTIONS
from tests.privacy.ledger.test_verify import run_federation
from tests.privacy.report.test_page import Bound

pytestmark = pytest.mark.browser
WIDTHS = (1100, 360)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    trust, _ = run_federation(folder)
    attack = AttackResult("server_sealed", "inversion", 200, 0.11, 0.07, 0.16, 0.95, 0.10, 0.155)
    won = AttackResult("informed", "likelihood", 500, 0.6, 0.55, 0.65, 0.95, 0.10, 0.155)
    save_evidence(folder / "evidence" / "attacks.json", [attack, won])
    audit = AuditResult("one-run", 1000, 900, 470, 0.04, 5.8, 0.95, 1e-5)
    save_evidence(folder / "evidence" / "audit.json", [audit])
    write_report(folder, trust=trust, out=folder, assessor=Bound())
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(params=[(lang, width) for lang in LANGUAGES for width in WIDTHS], ids=str)
def page(request: pytest.FixtureRequest, browser: Browser, out: Path) -> Iterator[Page]:
    language, width = request.param
    found = browser.new_page(viewport={"width": width, "height": 800})
    found.goto((out / f"report.{language}.html").as_uri())
    yield found
    found.close()


def test_axe_finds_nothing(page: Page) -> None:
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_only_tables_scroll_sideways(page: Page) -> None:
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wider) <= 0


def test_the_keyboard_reaches_every_section(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#guarantee"
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.getAttribute('href')"))
    assert {f"#{section}" for section in SECTIONS} <= reached


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_asks_nobody_for_anything(browser: Browser, out: Path, language: str) -> None:
    asked: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    here = (out / f"report.{language}.html").as_uri()
    page.goto(here)
    assert asked == [here]
    page.close()


def test_each_language_leads_to_the_other(browser: Browser, out: Path) -> None:
    page = browser.new_page()
    page.goto((out / "report.en.html").as_uri())
    page.get_by_role("link", name="中文").click()
    assert page.url.endswith("report.zh.html")
    page.get_by_role("link", name="English").click()
    assert page.url.endswith("report.en.html")
    page.close()


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_prints(browser: Browser, out: Path, language: str) -> None:
    page = browser.new_page()
    page.goto((out / f"report.{language}.html").as_uri())
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert 2 <= printed.count(b"/Type /Page\n") <= 9
    page.close()
