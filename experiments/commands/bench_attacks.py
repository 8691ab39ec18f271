"""``inpatient bench attacks``: our attacks beside plain loops over restarts, in one run."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["BenchAttacks"]


@dataclass(frozen=True)
class BenchAttacks:
    """Seconds and accuracy of inversion, beside tableak's and breaching's settings as plain loops.

    With the published settings the loops take minutes a batch; fewer iterations give the same
    ratios sooner.
    """

    sizes: tuple[int, ...] = (8, 32)
    """Patients of a batch."""
    batches: int = 1
    """Batches of each size."""
    restarts: int = 30
    """Restarts (tableak's setting: 30)."""
    iterations: int = 1500
    """Steps of each (tableak's setting: 1500)."""
    device: str = "auto"
    """Where an accelerator is named or found, ours are measured on it too; cpu: not."""
    seed: int = 0
    """Draws batches, networks and starts."""
    out: Path = Path("results/bench")
    """Folder for attacks.json."""
    json: bool = False
    """Print the rows as JSON instead of a table."""

    def check(self) -> None:
        """Refuse no size at all, and a device that is not there."""
        from attacks.searching.device import checked_device
        from privacy.errors import InvalidInputError

        checked_device(self.device)
        if not self.sizes:
            raise InvalidInputError("Give at least one of --sizes.")

    def run(self) -> int:
        """Measure, write, print."""
        from rich.console import Console
        from rich.table import Table

        from attacks.searching.device import checked_device
        from experiments.benchmarks.attacks import measure
        from experiments.run.bench_record import write_bench
        from experiments.run.record import writable_folder

        folder = writable_folder(self.out)
        with Console(stderr=True).status("measuring") as status:
            benchmark = measure(
                self.sizes,
                batches=self.batches,
                restarts=self.restarts,
                iterations=self.iterations,
                seed=self.seed,
                device=checked_device(self.device),
                progress=status.update,
            )
        path = write_bench(folder, "attacks", benchmark.to_json())
        if self.json:
            print(path.read_text(encoding="utf-8"), end="")
            return 0
        table = Table(
            title=f"{self.restarts} restarts of {self.iterations} steps, one thread",
            caption="times faster than the loop over restarts; right: of all mixed features; "
            "in brackets: a 95 % interval over the batches",
        )
        table.add_column("attack")
        for heading in ("batch", "seconds", "times faster", "right", "more than loop"):
            table.add_column(heading, justify="right")
        for row in benchmark.rows:
            table.add_row(
                row.name, str(row.size), f"{row.seconds:.3g}", f"{1 / row.ratio:.3g}",
                f"{row.accuracy:.1%}",
                f"{row.gain:+.1%}" + _between(row.gain, row.gain_half),
            )  # fmt: skip
        Console().print(table)
        print(f"Written: {path}")
        return 0


def _between(gain: float, half: float | None) -> str:
    return "" if half is None else f" ({gain - half:+.1%} to {gain + half:+.1%})"
