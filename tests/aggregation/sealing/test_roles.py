"""An adder that could be made to open is a type error.

The lines marked ``type: ignore`` are the test: mypy --strict complains of an ignore that is not
needed, so that lint fails on the day when one of them is no longer a type error.
"""

import pickle
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aggregation.sealing import SCHEMES, Adder, Opener, Sealer, load_opener, make_scheme
from aggregation.sealing.holders import QuorumScheme
from privacy.errors import CorruptMessageError, InvalidInputError
from tests.aggregation.sealing.parties import Parties, role_that_opens


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
def test_who_has_a_secret_neither_shows_nor_pickles_it(name: str) -> None:
    scheme = make_scheme(name, dim=2, contributors=4, bound=100)
    parties: list[object] = [scheme, role_that_opens(scheme, Parties(scheme).policy())]
    parties += [scheme._secrets] if isinstance(scheme, QuorumScheme) else []
    for party in parties:
        if name != "plain":  # the one that has no secret
            with pytest.raises((InvalidInputError, TypeError)):
                pickle.dumps(party)
        shown = repr(party)
        if isinstance(scheme, QuorumScheme):
            for secret in scheme._secrets.values():
                for key in (secret.box, secret.sign):
                    assert repr(key)[2:-1] not in shown and key.hex() not in shown


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
