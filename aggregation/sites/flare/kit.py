"""What a site lets NVFLARE do: carry frames for us, and nothing else.

A kit is NVFLARE's folder of one process: certificates in ``startup/``, the site's own policy in
``local/``. The policy that NVFLARE makes by itself lets a job's submitter bring code, sends a
failed job's log to the server, and keeps jobs in the machine's temporary folder.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from aggregation.sites.flare.frame_relay import MOST_BYTES
from privacy._foreign import parse_json, read_file
from privacy.errors import InpatientError

__all__ = ["KitKind", "faults", "harden"]


class KitKind(StrEnum):
    """What a kit is for."""

    SITE = "site"
    SERVER = "server"
    SUPERVISOR = "supervisor"

    @property
    def folder(self) -> str:
        """Its folder in the site's."""
        return "supervisor" if self is KitKind.SUPERVISOR else "flare"

    @property
    def startup(self) -> str:
        """Its file that says where to connect."""
        return {"site": "fed_client.json", "server": "fed_server.json",
                "supervisor": "fed_admin.json"}[self]  # fmt: skip

    @property
    def certificate(self) -> str:
        """Name of its certificate and key, without what follows the dot."""
        return "server" if self is KitKind.SERVER else "client"


CLASSES = [
    "aggregation.sites.flare.server_end.ServerEnd",
    "aggregation.sites.flare.site_end.SiteEnd",
]
"""All that a job may name."""

_NOTHING = ("clone_job", "download_job", "operate", "shell_commands", "byoc",
            "server-predeployed-flwr")  # fmt: skip
_ROLES = ("project_admin", "org_admin", "lead", "member")
_LOGGING = ("log_streamer", "log_receiver", "LogStreamer", "LogReceiver")
_SOON = timedelta(days=30)
_LARGEST = 1 << 20


def harden(kit: Path, kind: KitKind, *, at: Path) -> None:
    """Write a site's own policy into a kit.

    Args:
      kit: The kit, as it was made.
      kind: What it is for.
      at: Where it will lie; jobs and snapshots are kept in it.
    """
    kit.chmod(0o700)
    local = kit / "local"
    if kind is KitKind.SUPERVISOR:
        return
    resources = _json(local / "resources.json.default")
    resources["class_list_enforcement_mode"] = "enforce"
    resources["class_allow_list"] = CLASSES
    resources["allow_log_streaming"] = False
    resources["components"] = [
        one for one in resources["components"] if not any(word in str(one) for word in _LOGGING)
    ]
    if kind is KitKind.SERVER:
        _store_inside(resources, at)
    _write(local / "resources.json", resources)
    _write(local / "authorization.json", {"format_version": "1.0", "permissions": _permissions()})
    _write(local / "comm_config.json", {"max_message_size": MOST_BYTES})
    for unused in (*local.glob("*.sample"), *local.glob("resources.json.default"),
                   *local.glob("authorization.json.default")):  # fmt: skip
        unused.unlink()


def _store_inside(resources: dict[str, Any], at: Path) -> None:
    resources["snapshot_persistor"]["args"]["storage"]["args"]["root_dir"] = str(at / "snapshots")
    for one in resources["components"]:
        if one["id"] == "job_manager":
            one["args"]["uri_root"] = str(at / "jobs")
        if one["id"] == "job_scheduler":
            # A job waits for all sites: NVFLARE would give it up after ten looks.
            one["args"] = {"max_jobs": 4, "max_schedule_count": 10**9, "min_schedule_interval": 1.0,
                           "max_schedule_interval": 2.0}  # fmt: skip


def _permissions() -> dict[str, Any]:
    none = dict.fromkeys(("submit_job", "manage_job", "view", *_NOTHING), "none")
    may = {"submit_job": "any", "manage_job": "n:submitter", "view": "any"}
    return {role: none | (may if role == "lead" else {}) for role in _ROLES}


def faults(kit: Path, kind: KitKind, *, name: str, root: str, now: datetime) -> Iterator[str]:
    """Say what is wrong with a kit: with its policy, its keys and its certificates.

    Args:
      kit: The kit.
      kind: What it is for.
      name: Who its certificate has to name.
      root: SHA-256 of the authority's certificate, in hex, as it was agreed on.
      now: To compare certificates' dates with.
    """
    if any(letter.isspace() or letter in "'\"\\\\" for letter in str(kit.absolute())):
        yield f"{kit.absolute()}: NVFLARE takes no path with a space or a quote; move the site"
    try:
        yield from _startup_faults(kit, kind, name, root, now)
        if kind is not KitKind.SUPERVISOR:
            yield from _policy_faults(kit, kind)
    except (InpatientError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{kit} can't be read whole ({type(error).__name__}: {error}): make it anew"


def _startup_faults(kit: Path, kind: KitKind, name: str, root: str, now: datetime) -> Iterator[str]:
    startup = kit / "startup"
    for private in (kit, startup / f"{kind.certificate}.key"):
        if private.stat().st_mode & 0o077:
            yield f"{private} can be read by other users: chmod go-rwx"
    if _security(_json(startup / kind.startup)) != {"mtls"}:
        yield f"{startup / kind.startup}: connection_security is not mtls alone"
    authority = x509.load_pem_x509_certificate(_content(startup / "rootCA.pem"))
    if hashlib.sha256(authority.public_bytes(Encoding.DER)).hexdigest() != root:
        yield f"{startup / 'rootCA.pem'} is not the authority that was agreed on"
    leaf = x509.load_pem_x509_certificate(_content(startup / f"{kind.certificate}.crt"))
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, x509.InvalidVersion) as error:
        yield f"the certificate in {startup} is not the authority's ({type(error).__name__})"
    except Exception as error:  # noqa: BLE001 - InvalidSignature has no base of its own
        yield f"the certificate in {startup} is not the authority's ({type(error).__name__})"
    names = [str(one.value) for one in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [name]:
        yield f"the certificate in {startup} names {', '.join(names)} and not {name}"
    if leaf.not_valid_after_utc < now + _SOON:
        yield f"the certificate in {startup} ends on {leaf.not_valid_after_utc:%Y-%m-%d}: renew it"
    if leaf.not_valid_before_utc > now:
        yield f"the certificate in {startup} begins later than now: see this machine's clock"


def _policy_faults(kit: Path, kind: KitKind) -> Iterator[str]:
    local = kit / "local"
    resources = _json(local / "resources.json")
    if resources.get("class_list_enforcement_mode") != "enforce":
        yield "resources.json: class_list_enforcement_mode is not enforce"
    if resources.get("class_allow_list") != CLASSES:
        yield f"resources.json: class_allow_list is not {', '.join(CLASSES)} alone"
    if resources.get("allow_log_streaming") is not False:
        yield "resources.json: allow_log_streaming is not false; a failed job's log would leave"
    if any(word in str(one) for one in resources["components"] for word in _LOGGING):
        yield "resources.json: a component streams or receives logs; take it out"
    if _json(local / "authorization.json").get("permissions") != _permissions():
        yield ("authorization.json: some role may more than submit and watch our job (byoc and "
               "shell_commands have to be none for every role)")  # fmt: skip
    most = _json(local / "comm_config.json").get("max_message_size")
    if type(most) is not int or not 0 < most <= MOST_BYTES:
        yield f"comm_config.json: max_message_size is not at most {MOST_BYTES}"
    if kind is KitKind.SERVER:
        persistor = resources["snapshot_persistor"]["args"]["storage"]["args"]["root_dir"]
        managers = [one for one in resources["components"] if one["id"] == "job_manager"]
        for place in (persistor, *(one["args"]["uri_root"] for one in managers)):
            if not Path(place).is_relative_to(kit.absolute()):
                yield f"resources.json: {place} lies outside the kit; make the kit where it lies"
    if (local / "custom").exists() or (kit / "custom").exists():
        yield f"{kit} has a folder of custom code; delete it"


def _security(section: Mapping[str, Any]) -> set[object]:
    """All that a startup file says of how connections are secured, wherever it says it."""
    modes: set[object] = set()
    for key, value in section.items():
        if key == "connection_security":
            modes.add(value)
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, Mapping):
                modes |= _security(part)
    return modes


def _content(path: Path) -> bytes:
    return read_file(path, most=_LARGEST)


def _json(path: Path) -> dict[str, Any]:
    parsed = parse_json(_content(path), what=str(path))
    if not isinstance(parsed, dict):
        raise TypeError(f"{path} is no object")
    return parsed


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
