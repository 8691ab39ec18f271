"""``inpatient bench``: what sealing, accounting, attacks and rounds cost; what filters do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, arg, subcommand

from experiments.commands.bench_accounting import BenchAccounting
from experiments.commands.bench_attacks import BenchAttacks
from experiments.commands.bench_authors import BenchAuthors
from experiments.commands.bench_deployment import BenchDeployment
from experiments.commands.bench_evaluation import BenchEvaluation
from experiments.commands.bench_filters import BenchFilters
from experiments.commands.bench_run import BenchRun
from experiments.commands.bench_sealing import BenchSealing

__all__ = ["Bench", "BenchFederation"]


@dataclass(frozen=True)
class BenchFederation:
    """A round of tens of thousands of hospitals, exact noise included, beside Flower and pfl."""

    hospitals: int = 36_000
    """Hospitals, of median 200 patients."""
    rounds: int = 1
    """Rounds, timed one by one."""
    threads: int = 2
    """Blocks of hospitals computed at the same time."""
    peer_hospitals: int = 1_000
    """Hospitals that the peers simulate, and we beside them."""
    ours: bool = False
    """Leave the peers out, in an environment that lacks them."""
    pfl_python: Path = Path(".venv-bench-pfl/bin/python")
    """The interpreter of pfl's own environment."""
    seed: int = 0
    """Of the simulated patients; the noise is the operating system's."""
    out: Path = Path("results/bench")
    """Folder for federation.json."""
    json: bool = False
    """Print the rows as JSON instead of a table."""

    def run(self) -> int:
        """Measure, write, print."""
        from rich.console import Console
        from rich.table import Table

        from experiments.benchmarks.many_hospitals import measure
        from experiments.run.bench_record import write_bench
        from experiments.run.record import writable_folder

        folder = writable_folder(self.out)
        with Console(stderr=True).status("measuring") as status:
            benchmark = measure(
                self.hospitals,
                rounds=self.rounds,
                threads=self.threads,
                seed=self.seed,
                peer_hospitals=0 if self.ours else self.peer_hospitals,
                pfl_python=self.pfl_python,
                progress=status.update,
            )
        path = write_bench(folder, "federation", benchmark.to_json())
        if self.json:
            print(path.read_text(encoding="utf-8"), end="")
            return 0
        row, *others = benchmark.rows
        table = Table(title=f"{row.size:,} hospitals, {benchmark.patients:,} patients")
        table.add_column("of a round")
        table.add_column("", justify="right")
        table.add_row("seconds", f"{row.seconds:.1f}")
        table.add_row("MB of updates before sealing", f"{row.bytes / 1e6:.1f}")
        table.add_row("MB of memory at most", f"{benchmark.peak_bytes / 1e6:.0f}")
        table.add_row("epsilon of the run", f"{benchmark.epsilon:.4f}")
        for name, seconds in benchmark.phases.items():
            table.add_row(f"  {name}, seconds of all threads", f"{seconds:.1f}")
        for other in others:
            ratio = "" if other.ratio is None else f" ({other.ratio:.1f} times ours)"
            table.add_row(
                f"{other.name}, {other.size:,} hospitals: seconds", f"{other.seconds:.2f}{ratio}"
            )
        Console().print(table)
        print(f"Written: {path}")
        return 0


@dataclass(frozen=True)
class Bench:
    """Speed and size, beside the field's packages where they are installed."""

    what: Annotated[
        Annotated[BenchSealing, subcommand("sealing")]
        | Annotated[BenchAttacks, subcommand("attacks")]
        | Annotated[BenchAuthors, subcommand("authors")]
        | Annotated[BenchFederation, subcommand("federation")]
        | Annotated[BenchRun, subcommand("run")]
        | Annotated[BenchDeployment, subcommand("deployment")]
        | Annotated[BenchAccounting, subcommand("accounting")]
        | Annotated[BenchFilters, subcommand("filters")]
        | Annotated[BenchEvaluation, subcommand("evaluation")],
        arg(name=""),
        OmitArgPrefixes,
        OmitSubcommandPrefixes,
    ]

    def run(self) -> int:
        """Run the chosen benchmark."""
        return self.what.run()
