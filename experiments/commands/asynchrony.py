"""``inpatient asynchrony``: hospitals at their own pace, with and without privacy."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Asynchrony"]


@dataclass(frozen=True)
class Asynchrony:
    """When each asynchronous rule reaches pooled training, for how many bytes, at what budget."""

    out: Path = Path("results/asynchrony")
    """Folder for records and figures; what is there already is not computed again."""
    cohorts: tuple[str, ...] = ("heart", "network")
    """``heart`` (four real hospitals), ``network`` (40 simulated ones), or both."""
    cohort: str = ""
    """Instead of those: a cohort's name, or the path of a ``cohort.toml`` (docs/own-data.md)."""
    seed: int = 0
    """The experiment's seed: folds, schedules, noise; never a patient's protection."""
    seeds: int = 5
    """How many seeds, from the first on (the paper: 5)."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; by default as packaged)."""
    json: bool = False
    """Print the records as JSON instead of a table."""

    def check(self) -> None:
        """Refuse names of no cohort."""
        from experiments.studies import asynchrony
        from privacy.errors import InvalidInputError

        unknown = set(self.cohorts) - set(asynchrony.COHORTS)
        if unknown or not self.cohorts:
            raise InvalidInputError(
                f"Expected cohorts among {asynchrony.COHORTS}, got {self.cohorts}."
            )

    def run(self) -> int:
        """Compute what has no record yet; then the tables and the figure."""
        import dataclasses
        import json

        from rich.console import Console

        from experiments.cohorts import resolve
        from experiments.run.plots import save
        from experiments.run.record import writable_folder
        from experiments.studies import asynchrony
        from experiments.studies.learning_figures import draw_asynchrony

        console = Console(stderr=self.json)
        cohorts, data_dir = self.cohorts, self.data_dir
        if self.cohort:
            name, data_dir = resolve(self.cohort, self.data_dir)
            cohorts = (name,)
        points = asynchrony.grid(self.seed, seeds=self.seeds, cohorts=cohorts)
        records = asynchrony.run(self.out, points, data_dir=data_dir, console=console)
        svg, png = save(
            draw_asynchrony(records), writable_folder(self.out / "figures") / "asynchrony"
        )
        if self.json:
            print(json.dumps([dataclasses.asdict(r) for r in records], sort_keys=True))
        else:
            console.print(*asynchrony.tables(records), asynchrony.LEGEND)
            console.print(f"Figure: {svg} and {png.name}; records: {self.out / 'records'}.")
        return 0
