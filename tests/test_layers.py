"""The packages are layers: imports point downwards only, and light commands stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("privacy", "aggregation", "attacks", "experiments", "paper")


def imported_packages(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def test_the_reader_of_imports_sees_late_and_early_ones() -> None:
    source = "import attacks.views\ndef f():\n    from experiments import cli\n"
    assert imported_packages(source) == {"attacks", "experiments"}


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_import_only_downwards(layer: str) -> None:
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    files = sorted((ROOT / layer).rglob("*.py"))
    assert files
    upward = {
        str(path.relative_to(ROOT)): sorted(imported_packages(path.read_text()) & above)
        for path in files
    }
    assert {name: found for name, found in upward.items() if found} == {}


@pytest.mark.parametrize(
    "statement",
    [
        "from experiments.cli import main; main(['--help'])",
        "from experiments.cli import main; main(['ledger', 'verify', '--help'])",
        "from privacy.ledger.__main__ import main; main(['verify', '--help'])",
        "import privacy.ledger",
        "import privacy.mechanisms",
    ],
)
def test_light_commands_import_nothing_heavy(statement: str) -> None:
    code = (
        "import sys\n"
        f"try:\n    {statement}\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'opacus', 'tenseal'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_every_public_name_of_aggregation_is_there() -> None:
    import aggregation

    assert {name for name in aggregation.__all__ if getattr(aggregation, name)} == set(
        aggregation.__all__
    )
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = aggregation.Nothing


@pytest.mark.parametrize("layer", [*LAYERS, "tests"])
def test_no_module_is_longer_than_one_idea(layer: str) -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in (ROOT / layer).rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 450} == {}


def test_a_modules_name_means_one_thing() -> None:
    """But for what a package is entered by."""
    by_name: dict[str, list[str]] = {}
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            if path.stem not in ("__init__", "__main__"):
                by_name.setdefault(path.stem, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in by_name.items() if len(paths) > 1} == {}


def test_a_public_classs_name_means_one_thing() -> None:
    by_name: dict[str, list[str]] = {}
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    by_name.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in by_name.items() if len(paths) > 1} == {}
