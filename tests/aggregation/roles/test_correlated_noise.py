"""Noise that is correlated over rounds: each round has one, kept, and no more than is needed."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dp_accounting import SelfComposedDpEvent
from hypothesis import given
from hypothesis import strategies as st

from aggregation.agreement import Agreement, Trajectory
from aggregation.correlation import Correlation
from aggregation.engines.fleet import Fleet
from aggregation.federation import Federation
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import round_event, run_event
from aggregation.roles.correlated_noise import CorrelatedNoise
from aggregation.roles.kept import Kept
from aggregation.rules import Memory
from aggregation.sealing.slots import SlotGroup
from aggregation.sized import _parts, sealing_for, wrap_probability_of
from aggregation.timing import Schedule
from aggregation.update import noised_update
from experiments.studies.design import RELATION
from privacy.accounting import epsilon
from privacy.errors import InvalidInputError, RefusedError
from privacy.ledger import load_trust, verify
from privacy.mechanisms import OperatingSystem, Seeded
from privacy.unit import Unit
from tests.aggregation.parts import cohort, patients, plan
from tests.aggregation.power import DiedError, Disk
from tests.aggregation.roles.test_restart import Site, writes_of_a_round
from tests.aggregation.test_update import Silent

BANDED = Correlation(bands=3)
BUFFERED = Correlation(scales=(0.4, 0.1), decays=(0.8, 0.3))


def correlated(one: Correlation | None = BANDED, **changes: object) -> Plan:
    fields = {"noise": NoiseKind.LOCAL, "colluders": 0, "rounds": 6, "correlated": one,
              "noise_multiplier": 4.0}  # fmt: skip
    return plan(**fields | changes)


class Counted(Seeded):
    """Keeps what it drew."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.drawn: list[np.ndarray] = []

    def discrete_gaussian(self, std: float, size: int) -> np.ndarray:  # [size]
        self.drawn.append(super().discrete_gaussian(std, size))
        return self.drawn[-1]


def noises(made: Plan, source: Seeded, kept: Kept | None = None) -> np.ndarray:  # [rounds dim]
    assert made.correlated is not None
    noise, found = CorrelatedNoise(made, made.correlated, source, kept), []
    for round_ in range(made.rounds):
        noise.prepare(round_, last=round_ - 1)
        noise.prepare(round_, last=round_)
        found.append(noise.discrete_gaussian(made.share_std, made.update_dim))
    return np.stack(found)


@pytest.mark.parametrize("one", [BANDED, BUFFERED, Correlation(bands=6)], ids=str)
def test_what_is_sent_times_the_matrix_is_what_was_drawn_to_half_a_step(one: Correlation) -> None:
    made, source = correlated(one), Counted(3)
    sent = noises(made, source)
    c = np.array(one.coefficients(made.rounds))
    assert len(source.drawn) == made.rounds
    for t, drawn in enumerate(source.drawn):
        past = sent[max(0, t - len(c) + 1) : t][::-1]
        assert np.abs(sent[t] + c[1 : len(past) + 1] @ past - drawn).max() <= 0.5 + 1e-9
    variance = made.share_std**2 * one.growth(made.rounds)
    assert 0.5 * variance < sent[-1].var() < 2 * variance  # 21 draws: loosely


def test_one_round_or_one_band_is_the_plain_noise_bit_for_bit() -> None:
    for changes, one in (({"rounds": 1}, BANDED), ({"rounds": 1}, BUFFERED),
                         ({}, Correlation(bands=1))):  # fmt: skip
        runs = [
            Federation.simulated(correlated(which, **changes), cohort(), seed=5).run()
            for which in (one, None)
        ]
        assert np.array_equal(runs[0].opened, runs[1].opened)
        assert np.array_equal(runs[0].params, runs[1].params)
    other = Federation.simulated(correlated(), cohort(), seed=5).run()
    plain = Federation.simulated(correlated(None), cohort(), seed=5).run()
    assert np.array_equal(other.opened[0], plain.opened[0])
    assert not np.array_equal(other.opened[1], plain.opened[1])


@given(st.integers(0, 2**32 - 1), st.sets(st.integers(0, 5), min_size=1))
def test_a_round_that_was_missed_has_its_place_in_what_follows(seed: int, asked: set[int]) -> None:
    made = correlated()
    whole = noises(made, Seeded(seed))
    noise, last = CorrelatedNoise(made, BANDED, Seeded(seed), None), -1
    for round_ in sorted(asked):
        noise.prepare(round_, last=last)
        last = round_
        found = noise.discrete_gaussian(made.share_std, made.update_dim)
        assert np.array_equal(found, whole[round_])


def test_a_restart_goes_on_with_the_same_noise_and_keeps_no_more_than_it_needs(
    tmp_path: Path,
) -> None:
    made, folder = correlated(), Kept(tmp_path / "kept")
    noise = CorrelatedNoise(made, BANDED, OperatingSystem(), folder)
    noise.prepare(3, last=-1)
    before = noise.discrete_gaussian(made.share_std, made.update_dim)
    folder.close()
    again = CorrelatedNoise(made, BANDED, OperatingSystem(), Kept(tmp_path / "kept"))
    again.prepare(3, last=3)
    assert np.array_equal(again.discrete_gaussian(made.share_std, made.update_dim), before)
    file = tmp_path / "kept" / "noise.now"
    assert file.stat().st_mode & 0o777 == 0o600
    # This round's and two before it: three rows, and little around them.
    assert file.stat().st_size < 3 * 8 * made.update_dim + 1_000
    assert before.astype("<i8").tobytes() in file.read_bytes()
    again.prepare(4, last=3)
    again.prepare(5, last=4)
    again_past = again._past
    assert before.astype("<i8").tobytes() not in file.read_bytes()
    assert len(again_past) == 2


def test_noise_that_is_lost_is_not_made_up() -> None:
    made = correlated()
    with pytest.raises(RefusedError, match="released in round 2, and its noise is lost"):
        CorrelatedNoise(made, BANDED, Seeded(0), None).prepare(3, last=2)
    noise = CorrelatedNoise(made, BANDED, Seeded(0), None)
    with pytest.raises(InvalidInputError, match="that of an update"):
        noise.discrete_gaussian(made.share_std, made.update_dim)
    noise.prepare(0, last=-1)
    with pytest.raises(InvalidInputError, match="that of an update"):
        noise.discrete_gaussian(1.0, made.update_dim)


def test_a_hospital_that_dies_at_any_write_has_one_noise_a_round(tmp_path: Path) -> None:
    made = correlated(rounds=3)
    for at in range(writes_of_a_round(tmp_path / "count", made)):
        site, disk = Site(tmp_path / f"{at}", made), Disk(tmp_path / f"{at}")
        site.round(0)
        with disk.dying(at), pytest.raises(DiedError):
            site.round(1)
        site.dies()
        disk.loses()
        if site.member._path.version == 0:
            site.told_again()
        site.round(1)
        site.round(2)
        assert set(site.spent().values()) == {1}
        parameters, size = site.scheme.parameters, made.dim * site.scheme.parameters.word
        follow, sent = Trajectory(Agreement.of(made)), []
        for round_ in range(3):  # the sums that the site was told are made up
            words = parameters.from_words(site.sent[round_].payload[-size:])
            bare = noised_update(made, "north", (patients(0),), follow.params, Silent(0))
            sent.append(parameters.centre(words) - bare)
            follow.step(np.arange(made.dim, dtype=np.int64) % 7)
        kept = site.member._draws.noise
        assert isinstance(kept, CorrelatedNoise)
        assert np.array_equal(kept._noise, sent[2])
        assert np.array_equal(kept._past, np.stack([sent[2], sent[1]]))  # what was sent is known


@pytest.mark.parametrize("scheme", ["plain", "shares"])
@pytest.mark.parametrize("pass_rounds", [None, 3])
def test_a_real_run_is_verified_at_what_all_rounds_cost_together(
    pass_rounds: int | None, scheme: str, tmp_path: Path
) -> None:
    made = correlated(pass_rounds=pass_rounds, noise_multiplier=8.0, scheme=scheme)
    run = Federation.real(made, cohort(), out=tmp_path / "run", target_epsilon=4.0)
    done = run.run()
    run.save(tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.now"))  # with the run, its noise is gone
    verdict = verify([tmp_path / "run"], load_trust(tmp_path / "run" / "trust.json"))
    assert verdict.status == 0
    expected = epsilon(run_event(made, "north"), delta=1e-5, relation=RELATION).upper
    for reading in verdict.readings:
        (spent,) = reading.spent
        assert (spent.releases, spent.left) == (6, 0)
        assert spent.interval is not None
        assert spent.interval.upper == pytest.approx(expected, rel=1e-9)
    if pass_rounds is not None:
        for rounds in done.drawn.values():
            ids = [set(rounds[r][0].ids.tolist()) for r in range(6)]
            assert ids[:3] == ids[3:]  # the same step in each pass
            assert sorted(set().union(*ids)) == list(range(12))


def test_bands_cost_as_one_gaussian_at_the_sensitivitys_distance() -> None:
    made = correlated(pass_rounds=3)
    assert round_event(made, "north") == round_event(made, "north", weight=0.5)
    found = epsilon(run_event(made, "north"), delta=1e-5, relation=RELATION).upper
    apart = math.sqrt(2 * (1 + 0.25 + 0.375**2))
    plain = correlated(None, rounds=1, noise_multiplier=4.0 / apart)
    once = epsilon(run_event(plain, "north"), delta=1e-5, relation=RELATION).upper
    assert once <= found < 1.02 * once  # rounding is the rest
    assert isinstance(run_event(made, "north"), SelfComposedDpEvent)


def test_what_is_sealed_is_sized_for_what_is_sent() -> None:
    made = correlated(Correlation(bands=6), scheme="shares", colluders=1)
    scheme = sealing_for(made)
    assert wrap_probability_of(made, scheme.parameters) <= 1e-6
    narrow = sealing_for(replace(made, correlated=None))
    assert wrap_probability_of(made, narrow.parameters) >= wrap_probability_of(
        made, scheme.parameters
    )


@pytest.mark.parametrize("one", [BANDED, BUFFERED, Correlation(bands=6)])
def test_the_range_counts_the_noise_as_wide_as_it_is_sent(one: Correlation) -> None:
    """Second road: 20,000 coordinates' noise over all rounds, as hospitals send it."""
    made = correlated(one)
    rng, drawn = np.random.default_rng(0), 20_000
    past, widest = one.nothing(drawn), 0.0
    for _ in range(made.rounds):
        fresh = np.rint(made.share_std * rng.normal(size=drawn)).astype(np.int64)
        noise, past = one.sent(fresh, past, made.rounds)
        widest = max(widest, float(noise.var()))
    assert widest > 1.05 * made.share_std**2  # correlation makes it wider than what is drawn
    variance = _parts(made, 3)[0].noise_variance
    # A sample's variance is within 5 % but once in 100,000; rounding adds a step a round.
    assert 0.95 * 3 * widest <= variance <= 1.05 * 3 * (widest**0.5 + 2 * made.rounds) ** 2


def test_a_plan_says_how_and_keeps_its_bytes_where_it_does_not() -> None:
    assert b"correlated" not in plan().to_bytes()
    for one in (BANDED, BUFFERED):
        made = correlated(one)
        assert Plan.from_bytes(made.to_bytes()) == made


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({}, "bands of at least 1"),
        ({"bands": 2, "scales": (0.1,), "decays": (0.1,)}, "bands of at least 1"),
        ({"scales": (0.1,)}, "as many scales as decays"),
        ({"scales": (-0.1,), "decays": (0.1,)}, "scale=-0.1"),
        ({"scales": (0.1,), "decays": (1.0,)}, "decays below 1"),
        ({"scales": (0.1,), "decays": (1.5,)}, "decay=1.5"),
        ({"bands": -1}, "bands=-1"),
        ({"scales": (0.1,) * 33, "decays": (0.1,) * 33}, "at most 32 buffers"),
    ],
)
def test_a_correlation_is_banded_or_has_buffers(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        Correlation(**wrong)  # type: ignore[arg-type]


def test_what_correlated_noise_is_not_known_with_is_refused() -> None:
    with pytest.raises(RefusedError, match="there is no proof"):
        correlated(noise=NoiseKind.SHARED, colluders=1)
    for changes in (
        {"noise": NoiseKind.NONE, "noise_multiplier": 0.0},
        {"sampling_size": 3},
        {"local_steps": 2},
        {"unit": Unit.HOSPITAL},
        {"scalars": (SlotGroup("count", 1, 1.0, 100, 2.0),)},
        {"rule": Memory()},
        {"patient_hospitals": 2},
    ):
        with pytest.raises((RefusedError, InvalidInputError)):
            correlated(**changes)
    with pytest.raises(InvalidInputError, match="correlated=Correlation"):
        Fleet(correlated(), lambda: iter(()))
    with pytest.raises(InvalidInputError, match="correlated=None"):
        Agreement.of(correlated(), Schedule((), (), ()))
