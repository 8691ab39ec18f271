"""``python -m experiments.replicate --data-dir FOLDER``: the published numbers beside ours.

Each number is a record in OUT/records, so that a second run computes only what is missing and the
paper can read them (``experiment``: ``replicate``).
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments.replicate.replicated import PARTS, Number, numbers, record_of
from privacy.errors import InpatientError, InvalidInputError


@dataclass(frozen=True)
class Replicate:
    """Replicate published numbers: the table is UCI Adult, read from a folder."""

    data_dir: Path | None = None
    """Folder with adult.data or adult.data.gz; rero, audit and certificates do without."""
    only: tuple[str, ...] = PARTS
    """Which replications: tableak, spear, sratta, imprint, rero, audit, certificates."""
    batches: int = 50
    """Batches for each of TabLeak's batch sizes (the paper: 50)."""
    restarts: int = 30
    """Restarts of TabLeak (the paper: 30)."""
    iterations: int = 1500
    """Iterations of each (the paper: 1500)."""
    sizes: tuple[int, ...] = (8, 32)
    """Batch sizes for TabLeak."""
    jobs: int = -1
    """Worker processes; -1 takes every core."""
    out: Path = Path("results/replicate")
    """Folder for the records; an interrupted run goes on from what it holds."""
    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> int:
        """Compute what has no record yet, and print everything."""
        from experiments.run.record import Record, read_records, stamp, writable_folder

        unknown = sorted(set(self.only) - set(PARTS))
        if unknown:
            raise InvalidInputError(f"Unknown replications {unknown}; choose of {list(PARTS)}.")
        folder = writable_folder(self.out / "records")
        done = {record.name: record for record in read_records(folder)}
        stamped, rows = stamp(), []
        for number in self._numbers():
            name = Record(number.config, {}, {}).name
            if name not in done:
                done[name] = record_of(number, stamped)
                done[name].write(folder)
            rows.append({**done[name].config, **done[name].metrics})
        if self.json:
            print(json.dumps({"rows": rows}, sort_keys=True))
            return 0
        from rich.console import Console
        from rich.table import Table

        table = Table("what", "published", "ours", "95 % interval", "why they differ")
        for row in rows:
            interval = f"{row['lower']:.3f} to {row['upper']:.3f}"
            table.add_row(row["what"], row["published"], f"{row['ours']:.3f}", interval, row["why"])
        Console().print(table)
        return 0

    def _numbers(self) -> Iterator[Number]:
        return numbers(
            self.only,
            self.data_dir,
            sizes=self.sizes,
            batches=self.batches,
            restarts=self.restarts,
            iterations=self.iterations,
            jobs=self.jobs,
            kept=self.out / "batches",
        )


if __name__ == "__main__":
    try:
        sys.exit(tyro.cli(Replicate).run())
    except InpatientError as error:
        print(f"replicate: {error}", file=sys.stderr)
        sys.exit(2)
