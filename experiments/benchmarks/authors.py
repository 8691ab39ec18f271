"""Our searches beside their authors' own code, on the very same gradients.

The authors' code is a checkout that whoever measures brings along (``git clone`` of
https://github.com/eth-sri/tableak); it runs in a process of its own, as it is shipped. It draws the
batch and the network, so that both attack what it attacks, with as many restarts and steps; what
both found is scored by the authors' measure (a number within .319 deviations, a level exactly) as
we have it, and the authors' own count stands beside it.
"""

import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aggregation.data.patients import Column, Patients, Schema
from attacks.knowledge.priors import Prior
from attacks.scoring import matched_accuracies
from experiments.benchmarks import authors_tableak
from experiments.benchmarks.authors_checkout import (
    commit_of,
    require_same_gradient,
    run_authors,
)
from experiments.replicate.adult import load_adult
from experiments.replicate.tableak_on_adult import OneHot, TwoLayer, recovered

__all__ = ["AuthorsRow", "measure"]

_LAYERS = (100, 100, 2)
_OURS = {"marital-status": "marital", "native-country": "country", "hours-per-week": "hours"}


@dataclass(frozen=True)
class AuthorsRow:
    """One batch.

    Attributes:
      size: People of it.
      seed: Draws batch, network and starts.
      restarts: Of both searches.
      iterations: Of each restart.
      seconds: Theirs.
      our_seconds: Ours, one thread like theirs.
      accuracy: Share of mixed features that they found, by our count.
      our_accuracy: Likewise that we found.
      counted: Theirs, by their own count.
    """

    size: int
    seed: int
    restarts: int
    iterations: int
    seconds: float
    our_seconds: float
    accuracy: float
    our_accuracy: float
    counted: float


def measure(
    tableak: Path,
    adult: Path,
    *,
    sizes: tuple[int, ...],
    batches: int,
    restarts: int,
    iterations: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the rows and what they were measured with, as plain JSON values.

    Args:
      tableak: A checkout of the authors' repository, with their copy of Adult.
      adult: Folder with ours (``experiments.replicate.adult``).
      sizes: Of batches.
      batches: Of each size.
      restarts: Of both searches.
      iterations: Of each restart.
      seed: Of the first batch.

    Raises:
      InvalidInputError: The authors' code failed, or takes its gradient of other columns.
    """
    people, schema = load_adult(adult, complete=True)
    rows = [
        _batch(tableak, people, schema, size, restarts, iterations, seed + k)
        for size in sizes
        for k in range(batches)
    ]
    return {
        "tableak": commit_of(tableak),
        "torch": torch.__version__,
        "rows": [asdict(row) for row in rows],
    }


def _batch(
    tableak: Path,
    people: Patients,
    schema: Schema,
    size: int,
    restarts: int,
    iterations: int,
    seed: int,
) -> AuthorsRow:
    given = _theirs(tableak, size=size, restarts=restarts, iterations=iterations, seed=seed)
    inputs, network = _inputs(given, schema), _network(given)
    truth, theirs = (_coded(given[name], schema) for name in ("truth", "rows"))
    labels = np.asarray(given["labels"], dtype=np.int64)
    target = torch.tensor(given["gradient"])
    with torch.no_grad():
        x = torch.tensor(truth[None], dtype=torch.float32)
        y = torch.tensor(labels[None], dtype=torch.float32)
        again = network(inputs(x), y, torch.ones_like(y))[0]
    require_same_gradient(again, target)
    in_batch = (people.features[:, None, :] == truth[None]).all(axis=2).any(axis=1)
    prior = Prior.from_table(schema, people.take(np.flatnonzero(~in_batch)))
    torch.set_num_threads(1)
    start = perf_counter()
    reconstruction = recovered(
        target, labels, network, inputs, prior, np.random.default_rng([seed, size]),
        restarts=restarts, iterations=iterations,
    )  # fmt: skip
    seconds = perf_counter() - start
    return AuthorsRow(
        size=size,
        seed=seed,
        restarts=restarts,
        iterations=iterations,
        seconds=float(given["seconds"]),
        our_seconds=seconds,
        accuracy=float(matched_accuracies(theirs, truth, prior.features).mean()),
        our_accuracy=float(matched_accuracies(reconstruction, truth, prior.features).mean()),
        counted=float(given["accuracy"]),
    )


def _theirs(tableak: Path, **settings: int) -> dict[str, NDArray[Any]]:
    with tempfile.TemporaryDirectory() as folder:
        job, result = Path(folder) / "job.json", Path(folder) / "result.npz"
        job.write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, authors_tableak.__file__, str(job), str(result)]
        run_authors(command, checkout=tableak, folder=tableak)
        with np.load(result) as archive:
            return dict(archive)


def _name(column: str) -> str:
    """What we call one of their columns."""
    feature, equals, level = column.partition("=")
    return f"{_OURS.get(feature, feature)}{equals}{level}"


def _inputs(given: dict[str, NDArray[Any]], schema: Schema) -> OneHot:
    """Their one-hot columns from our dummy-coded ones; a group's first level is our reference."""
    places = {column.name: k for k, column in enumerate(schema.columns)}
    names = [_name(str(column)) for column in given["columns"]]
    matrix, constant = np.zeros((len(schema), len(names))), np.zeros(len(names))
    for k, name in enumerate(names):
        group, equals, _ = name.partition("=")
        if not equals:
            column: Column = schema.columns[places[name]]
            matrix[places[name], k], constant[k] = column.sd, column.mean
        elif name in places:
            matrix[places[name], k] = 1.0
        elif name in _references(schema, names):
            constant[k] = 1.0
            for other, place in places.items():
                if other.startswith(f"{group}="):
                    matrix[place, k] = -1.0
    return OneHot(matrix, constant, given["mean"].astype(float), given["sd"].astype(float))


def _references(schema: Schema, names: list[str]) -> set[str]:
    """Of each group the level that none of our columns stands for: the first in the alphabet."""
    ours = {column.name for column in schema.columns}
    first: dict[str, str] = {}
    for name in sorted(n for n in names if "=" in n):
        if name not in ours:
            first.setdefault(name.partition("=")[0], name)
    return set(first.values())


def _network(given: dict[str, NDArray[Any]]) -> TwoLayer:
    sizes = (len(given["columns"]), *_LAYERS)
    flat, weights, biases, start = torch.tensor(given["weights"]), [], [], 0
    for fan_in, fan_out in pairwise(sizes):
        weights.append(flat[start : start + fan_in * fan_out].reshape(fan_out, fan_in))
        start += fan_in * fan_out
        biases.append(flat[start : start + fan_out])
        start += fan_out
    return TwoLayer(tuple(weights), tuple(biases))


def _coded(rows: NDArray[Any], schema: Schema) -> NDArray[np.float64]:
    """Their decoded rows (numbers and levels, in the table's order) as ours."""
    groups = list(dict.fromkeys(c.group or c.name for c in schema.columns))
    coded = np.zeros((len(rows), len(schema)))
    for k, column in enumerate(schema.columns):
        cells = rows[:, groups.index(column.group or column.name)]
        if column.group:
            coded[:, k] = cells == column.name.partition("=")[2]
        else:
            coded[:, k] = (cells.astype(float) - column.mean) / column.sd
    return coded
