"""``python -m experiments.replicate --data-dir FOLDER``: the published numbers beside ours."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from privacy.errors import InpatientError


@dataclass(frozen=True)
class Replicate:
    """Replicate TabLeak's accuracies and SPEAR's batch sizes on UCI Adult."""

    data_dir: Path
    """Folder with adult.data or adult.data.gz."""
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
    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> int:
        """Run both and print."""
        from experiments.replicate.adult import load_adult

        people, schema = load_adult(self.data_dir)
        rows = self._tableak(people, schema) + _spear(people, schema)
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

    def _tableak(self, people: Any, schema: Any) -> list[dict[str, Any]]:
        import numpy as np
        from joblib import Parallel, delayed

        from attacks.intervals import cluster_bootstrap
        from experiments.replicate.tableak import PUBLISHED, OneHot

        inputs = OneHot.of(schema, people)
        rows = []
        for size in self.sizes:
            results = Parallel(self.jobs)(
                delayed(_one)(people, schema, inputs, size, seed, self.restarts, self.iterations)
                for seed in range(self.batches)
            )
            for attack, values in (
                ("tableak", np.array([r.accuracy for r in results])),
                ("guess", np.array([r.guess for r in results])),
            ):
                low, high = cluster_bootstrap(
                    values, np.arange(len(values)), np.random.default_rng(0)
                )
                mean = PUBLISHED.get((size, attack))
                rows.append(
                    {
                        "what": f"{attack}, accuracy, batch {size}",
                        "published": f"{mean[0]:.3f} (sd {mean[1]:.3f})" if mean else "-",
                        "ours": float(values.mean()),
                        "lower": low,
                        "upper": high,
                        "why": "falling step, starts from the prior, no test people in the prior"
                        if attack == "tableak"
                        else "independent draws",
                    }
                )
        return rows


def _one(
    people: Any, schema: Any, inputs: Any, size: int, seed: int, restarts: int, iterations: int
) -> Any:
    import torch

    from experiments.replicate.tableak import attack_batch

    torch.set_num_threads(1)
    return attack_batch(
        people, schema, inputs, size=size, seed=seed, restarts=restarts, iterations=iterations
    )


def _spear(people: Any, schema: Any) -> list[dict[str, Any]]:
    from attacks.intervals import clopper_pearson
    from experiments.replicate.spear import solve_batch

    rows = []
    for size in (8, 12, 16, 20):
        solved = sum(solve_batch(people, schema, size=size, seed=seed).exact for seed in range(5))
        low, high = clopper_pearson(solved, 5)
        rows.append(
            {
                "what": f"spear, width 256, batch {size}, solved exactly",
                "published": "up to about 25",
                "ours": solved / 5,
                "lower": low,
                "upper": high,
                "why": "all bit vectors are tried in place of sampling; one output only",
            }
        )
    return rows


if __name__ == "__main__":
    try:
        sys.exit(tyro.cli(Replicate).run())
    except InpatientError as error:
        print(f"replicate: {error}", file=sys.stderr)
        sys.exit(2)
