"""The published numbers of the learning experiments, read from the committed records."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.margins import LABEL_HARM
from experiments.run.record import read_records
from experiments.studies.asynchronous import SEALED_SETTINGS, ArrivalRule
from experiments.studies.poor_labels import Defence

PAPER = Path(__file__).parents[2] / "paper"
RECORDS = [*read_records(PAPER / "records"), *read_records(PAPER / "tuning")]


def found(experiment: str, **config: Any) -> Mapping[str, Any]:
    """The metrics of the one record with such a config."""
    (only,) = every(experiment, **config)
    return only


def every(experiment: str, **config: Any) -> list[Mapping[str, Any]]:
    """The metrics of all records with such a config, in the order of their names."""
    return [
        r.metrics
        for r in RECORDS
        if r.config.get("experiment") == experiment
        and all(r.config[k] == v for k, v in config.items())
    ]


def auc(harm: str, defence: str) -> float:
    """Within-site AUC with spoilt labels, the mean of at least three seeds."""
    values = [m["auc_within"] for m in every("poor labels", harm=harm, defence=defence)]
    assert len(values) >= 3
    return float(np.mean(values))


def lost(harm: str, defence: str) -> float:
    """What spoilt labels cost under a defence."""
    return auc("none", defence) - auc(harm, defence)


def test_every_published_record_is_of_a_clean_commit() -> None:
    replicated = read_records(PAPER / "records" / "replicate")
    assert not [r.name for r in (*RECORDS, *replicated) if r.stamp["dirty"]]


@pytest.mark.parametrize(
    "rule",
    ["pooled", "fedsgd", "fedavg", "fedprox", "scaffold", "fednova", "feddyn", "qffl", "fedadam",
     "agnostic", "own intercepts"],
)  # fmt: skip
def test_every_corrector_ties(rule: str) -> None:
    plain = found("correction", cohort="heart", rule=rule)["as_trained"]
    assert plain["auc_within"]["value"] == pytest.approx(0.879, abs=0.005)


def test_an_intercept_of_its_own_mends_calibration() -> None:
    own = found("correction", cohort="heart", rule="own intercepts")["as_trained"]
    after = found("correction", cohort="heart", rule="fedavg")
    assert round(own["brier"], 3) == 0.118
    # Fitted after the last round, as it has to be where privacy is asked: within one spread.
    assert (
        abs(after["local_intercept"]["brier"] - 0.118) <= after["local_intercept"]["brier_spread"]
    )
    for figures in (own, after["local_intercept"]):
        assert figures["groups"]["switzerland"]["ece"] <= 0.06
    assert 0.17 <= after["as_trained"]["groups"]["switzerland"]["ece"] <= 0.25
    assert after["release"] == "unprotected"


@pytest.mark.parametrize("harm", ["25 % wrong at one", "25 % hidden at one"])
def test_bounded_gradients_take_a_quarter_of_poor_labels_at_one_hospital(harm: str) -> None:
    for defence in ("norm bound", "bounded influence", "scores, eps .5"):
        assert lost(harm, defence) <= LABEL_HARM


def test_where_defences_on_sums_fail() -> None:
    for every_defence in Defence:  # nothing that a sum allows holds two bad hospitals of four
        assert lost("40 % wrong at two", every_defence) > LABEL_HARM
    for defence in ("norm bound", "bounded influence"):  # nor one whose labels are all reversed
        assert lost("all reversed at one", defence) > 10 * LABEL_HARM
    better = auc("all reversed at one", "scores, eps .5") - auc("all reversed at one", "norm bound")
    assert better > LABEL_HARM  # paid scores find that one, some of the time
    cheap = every("poor labels", harm="none", defence="scores, eps .1")
    assert any(
        sum(m["left_out"].values()) > 0 for m in cheap
    )  # and, paid too little, blameless ones


@pytest.mark.parametrize(("cohort", "rule"), sorted(SEALED_SETTINGS))
def test_settings_of_true_runs_are_the_best_on_simulated_studies(
    cohort: str, rule: ArrivalRule
) -> None:
    (scores,) = (
        r.metrics["scores"]
        for r in RECORDS
        if r.config.get("experiment") == "tuning asynchrony"
        and r.config["rule"] == rule
        and r.config["candidates"][0]["cohort"] == cohort
    )
    chosen = SEALED_SETTINGS[cohort, rule]
    assert {key: scores[0]["setting"][key] for key in chosen} == chosen


def by_seed(cohort: str, rule: str) -> list[Mapping[str, Any]]:
    """The metrics of at least five seeds, in the seeds' order."""
    ours = [
        r for r in RECORDS
        if r.config.get("experiment") == "asynchrony"
        and (r.config["cohort"], r.config["rule"]) == (cohort, rule)
    ]  # fmt: skip
    assert len(ours) >= 5
    return [r.metrics for r in sorted(ours, key=lambda r: int(r.config["seed"]))]


@pytest.mark.parametrize("rule", ["corrected", "memory"])
@pytest.mark.parametrize("cohort", ["heart", "network"])
def test_corrected_fedbuff_and_memory_are_faster_than_waiting_for_all(
    cohort: str, rule: str
) -> None:
    whole, ours = by_seed(cohort, "synchronous"), by_seed(cohort, rule)
    ratios = [
        own["reached"]["time"] / waited["reached"]["time"]
        for own, waited in zip(ours, whole, strict=True)
    ]
    assert np.mean(ratios) <= 0.6


def test_plain_fedbuff_converges_elsewhere() -> None:
    for rule in ("fedbuff", "fastest half", "fedasync"):
        assert all(m["reached"] is None for m in by_seed("heart", rule))


def test_true_runs_kept_every_budget_and_rank() -> None:
    for rule in ("sealed memory", "sealed corrected", "sealed synchronous"):
        seeds = by_seed("heart", rule)
        assert all(max(m["epsilons"].values()) <= 1.0 for m in seeds)
        # .82 before settings were chosen on simulated studies
        assert np.mean([m["final_auc"] for m in seeds]) >= 0.835
