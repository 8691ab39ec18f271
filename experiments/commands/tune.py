"""``inpatient tune``: how the training settings were chosen, without looking at a heart patient."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Tune"]


@dataclass(frozen=True)
class Tune:
    """Search training settings on simulated patients; the best of each regime and model."""

    out: Path = Path("results/tuning")
    """Folder for the records."""
    studies: int = 12
    """Simulated studies that each setting is averaged over."""
    jobs: int = -1
    """Worker processes; -1 takes every core."""

    def run(self) -> int:
        """Search (about 15 minutes on two cores) and write one record a regime and model."""
        from experiments.record import writable_folder
        from experiments.tuning import search

        folder = writable_folder(self.out / "records")
        for record in search(studies=self.studies, jobs=self.jobs):
            best = record.metrics["scores"][0]
            record.write(folder)
            print(
                f"{record.config['regime']} {record.config['model']}: AUC {best['auc']:.4f} ± "
                f"{best['standard_error']:.4f} with {best['setting']}"
            )
        return 0
