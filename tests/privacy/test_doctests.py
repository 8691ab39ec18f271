"""The examples in the documentation give what they say."""

import doctest
import importlib

import pytest

MODULES = [
    "privacy._validate",
    "privacy.accounting",
    "privacy.accounting.events",
    "privacy.accounting.gaussian",
    "privacy.accounting.tradeoff",
    "privacy.accounting.units",
    "privacy.auditing.distinguish",
    "privacy.auditing.one_run",
    "privacy.calibration",
    "privacy.mechanisms.additive",
    "privacy.mechanisms.clipping",
    "privacy.mechanisms.noise",
    "privacy.reconstruction",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0
