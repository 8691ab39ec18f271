"""anjana's k-anonymity, in the environment that has it: jobs on the standard input, JSON out.

It runs in ``.venv-anonymity`` and imports nothing of this project: anjana pins versions of numpy,
scipy and typer that ours can't have.
"""

import contextlib
import io
import json
import sys
from typing import Any

import numpy as np
import pandas as pd
from anjana.anonymity import k_anonymity_inner


def released(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return for each k the rows of one table that are published, and the level of each column.

    Which column goes up next does not depend on k, and a larger k stops no sooner: so each k goes
    on from where the one before it stopped, in the whole table.

    Args:
      job: ``columns``: numbers of values, by column; ``hierarchies``: for each column its levels,
        each the numbers of all its values in the order of the first; ``ks``, from the least up;
        ``limit``: per cent of the rows that may be left out.
    """
    hierarchies = {
        name: {
            level: np.array([f"{level}:{v}" for v in codes]) for level, codes in enumerate(levels)
        }
        for name, levels in job["hierarchies"].items()
    }
    names, releases = list(job["columns"]), list[dict[str, Any]]()
    levels = dict.fromkeys(names, 0)
    for k in job["ks"]:
        data = pd.DataFrame({n: hierarchies[n][levels[n]][job["columns"][n]] for n in names})
        data["row"] = range(len(data))
        steps = {
            name: dict(by_level) for name, by_level in hierarchies.items()
        }  # it changes what it is given
        with contextlib.redirect_stdout(io.StringIO()):  # it tells its progress there
            kept, _, levels = k_anonymity_inner(data, [], names, k, job["limit"], steps)
        rows = [int(row) for row in kept["row"]] if len(kept) else []
        levels = {name: int(level) for name, level in levels.items()}
        releases.append({"rows": rows, "levels": levels})
    return releases


if __name__ == "__main__":
    print(json.dumps([released(job) for job in json.load(sys.stdin)]))
