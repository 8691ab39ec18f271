"""``inpatient bench authors``: our searches beside their authors' own code, on one gradient."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["BenchAuthors"]

_MARKS = {
    "tableak": ("attacks/gradient_inversion_attack.py", "eth-sri/tableak"),
    "tabular-gia": ("tabular_gia/model/model_wrapper.py", "scaleoutsystems/tabular-GIA"),
}
"""A file that only a checkout of the authors' repository has, and the repository."""


@dataclass(frozen=True)
class BenchAuthors:
    """TabLeak and tabular-GIA as their authors ship them, and ours, on the same gradients.

    With TabLeak's published effort (30 restarts of 1500 steps) theirs takes some twenty minutes a
    batch of eight. tabular-GIA has one start, and takes as many steps from it as our restarts
    together (published: 10000); both take some minutes a batch of the larger networks.
    """

    adult: Path
    """Folder with adult.data or adult.data.gz."""
    tableak: Path | None = None
    """A checkout of TabLeak's repository (eth-sri/tableak), as it is."""
    tabular_gia: Path | None = None
    """A checkout of tabular-GIA's (scaleoutsystems/tabular-GIA), as it is."""
    python: Path | None = None
    """Interpreter with tabular-GIA's requirements and ours (``make bench-authors``); None: this."""
    architectures: tuple[Literal["mlp", "resnet", "fttransformer"], ...] = (
        "mlp", "resnet", "fttransformer",
    )  # fmt: skip
    """Networks of tabular-GIA that are attacked."""
    sizes: tuple[int, ...] = (8,)
    """People of a batch."""
    batches: int = 2
    """Batches of each size."""
    restarts: int = 10
    """Restarts: of ours, and of TabLeak's."""
    iterations: int = 300
    """Steps of each."""
    seed: int = 0
    """Of the first batch: draws people, network and starts."""
    out: Path = Path("results/bench")
    """Folder for authors.json, and tabular_gia_mlp.json and its like for each network."""
    json: bool = False
    """Print the rows, by file, as JSON instead of tables."""

    def check(self) -> None:
        """Refuse no size or network at all, and folders that are not what they should be."""
        from privacy.errors import InvalidInputError

        if not self.sizes:
            raise InvalidInputError("Give at least one of --sizes.")
        if not self.architectures:
            raise InvalidInputError("Give at least one of --architectures.")
        if self.tableak is None and self.tabular_gia is None:
            raise InvalidInputError(
                "Name a checkout of authors' code: --tableak, --tabular-gia or both."
            )
        for name, folder in (("tableak", self.tableak), ("tabular-gia", self.tabular_gia)):
            mark, repository = _MARKS[name]
            if folder is not None and not (folder / mark).is_file():
                raise InvalidInputError(
                    f"{folder} is no checkout of {repository}: it has no {mark}. Clone "
                    f"https://github.com/{repository} and name it with --{name}."
                )
        if self.python is not None and not self.python.is_file():
            raise InvalidInputError(
                f"There is no interpreter {self.python}; `make bench-authors` makes one, "
                ".venv-bench-tabular-gia/bin/python. Name it with --python."
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

        from experiments.run.bench_record import write_bench
        from experiments.run.record import writable_folder

        folder = writable_folder(self.out)
        by_path: dict[str, dict[str, Any]] = {}
        with Console(stderr=True).status("measuring"):
            for name, measured in self._measured():  # each is kept as soon as it is there
                path = write_bench(folder, name, measured)
                by_path[str(path)] = measured
        if self.json:
            print(json.dumps(by_path))
            return 0
        for measured in by_path.values():
            self._show(measured["rows"])
        print(f"Written: {', '.join(by_path)}")
        return 0

    def _measured(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if self.tableak is not None:
            yield "authors", self._tableak(self.tableak)
        if self.tabular_gia is not None:
            for architecture in self.architectures:
                measured = self._tabular_gia(architecture, self.tabular_gia)
                yield f"tabular_gia_{architecture}", measured

    def _tableak(self, checkout: Path) -> dict[str, Any]:
        from experiments.benchmarks.authors import measure

        return measure(
            checkout.absolute(),
            self.adult,
            sizes=self.sizes,
            batches=self.batches,
            restarts=self.restarts,
            iterations=self.iterations,
            seed=self.seed,
        )

    def _tabular_gia(self, architecture: str, checkout: Path) -> dict[str, Any]:
        from experiments.benchmarks.architectures import measure_architecture

        return measure_architecture(
            architecture,
            checkout,
            self.adult,
            self.python,
            sizes=self.sizes,
            batches=self.batches,
            restarts=self.restarts,
            iterations=self.iterations,
            seed=self.seed,
        )

    def _show(self, rows: Sequence[Mapping[str, Any]]) -> None:
        from rich.console import Console
        from rich.table import Table

        table = Table(title=f"{self.restarts} restarts of {self.iterations} steps, one thread")
        for heading in ("batch", "authors: right", "ours: right", "guess", "authors: s", "ours: s"):
            table.add_column(heading, justify="right")
        for row in rows:
            guess = f"{row['guess']:.1%}" if "guess" in row else ""
            table.add_row(
                f"{row.get('architecture', '')} {row['size']}".strip(),
                f"{row['accuracy']:.1%}", f"{row['our_accuracy']:.1%}", guess,
                f"{row['seconds']:.1f}", f"{row['our_seconds']:.1f}",
            )  # fmt: skip
        Console().print(table)
