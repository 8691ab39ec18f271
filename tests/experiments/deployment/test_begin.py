"""How a federation between institutions begins, as its people would do it, command by command."""

import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aggregation.data.patients import Schema
from aggregation.data.tables import read_table
from aggregation.federation import Federation
from aggregation.plan import Plan
from aggregation.roles.messages import AGGREGATOR, OPENER
from aggregation.sites.agreed import Agreed
from aggregation.sites.flare_network import FlareNetwork
from aggregation.timing.declared import read_schedule
from experiments.deployment.federation_file import drafted
from privacy.errors import InvalidInputError
from privacy.ledger import load_trust, verify
from tests.aggregation.models.made import written
from tests.aggregation.parts import HOSPITALS
from tests.aggregation.sites.parts import MORE, carry, opened, opened_sums, tables
from tests.experiments.deployment.test_local import said_by

PROPOSAL = """
run = "stroke-2026"
schema = "north/schema.toml"
epsilon = 1.0
rounds = 3
[hospitals]
north = 12
east = 12
south = 12
"""

ARRIVAL = """[arrival]
together = 2
pace = {north = 1.0, east = 1.5, south = 2.5}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in (*HOSPITALS, *MORE):
        tables(name, tmp_path / name)
    (tmp_path / "federation.toml").write_text(PROPOSAL)
    return tmp_path


def does(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    status, said = said_by(["deploy", *arguments], capsys)
    assert status == 0, said
    return said


def refuses(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = said_by(["deploy", *arguments], capsys)
    assert status == 2 and told in said, said
    assert "Traceback" not in said


def joined(
    place: Path, names: list[str], capsys: pytest.CaptureFixture[str], *options: str
) -> dict[str, str]:
    """Have every site join; return the fingerprints that they tell."""
    does(["init", str(place / "federation.toml"), "--out", str(place / "draft")], capsys)
    told = {}
    for name in names:
        own = []
        if name not in (AGGREGATOR, OPENER):
            table, schema = place / name / "table.toml", place / "draft" / "schema.toml"
            own = ["--table", str(table), "--schema", str(schema), "--epsilon", "1"]
        plan, site = place / "draft" / "plan.json", place / "sites" / name
        said = does(["join", str(plan), str(site), "--site", name, *own, *options], capsys)
        assert re.search(r"12 patients; (\d+ uploads; )?epsilon (1|0\.99)", said)
        (found,) = re.findall(r"(?:[0-9a-f]{4} ){7}[0-9a-f]{4}", said)
        told[name] = found
    return told


@pytest.mark.parametrize("scheme", ["shares", "threshold", "bfv"])
def test_from_a_proposal_to_a_verified_run(
    scheme: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proposal = place / "federation.toml"
    proposal.write_text(f'scheme = "{scheme}"\n{PROPOSAL}west = 12\n')
    hospitals = [*HOSPITALS, "west"]
    names = [*hospitals, AGGREGATOR, *([OPENER] if scheme == "bfv" else [])]
    told = joined(place, names, capsys)
    plan, agreed = str(place / "draft" / "plan.json"), place / "agreed"
    requests = [str(place / "sites" / name / "request") for name in names]
    if scheme == "threshold":
        refuses(["agree", plan, *requests, "--out", str(agreed)], "missing: north", capsys)
        for name in hospitals:
            said = does(["reveal", plan, str(place / "sites" / name), *requests], capsys)
            assert f"Send {place / 'sites' / name / 'revealed'}" in said
        requests += [str(place / "sites" / name / "revealed") for name in hospitals]
        refuses(["agree", plan, *requests[:-1], "--out", str(agreed)], "missing: west", capsys)
        assert not (agreed / "plan.json").exists()
    said = does(["agree", plan, *requests, "--out", str(agreed)], capsys)
    for name, fingerprint in told.items():
        assert f"{name}: {fingerprint}" in said
    digest = re.findall(r"[0-9a-f]{64}", said)[-1]
    folders = {name: place / "sites" / name for name in names}
    for folder in folders.values():
        does(["accept", str(folder), str(agreed), "--digest", digest], capsys)
    with opened(folders) as sites:
        assert carry(sites) == []
    verdict = verify([*folders.values()], load_trust(agreed / "trust.json"))
    assert [str(f) for f in verdict.findings if f.level == "FAIL"] == []


def test_along_a_declared_schedule_with_the_sums_of_one_process(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proposal, names = place / "federation.toml", [*HOSPITALS, AGGREGATOR]
    proposal.write_text(PROPOSAL.replace("rounds = 3", "rounds = 4") + ARRIVAL)
    joined(place, names, capsys)
    draft, agreed = place / "draft" / "plan.json", place / "agreed"
    schedule = read_schedule((place / "draft" / "schedule.json").read_bytes())
    assert schedule.sums == 4 and schedule.uploads["north"] > schedule.uploads["south"]
    assert any(a.sealed_version > a.base_version for o in schedule.openings for a in o.arrivals)
    folders = {name: place / "sites" / name for name in names}
    asked = [str(folder / "request") for folder in folders.values()]
    kept = (place / "draft" / "schedule.json").read_bytes()
    (place / "draft" / "schedule.json").unlink()
    agree = ["agree", str(draft), *asked, "--out", str(agreed)]
    refuses(agree, "joined along the schedule", capsys)
    slower = proposal.read_text().replace("south = 2.5", "south = 3.5")
    (place / "slower.toml").write_text(slower.replace("north/", f"{place}/north/"))
    does(["init", str(place / "slower.toml"), "--out", str(place / "other")], capsys)
    other = (place / "other" / "schedule.json").read_bytes()
    (place / "draft" / "schedule.json").write_bytes(other)
    refuses(agree, "All join with the same files", capsys)
    (place / "draft" / "schedule.json").write_bytes(kept)
    digest = re.findall(r"[0-9a-f]{64}", does(agree, capsys))[-1]
    for folder in folders.values():
        does(["accept", str(folder), str(agreed), "--digest", digest], capsys)
        assert (folder / "agreed" / "schedule.json").read_bytes() == kept
        seeded = "simulated = true\n" + ("" if folder.name == AGGREGATOR else "seed = 5\n")
        with (folder / "site.toml").open("a") as file:
            file.write(seeded)
    with opened(folders) as sites:
        assert carry(sites) == []
    plan = Plan.from_bytes(draft.read_bytes())
    schema = Schema.from_toml(place / "draft" / "schema.toml")
    data = {name: read_table(place / name / "table.toml", schema) for name in HOSPITALS}
    whole = Federation.simulated(plan, data, seed=5, schedule=schedule).run()
    assert np.array_equal(np.stack(opened_sums(folders[AGGREGATOR])), whole.opened)


def test_a_site_accepts_no_other_schedule_than_it_joined_under(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The coordinator lays another schedule, of the same plan, beside what all have asked for."""
    proposal, names = place / "federation.toml", [*HOSPITALS, AGGREGATOR]
    proposal.write_text(PROPOSAL + ARRIVAL)
    joined(place, names, capsys)
    asked = [str(place / "sites" / name / "request") for name in names]
    does(["agree", str(place / "draft" / "plan.json"), *asked, "--out", str(place / "a")], capsys)
    agreed = Agreed.load(place / "a")
    assert agreed.schedule is not None
    first, second, *rest = agreed.schedule.openings
    late = replace(second, time=second.time + 1.0)
    other = replace(agreed, schedule=replace(agreed.schedule, openings=(first, late, *rest)))
    other.save(place / "b")
    for folder in (place / "sites" / name for name in names):
        again = ["accept", str(folder), str(place / "b"), "--digest", other.digest]
        refuses(again, "another schedule than the one that the site joined under", capsys)
        assert not (folder / "agreed").exists()


def test_a_ledger_of_a_run_along_a_schedule_is_verified(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proposal, hospitals = place / "federation.toml", [*HOSPITALS, "west"]
    paces = ARRIVAL.replace("}", ", west = 2}").replace("together = 2", "together = 3")
    proposal.write_text(f'scheme = "threshold"\n{PROPOSAL}west = 12\n{paces}')
    names = [*hospitals, AGGREGATOR]
    joined(place, names, capsys)
    draft, agreed = str(place / "draft" / "plan.json"), place / "agreed"
    folders = {name: place / "sites" / name for name in names}
    asked = [str(folder / "request") for folder in folders.values()]
    for name in hospitals:
        does(["reveal", draft, str(folders[name]), *asked], capsys)
    asked += [str(folders[name] / "revealed") for name in hospitals]
    said = does(["agree", draft, *asked, "--out", str(agreed)], capsys)
    digest = re.findall(r"[0-9a-f]{64}", said)[-1]
    for folder in folders.values():
        does(["accept", str(folder), str(agreed), "--digest", digest], capsys)
    with opened(folders) as sites:
        assert carry(sites) == []
        assert all(sites[name].status()["closed"] for name in hospitals)
    verdict = verify([*folders.values()], load_trust(agreed / "trust.json"))
    assert [str(f) for f in verdict.findings if f.level == "FAIL"] == []


def test_a_models_file_goes_to_every_site_which_names_it_when_it_has_read_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = np.linspace(-1, 1, 4)
    (place / "own").mkdir()
    name = written(place / "own", "def make(inputs):\n    return nn.Linear(inputs.features, 1)\n")
    np.save(place / "own" / "mine.first.npy", first)
    (place / "federation.toml").write_text(f'model = "own/mine.py:make"\n{PROPOSAL}')
    draft, names = place / "draft", [*HOSPITALS, AGGREGATOR]
    joining = [str(draft / "plan.json"), str(place / "new"), "--site"]
    said = does(["init", str(place / "federation.toml"), "--out", str(draft)], capsys)
    read = " ".join(said.split())
    assert "Send plan.json, schema.toml, module.py, module.first.npy in" in read
    assert "--site NAME --module module.py" in read
    module = draft / "module.py"
    assert hashlib.sha256(module.read_bytes()).hexdigest() in read
    assert module.read_bytes() == Path(name.rpartition(":")[0]).read_bytes()
    own = ["--table", str(place / "north" / "table.toml"), "--schema", str(draft / "schema.toml")]
    for site in ("north", AGGREGATOR):
        refuses(["join", *joining, site, *own], "this site has named none", capsys)
        other = ["--module", str(place / "federation.toml")]
        refuses(["join", *joining, site, *own, *other], "Nothing of it was run", capsys)
    assert not (place / "new").exists()
    shutil.rmtree(draft)
    joined(place, names, capsys, "--module", str(module))
    requests = [str(place / "sites" / name / "request") for name in names]
    agree = ["agree", str(draft / "plan.json"), *requests, "--out", str(place / "agreed")]
    digest = re.findall(r"[0-9a-f]{64}", does(agree, capsys))[-1]
    folders = {name: place / "sites" / name for name in names}
    for folder in folders.values():
        does(["accept", str(folder), str(place / "agreed"), "--digest", digest], capsys)
    with opened(folders) as sites:
        model = sites["north"].agreed.plan.first_model()
        assert np.array_equal(model, first)
        assert carry(sites) == []
    verdict = verify([*folders.values()], load_trust(place / "agreed" / "trust.json"))
    assert [str(f) for f in verdict.findings if f.level == "FAIL"] == []


def test_a_file_is_named_only_where_one_is_run(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    joined(place, [AGGREGATOR], capsys)
    joining = ["join", str(place / "draft" / "plan.json"), str(place / "new"), "--site", AGGREGATOR]
    refuses([*joining, "--module", "mine.py"], "leave out --module", capsys)


def test_between_machines_each_site_gets_a_kit_from_what_was_agreed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proposal, names = place / "federation.toml", [*HOSPITALS, AGGREGATOR]
    proposal.write_text(PROPOSAL + '[network]\nserver = "fl.example.org"\n')
    network = str(place / "draft" / "network.json")
    told = joined(place, names, capsys, "--network", network)
    sites, draft = place / "sites", place / "draft" / "plan.json"
    requests = [str(sites / name / "request") for name in names]
    swapped = sites / "north" / "request" / "site.request.zip"
    kept = swapped.read_bytes()
    swapped.write_bytes((sites / "east" / "request" / "site.request.zip").read_bytes())
    agree = ["agree", str(draft), *requests, "--out", str(place / "agreed")]
    refuses(agree, "changed on the way", capsys)
    swapped.write_bytes(kept)
    said = does(agree, capsys)
    assert all(f"{name}: {fingerprint}" in said for name, fingerprint in told.items())
    digest = re.findall(r"[0-9a-f]{64}", said)[-1]
    assert not [*(place / "agreed").rglob("*.key")]
    assert (place / "draft" / "authority").stat().st_mode & 0o777 == 0o700
    north = sites / "north"
    for name in names:
        said = does(
            ["accept", str(sites / name), str(place / "agreed"), "--digest", digest], capsys
        )
        assert f"inpatient deploy relay {sites / name}" in said
    assert "OK: flare" in does(["check", str(north)], capsys)
    said = does(["check", str(sites / AGGREGATOR)], capsys)
    assert "OK: flare" in said and "OK: supervisor" in said
    asked = does(["renew", str(north)], capsys)
    (fingerprint,) = re.findall(r"(?:[0-9a-f]{4} ){7}[0-9a-f]{4}", asked)
    certify = ["certify", str(place / "agreed"), str(north / "renewal"), "--authority"]
    certify += [str(place / "draft" / "authority"), "--out", str(place / "renewed")]
    assert f"north: {fingerprint}" in does(certify, capsys)
    refuses(["renew", str(north)], "has asked already", capsys)
    refuses(["renew", str(north), "--signed", str(place)], "No certificate of", capsys)
    said = does(["renew", str(north), "--signed", str(place / "renewed" / "north")], capsys)
    assert f"inpatient deploy relay {north}" in said
    assert "OK: flare" in does(["check", str(north)], capsys)
    resources = north / "flare" / "local" / "resources.json"
    resources.write_text(resources.read_text().replace('"enforce"', '"warn"'))
    status, said = said_by(["deploy", "check", str(north)], capsys)
    assert status == 1 and "FAIL: flare: resources.json: class_list_enforcement" in said
    refuses(["relay", str(north)], "NVFLARE is not started", capsys)
    other = place / "agreed" / "network.json"
    other.write_text(other.read_text().replace("8002", "8003"))
    again = ["accept", str(north), str(place / "agreed"), "--digest", digest]
    refuses(again, "accept nothing else", capsys)


def test_all_sites_join_with_the_network_or_none_does(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    joined(place, [*HOSPITALS, AGGREGATOR], capsys)
    network = place / "draft" / "network.json"
    network.write_bytes(FlareNetwork("fl.example.org", 8002, "ab" * 32).to_bytes())
    requests = [str(place / "sites" / name / "request") for name in (*HOSPITALS, AGGREGATOR)]
    agree = ["agree", str(place / "draft" / "plan.json"), *requests]
    refuses([*agree, "--out", str(place / "agreed")], "asks for no certificate", capsys)


def test_what_is_wrong_is_refused_by_whoever_meets_it_first(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [*HOSPITALS, AGGREGATOR]
    joined(place, names, capsys)
    draft, agreed = place / "draft" / "plan.json", place / "agreed"
    folders = {name: place / "sites" / name for name in names}
    requests = [str(folder / "request") for folder in folders.values()]
    again = ["init", str(place / "federation.toml"), "--out", str(place / "draft")]
    refuses(again, "holds a plan already", capsys)
    new = str(place / "new")
    refuses(["join", str(draft), new, "--site", "north"], "reads its own table", capsys)
    refuses(["join", str(draft), new, "--site", "mars"], "no site 'mars'", capsys)
    refuses(["join", str(draft), new, "--site", OPENER], "hospitals hold", capsys)
    refuses(["join", str(place / "federation.toml"), new], "not a plan", capsys)
    refuses(["join", str(place / "nowhere"), new], "can't be read", capsys)
    refuses(["join", str(draft), str(folders[AGGREGATOR]), "--site", AGGREGATOR], "", capsys)
    refuses(["agree", str(draft), *requests[:-1], "--out", str(agreed)], "missing: agg", capsys)
    refuses(["agree", str(draft), str(place), "--out", str(agreed)], "can't be read", capsys)
    does(["agree", str(draft), *requests, "--out", str(agreed)], capsys)
    refuses(["agree", str(draft), *requests, "--out", str(agreed)], "agreement already", capsys)
    north = str(folders["north"])
    refuses(["accept", north, str(agreed)], "says nothing", capsys)
    refuses(["accept", north, str(agreed), "--digest", "0" * 64], "accept nothing else", capsys)
    refuses(["accept", north, str(place)], "can't be read", capsys)
    assert not (folders["north"] / "agreed").exists()


def test_a_proposal_becomes_a_plan_without_keys(place: Path) -> None:
    draft = drafted(place / "federation.toml")
    plan, schema = draft.plan, draft.schema
    assert draft.meeting is None and draft.schedule is None
    assert plan.hospitals == HOSPITALS and plan.declared_sizes == (12, 12, 12)
    assert (plan.rounds, plan.scheme, plan.noise, plan.colluders) == (3, "shares", "shared", 1)
    assert plan.sealing is None and plan.roster is None
    assert schema.samefile(place / "north" / "schema.toml")
    assert Plan.from_bytes(plan.to_bytes()) == plan
    text = PROPOSAL.replace("rounds = 3", "rounds = 5\nlearning_rate = 0.5\nclip_norm = 2.0")
    (place / "federation.toml").write_text(text + "west = 40\n")
    other = drafted(place / "federation.toml").plan
    assert (other.rounds, other.learning_rate, other.clip_norm) == (5, 0.5, 2.0)
    assert other.declared_sizes[-1] == 40


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("epsilon = 1.0", "epsilon = 0.0"),
        ("epsilon = 1.0", "epsilon = 'one'"),
        ("epsilon = 1.0", ""),
        ("rounds = 3", "rounds = 0"),
        ("rounds = 3", "colour = 'red'"),
        ("rounds = 3", "model = 'mars'"),
        ("rounds = 3", "scheme = 'mars'"),
        ("rounds = 3", "colluders = 3"),
        ("rounds = 3", "schedule = 'schedule.json'"),
        ("south = 12", "south = 12\n[arrival]\ntogether = 2"),
        ("south = 12", "south = 12\n[arrival]\ntogether = 2\npace = {north = 1, east = 1}"),
        ("south = 12", f"south = 12\n{ARRIVAL.replace('r = 2', 'r = 1')}"),
        ("south = 12", f"south = 12\n{ARRIVAL.replace('r = 2', 'r = 4')}"),
        ("south = 12", f"south = 12\n{ARRIVAL.replace('r = 2', 'r = 0')}"),
        ("south = 12", f"south = 12\n{ARRIVAL}seed = 1"),
        ("north = 12", "north = 0"),
        ("north = 12", "'../north' = 12"),
        ("north = 12", "EAST = 12"),
        ("north = 12\neast = 12\n", ""),
        ('"stroke-2026"', '"a/b"'),
        ("south = 12", "south = 12\n[network]\nport = 8002"),
        ("south = 12", "south = 12\n[network]\nserver = 'a b'"),
        ("south = 12", "south = 12\n[network]\nserver = 'a'\nport = 0"),
        ("south = 12", "'south 2' = 12\n[network]\nserver = 'a'"),
        ('"north/schema.toml"', '"nowhere.toml"'),
    ],
)
def test_a_proposal_that_breaks_a_rule_is_refused(change: str, said: str, place: Path) -> None:
    assert change in PROPOSAL
    (place / "federation.toml").write_text(PROPOSAL.replace(change, said))
    with pytest.raises(InvalidInputError):
        drafted(place / "federation.toml")


def test_an_incidents_words_are_those_that_the_code_says() -> None:
    """Each quotation in the guide's two tables of incidents is found in a message of ours."""
    root = Path(__file__).resolve().parents[3]
    guide = (root / "docs" / "deploy.md").read_text()
    source = "".join(
        path.read_text()
        for package in ("aggregation", "privacy", "experiments")
        for path in sorted((root / package).rglob("*.py"))
    )
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    rows = guide.split("What an incident looks like")[1].split("**To remove a site**")[0]
    cells = [row.split("|")[1] for row in rows.splitlines() if row.startswith("| `")]
    said = [quoted for cell in cells for quoted in re.findall(r'"([^"]+)"', cell)]
    assert len(said) >= 25
    for quoted in said:
        parts = quoted.split(" ... ")
        if quoted not in ("event", "reason", "but claimed"):  # NVFLARE's own
            assert re.search(".{0,80}?".join(map(re.escape, parts)), source), quoted
