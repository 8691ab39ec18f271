"""What an auditor's environment can do (``requirements-audit.lock``): modules of no other package.

``make audit`` makes that environment. Here a process is refused every import that it would lack.
"""

import re
import subprocess
import sys
import warnings
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from privacy.ledger import Budget, Ledger, SigningKey, close, save_trust
from privacy.ledger.accountant import RenyiOnly
from privacy.ledger.opacus import register
from tests.privacy.ledger.test_opacus import Training
from tests.privacy.ledger.test_spending import REGISTERED

ROOT = Path(__file__).resolve().parents[3]
LOCKED = {
    re.sub(r"[-_.]+", "-", name).lower()
    for name in re.findall(r"^([\w.-]+)==", (ROOT / "requirements-audit.lock").read_text(), re.M)
}
LACKING = {
    module
    for module, owners in packages_distributions().items()
    if not any(re.sub(r"[-_.]+", "-", owner).lower() in LOCKED for owner in owners)
} - {"privacy"} | {"aggregation", "attacks", "experiments", "paper", "tests"}
ALONE = """
import importlib.abc, sys
class Only(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {lacking}:
            raise ModuleNotFoundError("No module named " + repr(top), name=top)
sys.meta_path.insert(0, Only())
sys.path.insert(0, {root!r})
from privacy.ledger.__main__ import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger that a real training by Opacus filled, closed, with its public key beside it."""
    folder = tmp_path_factory.mktemp("opacus")
    key = SigningKey.create(folder / "north.key")
    ledger = Ledger.create(
        folder / "north.jsonl",
        hospital="north",
        key=key,
        budget=Budget(epsilon=50.0),
        foreign="Opacus",
        accountant=RenyiOnly(),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Secure RNG turned off")
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        Training(register(ledger, steps=8), noise=1.5).run(2)
    close([ledger])
    save_trust(folder / "keys.json", {"north": key.public})
    return folder


def audited(*arguments: str | Path) -> tuple[int, str]:
    """Status and everything printed of ``python -m privacy.ledger`` with no other package."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", ALONE.format(lacking=LACKING, root=str(ROOT)),
         *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_what_it_lacks_is_lacking() -> None:
    """The test's own gate: of a package outside the lock not even the name is found."""
    assert {"torch", "opacus", "sklearn", "aggregation"} <= LACKING
    assert not {"numpy", "scipy", "cryptography", "yaml", "privacy"} & LACKING


def test_a_ledger_that_opacus_filled_verifies(filled: Path) -> None:
    trust = ("--trust", filled / "keys.json")
    status, said = audited("verify", filled / "north.jsonl", *trust)
    assert status == 0 and "OK" in said and "north" in said, said
    status, said = audited("show", filled / "north.jsonl")
    assert status == 0 and "Nothing was verified here" in said, said
    status, said = audited("prove", filled / "north.jsonl", "--entry", "2")
    assert status == 2 and "counter-signed" in said, said  # a lone hospital has no peers
    page = filled / "page"
    status, said = audited("report", filled / "north.jsonl", *trust, "--out", page)
    assert status == 0 and sorted(path.suffix for path in page.glob("*.html")), said


def test_one_changed_digit_fails_there_too(filled: Path, tmp_path: Path) -> None:
    content = (filled / "north.jsonl").read_bytes()
    old = b'"noise_multiplier":1.5'
    assert content.count(old) >= 8
    path = tmp_path / "north.jsonl"
    path.write_bytes(content.replace(old, b'"noise_multiplier":9.5', 3))
    status, said = audited("verify", path, "--trust", filled / "keys.json")
    assert status == 1 and "FAIL" in said, said


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("spent.toml", "[[phase]]\nnoise_multiplier = 9.0\nsteps = 2\n"),
        ("spent.json", '{"type": "GaussianDpEvent", "noise_multiplier": 9.0}'),
        ("spent.yaml", REGISTERED),
    ],
)
def test_spending_of_every_text_is_entered(tmp_path: Path, name: str, content: str) -> None:
    key = SigningKey.create(tmp_path / "north.key")
    Ledger.create(tmp_path / "north.jsonl", hospital="north", key=key, budget=Budget(50.0))
    (tmp_path / name).write_text(content)
    status, said = audited(
        "enter", tmp_path / "north.jsonl", tmp_path / name, "--key", tmp_path / "north.key",
        "--operator", "Dr. Lin", "--source", "elsewhere", "--same-patients",
    )  # fmt: skip
    assert status == 0 and "elsewhere" in said, said


def test_a_checkpoint_is_refused_in_words(tmp_path: Path) -> None:
    key = SigningKey.create(tmp_path / "north.key")
    Ledger.create(tmp_path / "north.jsonl", hospital="north", key=key, budget=Budget(50.0))
    status, said = audited(
        "enter", tmp_path / "north.jsonl",
        ROOT / "tests" / "captures" / "opacus" / "poisson" / "checkpoint.pt",
        "--key", tmp_path / "north.key", "--operator", "Dr. Lin", "--source", "elsewhere",
        "--same-patients",
    )  # fmt: skip
    assert status == 2 and "torch" in said and "Traceback" not in said, said
