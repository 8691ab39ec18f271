"""NVFLARE's process at a site or at the server, begun only on a kit that lets it carry alone."""

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import aggregation
from aggregation.sites.flare.kit import KitKind, faults
from aggregation.sites.flare.nvflare_commands import require_nvflare
from aggregation.sites.flare.site_certificates import SUPERVISOR
from aggregation.sites.flare_network import NETWORK_FILE, FlareNetwork
from aggregation.sites.site_settings import Part, SiteSettings
from privacy._foreign import read_file
from privacy.errors import RefusedError
from privacy.files import lock_file, open_regular

__all__ = ["become_relay", "kit_faults", "network_of", "parent_command", "relay_pid"]

_LOCK = "relay.lock"
_LOCK_SECONDS = 15.0  # of a job's process, which ends some seconds after its parent was killed
_MODULES = {
    KitKind.SITE: "nvflare.private.fed.app.client.client_train",
    KitKind.SERVER: "nvflare.private.fed.app.server.server_train",
}

# NVFLARE puts its interpreter's path without quotes into a job's command line, and splits that.
# What starts processes otherwise (multiprocessing) has taken the path as it is by then.
_QUOTED = """
import multiprocessing.spawn, runpy, shlex, sys
module = sys.argv.pop(1)
sys.executable = shlex.quote(sys.executable)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def network_of(folder: Path) -> FlareNetwork:
    """Return where a site meets the others.

    Raises:
      RefusedError: Its run has no network.
    """
    path = folder / SiteSettings.load(folder).agreed / NETWORK_FILE
    if not path.exists():
        raise RefusedError(
            f"The run of {folder} has no network: its sites are on one machine. Name a server "
            "under [network] in federation.toml, and begin another run."
        )
    return FlareNetwork.from_bytes(read_file(path, most=1 << 12, what="The network"))


def kit_faults(folder: Path, now: datetime) -> dict[str, list[str]]:
    """Return what is wrong with each kit of a site, by the kit's folder; nothing: all is well.

    Raises:
      InpatientError: The site's own files can't be read, or its run has no network.
    """
    network, faults_by_kit = network_of(folder), {}
    for kind, name in _kits(folder, network).items():
        kit = folder / kind.folder
        faults_by_kit[kind.folder] = [*faults(kit, kind, name=name, root=network.root, now=now)]
    if folder.stat().st_mode & 0o077:
        faults_by_kit["."] = [f"{folder} can be read by other users: chmod go-rwx"]
    return faults_by_kit


def become_relay(folder: Path) -> NoReturn:
    """Turn this process into NVFLARE's at a site, or at the server.

    Raises:
      RefusedError: NVFLARE is not there, the kit's policy is not as it must be, or another process
        runs on the kit.
    """
    require_nvflare()
    wrong = [fault for of_kit in kit_faults(folder, datetime.now(UTC)).values() for fault in of_kit]
    if wrong:
        raise RefusedError(f"NVFLARE is not started: {'; '.join(wrong)}.")
    server = SiteSettings.load(folder).name == Part.AGGREGATOR
    kind = KitKind.SERVER if server else KitKind.SITE
    kit = (folder / kind.folder).absolute()
    _lock(kit)
    named = [] if server else [f"uid={SiteSettings.load(folder).name}"]
    command = parent_command(
        kind, "-m", str(kit), "-s", kind.startup, "--set", "secure_train=true", *named,
        "org=inpatient", "config_folder=",
    )  # fmt: skip
    os.execve(sys.executable, command, _environ())  # noqa: S606 - ours


def parent_command(kind: KitKind, *arguments: str) -> list[str]:
    """Return what starts NVFLARE's process of a kit, under an interpreter of any path."""
    return [sys.executable, "-u", "-c", _QUOTED, _MODULES[kind], *arguments]


def relay_pid(folder: Path) -> int | None:
    """Return the process that runs on a site's kit; None: there is none."""
    path = folder / KitKind.SITE.folder / _LOCK
    try:
        descriptor = open_regular(path, os.O_RDWR)
    except (OSError, RefusedError):
        return None
    try:
        lock_file(descriptor, seconds=0.0)
    except TimeoutError:
        content = os.pread(descriptor, 20, 0).strip()
        return int(content) if content.isdigit() else None
    else:
        return None
    finally:
        os.close(descriptor)


def _kits(folder: Path, network: FlareNetwork) -> Mapping[KitKind, str]:
    name = SiteSettings.load(folder).name
    if name == Part.AGGREGATOR:
        return {KitKind.SERVER: network.host, KitKind.SUPERVISOR: SUPERVISOR}
    return {KitKind.SITE: name}


def _lock(kit: Path) -> None:
    """Have the kit for this process, and for what it becomes."""
    descriptor = open_regular(kit / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        lock_file(descriptor, seconds=_LOCK_SECONDS)
    except TimeoutError as error:
        os.close(descriptor)
        raise RefusedError(
            f"Another process runs on {kit}. One relay serves a site; end the other one."
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    os.set_inheritable(descriptor, True)


def _environ() -> dict[str, str]:
    """Where NVFLARE's processes, which change their folder, find this package."""
    here = str(Path(aggregation.__file__).resolve().parent.parent)
    paths = [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "MALLOC_ARENA_MAX": "2"}
