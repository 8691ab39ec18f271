"""Every rule in every engine: in clear, in a federation, noised, sealed, and in a fleet."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_accounting import NonPrivateDpEvent
from numpy.typing import NDArray

from aggregation.agreement import Agreement, Trajectory
from aggregation.engines.clear import follow
from aggregation.engines.fleet import Fleet
from aggregation.federation import Federation, Outcome
from aggregation.models import Logistic
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import round_event
from aggregation.rules import (
    QFFL,
    RULES,
    Agnostic,
    Article,
    BoundedInfluence,
    Buffered,
    Call,
    ContractUnit,
    FedAsync,
    FedAvg,
    FedDyn,
    FedNova,
    FedProx,
    FedSGD,
    Importance,
    LocalFit,
    LocalIntercept,
    LocalRecalibration,
    LogitAdjustment,
    Memory,
    Rule,
    Scaffold,
    ServerOptimizer,
    fit_intercept,
    fit_locally,
    recalibrate,
)
from aggregation.sealing.slots import SlotGroup
from aggregation.statistics import STATISTICS
from aggregation.timing import Rounds
from attacks.views import observe
from attacks.views.observation import PublicView
from privacy.accounting.events import from_json
from privacy.errors import InvalidInputError, RefusedError
from privacy.ledger import load_trust, verify
from privacy.unit import Unit
from tests.aggregation.engines.test_fleet import cut, hospitals, plan_of
from tests.aggregation.parts import opened_scalars, patients, plan

Vector = NDArray[np.float64]
NAMES = ("north", "east", "south")
COHORT = {name: patients(k, n) for k, (name, n) in enumerate(zip(NAMES, (20, 12, 8), strict=True))}
SHARES = {"north": 0.5, "east": 0.3, "south": 0.2}
CLASSIFIERS = {name: [0.3 * k, -0.5, 0.2, 0.1] for k, name in enumerate(NAMES)}
TRIED: Mapping[str, Rule] = {
    "fedsgd": FedSGD(),
    "fedavg": FedAvg(SHARES),
    "fedprox": FedProx(SHARES, proximal=0.5),
    "scaffold": Scaffold(SHARES),
    "fednova": FedNova(SHARES, steps={"north": 1, "east": 3, "south": 2}, steps_scale=0.1),
    "feddyn": FedDyn(SHARES),
    "qffl": QFFL(SHARES),
    "agnostic": Agnostic({name: len(p) for name, p in COHORT.items()}, ascent=0.1),
    "importance": Importance(CLASSIFIERS),
    "logit adjustment": LogitAdjustment({"north": 0.7, "east": 0.5, "south": 0.2}),
    "bounded influence": BoundedInfluence(0.7),
    "server optimisers": ServerOptimizer(FedAvg(SHARES), rate=0.05),
    "local intercept": LocalIntercept(),
    "local recalibration": LocalRecalibration(),
    "local fit": LocalFit(),
    "article": Article({"north": 0.2, "east": 0.3, "south": 0.5}),
    "buffered": Buffered(shares=SHARES, discount=False, scale=3.0),
    "memory": Memory(shares=dict.fromkeys(NAMES, 1.0)),
}
LOSS = SlotGroup("loss", 1, clip_norm=4.0, radius=2**20, noise_multiplier=0.0)
PROTECTED = [name for name in TRIED if name != "article"]


def planned(rule: Rule, **changes: Any) -> Plan:
    whole = rule.contract.unit in (ContractUnit.HOSPITAL, ContractUnit.UNPROTECTED)
    quiet: dict[str, Any] = {
        "model": Logistic(3),
        "declared_sizes": tuple(len(p) for p in COHORT.values()),
        "rounds": 4,
        "unit": Unit.HOSPITAL if whole else Unit.PATIENT,
        "local_steps": 2 if whole else 1,
        "noise": NoiseKind.NONE,
        "noise_multiplier": 0.0,
        "colluders": 0,
        "clip_norm": 100.0,  # nothing is cut
        "radius": 2**30,
        "scalars": (LOSS,) if rule.contract.alone else (),
        "rule": rule,
    }
    return plan(**(quiet | changes))


def run(rule: Rule, **changes: Any) -> Outcome:
    return Federation.simulated(planned(rule, **changes), COHORT, seed=3).run()


def in_clear(rule: Rule) -> Vector:
    """The same without integers, from gradients that are written down here."""
    made = planned(rule)

    def rows(name: str, params: Vector) -> Vector:
        p = COHORT[name]
        x = np.c_[p.features, np.ones(len(p))]
        risks = 1 / (1 + np.exp(-(x @ params + rule.offset(name))))
        return np.asarray(
            rule.rows(name, (risks - p.outcomes)[:, None] * x, p.features, p.outcomes)
        )

    def losses(name: str, params: Vector) -> Vector:
        return STATISTICS["loss"](made.model, params, COHORT[name])

    def update(call: Call) -> Vector:
        return np.asarray(rows(call.hospital, call.params).sum(axis=0))

    return follow(
        rule,
        Rounds(NAMES, made.rounds),
        made.first_model(),
        update=update,
        gradient=lambda name, params: rows(name, params).mean(axis=0),
        loss=lambda name, params: float(losses(name, params).mean()),
        alone=lambda params: {
            "loss": np.array([np.minimum(losses(n, params), 4.0).sum() for n in NAMES])
        },
        rate=made.learning_rate,
        steps=made.local_steps,
        scale=-made.learning_rate / made.normaliser,
    ).models


def test_every_rule_that_there_is_is_tried() -> None:
    assert {*TRIED, "fedasync"} == {*RULES}  # which opens every update alone, along a schedule


@pytest.mark.parametrize("name", TRIED)
def test_a_federation_and_the_engine_in_clear_make_the_same_models(name: str) -> None:
    rule = TRIED[name]
    found = run(rule).models
    np.testing.assert_allclose(found, in_clear(rule), atol=1e-6)
    assert np.abs(found[-1]).max() > 1e-3
    if name not in ("fedsgd", "local intercept", "local recalibration", "local fit", "memory"):
        other = FedAvg(SHARES) if planned(rule).unit == "hospital" else FedSGD()
        if name != "fedavg":
            assert np.abs(found - in_clear(other)).max() > 1e-4  # it is a rule of its own


@pytest.mark.parametrize("name", PROTECTED)
def test_every_protected_rule_runs_noised_and_sealed_and_opens_to_the_same_integers(
    name: str,
) -> None:
    rule = TRIED[name]
    noisy: dict[str, Any] = {
        "noise": NoiseKind.SHARED,
        "noise_multiplier": 2.0,
        "colluders": 1,
        "clip_norm": 1.0,
        "radius": 4096,
        "rounds": 2,
        "scalars": tuple(
            dataclasses.replace(s, noise_multiplier=3.0) for s in planned(rule).scalars
        ),
    }
    if name == "qffl":  # its ratio is drowned by as much noise as others bear
        noisy |= {"noise_multiplier": 0.01}
    plain, sealed = (run(rule, scheme=scheme, **noisy) for scheme in ("plain", "shares"))
    assert np.array_equal(plain.opened, sealed.opened)
    assert np.array_equal(plain.models, sealed.models)
    for ledger in sealed.ledgers.values():
        releases = [e.content["event"] for e in ledger.entries() if e.kind == "release"]
        assert len(releases) == 2 * (1 + len(rule.contract.alone))
        assert all(e["type"] != "NonPrivateDpEvent" for e in releases)


def test_what_forbids_a_design_is_said_in_words() -> None:
    protected = {"noise": NoiseKind.SHARED, "noise_multiplier": 1.0, "colluders": 1}
    with pytest.raises(RefusedError, match="No noise protects anybody under the rule 'article'"):
        run(TRIED["article"], **protected)
    with pytest.raises(RefusedError, match="opened alone: no sealing can help"):
        run(TRIED["article"], scheme="shares")
    with pytest.raises(InvalidInputError, match="Set unit='hospital'"):
        run(TRIED["scaffold"], unit=Unit.PATIENT, local_steps=1)
    with pytest.raises(InvalidInputError, match="Set unit='patient'"):
        run(TRIED["importance"], unit=Unit.HOSPITAL)
    with pytest.raises(InvalidInputError, match=r"needs the statistics \['loss'\]"):
        run(TRIED["agnostic"], scalars=())
    with pytest.raises(InvalidInputError, match="vector of a hospital as a whole"):
        FedSGD().local((), Call("a", np.zeros(1), 0, 0, 1, 0.1, lambda w: w, lambda _: 0.0))
    with pytest.raises(InvalidInputError, match="one by one, got 3"):
        run(FedAsync())


def test_a_statistic_that_is_opened_alone_pays_for_all_of_its_noise_and_hides_in_no_sum() -> None:
    rule = TRIED["agnostic"]
    group = dataclasses.replace(LOSS, noise_multiplier=3.0)
    made = planned(
        rule, noise=NoiseKind.SHARED, noise_multiplier=2.0, colluders=1, scalars=(group,)
    )
    assert made.dim == made.model.dim + len(NAMES)
    assert made.shares_of(group) == 1 and made.noise_shares == 2
    quiet = run(rule)
    (first, *_) = quiet.opened
    for k, name in enumerate(NAMES):
        losses = STATISTICS["loss"](made.model, made.first_model(), COHORT[name])
        slot = first[made.update_dim + k] * LOSS.step
        assert slot == pytest.approx(losses.sum(), abs=1e-4)
    assert opened_scalars(planned(rule), first)["loss"] == pytest.approx(
        first[made.update_dim :].sum() * LOSS.step
    )


def test_the_rule_is_in_the_plans_digest_and_comes_back_from_its_bytes() -> None:
    bare = dataclasses.replace(planned(FedSGD()), rule=None)
    digests = {bare.digest}
    for rule in TRIED.values():
        made = planned(rule)
        assert Plan.from_bytes(made.to_bytes()) == made
        digests.add(made.digest)
    assert len(digests) == len(TRIED) + 1
    assert b"rule" not in bare.to_bytes()


def test_every_party_computes_the_model_from_the_opened_sums() -> None:
    for rule in TRIED.values():
        found = run(rule)
        mine = Trajectory(Agreement.of(planned(rule)))
        for opened in found.opened:
            mine.step(opened)
        assert np.array_equal(mine.params, found.models[-1])


@pytest.mark.parametrize("name", TRIED)
def test_whoever_sees_the_final_model_sees_the_rules_own(name: str) -> None:
    found = run(TRIED[name])
    view = observe(found.transcript, "public")
    assert isinstance(view, PublicView)
    assert np.array_equal(view.params, found.params)


def test_a_rule_given_beside_the_plan_takes_its_place() -> None:
    made = dataclasses.replace(planned(FedSGD()), rule=None)
    given = Federation.simulated(made, COHORT, seed=3, rule=TRIED["importance"])
    assert given.plan.rule == TRIED["importance"]
    assert np.array_equal(given.run().models, run(TRIED["importance"]).models)


def test_what_stays_at_the_hospital_is_fitted_around_the_final_model() -> None:
    found, plain = run(TRIED["local intercept"]), run(TRIED["fedsgd"])
    assert np.array_equal(found.opened, plain.opened)  # nothing of it crosses
    whole = run(TRIED["local recalibration"])
    fitted = run(TRIED["local fit"])
    for name, group in COHORT.items():
        scores = planned(FedSGD()).model.scores(found.params, group.features)
        assert found.local[name].intercept == fit_intercept(scores, group.outcomes)
        assert found.local[name].slope == 1.0
        fit = fitted.local[name]
        assert fit == fit_locally(scores, group.features, group.outcomes)[1]
        line = whole.local[name]
        assert (line.intercept, line.slope) == recalibrate(scores, group.outcomes)
        assert plain.local[name].intercept == 0.0


def test_an_unprotected_run_says_so() -> None:
    ledger = run(TRIED["article"]).ledgers["north"]
    releases = [e.content["event"] for e in ledger.entries() if e.kind == "release"]
    assert {e["type"] for e in releases} == {NonPrivateDpEvent.__name__}


@pytest.mark.parametrize(
    "name",
    [
        "fedsgd",
        "importance",
        "logit adjustment",
        "bounded influence",
        "server optimisers",
        "buffered",
    ],
)
@pytest.mark.parametrize("sampled", [None, 6])
def test_forty_hospitals_in_blocks_send_what_hospital_objects_send(
    name: str, sampled: int | None
) -> None:
    cohort = hospitals()
    names = tuple(cohort)
    rules: dict[str, Rule] = {
        "fedsgd": FedSGD(),
        "importance": Importance(
            {n: [0.1 * k, 0.2, 0.0, 0.0, 0.0, -0.1] for k, n in enumerate(names)}
        ),
        "logit adjustment": LogitAdjustment({n: (k + 1) / 42 for k, n in enumerate(names)}),
        "bounded influence": BoundedInfluence(0.7),
        "server optimisers": ServerOptimizer(BoundedInfluence(1.0), rate=0.05),
        "buffered": Buffered(),
    }
    agreed = plan_of(cohort, rule=rules[name], sampling_size=sampled)
    outcome = Federation.simulated(agreed, cohort, seed=5).run()
    fleet = Fleet.simulated(agreed, lambda: cut(cohort, 7), seed=5, threads=2)
    params = agreed.first_model()
    for round_ in range(agreed.rounds):
        params, _ = fleet.advance(params)
        assert np.array_equal(params, outcome.models[round_ + 1])


def test_a_fleet_refuses_rules_that_it_does_not_cover() -> None:
    cohort = hospitals()
    half = Buffered(shares=dict.fromkeys(cohort, 0.5), discount=False)
    for rule in (Memory(shares=dict.fromkeys(cohort, 1.0)), half):
        with pytest.raises(InvalidInputError, match="Use Federation"):
            Fleet(plan_of(cohort, rule=rule), lambda: cut(cohort, 8))


def real(rule: Rule, out: Path) -> Federation:
    group = dataclasses.replace(LOSS, noise_multiplier=30.0)
    made = planned(
        rule, rounds=2, noise=NoiseKind.SHARED, noise_multiplier=20.0, colluders=1, scheme="shares",
        clip_norm=1.0, radius=4096, scalars=(group,) if rule.contract.alone else (),
    )  # fmt: skip
    return Federation.real(made, COHORT, out=out, target_epsilon=5.0)


@pytest.mark.parametrize(
    "rule",
    [
        FedNova(steps={"north": 1, "east": 3, "south": 2}),
        BoundedInfluence(0.7),
        *(TRIED[name] for name in ("scaffold", "agnostic", "buffered", "memory")),
    ],
    ids=lambda rule: rule.kind,
)
def test_a_real_run_of_a_rule_leaves_ledgers_that_an_auditor_accepts(
    rule: Rule, tmp_path: Path
) -> None:
    federation = real(rule, tmp_path)
    outcome = federation.run()
    assert np.isfinite(outcome.params).all()
    if rule.contract.adaptive:  # weights follow what was opened: each costs what 1 costs
        light = 0
        for name, ledger in outcome.ledgers.items():
            found = [e.content for e in ledger.entries() if e.kind == "release"]
            updates = [c for c in found if not c["kind"].startswith("scalar")]
            whole = round_event(federation.plan, name)
            assert [from_json(c["event"]) for c in updates] == [whole] * 2
            light += sum("weight" in c["details"] for c in updates)
        assert light > 0
    federation.save(tmp_path)
    verdict = verify([tmp_path], trust=load_trust(tmp_path / "trust.json"))
    assert verdict.status == 0, [f for f in verdict.findings if f.level == "FAIL"]
