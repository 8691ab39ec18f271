from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import wilcoxon

from aggregation.data.patients import Patients
from aggregation.models import Perceptron
from aggregation.noise_kind import NoiseKind
from attacks.inference.property import property_share
from attacks.views import GradientView, observe, require
from privacy.errors import InvalidInputError, RefusedError
from tests.attacks.runs import PRIOR, SCHEMA, cohort, run

SEX = next(f for f in PRIOR.features if f.name == "sex")
MODEL = Perceptron(len(SCHEMA), 24)
POOL = cohort(20, size=800)["west"]  # one population: illness follows one rule
PUBLIC = POOL.take(np.arange(500, 800))
SHARES = {"north": 0.15, "east": 0.4, "south": 0.7, "west": 0.9}


def uneven(seed: int) -> dict[str, Patients]:
    """Hospitals of 50 whose share of men differs."""
    people = {}
    rng = np.random.default_rng(seed)
    for name in SHARES:
        pool = POOL.take(rng.permutation(500))
        men = SEX.codes(pool.features) == 1
        count = round(50 * SHARES[name])
        rows = np.concatenate([np.flatnonzero(men)[:count], np.flatnonzero(~men)[: 50 - count]])
        people[name] = pool.take(rows)
    return people


def inferred(seed: int, **fields: Any) -> list[tuple[float, float, float]]:
    done = run(seed, patients=uneven(seed), sampling_size=None, model=MODEL, **fields)
    shares = property_share(
        done.view("server_plain"), SEX, 1, PUBLIC, np.random.default_rng(seed), shadows=300
    )
    return [(s.estimate, s.std, SHARES[s.hospital]) for s in shares]


def test_full_batches_give_the_share_away() -> None:
    """Levels and seeds were set before the attack was run on them."""
    found = [one for seed in (601, 602, 603) for one in inferred(seed)]
    estimate, std, truth = np.array(found).T
    rng = np.random.default_rng(604)
    shuffled = [np.corrcoef(rng.permutation(estimate), truth)[0, 1] for _ in range(4999)]
    beaten = sum(r >= np.corrcoef(estimate, truth)[0, 1] for r in shuffled)
    assert (1 + beaten) / 5000 < 0.005  # exact permutation test: a blind answer orders nothing
    blind = np.abs(SEX.codes(PUBLIC.features).mean() - truth)  # the public patients' share
    assert wilcoxon(np.abs(estimate - truth), blind, alternative="less").pvalue < 0.05
    assert (np.abs(estimate - truth) < 4 * std).all()


def test_noise_widens_the_error_until_one_half_is_the_answer() -> None:
    noise = {"noise": NoiseKind.LOCAL, "clip_norm": 1.0, "radius": 4096}
    some = np.array(inferred(0, noise_multiplier=2.0, **noise))
    drowned = np.array(inferred(0, noise_multiplier=200.0, **noise))
    clear = np.array(inferred(0))
    assert clear[:, 1].mean() < some[:, 1].mean() < drowned[:, 1].mean()
    assert np.abs(drowned[:, 0] - 0.5).mean() < 0.15


def test_the_stated_error_is_that_of_hospitals_not_yet_seen() -> None:
    """Few shadows fit what they have seen far better than what they have not."""
    clear = run(5, patients=uneven(5), sampling_size=None, model=MODEL)
    view = clear.view("server_plain")
    held, stated = [], []
    for seed in range(40):
        told = property_share(view, SEX, 1, PUBLIC, np.random.default_rng(seed), shadows=80)
        stated += [s.std for s in told]
        held += [s.estimate - SHARES[s.hospital] for s in told]
    assert 0.6 < np.sqrt(np.mean(np.square(held)) / np.mean(np.square(stated))) < 1.5


def test_of_several_rounds_the_surer_one_weighs_more() -> None:
    done = run(6, patients=uneven(6), sampling_size=None, model=MODEL)
    view = done.view("server_plain").only(hospital="north")
    (clear,) = view.gradients
    noise = np.random.default_rng(0).normal(0, 1e9, len(clear.integers)).astype(np.int64)
    drowned = replace(clear, round=1, integers=clear.integers + noise, noise_std=1e9)
    both = replace(view, gradients=(clear, drowned))
    alone, together = (
        property_share(v, SEX, 1, PUBLIC, np.random.default_rng(0))[0] for v in (view, both)
    )
    assert abs(together.estimate - alone.estimate) < abs(0.5 - alone.estimate) / 3
    assert together.std == alone.std


def test_what_shows_no_hospital_is_refused() -> None:
    people = uneven(0)
    rng = np.random.default_rng(0)
    sealed = run(0, patients=people, sampling_size=None).view("server_sealed")
    with pytest.raises(RefusedError, match="whom is hidden"):
        property_share(sealed, SEX, 1, PUBLIC, rng)
    view = run(0, patients=people, sampling_size=None, local_steps=2).view("server_plain")
    with pytest.raises(RefusedError, match="several steps"):
        property_share(view, SEX, 1, PUBLIC, rng)
    plain = require(observe(run().transcript, "server_plain"), GradientView, "test")
    with pytest.raises(InvalidInputError, match="tell them apart"):
        property_share(plain, PRIOR.features[0], 1, PUBLIC, rng)
