"""How far an AUC moves with the splits and with the noise, not with the patients alone.

The frontier's intervals are of the mean over endless cross-validations, as far as its five show
them. Here its points are cross-validated many times over, without attacks, each time with other
splits and other noise, and two intervals are told: of the mean, and of one cross-validation. That
one is of five models, each with noise of its own; a single model moves more.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from experiments.cohorts import called
from experiments.evaluation import Estimate, auc, bootstrap_runs
from experiments.run.record import Record
from experiments.run.text import interval, nearest
from experiments.run.typed import TypedRecord, read_all
from experiments.studies.design import Design, Regime
from experiments.studies.frontier.metrics import repeats_of
from experiments.studies.frontier.point import FoldResult, FrontierPoint
from experiments.studies.lineups import AttackSuite
from privacy._validate import natural

__all__ = ["SpreadMetrics", "SpreadPoint", "grid", "read_spread", "table"]

_FIRST = 100  # seeds apart from the frontier's
_FOLDS = 5
_DESIGNS: tuple[tuple[Design, float | None], ...] = (
    (Design.NONE, None), (Design.ARTICLE, 0.3), (Design.ARTICLE, 1.0), (Design.ARTICLE, 3.0),
    (Design.LOCAL, 1.0), (Design.SEALED, 0.3), (Design.SEALED, 1.0), (Design.SEALED, 3.0),
)  # fmt: skip


@dataclass(frozen=True)
class SpreadPoint:
    """One of the frontier's designs, cross-validated many times; a unit is a fold of one.

    Attributes:
      design: Who adds which noise.
      epsilon: As in ``FrontierPoint``.
      regime: All patients in every round, or about 8 a hospital.
      model: As in ``named_model``.
      cohort: Whose patients.
      seeds: One cross-validation each, with splits and noise of its own.
      code_version: Raised when a change moves the numbers.
    """

    design: Design
    epsilon: float | None
    regime: Regime = Regime.FULL
    model: str = "logistic"
    cohort: str = "heart"
    seeds: tuple[int, ...] = tuple(range(_FIRST, _FIRST + 40))
    code_version: int = 2

    @property
    def config(self) -> dict[str, Any]:
        """What names the point's record."""
        setting = asdict(self.trained.training)
        return {"experiment": "spread", "folds": _FOLDS, "setting": setting, **asdict(self)}

    @property
    def trained(self) -> FrontierPoint:
        """The frontier's point, before no attack; sums are opened in clear: the same integers."""
        return FrontierPoint(
            self.design, self.epsilon, self.regime, self.model, AttackSuite(()), self.seeds,
            _FOLDS, scheme="plain", cohort=self.cohort,
        )  # fmt: skip

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        return f"spread of {self.trained.label}"

    @property
    def units(self) -> list[tuple[int, int]]:
        """Seed and fold of each federation."""
        return list(product(self.seeds, range(_FOLDS)))

    def measure(self, unit: tuple[int, int], data_dir: Path | None = None) -> FoldResult:
        """Train one fold of one cross-validation, and score its test patients."""
        return self.trained.measure(unit, data_dir)

    def summarise(self, parts: list[FoldResult]) -> dict[str, Any]:
        """The AUC of each cross-validation, of their mean, and of one of them."""
        repeats = repeats_of(self.trained, parts)
        mean, single = bootstrap_runs(*repeats)
        estimates = {"auc_within": mean, "single": single}
        return {
            "runs": [auc(sites) for sites in repeats],
            **{name: {"value": e.value, "lower": e.lower, "upper": e.upper}
               for name, e in estimates.items()},
        }  # fmt: skip


def grid(
    *,
    cohort: str = "heart",
    regime: Regime = Regime.FULL,
    model: str = "logistic",
    seeds: int = 40,
) -> list[SpreadPoint]:
    """Each design at its epsilons.

    Raises:
      InvalidInputError: Fewer than two cross-validations: of one there is no spread.
    """
    natural(seeds=seeds, least=2)
    every = tuple(range(_FIRST, _FIRST + seeds))
    return [
        SpreadPoint(design, epsilon, regime, model, cohort, every) for design, epsilon in _DESIGNS
    ]


@dataclass(frozen=True)
class SpreadMetrics:
    """What a record holds.

    Attributes:
      runs: Within-site AUC of each cross-validation.
      auc_within: Their mean, with an interval over patients, splits and noise.
      single: The same mean, with the interval in which one cross-validation lies.
    """

    runs: tuple[float, ...]
    auc_within: Estimate
    single: Estimate


def read_spread(records: Sequence[Record]) -> list[TypedRecord[SpreadPoint, SpreadMetrics]]:
    """Read records of this study, in order."""
    return read_all(records, SpreadPoint, SpreadMetrics)


def table(records: Sequence[Record]) -> Table:
    """Each design's mean AUC, and where one cross-validation's lies."""
    shown = Table(title="Within-site AUC over runs that share neither splits nor noise",
                  title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))  # fmt: skip
    for heading in ("cohort", "regime", "model", "design", "epsilon"):
        shown.add_column(heading)
    for heading in ("runs", "AUC", "95 %", "95 % of single ones"):
        shown.add_column(heading, justify="right")
    for record in read_spread(records):
        point, spread = record.point, record.metrics
        shown.add_row(
            called(point.cohort), point.regime, point.model, point.design,
            "∞" if point.epsilon is None else f"{point.epsilon:g}", str(len(spread.runs)),
            nearest(spread.auc_within.value), interval(spread.auc_within), interval(spread.single),
        )  # fmt: skip
    return shown
