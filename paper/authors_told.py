"""Our search beside its authors' code, on the same gradients: the tables of ``docs/results``.

``paper/bench/authors*.json`` and ``paper/bench/tabular_gia*.json``, one of each run, are what
``inpatient bench authors`` wrote.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.run.bench_record import read_bench
from experiments.run.text import nearest
from experiments.studies.words import NOTHING_YET
from paper.markdown import table
from privacy.errors import InvalidInputError

__all__ = [
    "architecture_rows", "architectures_block", "authors_block", "authors_rows", "committed",
]  # fmt: skip

_HEADINGS = {
    "en": ("people", "restarts, steps", "authors' code: right", "ours: right", "authors' seconds",
           "ours", "times as fast"),
    "zh": ("人数", "重启次数，步数", "作者的代码：正确", "我们的：正确", "作者的秒数", "我们的",
           "快多少倍"),
}  # fmt: skip
_ARCHITECTURE_HEADINGS = {
    "en": ("network", "people", "authors' steps, one start", "our restarts, steps",
           "authors' code: right", "ours: right", "ours, schema alone", "a guess",
           "authors' seconds", "ours"),
    "zh": ("网络", "人数", "作者的步数（一次启动）", "我们的重启次数，步数", "作者的代码：正确",
           "我们的：正确", "我们的，仅知表结构", "猜测", "作者的秒数", "我们的"),
}  # fmt: skip
_FILES = {"tableak": "authors*.json", "tabular_gia": "tabular_gia*.json"}
_ARCHITECTURES = {"mlp": "MLP", "resnet": "ResNet", "fttransformer": "FT-Transformer"}


def committed(paper: Path, program: str) -> Sequence[Mapping[str, Any]]:
    """Return what was measured beside authors' code, run by run; nothing where nothing was.

    Args:
      paper: The folder.
      program: ``tableak`` or ``tabular_gia``.

    Raises:
      InvalidInputError: One was measured with uncommitted code, or beside another version.
    """
    runs = [read_bench(path) for path in sorted((paper / "bench").glob(_FILES[program]))]
    versions = sorted({run[program] for run in runs})
    if len(versions) > 1:
        raise InvalidInputError(
            f"paper/bench holds runs beside {len(versions)} versions of {program} ("
            f"{', '.join(versions)}); keep those of one, so that one table can hold them."
        )
    return runs


def authors_rows(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """One row a batch, as text, the smaller first; none where nothing was measured."""
    rows = [row for run in runs for row in run["rows"]]
    rows.sort(key=lambda row: row["size"])
    return [
        {
            "size": str(row["size"]),
            "effort": f"{row['restarts']}, {row['iterations']}",
            "theirs": nearest(row["accuracy"]),
            "ours": nearest(row["our_accuracy"]),
            "seconds": nearest(row["seconds"], 1),
            "our_seconds": nearest(row["our_seconds"], 1),
            "ratio": nearest(row["seconds"] / row["our_seconds"], 1),
        }
        for row in rows
    ]


def authors_block(rows: Sequence[Mapping[str, str]], language: str) -> str:
    """The rows as a table."""
    if not rows:
        return NOTHING_YET[language]
    cells = ("size", "effort", "theirs", "ours", "seconds", "our_seconds", "ratio")
    return table(_HEADINGS[language], [tuple(row[c] for c in cells) for row in rows])


def architecture_rows(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """One row a batch, as text, network by network; none where nothing was measured."""
    order = list(_ARCHITECTURES)
    rows = [row for run in runs for row in run["rows"]]
    rows.sort(key=lambda row: (order.index(row["architecture"]), row["steps"], row["seed"]))
    return [
        {
            "architecture": _ARCHITECTURES[row["architecture"]],
            "size": str(row["size"]),
            "steps": str(row["steps"]),
            "effort": f"{row['restarts']}, {row['iterations']}",
            "theirs": nearest(row["accuracy"]),
            "ours": nearest(row["our_accuracy"]),
            "schema": nearest(row["schema_accuracy"]),
            "guess": nearest(row["guess"]),
            "seconds": nearest(row["seconds"], 1),
            "our_seconds": nearest(row["our_seconds"], 1),
        }
        for row in rows
    ]


def architectures_block(rows: Sequence[Mapping[str, str]], language: str) -> str:
    """The rows as a table."""
    if not rows:
        return NOTHING_YET[language]
    cells = ("architecture", "size", "steps", "effort", "theirs", "ours", "schema", "guess",
             "seconds", "our_seconds")  # fmt: skip
    return table(_ARCHITECTURE_HEADINGS[language], [tuple(row[c] for c in cells) for row in rows])
