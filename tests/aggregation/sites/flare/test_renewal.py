"""Certificates are renewed within a run, by the site whose keys they are, and by nobody else."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from aggregation.roles.messages import AGGREGATOR
from aggregation.sites.agreed import Agreed
from aggregation.sites.flare import renewal
from aggregation.sites.flare.kit import KitKind
from aggregation.sites.flare.parent_process import kit_faults
from aggregation.sites.flare.renewal import (
    Renewal,
    ask_anew,
    install_anew,
    read_renewal,
    sign_anew,
)
from aggregation.sites.flare.site_certificates import (
    approve_certificates,
    install_kits,
    make_authority,
    request_certificates,
)
from privacy.errors import CorruptMessageError, InpatientError, InvalidInputError, RefusedError
from privacy.files import write_durably
from privacy.ledger import SigningKey
from privacy.ledger.log import canonical
from tests.aggregation.sites.parts import dealt, made

NOW = datetime.now(UTC) + timedelta(hours=1)  # the certificates are made in a moment


class Meeting:
    """A run over a network, whose sites have their kits; and another authority."""

    def __init__(self, place: Path) -> None:
        self.place, self.authority = place, place / "authority"
        network = make_authority(self.authority, "fl.example.org", 8002)
        self.folders = dict(dealt(place / "run", made(rounds=1), network=network))
        some = {name: self.folders[name] for name in ("north", AGGREGATOR)}
        signed = approve_certificates(self.authority, network, request_certificates(some, network))
        install_kits(some, network, signed)
        self.agreed = Agreed.load(self.folders["north"] / "agreed")

    def copy(self, place: Path) -> "Meeting":
        shutil.copytree(self.place, place, dirs_exist_ok=True)
        other = object.__new__(Meeting)
        other.place, other.authority, other.agreed = place, place / "authority", self.agreed
        other.folders = {name: place / "run" / name for name in self.folders}
        return other

    def key(self, site: str) -> SigningKey:
        return SigningKey.load(self.folders[site] / "keys" / f"{site}.key")

    def signed(self, site: str) -> Path:
        """What the coordinator sends back."""
        asked = [read_renewal(self.folders[site] / "renewal", self.agreed)]
        for file, content in sign_anew(self.authority, self.agreed, asked)[site].items():
            write_durably(self.place / "renewed" / site / file, content)
        return self.place / "renewed" / site


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Meeting:
    return Meeting(tmp_path_factory.mktemp("whole"))


def certificate(folder: Path, kind: KitKind) -> x509.Certificate:
    path = folder / kind.folder / "startup" / f"{kind.certificate}.crt"
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.mark.parametrize("site", ["north", AGGREGATOR])
def test_new_keys_take_the_old_ones_place_and_the_kit_has_no_fault(
    site: str, whole: Meeting, tmp_path: Path
) -> None:
    run = whole.copy(tmp_path)
    folder = run.folders[site]
    kinds = [KitKind.SITE] if site == "north" else [KitKind.SERVER, KitKind.SUPERVISOR]
    before = [certificate(folder, kind) for kind in kinds]
    keys = {path.read_bytes() for path in (folder / "certificates").rglob("*.key")}
    asked = ask_anew(folder)
    assert asked.fingerprint.count(" ") == 7 and asked.site == site
    assert [certificate(folder, kind) for kind in kinds] == before  # the old kit works on
    private = [*(folder / "certificates.new").rglob("*.key")]
    assert len(private) == len(kinds) and all(p.stat().st_mode & 0o077 == 0 for p in private)
    travels = b"".join(path.read_bytes() for path in (folder / "renewal").iterdir())
    assert not any(path.read_bytes().splitlines()[2] in travels for path in private)
    with pytest.raises(InvalidInputError, match="has asked already"):
        ask_anew(folder)
    install_anew(folder, run.signed(site))
    assert all(not found for found in kit_faults(folder, NOW).values())
    after = [certificate(folder, kind) for kind in kinds]
    for old, new in zip(before, after, strict=True):
        assert old.subject == new.subject and old.public_key() != new.public_key()
        assert old.serial_number != new.serial_number
    left = {path.read_bytes() for path in (folder / "certificates").rglob("*.key")}
    assert len(left) == len(keys) and not left & keys
    assert not (folder / "renewal").exists() and not (folder / "certificates.new").exists()
    with pytest.raises(InvalidInputError, match="has not asked"):
        install_anew(folder, run.place / "renewed" / site)
    assert ask_anew(folder).certificates != asked.certificates  # once more, later


def test_nobody_else_asks_in_a_sites_name(whole: Meeting, tmp_path: Path) -> None:
    run = whole.copy(tmp_path)
    asked, place = ask_anew(run.folders["north"]), run.folders["north"] / "renewal"
    thief, east = SigningKey.generate(), run.key("east")

    def said(change: Mapping[str, Any], key: SigningKey | None) -> None:
        one = replace(asked, **change)
        if key is not None:
            one = replace(one, signature="")
            one = replace(one, signature=key.sign(one.statement))
        (place / "renewal.json").write_bytes(canonical.encode(one.to_json()))

    wrong: list[tuple[Mapping[str, Any], SigningKey | None, str]] = [
        ({}, thief, "not signed with the key that the roster has"),
        ({}, east, "not signed with the key"),
        ({"site": "east"}, None, "not signed with the key"),
        ({"site": "mars"}, thief, "not signed with the key"),
        ({"signature": ""}, None, "not signed with the key"),
        ({"run": "another"}, run.key("north"), "is for run 'another'"),
        ({"agreed": "0" * 64}, run.key("north"), "and agreement 000000000000"),
        ({"certificates": "0" * 64}, run.key("north"), "changed on the way"),
    ]
    for change, key, told in wrong:
        said(change, key)
        with pytest.raises(InpatientError, match=told):
            read_renewal(place, run.agreed)
    for content in (b"", b"{}", b"[]", b"\xff"):
        (place / "renewal.json").write_bytes(content)
        with pytest.raises(CorruptMessageError):
            read_renewal(place, run.agreed)
    said({}, None)
    assert read_renewal(place, run.agreed)[0] == asked
    # East signs properly what asks for north's name.
    said({"site": "east"}, east)
    with pytest.raises(RefusedError, match="is not one for 'east'"):
        sign_anew(run.authority, run.agreed, [read_renewal(place, run.agreed)])
    other = Renewal("north", asked.run, asked.agreed, "1" * 64)
    assert other.fingerprint != asked.fingerprint


def test_only_the_agreed_authoritys_word_on_these_keys_is_installed(
    whole: Meeting, tmp_path: Path
) -> None:
    run = whole.copy(tmp_path / "run")
    folder = run.folders["north"]
    before = certificate(folder, KitKind.SITE)
    ask_anew(folder)
    good = run.signed("north")
    stranger = make_authority(tmp_path / "stranger", "fl.example.org", 8002)
    asked = request_certificates({"north": folder}, stranger, subfolder="stolen")
    theirs = approve_certificates(tmp_path / "stranger", stranger, asked)["north"]
    others = approve_certificates(run.authority, stranger, asked)["north"]  # of other keys
    for number, files in enumerate((theirs, others, {})):
        for file, content in files.items():
            write_durably(tmp_path / f"wrong-{number}" / file, content)
        with pytest.raises(InpatientError):
            install_anew(folder, tmp_path / f"wrong-{number}")
        assert certificate(folder, KitKind.SITE) == before
        assert (folder / "certificates.new").exists()
    install_anew(folder, good)
    assert certificate(folder, KitKind.SITE) != before


def test_a_kit_is_not_replaced_under_a_running_relay_and_a_kill_is_made_good(
    whole: Meeting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = whole.copy(tmp_path)
    folder = run.folders["north"]
    ask_anew(folder)
    good = run.signed("north")
    with monkeypatch.context() as patched:
        patched.setattr(renewal, "relay_pid", lambda _: 4711)
        with pytest.raises(RefusedError, match=r"relay .* runs \(process 4711\)"):
            install_anew(folder, good)

    class Killed(BaseException):
        pass

    def dies(*_: Any, **__: Any) -> None:
        raise Killed

    for name in ("rmtree", "rename"):
        with monkeypatch.context() as patched:
            if name == "rmtree":
                patched.setattr(shutil, "rmtree", dies)
                patched.setattr(renewal, "install_kits", lambda *_, **__: None)
            else:
                patched.setattr(Path, "rename", dies)
            with pytest.raises(Killed):
                install_anew(folder, good)
        assert (folder / "certificates.new").exists()
    install_anew(folder, good)
    assert kit_faults(folder, NOW) == {"flare": []}


def test_a_run_without_a_network_has_nothing_to_renew(tmp_path: Path) -> None:
    folders = dealt(tmp_path, made(rounds=1))
    agreed = Agreed.load(folders["north"] / "agreed")
    for work in (lambda: ask_anew(folders["north"]), lambda: sign_anew(tmp_path, agreed, [])):
        with pytest.raises(InvalidInputError, match="meet over no network"):
            work()
