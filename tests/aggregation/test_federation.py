"""The promises of ``aggregation.federation``."""

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregation.federation import Federation, Outcome
from aggregation.plan import Plan
from aggregation.roles.evidence import Evidence
from aggregation.roles.hospital import Hospital
from aggregation.roles.opener import HolderRole
from aggregation.transcript import Transcript
from privacy.errors import BudgetExceededError, InvalidInputError, RefusedError
from tests.aggregation.parts import HOSPITALS, clear, cohort, patients, plan


def run(made: Plan, seed: int = 3) -> Outcome:
    return Federation.simulated(made, cohort(), seed=seed).run()


def said(transcript: Transcript, kind: str) -> list[bytes]:
    return [m.payload for m in transcript.select(kind=kind)]


@pytest.mark.parametrize("sampling_size", [None, 3])
def test_plain_and_bfv_open_to_the_same_integers(sampling_size: int | None) -> None:
    plain = run(plan(sampling_size=sampling_size))
    sealed = run(plan(sampling_size=sampling_size, scheme="bfv"))
    assert said(plain.transcript, "opened") == said(sealed.transcript, "opened")
    assert said(plain.transcript, "model") == said(sealed.transcript, "model")
    assert np.array_equal(plain.params, sealed.params)
    assert said(plain.transcript, "update") != said(sealed.transcript, "update")


def test_the_seed_names_the_run() -> None:
    assert said(run(plan()).transcript, "opened") == said(run(plan()).transcript, "opened")
    assert said(run(plan()).transcript, "opened") != said(run(plan(), 4).transcript, "opened")


def test_without_noise_a_federation_is_gradient_descent_on_all_patients() -> None:
    made, group = clear(rounds=5), cohort()
    outcome = run(made)
    features = np.concatenate([p.features for p in group.values()])
    outcomes = np.concatenate([p.outcomes for p in group.values()])
    params = made.first_model()
    for _ in range(5):
        rows = made.model.per_patient_gradients(params, features, outcomes)
        params = params - made.learning_rate * rows.mean(axis=0)
    np.testing.assert_allclose(outcome.params, params, atol=1e-7)
    assert outcome.models.shape == (6, made.model.dim)


def test_the_noise_of_the_sum_is_the_plans() -> None:
    """Opened sums less those of a silent run: variance of all shares, colluders' included."""
    made = plan(rounds=1, noise_multiplier=40.0)
    noisy = np.stack(
        [
            np.frombuffer(said(run(made, seed).transcript, "opened")[0], dtype="<i8")
            for seed in range(40)
        ]
    )
    expected = np.sqrt(3 / 2) * 40.0 * made.radius
    # 40 x 21 values: the standard deviation errs by 2.5 %; four of them.
    assert noisy.std(axis=0, ddof=1).mean() == pytest.approx(expected, rel=0.1)


def test_every_byte_sent_is_the_sealed_form_of_a_release() -> None:
    federation = Federation.simulated(plan(), cohort(), seed=0)
    outcome = federation.run()
    for name in HOSPITALS:
        entries = list(federation.ledger(name).entries())
        sealed = {e.content["digest"]: e.content["bytes"] for e in entries if e.kind == "sealed"}
        sent = outcome.transcript.select(sender=name)
        assert {m.kind for m in sent} == {"update"}
        assert [hashlib.sha256(m.payload).hexdigest() for m in sent] == list(sealed)
        assert [m.size for m in sent] == list(sealed.values())


def test_the_truth_of_a_round_stays_out_of_the_transcript() -> None:
    outcome = run(plan(sampling_size=3))
    everything = b"".join(m.payload for m in outcome.transcript)
    for by_round in outcome.drawn.values():
        for batches in by_round.values():
            for batch in batches:
                for row in batch.features:
                    assert row.astype("<f8").tobytes() not in everything


def test_a_real_run_keeps_durable_ledgers_and_is_never_overwritten(tmp_path: Path) -> None:
    made = plan(scheme="bfv", noise_multiplier=60.0)
    outcome = Federation.real(made, cohort(), out=tmp_path, target_epsilon=1.0).run()
    again = Federation.simulated(made, cohort(), seed=3).run()
    assert said(outcome.transcript, "opened") != said(again.transcript, "opened")
    names = {f"{name}.jsonl" for name in HOSPITALS}
    assert names <= {path.name for path in (tmp_path / "ledgers").iterdir()}
    for name in HOSPITALS:
        assert (tmp_path / "keys" / f"{name}.key").stat().st_mode & 0o077 == 0
    with pytest.raises(InvalidInputError, match="nothing of it is ever overwritten"):
        Federation.real(made, cohort(), out=tmp_path, target_epsilon=1.0)


def test_a_real_run_over_its_budget_starts_nothing(tmp_path: Path) -> None:
    made = plan(scheme="bfv", noise_multiplier=2.0)
    federation = Federation.real(made, cohort(), out=tmp_path, target_epsilon=1.0)
    with pytest.raises(BudgetExceededError):
        federation.run()
    assert federation.transcript.select(kind="update") == ()


@pytest.mark.parametrize(
    ("made", "message"),
    [(plan(), "sums only"), (clear(), "noise that protects")],
    ids=["shared noise in clear", "no noise"],
)
def test_a_real_run_refuses_what_protects_nobody(made: Plan, message: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=message):
        Federation.real(made, cohort(), out=tmp_path, target_epsilon=1.0)
    assert list(tmp_path.iterdir()) == []


def test_hospitals_must_be_the_plans() -> None:
    others = {f"x{name}": group for name, group in cohort().items()}
    with pytest.raises(InvalidInputError, match="in that order"):
        Federation.simulated(plan(), others, seed=0)


@pytest.mark.parametrize("made", [plan(), clear()], ids=["noised", "clear"])
def test_wrapping_is_improbable(made: Plan) -> None:
    assert Federation.simulated(made, cohort(), seed=0).wrap_probability() <= 1e-6


@pytest.mark.parametrize(("changes", "least"), [({}, 3), ({"smallest_sum": 2}, 3)])
def test_whoever_opens_opens_no_sum_below_what_the_noise_was_sized_for(
    changes: dict[str, Any], least: int, tmp_path: Path
) -> None:
    made = plan(scheme="shares", noise_multiplier=60.0, **changes)
    federation = Federation.real(made, cohort(), out=tmp_path, target_epsilon=3.0)
    for address, role in federation._engine._roles.items():
        if isinstance(role, HolderRole):
            policy = role._holder.policy
            assert address.startswith("holder ")
            assert (policy.min_honest, policy.c_assumed) == (least - 1, 1)
            assert policy.require_ledger_head
        if isinstance(role, Hospital):
            assert role._judge._least == least
            assert role.plan.sealing == role._sealer.parameters.digest
            assert role.plan.roster == role._judge.roster.digest


def test_a_real_run_can_demand_that_lies_of_holders_are_seen(tmp_path: Path) -> None:
    names = (*HOSPITALS, "west")
    group = {name: patients(seed) for seed, name in enumerate(names)}
    made = plan(
        scheme="shares", noise_multiplier=80.0, hospitals=names, declared_sizes=(12,) * 4, rounds=1
    )
    options: dict[str, Any] = {"target_epsilon": 3.0, "detects": True}
    outcome = Federation.real(made, group, out=tmp_path / "run", **options).run()
    (evidence, *_) = said(outcome.transcript, "evidence")
    often = Counter(p for a in Evidence.from_bytes(evidence).answers for p in a.parts)
    assert set(often.values()) == {2}
    with pytest.raises(RefusedError, match="Take 7 holders or more"):
        Federation.real(replace(made, colluders=2), group, out=tmp_path / "few", **options)
    with pytest.raises(RefusedError, match="no two parties say the same thing"):
        Federation.real(replace(made, scheme="bfv"), group, out=tmp_path / "bfv", **options)
