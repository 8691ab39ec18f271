"""Replications: curves within their theory, records that resume, an error that says where to go."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from experiments.replicate.__main__ import Replicate
from experiments.replicate.bounds import BOUNDS, audit_median, reconstruction_success
from experiments.replicate.replicated import tableak_metrics
from privacy.errors import InvalidInputError


def test_the_informed_attack_keeps_under_its_bound_and_near_it() -> None:
    for mu in (0.27, 1.2):
        found = reconstruction_success(mu, trials=20_000, seed=0)
        assert found.expected == pytest.approx(norm.cdf(norm.ppf(0.1) + mu), abs=1e-6)
        assert found.lower <= found.expected
        assert found.value > 0.8 * found.expected


@pytest.mark.parametrize("bound", BOUNDS)
def test_an_audits_median_never_exceeds_the_truth(bound: str) -> None:
    found = audit_median(4.0, 1000, bound, 0.92, runs=7)
    assert 0.3 < found.lower <= found.value <= found.upper < 4.0


def test_records_are_computed_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.replicate.replicated._AUDITS", ((4.0, 200, 0.5, 0.5),))
    replicate = Replicate(only=("audit",), out=tmp_path, json=True)
    assert replicate.run() == 0
    first = json.loads(capsys.readouterr().out)
    paths = sorted((tmp_path / "records").iterdir())
    assert len(paths) == 2  # one a bound
    assert json.loads(paths[0].read_text())["config"]["experiment"] == "replicate"
    monkeypatch.setattr("experiments.replicate.replicated.audit_median", pytest.fail)
    assert replicate.run() == 0
    assert json.loads(capsys.readouterr().out) == first
    assert {"what", "published", "ours", "lower", "upper", "why"} <= set(first["rows"][0])


def test_batches_are_the_unit_of_the_interval() -> None:
    rng = np.random.default_rng(0)
    found = tableak_metrics([(a, 0.5, 0.5) for a in rng.normal(0.9, 0.05, 50)])
    assert found["upper"] - found["lower"] == pytest.approx(4 * 0.05 / 50**0.5, rel=0.3)


def test_without_the_table_the_error_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"archive\.ics\.uci\.edu"):
        Replicate(only=("spear",), out=tmp_path).run()
    with pytest.raises(InvalidInputError, match="Unknown replications"):
        Replicate(only=("magic",), out=tmp_path).run()
