"""The paper, rebuilt from committed records: numbers, figures, PDF, and the READMEs' tables.

    paper/records/*.json -> paper/numbers.json, paper/figures/*.svg -> paper/paper.pdf

No number is typed into the text: ``paper.typ`` reads ``numbers.json``, and what the READMEs say of
results stands between marks that ``readme.fill`` fills.
"""

from pathlib import Path

import typst

from experiments.run.plots import save
from experiments.run.record import write_json
from paper import sealing_told
from paper.drawing import draw
from paper.frontier_page import write_page
from paper.numbers import numbers, published
from paper.points import Points
from paper.readme import fill
from privacy.errors import InvalidInputError

__all__ = ["build"]


def build(root: Path) -> Path:
    """Rebuild numbers, figures, page, READMEs and ``paper.pdf`` (PDF/UA-1) from the records.

    Raises:
      InvalidInputError: A record is missing, a README lost a mark, or the paper does not compile.
    """
    paper = root / "paper"
    records = published(paper)
    paper_numbers = numbers(records, paper / "timings.json")
    write_json(paper / "numbers.json", paper_numbers)
    draw(paper / "figures", records)
    if (measured := sealing_told.committed(paper)) is not None:
        save(sealing_told.draw_committed(measured), paper / "figures" / "sealing", replace=True)
    write_page(paper / "frontier.html", Points(records))
    fill(root, paper_numbers)
    return compile_pdf(paper)


def compile_pdf(paper: Path) -> Path:
    """Compile ``paper.typ``; a missing glyph, alt text or number is an error."""
    pdf = paper / "paper.pdf"
    try:
        typst.compile(
            str(paper / "paper.typ"),
            output=str(pdf),
            root=str(paper),
            format="pdf",
            pdf_standards=["ua-1"],
            font_paths=[str(paper / "fonts")],
            ignore_system_fonts=True,
        )
    except typst.TypstError as error:
        raise InvalidInputError(f"The paper does not compile: {error}.") from error
    return pdf
