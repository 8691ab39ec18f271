from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from aggregation.capture import Adam, Precision, Sgd, from_weights
from aggregation.data.patients import Patients
from aggregation.models import Logistic, Perceptron
from aggregation.noise_kind import NoiseKind
from attacks.exact.closed_form import first_layer
from attacks.exact.sratta import Sratta, _movers
from attacks.scoring import score
from attacks.views import Gradient, GradientView, Knowledge, SumPart, observe
from privacy.errors import RefusedError
from privacy.unit import Unit
from tests.aggregation.capture.clients import REACH, module, stored, trained
from tests.attacks.runs import PRIOR, SCHEMA, Run, cohort, run

ATTACK = Sratta()


@cache
def people(seed: int) -> dict[str, Patients]:
    return {name: p.take(np.arange(12)) for name, p in cohort(seed).items()}


@cache
def walked(seed: int) -> Run:
    """SRATTA's setting in shape: centres, rounds, local steps, a wide layer, a sum."""
    return run(
        seed, patients=people(seed), model=Perceptron(len(SCHEMA), 400), sampling_size=2,
        local_steps=4, rounds=8, learning_rate=2.0,
    )  # fmt: skip


def owners(records: np.ndarray, seed: int) -> np.ndarray:
    everybody = np.concatenate([p.features for p in people(seed).values()])
    hospital = np.repeat(np.arange(4), 12)
    same = (np.abs(records[:, None] - everybody[None]) < 1e-9).all(-1)
    return np.where(same.any(1), hospital[same.argmax(1)], -1)


def test_patients_of_a_sealed_sum_are_recovered_and_told_apart() -> None:
    """Levels and seeds were set before the attack was run on them; test_wins_and_loses.py too."""
    nobodys = found = right = pairs = 0
    for seed in (611, 612, 613):
        grouped = ATTACK.group(walked(seed).view("server_sealed"), PRIOR)
        whose = owners(grouped.records, seed)
        nobodys, found = nobodys + int((whose < 0).sum()), found + len(whose)
        first, second = np.triu_indices(len(whose), 1)
        together = grouped.groups[first] == grouped.groups[second]
        right += int((whose[first] == whose[second])[together].sum())
        pairs += int(together.sum())
    # A record that is nobody's passed 24 bits of coincidence: nearly all have to be somebody's.
    assert binomtest(nobodys, found, 0.05, alternative="greater").pvalue > 1e-3
    assert binomtest(right, pairs, 0.25, alternative="greater").pvalue < 1e-3  # chance: a quarter


def test_what_any_update_would_fit_tells_nobody_apart() -> None:
    """As many records as coordinates explain every number there is: that is coincidence."""
    rng = np.random.default_rng(0)
    records = rng.normal(size=(6, 12))
    parts = rng.uniform(1.0, 2.0, 6) * 1e6
    shown = np.append(parts @ records, parts.sum())
    moved = _movers(records, shown, 1.0)  # 13 numbers, 6 records
    assert moved is None
    moved = _movers(records[:2], np.append(parts[:2] @ records[:2], parts[:2].sum()), 1.0)
    assert moved is not None and moved.all()


def test_a_record_beside_a_known_one_needs_three_witnesses() -> None:
    """One unit shows a alone, others a and b in their own parts: two of those may be chance."""
    done = run(5, patients=people(5), model=Perceptron(len(SCHEMA), 60), local_steps=2)
    plan, params = done.plan, done.plan.first_model()
    a, b = people(5)["north"].features[:2]
    weights, biases = first_layer(plan, params)
    awake = np.flatnonzero(weights @ a + biases > 0)
    assert len(awake) >= 4
    for count in (2, 3):
        seen_w, seen_b = np.zeros(weights.shape), np.zeros(biases.shape)
        for k, unit in enumerate(awake[: count + 1]):
            own, other = 3e6 + 1e5 * k, 2e6 * (k > 0) + 3e5 * k
            seen_w[unit], seen_b[unit] = np.rint(own * a + other * b), np.rint(own + other)
        rest = np.zeros(plan.model.dim - seen_w.size - seen_b.size)
        integers = np.concatenate([seen_w.ravel(), seen_b, rest]).astype(np.int64)
        gradient = Gradient(0, (SumPart("north", params),), integers, 0.0)
        found = ATTACK.reconstruct(GradientView(plan, "x", Knowledge(), (gradient,)), PRIOR)
        read = found.records[found.confidence > 0]
        assert [bool(np.isclose(read, x).all(axis=1).any()) for x in (a, b)] == [True, count == 3]


def test_drowned_in_noise_the_answer_is_the_priors() -> None:
    noised = run(
        0,
        patients=people(0),
        model=Perceptron(len(SCHEMA), 400),
        sampling_size=2,
        local_steps=4,
        rounds=8,
        learning_rate=2.0,
        noise=NoiseKind.LOCAL,
        clip_norm=1.0,
        radius=4096,
        noise_multiplier=2.0,
    )
    lost = ATTACK.reconstruct(noised.view("server_sealed"), PRIOR)
    np.testing.assert_array_equal(lost.records, PRIOR.best_guesses(48))


def test_a_little_noise_is_allowed_for() -> None:
    quiet = run(
        610, patients=people(610), model=Perceptron(len(SCHEMA), 400), sampling_size=2,
        local_steps=4, rounds=8, learning_rate=2.0, noise=NoiseKind.LOCAL, clip_norm=100.0,
        radius=2**27, noise_multiplier=2.0**-24,
    )  # fmt: skip
    found = ATTACK.reconstruct(quiet.view("server_sealed"), PRIOR)
    assert (owners(found.records, 610) >= 0).sum() > 0
    assert not found.certified.any()


def test_one_step_sums_are_read_and_certified_but_not_grouped() -> None:
    done = run(0, patients=people(0), sampling_size=1, rounds=3, scheme="plain")
    view = done.view("server_sealed")
    truth = np.concatenate([p.features for p in people(0).values()])
    scored = score(ATTACK.reconstruct(view, PRIOR), truth, PRIOR, np.random.default_rng(0))
    assert scored.certified >= 6
    assert scored.false_certificates == 0
    with pytest.raises(RefusedError, match="local_steps > 1"):
        ATTACK.group(view, PRIOR)


@pytest.mark.parametrize(
    "fields",
    [{"model": Logistic(len(SCHEMA))}, {"unit": Unit.HOSPITAL, "clip_norm": 1.0}],
    ids=["logistic", "hospital"],
)
def test_what_has_no_units_of_patients_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="hidden units"):
        ATTACK.reconstruct(run(**fields).view("server_sealed"), PRIOR)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_captured_client_of_several_steps_is_read_without_a_false_record(momentum: float) -> None:
    """Whoever is alone at a unit in every step is its ratio, whatever the velocities."""
    read = 0
    for seed in range(3):
        run, batch = steps_of(seed, Sgd(momentum), Precision.FLOAT64)
        found = ATTACK.reconstruct(observe(run, "server_plain"), PRIOR)
        records = found.records[found.confidence > 0]
        gaps = np.abs(records[:, None] - batch.features[None]).max(axis=2)
        assert (gaps < 1e-9).any(axis=1).all() and not found.certified.any()
        read += len(records)
    assert read >= 6
    run, _ = steps_of(0, Sgd(momentum), Precision.BFLOAT16)  # within its error anything fits
    found = ATTACK.reconstruct(observe(run, "server_plain"), PRIOR)
    assert not found.confidence.any()


@pytest.mark.parametrize("optimizer", [Adam(), Sgd(weight_decay=0.1)])
def test_steps_that_are_no_sums_of_gradients_are_refused(optimizer: Any) -> None:
    run, _ = steps_of(0, optimizer, Precision.FLOAT64)
    with pytest.raises(RefusedError, match="fedavg"):
        ATTACK.reconstruct(observe(run, "server_plain"), PRIOR)


def steps_of(seed: int, optimizer: Any, precision: Precision) -> tuple[Any, Patients]:
    """Four steps of PyTorch on eight patients, captured."""
    model, batch = Perceptron(len(SCHEMA), 64), cohort(seed)["north"].take(np.arange(8))
    net = module(model, model.initial(np.random.default_rng(seed)), precision)
    before = stored(net, precision)
    momentum = optimizer.momentum if isinstance(optimizer, Sgd) else 0.0
    trained(net, [batch] * 4, lambda p: torch.optim.SGD(p, lr=0.01, momentum=momentum))
    captured = from_weights(
        before, stored(net, precision), model=model, learning_rate=0.01, batch_size=8, steps=4,
        optimizer=optimizer, reach=REACH,
    )  # fmt: skip
    return captured, batch
