"""Every file that the architecture names is there, and so is every name that others call."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
LAYERS = ("privacy", "aggregation", "attacks", "experiments", "paper", "tests")
FILES = sorted(set(re.findall(rf"`((?:{'|'.join(LAYERS)})/[\w./]*)`", TEXT)))

CALLED = {
    "privacy.accounting": "epsilon delta",
    "privacy.reconstruction": "success_bound",
    "privacy.calibration": "noise_multiplier",
    "privacy.auditing": "epsilon_lower_bound",
    "privacy.ledger": "Ledger Release Planned verify",
    "privacy.ledger.opacus": "LedgerAccountant register",
    "aggregation": (
        "Hospital Aggregator Federation Transcript Model TorchModel Plan Patients Schema Cohort"
    ),
    "aggregation.capture": "from_weights from_opacus from_flower from_nvflare",
    "aggregation.data": "Schema read_table Cohort",
    "aggregation.sealing": "make_scheme Sealer Adder Opener",
    "attacks": "observe reconstruct score",
    "experiments.cohorts": "load",
}
"""What other people's code calls, by module: stable from version to version."""


@pytest.mark.parametrize("file", FILES)
def test_every_file_that_the_architecture_names_is_there(file: str) -> None:
    assert (ROOT / file).exists()


def test_the_way_passes_through_every_layer_and_few_files() -> None:
    named = {file for file in FILES if file.endswith(".py")}
    assert {file.split("/")[0] for file in named} >= set(LAYERS) - {"paper"}
    assert 20 <= len(named) <= 60


def test_every_hop_names_its_file() -> None:
    hops = [line for line in TEXT.splitlines() if re.match(r"\| \d+\. ", line)]
    assert [int(re.findall(r"\d+", hop)[0]) for hop in hops] == list(range(1, len(hops) + 1))
    assert all("`" in hop.split("|")[2] for hop in hops)


@pytest.mark.parametrize(
    ("module", "name"), [(m, n) for m, ns in CALLED.items() for n in ns.split()]
)
def test_what_others_call_is_there(module: str, name: str) -> None:
    assert getattr(import_module(module), name) is not None
