import json
from dataclasses import replace
from pathlib import Path

import pytest

from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.report import (
    AttackResult,
    AuditResult,
    EvaluationResult,
    ReportedEvidence,
    load_evidence,
    save_evidence,
)

ATTACK = AttackResult("server_sealed", "inversion", 200, 0.11, 0.07, 0.16, 0.95, 0.10, 0.155)
AUDIT = AuditResult("one-run", 1000, 900, 470, 0.04, 5.8, 0.95, 1e-5)
AUC = EvaluationResult("AUC", 0.81, 0.75, 0.86, 0.95, 400, 0.1, 1e-5, True)


def test_evidence_round_trips(tmp_path: Path) -> None:
    save_evidence(tmp_path / "evidence" / "attacks.json", [ATTACK, replace(ATTACK, bound=None)])
    save_evidence(tmp_path / "evidence" / "audit.json", [AUDIT])
    drowned = replace(AUC, value=None, lower=0.0, upper=1.0, epsilon=float("inf"), disjoint=False)
    save_evidence(tmp_path / "evidence" / "evaluation.json", [AUC, drowned])
    found = load_evidence(tmp_path / "evidence")
    assert found == ReportedEvidence(
        (ATTACK, replace(ATTACK, bound=None)), (AUDIT,), (AUC, drowned)
    )


def test_no_folder_means_not_measured(tmp_path: Path) -> None:
    assert load_evidence(tmp_path / "absent") == ReportedEvidence()


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"version": 2, "evidence": "attacks", "results": []},
        {"version": 1, "evidence": "rumour", "results": []},
        {"version": 1, "evidence": "attacks", "results": [{"adversary": "public"}]},
        {"version": 1, "evidence": "attacks"},
    ],
)
def test_unknown_evidence_is_never_left_out_silently(tmp_path: Path, content: object) -> None:
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(CorruptMessageError, match="can't be read"):
        load_evidence(tmp_path)


def test_impossible_results_are_refused() -> None:
    for change in ({"success": 0.5}, {"trials": 0}, {"bound": 1.1}, {"confidence": 1.0}):
        with pytest.raises(InvalidInputError):
            replace(ATTACK, **change)
    for change in ({"correct": 901}, {"ceiling": 0.01}, {"delta": 0.0}):
        with pytest.raises(InvalidInputError):
            replace(AUDIT, **change)
    for change in ({"value": 0.9}, {"upper": 1.1}, {"held_out": 0}, {"lower": -2.0}):
        with pytest.raises(InvalidInputError):
            replace(AUC, **change)
    with pytest.raises(InvalidInputError, match="one form"):
        save_evidence(Path("x.json"), [])
