"""``inpatient joining``: is a federation worth joining, for whom, and from how many on?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.commands.base import StudyCommand

if TYPE_CHECKING:
    from experiments.run.study import GridPoint

__all__ = ["Joining"]


@dataclass(frozen=True, kw_only=True)
class Joining(StudyCommand):
    """What a hospital gains by joining, against the best model of its own, by its size.

    Every figure and verdict follows ``paper/protocol.md``, which was written before the numbers.
    """

    out: Path = Path("results/joining")
    """Folder for records and figures; what is there already is not computed again."""
    cohort: str = "ist-odd"
    """Whose patients: a cohort's name, or the path of a ``cohort.toml`` (docs/own-data.md)."""
    parts: tuple[str, ...] = ("whole", "unseen", "growing")
    """Which of whole (all hospitals), unseen (hospitals that no model saw), growing (by how many
    hospitals take part), again (the primary comparison with other seeds), risk (line-ups, by
    two adversaries; hours) and releases (sums that are opened once or twice)."""
    tuned: Path | None = None
    """Folder of ``inpatient tune --regimes full --models logistic --cohort COHORT``: train with its
    best setting, not with the published one."""
    seeds: int = 5
    """Cross-validations, each with noise of its own."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; by default as packaged)."""

    def check(self) -> None:
        """Refuse parts that are none, and no cross-validation."""
        from experiments.studies.joining.arms import PARTS
        from privacy._validate import natural
        from privacy.errors import InvalidInputError

        super().check()
        natural(seeds=self.seeds, least=1)
        if not self.parts or set(self.parts) - set(PARTS):
            raise InvalidInputError(
                f"Expected parts among {', '.join(PARTS)}, got {self.parts}. Leave --parts out for "
                "all of them."
            )
        if self.tuned is not None:
            self.points()

    def points(self) -> "tuple[Sequence[GridPoint], Path | None]":
        """Every arm of every part."""
        from experiments.cohorts import folds, load, resolve
        from experiments.run.record import read_records
        from experiments.studies.design import Regime
        from experiments.studies.joining.arm_point import FOLDS, JoiningArm
        from experiments.studies.joining.arms import FEW, GROWING, SETTING, grid
        from experiments.studies.searched import best_trainings

        name, data_dir = resolve(self.cohort, self.data_dir)
        setting, few = SETTING, dict(FEW)
        if self.tuned is not None:
            best = best_trainings(read_records(self.tuned / "records"), name)
            setting = best.get((Regime.FULL, "logistic"), SETTING)
            few[JoiningArm.MOMENTS] = best.get((Regime.FULL, "moments"), FEW[JoiningArm.MOMENTS])
        cohort = load(name, data_dir)
        folds(cohort, count=FOLDS, seed=0, alone=True)  # refuses before anything is trained
        some = sum(20 <= size <= 60 for size in cohort.sizes)
        return (
            grid(
                name,
                setting,
                parts=self.parts,
                few=few,
                scored=bool(cohort.schema.score),
                growing=sorted({*(count for count in GROWING if count < some), some} - {0}),
                seeds=range(self.seeds),
            ),
            data_dir,
        )
