"""The frontier: what each design gives away against what it gains, point by point.

Every point is a record; a second run into the same folder computes only what is missing.
"""

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.design import DESIGNS
from experiments.figures import draw_frontier, save
from experiments.lineups import Settings
from experiments.points import Point
from experiments.record import Record, writable_folder
from experiments.settings import REGIMES
from experiments.sweep import sweep
from privacy.errors import InvalidInputError

__all__ = [
    "LEGEND",
    "chosen_grid",
    "command_of",
    "draw",
    "full_grid",
    "quick_grid",
    "run",
    "tables",
]

EPSILONS = (0.1, 0.3, 1.0, 3.0, 10.0, None)
_CHEAP = Settings(("closed_form",))
_REDUCED = Settings(("closed_form", "tableak"), restarts=6, iterations=300)
_WHOLE = Settings(("closed_form", "tableak"))


_REGIMES = {"full": "All patients in every round", "small": "About 8 patients a hospital"}


def quick_grid(seed: int = 0) -> list[Point]:
    """The demo's points; TabLeak, reduced, only where it tells most.

    Three cross-validations where a round is cheap (all patients, logistic), one elsewhere.
    """
    small = [
        ("none", None, _REDUCED),
        ("article", 1.0, _CHEAP),
        ("local", None, _CHEAP),
        ("local", 1.0, _CHEAP),
        ("sealed", None, _REDUCED),
        ("sealed", 1.0, _REDUCED),
    ]
    full = [("none", None), ("article", 1.0), ("local", 1.0), ("sealed", 1.0)]
    return [
        *(Point(d, e, "full", "logistic", _CHEAP, tuple(range(seed, seed + 3))) for d, e in full),
        *(Point(d, e, "small", "mlp", attacks, seeds=(seed,)) for d, e, attacks in small),
    ]


def full_grid(seed: int = 0) -> list[Point]:
    """All designs at every epsilon, both regimes and both models, five cross-validations."""
    seeds = tuple(range(seed, seed + 5))
    points = []
    for regime, model in product(("full", "small"), ("logistic", "mlp")):
        attacks = _WHOLE if (regime, model) == ("small", "mlp") else _CHEAP
        points.append(Point("none", None, regime, model, attacks, seeds=seeds))
        finite = [e for e in EPSILONS if e is not None]
        points += [Point("article", e, regime, model, attacks, seeds=seeds) for e in finite]
        points += [
            Point(design, e, regime, model, attacks, seeds=seeds)
            for design, e in product(("local", "sealed"), EPSILONS)
        ]
    return points


def chosen_grid(
    designs: Sequence[str], epsilons: Sequence[float], regime: str, model: str, seed: int = 0
) -> list[Point]:
    """The points of some designs at some epsilons (``inf``: no noise), with the demo's attacks.

    Raises:
      InvalidInputError: An unknown design, regime or model, or an epsilon that is not above 0.
    """
    for name, value, known in (
        *(("design", design, DESIGNS) for design in designs),
        ("regime", regime, REGIMES),
        ("model", model, ("logistic", "mlp")),
    ):
        if value not in known:
            raise InvalidInputError(f"Unknown {name} {value!r}; choose one of {', '.join(known)}.")
    for epsilon in epsilons:
        if not epsilon > 0:
            raise InvalidInputError(f"Expected epsilon={epsilon} > 0. Use inf for no noise.")
    attacks = _REDUCED if (regime, model) == ("small", "mlp") else _CHEAP
    points = [
        Point(design, None if epsilon == math.inf else epsilon, regime, model, attacks, (seed,))
        for design in designs
        for epsilon in ((math.inf,) if design == "none" else epsilons)
    ]
    return list(dict.fromkeys(points))


def command_of(record: Record) -> str:
    """Return the command that makes this very point, among others where it makes a grid."""
    config = record.config
    seed = config["seeds"][0]
    tail = f" --seed {seed}" if seed else ""
    chosen = chosen_grid(
        (config["design"],),
        (math.inf if config["epsilon"] is None else config["epsilon"],),
        config["regime"],
        config["model"],
        seed,
    )
    if record.name in _names(chosen):
        strength = "inf" if config["epsilon"] is None else f"{config['epsilon']:g}"
        return (
            f"inpatient frontier --designs {config['design']} --epsilons {strength} "
            f"--regime {config['regime']} --model {config['model']}{tail}"
        )
    return (
        f"inpatient frontier{' --quick' if record.name in _names(quick_grid(seed)) else ''}{tail}"
    )


def _names(points: Sequence[Point]) -> set[str]:
    return {Record(point.config, {}, {}).name for point in points}


def run(
    out: Path,
    points: Sequence[Point],
    *,
    jobs: int = -1,
    backend: str = "joblib",
    data_dir: Path | None = None,
    console: Console | None = None,
) -> list[Record]:
    """Compute the points that have no record in ``out`` yet; return all of them, in order."""
    return sweep(out, points, jobs=jobs, backend=backend, data_dir=data_dir, console=console)


def draw(out: Path, records: Sequence[Record]) -> tuple[Path, Path]:
    """Write ``figures/frontier.svg`` and ``.png``."""
    folder = writable_folder(out / "figures")
    return save(draw_frontier(records), folder / "frontier")


def tables(records: Sequence[Record]) -> list[Table]:
    """The records as tables for the terminal, one a regime and model."""
    return [
        _table(f"{_REGIMES[regime]} ({model})", [r for r in records if _panel(r) == panel])
        for panel in dict.fromkeys(_panel(r) for r in records)
        for regime, model in [panel]
    ]


def _panel(record: Record) -> tuple[str, str]:
    return record.config["regime"], record.config["model"]


def _table(title: str, records: Sequence[Record]) -> Table:
    shown = Table(title=title, title_justify="left", caption_justify="left")
    for name in ("design", "ε", "within-site AUC", "risk", "bound", "kB up"):
        shown.add_column(name, no_wrap=True, justify="left" if name == "design" else "right")
    for record in records:
        config, m = record.config, record.metrics
        reduced = "tableak" in m["risks"] and config["attacks"]["restarts"] < _WHOLE.restarts
        shown.add_row(
            config["design"],
            "∞" if config["epsilon"] is None else f"{config['epsilon']:g}",
            _with_half_width(m["auc_within"]),
            _with_half_width(m["risk"]) + ("*" if reduced else ""),
            "none" if m["bound"] is None else f"{m['bound']:.3f}",
            f"{m['upload_bytes'] / 1e3:.1f}",
        )
    return shown


LEGEND = (
    "risk: how often the best attack names the patient out of ten (guessing: 0.100); bound: what "
    "is proven of any attack; kB up: one hospital's upload in a round; ±: half of a 95 % interval; "
    "*: TabLeak was tried too, reduced to few restarts."
)


def _with_half_width(interval: dict[str, float]) -> str:
    return f"{interval['value']:.3f} ± {(interval['upper'] - interval['lower']) / 2:.3f}"
