"""``inpatient correction``: what each correction rule does for every hospital."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Correction"]


@dataclass(frozen=True)
class Correction:
    """Every correction rule on the same folds: AUC and calibration, hospital by hospital."""

    out: Path = Path("results/correction")
    """Folder for records and figures; what is there already is not computed again."""
    cohorts: tuple[str, ...] = ("heart", "network")
    """``heart`` (four real hospitals), ``network`` (40 simulated ones), or both."""
    cohort: str = ""
    """Instead of those: a cohort's name, or the path of a ``cohort.toml`` (docs/own-data.md)."""
    seed: int = 0
    """The experiment's seed: folds, networks, noise; never a patient's protection."""
    seeds: int = 20
    """Cross-validations of the heart cohort (some six minutes for twenty)."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; by default as packaged)."""
    json: bool = False
    """Print the records as JSON instead of a table."""

    def check(self) -> None:
        """Refuse names of no cohort."""
        from experiments.studies import correction
        from privacy.errors import InvalidInputError

        unknown = set(self.cohorts) - set(correction.COHORTS)
        if unknown or not self.cohorts:
            raise InvalidInputError(
                f"Expected cohorts among {correction.COHORTS}, got {self.cohorts}."
            )

    def run(self) -> int:
        """Compute what has no record yet; then the tables and the figures."""
        import dataclasses
        import json

        from rich.console import Console

        from experiments.cohorts import resolve
        from experiments.run.plots import save
        from experiments.run.record import writable_folder
        from experiments.studies import correction, fairness, poor_labels
        from experiments.studies.learning_figures import draw_calibration, draw_correction

        console = Console(stderr=self.json)
        cohorts, data_dir = self.cohorts, self.data_dir
        if self.cohort:
            name, data_dir = resolve(self.cohort, self.data_dir)
            cohorts = (name,)
        points = correction.grid(self.seed, seeds=self.seeds, cohorts=cohorts)
        records = correction.run(self.out, points, data_dir=data_dir, console=console)
        figures = writable_folder(self.out / "figures")
        svg, _ = save(draw_correction(records), figures / "correction")
        save(draw_calibration(records), figures / "calibration")
        spoilt = (
            poor_labels.run(self.out, poor_labels.grid(self.seed), data_dir=data_dir)
            if "heart" in cohorts
            else []
        )
        if self.json:
            print(json.dumps([dataclasses.asdict(r) for r in [*records, *spoilt]], sort_keys=True))
        else:
            console.print(
                *correction.tables(records), *correction.verdicts(records), correction.LEGEND
            )
            for record in records:
                if record.config["rule"] == correction.SEALED:
                    if record.config["cohort"] == "heart":
                        console.print(fairness.clinical_table(record))
                    if record.metrics["fairness"]:  # the schema tells age and sex
                        console.print(fairness.fairness_table(record))
            if spoilt:
                console.print(poor_labels.table(spoilt))
            console.print("All counts here are of test patients without noise: unprotected.")
            console.print(f"Figures: {svg}, calibration.svg; records: {self.out / 'records'}.")
        return 0
