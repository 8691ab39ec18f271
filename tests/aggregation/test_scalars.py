"""Scalars that travel with the update: bounded, noised and paid for on their own."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from dp_accounting import ComposedDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.data.patients import Patients
from aggregation.engines.fleet import Fleet
from aggregation.federation import Federation
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import round_event, run_event, scalar_event
from aggregation.sealing import SCHEMES
from aggregation.sealing.slots import SlotGroup
from aggregation.sized import sealing_for
from aggregation.statistics import STATISTICS, Statistic
from aggregation.update import noised_scalars
from attacks.views import GradientView, observe
from privacy.accounting.events import DistributedDiscreteGaussianDpEvent
from privacy.errors import InvalidInputError
from privacy.ledger import load_trust, verify
from privacy.mechanisms import Seeded
from privacy.unit import Unit
from tests.aggregation.parts import HOSPITALS, clear, cohort, opened_scalars, patients, plan

COUNT = SlotGroup("count", 1, clip_norm=1.0, radius=1, noise_multiplier=4.0)
LOSS = SlotGroup("loss", 1, clip_norm=2.0, radius=1000, noise_multiplier=8.0)


def with_scalars(**changes: Any) -> Plan:
    return plan(scalars=(COUNT, LOSS), **changes)


def bare(*groups: SlotGroup, **changes: Any) -> Plan:
    silent = [SlotGroup(g.name, 1, g.clip_norm, g.radius, 0.0) for g in groups]
    return clear(scalars=tuple(silent), **changes)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(0, 12), unit=st.sampled_from(Unit))
def test_one_patient_moves_each_scalar_by_at_most_its_radius(
    seed: int, size: int, unit: Unit
) -> None:
    made = bare(COUNT, LOSS, unit=unit)
    params = np.random.default_rng(seed).normal(0, 3, made.model.dim)
    group = patients(seed % 1000, size + 1)
    fewer = group.take(np.arange(1, size + 1))
    whole, less = (noised_scalars(made, "north", g, params, Seeded(0)) for g in (group, fewer))
    assert np.all(np.abs(whole - less) <= [COUNT.radius, LOSS.radius])


def test_scalars_are_what_they_say() -> None:
    made = bare(COUNT, SlotGroup("loss", 1, 1e3, 10**9, 0.0))
    outcome = Federation.simulated(made, cohort(), seed=0)
    federation_run = outcome.run()
    (first, *_) = federation_run.transcript.select(kind="opened", receiver="aggregator")
    opened = np.frombuffer(first.payload, dtype="<i8")
    assert opened.size == made.dim == made.model.dim + 2
    found = opened_scalars(made, opened)
    assert found["count"] == 36.0
    losses = [
        STATISTICS["loss"](made.model, federation_run.models[0], group).sum()
        for group in cohort().values()
    ]
    assert found["loss"] == pytest.approx(sum(losses), abs=1e-4)
    logits = made.model.scores(federation_run.models[0], patients(0).features)
    signs = 2 * patients(0).outcomes - 1
    assert losses[0] == pytest.approx(np.log1p(np.exp(-signs * logits)).sum())


def test_the_model_does_not_notice_them() -> None:
    # The update is drawn first, so that the first round is the same to the bit.
    without = Federation.simulated(plan(rounds=1), cohort(), seed=3).run()
    beside = Federation.simulated(with_scalars(rounds=1), cohort(), seed=3).run()
    assert np.array_equal(without.models, beside.models)


@pytest.mark.parametrize("scheme", ["bfv", "shares"])
def test_they_open_to_the_same_integers_under_every_scheme(scheme: str) -> None:
    made = [with_scalars(rounds=1, scheme=name) for name in ("plain", scheme)]
    runs = [Federation.simulated(one, cohort(), seed=3).run() for one in made]
    opened = [r.transcript.select(kind="opened")[0].payload for r in runs]
    assert opened[0] == opened[1]


def test_each_has_its_own_event_and_noise() -> None:
    made = with_scalars(sampling_size=3)
    event = scalar_event(made, LOSS, "north")
    assert event == PoissonSampledDpEvent(
        0.25,
        DistributedDiscreteGaussianDpEvent(
            noise_multiplier=8.0, radius=1000, dim=1, contributors=2
        ),
    )
    assert scalar_event(with_scalars(unit=Unit.HOSPITAL), LOSS, "north") == event.event
    expected = [round_event(made, "north"), scalar_event(made, COUNT, "north"), event]
    assert run_event(made, "north") == SelfComposedDpEvent(ComposedDpEvent(expected), 3)
    nobody = Patients(np.zeros((0, 3)), np.zeros(0, int))
    params = made.first_model()
    source = Seeded(1)
    drawn = [noised_scalars(made, "north", nobody, params, source) for _ in range(400)]
    stds = [COUNT.share_std(2), LOSS.share_std(2)]
    assert np.std(drawn, axis=0) == pytest.approx(stds, rel=4 / np.sqrt(2 * 400))


def test_every_group_draws_a_sample_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # Composition of sampled events holds for independent samples: two counts of one hospital
    # differ in most rounds, though either is 6 of 12 patients on average.
    monkeypatch.setitem(cast(dict[str, Statistic], STATISTICS), "loss", STATISTICS["count"])
    again = SlotGroup("loss", 1, clip_norm=1.0, radius=1, noise_multiplier=0.0)
    made, source = bare(COUNT, again, sampling_size=6), Seeded(4)
    drawn = np.array(
        [noised_scalars(made, "north", patients(0), made.first_model(), source) for _ in range(200)]
    )
    assert np.mean(drawn[:, 0] != drawn[:, 1]) > 0.5
    assert drawn.mean(axis=0) == pytest.approx([6, 6], abs=5 * np.sqrt(3 / 200))


def test_a_real_run_pays_for_each_and_the_ledgers_account_for_every_byte(tmp_path: Path) -> None:
    made = with_scalars(rounds=2, scheme="shares", noise_multiplier=60.0)
    federation = Federation.real(made, cohort(), out=tmp_path, target_epsilon=2.0)
    federation.run()
    federation.save(tmp_path)
    assert federation.wrap_probability() <= 1e-6
    releases = [e.content for e in federation.ledger("north").entries() if e.kind == "release"]
    assert [r["kind"] for r in releases] == ["update", "scalar count", "scalar loss"] * 2
    assert releases[2]["clip_norm"] == 2.0
    verdict = verify([tmp_path], trust=load_trust(tmp_path / "trust.json"))
    assert verdict.status == 0
    assert not [f for f in verdict.findings if f.level == "FAIL"]


@pytest.mark.parametrize("scheme", [n for n in SCHEMES if n not in ("plain", "ckks")])
def test_update_and_scalars_come_out_of_one_opened_sum_under_every_scheme(scheme: str) -> None:
    made = with_scalars(rounds=1, scheme=scheme)
    plain = Federation.simulated(with_scalars(rounds=1), cohort(), seed=0).run()
    sealed = Federation.simulated(made, cohort(), seed=0).run()
    assert np.array_equal(sealed.opened, plain.opened)
    assert opened_scalars(made, sealed.opened[0]).keys() == {"count", "loss"}


def test_an_onlooker_still_reads_the_update() -> None:
    made = with_scalars(rounds=1)
    done = Federation.simulated(made, cohort(), seed=0).run()
    for adversary in ("server_plain", "server_sealed"):
        seen = observe(done.transcript, adversary)
        assert isinstance(seen, GradientView)
        assert all(g.integers.shape == (made.model.dim,) for g in seen.gradients)


def test_the_sum_holds_whichever_part_is_largest() -> None:
    huge = SlotGroup("loss", 1, clip_norm=1.0, radius=2**40, noise_multiplier=1.0)
    wide = sealing_for(plan(scalars=(huge,))).parameters
    assert wide.bound >= 36 * 2**40
    assert wide.dim == plan().model.dim + 1


def test_a_plan_with_scalars_survives_its_bytes() -> None:
    made = with_scalars()
    assert Plan.from_bytes(made.to_bytes()) == made
    assert made.digest != plan().digest


@pytest.mark.parametrize(
    ("scalars", "noise", "reason"),
    [
        ((COUNT, COUNT), NoiseKind.SHARED, "distinct scalars among count, loss"),
        ((SlotGroup("age", 1, 1.0, 1, 1.0),), NoiseKind.SHARED, r"got \['age'\]"),
        ((SlotGroup("loss", 2, 1.0, 1, 1.0),), NoiseKind.SHARED, "one slot for 'loss', got 2"),
        (
            (SlotGroup("loss", 1, 1.0, 1, 0.0),),
            NoiseKind.SHARED,
            "protected as the plan's noise 'shared'",
        ),
        ((LOSS,), NoiseKind.NONE, "protected as the plan's noise 'none'"),
    ],
)
def test_scalars_that_a_plan_cannot_have_are_refused(
    scalars: tuple[SlotGroup, ...], noise: NoiseKind, reason: str
) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        plan(scalars=scalars, noise=noise)


def test_a_fleet_says_that_it_has_none() -> None:
    with pytest.raises(InvalidInputError, match="2 scalars"):
        Fleet(with_scalars(), list)
    assert len(HOSPITALS) == 3
