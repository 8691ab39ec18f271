"""Who took part, and an attribute, from the sums of all rounds."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from aggregation.models import Perceptron
from aggregation.noise_kind import NoiseKind
from attacks.inference.over_rounds import Coins, FedMia
from attacks.knowledge.replay import integer_rows
from attacks.views import observe
from privacy.errors import InvalidInputError, RefusedError
from tests.attacks.runs import PRIOR, SCHEMA, Run, cohort, run

FULL: dict[str, Any] = {
    "model": Perceptron(len(SCHEMA), 24),
    "sampling_size": None,
    "rounds": 6,
    "clip_norm": 1.0,
    "radius": 4096,
}
SMALL_EPSILON: dict[str, Any] = FULL | {"noise": NoiseKind.LOCAL, "noise_multiplier": 40.0}
SEX = next(f for f in PRIOR.features if f.name == "sex")

Whole = Mapping[str, Patients]


def tossed(
    seed: int, size: int = 80, **fields: Any
) -> tuple[Run, Whole, dict[str, NDArray[np.bool_]]]:
    """A run of those whose coins fell, everybody, and the coins."""
    people = cohort(seed, size=size)
    rng = np.random.default_rng([3, seed])
    coins = {name: rng.random(len(p)) < 0.5 for name, p in people.items()}
    done = run(seed, patients={n: p.take(coins[n]) for n, p in people.items()}, **fields)
    return done, people, coins


def halves(people: Whole) -> dict[str, NDArray[np.float64]]:
    return {name: np.full(len(p), 0.5) for name, p in people.items()}


@pytest.mark.parametrize("position", ["server_plain", "server_sealed"])
def test_without_noise_all_coins_are_read(position: Any) -> None:
    done, people, coins = tossed(0, **FULL)
    found = Coins().estimate(observe(done.transcript, position), people, None, halves(people))
    assert set(found) == set(people)
    for name, (mean, variance) in found.items():
        np.testing.assert_array_equal(mean > 0.5, coins[name])
        assert variance.max() < 1e-2


def test_sums_of_weighed_patients_are_read_as_they_were_weighed() -> None:
    done, people, coins = tossed(0, **FULL | {"rounds": 4, "radius": 1001})
    seen = done.view("server_plain")
    weighed = []
    for g in seen.gradients:
        (part,) = g.contributions
        group = people[part.hospital].take(coins[part.hospital])
        rows = integer_rows(
            seen.plan, part.params, group.features, group.outcomes,
            hospital=part.hospital, radius=500,
        )  # fmt: skip
        half = dataclasses.replace(part, weight=seen.plan.applied_weight(0.5))  # of 500.5 steps
        sums = rows.sum(axis=0)
        weighed.append(dataclasses.replace(g, contributions=(half,), integers=sums))
    view = dataclasses.replace(seen, gradients=tuple(weighed))
    for name, (mean, _) in Coins().estimate(view, people, None, halves(people)).items():
        np.testing.assert_allclose(mean, coins[name], atol=0.02)


def test_an_attribute_is_read_too_and_the_rest_of_the_record_may_be_anything() -> None:
    people = cohort(1, size=80)
    done = run(1, patients=people, **FULL)
    versions = []
    for level in (1, 0):
        own = {}
        for name, p in people.items():
            rows = p.features.copy()
            SEX.write(rows, np.full(len(rows), level, dtype=np.int64))
            own[name] = Patients(rows, p.outcomes)
        versions.append(own)
    view = done.view("server_sealed")
    found = Coins().estimate(view, versions[0], versions[1], halves(people))
    for name, (mean, _) in found.items():
        np.testing.assert_array_equal(mean > 0.5, SEX.codes(people[name].features) == 1)


def test_the_error_is_the_one_that_is_stated() -> None:
    """Over coins and noise of many small runs; whatever is summed, in clear or together."""
    told, truth, stated = [], [], []
    noised = FULL | {"noise": NoiseKind.LOCAL, "noise_multiplier": 1.5, "rounds": 3}
    for seed in range(12):
        done, people, coins = tossed(seed, **noised)
        position: Any = "server_sealed" if seed % 2 else "server_plain"
        found = Coins().estimate(done.view(position), people, None, halves(people))
        for name, (mean, variance) in found.items():
            told.append(mean)
            stated.append(variance)
            truth.append(coins[name].astype(float))
    errors = (np.concatenate(told) - np.concatenate(truth)) ** 2
    expected = np.concatenate(stated)
    assert expected.mean() < 0.24  # something is told
    gap = errors - expected
    assert abs(gap.mean()) < 3.3 * gap.std() / len(gap) ** 0.5
    assert abs(gap.mean()) < 0.1 * expected.mean()


def test_at_a_small_epsilon_nothing_is_told() -> None:
    right = []
    for seed in range(4):
        done, people, coins = tossed(seed, **SMALL_EPSILON)
        view = done.view("server_plain")
        found = Coins().estimate(view, people, None, halves(people))
        scores = FedMia().scores(view, people)
        for name in people:
            right.append((found[name][0] > 0.5) == coins[name])
            right.append((scores[name] > np.median(scores[name])) == coins[name])
    share = np.concatenate(right).mean()
    assert abs(share - 0.5) < 3.3 * 0.5 / np.concatenate(right).size ** 0.5 + 0.02


def test_beside_other_hospitals_members_gradients_stand_out() -> None:
    inside, outside = [], []
    for seed in range(4):
        done, people, coins = tossed(seed, 24, **FULL)
        scores = FedMia().scores(done.view("server_plain"), people)
        inside += [scores[name][coins[name]] for name in people]
        outside += [scores[name][~coins[name]] for name in people]
    a, b = np.concatenate(inside), np.concatenate(outside)
    error = (a.var() / len(a) + b.var() / len(b)) ** 0.5
    assert a.mean() - b.mean() > 2.33 * error  # one-sided, one in a hundred


def test_what_is_not_linear_or_not_seen_is_refused() -> None:
    people = cohort(0, size=80)
    with pytest.raises(RefusedError, match="linear"):
        Coins().estimate(run().view("server_plain"), people, None, halves(people))
    done, _, _ = tossed(0, **FULL)
    public = observe(done.transcript, "public")
    for attack in (lambda: Coins().estimate(public, people, None, halves(people)),
                   lambda: FedMia().scores(public, people)):  # fmt: skip
        with pytest.raises(RefusedError, match="GradientView"):
            attack()
    with pytest.raises(RefusedError, match="sums of several"):
        FedMia().scores(done.view("server_sealed"), people)
    view = done.view("server_plain")
    one = view.only(hospital="north")
    with pytest.raises(InvalidInputError, match="three hospitals"):
        FedMia().scores(one, people)
    with pytest.raises(InvalidInputError, match="as many records"):
        Coins().estimate(view, people, None, halves(people) | {"north": np.full(3, 0.5)})
    with pytest.raises(InvalidInputError, match=r"\(0, 1\)"):
        Coins().estimate(view, people, None, halves(people) | {"north": np.ones(80)})


def test_sums_that_were_cut_off_are_passed_over() -> None:
    """The article's noise feeds on itself; an estimate that believed the cut-off sums would err."""
    done, people, _ = tossed(
        5,
        **(
            FULL
            | {
                "noise": NoiseKind.ARTICLE,
                "epsilon": 1.0,
                "clip_norm": None,
                "radius": 2**24,
                "rounds": 20,
                "learning_rate": 3.0,
            }
        ),
    )
    view = done.view("server_plain")
    cut = [g for g in view.gradients if np.abs(g.integers).max() >= 2**52]
    assert cut
    found = Coins().estimate(view, people, None, halves(people))
    whole = tuple(g for g in view.gradients if np.abs(g.integers).max() < 2**52)
    assert whole
    kept = dataclasses.replace(view, gradients=whole)
    alone = Coins().estimate(kept, people, None, halves(people))
    for name in people:
        np.testing.assert_allclose(found[name][0], alone[name][0])
