"""The published numbers of the learning experiments, read from the committed records."""

from pathlib import Path
from typing import Any

import pytest

from experiments.record import read_records

RECORDS = read_records(Path(__file__).parents[2] / "paper" / "records")


def found(experiment: str, **config: Any) -> dict[str, Any]:
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
    for rule in ("pooled", "fedsgd", "fedavg", "scaffold", "feddyn", "agnostic"):
        plain = found("correction", cohort="heart", rule=rule)["as_trained"]
        assert plain["auc_within"]["value"] == pytest.approx(0.879, abs=0.005)
    metrics = found("correction", cohort="heart", rule="fedavg")
    assert metrics["local_intercept"]["brier"] == pytest.approx(0.118, abs=0.002)
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


def test_true_runs_kept_every_budget_and_memory_is_no_worse_than_corrected() -> None:
    aucs = {}
    for rule in ("sealed memory", "sealed corrected", "sealed synchronous"):
        metrics = found("asynchrony", cohort="heart", rule=rule)
        assert max(metrics["epsilons"].values()) <= 1.0
        aucs[rule] = metrics["final_auc"]
    assert aucs["sealed memory"] >= aucs["sealed corrected"] - 0.005


def test_a_norm_bound_helps_and_a_reversed_hospital_still_ruins_the_model() -> None:
    def auc(harm: str, defence: str) -> float:
        return float(found("poor labels", harm=harm, defence=defence)["auc_within"])

    assert auc("40 % wrong at two", "norm bound") > auc("40 % wrong at two", "no bound") + 0.02
    assert auc("25 % wrong at one", "norm bound") > 0.86
    assert auc("all reversed at one", "norm bound") < 0.75
    assert auc("all reversed at one", "scores, eps .5") > auc("all reversed at one", "norm bound")
