"""The frontier's points as the paper speaks of them: which record of several stands for a point."""

from collections.abc import Sequence
from typing import Any

from experiments.run.record import Record
from experiments.run.text import epsilon, interval, nearest, up
from experiments.studies.frontier.risks import ADVERSARIES, NOT_TRIED, risk_of, told
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
    spent = m["epsilon"]
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
        "targets": str(m["risk"]["targets"]),
        "bound": "none" if m["bound"] is None else up(m["bound"]),
        "kilobytes": nearest(m["upload_bytes"] / 1e3, 1),
        **_by_adversary(record),
    }


def _by_adversary(record: Record) -> dict[str, str]:
    """What each adversary's best attack reaches, its interval, and how many it read exactly."""
    found = {}
    for adversary in ADVERSARIES:
        risk, (value, between) = risk_of(record, adversary), told(record, adversary)
        found[adversary] = value
        found[f"{adversary}_interval"] = between
        found[f"{adversary}_exact"] = NOT_TRIED if risk is None else nearest(risk["exact"], 2)
    return found


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
