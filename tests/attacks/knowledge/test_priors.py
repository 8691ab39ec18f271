import numpy as np
import pytest

from aggregation.data.patients import Patients
from attacks.knowledge.features import errors, features_of, project
from attacks.knowledge.priors import Prior
from attacks.scoring import matched_accuracies
from privacy.errors import InvalidInputError
from tests.attacks.runs import PRIOR, SCHEMA, cohort


def priors() -> list[Prior]:
    return [PRIOR, Prior.from_table(SCHEMA, cohort(9)["north"])]


@pytest.mark.parametrize("prior", priors(), ids=["schema", "table"])
def test_draws_and_guesses_are_valid_patients(prior: Prior) -> None:
    rows = np.concatenate([prior.best_guesses(3), prior.draw(200, np.random.default_rng(0))])
    np.testing.assert_array_equal(project(rows, prior.features), rows)
    assert (rows >= SCHEMA.low - 1e-12).all()
    assert (rows <= SCHEMA.high + 1e-12).all()
    assert (rows[:, [2, 3, 4]].sum(axis=1) <= 1).all()


def test_a_table_sets_the_marginals_and_nothing_else_does() -> None:
    table = cohort(3, size=4_000)["east"]
    prior = Prior.from_table(SCHEMA, table, source="public survey")
    drawn = prior.draw(20_000, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.mean(axis=0), table.features.mean(axis=0), atol=0.03)
    assert prior.outcome_rate == pytest.approx(table.outcomes.mean(), abs=1e-3)
    again = Prior.from_table(SCHEMA, table.take(np.arange(len(table))), source="public survey")
    assert again == prior


def test_a_prior_needs_a_fitting_table() -> None:
    empty = Patients(np.zeros((0, len(SCHEMA))), np.zeros(0, dtype=np.int64))
    with pytest.raises(InvalidInputError, match="from_schema"):
        Prior.from_table(SCHEMA, empty)
    with pytest.raises(InvalidInputError, match="lacks"):
        Prior(SCHEMA, {}, {}, 0.5, "nothing")


def test_synthetic_patients_lie_on_the_grid() -> None:
    for patients in cohort(0).values():
        np.testing.assert_array_equal(project(patients.features, PRIOR.features), patients.features)


def test_errors_count_mixed_features() -> None:
    features = features_of(SCHEMA)
    assert [f.name for f in features] == [
        "age", "sex", "cp", "trestbps", "chol", "exang", "oldpeak", "thal",
    ]  # fmt: skip
    patient = cohort(0)["north"].features[:1]
    guess = patient.copy()
    guess[0, 0] += 0.319  # the bound itself is right
    assert not errors(guess, patient, features).any()
    guess[0, 0] += 0.001
    guess[0, 2:5] = [0.0, 0.0, 1.0] if patient[0, 4] == 0 else [1.0, 0.0, 0.0]
    assert errors(guess, patient, features)[0, 0].tolist() == [
        True, False, True, False, False, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "better"), [(1, "modes"), (2, "modes"), (8, "spread")])
def test_the_best_guesses_are_the_better_of_two_ways(count: int, better: str) -> None:
    pool = cohort(0, size=200)["north"].features
    rng = np.random.default_rng(0)
    batches = [pool[rng.choice(len(pool), count, replace=False)] for _ in range(100)]
    ways = {"modes": PRIOR.modes(count), "spread": PRIOR.spread(count)}
    matched = {
        way: np.mean([matched_accuracies(g, b, PRIOR.features).mean() for b in batches])
        for way, g in ways.items()
    }
    assert max(matched, key=lambda way: float(matched[way])) == better
    np.testing.assert_array_equal(PRIOR.best_guesses(count), ways[better])
