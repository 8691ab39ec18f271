"""A site's kit lets NVFLARE carry and no more; certificates are each site's own."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from aggregation.roles.messages import AGGREGATOR
from aggregation.sites.flare import parent_process
from aggregation.sites.flare.frame_relay import MOST_BYTES
from aggregation.sites.flare.kit import KitKind, faults
from aggregation.sites.flare.nvflare_commands import require_nvflare, run_commands
from aggregation.sites.flare.parent_process import (
    become_relay,
    kit_faults,
    network_of,
    parent_command,
    relay_pid,
)
from aggregation.sites.flare.site_certificates import (
    SUPERVISOR,
    approve_certificates,
    install_kits,
    make_authority,
    request_certificates,
)
from aggregation.sites.flare_network import NETWORK_FILE, FlareNetwork, require_carriable
from privacy.errors import CorruptMessageError, InpatientError, InvalidInputError, RefusedError

NOW = datetime.now(UTC) + timedelta(hours=1)  # the certificates are made in a moment
SITES = ("north", "east", AGGREGATOR)


class Made:
    """Kits of two sites and the server, under one authority; another authority beside them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.authority, self.stranger = place / "authority", place / "stranger"
        self.network = make_authority(self.authority, "fl.example.org", 8002)
        self.other = make_authority(self.stranger, "fl.example.org", 8002)
        self.folders = {site: place / site for site in SITES}
        for site, folder in self.folders.items():
            (folder / "agreed").mkdir(parents=True, mode=0o700)
            folder.chmod(0o700)
            (folder / "agreed" / NETWORK_FILE).write_bytes(self.network.to_bytes())
            lines = [f'name = "{site}"', f'roles = ["{site if site == AGGREGATOR else "opener"}"]']
            (folder / "site.toml").write_text("\n".join(lines))
        self.asked = request_certificates(self.folders, self.network)
        self.signed = approve_certificates(self.authority, self.network, self.asked)
        install_kits(self.folders, self.network, self.signed)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("kits"))


def test_a_kit_as_it_is_made_has_no_fault(made: Made) -> None:
    for site in SITES:
        found = kit_faults(made.folders[site], NOW)
        assert found == ({"flare": [], "supervisor": []} if site == AGGREGATOR else {"flare": []})
        assert network_of(made.folders[site]) == made.network
        assert relay_pid(made.folders[site]) is None


def test_no_private_key_is_in_what_travels(made: Made) -> None:
    travels = b"".join(
        zipfile.ZipFile(BytesIO(content)).read(name)
        for files in (*made.asked.values(), *made.signed.values())
        for content in files.values()
        for name in zipfile.ZipFile(BytesIO(content)).namelist()
    )
    keys = [*made.place.rglob("*.key")]
    assert len(keys) >= 2 + 2 * 4  # two authorities'; each certificate's, and its copy in the kit
    for key in keys:
        assert key.stat().st_mode & 0o777 == 0o600
        assert key.read_bytes().splitlines()[2] not in travels
    assert b"PRIVATE" not in travels and b"BEGIN CERTIFICATE" in travels


def changes(file: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def act(kit: Path) -> None:
        told = json.loads((kit / file).read_text())
        change(told)
        (kit / file).write_text(json.dumps(told))

    return act


RESOURCES, COMM = "local/resources.json", "local/comm_config.json"
AUTHORIZATION = "local/authorization.json"


def stores_outside(told: dict[str, Any]) -> None:
    told["snapshot_persistor"]["args"]["storage"]["args"]["root_dir"] = "/tmp/nvflare"


def jobs_outside(told: dict[str, Any]) -> None:
    (manager,) = [one for one in told["components"] if one["id"] == "job_manager"]
    manager["args"]["uri_root"] = "/tmp/nvflare/jobs-storage"


def streams(told: dict[str, Any]) -> None:
    path = "nvflare.app_common.logging.job_log_streamer.JobLogStreamer"
    told["components"].append({"id": "logs", "path": path})


def may(role: str, right: str) -> Callable[[dict[str, Any]], None]:
    return lambda told: told["permissions"][role].update({right: "any"})


@pytest.mark.parametrize(
    ("site", "act", "said"),
    [
        ("north", changes(RESOURCES, lambda t: t["class_allow_list"].append("os.")), "class_allow"),
        ("north", changes(RESOURCES, lambda t: t.pop("class_allow_list")), "class_allow"),
        ("north", changes(RESOURCES, lambda t: t.update(class_list_enforcement_mode="warn")), "en"),
        ("north", changes(RESOURCES, lambda t: t.update(allow_log_streaming=True)), "log would"),
        ("north", changes(RESOURCES, lambda t: t.pop("allow_log_streaming")), "log would"),
        ("north", changes(RESOURCES, streams), "streams or receives logs"),
        (AGGREGATOR, changes(RESOURCES, stores_outside), "outside the kit"),
        (AGGREGATOR, changes(RESOURCES, jobs_outside), "outside the kit"),
        ("north", changes(AUTHORIZATION, may("lead", "byoc")), "byoc"),
        ("north", changes(AUTHORIZATION, may("project_admin", "shell_commands")), "shell_commands"),
        ("north", changes(AUTHORIZATION, lambda t: t["permissions"].pop("member")), "some role"),
        ("north", changes(COMM, lambda t: t.clear()), "max_message_size"),
        ("north", changes(COMM, lambda t: t.update(max_message_size=MOST_BYTES + 1)), "max_mess"),
        ("north", lambda kit: (kit / "custom").mkdir(), "custom code"),
        ("north", lambda kit: (kit / "startup" / "client.key").chmod(0o640), "by other users"),
        ("north", lambda kit: kit.chmod(0o755), "by other users"),
        ("north", lambda kit: (kit / RESOURCES).unlink(), "can't be read whole"),
        ("north", lambda kit: (kit / RESOURCES).write_text("[]"), "can't be read whole"),
        ("north", lambda kit: (kit / "startup" / "client.crt").write_text(""), "can't be read"),
        (
            "north",
            changes("startup/fed_client.json",
                    lambda t: t["client"].update(connection_security="clear")),
            "not mtls",
        ),
        (
            "north",
            changes("startup/fed_client.json", lambda t: t["client"].pop("connection_security")),
            "not mtls",
        ),
    ],
)  # fmt: skip
def test_a_kit_that_lets_nvflare_do_more_is_told_and_not_started(
    site: str, act: Callable[[Path], object], said: str, made: Made, tmp_path: Path
) -> None:
    folder = tmp_path / site
    shutil.copytree(made.folders[site], folder)
    resources = folder / "flare" / RESOURCES  # its places are absolute
    text = resources.read_text().replace(str(made.folders[site]), str(folder))
    resources.write_text(text)
    assert not any(kit_faults(folder, NOW).values())
    act(folder / "flare")
    (told,) = kit_faults(folder, NOW)["flare"]
    assert said in told
    with pytest.raises(RefusedError, match="NVFLARE is not started"):
        become_relay(folder)


@pytest.mark.parametrize("letter", [" ", "'", '"', "\\", "\t"])
def test_a_path_that_nvflare_would_split_is_told_and_nothing_started(
    letter: str, made: Made, tmp_path: Path
) -> None:
    folder = tmp_path / f"the{letter}site"
    shutil.copytree(made.folders["north"], folder)
    (told,) = kit_faults(folder, NOW)["flare"]
    assert "takes no path with a space" in told
    with pytest.raises(RefusedError, match="move the site"):
        become_relay(folder)


def test_an_interpreter_of_any_path_starts_jobs_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NVFLARE starts one: the interpreter's path in a line that is split at spaces."""
    place = tmp_path / "it's a clone"
    place.mkdir()
    (place / "env").symlink_to(sys.prefix)
    (tmp_path / "parent_probe.py").write_text(
        "import shlex, subprocess, sys\n"
        "line = f'{sys.executable} -c pass'\n"
        "done = subprocess.run(shlex.split(line, True), check=True)\n"
        "print(__name__, sys.argv[1:], shlex.split(line, True)[0])\n"
    )
    interpreter = str(place / "env" / "bin" / "python")
    monkeypatch.setattr("aggregation.sites.flare.parent_process.sys.executable", interpreter)
    monkeypatch.setitem(parent_process._MODULES, KitKind.SITE, "parent_probe")
    command = parent_command(KitKind.SITE, "-m", "kit", "uid=north")
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(tmp_path)}
    )
    assert done.stdout.strip() == f"__main__ ['-m', 'kit', 'uid=north'] {interpreter}"


def test_certificates_of_others_or_out_of_date_are_told(made: Made, tmp_path: Path) -> None:
    kit, root = made.folders["north"] / "flare", made.network.root

    def told(kind: KitKind = KitKind.SITE, place: Path = kit, **changed: Any) -> list[str]:
        asked: dict[str, Any] = {"name": "north", "root": root, "now": NOW}
        return [*faults(place, kind, **(asked | changed))]

    assert told() == []
    assert ["names north and not east" in one for one in told(name="east")] == [True]
    assert ["not the authority" in one for one in told(root=made.other.root)] == [True]
    assert ["renew it" in one for one in told(now=NOW + timedelta(days=1080))] == [True]
    assert ["clock" in one for one in told(now=NOW - timedelta(days=2))] == [True]
    other = tmp_path / "flare"
    shutil.copytree(kit, other)
    shutil.copy(made.stranger / "rootCA.pem", other / "startup" / "rootCA.pem")
    said = told(place=other, root=made.other.root)
    assert ["is not the authority's" in one for one in said] == [True]
    server = made.folders[AGGREGATOR]
    assert told(KitKind.SUPERVISOR, server / "supervisor", name=SUPERVISOR) == []


def test_nobody_gets_a_certificate_in_anothers_name(made: Made) -> None:
    def approve(**asked: Any) -> dict[str, dict[str, bytes]]:
        return approve_certificates(made.authority, made.network, asked)

    own, server = made.asked["north"], made.asked[AGGREGATOR]
    with pytest.raises(RefusedError, match="not one for 'north'"):
        approve(north=made.asked["east"])
    as_site = {"site.request.zip": server["server.request.zip"]}
    with pytest.raises(RefusedError, match="not one for 'north'"):
        approve(north=as_site)
    with pytest.raises(RefusedError, match="lacks"):
        approve(north={})
    for content in (b"", b"no zip", own["site.request.zip"][:-40], bytes(1 << 17)):
        with pytest.raises(InpatientError):
            approve(north={"site.request.zip": content})

    def packed(**changed: str) -> bytes:
        came = zipfile.ZipFile(BytesIO(own["site.request.zip"]))
        told = json.loads(came.read("request.json")) | changed
        out = BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name in came.namelist():
                content = json.dumps(told) if name == "request.json" else came.read(name)
                archive.writestr(name, content)
        return out.getvalue()

    changed_parts = ({"name": "east"}, {"kind": "server"}, {"cert_type": "lead"}, {"org": "mars"})
    for changed in changed_parts:
        with pytest.raises(RefusedError, match="another name or part"):
            approve(north={"site.request.zip": packed(**changed)})
    stolen = BytesIO()  # east's signing request, under north's name
    csr = zipfile.ZipFile(BytesIO(made.asked["east"]["site.request.zip"])).read("east.csr")
    came = zipfile.ZipFile(BytesIO(own["site.request.zip"]))
    with zipfile.ZipFile(stolen, "w") as archive:
        for name in came.namelist():
            archive.writestr(name, csr if name == "north.csr" else came.read(name))
    with pytest.raises(RefusedError, match="its subject"):
        approve(north={"site.request.zip": stolen.getvalue()})


def test_a_kit_is_made_from_ones_own_certificate_of_the_agreed_authority(
    made: Made, tmp_path: Path
) -> None:
    folder = tmp_path / "north"
    shutil.copytree(made.folders["north"], folder)
    kept = (folder / "flare" / "startup" / "client.crt").read_bytes()
    strange = approve_certificates(made.stranger, made.other, {"north": made.asked["north"]})
    for signed in (strange["north"], {}, {"site.signed.zip": b"no zip"}):
        with pytest.raises(InpatientError):
            install_kits({"north": folder}, made.network, {"north": signed})
    as_east = {"north": {"site.signed.zip": made.signed["east"]["site.signed.zip"]}}
    with pytest.raises(InpatientError):
        install_kits({"north": folder}, made.network, as_east)
    assert (folder / "flare" / "startup" / "client.crt").read_bytes() == kept
    install_kits({"north": folder}, made.network, made.signed)  # again: a renewed one
    assert not any(kit_faults(folder, NOW).values())
    folder.chmod(0o750)
    assert "by other users" in kit_faults(folder, NOW)["."][0]


def test_addresses_and_names(tmp_path: Path) -> None:
    network = FlareNetwork("10.0.0.7", 443, "ab" * 32)
    assert FlareNetwork.from_bytes(network.to_bytes()) == network
    assert network.fingerprint == "SHA256:" + ":".join(["AB"] * 32)
    for host in ("", "a b", "-a", "a..b", "a/b", "a" * 65, "http://a", "a\n"):
        with pytest.raises(InvalidInputError):
            FlareNetwork(host, 443, "ab" * 32)
    for port in (0, 65536):
        with pytest.raises(InvalidInputError):
            FlareNetwork("a", port, "ab" * 32)
    for content in (b"", b"{}", b"[]", network.to_bytes().replace(b'"port":443', b'"port":"443"')):
        with pytest.raises(CorruptMessageError):
            FlareNetwork.from_bytes(content)
    assert require_carriable("north-2_b") == "north-2_b"
    for name in ("", "a b", "a.b", "Österreich", "../a", "a@b", "-a", "a" * 64):
        with pytest.raises(InvalidInputError):
            require_carriable(name)
    with pytest.raises(InvalidInputError, match="holds an authority"):
        make_authority(tmp_path, "a", 443)


@pytest.mark.parametrize("there", ["", "2.8.1", "2.10.0"])
def test_without_nvflare_the_extra_is_named(there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if not there:
            raise PackageNotFoundError(name)
        return there

    require_nvflare()
    monkeypatch.setattr("aggregation.sites.flare.nvflare_commands.version", version)
    with pytest.raises(RefusedError, match=r'pip install "inpatient\[deploy\]"'):
        require_nvflare()


def test_what_nvflare_refuses_is_a_sentence() -> None:
    with pytest.raises(InpatientError, match="made no certificates"):
        run_commands([["cert", "init"]])


def test_a_run_without_a_network_says_so(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('name = "aggregator"\nroles = ["aggregator"]')
    with pytest.raises(RefusedError, match="has no network"):
        network_of(tmp_path)
