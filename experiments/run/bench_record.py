"""What a benchmark measured, kept with the code that it measured.

Speeds differ from machine to machine, so they are in no record of ``record``; but which code they
are of is told in the same words, and a page tells of no other than committed code.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.run.record import stamp, write_new
from privacy.errors import InvalidInputError

__all__ = ["read_bench", "write_bench"]


def write_bench(folder: Path, name: str, measured: Mapping[str, Any]) -> Path:
    """Write ``NAME.json``, or ``NAME-2.json`` where that stands, with the stamp of the code.

    Args:
      folder: Made if it lacks.
      name: Of the benchmark.
      measured: Plain JSON values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps({**measured, "stamp": stamp()}, sort_keys=True, indent=1) + "\n"
    (path,) = write_new((folder / f"{name}.json", content.encode()))
    return path


def read_bench(path: Path) -> dict[str, Any]:
    """Return what was measured, and its ``stamp``.

    Guarantees (each is a test in ``tests/experiments/test_bench_record.py``):
      - what was written is read;
      - a record that does not say which commit it measured, or that measured code which no commit
        holds, is refused.

    Raises:
      InvalidInputError: No JSON, no such record, or not of a commit.
    """
    again = "Measure it again, from a clean commit, with --out of its folder."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInputError(f"{path} is not JSON ({error}). {again}") from error
    if not isinstance(content, dict):
        raise InvalidInputError(f"{path} holds no benchmark. {again}")
    code_stamp = content.get("stamp")
    if (
        not isinstance(code_stamp, dict)
        or code_stamp.get("dirty") is not False
        or not code_stamp.get("commit")
    ):
        raise InvalidInputError(
            f"{path} does not say which commit it measured, or measured uncommitted code. {again}"
        )
    return content
