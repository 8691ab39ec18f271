"""The frontier's points as the paper speaks of them: which record of several stands for a point."""

import math
from collections.abc import Sequence

from experiments.run.record import Record
from experiments.run.text import epsilon, interval, nearest, up
from experiments.studies.frontier.own_pace import AsynchronousPoint
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.frontier.risks import (
    ADVERSARIES,
    NOT_TRIED,
    FrontierResult,
    read_frontier,
    risk_of,
    told,
    varied,
)
from experiments.studies.words import DESIGNS, REGIMES

__all__ = ["CORE", "Points", "change", "core", "plain", "row"]

CORE = (("full", "logistic"), ("small", "mlp"))
"""Regime and model of the two panels."""

_ORDER = ("none", "article", "local", "sealed", "local only", "pooled")
_EPSILONS = (None, 1.0)  # of the tables; figures show all

Key = tuple[str, str, str, float | None]


class Points:
    """Points of the frontier by regime, model, design and epsilon.

    Where several records stand for one point (the demo's and the published grid's), the newest code
    comes first, then the most cross-validations, then the most attacks.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        frontier = [r for r in records if r.config["experiment"] == "frontier"]
        results = read_frontier(frontier)
        self._best: dict[Key, FrontierResult] = {}
        for result in sorted(results, key=_weight):
            if plain(result):
                self._best[_key(result)] = result
        self.results = [*self._best.values(), *(r for r in results if not plain(r))]
        self.records = {r.name: r for r in frontier}

    def find(
        self, regime: str, model: str, design: str, strength: float | None
    ) -> FrontierResult | None:
        """Return the record of a point of the core, or None."""
        return self._best.get((regime, model, design, strength))

    def panel(self, regime: str, model: str) -> list[FrontierResult]:
        """Return the best records of one panel, in the tables' order."""
        panel = [r for k, r in self._best.items() if k[:2] == (regime, model)]
        return sorted(panel, key=_place)

    def varied(self) -> list[FrontierResult]:
        """Return the records in which one thing differs from the core."""
        return [r for r in self.results if not plain(r)]


def core(points: Points) -> list[FrontierResult]:
    """Return the points of both panels at the epsilons of the tables."""
    return [r for panel in CORE for r in points.panel(*panel) if r.point.epsilon in _EPSILONS]


def row(result: FrontierResult) -> dict[str, str]:
    """Return one point's numbers as text."""
    point, m = result.point, result.metrics
    return {
        "record": result.name,
        "regime": point.regime,
        "regime_label": f"{REGIMES['en'][point.regime]}, {point.model}",
        "model": point.model,
        "design": point.design,
        "design_label": DESIGNS["en"][point.design],
        "epsilon": epsilon(point.epsilon),
        "certified": "none" if m.epsilon is None else up(m.epsilon.upper),
        "auc": nearest(m.auc_within.value),
        "auc_interval": interval(m.auc_within),
        "targets": str(0 if m.risk is None else m.risk.targets),
        "bound": "none" if m.bound is None else up(m.bound),
        "kilobytes": nearest(m.upload_bytes / 1e3, 1),
        **_by_adversary(result),
    }


def _by_adversary(result: FrontierResult) -> dict[str, str]:
    """What each adversary's best attack reaches, its interval, and how many it read exactly."""
    shown = {}
    for adversary in ADVERSARIES:
        risk, (value, between) = risk_of(result, adversary), told(result, adversary)
        shown[adversary] = value
        shown[f"{adversary}_interval"] = between
        shown[f"{adversary}_exact"] = NOT_TRIED if risk is None else nearest(risk.exact, 2)
    return shown


def change(result: FrontierResult) -> tuple[str, str]:
    """Say what differs from the core, and its value."""
    point = result.point
    if isinstance(point, AsynchronousPoint):
        return "own pace, full batch", f"logistic, {point.arrival}"
    if point.ablation is not None:
        return point.ablation, f"{varied(point, point.ablation):g}"
    if point.cohort != "heart":
        return "cohort", point.cohort
    if point.sees is not None:
        return "adversary", point.sees.replace("_", " ")
    if point.local_steps > 1:
        return "FedAvg", f"{point.local_steps} local steps"
    return "model and regime", f"{point.model}, {point.regime} batch"


def plain(result: FrontierResult) -> bool:
    """Whether a point varies nothing but what the core varies."""
    point = result.point
    core_point = (point.cohort, point.local_steps, point.colluders) == ("heart", 1, 1)
    return core_point and point.sees is None and point.ablation is None


def _key(result: FrontierResult) -> Key:
    point = result.point
    return point.regime, point.model, point.design, point.epsilon


def _weight(result: FrontierResult) -> tuple[int, int, int, str]:
    point = result.point
    attacks = point.attacks.attacks if isinstance(point, FrontierPoint) else ()
    return point.code_version, len(point.seeds), len(attacks), result.name


def _place(result: FrontierResult) -> tuple[int, float]:
    strength = math.inf if result.point.epsilon is None else result.point.epsilon
    return _ORDER.index(result.point.design), -strength
