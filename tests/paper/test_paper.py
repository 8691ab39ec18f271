"""The paper and the README say what the committed records say, and the README's code runs."""

import json
import re
import shutil
from pathlib import Path

import pytest
import typst
from fontTools.ttLib import TTFont

from experiments.run.record import read_records
from experiments.studies.design import TRAINING, TrainingSetting
from experiments.studies.frontier.grid import quick_grid
from paper import build, numbers, published
from paper.__main__ import main
from paper.chinese_font import FONT, chinese
from paper.points import Points, row
from paper.readme import PAGES
from privacy.errors import InvalidInputError

ROOT = Path(__file__).resolve().parents[2]


def test_the_numbers_are_the_records() -> None:
    made = numbers(published(ROOT / "paper"), ROOT / "paper" / "timings.json")
    assert json.loads((ROOT / "paper" / "numbers.json").read_text()) == made


def test_the_paper_types_no_number_of_a_result() -> None:
    text = "".join(p.read_text() for p in sorted((ROOT / "paper").rglob("*.typ")))
    made = json.loads((ROOT / "paper" / "numbers.json").read_text())
    for point in made["frontier"]["rows"]:
        for name in ("auc", "targets"):
            if len(point[name]) > 2:
                assert point[name] not in text


def test_the_paper_builds_from_its_records(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "paper", tmp_path / "paper", ignore=shutil.ignore_patterns("figures", "*.pdf")
    )
    pages = [name for own in PAGES.values() for name in own]
    (tmp_path / "docs").mkdir()
    for name in pages:
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "paper" / "numbers.json").unlink()
    pdf = build(tmp_path).read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"pdfuaid" in pdf  # it declares PDF/UA, which the compiler has enforced
    for figure in (ROOT / "paper" / "figures").glob("*.svg"):
        assert (tmp_path / "paper" / "figures" / figure.name).read_bytes() == figure.read_bytes()
    for name in pages:
        assert (tmp_path / name).read_text() == (ROOT / name).read_text()


def test_the_paper_has_twelve_to_fourteen_pages() -> None:
    paper = ROOT / "paper"
    pages = typst.compile(
        str(paper / "paper.typ"), root=str(paper), format="png", ppi=10.0,
        font_paths=[str(paper / "fonts")], ignore_system_fonts=True,
    )  # fmt: skip
    assert isinstance(pages, list) and 12 <= len(pages) <= 14


_PRINTED = re.compile(r'image\(\s*"/figures/(\w[\w-]*)\.svg",\s*width: (\d+)%')
_SIZE = re.compile(r"font(?:-size)?: (?:\w+ )*([\d.]+)px")


def test_no_text_of_a_figure_is_printed_below_six_points() -> None:
    """A4 less both margins of 1.9 cm, in points; an SVG's pixels are its points."""
    wide = (210 - 2 * 19) / 25.4 * 72
    sections = "".join(p.read_text() for p in sorted((ROOT / "paper" / "sections").glob("*.typ")))
    assert "margin: (x: 1.9cm" in (ROOT / "paper" / "paper.typ").read_text()
    found = _PRINTED.findall(sections)
    assert len(found) == sections.count('"/figures/') > 6
    for name, width in found:
        svg = (ROOT / "paper" / "figures" / f"{name}.svg").read_text()
        drawn = re.search(r'<svg [^>]*?width="([\d.]+)pt"', svg)
        assert drawn is not None
        scale = wide * int(width) / 100 / float(drawn[1])
        assert scale * min(float(size) for size in _SIZE.findall(svg)) >= 6, name


def test_the_font_covers_the_chinese_abstract() -> None:
    font = TTFont(ROOT / "paper" / FONT)
    covered = {chr(code) for code in font.getBestCmap()}
    needed = chinese((ROOT / "paper" / "abstract.zh.typ").read_text())
    assert len(needed) > 100
    assert needed <= covered
    assert (ROOT / "paper" / "fonts" / "OFL.txt").read_text().count("SIL OPEN FONT LICENSE") == 1


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    with pytest.raises(InvalidInputError, match="inpatient frontier --quick --out"):
        published(tmp_path)


def test_a_bound_in_print_is_never_below_the_bound() -> None:
    results = Points(published(ROOT / "paper")).results
    assert len(results) >= 10
    for result in results:
        if result.metrics.bound is not None:
            assert float(row(result)["bound"]) >= result.metrics.bound - 1e-9


def test_no_measured_risk_is_above_its_proven_bound() -> None:
    """Success above the bound would be a bug in the bound, the accounting or the mechanism."""
    for result in Points(published(ROOT / "paper")).results:
        bound = result.metrics.bound
        for risk in result.metrics.risks.values():
            assert bound is None or risk.lower <= bound


def test_the_settings_are_what_the_search_chose() -> None:
    records = read_records(ROOT / "paper" / "tuning")
    best = {
        (r.config["regime"], r.config["model"]): TrainingSetting(
            **r.metrics["scores"][0]["setting"]
        )
        for r in records
        if r.config["experiment"] == "tuning" and not {"cohort", "rounds"} & r.config.keys()
    }
    assert best == {panel: TRAINING[panel] for panel in best}
    assert {(point.regime, point.model) for point in quick_grid()} <= set(best)


def test_outside_a_checkout_it_says_what_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--root", str(tmp_path)])
    assert left.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"paper: No paper/records in {tmp_path}.")
    assert len(told.err.splitlines()) == 1
