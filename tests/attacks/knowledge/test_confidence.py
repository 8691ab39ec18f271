"""Confidences are frequencies: fitted to public simulations, judged on other batches."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.noise_kind import NoiseKind
from attacks.knowledge.confidence import (
    ConfidenceCurve,
    records_right,
    reliability,
    simulate,
)
from attacks.reconstructed import Reconstruction
from attacks.scoring.rates import clopper_pearson
from attacks.searching.tableak import TabLeak
from privacy.errors import InvalidInputError
from tests.attacks.runs import PRIOR, cohort, run

QUICK = TabLeak(restarts=4, iterations=50)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
@settings(max_examples=60)
def test_it_never_falls_and_never_claims_certainty(seen: list[tuple[float, bool]]) -> None:
    confidence, right = np.array([c for c, _ in seen]), np.array([r for _, r in seen])
    fitted = ConfidenceCurve.fit(confidence, right)
    curve = fitted(np.linspace(0, 1, 50))
    assert (np.diff(curve) >= 0).all()
    assert (curve >= 0).all() and (curve < 1).all()
    # On what it was fitted to, it claims no more hits than there were.
    assert fitted(confidence).sum() <= right.sum() + 1e-9 + 0.5 * (len(fitted.edges) - 1)


def test_isotonic_regression_recovers_a_known_curve() -> None:
    rng = np.random.default_rng(0)
    raw = rng.random(20_000)
    fitted = ConfidenceCurve.fit(raw, rng.random(20_000) < raw**3)  # an overconfident attack
    grid = np.linspace(0.05, 0.95, 19)
    assert np.abs(fitted(grid) - grid**3).max() < 0.06


def test_false_alarms_are_controlled_on_batches_that_it_never_saw() -> None:
    """Of the records that it calls likely, at least the share that it says is right.

    Fitted on public draws from the prior; judged on synthetic patients of the hospitals.
    """
    plan = dataclasses.replace(run().plan, clip_norm=None)
    fitted = simulate(QUICK, plan, PRIOR, np.random.default_rng(0), batches=12)
    said, right = [], []
    for seed in range(2):
        done = run(seed)
        for name in done.plan.hospitals:
            truth = done.truth(round_=0, hospitals=(name,)).features
            found = QUICK.reconstruct(done.view("server_plain").only(hospital=name), PRIOR)
            if len(truth) and len(found):
                open_ = ~found.certified
                said.append(fitted.apply(found).confidence[open_])
                right.append(records_right(found, truth, PRIOR)[open_])
    claims, truths = np.concatenate(said), np.concatenate(right)
    assert len(claims) > 40
    _, high = clopper_pearson(int(truths.sum()), len(truths), confidence=0.99)
    assert claims.mean() <= high  # claims are not more than the hits allow
    for bin_ in reliability(claims, truths, bins=4):
        _, most = clopper_pearson(round(bin_.right * bin_.records), bin_.records, confidence=0.999)
        assert bin_.said <= most + 0.02


def test_drowned_in_noise_it_calls_nothing_likely() -> None:
    plan = dataclasses.replace(
        run().plan, clip_norm=1.0, radius=4096, noise=NoiseKind.LOCAL, noise_multiplier=2.0
    )
    fitted = simulate(
        TabLeak(restarts=1, iterations=5), plan, PRIOR, np.random.default_rng(1), batches=6
    )
    assert fitted(np.linspace(0, 1, 11)).max() < 0.15


def test_certificates_stay_certain() -> None:
    rows = cohort(0)["north"].features[:2]
    found = Reconstruction(rows, np.array([1.0, 0.9]), np.array([True, False]))
    modest = ConfidenceCurve(np.zeros(1), np.array([0.3]))
    assert modest.apply(found).confidence.tolist() == [1.0, 0.3]


def test_bins_count_records_and_empty_fits_are_refused() -> None:
    bins = reliability(np.array([0.1, 0.9, 0.95]), np.array([False, True, False]))
    assert [b.records for b in bins] == [1, 2]
    with pytest.raises(InvalidInputError, match="as many truths"):
        ConfidenceCurve.fit(np.zeros(0), np.zeros(0, dtype=np.bool_))
