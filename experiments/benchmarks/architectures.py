"""Our search beside tabular-GIA's authors' own code, with the network's architecture as a factor.

The authors' code is a checkout that whoever measures brings along (``git clone`` of
https://github.com/scaleoutsystems/tabular-GIA). Each batch is a process of its own
(``authors_tabular_gia``), whose interpreter has what the authors' modules import: it draws people
and network, and both attack the one gradient that the authors' code takes of them. This module says
what the batch is in their columns and in ours, and gathers the rows.

Equal efforts are equal numbers of batch gradients: theirs has one start and takes
``restarts * iterations`` steps from it (published: 10000), ours shares them out among restarts.
Unequal is what is known: theirs starts from N(0, 1) in each column; ours has ranges and marginals
of other people, and once more the schema alone, which says ranges and levels but no shares.
Each architecture is measured by itself, for the larger ones take long.
"""

import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from aggregation.data.patients import Patients, Schema
from attacks.knowledge.features import Feature, features_of
from attacks.knowledge.priors import Prior
from experiments.benchmarks.authors_checkout import commit_of, run_authors
from experiments.replicate.tableak_on_adult import OneHot

__all__ = ["ARCHITECTURES", "ArchitectureRow", "Attacked", "Layout", "measure_architecture"]

ARCHITECTURES = {"mlp": "small", "resnet": "resnet", "fttransformer": "fttransformer"}
"""The authors' preset of each architecture."""
PUBLISHED_STEPS = 10_000
"""Steps of the authors' own configuration."""

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class ArchitectureRow:
    """One batch.

    Attributes:
      architecture: Of the network, untrained.
      weights: Numbers of its gradient.
      size: People of the batch.
      seed: Draws people, network and starts.
      steps: Theirs, from one start.
      restarts: Ours.
      iterations: Of each.
      seconds: Theirs, one thread, as the processor counts them: other processes don't show.
      our_seconds: Ours, likewise, with marginals.
      accuracy: Share of mixed features that they found, by our count.
      our_accuracy: Likewise that we found, knowing marginals of other people.
      schema_accuracy: Likewise that we found, knowing the schema alone.
      guess: Likewise that the marginals' best guesses get right, with no gradient seen.
      counted: Theirs, by their own count: rows are matched by distance, not by what is right.
    """

    architecture: str
    weights: int
    size: int
    seed: int
    steps: int
    restarts: int
    iterations: int
    seconds: float
    our_seconds: float
    accuracy: float
    our_accuracy: float
    schema_accuracy: float
    guess: float
    counted: float


@dataclass(frozen=True)
class Layout:
    """The columns that the authors' models take, from our dummy-coded ones.

    Attributes:
      numbers: The numeric features, standardised; they come first.
      categories: The categorical ones, in order.
      inputs: Numbers, then 0 or 1 for each level of each category, its reference first: what MLP
        and ResNet take, and the FT-Transformer where levels are soft.
    """

    numbers: tuple[Feature, ...]
    categories: tuple[Feature, ...]
    inputs: OneHot

    @classmethod
    def of(cls, schema: Schema) -> "Layout":
        """Take numbers and categories in the schema's order."""
        features = features_of(schema)
        scaled = OneHot.of(schema, Patients(np.zeros((1, len(schema))), np.zeros(1, dtype=int)))
        width = len(scaled.constant)
        return cls(
            tuple(f for f in features if f.numeric),
            tuple(f for f in features if not f.numeric),
            OneHot(scaled.matrix, scaled.constant, np.zeros(width), np.ones(width)),
        )

    @property
    def cardinalities(self) -> list[int]:
        """Levels of each category."""
        return [len(f.columns) + 1 for f in self.categories]

    def coded(self, rows: Float[np.ndarray, "patients features"]) -> NDArray[np.float64]:
        """Numbers, then the place of each category's level: what the FT-Transformer takes."""
        numbers = [rows[:, f.columns[0]] for f in self.numbers]
        return np.column_stack([*numbers, *(f.codes(rows) for f in self.categories)])

    def largest(self, inputs: Float[np.ndarray, "patients inputs"]) -> NDArray[np.float64]:
        """Code inputs of which each category's largest column is its level."""
        start, columns = len(self.numbers), [inputs[:, : len(self.numbers)]]
        for count in self.cardinalities:
            columns.append(inputs[:, start : start + count].argmax(axis=1)[:, None])
            start += count
        return np.concatenate(columns, axis=1)

    def rows(self, coded: Float[np.ndarray, "patients coded"]) -> NDArray[np.float64]:
        """Return coded people as ours: the inverse of ``coded``."""
        places = [*self.numbers, *self.categories]
        rows = np.zeros((len(coded), sum(len(f.columns) for f in places)))
        for values, f in zip(coded.T, places, strict=True):
            if f.numeric:
                rows[:, f.columns[0]] = values
            else:
                f.write(rows, values.astype(np.int64))
        return rows


@dataclass(frozen=True)
class Attacked:
    """A batch, and what is known of other people.

    Attributes:
      truth: The people, in our columns.
      labels: Their outcomes.
      marginals: Of everybody else.
    """

    truth: Float[np.ndarray, "patients features"]
    labels: NDArray[np.int64]
    marginals: Prior

    @classmethod
    def drawn(cls, people: Patients, schema: Schema, size: int, seed: int) -> "Attacked":
        """Draw a batch at random; its people are in nobody's marginals."""
        chosen = np.random.default_rng([seed, size]).choice(len(people), size, replace=False)
        others = people.take(np.setdiff1d(np.arange(len(people)), chosen))
        batch = people.take(chosen)
        return cls(batch.features, batch.outcomes, Prior.from_table(schema, others))


def measure_architecture(
    architecture: str,
    checkout: Path,
    adult: Path,
    python: Path | None = None,
    *,
    sizes: tuple[int, ...],
    batches: int,
    restarts: int,
    iterations: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the rows and what they were measured with, as plain JSON values.

    Args:
      architecture: Of ``ARCHITECTURES``.
      checkout: Of the authors' repository.
      adult: Folder with Adult (``experiments.replicate.adult``).
      python: Interpreter that has what their modules import and what ours do; None: this one.
      sizes: Of batches.
      batches: Of each size.
      restarts: Of our search.
      iterations: Of each restart; theirs takes as many steps as all restarts together.
      seed: Of the first batch.

    Raises:
      InvalidInputError: The authors' code failed, or takes its gradient of other columns.
    """
    rows, torches = [], set()
    for size in sizes:
        for k in range(batches):
            fields = _batch(
                python or Path(sys.executable),
                {
                    "checkout": str(checkout.absolute()), "adult": str(adult.absolute()),
                    "architecture": architecture, "size": size, "restarts": restarts,
                    "iterations": iterations, "seed": seed + k,
                },
            )  # fmt: skip
            torches.add(fields.pop("torch"))
            rows.append(ArchitectureRow(**fields))
    return {
        "tabular_gia": commit_of(checkout),
        "published_steps": PUBLISHED_STEPS,
        "torch": ", ".join(sorted(torches)) or torch.__version__,
        "rows": [asdict(row) for row in rows],
    }


def _batch(python: Path, job: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:  # theirs writes caches where it stands
        job_path, result = Path(folder) / "job.json", Path(folder) / "result.json"
        job_path.write_text(json.dumps(job), encoding="utf-8")
        program = "experiments.benchmarks.authors_tabular_gia"
        run_authors(
            [str(python.absolute()), "-m", program, str(job_path), str(result)],
            checkout=Path(job["checkout"]),
            folder=Path(folder),
            environment={"PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"},
            way_out="The interpreter needs both environments (`make bench-authors` makes one); "
            "name it with --python.",
        )
        fields: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return fields
