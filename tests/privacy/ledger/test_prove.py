import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.ledger import Budget, Ledger, Release, SigningKey
from privacy.ledger.audit.deployment import deployment
from privacy.ledger.audit.prove import check_proof, prove
from tests.privacy.ledger.test_verify import run_federation, verify

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "registry.json").read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    out = tmp_path_factory.mktemp("run")
    return out, run_federation(out)[0]


def test_an_entry_is_proved_without_showing_the_others(run: tuple[Path, dict[str, str]]) -> None:
    out, trust = run
    proof = prove(out / "ledgers" / "north.jsonl", entry=4)
    head, signers, entry = check_proof(proof, trust)
    assert head.size == 8
    assert sorted(signers) == ["south", "west"]
    assert entry is not None
    assert entry.sequence == 4
    assert json.dumps(proof).count('\\"sequence\\"') == 1


def test_an_earlier_state_is_proved_to_be_extended(run: tuple[Path, dict[str, str]]) -> None:
    out, trust = run
    proof = prove(out / "ledgers" / "north.jsonl", since=3)
    assert check_proof(proof, trust)[0].size == 8
    with pytest.raises(CorruptMessageError, match="does not extend"):
        check_proof(proof | {"since": 4}, trust)


def test_every_change_to_a_proof_is_found(run: tuple[Path, dict[str, str]]) -> None:
    out, trust = run
    proof = prove(out / "ledgers" / "north.jsonl", entry=4)
    changes: list[dict[str, Any]] = [
        {"entry": 5},
        {"line": proof["line"].replace("update", "upload")},
        {"path": proof["path"][:-1]},
        {"head": proof["head"] | {"size": 9}},
        {"countersignatures": {"south": proof["countersignatures"]["west"]}},
        {"countersignatures": {"north": proof["countersignatures"]["west"]}},
        {"proof": "hearsay"},
        {"version": 2},
        {"path": None},
    ]
    for change in changes:
        with pytest.raises(CorruptMessageError):
            check_proof(copy.deepcopy(proof) | change, trust)
    with pytest.raises(CorruptMessageError, match="trusted key"):
        check_proof(proof, {})


def test_a_proof_in_a_file_is_verified(run: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    out, trust = run
    path = tmp_path / "proof.json"
    path.write_text(json.dumps(prove(out / "ledgers" / "north.jsonl", entry=2)))
    verdict = verify(path, trust=trust)
    assert verdict.status == 0
    assert "stands in the ledger of north at 8 entries" in str(verdict.findings[0])
    path.write_text(path.read_text().replace('"entry": 2', '"entry": 3'))
    assert verify(path, trust=trust).status == 1


def test_what_cannot_be_proved_is_refused(run: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    out, _ = run
    path = out / "ledgers" / "north.jsonl"
    with pytest.raises(InvalidInputError, match="either --entry or --since"):
        prove(path)
    with pytest.raises(InvalidInputError, match="not counter-signed yet"):
        prove(path, entry=9)
    with pytest.raises(InvalidInputError, match="of 7 entries"):
        prove(path, entry=1, size=7)
    Ledger.create(
        tmp_path / "lone.jsonl", hospital="lone", key=SigningKey.generate(), budget=Budget(1.0)
    )
    with pytest.raises(InvalidInputError, match="hang in the air"):
        prove(tmp_path / "lone.jsonl", entry=0)


def test_the_registry_entry_has_the_registry_fields(run: tuple[Path, dict[str, str]]) -> None:
    out, _ = run
    content = yaml.safe_load(deployment(out))
    assert set(content) <= set(GOLDEN[""])
    assert list(content["deployment"]) == [name for name in GOLDEN if name not in ("source", "")]
    for section, fields in content["deployment"].items():
        assert set(fields) <= set(GOLDEN[section]), section
    parameters = content["deployment"]["privacy_loss"]["privacy_parameters"]
    assert parameters["delta"] == 1e-5
    assert 0.1 < parameters["epsilon"] <= 1.0
    assert content["deployment"]["administrative"]["tier"] == 3


def test_what_does_not_verify_or_promises_nothing_is_not_registered(tmp_path: Path) -> None:
    path = tmp_path / "open.jsonl"
    key = SigningKey.generate()
    ledger = Ledger.create(path, hospital="h", key=key, budget=Budget(float("inf")))
    ledger.spend(Release("update", {"type": "NonPrivateDpEvent"}, noise_source="none"))
    with pytest.raises(RefusedError, match="promises nothing"):
        deployment(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RefusedError, match="does not verify"):
        deployment(path)
