"""One sealed point's way through the code: ``python -m tests.walk`` lists the files it passes.

A file counts where one of its functions is called (its body alone, run by an import, does not),
beside how many of its functions are, and how long they and the file are.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from experiments.studies.design import Design, Regime, TrainingSetting
from experiments.studies.frontier.metrics import summarise
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.lineups import AttackSuite

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("privacy", "aggregation", "attacks", "experiments")
SUITE = AttackSuite(("closed_form", "likelihood_ratio", "informed"))


@dataclass(frozen=True)
class Passed:
    """A file on the way.

    Attributes:
      functions: Of it that were called.
      called_lines: That these have together.
      lines: Of the whole file.
    """

    functions: int
    called_lines: int
    lines: int


def walk() -> dict[str, Passed]:
    """Train, seal, open, account, attack and score one point, and say where the way led."""
    called: set[CodeType] = set()

    def seen(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            called.add(frame.f_code)

    point = FrontierPoint(
        Design.SEALED, 1.0, Regime.FULL, "logistic", SUITE,
        setting=TrainingSetting(2, 1.0, 1.0, 1), folds=3,
    )  # fmt: skip
    sys.setprofile(seen)
    try:
        summarise(point, [point.measure(unit) for unit in point.units])
    finally:
        sys.setprofile(None)
    by_file: dict[str, set[CodeType]] = defaultdict(set)
    for code in called:
        path = Path(code.co_filename)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES:
            by_file[str(path.relative_to(ROOT))].add(code)
    found = {
        name: _passed(name, {(code.co_name, code.co_firstlineno) for code in codes})
        for name, codes in sorted(by_file.items())
    }
    return {name: passed for name, passed in found.items() if passed.functions}


def _passed(name: str, codes: set[tuple[str, int]]) -> Passed:
    text = (ROOT / name).read_text(encoding="utf-8")
    functions = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
        and any(
            (node.name, line) in codes
            for line in (node.lineno, *(d.lineno for d in node.decorator_list))
        )
    ]
    lines = sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in functions)
    return Passed(len(functions), lines, len(text.splitlines()))


def told(found: Mapping[str, Passed]) -> str:
    """The files, and their sums."""
    rows = [f"{p.functions:4d} {p.called_lines:5d} {p.lines:5d}  {n}" for n, p in found.items()]
    sums = [
        sum(getattr(p, k) for p in found.values()) for k in ("functions", "called_lines", "lines")
    ]
    last = f"{sums[0]:4d} {sums[1]:5d} {sums[2]:5d}  in {len(found)} files"
    return "\n".join(["functions called, their lines, the file's", *rows, last])


if __name__ == "__main__":
    sys.stdout.write(told(walk()) + "\n")
