"""A rule that a proposal names: in the plan, priced, run by sites as in one process."""

import json
import re
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aggregation.agreement import Agreement
from aggregation.federation import Federation
from aggregation.models import Moments
from aggregation.releases import round_event
from aggregation.rules import (
    Agnostic,
    BoundedInfluence,
    Buffered,
    LocalFit,
    LocalIntercept,
    Memory,
    Rule,
)
from aggregation.sealing.slots import SlotGroup
from aggregation.standing import StandingLedgers
from aggregation.timing.schedule import Schedule
from experiments.commands.deploy_begin import InitFederation
from experiments.deployment.declared_paces import corrected_rule
from experiments.deployment.federation_file import drafted
from experiments.studies.design import RELATION
from privacy.accounting import epsilon
from privacy.accounting.events import from_json
from privacy.errors import InpatientError, InvalidInputError
from privacy.ledger import Manifest, load_trust, verify
from tests.aggregation.parts import HOSPITALS
from tests.aggregation.sites.parts import (
    carry,
    dealt,
    made,
    opened,
    opened_sums,
    own_pace,
    patients_of,
    tables,
)

PROPOSAL = """
run = "stroke-2026"
schema = "north/schema.toml"
epsilon = 1.0
rounds = 4
{rule}
[hospitals]
north = 12
east = 12
south = 12
{more}
"""
LOSS = SlotGroup("loss", 1, clip_norm=4.0, radius=64, noise_multiplier=9.0)
ARRIVAL = "[arrival]\ntogether = 2\npace = {north = 1.0, east = 1.5, south = 2.5}\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tables("north", tmp_path / "north")
    return tmp_path


def proposed(place: Path, rule: str, more: str = "") -> Path:
    (place / "federation.toml").write_text(PROPOSAL.format(rule="", more=f"{more}\n{rule}"))
    return place / "federation.toml"


@pytest.mark.parametrize(
    ("told", "rule", "more"),
    [
        ('[rule]\nkind = "bounded influence"\nexponent = 0.5', BoundedInfluence(0.5), ""),
        ('[rule]\nkind = "local intercept"\nridge = 2.0', LocalIntercept(ridge=2.0), ""),
        ('[rule]\nkind = "memory"\nhospitals = 3', Memory(hospitals=3), ARRIVAL),
    ],
)
def test_a_named_rule_is_the_plans_and_its_noise_keeps_epsilon(
    told: str, rule: Rule, more: str, place: Path
) -> None:
    draft = drafted(proposed(place, told, more))
    assert draft.plan.rule == rule
    agreement = Agreement.of(draft.plan, draft.schedule)
    spent = [
        epsilon(agreement.run_event(name), delta=1e-5, relation=RELATION).upper
        for name in HOSPITALS
    ]
    assert 0.98 < max(spent) <= 1.0
    bare = drafted(proposed(place, "", more)).plan
    assert bare.rule is None or more  # the rule stands in what the sites are shown
    assert draft.plan.digest != bare.digest


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ('[rule]\nkind = "mars"', "mars"),
        ("[rule]\nexponent = 0.5", "rule"),
        ('[rule]\nkind = "bounded influence"\nexponent = "half"', "exponent"),
        ('[rule]\nkind = "fedavg"', "unit is the hospital"),
        ('[rule]\nkind = "agnostic"\nsizes = {north = 12, east = 12, south = 12}', "agnostic"),
        ('[rule]\nkind = "article"', "article"),
    ],
)
def test_a_rule_that_no_real_run_has_is_refused_in_words(told: str, said: str, place: Path) -> None:
    with pytest.raises(InpatientError, match=said):
        drafted(proposed(place, told))


def test_what_a_rule_fits_at_a_hospital_stays_there_alone(tmp_path: Path) -> None:
    """As in one process, each hospital's own; and the folders are verified as without it."""
    rule = LocalFit()
    folders = dealt(tmp_path / "run", made(rule=rule), seed=3, epsilon=1000.0)
    with opened(folders) as sites:
        assert carry(sites) == []
    outcome = Federation.simulated(made(rule=rule), patients_of(folders), seed=3).run()
    found = {}
    for name in HOSPITALS:
        path = folders[name] / "local.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        found[name] = json.loads(path.read_text())
        own = outcome.local[name]
        assert found[name] == {
            "intercept": own.intercept, "slope": own.slope, "shift": [*own.shift],
        }  # fmt: skip
    assert found["north"] != found["east"]
    carried = (folders["aggregator"] / "received").read_bytes()
    for name in HOSPITALS:
        assert repr(found[name]["intercept"]).encode() not in carried


def test_without_a_fit_nothing_is_left_but_the_model_and_a_real_run_with_one_is_verified(
    tmp_path: Path,
) -> None:
    plain = dealt(tmp_path / "plain", made(), seed=3, epsilon=1000.0)
    with opened(plain) as sites:
        assert carry(sites) == []
    assert not any((folder / "local.json").exists() for folder in plain.values())
    real = dealt(tmp_path / "real", made(rule=LocalIntercept()))
    with opened(real) as sites:
        assert carry(sites) == []
    verdict = verify([*real.values()], load_trust(tmp_path / "real" / "trust.json"))
    assert [str(f) for f in verdict.findings if f.level == "FAIL"] == []
    assert all((real[name] / "local.json").exists() for name in HOSPITALS)


def test_memory_along_a_declared_schedule_opens_the_sums_of_one_process(tmp_path: Path) -> None:
    schedule: Schedule = own_pace()
    plan = made(rule=Memory(hospitals=3), smallest_sum=2)
    folders = dealt(tmp_path / "run", plan, schedule=schedule, seed=5, epsilon=1000.0)
    with opened(folders) as sites:
        assert carry(sites) == []
        told = sites["aggregator"].status()
    other = Federation.simulated(plan, patients_of(folders), seed=5, schedule=schedule).run()
    assert told["round"] == len(other.opened) and np.isfinite(other.params).all()


WEIGHED = {
    "shares": Buffered(discount=False, shares={"north": 0.5, "east": 0.3, "south": 0.2}),
    "discounted": Buffered(),
    "cut off": Buffered(oldest=0),
    "corrected": corrected_rule(own_pace()),
}


@pytest.mark.parametrize("name", WEIGHED)
def test_weighed_uploads_open_the_sums_of_one_process_and_an_auditor_takes_them(
    name: str, tmp_path: Path
) -> None:
    plan, schedule = made(rule=WEIGHED[name], smallest_sum=2), own_pace()
    folders = dealt(tmp_path / "run", plan, schedule=schedule, seed=5, epsilon=1000.0)
    with opened(folders) as sites:
        assert carry(sites) == []
    other = Federation.simulated(plan, patients_of(folders), seed=5, schedule=schedule).run()
    assert [s.tolist() for s in opened_sums(folders["aggregator"])] == [
        s.tolist() for s in other.opened
    ]
    real = dealt(tmp_path / "real", plan, schedule=schedule)
    with opened(real) as sites:
        assert carry(sites) == []
    folder = tmp_path / "real"
    verdict = verify([*real.values()], load_trust(folder / "trust.json"))
    assert [str(f) for f in verdict.findings if f.level == "FAIL"] == []
    agreement, told = Agreement.of(plan, schedule), set()
    for hospital in HOSPITALS:
        (path,) = (real[hospital] / "ledgers").glob("*.jsonl")
        entries = [json.loads(line)["body"] for line in path.read_text().splitlines()]
        released = [e["content"] for e in entries if e["kind"] == "release"]
        due = [plan.applied_weight(agreement.plan.used_rule.weight((), hospital, staleness))
               for staleness in schedule.staleness(hospital)]  # fmt: skip
        assert [r["details"].get("weight", 1.0) for r in released] == due[: len(released)]
        assert {r["filter"] for r in released} == {"planned"}
        (declared,) = [e["content"] for e in entries if e["kind"] == "plan"]
        whole = declared["repeats"] * sum(step["count"] for step in declared["schedule"])
        assert whole == schedule.uploads[hospital]
        for one in released:  # each costs what it weighs, no less
            weight = one["details"].get("weight", 1.0)
            assert from_json(one["event"]) == round_event(plan, hospital, weight=weight)
            assert one["clip_norm"] == pytest.approx(weight * (plan.clip_norm or 0), rel=1e-12)
        told.update(due)
    assert len(told) > 1


def test_a_weight_that_the_ledger_does_not_have_is_a_leak(tmp_path: Path) -> None:
    real = dealt(tmp_path / "real", made(rule=Buffered(), smallest_sum=2), schedule=own_pace())
    with opened(real) as sites:
        assert carry(sites) == []
    trust = load_trust(tmp_path / "real" / "trust.json")
    file = real["north"] / "manifest.json"
    manifest = Manifest.load(file)
    key = StandingLedgers(real["north"]).key("north")
    rows = tuple(
        replace(row, clear={**row.clear, "weight": 0.123456}).signed(manifest.run, key)
        if "weight" in row.clear
        else row
        for row in manifest.messages
    )
    assert rows != manifest.messages
    replace(manifest, messages=rows).save(file)
    verdict = verify([*real.values()], trust)
    assert any("the weight 0.123456 in clear" in str(f) for f in verdict.findings)
    assert verdict.status != 0


def test_corrected_arrivals_are_priced_for_the_hospital_that_they_cost_most(place: Path) -> None:
    arrival = ARRIVAL.replace("[arrival]", "[arrival]\ncorrected = true")
    draft = drafted(proposed(place, "", arrival))
    rule, schedule = draft.plan.used_rule, draft.schedule
    assert isinstance(rule, Buffered) and rule.shares is not None and schedule is not None
    assert rule.shares["south"] == 1.0 > rule.shares["north"]
    counted = {name: rule.shares[name] * schedule.rates[name] for name in HOSPITALS}
    assert [*counted.values()] == pytest.approx([counted["south"]] * 3)  # patients count alike
    agreement = Agreement.of(draft.plan, schedule)
    spent = {
        name: epsilon(agreement.run_event(name), delta=1e-5, relation=RELATION).upper
        for name in HOSPITALS
    }
    assert 0.98 < max(spent.values()) <= 1.0
    with pytest.raises(InvalidInputError, match="corrected is a rule of its own"):
        drafted(proposed(place, '[rule]\nkind = "memory"\nhospitals = 3', arrival))


def test_sites_are_told_the_rule_and_what_each_hospital_weighs(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {}
    for name, (rule, arrival) in {
        "corrected": ("", ARRIVAL.replace("[arrival]", "[arrival]\ncorrected = true")),
        "discounted": ('[rule]\nkind = "buffered"', ARRIVAL),
        "alike": ("", ARRIVAL),
    }.items():
        assert InitFederation(proposed(place, rule, arrival), place / name).run() == 0
        said[name] = capsys.readouterr().out
    assert "Rule 'buffered': each hospital sends the weighted sum" in said["corrected"]
    assert re.search(r"north: .* uploads; weight 0\.\d+; epsilon", said["corrected"])
    assert re.search(r"south: .* \d uploads; epsilon", said["corrected"])  # 1 is not said
    assert re.search(r"south: .* uploads; weight 0\.\d+; epsilon", said["discounted"])
    schedule = own_pace()
    ranges = Agreement.of(made(rule=Buffered(), smallest_sum=2), schedule).weights("east")
    assert ranges == (2**-0.5, 1.0) and set(schedule.staleness("east")) == {0, 1}
    assert "weight" not in said["alike"] and "Rule 'fedsgd'" in said["alike"]
    adaptive = Agreement.of(
        made(rule=Agnostic(sizes=dict.fromkeys(HOSPITALS, 12)), scalars=(LOSS,))
    )
    assert adaptive.weights("north") is None


def test_moments_are_proposed_as_one_release_that_is_read_above_its_noise(place: Path) -> None:
    text = PROPOSAL.format(rule="", more="").replace("rounds = 4", 'model = "moments"')
    (place / "federation.toml").write_text(text)
    plan = drafted(place / "federation.toml").plan
    assert plan.rounds == 1 and isinstance(plan.model, Moments) and plan.model.ridge > 0
    agreement = Agreement.of(plan)
    spent = epsilon(agreement.run_event("north"), delta=plan.delta, relation=RELATION).upper
    assert 0.9 < spent <= 1.0
