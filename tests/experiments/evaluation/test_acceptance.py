"""The table of thresholds, bands, and the known effect of hospital-local intercepts."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression

from aggregation.rules import fit_intercept
from experiments.cohorts import folds, load
from experiments.evaluation import (
    AcceptanceCheck,
    Scored,
    acceptance,
    auc,
    bands,
    brier,
    calibration,
    join,
)
from experiments.evaluation.acceptance import _expected_over_observed
from privacy.errors import InvalidInputError

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "cohorts_evaluation.json").read_text())


def draw(seed: int, n: int, *, noise: float = 0.0) -> Scored:
    rng = np.random.default_rng(seed)
    scores = rng.normal(scale=1.5, size=n)
    outcomes = (rng.random(n) < 1 / (1 + np.exp(-scores))).astype(np.int64)
    return Scored(scores + noise * rng.normal(size=n), outcomes)


def test_a_model_equal_to_its_rivals_passes() -> None:
    sites = {"a": draw(0, 5_000), "b": draw(1, 5_000)}
    table = acceptance(
        sites, local=sites, pooled=sites, recalibrated=sites, unprotected=sites,
        tiers={"a": "large", "b": "small"}, replicates=200,
    )  # fmt: skip
    assert len(table) == 2 * (2 + 4) + 2
    assert {check.verdict for check in table} == {"pass"}


def test_a_model_much_worse_fails_and_an_unclear_one_is_open() -> None:
    sites, worse = {"a": draw(0, 900)}, {"a": draw(0, 900, noise=5.0)}
    table = acceptance(worse, local=sites, pooled=sites, recalibrated=worse, replicates=200)
    assert {c.verdict for c in table if c.rule.startswith("AUC")} == {"fail"}
    slope = next(c for c in table if c.rule == "calibration slope")
    assert slope.verdict == "fail"
    assert slope.value is not None
    assert slope.value < 0.8
    small, other = {"a": draw(2, 160)}, {"a": draw(2, 160, noise=0.3)}
    unclear = acceptance(other, local=small, pooled=small, recalibrated=small, replicates=200)
    assert {c.verdict for c in unclear if c.rule.startswith("AUC")} == {"open"}


def test_right_risks_hardly_ever_fail_however_many_checks_there_are() -> None:
    """Twelve hospitals, 72 checks: at 95 % each, one at least would fail nine times of ten."""
    runs, failed, outside = 20, 0, 0
    for run in range(runs):
        sites = {str(k): draw(1_000 * run + k, 250) for k in range(12)}
        table = acceptance(sites, local=sites, pooled=sites, recalibrated=sites, replicates=2)
        failed += any(c.verdict == "fail" for c in table)
        outside += any(
            c.lower is not None and c.rule == "calibration in the large" and abs(c.lower) > 0
            and (c.lower > 0 or (c.upper or 0) < 0)
            for c in table
        )  # fmt: skip
    assert failed <= binom.ppf(1 - 1e-6, runs, 0.05), failed
    assert outside > runs / 4  # what a check alone would have called wrong


def test_a_check_needs_its_whole_interval_to_pass_and_chance_to_be_excluded_to_fail() -> None:
    sites = {"a": draw(0, 5_000)}

    def checked(slope: float) -> AcceptanceCheck:
        scored = {"a": Scored(sites["a"].scores / slope, sites["a"].outcomes)}
        table = acceptance(scored, local=scored, pooled=scored, recalibrated=scored, replicates=2)
        return next(c for c in table if c.rule == "calibration slope")

    assert [checked(s).verdict for s in (1.0, 0.81, 0.78, 0.6)] == ["pass", "open", "open", "fail"]
    one = checked(0.6)
    assert one.value is not None and one.lower is not None and one.upper is not None
    assert one.lower < one.value < one.upper < 0.8
    found = calibration(Scored(sites["a"].scores / 0.6, sites["a"].outcomes)).slope
    assert found is not None and (one.lower, one.upper) == (found.lower, found.upper)


def test_calibration_error_fails_only_where_right_risks_would_hardly_show_it() -> None:
    def checked(site: Scored) -> AcceptanceCheck:
        sites = {"a": site}
        table = acceptance(sites, local=sites, pooled=sites, recalibrated=sites, replicates=2)
        return next(c for c in table if c.rule == "ECE")

    few = [checked(draw(seed, 160)) for seed in range(12)]
    assert {c.verdict for c in few} == {"pass", "open"}  # above .08 by chance alone
    assert all((c.verdict == "pass") == (c.value is not None and c.value <= 0.08) for c in few)
    tilted = draw(0, 3_000)
    assert checked(Scored(tilted.scores + 1.0, tilted.outcomes)).verdict == "fail"


def test_expected_over_observed_holds_the_truth_about_as_often_as_it_says() -> None:
    held, runs = 0, 400
    for run in range(runs):
        one = _expected_over_observed(draw(run, 300))
        held += one.lower <= 1 <= one.upper
    assert held >= binom.ppf(1e-6, runs, 0.95), held


def test_few_negatives_are_told_and_not_judged() -> None:
    sites = {"swiss": Scored(np.linspace(-1, 1, 123), np.array([0] * 8 + [1] * 115))}
    table = acceptance(sites, local=sites, pooled=sites, recalibrated=sites, replicates=20)
    assert {check.verdict for check in table} == {"too few"}


def test_a_gap_between_tiers_is_held_against_pooled_training() -> None:
    ours = {"a": draw(0, 900), "b": draw(1, 900, noise=2.0)}
    even = {"a": draw(0, 900), "b": draw(1, 900)}
    tiers = {"a": "large", "b": "small"}
    table = acceptance(
        ours, local=ours, pooled=even, recalibrated=ours, tiers=tiers, replicates=200
    )
    gap = next(check for check in table if check.rule == "AUC gap between tiers")
    assert gap.verdict == "fail"
    assert gap.value == pytest.approx(auc({"a": ours["a"]}) - auc({"b": ours["b"]}))


def test_missing_rivals_are_an_error() -> None:
    with pytest.raises(InvalidInputError, match="local scores lack hospital 'a'"):
        acceptance({"a": draw(0, 200)}, local={}, pooled={}, recalibrated={})


@pytest.fixture(scope="module")
def pooled() -> tuple[dict[str, Scored], dict[str, Scored]]:
    """Cross-validated scores of pooled logistic regression, before and after local intercepts."""
    cohort = load("heart")
    plain, recalibrated = [], []
    for fold in folds(cohort, count=5, seed=0):
        x = np.concatenate([p.features for p in fold.train.values()])
        y = np.concatenate([p.outcomes for p in fold.train.values()])
        model = LogisticRegression(max_iter=2_000).fit(x, y)
        scored, moved = {}, {}
        for name, test in fold.test.items():
            train = fold.train[name]
            intercept = fit_intercept(model.decision_function(train.features), train.outcomes)
            scored[name] = Scored(model.decision_function(test.features), test.outcomes)
            moved[name] = scored[name].shifted(intercept)
        plain.append(scored)
        recalibrated.append(moved)
    return join(*plain), join(*recalibrated)


def test_local_intercepts_mend_prevalence_and_leave_the_ranking(
    pooled: tuple[dict[str, Scored], dict[str, Scored]],
) -> None:
    before, after = pooled
    known = GOLDEN["bias"]
    assert auc(after) == pytest.approx(auc(before), abs=1e-12)
    assert auc(before) == pytest.approx(known["within_site_auc"], abs=0.005)
    assert brier(before).value == pytest.approx(known["pooled"]["brier"], abs=0.004)
    assert brier(after).value == pytest.approx(known["local_intercept"]["brier"], abs=0.004)
    assert calibration(before["switzerland"]).ece > 0.15
    assert calibration(after["switzerland"]).ece <= 0.06


def test_bands_count_every_patient_once_by_sex_and_by_age(
    pooled: tuple[dict[str, Scored], dict[str, Scored]],
) -> None:
    cohort = load("heart")
    tested = {
        name: np.concatenate([f.test[name].ids for f in folds(cohort, count=5, seed=0)])
        for name in cohort.hospitals
    }
    patients = {
        name: p.take(np.searchsorted(p.ids, tested[name])) for name, p in cohort.hospitals.items()
    }
    found = bands(pooled[0], patients, cohort.schema)
    for group in (("female", "male"), ("under 50", "50 to 64", "65 and over")):
        assert sum(ill + well for _, ill, well in (found[g] for g in group)) == 920
    assert found["female"][1:] == (50, 144)  # women of all four hospitals
    assert all(value is not None and 0.7 < value < 1 for value, _, _ in found.values())


def test_bands_are_of_the_sex_that_the_schema_tells() -> None:
    rng = np.random.default_rng(0)
    network = load("network")
    name, patients = next(iter(network.hospitals.items()))
    women = patients.features[:, network.schema.names.index("female")] > 0.5
    sites = {name: Scored(rng.normal(size=len(patients)), patients.outcomes)}
    found = bands(sites, {name: patients}, network.schema)
    assert sum(found["female"][1:]) == women.sum()
    assert sum(found["male"][1:]) == (~women).sum()
