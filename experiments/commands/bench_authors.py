"""``inpatient bench authors``: our searches beside their authors' own code, on one gradient."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["BenchAuthors"]


@dataclass(frozen=True)
class BenchAuthors:
    """TabLeak as its authors ship it, and ours, on the gradients that theirs is given.

    With the published effort (30 restarts of 1500 steps) theirs takes some twenty minutes a batch
    of eight.
    """

    tableak: Path
    """A checkout of the authors' repository (eth-sri/tableak), as it is."""
    adult: Path
    """Folder with adult.data or adult.data.gz."""
    sizes: tuple[int, ...] = (8,)
    """People of a batch."""
    batches: int = 2
    """Batches of each size."""
    restarts: int = 10
    """Restarts of both."""
    iterations: int = 300
    """Steps of each."""
    seed: int = 0
    """Of the first batch: draws people, network and starts."""
    out: Path = Path("results/bench")
    """Folder for authors.json."""
    json: bool = False
    """Print the rows as JSON instead of a table."""

    def check(self) -> None:
        """Refuse no size at all, and folders that are not what they should be."""
        from privacy.errors import InvalidInputError

        if not self.sizes:
            raise InvalidInputError("Give at least one of --sizes.")
        if not (self.tableak / "attacks" / "gradient_inversion_attack.py").is_file():
            raise InvalidInputError(
                f"{self.tableak} is no checkout of eth-sri/tableak: it has no attacks/"
                "gradient_inversion_attack.py. Clone https://github.com/eth-sri/tableak and name "
                "it with --tableak."
            )
        if not any((self.adult / name).is_file() for name in ("adult.data", "adult.data.gz")):
            raise InvalidInputError(
                f"There is no adult.data and no adult.data.gz in {self.adult}; get it from "
                "https://archive.ics.uci.edu/dataset/2/adult and name its folder with --adult."
            )

    def run(self) -> int:
        """Measure, write, print."""
        import json

        from rich.console import Console
        from rich.table import Table

        from experiments.benchmarks.authors import measure
        from experiments.run.record import writable_folder, write_new

        folder = writable_folder(self.out)
        with Console(stderr=True).status("measuring"):
            found = measure(
                self.tableak.absolute(),
                self.adult,
                sizes=self.sizes,
                batches=self.batches,
                restarts=self.restarts,
                iterations=self.iterations,
                seed=self.seed,
            )
        content = json.dumps(found, sort_keys=True, indent=1) + "\n"
        (path,) = write_new((folder / "authors.json", content.encode()))
        if self.json:
            print(json.dumps(found))
            return 0
        table = Table(title=f"{self.restarts} restarts of {self.iterations} steps, one thread")
        for heading in ("batch", "authors: right", "ours: right", "authors: s", "ours: s"):
            table.add_column(heading, justify="right")
        for row in found["rows"]:
            table.add_row(
                str(row["size"]), f"{row['accuracy']:.1%}", f"{row['our_accuracy']:.1%}",
                f"{row['seconds']:.1f}", f"{row['our_seconds']:.1f}",
            )  # fmt: skip
        Console().print(table)
        print(f"Written: {path}")
        return 0
