"""``inpatient bench run``: a whole sealed run of many hospitals, beside the same run in clear."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

__all__ = ["BenchRun"]


@dataclass(frozen=True)
class BenchRun:
    """Seconds, memory and bytes of a whole sealed run, beside the same run in clear."""

    what: Positional[Literal["run"]] = "run"
    """What is measured."""
    hospitals: int = 464
    """Simulated hospitals of a stroke trial's shape; not used with --cohort."""
    cohort: str = ""
    """Real hospitals instead: a cohort's name, or the path of a ``cohort.toml``."""
    rounds: int = 40
    """Rounds of the run."""
    scheme: str = "shares"
    """How sums are sealed."""
    durable: bool = False
    """As hospitals would run: noise of the operating system, ledgers on disk."""
    seed: int = 0
    """Of the simulated patients."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files."""
    out: Path = Path("results/bench")
    """Folder for run.json."""
    json: bool = False
    """Print the figures as JSON instead of a table."""

    def check(self) -> None:
        """Refuse one hospital alone, no round, and an unknown scheme."""
        from aggregation.sealing import SCHEMES
        from privacy._validate import natural

        natural(hospitals=self.hospitals, least=2)
        natural(rounds=self.rounds, least=1)
        SCHEMES.find(self.scheme)

    def run(self) -> int:
        """Measure, write, print."""
        from rich.console import Console
        from rich.table import Table

        from experiments.benchmarks.sealed_run import measure, stroke_like
        from experiments.cohorts import called, load, resolve
        from experiments.run.bench_record import write_bench
        from experiments.run.record import writable_folder

        folder = writable_folder(self.out)
        if self.cohort:
            cohort = load(*resolve(self.cohort, self.data_dir))
            patients, name = dict(cohort.hospitals), called(cohort.name)
        else:
            patients, name = stroke_like(self.hospitals, seed=self.seed), "stroke-like"
        with Console(stderr=True).status("measuring") as status:
            measured = measure(
                patients,
                cohort=name,
                rounds=self.rounds,
                scheme=self.scheme,
                durable=self.durable,
                progress=status.update,
            )
        path = write_bench(folder, "run", measured.to_json())
        if self.json:
            print(path.read_text(encoding="utf-8"), end="")
            return 0
        table = Table(
            title=f"{measured.rounds} rounds of {measured.hospitals} hospitals, "
            f"{measured.patients:,} patients ({measured.cohort}), {measured.scheme}"
        )
        table.add_column("")
        table.add_column("", justify="right")
        table.add_row("seconds, sealed", f"{measured.seconds:.1f}")
        table.add_row("seconds, in clear", f"{measured.clear_seconds:.1f}")
        table.add_row("ratio", f"{measured.seconds / measured.clear_seconds:.2f}")
        table.add_row("MB of memory at most", f"{measured.peak_bytes / 1e6:.0f}")
        table.add_row("MB of sealed updates", f"{measured.sent_bytes / 1e6:.1f}")
        table.add_row("epsilon of the run", f"{measured.epsilon:g}")
        Console().print(table)
        print(f"Written: {path}")
        return 0
