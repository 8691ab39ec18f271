"""``inpatient frontier`` and ``inpatient demo``: reconstruction risk against AUC."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from experiments.commands.base import StudyCommand

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.run.record import Record
    from experiments.run.study import GridPoint
    from experiments.studies.frontier.own_pace import AttackedPoint

__all__ = ["Demo", "FrontierCommand"]


@dataclass(frozen=True, kw_only=True)
class FrontierCommand(StudyCommand):
    """Train every design at every epsilon, and attack the very runs whose AUC is reported."""

    out: Path = Path("results/frontier")
    """Folder for records and figures; what is there already is not computed again."""
    quick: bool = False
    """The demo's ten points instead of the whole grid."""
    figure: Literal["frontier", "headline", "factors", "ablations", "at-risk", "effort"] | None = (
        None
    )
    """Only the points of this figure, and the figure."""
    groups: tuple[str, ...] = ()
    """Only these groups of the published grid, "small" and "ablation" for example."""
    cells: tuple[str, ...] = ()
    """Only these points of the published grid, by their records' names."""
    designs: tuple[str, ...] = ()
    """Only these of none, article, local, sealed, pooled and "local only"; see --epsilons."""
    epsilons: tuple[float, ...] = (1.0, math.inf)
    """The epsilons of the chosen designs; inf is no noise."""
    regime: str = "small"
    """Of the chosen designs: full (all patients in every round) or small (about 8 a hospital)."""
    model: str = "mlp"
    """Of the chosen designs: logistic, mlp, moments (logistic regression from a single opened sum),
    deep, embedded, transformer, or a Python file's factory of a torch module, FILE:FACTORY
    (docs/own-model.md)."""
    pass_rounds: int | None = None
    """Of the chosen designs: rounds of a pass, in each of which a patient is in exactly one round
    (random allocation), in place of the regime's batches."""
    correlated: str = ""
    """Of the chosen designs (sealed, local): noise correlated over rounds, banded:8 (rounds) or
    buffered:0.3/0.8,0.3/0.6 (a scale and a decay of each buffer), all of it at each hospital."""
    unseen: bool = False
    """Fold by hospital, with --cohort: each is tested by models that never saw it."""
    tuned: Path | None = None
    """Train with the best settings of ``inpatient tune --cohort`` in this folder, where it has
    them; else with those of the heart study's shape."""
    seed: int = 0
    """The experiment's seed: folds, batches, line-ups; never a patient's protection."""
    cohort: str = "heart"
    """Whose patients: a cohort's name, or the path of a ``cohort.toml`` (docs/own-data.md)."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; by default as packaged)."""

    def points(self) -> "tuple[Sequence[GridPoint], Path | None]":
        """The chosen points, of the chosen cohort."""
        from experiments.cohorts import load, resolve
        from experiments.run.record import read_records
        from experiments.studies.frontier.grid import on_cohort, trained_by, with_added_attacks
        from experiments.studies.frontier.grid_figures import FIGURES

        if self.figure:
            return FIGURES[self.figure].points(self.seed), self.data_dir
        points: Sequence[AttackedPoint] = with_added_attacks(self._chosen())
        cohort, data_dir = resolve(self.cohort, self.data_dir)
        if self.cohort != "heart" or self.unseen:
            most = len(load(cohort, data_dir).hospitals) if self.unseen else None
            points = on_cohort(points, cohort, by_hospital=most)
        if self.tuned:
            from experiments.studies.searched import best_trainings

            best = best_trainings(read_records(self.tuned / "records"), cohort)
            points = trained_by(points, best)
        return points, data_dir

    def _chosen(self) -> "Sequence[AttackedPoint]":
        """The points that the options choose, of the published cohorts."""
        from aggregation.correlation import Correlation
        from experiments.studies.frontier import grid

        if self.designs:
            return grid.chosen_grid(
                self.designs,
                self.epsilons,
                self.regime,
                self.model,
                self.seed,
                pass_rounds=self.pass_rounds,
                correlated=Correlation.parse(self.correlated) if self.correlated else None,
            )
        if self.cells:
            return grid.cells(self.cells, self.seed)
        if self.groups:
            return [p for name in self.groups for p in grid.group(name, self.seed)]
        if self.quick or self.cohort != "heart" or self.unseen:
            return grid.quick_grid(self.seed)
        return grid.full_grid(self.seed)

    def check(self) -> None:
        """Refuse two selections at once, unknown names, and options that would change nothing."""
        from privacy.errors import InvalidInputError

        super().check()
        chosen = [
            f"--{name}"
            for name in ("quick", "figure", "groups", "cells", "designs")
            if getattr(self, name)
        ]
        if len(chosen) > 1:
            raise InvalidInputError(
                f"{' and '.join(chosen)} each choose points; give one of them, or none for the "
                "whole published grid."
            )
        fixed = sorted({"--figure", "--groups", "--cells"}.intersection(chosen))
        if (fixed or not chosen) and self.tuned and self.cohort == "heart":
            fixed = fixed or ["The whole grid"]
        if fixed and (self.cohort != "heart" or self.unseen or self.tuned):
            raise InvalidInputError(
                f"{fixed[0]} chooses points of published cohorts and settings; --cohort, --tuned "
                "and --unseen go with --quick (also where nothing is chosen) or --designs."
            )
        default = FrontierCommand()
        idle = [
            name
            for name in ("epsilons", "regime", "model", "pass_rounds", "correlated")
            if getattr(self, name) != getattr(default, name)
        ]
        if idle and not self.designs:
            raise InvalidInputError(
                f"--{idle[0].replace('_', '-')} goes with --designs and would change nothing "
                "here. Add --designs none local sealed, say."
            )
        if self.tuned:
            self.points()
        elif not self.figure:
            self._chosen()

    def show(self, records: "Sequence[Record]", console: "Console") -> None:
        """The one figure that was chosen, or all that the study tells."""
        import json

        from experiments.run.plots import save
        from experiments.run.record import writable_folder
        from experiments.studies.catalogue import by_study
        from experiments.studies.frontier.grid_figures import FIGURES

        if self.figure is None:
            super().show(records, console)
            return
        figure = FIGURES[self.figure].draw(records)
        svg, png = save(figure, writable_folder(self.out / "figures") / self.figure)
        if self.json:
            plain = [
                study.plain(r) for study, study_records in by_study(records) for r in study_records
            ]
            print(json.dumps(plain, sort_keys=True))
        else:
            console.print(f"Figure: {svg} and {png.name}; records: {self.out / 'records'}.")


@dataclass(frozen=True)
class Demo:
    """Hospitals end to end: what each design gives away, and a verified federation."""

    out: Path = Path("results/demo")
    """Folder for everything that the demo writes."""
    seed: int = 0
    """The experiment's seed; the federation at the end draws its noise from the system."""
    jobs: int = -1
    """Worker processes; -1 takes every core."""
    cohort: str = "heart"
    """Whose patients: a cohort's name, or the path of a ``cohort.toml`` (docs/own-data.md)."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; by default as packaged)."""
    ledgers: Path | None = None
    """Folder of the hospitals' ledgers and keys, for all runs on the same patients: what earlier
    runs released counts. By default new ones in --out, whose budget begins with this demo."""
    evaluate: float | None = None
    """Epsilon of an evaluation round, part of the whole of 1: some patients are held out of the
    federation's training and counted after it. By default AUC and calibration of its model are not
    measured."""
    held_out: float = 0.2
    """Fraction of patients that are held out; goes with --evaluate."""

    def check(self) -> None:
        """Refuse an evaluation that would cost all, or nothing."""
        from experiments.demo import EPSILON
        from experiments.federate import Wanted

        Wanted(EPSILON, evaluate=self.evaluate, held_out=self.held_out)

    def run(self) -> int:
        """Run the quick frontier, then one real federation; verify and report."""
        from experiments import demo

        return demo.run(
            self.out,
            seed=self.seed,
            jobs=self.jobs,
            data_dir=self.data_dir,
            cohort=self.cohort,
            ledgers=self.ledgers,
            evaluate=self.evaluate,
            held_out=self.held_out,
        )
