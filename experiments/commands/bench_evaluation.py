"""``inpatient bench evaluation``: how near an evaluation round's AUC comes to the truth."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

__all__ = ["BenchEvaluation"]


@dataclass(frozen=True)
class BenchEvaluation:
    """How often an evaluation round's AUC is within .01 of the truth, in simulated runs."""

    what: Positional[Literal["evaluation"]] = "evaluation"
    """What is measured."""
    runs: int = 200
    """Simulated runs of each case."""
    seed: int = 0
    """Of the simulated patients and their noise."""
    out: Path = Path("results/bench")
    """Folder for evaluation.json."""
    json: bool = False
    """Print the figures as JSON instead of a table."""

    def check(self) -> None:
        """Refuse no run."""
        from privacy._validate import natural

        natural(runs=self.runs, least=1)

    def run(self) -> int:
        """Simulate, write, print."""
        from rich.console import Console
        from rich.table import Table

        from experiments.benchmarks.counted_auc import measure
        from experiments.run.bench_record import write_bench
        from experiments.run.record import writable_folder

        folder = writable_folder(self.out)
        with Console(stderr=True).status("simulating") as status:
            benchmark = measure(runs=self.runs, seed=self.seed, progress=status.update)
        path = write_bench(folder, "evaluation", benchmark)
        if self.json:
            print(path.read_text(encoding="utf-8"), end="")
            return 0
        table = Table(title=f"AUC of an evaluation round, {self.runs} runs of each case")
        for heading in ("hospitals", "counted", "epsilon", "noise of a cell", "within .01",
                        "drowned", "interval"):  # fmt: skip
            table.add_column(heading, justify="right")
        for row in benchmark["rows"]:
            case = row["case"]
            table.add_row(
                str(case["hospitals"]),
                f"{row['patients']:,.0f}",
                f"{case['epsilon']:g}",
                f"{row['noise_std']:.1f}",
                f"{row['near'] / row['runs']:.1%} ({row['lower']:.1%} to {row['upper']:.1%})",
                f"{row['drowned'] / row['runs']:.0%}",
                f"{row['width']:.3f} wide",
            )
        Console().print(table)
        print(f"Written: {path}")
        return 0
