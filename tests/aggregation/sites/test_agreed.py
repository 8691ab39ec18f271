"""What all sites have alike, and a site's own settings: read strictly, or not at all."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.sites.agreed import Agreed, Members
from aggregation.sites.site_settings import Part, SiteSettings
from aggregation.timing.declared import read_schedule, write_schedule
from aggregation.timing.schedule import Schedule
from privacy.errors import CorruptMessageError, InpatientError, InvalidInputError, RefusedError
from tests.aggregation.sites.parts import dealt, made, own_pace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    agreed = made(smallest_sum=2, noise_multiplier=90.0)
    folders = dealt(tmp_path_factory.mktemp("agreed") / "run", agreed, schedule=own_pace())
    return folders["north"] / "agreed"


def test_what_is_saved_is_read_again_under_one_digest(folder: Path, tmp_path: Path) -> None:
    agreed = Agreed.load(folder)
    agreed.save(tmp_path)
    again = Agreed.load(tmp_path)
    assert again.digest == agreed.digest and again.schedule == own_pace()
    assert again.plan == agreed.plan and again.members == agreed.members
    assert again.plan.sealing == again.parameters.digest
    assert again.plan.roster == again.members.roster.digest


def test_another_word_in_any_file_is_another_agreement_or_none(
    folder: Path, tmp_path: Path
) -> None:
    agreed = Agreed.load(folder)
    other = {
        "schedule": replace(agreed, schedule=None),
        "aggregator": replace(agreed, members=replace(agreed.members, aggregator="ab" * 32)),
    }
    assert len({agreed.digest, *(one.digest for one in other.values())}) == 1 + len(other)
    wrong: list[Callable[[], Any]] = [
        lambda: replace(agreed, detects=True),  # three holders can't promise it
        lambda: replace(agreed, plan=replace(agreed.plan, sealing="0" * 64)),
        lambda: replace(agreed, plan=replace(agreed.plan, roster="0" * 64)),
        lambda: replace(agreed, plan=replace(agreed.plan, run="another")),
        lambda: replace(agreed, members=replace(agreed.members, run="another")),
        lambda: replace(agreed, members=_reordered(agreed.members)),
        lambda: replace(agreed, members=_another_key(agreed.members)),
    ]
    for change in wrong:
        with pytest.raises(RefusedError):
            change()
    for name in ("plan.json", "members.json", "sealer", "adder"):
        for content in (b"", b"{}", b"[]", (folder / name).read_bytes()[:-1]):
            agreed.save(tmp_path)
            (tmp_path / name).write_bytes(content)
            with pytest.raises(InpatientError):
                Agreed.load(tmp_path).load_adder()
    agreed.save(tmp_path)
    (tmp_path / "plan.json").unlink()
    with pytest.raises(CorruptMessageError, match="can't be read"):
        Agreed.load(tmp_path)


def _reordered(members: Members) -> Members:
    return replace(members, hospitals=dict(reversed([*members.hospitals.items()])))


def _another_key(members: Members) -> Members:
    return replace(members, hospitals={**members.hospitals, "north": "ab" * 32})


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"detects": 1},
        {"more": 1},
        {"members": {}},
        {"members": None},
    ],
)
def test_members_of_another_form_are_refused(
    change: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    Agreed.load(folder).save(tmp_path)
    told = json.loads((tmp_path / "members.json").read_bytes())
    (tmp_path / "members.json").write_text(json.dumps(told | change))
    with pytest.raises(CorruptMessageError):
        Agreed.load(tmp_path)


def test_a_hospital_too_many_in_the_members_is_refused(folder: Path, tmp_path: Path) -> None:
    Agreed.load(folder).save(tmp_path)
    told = json.loads((tmp_path / "members.json").read_bytes())
    told["members"]["hospitals"]["sybil"] = "ab" * 32
    (tmp_path / "members.json").write_text(json.dumps(told))
    with pytest.raises(CorruptMessageError, match="does not have"):
        Agreed.load(tmp_path)


SCHEDULE = write_schedule(own_pace())


def test_a_schedule_is_read_as_it_was_written() -> None:
    assert read_schedule(SCHEDULE) == own_pace()
    assert write_schedule(read_schedule(SCHEDULE)) == SCHEDULE
    with pytest.raises(InvalidInputError):
        write_schedule(Schedule((), (), ()))


@given(st.integers(0, len(SCHEDULE) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_a_changed_schedule_is_refused_or_is_one(at: int, put: bytes, cut: int) -> None:
    content = SCHEDULE[:at] + put + SCHEDULE[at + cut :]
    try:
        read = read_schedule(content)
    except CorruptMessageError:
        return
    assert read_schedule(write_schedule(read)) == read
    for number, opening in enumerate(read.openings):
        assert opening.version == number
        assert all(a.base_version <= a.sealed_version <= number for a in opening.arrivals)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda said: said["openings"].reverse(),
        lambda said: said["openings"][0].update(version=1),
        lambda said: said["openings"][0]["arrivals"][0].update(base_version=5, sealed_version=5),
        lambda said: said["openings"][1]["arrivals"][0].update(base_version=1, sealed_version=0),
        lambda said: said["openings"][0]["arrivals"][0].update(arrived="inf"),
        lambda said: said["openings"][0].update(reason="because"),
        lambda said: said["openings"][0].update(arrivals=[]),
        lambda said: said.update(openings=[]),
    ],
)
def test_a_schedule_that_can_not_be_is_refused(spoil: Callable[[Any], Any]) -> None:
    said = json.loads(SCHEDULE)
    spoil(said)
    with pytest.raises(CorruptMessageError):
        read_schedule(json.dumps(said).encode())


HOSPITAL = """
name = "north"
roles = ["hospital", "holder"]
table = "table.toml"
schema = "schema.toml"
epsilon = 1.0
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HOSPITAL + "seed = 1", "comes from the operating system"),
        (HOSPITAL + "simulated = true", "needs one"),
        (HOSPITAL + "simulated = true\nseed = 1\nledgers = 'there'", "in memory"),
        (HOSPITAL + "colour = 'red'", "colour is no key"),
        (HOSPITAL.replace("1.0", "0.0"), "above 0"),
        (HOSPITAL.replace("1.0", "inf"), "finite|infinite"),
        (HOSPITAL.replace("1.0", "'1'"), "epsilon"),
        (HOSPITAL.replace("epsilon = 1.0", ""), "all three"),
        (HOSPITAL.replace('table = "table.toml"', ""), "all three"),
        (HOSPITAL.replace('"hospital", "holder"', '"hospital", "aggregator"'), "must not open"),
        (HOSPITAL.replace('"hospital", "holder"', '"hospital", "hospital"'), "expected hospital"),
        (HOSPITAL.replace('"hospital", "holder"', '"aggregator"'), "all three"),
        (HOSPITAL.replace('"hospital", "holder"', ""), "expected hospital"),
        (HOSPITAL.replace('"hospital", "holder"', '"king"'), "roles"),
        (HOSPITAL.replace('"north"', '"../north"'), "plain name"),
        ('name = "a"\nroles = ["opener"]\nepsilon = 1.0', "all three"),
    ],
)
def test_a_site_toml_that_breaks_a_rule_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(text)
    with pytest.raises(InvalidInputError, match=said):
        SiteSettings.load(tmp_path)


@pytest.mark.parametrize("roles", ["hospital", "hospital holder", "holder", "aggregator", "opener"])
def test_roles_that_go_together_are_read(roles: str) -> None:
    parts = tuple(Part(role) for role in roles.split())
    own: dict[str, Any] = {"table": "t", "schema": "s", "epsilon": 1.0}
    settings = SiteSettings("a", parts, **(own if "hospital" in roles else {}))
    assert settings.is_hospital == ("hospital" in roles)
