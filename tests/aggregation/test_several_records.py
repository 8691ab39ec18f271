"""A patient with several records, in one hospital or several: bounded as one, and charged so."""

from dataclasses import replace

import dp_accounting as dp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.agreement import Agreement, Trajectory
from aggregation.data.patients import Patients
from aggregation.engines.fleet import Fleet
from aggregation.evaluation.held_out import part
from aggregation.federation import Federation
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import round_event, run_event, scalar_event
from aggregation.rules import Memory
from aggregation.sealing.slots import SlotGroup
from aggregation.timing import Schedule
from aggregation.update import draw_batches, noised_scalars, noised_update
from experiments.studies.design import RELATION
from privacy.accounting import epsilon
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
)
from privacy.errors import InvalidInputError, RefusedError
from privacy.mechanisms import Seeded
from privacy.unit import Unit
from tests.aggregation.parts import HOSPITALS, plan
from tests.aggregation.test_update import Silent


def ward(seed: int, patients: int = 12, most: int = 5, scale: float = 1.0) -> Patients:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.repeat(np.arange(patients), rng.integers(1, most + 1, patients)))
    x = scale * rng.normal(size=(len(ids), 3))
    return Patients(x, rng.integers(0, 2, len(ids)), ids, several_records=True)


def bare(made: Plan, group: Patients, params: np.ndarray) -> np.ndarray:  # [dim]
    return noised_update(made, "north", (group,), params, Silent(0))


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 1.0, 1e6]), st.sampled_from([16, 4096]))
def test_a_patient_with_all_their_records_moves_the_sum_by_at_most_the_radius(
    seed: int, scale: float, radius: int
) -> None:
    made, group = plan(radius=radius), ward(seed, scale=scale)
    params = np.random.default_rng(seed).normal(size=made.model.dim)
    gone = np.random.default_rng(seed).integers(12)
    whole = bare(made, group, params)
    without = bare(made, group.take(group.ids != gone), params)
    moved = whole - without
    assert int((moved**2).sum()) <= radius**2
    # Nobody else's integers move, not by one step: the difference is the patient's own row.
    assert np.array_equal(moved, bare(made, group.take(group.ids == gone), params))


def test_as_patients_of_their_own_the_same_records_pass_the_radius() -> None:
    made = plan(clip_norm=1e-3)
    alike = Patients(np.ones((5, 3)), np.ones(5, int), np.zeros(5, int), several_records=True)
    params = np.random.default_rng(0).normal(size=made.model.dim)
    one, five = (
        np.sqrt((bare(made, group, params) ** 2).sum())
        for group in (alike, replace(alike, several_records=False))
    )
    assert one == pytest.approx(made.radius, rel=0.01)
    assert five > 4.9 * made.radius


def test_one_record_each_gives_the_same_bits_whether_or_not_more_could_be() -> None:
    made, group = plan(), ward(3, most=1)
    params = np.random.default_rng(0).normal(size=made.model.dim)
    plain = replace(group, several_records=False)
    one, other = (noised_update(made, "north", (g,), params, Seeded(1)) for g in (group, plain))
    assert np.array_equal(one, other)


def test_a_patient_is_drawn_with_all_records_or_not_at_all_and_at_the_plans_rate() -> None:
    made, group = plan(sampling_size=3), ward(5)
    source, drawn = Seeded(0), np.zeros(12)
    for _ in range(2000):
        (batch,) = draw_batches(made, "north", group, source)
        here = np.unique(batch.ids)
        assert len(batch) == np.isin(group.ids, here).sum()
        drawn[here] += 1
    # 12 binomials of 2,000 draws at 1/4 (deviation 19.4): five of them.
    assert np.abs(drawn - 500).max() < 97


def test_a_scalar_counts_each_patient_once() -> None:
    group = SlotGroup("count", dim=1, clip_norm=1.0, radius=1000, noise_multiplier=3.0)
    made = plan(scalars=(group,))
    counted = noised_scalars(made, "north", ward(1), made.first_model(), Silent(0))
    assert counted.tolist() == [12_000]


def test_a_patient_is_held_out_whole() -> None:
    train, held = part(ward(2), 0.4, run="r", hospital="north")
    assert held.several_records
    assert not set(train.ids.tolist()) & set(held.ids.tolist())


def test_a_hospital_declares_patients_and_not_rows() -> None:
    wards = {name: ward(k) for k, name in enumerate(HOSPITALS)}
    assert all(len(group) > 12 for group in wards.values())
    Federation.simulated(plan(), wards, seed=0).run()
    with pytest.raises(InvalidInputError, match="13 patients but declared 12"):
        Federation.simulated(plan(), {**wards, "east": ward(0, 13)}, seed=0)


def test_in_several_hospitals_a_patient_costs_what_they_move_in_all_of_them() -> None:
    shared = plan(patient_hospitals=2, noise_multiplier=8.0)
    assert round_event(shared, "north") == DistributedDiscreteGaussianDpEvent(
        noise_multiplier=4.0, radius=2048, dim=shared.model.dim, contributors=2
    )
    local = plan(patient_hospitals=2, noise=NoiseKind.LOCAL, colluders=0, noise_multiplier=8.0)
    own = DiscreteGaussianDpEvent(8.0, 1024)
    assert round_event(local, "north") == dp.SelfComposedDpEvent(own, 2)
    # Two noises of their own cost as much as one noise at sqrt(2) times the distance.
    spent = epsilon(run_event(local, "north"), delta=1e-5, relation=RELATION)
    again = DiscreteGaussianDpEvent(8.0 / np.sqrt(6), 1024)
    once = epsilon(again, delta=1e-5, relation=RELATION)
    assert spent.upper == pytest.approx(once.upper, rel=0.01)


def test_nothing_is_amplified_for_a_patient_of_several_hospitals() -> None:
    """Another hospital's draw is not this one's to vouch for."""
    for noise, colluders in ((NoiseKind.SHARED, 1), (NoiseKind.LOCAL, 0)):
        made = plan(noise=noise, colluders=colluders, patient_hospitals=2, sampling_size=3)
        assert round_event(made, "north") == round_event(replace(made, sampling_size=None), "north")
    assert round_event(made, "north", weight=0.5) == round_event(made, "north")


def test_scalars_are_charged_for_all_hospitals_too() -> None:
    group = SlotGroup("count", dim=1, clip_norm=1.0, radius=1000, noise_multiplier=3.0)
    event = scalar_event(plan(scalars=(group,), patient_hospitals=2), group, "north")
    assert event == DistributedDiscreteGaussianDpEvent(
        noise_multiplier=1.5, radius=2000, dim=1, contributors=2
    )


def test_a_plan_that_says_nothing_of_it_keeps_its_bytes() -> None:
    assert b"patient_hospitals" not in plan().to_bytes()
    several = plan(patient_hospitals=2)
    assert Plan.from_bytes(several.to_bytes()) == several
    assert several.digest != plan().digest


def test_what_is_not_known_of_several_hospitals_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="at most the number of hospitals"):
        plan(patient_hospitals=4)
    with pytest.raises(InvalidInputError, match="patient_hospitals=0"):
        plan(patient_hospitals=0)
    for changes in ({"unit": Unit.HOSPITAL}, {"rule": Memory()}):
        with pytest.raises(RefusedError, match="in several hospitals"):
            plan(patient_hospitals=2, **changes)
    made = plan(patient_hospitals=2)
    with pytest.raises(InvalidInputError, match="patient_hospitals=2"):
        Fleet(made, lambda: iter(()))
    with pytest.raises(RefusedError, match="Run synchronous rounds"):
        Agreement.of(made, Schedule((), (), ()))


def test_no_sum_is_opened_that_some_hospitals_ledger_did_not_pay_for() -> None:
    made = plan(patient_hospitals=2, smallest_sum=2)
    path = Trajectory(Agreement.of(made))
    with pytest.raises(RefusedError, match="need 3"):
        path.arrived(("north", "east"))
    assert len(Trajectory(Agreement.of(plan(smallest_sum=2))).arrived(("north", "east"))) == 2
