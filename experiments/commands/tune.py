"""``inpatient tune``: how the training settings were chosen, without looking at a heart patient."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Tune"]


@dataclass(frozen=True)
class Tune:
    """Search training settings on simulated patients; the best of each regime and model."""

    out: Path = Path("results/tuning")
    """Folder for the records, one a regime and model."""
    regimes: tuple[str, ...] = ("full", "small")
    """Which of full (all patients in every round) and small (about 8 a hospital)."""
    models: tuple[str, ...] = ("logistic", "mlp")
    """Which of logistic and mlp."""
    studies: int = 8
    """Simulated studies that each setting is averaged over."""
    paced: bool = False
    """Search the sealed runs of ``inpatient asynchrony`` instead (seconds a setting and study)."""
    cohort: str = "heart"
    """Of ``--paced``: heart (the studies are simulated) or network (of other seeds)."""
    scaling: bool = False
    """Search the steps of the headline figure (``frontier --figure headline``) instead."""
    jobs: int = -1
    """Worker processes; -1 takes every core."""

    def check(self) -> None:
        """Refuse names of no regime, model or cohort."""
        from experiments.studies.asynchrony import COHORTS
        from experiments.studies.design import TRAINING
        from privacy.errors import InvalidInputError

        if self.cohort not in COHORTS:
            raise InvalidInputError(
                f"Unknown cohort {self.cohort!r}; choose one of {', '.join(COHORTS)}."
            )
        if not self.regimes or not self.models:
            raise InvalidInputError("Give at least one of --regimes and one of --models.")
        for panel in self._panels():
            if panel not in TRAINING:
                raise InvalidInputError(
                    f"Unknown regime or model {panel}; choose full or small, and logistic or mlp."
                )

    def _panels(self) -> list[tuple[str, str]]:
        from itertools import product

        return list(product(self.regimes, self.models))

    def run(self) -> int:
        """Search (some 15 minutes on two cores for all) and write one record a pair."""
        from experiments.run.record import writable_folder
        from experiments.studies.tuning import search

        if self.paced:
            from experiments.studies import paced_tuning

            folder = writable_folder(self.out)
            found = paced_tuning.search(cohort=self.cohort, studies=self.studies, jobs=self.jobs)
            for record in found:
                record.write(folder)
                best = record.metrics["scores"][0]
                print(f"{record.config['rule']}: AUC {best['auc']:.4f} with {best['setting']}")
            return 0
        if self.scaling:
            from experiments.studies import scaling_tuning

            steps: dict[tuple[str, int, str, float], float] = {}
            for record in scaling_tuning.search(jobs=self.jobs):
                record.write(writable_folder(self.out))
                steps |= scaling_tuning.best_steps([record])
            for place, step in steps.items():
                print(*place, f"step={step:g}")
            return 0
        folder = writable_folder(self.out)
        for record in search(self._panels(), studies=self.studies, jobs=self.jobs):
            best = record.metrics["scores"][0]
            record.write(folder)
            print(
                f"{record.config['regime']} {record.config['model']}: AUC {best['auc']:.4f} "
                f"(standard error {best['standard_error']:.4f}) with {best['setting']}"
            )
        return 0
