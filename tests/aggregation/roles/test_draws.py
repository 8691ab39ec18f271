"""Who takes part in a pass: once each, uniform, independent, the same after a restart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aggregation.agreement import Agreement
from aggregation.data.patients import Patients
from aggregation.engines.fleet import Fleet
from aggregation.federation import Federation
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import releases, round_event, run_event, schedule
from aggregation.roles.draws import Draws, steps_of
from aggregation.roles.kept import Kept
from aggregation.rules import Memory
from aggregation.sealing.slots import SlotGroup
from aggregation.timing import Schedule
from aggregation.update import draw_batches
from attacks.views import observe, require
from attacks.views.observation import GradientView
from experiments.studies.design import RELATION
from privacy.accounting import epsilon
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    RandomAllocationDpEvent,
    SeenAllocationDpEvent,
)
from privacy.errors import InvalidInputError, RefusedError
from privacy.ledger import load_trust, verify
from privacy.ledger.samplers import RandomAllocation
from privacy.mechanisms import OperatingSystem, Seeded
from privacy.unit import Unit
from tests.aggregation.parts import cohort, patients, plan
from tests.aggregation.power import DiedError, Disk
from tests.aggregation.roles.test_restart import Site, writes_of_a_round
from tests.aggregation.test_several_records import ward

FALSE_ALARM = 1e-7  # of each statistical test, whose randomness is the operating system's


def passes(**changes: object) -> Plan:
    return plan(**{"rounds": 8, "pass_rounds": 4, "scheme": "shares"} | changes)


def drawn(made: Plan, group: Patients, draws: Draws) -> list[list[int]]:
    """Ids by round."""
    found = []
    for round_ in range(made.rounds):
        draws.prepare(round_, last=round_ - 1)
        (batch,) = draws.batches(group, round_)
        found.append(batch.ids.tolist())
    return found


@pytest.mark.parametrize("group", [patients(1, 40), ward(2, 40)], ids=["rows", "records"])
def test_each_patient_is_in_exactly_one_step_of_a_pass_with_all_records(group: Patients) -> None:
    made = passes()
    rounds = drawn(made, group, Draws(made, "north", OperatingSystem()))
    for first in (0, 4):
        together = [patient for one in rounds[first : first + 4] for patient in one]
        assert sorted(together) == sorted(group.ids.tolist())
        apart = [set(one) for one in rounds[first : first + 4]]
        assert sum(map(len, apart)) == len(set(group.ids.tolist()))
    assert rounds[:4] != rounds[4:]  # a chance of 4^-40


def test_steps_are_uniform_and_independent_between_patients_and_passes() -> None:
    """Counts of two patients' steps in a pass and in the next, over fresh keys, by chi-square."""
    steps, trials = 3, 3000
    made = passes(rounds=6, pass_rounds=steps)
    group = Patients(np.zeros((2, 3)), np.zeros(2, int), np.array([1, 2]))
    counts = np.zeros((steps,) * 4)
    for _ in range(trials):
        rounds = drawn(made, group, Draws(made, "north", OperatingSystem()))
        place = [
            next(k for k in range(steps) if patient in rounds[first + k])
            for first in (0, steps)
            for patient in (1, 2)
        ]
        counts[tuple(place)] += 1
    # All 81 places alike: uniform, independent of each other and of the pass before, at once.
    assert stats.chisquare(counts.ravel()).pvalue > FALSE_ALARM
    skewed = counts.copy()
    skewed[0] += 60
    assert stats.chisquare(skewed.ravel()).pvalue < FALSE_ALARM  # and the test would see it


@given(st.binary(min_size=32, max_size=32), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_a_patients_step_is_their_own_whoever_else_is_there(
    key: bytes, steps: int, seed: int
) -> None:
    ids = np.random.default_rng(seed).integers(-(2**63), 2**63 - 1, 20)
    found = steps_of(key, ids, steps)
    assert ((found >= 0) & (found < steps)).all()
    for k in range(20):
        assert steps_of(key, ids[k : k + 1], steps)[0] == found[k]
    assert np.array_equal(steps_of(key, ids[::-1], steps), found[::-1])


def test_ten_thousand_ids_fall_evenly() -> None:
    key = bytes(range(32))
    counts = np.bincount(steps_of(key, np.arange(10_000), 20), minlength=20)
    assert stats.chisquare(counts).pvalue > 0.01  # one fixed key: no false alarm


def test_a_restart_draws_what_was_drawn_and_never_anew(tmp_path: Path) -> None:
    made, group = passes(), patients(1, 40)
    folder = Kept(tmp_path / "kept")
    first = Draws(made, "north", OperatingSystem(), folder)
    first.prepare(0, last=-1)
    before = [first.batches(group, r)[0].ids.tolist() for r in range(4)]
    folder.close()
    again = Draws(made, "north", OperatingSystem(), Kept(tmp_path / "kept"))
    again.prepare(2, last=1)
    assert [again.batches(group, r)[0].ids.tolist() for r in range(4)] == before
    newcomer = Patients.together([group, patients(2, 1)])
    assert set(again.batches(newcomer, 2)[0].ids.tolist()) - {40} == set(before[2])
    again.prepare(4, last=3)
    after = [again.batches(group, r)[0].ids.tolist() for r in range(4, 8)]
    assert after != before
    with pytest.raises(RefusedError, match="was not drawn"):
        again.batches(group, 3)


def test_a_pass_whose_key_is_lost_goes_on_with_nobody_until_the_next() -> None:
    made, group = passes(), patients(1, 40)
    lost = Draws(made, "north", OperatingSystem())  # nothing is kept, and round 1 was spent for
    lost.prepare(2, last=1)
    assert [len(lost.batches(group, r)[0]) for r in (2, 3)] == [0, 0]
    lost.prepare(4, last=3)
    assert sum(len(lost.batches(group, r)[0]) for r in range(4, 8)) == 40


def test_who_comes_late_in_a_pass_has_missed_the_steps_before() -> None:
    made, group = passes(), patients(1, 400)
    late = Draws(made, "north", OperatingSystem())
    late.prepare(2, last=-1)
    here = sum(len(late.batches(group, r)[0]) for r in (2, 3))
    assert stats.binomtest(here, 400, 0.5).pvalue > FALSE_ALARM


def test_without_passes_it_draws_as_before() -> None:
    made, group = plan(sampling_size=3), patients(1)
    one = Draws(made, "north", Seeded(4))
    one.prepare(0, last=-1)
    other = draw_batches(made, "north", group, Seeded(4))
    assert [b.ids.tolist() for b in one.batches(group, 0)] == [b.ids.tolist() for b in other]
    with pytest.raises(RefusedError, match=r"aggregation\.roles\.draws"):
        draw_batches(passes(), "north", group, Seeded(0))


def test_a_pass_is_one_event_and_whoever_sees_updates_has_seen_the_allocation() -> None:
    sealed = passes()
    inner = round_event(plan(scheme="shares"), "north")
    assert round_event(sealed, "north") == RandomAllocationDpEvent(4, inner)
    shown = passes(noise=NoiseKind.LOCAL, colluders=0, scheme="plain")
    own = DiscreteGaussianDpEvent(2.0, 1024)
    assert round_event(shown, "north") == SeenAllocationDpEvent(4, own)
    hidden, seen, gaussians = (
        epsilon(event, delta=1e-5, relation=RELATION).upper
        for event in (
            run_event(replace(shown, scheme="shares"), "north"),
            run_event(shown, "north"),
            run_event(plan(rounds=2, noise=NoiseKind.LOCAL, colluders=0), "north"),
        )
    )
    assert seen == pytest.approx(gaussians, rel=1e-9)  # one full Gaussian a pass, and two passes
    assert hidden < 0.7 * seen


def test_a_run_whose_server_sees_every_update_is_charged_for_it(tmp_path: Path) -> None:
    upper = {}
    for name, changes in (
        ("seen", {"noise": NoiseKind.LOCAL, "scheme": "plain", "colluders": 0}),
        ("sealed", {"noise": NoiseKind.SHARED, "scheme": "shares"}),
    ):
        made = passes(noise_multiplier=4.0, **changes)
        out = tmp_path / name
        run = Federation.real(made, cohort(), out=out, target_epsilon=3.0)
        run.run()
        run.save(out)
        verdict = verify([out], load_trust(out / "trust.json"))
        assert verdict.status == 0
        for reading in verdict.readings:
            (spent,) = reading.spent
            assert (spent.releases, spent.left) == (8, 0)
            assert spent.interval is not None
            upper[name] = spent.interval.upper
        expected = epsilon(run_event(made, "north"), delta=1e-5, relation=RELATION)
        assert upper[name] == pytest.approx(expected.upper, rel=1e-9)
    assert upper["seen"] > 1.5 * upper["sealed"]


def test_the_rounds_of_a_seeded_federation_are_passes_and_come_again() -> None:
    made = passes()
    one, other = (Federation.simulated(made, cohort(), seed=3).run() for _ in range(2))
    assert np.array_equal(one.opened, other.opened)
    for rounds in one.drawn.values():
        for first in (0, 4):
            ids = [i for r in range(first, first + 4) for i in rounds[r][0].ids.tolist()]
            assert sorted(ids) == list(range(12))
    for release in [e for e in one.ledgers["north"].entries() if e.kind == "release"]:
        assert release.content["actual_sampler"] == {"sampler": "random allocation", "steps": 4}
        assert release.content["filter"] == "planned" or release.content["filter"] == "unlimited"


def test_a_plan_declares_its_passes() -> None:
    made = passes()
    asked = releases(made, "north", round_event(made, "north"), round_=0, weight=1.0, protects=True)
    declared = schedule(made, [(asked, 8)])
    assert (declared.schedule[0].count, declared.repeats) == (4, 2)
    assert asked[0].actual_sampler == RandomAllocation(4)
    assert Plan.from_bytes(made.to_bytes()) == made
    assert b"pass_rounds" not in plan().to_bytes()


def test_what_passes_are_not_known_with_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="rounds=8 as whole passes of pass_rounds=3"):
        passes(pass_rounds=3)
    with pytest.raises(InvalidInputError, match="pass_rounds=0"):
        passes(pass_rounds=0)
    for changes in (
        {"sampling_size": 3},
        {"local_steps": 2, "noise": NoiseKind.LOCAL, "colluders": 0},
        {"unit": Unit.HOSPITAL},
        {"scalars": (SlotGroup("count", 1, 1.0, 100, 2.0),)},
        {"rule": Memory()},
        {"patient_hospitals": 2},
    ):
        with pytest.raises(RefusedError, match="Random allocation is of patients"):
            passes(**changes)
    with pytest.raises(InvalidInputError, match="pass_rounds=4"):
        Fleet(passes(), lambda: iter(()))
    with pytest.raises(InvalidInputError, match="pass_rounds=None"):
        Agreement.of(passes(), Schedule((), (), ()))
    done = Federation.simulated(passes(scheme="plain"), cohort(), seed=0).run()
    with pytest.raises(RefusedError, match="each patient is in one of a pass"):
        require(observe(done.transcript, "server_plain"), GradientView, "any")


def test_a_hospital_that_dies_at_any_write_of_a_pass_draws_nobody_twice(tmp_path: Path) -> None:
    made = passes(rounds=4, scheme="plain")
    for at in range(writes_of_a_round(tmp_path / "count", made)):
        site, disk = Site(tmp_path / f"{at}", made), Disk(tmp_path / f"{at}")
        site.round(0)
        found = {0: site.member.drawn[0][0].ids.tolist()}
        with disk.dying(at), pytest.raises(DiedError):
            site.round(1)
        before = site.process.drawn.get(1) if site.process is not None else None
        site.dies()
        disk.loses()
        if site.member._path.version == 0:
            site.told_again()
        for round_ in range(1, 4):
            site.round(round_)
            if (batches := site.member.drawn.get(round_)) is None:
                batches = before  # it was sealed, and is sent again as it is
            assert batches is not None
            found[round_] = batches[0].ids.tolist()
        if before is not None:
            assert before[0].ids.tolist() == found[1]
        assert sorted(patient for one in found.values() for patient in one) == list(range(12)), at
        assert set(site.spent().values()) == {1}
