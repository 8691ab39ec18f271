"""What one design gains over another in AUC, on the same folds, patients and seeds.

Both designs are points of the frontier, trained and not attacked. The interval is a paired
bootstrap: patients within their hospitals, the same ones for both designs, and the
cross-validations, so that the noise of a run counts too.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.evaluation import Estimate, bootstrap_difference
from experiments.studies.design import DELTA, Design, Regime
from experiments.studies.frontier.metrics import repeats_of
from experiments.studies.frontier.point import FoldResult, FrontierPoint, measure
from experiments.studies.lineups import AttackSuite

__all__ = ["Compared", "Gain", "GainMetrics"]

Compared = tuple[Design, float | None]
"""Design and epsilon."""


@dataclass(frozen=True)
class Gain:
    """One comparison.

    Attributes:
      ours: Design and epsilon.
      theirs: What it is compared to.
      regime: ``full`` or ``small``.
      model: ``logistic`` or ``mlp``.
      cohort: As of ``Point``.
      seeds: Cross-validations.
      folds: Of each.
      code_version: Raised when a change moves the numbers.
    """

    ours: Compared
    theirs: Compared
    regime: Regime = Regime.FULL
    model: str = "logistic"
    cohort: str = "heart"
    seeds: tuple[int, ...] = (0, 1, 2)
    folds: int = 5
    code_version: int = 1

    @property
    def config(self) -> Mapping[str, Any]:
        """What names the record."""
        setting = asdict(self.points[0].training)
        return {"experiment": "gain", "delta": DELTA, "setting": setting, **asdict(self)}

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        ours, theirs = (point.label for point in self.points)
        return f"{ours} against {theirs}"

    @property
    def points(self) -> tuple[FrontierPoint, FrontierPoint]:
        """Ours and theirs."""
        ours, theirs = (
            FrontierPoint(
                design,
                epsilon,
                self.regime,
                self.model,
                AttackSuite(()),
                seeds=self.seeds,
                folds=self.folds,
                scheme="plain",
                cohort=self.cohort,
            )
            for design, epsilon in (self.ours, self.theirs)
        )
        return ours, theirs

    @property
    def units(self) -> list[tuple[int, int]]:
        """Seed and fold."""
        return self.points[0].units

    def measure(
        self, unit: tuple[int, int], data_dir: Path | None
    ) -> tuple[FoldResult, FoldResult]:
        """Train both on one fold."""
        ours, theirs = self.points
        return measure(ours, *unit, data_dir), measure(theirs, *unit, data_dir)

    def summarise(self, parts: list[tuple[FoldResult, FoldResult]]) -> dict[str, Any]:
        """The gain over all hospitals, and at each of them."""
        ours, theirs = (
            repeats_of(point, [part[k] for part in parts]) for k, point in enumerate(self.points)
        )
        hospitals = {
            name: bootstrap_difference(
                [{name: r[name]} for r in ours], [{name: r[name]} for r in theirs]
            )
            for name in ours[0]
        }
        return {
            "gain": asdict(bootstrap_difference(ours, theirs)),
            "gain_sites": {name: asdict(gain) for name, gain in hospitals.items()},
        }


@dataclass(frozen=True)
class GainMetrics:
    """What a record holds: the gain over all hospitals, and at each of them."""

    gain: Estimate
    gain_sites: Mapping[str, Estimate]
