"""The simulated network: the published equations, its promises, its known truth."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from experiments.cohorts import Network, load
from experiments.cohorts.network import BLOCK, SCHEMA, NetworkBlock
from experiments.cohorts.prevent import log_odds
from experiments.evaluation import Scored, auc
from privacy.errors import InvalidInputError

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "cohorts_prevent.json").read_text())


def test_the_worked_example_is_the_published_one() -> None:
    example = {k: float(v) for k, v in GOLDEN["worked_example"].items()}
    risk = example.pop("risk")
    assert 1 / (1 + np.exp(-log_odds(**example))) == pytest.approx(risk, abs=5e-4)


@given(
    age=st.floats(30, 79),
    total=st.floats(130, 320),
    hdl=st.floats(20, 100),
    sbp=st.floats(90, 200),
    egfr=st.floats(15, 140),
    flags=st.tuples(*[st.integers(0, 1)] * 4),
)
def test_men_follow_the_table_term_by_term(
    age: float, total: float, hdl: float, sbp: float, egfr: float, flags: tuple[int, ...]
) -> None:
    c = GOLDEN["men"]
    diabetes, smoker, treated, statin = (float(flag) for flag in flags)
    a = (age - 55) / 10
    non_hdl, good = (total - hdl) * 0.02586 - 3.5, (hdl * 0.02586 - 1.3) / 0.3
    expected = c["constant"] + c["age"] * a + c["non_hdl"] * non_hdl + c["hdl"] * good
    expected += c["sbp_below_110"] * (min(sbp, 110) - 110) / 20
    expected += c["sbp_from_110"] * (max(sbp, 110) - 130) / 20
    expected += c["egfr_below_60"] * (min(egfr, 60) - 60) / -15
    expected += c["egfr_from_60"] * (max(egfr, 60) - 90) / -15
    expected += c["diabetes"] * diabetes + c["smoker"] * smoker
    expected += c["antihypertensive"] * treated + c["statin"] * statin
    expected += c["treated_sbp"] * treated * (max(sbp, 110) - 130) / 20
    expected += c["treated_non_hdl"] * statin * non_hdl
    expected += a * (c["age_non_hdl"] * non_hdl + c["age_hdl"] * good)
    expected += a * c["age_sbp"] * (max(sbp, 110) - 130) / 20
    expected += a * (c["age_diabetes"] * diabetes + c["age_smoker"] * smoker)
    expected += a * c["age_egfr"] * (min(egfr, 60) - 60) / -15
    found = log_odds(
        female=0.0, age=age, total_cholesterol=total, hdl=hdl, sbp=sbp, egfr=egfr,
        diabetes=diabetes, smoker=smoker, antihypertensive=treated, statin=statin,
    )  # fmt: skip
    assert float(found) == pytest.approx(expected, abs=1e-9)


def whole(network: Network) -> NetworkBlock:
    (block,) = network.blocks()
    return block


def in_tier3(block: NetworkBlock) -> np.ndarray:
    return np.repeat([tier == "tier3" for tier in block.tiers], np.diff(block.offsets))


def test_a_hospital_is_the_same_whatever_the_number_of_hospitals() -> None:
    few, many = Network(hospitals=7, seed=3), Network(hospitals=BLOCK + 5, seed=3)
    first, second = next(few.blocks()), next(many.blocks())
    assert first.names == second.names[:7]
    end = int(first.offsets[-1])
    assert np.array_equal(first.features, second.features[:end])
    assert np.array_equal(first.outcomes, second.outcomes[:end])
    late, later = list(many.blocks())[1], list(Network(hospitals=2 * BLOCK, seed=3).blocks())[1]
    assert late.first == BLOCK
    assert np.array_equal(late.patients(4).features, later.patients(4).features)


def test_another_draw_has_the_same_hospitals_and_other_patients() -> None:
    fold = Network(hospitals=12, seed=6).fold()
    assert list(fold.train) == list(fold.test)
    for name, patients in fold.train.items():
        assert len(patients) == len(fold.test[name])
        assert not np.array_equal(patients.features, fold.test[name].features)
    one, two = (whole(Network(hospitals=BLOCK, seed=6, draw=draw)) for draw in (0, 1))
    # The hospitals' effects persist: mean true risks of the two draws go together.
    risks = [
        np.add.reduceat(block.risks, block.offsets[:-1]) / np.diff(block.offsets)
        for block in (one, two)
    ]
    first, second = (risk - risk.mean() for risk in risks)
    assert first @ second > 0.8 * np.linalg.norm(first) * np.linalg.norm(second)


def test_memory_does_not_grow_with_the_number_of_hospitals() -> None:
    def peak(hospitals: int) -> int:
        tracemalloc.start()
        for block in Network(hospitals=hospitals).blocks():
            del block
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(6 * BLOCK) < 1.5 * peak(2 * BLOCK)


def test_without_heterogeneity_both_tiers_are_one_population() -> None:
    block = whole(Network(hospitals=BLOCK, heterogeneity=0.0, tier3_fraction=0.5, seed=1))
    tier3 = in_tier3(block)
    for column in (*block.features.T, block.risks, block.recorded, block.outcomes):
        high, low = column[tier3], column[~tier3]
        error = np.sqrt(high.var() / len(high) + low.var() / len(low))
        assert abs(high.mean() - low.mean()) < 4.5 * error


def test_with_heterogeneity_the_tiers_differ_as_stated() -> None:
    block = whole(Network(hospitals=BLOCK, heterogeneity=1.0, tier3_fraction=0.5, seed=1))
    tier3 = in_tier3(block)
    age, sbp = SCHEMA.names.index("age"), SCHEMA.names.index("SBP")
    clinical = SCHEMA.to_clinical(block.features)
    assert clinical[tier3, age].mean() - clinical[~tier3, age].mean() > 5
    for there, unrecorded, unmeasured in ((tier3, 0.01, 0.03), (~tier3, 0.15, 0.20)):
        lost = 1 - block.outcomes[there].sum() / block.events[there].sum()
        assert lost == pytest.approx(unrecorded, abs=0.015)
        constant = (block.features[there, sbp] == 0).mean()
        assert constant == pytest.approx(unmeasured, abs=0.035)  # 3 % are 130 mm Hg indeed
        np.testing.assert_allclose(
            block.recorded[there], block.risks[there] * (1 - unrecorded), rtol=1e-12
        )
    sizes = np.diff(block.offsets)
    large = np.array([tier == "tier3" for tier in block.tiers])
    assert np.median(sizes[large]) == pytest.approx(400, rel=0.15)
    assert np.median(sizes[~large]) == pytest.approx(160, rel=0.15)


def test_the_true_risks_are_calibrated() -> None:
    block = whole(Network(hospitals=BLOCK, seed=2))
    for outcome, prob in ((block.events, block.risks), (block.outcomes, block.recorded)):
        error = np.sqrt((prob * (1 - prob)).sum())
        assert abs(outcome.sum() - prob.sum()) < 4.5 * error
    assert (block.outcomes <= block.events).all()


def test_no_score_beats_the_bayes_auc() -> None:
    network = Network(hospitals=BLOCK, seed=4)
    block = whole(network)
    model = LogisticRegression(max_iter=1_000).fit(block.features, block.outcomes)

    def within(scores: np.ndarray) -> float:
        return auc(
            {
                name: Scored(scores[block.rows(i)], block.outcomes[block.rows(i)])
                for i, name in enumerate(block.names)
            }
        )

    best = network.bayes_auc()
    assert within(block.risks) == pytest.approx(best, abs=0.01)
    learned = within(model.decision_function(block.features))
    assert 0.70 < learned < best
    assert best < 0.80


def test_bayes_auc_is_the_definition_pair_by_pair() -> None:
    network = Network(hospitals=2, seed=5)
    wins = pairs = 0.0
    block = whole(network)
    for place in range(2):
        p = block.recorded[block.rows(place)]
        weight = p[:, None] * (1 - p[None, :])
        np.fill_diagonal(weight, 0)
        wins += float((weight * ((p[:, None] > p) + 0.5 * (p[:, None] == p))).sum())
        pairs += float(weight.sum())
    assert network.bayes_auc() == pytest.approx(wins / pairs, abs=1e-12)


def test_tier3_hospitals_are_spread_evenly_and_as_many_as_asked() -> None:
    tiers = [t for b in Network(hospitals=1_000, tier3_fraction=0.1).blocks() for t in b.tiers]
    places = [i for i, tier in enumerate(tiers) if tier == "tier3"]
    assert places == list(range(9, 1_000, 10))


def test_the_cohort_holds_every_hospital_within_its_schema() -> None:
    cohort = load("network")
    assert len(cohort.hospitals) == 40
    assert list(cohort.tiers.values()).count("tier3") == 4
    for patients in cohort.hospitals.values():
        assert (patients.features >= SCHEMA.low).all()
        assert (patients.features <= SCHEMA.high).all()
        assert np.isin(patients.features[:, SCHEMA.binary], (0, 1)).all()


def test_bad_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="hospitals=0"):
        Network(hospitals=0)
    with pytest.raises(InvalidInputError, match=r"heterogeneity=1\.5"):
        Network(heterogeneity=1.5)
    with pytest.raises(InvalidInputError, match="simulated and reads no files"):
        load("network", tmp_path)
