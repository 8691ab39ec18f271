"""The frontier's points as the paper speaks of them: which record of several stands for a point."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.lineups import INFORMED
from experiments.paper.words import DESIGNS, REGIMES
from experiments.record import Record
from experiments.text import epsilon, interval, nearest, up

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
        ours = [r for r in records if r.config["experiment"] == "frontier"]
        self._best: dict[Key, Record] = {}
        for record in sorted(ours, key=_weight):
            if plain(record):
                self._best[_key(record)] = record
        self.records = [*self._best.values(), *(r for r in ours if not plain(r))]

    def find(self, regime: str, model: str, design: str, strength: float | None) -> Record | None:
        """Return the record of a point of the core, or None."""
        return self._best.get((regime, model, design, strength))

    def panel(self, regime: str, model: str) -> list[Record]:
        """Return the best records of one panel, in the tables' order."""
        found = [r for k, r in self._best.items() if k[:2] == (regime, model)]
        return sorted(found, key=_place)

    def varied(self) -> list[Record]:
        """Return the records in which one thing differs from the core."""
        return [r for r in self.records if not plain(r)]


def core(points: Points) -> list[Record]:
    """Return the points of both panels at the epsilons of the tables."""
    return [r for panel in CORE for r in points.panel(*panel) if r.config["epsilon"] in _EPSILONS]


def row(record: Record) -> dict[str, str]:
    """Return one point's numbers as text."""
    config, m = record.config, record.metrics
    risk, spent = m["risk"], m["epsilon"]
    read = not m["risks"]  # nobody attacks what is no federation
    return {
        "record": record.name,
        "regime": config["regime"],
        "regime_label": f"{REGIMES['en'][config['regime']]}, {config['model']}",
        "model": config["model"],
        "design": config["design"],
        "design_label": DESIGNS["en"][config["design"]],
        "epsilon": epsilon(config["epsilon"]),
        "certified": "none" if spent is None else up(spent["upper"]),
        "auc": nearest(m["auc_within"]["value"]),
        "auc_interval": interval(m["auc_within"]),
        "risk": nearest(risk["value"], 2),
        "risk_interval": "by definition" if read else interval(risk, 2),
        "targets": str(risk["targets"]),
        "exact": nearest(risk["exact"], 2),
        "bound": "none" if m["bound"] is None else up(m["bound"]),
        "kilobytes": nearest(m["upload_bytes"] / 1e3, 1),
        "attack": risk["attack"],
        **_by_adversary(m["risks"]),
    }


def _by_adversary(risks: Mapping[str, Any]) -> dict[str, str]:
    """What a curious server's best attack reaches, and what the informed adversary does."""
    curious = [r for name, r in risks.items() if name != INFORMED]
    best = max(curious, key=lambda r: float(r["value"]), default=None)
    informed = risks.get(INFORMED)
    return {
        "curious": "—" if best is None else nearest(best["value"], 2),
        "curious_interval": "—" if best is None else interval(best, 2),
        "curious_exact": "—" if best is None else nearest(best["exact"], 2),
        "informed": "—" if informed is None else nearest(informed["value"], 2),
        "informed_interval": "—" if informed is None else interval(informed, 2),
    }


def change(record: Record) -> tuple[str, str]:
    """Say what differs from the core, and its value."""
    config = record.config
    if "arrival" in config:
        return "own pace, full batch", f"logistic, {config['arrival']}"
    setting = config["setting"]
    ablated = {
        "batch size": lambda: f"{setting['sampling_size']}",
        "width": lambda: f"{config['width']}",
        "local steps": lambda: f"{config['local_steps']}",
        "clip norm": lambda: f"{setting['clip_norm']:g}",
        "colluders": lambda: f"{config['colluders']}",
        "rounds": lambda: f"{setting['rounds']}",
    }
    name = config.get("ablation")
    if name is not None:
        return name, ablated[name]() if name in ablated else ""
    if config["cohort"] != "heart":
        return "cohort", config["cohort"]
    if config.get("sees") is not None:
        return "adversary", config["sees"].replace("_", " ")
    if config.get("local_steps", 1) > 1:
        return "FedAvg", f"{config['local_steps']} local steps"
    return "model and regime", f"{config['model']}, {config['regime']} batch"


def plain(record: Record) -> bool:
    """Whether a point varies nothing but what the core varies."""
    config: Any = record.config
    return (
        config["cohort"] == "heart"
        and config.get("local_steps", 1) == 1
        and config.get("sees") is None
        and config.get("ablation") is None
        and config["colluders"] == 1
    )


def _key(record: Record) -> Key:
    config = record.config
    return config["regime"], config["model"], config["design"], config["epsilon"]


def _weight(record: Record) -> tuple[int, int, int, str]:
    config = record.config
    return (
        config["code_version"],
        len(config["seeds"]),
        len(config["attacks"]["attacks"]),
        record.name,
    )


def _place(record: Record) -> tuple[int, float]:
    config = record.config
    strength = float("inf") if config["epsilon"] is None else config["epsilon"]
    return _ORDER.index(config["design"]), -strength
