"""An adder that could be made to open is a type error.

The lines marked ``type: ignore`` are the test: mypy --strict complains of an ignore that is not
needed, so that lint fails on the day when one of them is no longer a type error.
"""

import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aggregation.sealing import SCHEMES, Adder, Opener, Sealer, load_opener, make_scheme
from privacy.errors import CorruptMessageError
from tests.aggregation.sealing.parties import Parties


def open_with(opener: Opener, total: bytes) -> None:
    """Take an opener and nothing else."""
    opener.open(total, [])


def what_no_type_checker_lets_pass(adder: Adder, sealer: Sealer) -> list[Callable[[], object]]:
    return [
        lambda: adder.open(b"", []),  # type: ignore[attr-defined]
        lambda: open_with(adder, b""),  # type: ignore[arg-type]
        lambda: open_with(sealer, b""),  # type: ignore[arg-type]
        lambda: sealer.open(b"", []),  # type: ignore[attr-defined]
    ]


def test_the_type_checker_would_say_so() -> None:
    settings = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    mypy = settings["tool"]["mypy"]
    assert mypy["strict"]  # which warns of unused ignores
    assert mypy.get("warn_unused_ignores", True)
    assert "tests" in mypy["packages"]
    assert not any(o.get("warn_unused_ignores") is False for o in mypy["overrides"])


@pytest.mark.parametrize("name", SCHEMES)
def test_at_run_time_there_is_nothing_to_call_either(name: str) -> None:
    scheme = make_scheme(name, dim=3, contributors=4, bound=1000)
    adder, sealer = scheme.adder(), scheme.sealer("zurich")
    adder.add(sealer.seal(np.array([1, 2, 3])))
    for call in what_no_type_checker_lets_pass(adder, sealer):
        with pytest.raises((AttributeError, TypeError)):
            call()
    for role in (adder, sealer):
        with pytest.raises(CorruptMessageError, match="but the frame says"):
            load_opener(role.to_bytes(), Parties(scheme).policy())
