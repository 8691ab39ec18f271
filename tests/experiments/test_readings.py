"""The article's noise in three readings: its scale, the exact posterior, and the proven bound."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from aggregation.data.patients import Patients
from aggregation.models import Logistic
from experiments.studies import readings as module
from experiments.studies.people import LINEUP, LineUp
from experiments.studies.readings import NoiseReading, ReadingPoint, noise_factor
from privacy.mechanisms import clip
from privacy.mechanisms.article_noise import article_noise_std


def people(seed: int, n: int) -> Patients:
    rng = np.random.default_rng(seed)
    return Patients(2 * rng.normal(size=(n, 3)), rng.integers(0, 2, n))


def one_lineup(site: Patients, row: int) -> LineUp:
    rng = np.random.default_rng(9)
    crowd = 2 * rng.normal(size=(LINEUP, 3))
    crowd[4] = site.features[row]
    return LineUp("a", crowd, int(site.outcomes[row]), 4, int(site.ids[row]))


def test_the_scale_is_the_readings_and_the_uploads_is_the_snippets() -> None:
    upload, largest = np.array(3.0), np.array(2.0)
    factor = math.sqrt(2 * math.log(1.25 / 1e-5)) / 0.5
    found = {r: module._scale(ReadingPoint(r, 0.5), upload, largest) for r in NoiseReading}
    assert found == pytest.approx(
        {
            NoiseReading.UPLOAD: 3 * factor,
            NoiseReading.PATIENT: 2 * factor,
            NoiseReading.CONSTANT: factor,
        }
    )
    assert noise_factor(0.5) * 5 == pytest.approx(
        article_noise_std(np.array([3.0, 4.0]), epsilon=0.5, delta=1e-5)
    )


@pytest.mark.parametrize("reading", NoiseReading)
def test_uploads_have_noise_of_that_scale(reading: NoiseReading) -> None:
    """At the first model, over many hospitals of the same patients."""
    site, point = people(0, 30), ReadingPoint(reading, 2.0)
    run = module._trained(point, {str(k): site for k in range(400)}, np.random.default_rng(0),
                          setting=replace(point.setting, rounds=1, average_last=1))  # fmt: skip
    model = Logistic(3)
    rows = model.per_patient_gradients(np.zeros(model.dim), site.features, site.outcomes)
    if reading is NoiseReading.CONSTANT:
        rows = clip(rows, clip_norm=point.setting.clip_norm).values
    clear = rows.sum(axis=0)
    scale = {
        NoiseReading.UPLOAD: np.linalg.norm(clear),
        NoiseReading.PATIENT: np.linalg.norm(rows, axis=1).max(),
        NoiseReading.CONSTANT: point.setting.clip_norm,
    }[reading]
    noise = np.stack([own[0] for own in run.uploads.values()]) - clear
    assert noise.std() == pytest.approx(noise_factor(2.0) * scale, rel=0.08)
    assert abs(noise.mean()) < 4 * noise.std() / math.sqrt(noise.size)


def test_training_is_descent_on_the_mean_of_all_patients() -> None:
    sites = {"a": people(0, 30), "b": people(1, 10)}
    how = replace(ReadingPoint(NoiseReading.UPLOAD).setting, rounds=3, average_last=2)
    run = module._trained(None, sites, np.random.default_rng(0), setting=how)
    model, both = Logistic(3), Patients.together(sites.values())
    models = [np.zeros(model.dim)]
    for _ in range(3):
        rows = model.per_patient_gradients(models[-1], both.features, both.outcomes)
        models.append(models[-1] - how.learning_rate * rows.mean(axis=0))
    np.testing.assert_allclose(run.final, (models[2] + models[3]) / 2)


@pytest.mark.parametrize("reading", NoiseReading)
def test_the_informed_adversary_is_the_exact_posterior(reading: NoiseReading) -> None:
    """Each candidate's run is computed anew, patient by patient."""
    site, row = people(0, 12), 7
    point, lineup = ReadingPoint(reading), one_lineup(site, row)
    run = module._trained(point, {"a": site}, np.random.default_rng(1))
    found = module._informed(point, run, {"a": site}, [lineup])[0]
    expected = np.zeros(LINEUP)
    for k, person in enumerate(lineup.people):
        features = site.features.copy()
        features[row] = person
        for params, seen in zip(run.models, run.uploads["a"], strict=False):
            rows = run.model.per_patient_gradients(params, features, site.outcomes)
            if reading is NoiseReading.CONSTANT:
                rows = clip(rows, clip_norm=point.setting.clip_norm).values
            norms = np.linalg.norm(rows, axis=1)
            mean = rows.sum(axis=0)
            std = {
                NoiseReading.UPLOAD: np.linalg.norm(mean),
                NoiseReading.PATIENT: norms.max(),
                NoiseReading.CONSTANT: point.setting.clip_norm,
            }[reading] * noise_factor(1.0)
            expected[k] += multivariate_normal(mean, std**2 * np.eye(len(mean))).logpdf(seen)
    np.testing.assert_allclose(found - found[4], expected - expected[4], atol=1e-6)


@pytest.mark.parametrize(("epsilon", "named"), [(1e6, 1.0), (1e-4, 0.0)])
def test_it_names_everybody_without_noise_and_nobody_under_much(
    epsilon: float, named: float
) -> None:
    site, hits = people(0, 12), []
    for reading in NoiseReading:
        for seed in range(8):
            point, lineup = ReadingPoint(reading, epsilon), one_lineup(site, seed)
            run = module._trained(point, {"a": site}, np.random.default_rng(seed))
            logs = module._informed(point, run, {"a": site}, [lineup])[0]
            hits.append(int(np.argmax(logs)) == lineup.target)
    # one in ten of 24 is more than 9 by chance once in 1e4; the bound says as much
    assert all(hits) if named else sum(hits) <= 9
