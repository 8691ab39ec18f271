"""The frontier as one interactive file: hover or focus a point and read all of it.

No outside address, no library: the points are drawn here as SVG, each a button with its own name
for screen readers; a script of a few lines shows the details of the one that is hovered, focused or
chosen. Without script the table below says the same.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from experiments.run.text import epsilon, interval, nearest, up
from experiments.studies.frontier.figures import LABELS, LOOKS, TITLES
from experiments.studies.frontier.risks import ADVERSARIES, FrontierResult, Risk, risk_of, told
from paper.points import CORE, Points, change, plain
from paper.reproduction import command_of
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


def write_page(path: Path, points: Points) -> Path:
    """Write the page of these points; the same records give the same bytes."""
    path.write_text(page(points), encoding="utf-8")
    return path


def page(points: Points) -> str:
    """Return the page as HTML.

    Args:
      points: Of the frontier, of any cohort, regime and model; a panel is made of each.
    """
    results = points.results
    commands = {name: command_of(record) for name, record in points.records.items()}
    configs = {name: _flat(record.config) for name, record in points.records.items()}
    keys = sorted({_key(r) for r in results})
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder, encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    designs = [d for d in LOOKS if any(r.point.design == d for r in results)]
    return environment.get_template("page.html").render(
        panels=[
            _panel(key, [r for r in results if _key(r) == key], commands, configs) for key in keys
        ],
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
        guess=nearest(results[0].metrics.prior_success, 2),
        adversaries=list(ADVERSARIES.values()),
    )


def _key(result: FrontierResult) -> tuple[int, str]:
    """The panel of a point: the core's two first, then what is varied."""
    point = result.point
    if not plain(result):
        what, value = change(result)
        return 3, f"{what} varied" if point.ablation else f"{what}: {value}"
    place = CORE.index(panel) if (panel := (point.regime, point.model)) in CORE else 2
    return place, f"{TITLES[point.regime]}, {point.model}"


def _panel(
    key: tuple[int, str],
    results: Sequence[FrontierResult],
    commands: Mapping[str, str],
    configs: Mapping[str, str],
) -> dict[str, Any]:
    aucs = [r.metrics.auc_within for r in results]
    low = min(a.lower for a in aucs) - 0.01
    high = max(a.upper for a in aucs) + 0.01

    def x(value: float) -> float:
        return round(float(_LEFT + _INNER_WIDTH * (value - low) / (high - low)), 1)

    order = {design: k for k, design in enumerate(LOOKS)}
    ordered = sorted(
        results, key=lambda r: (order[r.point.design], r.point.epsilon or math.inf, r.name)
    )
    ticks = [t / 20 for t in range(21) if low <= t / 20 <= high]
    return {
        "title": key[1],
        "points": [_point(r, commands[r.name], configs[r.name]) for r in ordered],
        "plots": [_plot(ordered, adversary, x) for adversary in ADVERSARIES],
        "ticks": [{"x": x(t), "label": f"{t:.2f}"} for t in ticks],
        "rungs": [{"y": _y(t / 5), "label": f"{t / 5:.1f}"} for t in range(6)],
        "guess": _y(results[0].metrics.prior_success),
    }


def _plot(results: Sequence[FrontierResult], adversary: str, x: Any) -> dict[str, Any]:
    """One adversary's risks, and the points that it was not tried on."""
    tried = [r for r in results if risk_of(r, adversary) is not None]
    return {
        "adversary": adversary,
        "who": ADVERSARIES[adversary],
        "points": [_mark(r, adversary, x) for r in tried],
        "untried": [_said(r) for r in results if r not in tried],
    }


def _y(value: float) -> float:
    return round(_TOP + _INNER_HEIGHT * (1 - value), 1)


def _said(result: FrontierResult) -> str:
    """Design, epsilon and what is varied, in one line."""
    varied = "" if plain(result) else f"; {': '.join(change(result))}"
    return f"{LABELS[result.point.design]}, ε = {epsilon(result.point.epsilon)}{varied}"


def _bound(result: FrontierResult) -> str:
    bound = result.metrics.bound
    return "none" if bound is None else up(bound)


def _risk(result: FrontierResult, adversary: str) -> str:
    value, between = told(result, adversary)
    return f"{value} ({between})" if between else value


def _mark(result: FrontierResult, adversary: str, x: Any) -> dict[str, Any]:
    """A point as it is drawn before one adversary."""
    auc, bound, risk = result.metrics.auc_within, result.metrics.bound, risk_of(result, adversary)
    if risk is None:
        raise RefusedError(f"{adversary} was not tried on {result.name}: nothing to draw.")
    colour, marker = LOOKS[result.point.design]
    return {
        "name": result.name,
        "design": result.point.design,
        "colour": colour,
        "path": _MARKERS[marker],
        "x": x(auc.value),
        "y": _y(risk.value),
        "x0": x(auc.lower),
        "x1": x(auc.upper),
        "y0": _y(risk.lower),
        "y1": _y(risk.upper),
        "bound": None if bound is None else _y(bound),
        "said": f"{_said(result)}: AUC {nearest(auc.value)}, risk under "
        f"{ADVERSARIES[adversary]} {_risk(result, adversary)}, proven bound {_bound(result)}",
    }


def _point(result: FrontierResult, command: str, config: str) -> dict[str, Any]:
    """All that is said of a point, whoever attacks it."""
    m = result.metrics
    risks = {adversary: risk_of(result, adversary) for adversary in ADVERSARIES}
    attacks = {
        who: f"{_risk(result, a)}; {'' if (r := risks[a]) is None else _attack(r)}".rstrip("; ")
        for a, who in ADVERSARIES.items()
    }
    auc = f"{nearest(m.auc_within.value)} ({interval(m.auc_within)})"
    return {
        "name": result.name,
        "design": result.point.design,
        "label": LABELS[result.point.design],
        "epsilon": epsilon(result.point.epsilon),
        "shown": [
            ("design", _said(result)),
            ("within-site AUC", auc),
            *((f"risk: {who}", text) for who, text in attacks.items()),
            ("proven bound", _bound(result)),
            ("ε certified for the run", "none" if m.epsilon is None else up(m.epsilon.upper)),
            ("position of the server", m.adversary.replace("_", " ")),
            ("upload of a hospital a round", f"{nearest(m.upload_bytes / 1e3, 1)} kB"),
            ("record", f"paper/records/{result.name}.json"),
            ("config", config),
            ("command", command),
        ],
        "auc": auc,
        "risks": [_risk(result, adversary) for adversary in ADVERSARIES],
        "bound_text": _bound(result),
        "command": command,
    }


def _attack(risk: Risk) -> str:
    exact = f"{nearest(risk.exact, 2)} reconstructed exactly"
    return f"{risk.attack.replace('_', ' ')}, {risk.targets} line-ups, {exact}"


def _flat(config: Any, prefix: str = "") -> str:
    """Return a config as one line of names and values."""
    parts = []
    for name, value in sorted(config.items()):
        if isinstance(value, dict):
            parts.append(_flat(value, f"{prefix}{name}."))
        else:
            parts.append(f"{prefix}{name} = {value}")
    return "; ".join(parts)
