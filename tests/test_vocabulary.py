"""A variable's name says what the value is: six words that say nothing of it are no names."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
VAGUE = {"asked", "found", "known", "left", "own", "told"}
PINNED = {
    # A plan names a shipped model by its file's digest: a word in it would be another model.
    "aggregation/models/shipped/embedded.py",
    "aggregation/models/shipped/transformer.py",
}


def named(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Variables and parameters that are given one of the words; fields of classes are not."""
    fields: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            fields |= {id(line.target) for line in node.body if isinstance(line, ast.AnnAssign)}
        elif isinstance(node, ast.FunctionDef) and node.name == "__init__":
            fields |= {id(parameter) for parameter in node.args.kwonlyargs}
    for node in ast.walk(tree):
        if id(node) in fields:
            continue
        if isinstance(node, ast.arg) and node.arg in VAGUE:
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in VAGUE:
            yield node.id, node.lineno


@pytest.mark.parametrize("package", ["privacy", "aggregation", "attacks", "experiments", "paper"])
def test_no_variable_has_a_name_that_says_nothing(package: str) -> None:
    vague = [
        (str(path.relative_to(ROOT)), *place)
        for path in sorted((ROOT / package).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in PINNED
        for place in named(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert vague == []


def test_the_test_can_fail() -> None:
    code = "class A:\n    left: int\n\ndef f(own):\n    found = own\n    return found\n"
    assert {name for name, _ in named(ast.parse(code))} == {"own", "found"}
