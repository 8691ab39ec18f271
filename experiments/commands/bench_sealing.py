"""``inpatient bench sealing``: what sealing costs, beside the field's packages, in one run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

__all__ = ["BenchSealing"]


@dataclass(frozen=True)
class BenchSealing:
    """Bytes, time and error of every scheme, beside NVFLARE, Flower and Paillier."""

    what: Positional[Literal["sealing"]] = "sealing"
    """What is measured."""
    sizes: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    """Values of a vector; all are measured for the first number of hospitals."""
    hospitals: tuple[int, ...] = (4, 50, 400)
    """Hospitals that a sum may hold; all are measured at 100,000 values, or the largest size."""
    repeats: int = 7
    """Timings of which the least is taken: what else runs on the machine only ever adds."""
    ours: bool = False
    """Leave the other packages out, in an environment that lacks them."""
    out: Path = Path("results/bench")
    """Folder for sealing.json and the figure."""
    json: bool = False
    """Print the rows as JSON instead of a table."""

    def check(self) -> None:
        """Refuse no size at all, or no number of hospitals."""
        from privacy.errors import InvalidInputError

        if not self.sizes or not self.hospitals:
            raise InvalidInputError("Give at least one of --sizes and one of --hospitals.")

    def run(self) -> int:
        """Measure, write, print."""
        from rich.console import Console

        from experiments.benchmarks.printing import sealing_tables
        from experiments.benchmarks.sealing_cost import draw, measure
        from experiments.run.bench_record import write_bench
        from experiments.run.plots import save
        from experiments.run.record import writable_folder

        writable_folder(self.out)
        at = 100_000 if 100_000 in self.sizes else max(self.sizes)
        points = [(size, self.hospitals[0]) for size in self.sizes]
        points += [(at, hospitals) for hospitals in self.hospitals[1:]]
        console = Console(stderr=True)
        with console.status("measuring") as status:
            benchmark = measure(
                points, peers=not self.ours, repeats=self.repeats, progress=status.update
            )
        path = write_bench(self.out, "sealing", benchmark.to_json())
        figures = save(draw(benchmark, self.hospitals[0]), self.out / "sealing")
        if self.json:
            print(path.read_text(encoding="utf-8"), end="")
        else:
            for table in sealing_tables(benchmark):
                Console().print(table)
            print(f"Written: {path}, figure {figures[1]}")
        return 0
