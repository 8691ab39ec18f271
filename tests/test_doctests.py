"""The examples in the documentation give what they say, in every module that has one."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("privacy", "aggregation", "attacks", "experiments", "paper")


def with_examples() -> list[str]:
    """Every module with an example that is not skipped."""
    finder = doctest.DocTestParser()
    found = []
    for path in sorted(p for layer in LAYERS for p in (ROOT / layer).rglob("*.py")):
        examples = finder.get_examples(path.read_text(encoding="utf-8"))
        if any(not example.options.get(doctest.SKIP) for example in examples):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def test_examples_are_found() -> None:
    assert {"privacy.calibration", "aggregation.data.tables"} <= set(with_examples())


@pytest.mark.parametrize("name", with_examples())
def test_examples(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0
