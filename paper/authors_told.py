"""Our search beside its authors' code, on the same gradients: the table of ``docs/results``.

``paper/bench/authors.json`` is what ``inpatient bench authors`` wrote.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.run.text import nearest
from experiments.studies.words import NOTHING_YET
from paper.markdown import table
from privacy.errors import InvalidInputError

__all__ = ["authors_block", "authors_rows", "committed"]

_HEADINGS = {
    "en": ("people", "restarts, steps", "authors' code: right", "ours: right", "authors' seconds",
           "ours", "times as fast"),
    "zh": ("人数", "重启次数，步数", "作者的代码：正确", "我们的：正确", "作者的秒数", "我们的",
           "快多少倍"),
}  # fmt: skip


def committed(paper: Path) -> Mapping[str, Any] | None:
    """Return what was measured; None where nothing was.

    Raises:
      InvalidInputError: It was measured with uncommitted code.
    """
    path = paper / "bench" / "authors.json"
    if not path.exists():
        return None
    content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if content["stamp"]["dirty"]:
        raise InvalidInputError(
            f"{path} was measured with uncommitted code; make it anew with `inpatient bench "
            "authors` from a clean commit."
        )
    return content


def authors_rows(content: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """One row a batch, as text; none where nothing was measured."""
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
        for row in ([] if content is None else content["rows"])
    ]


def authors_block(rows: Sequence[Mapping[str, str]], language: str) -> str:
    """The rows as a table."""
    if not rows:
        return NOTHING_YET[language]
    cells = ("size", "effort", "theirs", "ours", "seconds", "our_seconds", "ratio")
    return table(_HEADINGS[language], [tuple(row[c] for c in cells) for row in rows])
