"""The frontier as one interactive file: hover or focus a point and read all of it.

No outside address, no library: the points are drawn here as SVG, each a button with its own name
for screen readers; a script of a few lines shows the details of the one that is hovered, focused or
chosen. Without script the table below says the same.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from experiments.run.record import Record
from experiments.run.text import epsilon, interval, nearest, up
from experiments.studies.frontier.figures import LABELS, LOOKS, TITLES
from experiments.studies.frontier.risks import ADVERSARIES, risk_of, told
from paper.commands import command_of
from paper.points import CORE, change, plain
from privacy.errors import RefusedError

__all__ = ["page", "write_page"]

_WIDTH, _HEIGHT = 400, 320
_LEFT, _TOP, _INNER_WIDTH, _INNER_HEIGHT = 48, 12, 340, 262
_MARKERS = {
    "o": "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0z",
    "s": "M-5,-5h10v10h-10z",
    "^": "M0,-6L6,5H-6z",
    "v": "M0,6L6,-5H-6z",
    "D": "M0,-6L6,0L0,6L-6,0z",
    "X": "M-5,-5L5,5M-5,5L5,-5",
    "P": "M-5,0H5M0,-5V5",
}


def write_page(path: Path, records: Sequence[Record]) -> Path:
    """Write the page of these points; the same records give the same bytes."""
    path.write_text(page(records), encoding="utf-8")
    return path


def page(records: Sequence[Record]) -> str:
    """Return the page as HTML.

    Args:
      records: Points of the frontier, of any cohort, regime and model; a panel is made of each.
    """
    keys = sorted({_key(r) for r in records})
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder, encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    designs = [d for d in LOOKS if any(r.config["design"] == d for r in records)]
    return environment.get_template("page.html").render(
        panels=[_panel(key, [r for r in records if _key(r) == key]) for key in keys],
        designs=[
            {"name": d, "label": LABELS[d], "colour": LOOKS[d][0], "path": _MARKERS[LOOKS[d][1]]}
            for d in designs
        ],
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        top=_TOP,
        right=_LEFT + _INNER_WIDTH,
        bottom=_TOP + _INNER_HEIGHT,
        guess=nearest(records[0].metrics["prior_success"], 2),
        adversaries=list(ADVERSARIES.values()),
    )


def _key(record: Record) -> tuple[int, str]:
    """The panel of a point: the core's two first, then what is varied."""
    config = record.config
    if not plain(record):
        what, value = change(record)
        return 3, f"{what} varied" if config.get("ablation") else f"{what}: {value}"
    place = CORE.index(panel) if (panel := (config["regime"], config["model"])) in CORE else 2
    return place, f"{TITLES[config['regime']]}, {config['model']}"


def _panel(key: tuple[int, str], records: Sequence[Record]) -> dict[str, Any]:
    aucs = [r.metrics["auc_within"] for r in records]
    low = min(a["lower"] for a in aucs) - 0.01
    high = max(a["upper"] for a in aucs) + 0.01

    def x(value: float) -> float:
        return round(float(_LEFT + _INNER_WIDTH * (value - low) / (high - low)), 1)

    order = {design: k for k, design in enumerate(LOOKS)}
    ordered = sorted(
        records,
        key=lambda r: (order[r.config["design"]], r.config["epsilon"] or float("inf"), r.name),
    )
    ticks = [t / 20 for t in range(21) if low <= t / 20 <= high]
    return {
        "title": key[1],
        "points": [_point(r) for r in ordered],
        "plots": [_plot(ordered, adversary, x) for adversary in ADVERSARIES],
        "ticks": [{"x": x(t), "label": f"{t:.2f}"} for t in ticks],
        "rungs": [{"y": _y(t / 5), "label": f"{t / 5:.1f}"} for t in range(6)],
        "guess": _y(records[0].metrics["prior_success"]),
    }


def _plot(records: Sequence[Record], adversary: str, x: Any) -> dict[str, Any]:
    """One adversary's risks, and the points that it was not tried on."""
    tried = [r for r in records if risk_of(r, adversary) is not None]
    return {
        "adversary": adversary,
        "who": ADVERSARIES[adversary],
        "points": [_mark(r, adversary, x) for r in tried],
        "untried": [_said(r) for r in records if r not in tried],
    }


def _y(value: float) -> float:
    return round(_TOP + _INNER_HEIGHT * (1 - value), 1)


def _said(record: Record) -> str:
    """Design, epsilon and what is varied, in one line."""
    varied = "" if plain(record) else f"; {': '.join(change(record))}"
    return f"{LABELS[record.config['design']]}, ε = {epsilon(record.config['epsilon'])}{varied}"


def _bound(record: Record) -> str:
    bound = record.metrics["bound"]
    return "none" if bound is None else up(bound)


def _risk(record: Record, adversary: str) -> str:
    value, between = told(record, adversary)
    return f"{value} ({between})" if between else value


def _mark(record: Record, adversary: str, x: Any) -> dict[str, Any]:
    """A point as it is drawn before one adversary."""
    auc, risk, bound = record.metrics["auc_within"], risk_of(record, adversary), _bound(record)
    if risk is None:
        raise RefusedError(f"{adversary} was not tried on {record.name}: nothing to draw.")
    colour, marker = LOOKS[record.config["design"]]
    return {
        "name": record.name,
        "design": record.config["design"],
        "colour": colour,
        "path": _MARKERS[marker],
        "x": x(auc["value"]),
        "y": _y(risk["value"]),
        "x0": x(auc["lower"]),
        "x1": x(auc["upper"]),
        "y0": _y(risk["lower"]),
        "y1": _y(risk["upper"]),
        "bound": None if bound == "none" else _y(record.metrics["bound"]),
        "said": f"{_said(record)}: AUC {nearest(auc['value'])}, risk under "
        f"{ADVERSARIES[adversary]} {_risk(record, adversary)}, proven bound {bound}",
    }


def _point(record: Record) -> dict[str, Any]:
    """All that is said of a point, whoever attacks it."""
    m = record.metrics
    spent = "none" if m["epsilon"] is None else up(m["epsilon"]["upper"])
    found = {adversary: risk_of(record, adversary) for adversary in ADVERSARIES}
    attacks = {
        who: f"{_risk(record, a)}; {'' if (r := found[a]) is None else _attack(r)}".rstrip("; ")
        for a, who in ADVERSARIES.items()
    }
    shown = [
        ("design", _said(record)),
        ("within-site AUC", f"{nearest(m['auc_within']['value'])} ({interval(m['auc_within'])})"),
        *((f"risk: {who}", text) for who, text in attacks.items()),
        ("proven bound", _bound(record)),
        ("ε certified for the run", spent),
        ("position of the server", m["adversary"].replace("_", " ")),
        ("upload of a hospital a round", f"{nearest(m['upload_bytes'] / 1e3, 1)} kB"),
        ("record", f"paper/records/{record.name}.json"),
        ("config", _flat(record.config)),
        ("command", command_of(record)),
    ]
    return {
        "name": record.name,
        "design": record.config["design"],
        "label": LABELS[record.config["design"]],
        "epsilon": epsilon(record.config["epsilon"]),
        "shown": shown,
        "auc": shown[1][1],
        "risks": [_risk(record, adversary) for adversary in ADVERSARIES],
        "bound_text": _bound(record),
        "command": shown[-1][1],
    }


def _attack(risk: Mapping[str, Any]) -> str:
    exact = f"{nearest(risk['exact'], 2)} reconstructed exactly"
    return f"{risk['attack'].replace('_', ' ')}, {risk['targets']} line-ups, {exact}"


def _flat(config: Any, prefix: str = "") -> str:
    """Return a config as one line of names and values."""
    parts = []
    for name, value in sorted(config.items()):
        if isinstance(value, dict):
            parts.append(_flat(value, f"{prefix}{name}."))
        else:
            parts.append(f"{prefix}{name} = {value}")
    return "; ".join(parts)
