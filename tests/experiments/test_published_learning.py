"""The published numbers of the learning experiments, read from the committed records."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.record import read_records

RECORDS = read_records(Path(__file__).parents[2] / "paper" / "records")


def found(experiment: str, **config: Any) -> Mapping[str, Any]:
    """The metrics of the one record with such a config."""
    (only,) = [
        r.metrics
        for r in RECORDS
        if r.config.get("experiment") == experiment
        and all(r.config[k] == v for k, v in config.items())
    ]
    return only


def test_the_records_are_of_clean_commits() -> None:
    ours = [r for r in RECORDS if r.config.get("experiment") in ("correction", "asynchrony")]
    assert ours and not any(r.stamp["dirty"] for r in ours)


def test_every_corrector_ties_and_a_local_intercept_mends_calibration() -> None:
    for rule in ("pooled", "fedsgd", "fedavg", "scaffold", "feddyn"):
        plain = found("correction", cohort="heart", rule=rule)["as_trained"]
        assert plain["auc_within"]["value"] == pytest.approx(0.879, abs=0.005)
    # AFL's losses are paid for: its weights follow noise, and it loses a hundredth.
    agnostic = found("correction", cohort="heart", rule="agnostic")["as_trained"]
    assert 0.855 <= agnostic["auc_within"]["value"] <= 0.884
    metrics = found("correction", cohort="heart", rule="fedavg")
    assert metrics["local_intercept"]["brier"] == pytest.approx(0.118, abs=0.003)
    assert metrics["local_intercept"]["groups"]["switzerland"]["ece"] <= 0.06
    assert 0.17 <= metrics["as_trained"]["groups"]["switzerland"]["ece"] <= 0.25
    assert metrics["release"] == "unprotected"


@pytest.mark.parametrize("cohort", ["heart", "network"])
def test_corrected_fedbuff_and_memory_are_faster_than_waiting_for_all(cohort: str) -> None:
    whole = found("asynchrony", cohort=cohort, rule="synchronous")["reached"]["time"]
    for rule in ("corrected", "memory"):
        assert found("asynchrony", cohort=cohort, rule=rule)["reached"]["time"] <= 0.6 * whole


def test_plain_fedbuff_converges_elsewhere() -> None:
    for rule in ("fedbuff", "fastest half", "fedasync"):
        assert found("asynchrony", cohort="heart", rule=rule)["reached"] is None


def test_true_runs_kept_every_budget_and_rank() -> None:
    for rule in ("sealed memory", "sealed corrected", "sealed synchronous"):
        metrics = found("asynchrony", cohort="heart", rule=rule)
        assert max(metrics["epsilons"].values()) <= 1.0
        assert metrics["final_auc"] >= 0.835  # .82 before settings were chosen on simulated studies
