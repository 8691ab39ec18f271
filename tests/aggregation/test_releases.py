"""Events follow from the plan alone, and say what the mechanism does."""

import pytest
from dp_accounting import NonPrivateDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent

from aggregation.agreement import Agreement
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import releases, round_event, run_event, schedule
from aggregation.sealing.slots import SlotGroup
from experiments.studies.design import RELATION
from privacy.accounting import epsilon
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    from_json,
    to_json,
)
from privacy.unit import Unit
from tests.aggregation.parts import clear, plan


def test_shared_noise_is_judged_by_the_honest_shares() -> None:
    made = plan(colluders=1, noise_multiplier=5.0)
    expected = DistributedDiscreteGaussianDpEvent(
        noise_multiplier=5.0, radius=1024, dim=made.model.dim, contributors=2
    )
    assert round_event(made, "north") == expected
    assert run_event(made, "north") == SelfComposedDpEvent(expected, 3)


@pytest.mark.parametrize("made", [clear(), clear(noise=NoiseKind.ARTICLE, epsilon=1.0)])
def test_what_is_not_protected_says_so(made: Plan) -> None:
    assert round_event(made, "north") == NonPrivateDpEvent()
    assert run_event(made, "north") == NonPrivateDpEvent()


def test_each_hospital_is_sampled_at_its_own_probability() -> None:
    made = plan(sampling_size=3, declared_sizes=(12, 6, 24))
    probs = []
    for name in made.hospitals:
        event = round_event(made, name)
        assert isinstance(event, PoissonSampledDpEvent)
        probs.append(event.sampling_probability)
    assert probs == [0.25, 0.5, 0.125]


def test_local_steps_pay_the_full_noise_at_each_step() -> None:
    made = plan(noise=NoiseKind.LOCAL, colluders=0, local_steps=4, sampling_size=3)
    event = round_event(made, "north")
    inner = PoissonSampledDpEvent(0.25, DiscreteGaussianDpEvent(2.0, 1024))
    assert event == SelfComposedDpEvent(inner, 4)
    one = plan(noise=NoiseKind.LOCAL, colluders=0, sampling_size=3)
    spent = [
        epsilon(run_event(p, "north"), delta=1e-5, relation=RELATION).upper for p in (one, made)
    ]
    assert spent[1] > 1.5 * spent[0]


def test_a_hospital_as_the_unit_gains_nothing_from_sampling_its_patients() -> None:
    made = plan(unit=Unit.HOSPITAL, local_steps=4, sampling_size=3)
    assert isinstance(round_event(made, "north"), DistributedDiscreteGaussianDpEvent)


def test_events_survive_the_ledger() -> None:
    made = plan(sampling_size=3)
    event = run_event(made, "east")
    assert from_json(to_json(event)) == event


@pytest.mark.parametrize(
    "made",
    [
        plan(),
        plan(rounds=8, pass_rounds=4, scheme="shares"),
        plan(sampling_size=6),
        plan(scalars=(SlotGroup("loss", 1, clip_norm=1.0, radius=64, noise_multiplier=9.0),)),
        clear(),
    ],
    ids=["rounds", "passes", "sampled", "a scalar", "in clear"],
)
def test_a_run_that_is_agreed_on_costs_what_its_plan_says(made: Plan) -> None:
    """Two roads: of the plan alone, and upload by upload as they are declared."""
    assert Agreement.of(made).run_event("north") == run_event(made, "north")


def test_a_schedule_of_runs_declares_each_upload_once() -> None:
    made = plan()
    light, whole = (
        releases(made, "north", round_event(made, "north", weight=w), round_=0, weight=w,
                 protects=True)
        for w in (0.5, 1.0)
    )  # fmt: skip
    declared = schedule(made, [(light, 2), (whole, 3), (light, 1)])
    events = [step.event for step in declared.schedule for _ in range(step.count)]
    assert events * declared.repeats == [r[0].event for r in (light, light, *[whole] * 3, light)]
    assert schedule(made, [(whole, 3)]).repeats == 3
