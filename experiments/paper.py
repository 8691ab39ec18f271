"""The paper, rebuilt from committed records: numbers, figure, PDF, and the README's table.

    paper/records/*.json -> paper/numbers.json, paper/figures/frontier.svg -> paper/paper.pdf

No number is typed into the text: ``paper.typ`` reads ``numbers.json``, and the README's table
stands between two marks that ``write_readme`` fills.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typst

from experiments.demo import EPSILON
from experiments.figures import LABELS, draw_frontier, save
from experiments.frontier import quick_grid
from experiments.record import Record, read_records, write_json
from privacy.errors import InvalidInputError

__all__ = ["build", "numbers", "published", "readme_table"]

_BEGIN, _END = "<!-- records: begin -->", "<!-- records: end -->"
_REGIMES = {"full": "all patients", "small": "about 8 a hospital"}


def published(paper: Path) -> list[Record]:
    """Return the published points in the grid's order.

    Raises:
      InvalidInputError: A point of the grid has no record.
    """
    found = {record.name: record for record in read_records(paper / "records")}
    names = [Record(point.config, {}, {}).name for point in quick_grid()]
    missing = [p.label for p, name in zip(quick_grid(), names, strict=True) if name not in found]
    if missing:
        raise InvalidInputError(
            f"{paper / 'records'} lacks the records of {', '.join(missing)}. Make them with "
            f"`inpatient frontier --quick --out {paper}`."
        )
    return [found[name] for name in names]


def numbers(records: Sequence[Record]) -> dict[str, Any]:
    """Every number of the paper as text, rounded once, here.

    Epsilon and bounds round up; all else to nearest.
    """
    rows = [_row(record) for record in records]
    by_key = {(r["regime"], r["design"], r["epsilon"]): r for r in rows}
    named = {
        "bare": by_key["small", "none", "∞"],
        "clipped": by_key["small", "local", "∞"],
        "article": by_key["small", "article", f"{EPSILON:g}"],
        "sealed": by_key["small", "sealed", f"{EPSILON:g}"],
        "local": by_key["small", "local", f"{EPSILON:g}"],
        "full_bare": by_key["full", "none", "∞"],
        "full_sealed": by_key["full", "sealed", f"{EPSILON:g}"],
        "full_local": by_key["full", "local", f"{EPSILON:g}"],
        "full_article": by_key["full", "article", f"{EPSILON:g}"],
    }
    metrics = {(r.config["regime"], r.config["design"], r.config["epsilon"]): r for r in records}
    bare, sealed, local = (
        metrics["full", design, epsilon].metrics["auc_within"]["value"]
        for design, epsilon in (("none", None), ("sealed", EPSILON), ("local", EPSILON))
    )
    first = records[0]
    return {
        "rows": rows,
        "named": named,
        "cost_full": f"{bare - sealed:.3f}",
        "gain_full": f"{sealed - local:+.3f}",
        "delta": _power_of_ten(first.config["delta"]),
        "lineup": str(first.config["lineup"]),
        "commit": first.stamp["commit"][:12],
        "switzerland_negatives": str(first.metrics["auc_sites"]["switzerland"]["negatives"]),
        "brier": f"{first.metrics['brier']:.3f}",
        "brier_local": f"{first.metrics['brier_local_intercept']:.3f}",
    }


def _row(record: Record) -> dict[str, str]:
    config, m = record.config, record.metrics
    auc, risk, spent = m["auc_within"], m["risk"], m["epsilon"]
    return {
        "regime": config["regime"],
        "regime_label": f"{_REGIMES[config['regime']]}, {config['model']}",
        "design": config["design"],
        "design_label": LABELS[config["design"]],
        "epsilon": "∞" if config["epsilon"] is None else f"{config['epsilon']:g}",
        "certified": "none" if spent is None else _up(spent["upper"]),
        "auc": f"{auc['value']:.3f}",
        "auc_interval": f"{auc['lower']:.3f} to {auc['upper']:.3f}",
        "risk": f"{risk['value']:.2f}",
        "risk_interval": f"{risk['lower']:.2f} to {risk['upper']:.2f}",
        "targets": str(risk["targets"]),
        "exact": f"{risk['exact']:.2f}",
        "bound": "none" if m["bound"] is None else _up(m["bound"]),
        "kilobytes": f"{m['upload_bytes'] / 1e3:.1f}",
    }


def _power_of_ten(value: float) -> str:
    """Spell 1e-5 as it is set in print."""
    exponent = round(math.log10(value))
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _up(value: float) -> str:
    """Round up to three decimals: a guarantee never looks better than it is."""
    text = f"{value:.3f}"
    return text if float(text) >= value - 1e-12 else f"{float(text) + 1e-3:.3f}"


def readme_table(figures: Mapping[str, Any]) -> str:
    """Return the README's table of the published points."""
    lines = [
        "| patients in a round | design | ε | within-site AUC | risk | proven bound |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['regime_label']} | {r['design_label']} | {r['epsilon']} | {r['auc']} "
        f"({r['auc_interval']}) | {r['risk']} ({r['risk_interval']}) | {r['bound']} |"
        for r in figures["rows"]
    ]
    return "\n".join(lines)


def write_readme(readme: Path, figures: Mapping[str, Any]) -> None:
    """Put the table between the README's two marks."""
    text = readme.read_text()
    if _BEGIN not in text or _END not in text:
        raise InvalidInputError(f"{readme} has lost its marks {_BEGIN} and {_END}; put them back.")
    before, after = text.split(_BEGIN)[0], text.split(_END)[1]
    readme.write_text(f"{before}{_BEGIN}\n{readme_table(figures)}\n{_END}{after}")


def build(root: Path) -> Path:
    """Rebuild numbers, figure, README table and ``paper.pdf`` (PDF/UA-1) from the records."""
    paper = root / "paper"
    records = published(paper)
    figures = numbers(records)
    write_json(paper / "numbers.json", figures)
    (paper / "figures").mkdir(exist_ok=True)
    save(draw_frontier(records), paper / "figures" / "frontier")
    write_readme(root / "README.md", figures)
    pdf = paper / "paper.pdf"
    try:
        typst.compile(
            str(paper / "paper.typ"),
            output=str(pdf),
            root=str(paper),
            format="pdf",
            pdf_standards=["ua-1"],
            ignore_system_fonts=True,
        )
    except typst.TypstError as error:
        raise InvalidInputError(f"The paper does not compile: {error}.") from error
    return pdf
