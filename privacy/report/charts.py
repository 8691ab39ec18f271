"""The page's two charts as SVG: no script, a title and a description, and never colour alone."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from privacy.report.facts import CurvePoint, SpentRow
from privacy.report.printed import power

__all__ = ["bar", "curve"]

_WIDTH, _HEIGHT = 640.0, 340.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 70.0, 18.0, 16.0, 52.0


def bar(row: SpentRow, *, number: int, title: str, description: str) -> str:
    """Spent of allowed as a bar of 160 units; the number stands beside it."""
    filled = 160 * row.share
    name, desc = f"bar{number}t", f"bar{number}d"
    return (
        f'<svg class="bar" role="img" viewBox="0 0 162 18" aria-labelledby="{name} {desc}">'
        f'<title id="{name}">{escape(title)}</title><desc id="{desc}">{escape(description)}</desc>'
        '<rect class="bar-all" x="1" y="3" width="160" height="12"/>'
        f'<rect class="bar-spent" x="1" y="3" width="{filled:.1f}" height="12"/></svg>'
    )


def curve(
    points: Sequence[CurvePoint], *, epsilon: float, delta: float, words: Mapping[str, str]
) -> str:
    """Delta, on a logarithmic axis, against epsilon; a cross where the declared delta is met.

    Args:
      points: At growing epsilon.
      epsilon: The run's, at ``delta``.
      delta: The declared one.
      words: ``title``, ``description``, ``certified``, ``renyi``, ``x``, ``y``, ``here``.
    """
    shown = [p for point in points for p in (point.certified, point.renyi) if p]
    floor = 10.0 ** math.floor(math.log10(max(min([*shown, delta]), 1e-12)))
    decades = -round(math.log10(floor))
    right = points[-1].epsilon

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / right

    def y(value: float) -> float:
        depth = min(1.0, -math.log10(max(value, floor)) / decades)
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * depth

    box = f'viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" aria-labelledby="curve-t curve-d"'
    parts = [
        f'<svg class="curve" role="img" {box}><title id="curve-t">{escape(words["title"])}</title>',
        f'<desc id="curve-d">{escape(words["description"])}</desc>',
    ]
    foot, edge = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for exponent in range(0, decades + 1, max(1, math.ceil(decades / 8))):
        at = y(10.0**-exponent)
        parts.append(_segment("grid", _LEFT, at, edge, at))
        parts.append(_text("tick", _LEFT - 8, at + 4, power(10.0**-exponent), "end"))
    for step in range(5):
        value = right * step / 4
        parts.append(_segment("grid", x(value), _TOP, x(value), foot))
        parts.append(_text("tick", x(value), foot + 18, f"{value:.3g}", "middle"))
    parts.append(_text("axis", (_LEFT + edge) / 2, _HEIGHT - 10, words["x"], "middle"))
    middle = (_TOP + foot) / 2
    turned = f'transform="rotate(-90 16 {middle:.1f})"'
    parts.append(_text("axis", 16.0, middle, words["y"], "middle", turned))
    parts.append(_line("renyi", [(x(p.epsilon), y(p.renyi)) for p in points if p.renyi >= floor]))
    parts.append(
        _line("certified", [(x(p.epsilon), y(p.certified)) for p in points if p.certified >= floor])
    )
    a, b = x(epsilon), y(delta)
    parts.append(f'<path class="here" d="M{a - 6:.1f} {b:.1f}h12M{a:.1f} {b - 6:.1f}v12"/>')
    parts.append(_text("note", a + 10, b - 8, words["here"]))
    for number, name in enumerate(("certified", "renyi")):
        at = _TOP + 14 + 20 * number
        parts.append(_segment(name, edge - 210, at, edge - 176, at))
        parts.append(_text("note", edge - 168, at + 4, words[name]))
    return "".join(parts) + "</svg>"


def _segment(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(kind: str, x: float, y: float, text: str, anchor: str = "start", extra: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}'.rstrip()
    return f'<text class="{kind}" {place}>{escape(text)}</text>'


def _line(kind: str, places: Sequence[tuple[float, float]]) -> str:
    drawn = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    return f'<polyline class="{kind}" points="{drawn}"/>'
