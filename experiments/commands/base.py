"""What all commands that run a study have in common: sweep its points, then show its records."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.run.record import Record
    from experiments.run.study import GridPoint

__all__ = ["ComparisonCommand", "StudyCommand"]


@dataclass(frozen=True, kw_only=True)
class StudyCommand(ABC):
    """A command whose points are swept; a subclass says which, and by which options."""

    out: Path
    """Folder for records and figures; what is there already is not computed again."""
    jobs: int = -1
    """Worker processes; -1 takes every core. Any number gives the same records."""
    backend: Literal["joblib", "ray"] = "joblib"
    """``joblib``: this machine. ``ray``: the cluster that RAY_ADDRESS names (extra ``cluster``)."""
    shard: str = ""
    """``k/n``: only the k-th of n parts of the points, for n machines that share the folder."""
    json: bool = False
    """Print the records as JSON instead of tables."""

    @abstractmethod
    def points(self) -> "tuple[Sequence[GridPoint], Path | None]":
        """The chosen points, in order, and the folder that they read."""

    def check(self) -> None:
        """Refuse a shard that is none."""
        from experiments.run.sweep import Shard

        Shard.parse(self.shard)

    def run(self) -> int:
        """Compute what has no record yet; then show all, unless other shards are not done."""
        from rich.console import Console

        from experiments.run.sweep import Shard, sweep

        console = Console(stderr=self.json)
        points, data_dir = self.points()
        records = sweep(
            self.out,
            points,
            jobs=self.jobs,
            backend=self.backend,
            shard=Shard.parse(self.shard),
            data_dir=data_dir,
            console=console,
        )
        if len(records) < len(points):
            console.print(
                f"Shard {self.shard} is done: {len(records)} of {len(points)} points have their "
                "records. When the other shards are done too, the same command shows them all."
            )
            return 0
        self.show(records, console)
        return 0

    def show(self, records: "Sequence[Record]", console: "Console") -> None:
        """Save the figures of the records' studies, and print their tables, or all as JSON."""
        import json

        from experiments.run.plots import save
        from experiments.run.record import writable_folder
        from experiments.studies.catalogue import by_study

        grouped = by_study(records)
        figures = [
            save(draw(study_records), writable_folder(self.out / "figures") / name)[0]
            for study, study_records in grouped
            for name, draw in study.figures.items()
        ]
        if self.json:
            plain = [
                study.plain(record) for study, study_records in grouped for record in study_records
            ]
            print(json.dumps(plain, sort_keys=True))
            return
        for study, study_records in grouped:
            console.print(*study.tables(study_records))
        drawn = f"Figures (and .png): {', '.join(map(str, figures))}; r" if figures else "R"
        console.print(f"{drawn}ecords: {self.out / 'records'}.")


@dataclass(frozen=True, kw_only=True)
class ComparisonCommand(StudyCommand):
    """A command that compares rules on real hospitals, on simulated ones, or on one's own."""

    cohorts: tuple[str, ...] = ("heart", "network")
    """``heart`` (four real hospitals), ``network`` (40 simulated ones), or both."""
    cohort: str = ""
    """Instead of those: a cohort's name, or the path of a ``cohort.toml`` (docs/own-data.md)."""
    seed: int = 0
    """The experiment's seed: folds, networks, schedules, noise; never a patient's protection."""
    seeds: int
    """How many, from the first on."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; by default as packaged)."""

    def check(self) -> None:
        """Refuse names of no cohort."""
        from privacy.errors import InvalidInputError

        super().check()
        choices = ("heart", "network")
        if set(self.cohorts) - set(choices) or not self.cohorts:
            raise InvalidInputError(f"Expected cohorts among {choices}, got {self.cohorts}.")

    def chosen(self) -> tuple[tuple[str, ...], Path | None]:
        """The cohorts as records name them, and where their files lie."""
        from experiments.cohorts import resolve

        if not self.cohort:
            return self.cohorts, self.data_dir
        name, place = resolve(self.cohort, self.data_dir)
        return (name,), place
