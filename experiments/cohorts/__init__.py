"""Cohorts: hospitals with their patients, real and simulated, by name.

A new cohort is one module with a function that returns a ``Cohort``, and one line in ``COHORTS``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from experiments.cohorts.cohort import Cohort, Fold, folds
from experiments.cohorts.framingham import load_framingham
from experiments.cohorts.heart import load_heart
from experiments.cohorts.network import Network
from privacy.errors import InvalidInputError

__all__ = ["COHORTS", "Cohort", "Fold", "Network", "folds", "load"]


def _simulated(name: str, hospitals: int, data_dir: Path | None = None) -> Cohort:
    if data_dir is not None:
        raise InvalidInputError(f"Cohort {name!r} is simulated and reads no files: no --data-dir.")
    return Network(hospitals=hospitals).cohort(name)


COHORTS: Mapping[str, Callable[[Path | None], Cohort]] = {
    "heart": load_heart,
    "heart-13": partial(load_heart, features="13"),
    "heart-missing": partial(load_heart, features="18 and missing"),
    "framingham": load_framingham,
    "network": partial(_simulated, "network", 40),
    "network-400": partial(_simulated, "network-400", 400),
    "network-4000": partial(_simulated, "network-4000", 4_000),
}


def load(name: str, data_dir: Path | None = None) -> Cohort:
    """Load a cohort by its name.

    Args:
      name: One of ``COHORTS``.
      data_dir: Folder with the cohort's original files; None: as packaged.

    Raises:
      InvalidInputError: An unknown name, or a file that is missing, truncated or wrong.
    """
    if name not in COHORTS:
        raise InvalidInputError(f"Unknown cohort {name!r}; choose one of {', '.join(COHORTS)}.")
    return COHORTS[name](data_dir)
