"""``inpatient inference``: what is inferred beside whole patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.commands.base import StudyCommand

if TYPE_CHECKING:
    from experiments.run.study import GridPoint

__all__ = ["Inference"]


@dataclass(frozen=True, kw_only=True)
class Inference(StudyCommand):
    """Who took part, an attribute, what concerns a hospital: by design, and by who asks.

    Readers of the final model, buyers of its answers, a curious server over all rounds, and an
    eavesdropper, each beside who saw nothing and beside the bound that applies.
    """

    out: Path = Path("results/inference")
    """Folder for records; what is there already is not computed again."""
    questions: tuple[str, ...] = ()
    """Only these of membership, rmia, one-run, answers, rounds, fedmia, attribute,
    attribute-answers, attribute-rounds, prevalence, property, traffic and own-pace."""
    cohort: str = "heart"
    """Whose patients: a cohort's name, or the path of a ``cohort.toml`` (docs/own-data.md)."""
    seed: int = 0
    """The experiment's seed: who trains, noise, shadow models; never a patient's protection."""
    seeds: int = 5
    """Runs a question and design, each with coins of its own."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; by default as packaged)."""

    def check(self) -> None:
        """Refuse names of no question, and one run alone."""
        from experiments.studies import inference

        super().check()
        inference.grid(self.seed, seeds=self.seeds, questions=self.questions)

    def points(self) -> "tuple[Sequence[GridPoint], Path | None]":
        """Every question about every design."""
        from experiments.cohorts import resolve
        from experiments.studies import inference

        name, data_dir = resolve(self.cohort, self.data_dir)
        return (
            inference.grid(self.seed, cohort=name, seeds=self.seeds, questions=self.questions),
            data_dir,
        )
