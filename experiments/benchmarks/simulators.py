"""Other people's simulators of many clients, each in a process that does our job.

They are favoured where they are not equal: starting them is not timed, pfl's two processes share
the hospitals without having to add up, and what a client of ``flower`` and ``pfl`` computes is our
own arithmetic. pfl runs with its own PyTorch path as well (``pfl_torch_round``): once on our job in
floating point, once on the lighter one that it offers ready-made.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.benchmarks.federation_job import Job
from privacy.errors import InvalidInputError

__all__ = ["PFL_PYTHON", "Peer", "find_peers"]

PFL_PYTHON = Path(".venv-bench-pfl/bin/python")
_PROCESSES = 2

# Seconds of a round, and the seeded sum; None where the arithmetic is not ours.
Peer = Callable[[Job], tuple[float, NDArray[np.int64] | None]]


def find_peers(pfl_python: Path) -> Mapping[str, Peer]:
    """Return the peers, by name.

    Raises:
      InvalidInputError: One is absent.
    """
    absent = [name for name in ("flwr", "ray") if find_spec(name) is None]
    if not pfl_python.is_file() or _start([str(pfl_python), "-c", "import pfl"]).returncode:
        absent.append(f"pfl (in {pfl_python})")
    if absent:
        raise InvalidInputError(
            f"The benchmark compares with {', '.join(absent)}, which this environment does not "
            "have. Run `make bench-federation`: it makes .venv-bench and .venv-bench-pfl with all "
            "peers and starts there. For our own figures alone say --ours."
        )
    return {
        "flower": _flower,
        "pfl": partial(_pfl, pfl_python),
        "pfl (its own PyTorch)": partial(_pfl, pfl_python, unit="patient"),
        "pfl (its own PyTorch, hospitals clipped)": partial(_pfl, pfl_python, unit="hospital"),
    }


def _flower(job: Job) -> tuple[float, NDArray[np.int64]]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        job.save(path)
        measured = _run([sys.executable, "-m", "experiments.benchmarks.flower_round", str(path)])
    return float(np.median(measured["seconds"])), np.array(measured["seeded_sum"], dtype=np.int64)


def _pfl(python: Path, job: Job, unit: str | None = None) -> tuple[float, NDArray[np.int64] | None]:
    """Time pfl in a process a core: with our arithmetic, or with its own and some unit clipped."""
    cuts = [job.hospitals * k // _PROCESSES for k in range(_PROCESSES + 1)]
    module, last = ("pfl_round", []) if unit is None else ("pfl_torch_round", [unit])
    with TemporaryDirectory() as folder, ThreadPoolExecutor(_PROCESSES) as pool:
        path = Path(folder) / "job.json"
        job.save(path)
        start = [str(python), "-m", f"experiments.benchmarks.{module}", str(path)]
        ranges = ([*start, str(low), str(high), *last] for low, high in pairwise(cuts))
        parts = list(pool.map(_run, ranges))
    seconds = float(np.median(np.max([part["seconds"] for part in parts], axis=0)))
    if unit is not None:
        return seconds, None
    return seconds, np.sum([part["seeded_sum"] for part in parts], axis=0)


def _run(command: Sequence[str]) -> dict[str, Any]:
    """Return the JSON that a process prints last."""
    done = _start(command)
    if done.returncode:
        raise InvalidInputError(
            f"The peer `{' '.join(command[:3])}` failed: {done.stderr.strip()[-500:]} "
            "Make its environment anew, or say --ours."
        )
    measurements: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return measurements


def _start(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # S603: interpreters of the two environments, running our own modules
    return subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own words
