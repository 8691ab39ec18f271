"""``inpatient bench filters``: other people's privacy filters under the testing kit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

__all__ = ["BenchFilters"]


@dataclass(frozen=True)
class BenchFilters:
    """What Flower's and NVFLARE's privacy filters do, beside what they say."""

    what: Positional[Literal["filters"]] = "filters"
    """What is looked at."""
    out: Path = Path("results/bench")
    """Folder for filters.json."""
    json: bool = False
    """Print the rows as JSON instead of a table."""

    def run(self) -> int:
        """Look, write, print."""
        from rich.console import Console
        from rich.table import Table

        from experiments.benchmarks.filters import measure
        from experiments.run.bench_record import write_bench
        from experiments.run.record import writable_folder

        folder = writable_folder(self.out)
        with Console(stderr=True).status("looking") as status:
            filters = measure(progress=status.update)
        path = write_bench(folder, "filters", filters.to_json())
        if self.json:
            print(path.read_text(encoding="utf-8"), end="")
            return 0
        table = Table(title=", ".join(f"{k} {v}" for k, v in filters.versions.items()))
        for column in ("filter", "setting", "found", "numbers"):
            table.add_column(column)
        for row in filters.rows:
            numbers = ", ".join(f"{k} {v:.3g}" for k, v in row.numbers.items())
            table.add_row(row.name, row.setting, ", ".join(row.found) or "-", numbers)
        Console().print(table)
        return 0
