"""The promises of ``aggregation.update``: sensitivity is exact, the gradient is kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.data.patients import Patients
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.update import draw_batches, noised_update
from privacy.mechanisms import Seeded
from privacy.unit import Unit
from tests.aggregation.parts import clear, patients, plan


class Silent(Seeded):
    """No noise at all: shows the sum that the noise is added to."""

    def discrete_gaussian(self, std: float, size: int) -> np.ndarray:  # [size]
        return np.zeros(size, dtype=np.int64)


def bare(
    made: Plan, group: Patients, params: np.ndarray, weight: float = 1.0
) -> np.ndarray:  # [dim]
    batches = (group,) * made.local_steps
    return noised_update(made, "north", batches, params, Silent(0), weight=weight)


def extreme(seed: int, count: int, scale: float) -> Patients:
    rng = np.random.default_rng(seed)
    return Patients(scale * rng.normal(size=(count, 3)), rng.integers(0, 2, count))


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 200),
    st.sampled_from([1e-6, 1.0, 1e6]),
    st.sampled_from([16, 400, 4096]),
    st.sampled_from([1.0, 0.37, 1e-3]),
)
def test_one_patient_moves_the_sum_by_at_most_the_radius_that_the_weight_leaves(
    seed: int, count: int, scale: float, radius: int, weight: float
) -> None:
    made = plan(radius=radius)
    group = extreme(seed, count + 1, scale)
    params = np.random.default_rng(seed).normal(size=made.model.dim)
    with_all = bare(made, group, params, weight)
    without = bare(made, group.take(np.arange(count)), params, weight)
    assert int(((with_all - without) ** 2).sum()) <= made.radius_of(weight) ** 2 <= radius**2
    # Nobody else's integers move, not by one step: the difference is the patient's own row.
    alone = bare(made, group.take(np.arange(count, count + 1)), params, weight)
    assert np.array_equal(with_all - without, alone)


@given(st.integers(1, 2**24), st.floats(1e-6, 1.0))
def test_who_reads_a_signed_weight_knows_the_radius_that_it_was_sent_with(
    radius: int, weight: float
) -> None:
    made = plan(radius=radius)
    assert made.applied_radius(made.applied_weight(weight)) == made.radius_of(weight)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_hospital_as_the_unit_is_bounded_as_a_whole(seed: int, steps: int) -> None:
    made = plan(unit=Unit.HOSPITAL, local_steps=steps)
    params = np.random.default_rng(seed).normal(size=made.model.dim)
    group = extreme(seed, 9, 100.0)
    assert int((bare(made, group, params) ** 2).sum()) <= made.radius**2


def test_without_noise_the_update_is_the_sum_of_gradients() -> None:
    made, group = clear(), patients(1)
    params = np.random.default_rng(0).normal(size=made.model.dim)
    gradients = made.model.per_patient_gradients(params, group.features, group.outcomes)
    sent = bare(made, group, params)
    assert np.abs(sent * made.step - gradients.sum(axis=0)).max() <= 0.5 * made.step * len(group)


def test_several_local_steps_walk_as_gradient_descent_does() -> None:
    made, group = clear(local_steps=3), patients(1)
    params = np.random.default_rng(0).normal(size=made.model.dim)
    walked, gradient_sum = params, np.zeros(made.model.dim)
    for _ in range(3):
        rows = made.model.per_patient_gradients(walked, group.features, group.outcomes)
        gradient_sum += rows.sum(axis=0)
        walked = walked - made.learning_rate * rows.sum(axis=0) / 12
    sent = bare(made, group, params)
    np.testing.assert_allclose(sent * made.step, gradient_sum, atol=1e-6)
    one_hospital = params - made.learning_rate * made.step / 12 * sent
    np.testing.assert_allclose(one_hospital, walked, atol=1e-6)


def test_full_noise_is_added_at_every_local_step() -> None:
    made = plan(noise=NoiseKind.LOCAL, colluders=0, local_steps=4, noise_multiplier=50.0)
    empty, params = patients(0, 0), np.zeros(made.model.dim)
    draws = np.stack(
        [noised_update(made, "north", (empty,) * 4, params, Seeded(k)) for k in range(300)]
    )
    measured = draws.std() / (2.0 * made.share_std)  # the root of four steps
    # 300 x 21 draws: a standard deviation errs by 0.9 %; five of them.
    assert measured == pytest.approx(1.0, abs=0.045)


@pytest.mark.parametrize("noise", [NoiseKind.LOCAL, NoiseKind.SHARED])
def test_a_hospital_without_patients_sends_pure_noise(noise: NoiseKind) -> None:
    made = plan(noise=noise)
    empty = patients(0, 0)
    draws = np.stack(
        [
            noised_update(made, "north", (empty,), np.zeros(made.model.dim), Seeded(k))
            for k in range(200)
        ]
    )
    assert draws.std() == pytest.approx(made.share_std, rel=0.05)
    assert abs(draws.mean()) < 5 * made.share_std / np.sqrt(draws.size)


def test_the_articles_noise_follows_the_upload() -> None:
    made = clear(noise=NoiseKind.ARTICLE, epsilon=1.0, radius=2**24)
    quiet, loud = patients(1), Patients(30 * patients(1).features, patients(1).outcomes)
    params = np.random.default_rng(0).normal(size=made.model.dim)

    def spread(group: Patients) -> float:
        draws = [noised_update(made, "north", (group,), params, Seeded(k)) for k in range(60)]
        return float(np.std(np.stack(draws), axis=0).mean())

    assert spread(loud) > 5 * spread(quiet)


def test_poisson_samples_come_at_the_plans_rate_and_anew_each_step() -> None:
    made = clear(sampling_size=3, local_steps=2)
    source, group = Seeded(5), patients(1)
    drawn = [draw_batches(made, "north", group, source) for _ in range(800)]
    sizes = np.array([[len(batch) for batch in batches] for batches in drawn])
    assert sizes.mean() == pytest.approx(3.0, abs=5 * 1.5 / np.sqrt(1600))
    assert any(
        not np.array_equal(a.ids, b.ids) for a, b in drawn
    )  # the steps of a round draw apart
    everyone = draw_batches(clear(), "north", group, source)
    assert [len(b) for b in everyone] == [12]
