"""Cohorts: hospitals with their patients, real and simulated, by name.

A hospital's own tables come by a ``cohort.toml`` (``aggregation.data.cohort``). What its vocabulary
can't say is a function from the folder of ``--data-dir`` (None: not given) to a ``Cohort``, and one
``COHORTS.add(name, function)``, in a module here or in a file that ``--plugin`` names.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

from aggregation.data.folds import Cohort, Fold, folds, folds_by_hospital
from aggregation.registry import Registry
from experiments.cohorts.dialysis import load_dialysis
from experiments.cohorts.eicu import load_eicu
from experiments.cohorts.framingham import load_framingham
from experiments.cohorts.heart import load_heart
from experiments.cohorts.ist import load_ist
from experiments.cohorts.network import Network
from privacy.errors import InvalidInputError

__all__ = [
    "COHORTS",
    "Cohort",
    "Fold",
    "Network",
    "called",
    "folds",
    "folds_by_hospital",
    "load",
    "resolve",
]


def _simulated(name: str, hospitals: int, data_dir: Path | None = None) -> Cohort:
    if data_dir is not None:
        raise InvalidInputError(f"Cohort {name!r} is simulated and reads no files: no --data-dir.")
    return Network(hospitals=hospitals).cohort(name)


COHORTS: Registry[Callable[[Path | None], Cohort]] = Registry(
    "cohort",
    {
        "heart": load_heart,
        "heart-13": partial(load_heart, features="13"),
        "heart-missing": partial(load_heart, features="18 and missing"),
        "framingham": load_framingham,
        "ist": partial(load_ist, half="all"),
        "ist-odd": partial(load_ist, half="odd"),
        "ist-even": partial(load_ist, half="even"),
        "dialysis": load_dialysis,
        "eicu-demo": load_eicu,
        "network": partial(_simulated, "network", 40),
        "network-400": partial(_simulated, "network-400", 400),
        "network-4000": partial(_simulated, "network-4000", 4_000),
    },
)


def load(name: str | Path, data_dir: Path | None = None, *, repeats: bool = False) -> Cohort:
    """Load a cohort by its name, or from a file.

    Args:
      name: One of ``COHORTS``; the path of a ``cohort.toml``; or ``NAME@KEY``, as records name a
        cohort from a file (``resolve``).
      data_dir: Folder with the original files of one of ``COHORTS``, None: as packaged; of
        ``NAME@KEY`` the path of its ``cohort.toml``.
      repeats: Whether patients may stand more than once (``Cohort.repeats``). Studies, attacks and
        their line-ups take one row for one person.

    Raises:
      InvalidInputError: An unknown name, or a file that is missing, truncated or wrong; patients
        that are not those of the key, or who stand more than once and may not.
    """
    cohort = _loaded(name, data_dir)
    if cohort.repeats.any and not repeats:
        raise InvalidInputError(
            f"In cohort {cohort.name!r} a patient may have several records, and what is asked for "
            "takes one row for one person. `inpatient train` and `inpatient cohort check` take "
            "such a cohort; for the others, choose one row a patient."
        )
    return cohort


def _loaded(name: str | Path, data_dir: Path | None) -> Cohort:
    if isinstance(name, Path) or name.endswith(".toml"):
        return Cohort.from_file(_file(str(name), data_dir))
    if "@" in name:
        return _of_key(name, data_dir)
    if name not in COHORTS:
        raise InvalidInputError(
            f"Unknown cohort {name!r}; choose one of {', '.join(COHORTS)}, or give the path of a "
            "cohort.toml."
        )
    return COHORTS[name](data_dir)


def resolve(name: str, data_dir: Path | None = None) -> tuple[str, Path | None]:
    """Return the name and the place by which every worker finds a cohort, and a record names it.

    One of ``COHORTS`` is its name and its folder: its loader knows the digest of its tables, so the
    name says what the patients are. A cohort from a file is ``NAME@KEY`` with the key of exactly
    these patients (``Cohort.key``), and the file's own path.

    Args:
      name: What a user gave: a name or the path of a ``cohort.toml``.
      data_dir: What a user gave beside it.

    Raises:
      InvalidInputError: A folder beside a file; or as ``load``.
    """
    if not name.endswith(".toml"):
        if name not in COHORTS:
            load(name)  # tells which there are
        return name, data_dir
    path = _file(name, data_dir)
    cohort = Cohort.from_file(path)
    return f"{cohort.name}@{cohort.key()}", path


def called(name: str) -> str:
    """What a cohort is called in figures and tables: without its key."""
    return name.split("@", maxsplit=1)[0]


def _file(name: str, data_dir: Path | None) -> Path:
    if data_dir is not None:
        raise InvalidInputError(
            f"{name} says itself where its tables lie, so --data-dir would change nothing. Leave "
            "it out."
        )
    return Path(name).absolute()


@lru_cache(maxsize=1)
def _of_key(name: str, path: Path | None) -> Cohort:
    """Read a cohort's file in a worker, and hold its patients against the key; kept for the next.

    A record's key must never stand over other patients, even where a table changes under a sweep.
    """
    if path is None:
        raise InvalidInputError(f"Cohort {name!r} comes from a file; give its path.")
    cohort = Cohort.from_file(path)
    current_name = f"{cohort.name}@{cohort.key()}"
    if current_name != name:
        raise InvalidInputError(
            f"{path} no longer holds the patients, the schema or the local key that this run began "
            "with. Run the command again: changed patients get records of their own."
        )
    return cohort
