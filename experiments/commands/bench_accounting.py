"""``inpatient bench accounting``: certified epsilons beside the field's, in one run."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["BenchAccounting"]


@dataclass(frozen=True)
class BenchAccounting:
    """Width and time of an epsilon, beside Opacus PRV, prv-accountant and dp-accounting."""

    rounds: int = 1_000
    """Releases of one sampled Gaussian that are composed."""
    different: int = 10_000
    """Different releases that are composed, and rounds of the budget curve."""
    repeats: int = 3
    """Timings of which the median is taken."""
    out: Path = Path("results/bench")
    """Folder that accounting.json is written to."""
    json: bool = False
    """Print the rows as JSON instead of a table."""

    def run(self) -> int:
        """Measure and print."""
        from rich.console import Console
        from rich.table import Table

        from experiments.benchmarks.accounting import measure
        from experiments.run.bench_record import write_bench
        from experiments.run.record import writable_folder

        writable_folder(self.out)
        with Console(stderr=True).status("measuring") as status:
            benchmark = measure(
                rounds=self.rounds,
                different=self.different,
                repeats=self.repeats,
                progress=status.update,
            )
        path = write_bench(self.out, "accounting", benchmark.to_json())
        if self.json:
            print(path.read_text(encoding="utf-8"), end="")
            return 0
        table = Table(title="epsilon at delta = 1e-5")
        for column in ("", "releases", "sigma", "q", "lower", "upper", "above", "seconds", "ratio"):
            table.add_column(column, justify="right" if column else "left")
        for row in benchmark.rows:
            table.add_row(
                row.name,
                f"{row.size:,}",
                "" if row.noise_multiplier is None else f"{row.noise_multiplier:g}",
                "" if row.sampling_prob is None else f"{row.sampling_prob:g}",
                f"{row.lower:.4f}" if row.lower else "-",
                f"{row.upper:.4f}",
                f"{row.accuracy:.2%}",
                f"{row.seconds:.3f}",
                "" if row.ratio is None else f"{row.ratio:.2f}",
            )
        Console().print(table)
        return 0
