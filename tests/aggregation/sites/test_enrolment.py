"""Sites that make their keys apart: no private key travels, and nobody takes another's place."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aggregation.plan import Plan
from aggregation.roles.messages import AGGREGATOR, OPENER
from aggregation.sealing import Policy, Roster, load_opener, make_scheme
from aggregation.sites.agreed import Agreed
from aggregation.sites.enrolment import accept, agree, ask
from aggregation.sites.request import Request, Requests, read_request
from aggregation.sites.server_site import open_site
from aggregation.sized import sizes_of
from privacy.errors import CorruptMessageError, InpatientError, InvalidInputError, RefusedError
from privacy.ledger import SigningKey, verify
from privacy.ledger.log.keys import Trust
from tests.aggregation.parts import HOSPITALS
from tests.aggregation.sites.parts import carry, made, opened, own_pace, tables


def asked(out: Path, plan: Plan, **options: Any) -> dict[str, Path]:
    names = [*HOSPITALS, AGGREGATOR, *([OPENER] if plan.scheme == "bfv" else [])]
    for name in names:
        folder = out / name
        ask(folder, plan, name, **options)
        lines = [f'name = "{name}"', f'roles = ["{name}"]']
        if name in HOSPITALS:
            tables(name, folder)
            holds = '"hospital", "holder"' if plan.scheme == "shares" else '"hospital"'
            lines[1] = f"roles = [{holds}]"
            lines += ['table = "table.toml"', 'schema = "schema.toml"', "epsilon = 3.0"]
        (folder / "site.toml").write_text("\n".join(lines))
    return {name: out / name for name in names}


def requests(folders: Mapping[str, Path]) -> list[tuple[Request, Mapping[str, bytes]]]:
    return [read_request(folder / "request") for folder in folders.values()]


@pytest.mark.parametrize("scheme", ["shares", "bfv"])
def test_a_run_begins_whose_keys_were_made_apart(scheme: str, tmp_path: Path) -> None:
    plan = made(scheme, rounds=2)
    folders = asked(tmp_path, plan)
    agreed = agree(plan, requests(folders))
    agreed.save(tmp_path / "agreed")
    for name, folder in folders.items():
        accept(folder, Agreed.load(tmp_path / "agreed"), name)
        assert Agreed.load(folder / "agreed").digest == agreed.digest
    with opened(folders) as sites:
        assert carry(sites) == []
        assert all(site.status()["ended"] for n, site in sites.items() if n != OPENER)
    members = agreed.members
    trust = Trust(dict(members.hospitals), receivers={AGGREGATOR: members.aggregator})
    verdict = verify([*folders.values()], trust)
    assert [str(f) for f in verdict.findings if f.level == "FAIL"] == []


@pytest.mark.parametrize("scheme", ["shares", "bfv"])
def test_nothing_private_is_in_what_travels(scheme: str, tmp_path: Path) -> None:
    plan = made(scheme)
    folders = asked(tmp_path, plan)
    agree(plan, requests(folders)).save(tmp_path / "agreed")
    travels = b"".join(
        path.read_bytes()
        for folder in (tmp_path / "agreed", *(f / "request" for f in folders.values()))
        for path in folder.iterdir()
    )
    for folder in folders.values():
        for path in (folder / "keys").iterdir():
            assert path.stat().st_mode & 0o777 == 0o600
            lines = path.read_bytes().splitlines()
            assert len(lines) == 3 and lines[1] not in travels
        if (folder / "secret").exists():  # of the opener; most of it is its public key
            assert (folder / "secret").stat().st_mode & 0o777 == 0o600
            assert (folder / "secret").read_bytes() not in travels
            with pytest.raises(CorruptMessageError):
                load_opener((folder / "request" / "sealer").read_bytes(), nobody(plan))
        if (folder / "holder.key").exists():
            assert (folder / "holder.key").stat().st_mode & 0o777 == 0o600
            secret = json.loads((folder / "holder.key").read_bytes())
            for value in secret.values():
                assert value.encode() not in travels and bytes.fromhex(value) not in travels


def nobody(plan: Plan) -> Policy:
    return Policy(Roster(plan.run, {"a": SigningKey.generate().public}), min_honest=1, c_assumed=0)


def test_along_a_schedule_too(tmp_path: Path) -> None:
    plan, schedule = made(smallest_sum=2, noise_multiplier=90.0), own_pace()
    folders = asked(tmp_path, plan, schedule=schedule)
    agreed = agree(plan, requests(folders), schedule=schedule)
    for name, folder in folders.items():
        accept(folder, agreed, name)
    with opened(folders) as sites:
        assert carry(sites) == [] and all(site.status()["ended"] for site in sites.values())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, dict[str, Path]]:
    plan = made()
    return plan, asked(tmp_path_factory.mktemp("whole"), plan)


def test_each_site_asks_once_under_a_key_of_its_own(whole: tuple[Plan, dict[str, Path]]) -> None:
    plan, folders = whole
    good = requests(folders)
    north = next(one for one in good if one[0].site == "north")
    rest = [one for one in good if one[0].site != "north"]
    thief = SigningKey.generate()
    wrong: list[Requests] = [
        rest,
        [*good, north],
        [*rest, (replace(north[0], site="sybil"), {})],
        [*good, (replace(north[0], site="sybil"), {})],
        [*rest, (replace(north[0], run="another"), {})],
        [*rest, (replace(north[0], plan="0" * 64), {})],
        [*rest, (replace(north[0], box=None), {})],
        [*rest, (replace(north[0], vouched=None), {})],
        [*rest, (replace(north[0], public_key=rest[0][0].public_key), {})],
        # Whoever puts requests together puts a holder of its own in: nobody vouches for it.
        [*rest, (replace(north[0], box="ab" * 32), {})],
        [*rest, (replace(north[0], public_key=thief.public), {})],
    ]
    for some in wrong:
        with pytest.raises(InpatientError):
            agree(plan, some)
    assert agree(plan, good).digest == agree(plan, [*reversed(good)]).digest


def test_a_request_that_changed_on_the_way_is_refused(
    whole: tuple[Plan, dict[str, Path]], tmp_path: Path
) -> None:
    _, folders = whole
    request, _ = read_request(folders["north"] / "request")
    assert request.fingerprint.count(" ") == 7
    other = SigningKey.generate().public
    for change in ({"site": "east"}, {"public_key": other}, {"box": other}, {"plan": "0" * 64}):
        told = json.dumps(request.to_json() | change)
        (tmp_path / "request.json").write_text(told)
        with pytest.raises(CorruptMessageError, match="changed on the way"):
            read_request(tmp_path)
        assert replace(request, **change).fingerprint != request.fingerprint  # type: ignore[arg-type]
    for content in (b"", b"{}", b"[]", b"\xff"):
        (tmp_path / "request.json").write_bytes(content)
        with pytest.raises(CorruptMessageError):
            read_request(tmp_path)


def test_a_site_accepts_what_it_asked_for_and_nothing_else(
    whole: tuple[Plan, dict[str, Path]], tmp_path: Path
) -> None:
    plan, folders = whole
    good = requests(folders)
    agreed = agree(plan, good)
    folder = tmp_path / "north"
    shutil.copytree(folders["north"], folder)
    cheaper = replace(plan, noise_multiplier=1.0)
    again = asked(tmp_path / "again", plan)
    others = asked(tmp_path / "others", cheaper)
    mixed = {**folders, "north": again["north"]}
    wrong: list[tuple[Agreed, str]] = [
        (agreed, "east"),
        (agree(cheaper, requests(others)), "north"),  # another plan than the one it was shown
        (agree(plan, requests(again)), "north"),  # somebody else under its name
        (agree(plan, requests(mixed)), "north"),
    ]
    for offered, name in wrong:
        with pytest.raises(RefusedError):
            accept(folder, offered, name)
        assert not (folder / "agreed").exists() and not (folder / "secret").exists()
    accept(folder, agreed, "north")
    assert not (folder / "holder.key").exists()
    open_site(folder).close()


def test_who_puts_requests_together_can_not_change_plan_or_keys(tmp_path: Path) -> None:
    """The keys are the site's own, and the plan another; or the other way round."""
    plan = made("bfv")
    folders, others = asked(tmp_path / "a", plan), asked(tmp_path / "b", plan)
    agreed, other = agree(plan, requests(folders)), agree(plan, requests(others))
    cheaper = replace(agreed, plan=replace(agreed.plan, noise_multiplier=1.0))
    for name, folder in folders.items():
        with pytest.raises(RefusedError, match="Accept nothing"):
            accept(folder, cheaper, name)
        with pytest.raises(RefusedError, match="another key"):
            accept(folder, other, name)
    stolen = replace(
        other,
        plan=replace(other.plan, roster=agreed.plan.roster),
        members=agreed.members,
    )
    with pytest.raises(RefusedError, match="opener's own"):
        accept(folders[OPENER], stolen, OPENER)
    server = next(one for one in requests(folders) if one[0].site == AGGREGATOR)
    key = SigningKey.load(folders["north"] / "keys" / "north.key")
    twice = replace(server[0], public_key=key.public).signed(key), server[1]
    rest = [one for one in requests(folders) if one[0].site != AGGREGATOR]
    with pytest.raises(RefusedError, match="under one key"):
        agree(plan, [*rest, twice])


def test_parameters_that_are_too_small_for_the_plan_are_refused(tmp_path: Path) -> None:
    plan = made("bfv")
    folders = asked(tmp_path, plan)
    good = requests(folders)
    settings = sizes_of(plan).settings
    for change in ({"contributors": 2}, {"bound": settings["bound"] // 2}):
        small = make_scheme("bfv", **settings | change)
        material = {"sealer": small.sealer("north").to_bytes(), "adder": small.adder().to_bytes()}
        some = [(r, material if r.site == OPENER else files) for r, files in good]
        with pytest.raises(RefusedError, match="not sized"):
            agree(plan, some)
    without: Requests = [(r, {}) for r, _ in good]
    with pytest.raises(RefusedError, match="public material"):
        agree(plan, without)


@pytest.mark.parametrize(
    "work",
    [
        lambda folder: ask(folder, made("ckks"), "north"),
        lambda folder: ask(folder, made(), OPENER),
        lambda folder: ask(folder, made(), "mars"),
        lambda folder: ask(folder, made(sealing="0" * 64), "north"),
        lambda folder: ask(folder, made(roster="0" * 64), "north"),
    ],
)
def test_what_can_not_be_begun_makes_no_key(work: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises((RefusedError, InvalidInputError)):
        work(tmp_path / "site")
    assert not (tmp_path / "site").exists()


@pytest.mark.filterwarnings("ignore::privacy.errors.CostlierPlanWarning")
def test_a_later_run_goes_on_with_the_ledgers_that_stand(tmp_path: Path) -> None:
    standing, sizes = tmp_path / "standing", list[int]()
    for run in ("first", "second"):
        plan, folders = made(run=run, rounds=2), dict[str, Path]()
        for name in (*HOSPITALS, AGGREGATOR):
            folder = folders[name] = tmp_path / run / name
            ask(folder, plan, name, ledgers=standing / name)
            lines = [f'name = "{name}"', f'ledgers = "{standing / name}"']
            if name in HOSPITALS:
                tables(name, folder)
                lines += ['roles = ["hospital", "holder"]', 'table = "table.toml"',
                          'schema = "schema.toml"', "epsilon = 3.0"]  # fmt: skip
            else:
                lines += [f'roles = ["{name}"]']
            (folder / "site.toml").write_text("\n".join(lines))
        agreed = agree(plan, requests(folders))
        for name, folder in folders.items():
            accept(folder, agreed, name)
        with opened(folders) as sites:
            assert carry(sites) == []
            assert all(sites[name].status()["closed"] for name in HOSPITALS)
            sizes.append(sites["north"].status()["ledger"]["releases"])
        assert not (folders["north"] / "ledgers").exists()
    assert sizes == [2, 4]  # what the first run spent counts
    members = agreed.members
    trust = Trust(dict(members.hospitals), receivers={AGGREGATOR: members.aggregator})
    paths = [*(tmp_path / run / name for run in ("first", "second") for name in folders)]
    ledgers = [standing / name for name in HOSPITALS]
    verdict = verify([*paths, *ledgers], trust)
    assert [str(f) for f in verdict.findings if f.level == "FAIL"] == []
    assert not any("not counter-signed" in str(f) for f in verdict.findings)


def test_keys_are_never_made_twice(tmp_path: Path) -> None:
    ask(tmp_path, made(), "north")
    with pytest.raises(InvalidInputError):
        ask(tmp_path, made(), "north")
