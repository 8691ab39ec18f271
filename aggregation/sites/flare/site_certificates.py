"""Certificates for mutual TLS: each site keeps its key, the coordinator signs what it asks for.

    coordinator   make_authority         the authority's key stays; its fingerprint is agreed on
    site          request_certificates   its key stays; the request goes beside its enrolment
    coordinator   approve_certificates   if the request is for that site and for no other part
    site          install_kits           if the authority is the one that was agreed on

These are for the wire alone. What a message says is signed with the roster's keys, and sealed.
"""

import contextlib
import hashlib
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from aggregation.sites.flare.kit import KitKind, harden
from aggregation.sites.flare.nvflare_commands import run_commands
from aggregation.sites.flare_network import FlareNetwork, require_carriable
from aggregation.sites.site_settings import Part
from privacy._foreign import parse_json
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.files import make_folder

__all__ = ["approve_certificates", "install_kits", "make_authority", "request_certificates"]

PROJECT = "inpatient"
SUPERVISOR = "supervisor@inpatient.local"
_ORGANISATION = "inpatient"
_PROFILE = "profile.yaml"
_LARGEST = 1 << 16  # bytes of a request or of what is signed
_OWN = "certificates"


@dataclass(frozen=True)
class _Part:
    """One certificate of a site: for its relay, or for who submits jobs."""

    kind: KitKind
    name: str

    @property
    def participant(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"name": self.name, "org": _ORGANISATION}
        if self.kind is KitKind.SUPERVISOR:
            return entry | {"type": "admin", "role": "lead"}
        return entry | {"type": "server" if self.kind is KitKind.SERVER else "client"}

    @property
    def asked(self) -> dict[str, str]:
        """What a request for it says of itself."""
        kind = {KitKind.SITE: "site", KitKind.SERVER: "server", KitKind.SUPERVISOR: "user"}
        type_ = {KitKind.SITE: "client", KitKind.SERVER: "server", KitKind.SUPERVISOR: "lead"}
        return {"name": self.name, "kind": kind[self.kind], "cert_type": type_[self.kind],
                "project": PROJECT, "org": _ORGANISATION}  # fmt: skip


def _parts(site: str, network: FlareNetwork) -> tuple[_Part, ...]:
    if site == Part.AGGREGATOR:
        return (_Part(KitKind.SERVER, network.host), _Part(KitKind.SUPERVISOR, SUPERVISOR))
    return (_Part(KitKind.SITE, require_carriable(site)),)


def make_authority(folder: Path, host: str, port: int) -> FlareNetwork:
    """Make the authority of a run's certificates; return where its sites meet.

    Args:
      folder: Of the coordinator; the authority's key is made there, and stays.
      host: Name of the server's machine, as the sites reach it.
      port: TCP port there.

    Raises:
      InvalidInputError: The folder holds one already.
      InpatientError: NVFLARE is not there, or failed.
    """
    if folder.exists():
        raise InvalidInputError(f"{folder} holds an authority already; choose another folder.")
    make_folder(folder, mode=0o700)
    profile = {"name": PROJECT, "scheme": "tcp", "connection_security": "mtls",
               "server": {"host": host, "fed_learn_port": port, "admin_port": port}}  # fmt: skip
    path = folder / _PROFILE
    path.write_text(json.dumps(profile), encoding="utf-8")  # JSON is YAML
    # No --org: certificates would name an issuer without it, and chains would not verify.
    command = ["cert", "init", "--profile", str(path.absolute()), "-o", str(folder.absolute())]
    run_commands([command])
    return FlareNetwork(host, port, _fingerprint((folder / "rootCA.pem").read_bytes()))


def request_certificates(
    folders: Mapping[str, Path], network: FlareNetwork, *, subfolder: str = _OWN
) -> dict[str, dict[str, bytes]]:
    """Make sites' keys for the wire; return what each asks with, by site and by the file's name.

    Args:
      folders: Each site's, by its name; its keys are made there, and stay.
      network: Where the run's sites meet.
      subfolder: Folder of the site's for these keys.

    Raises:
      InvalidInputError: A site's name can't stand in a certificate.
      InpatientError: NVFLARE is not there, or failed.
    """
    commands, made = [], dict[str, dict[str, Path]]()
    for site, folder in folders.items():
        keys = folder.absolute() / subfolder
        made[site] = {}
        for part in _parts(site, network):
            make_folder(keys, mode=0o700)
            yaml_path = keys / f"{part.kind}.yaml"
            asks = json.dumps({"name": PROJECT, "participants": [part.participant]})
            yaml_path.write_text(asks, encoding="utf-8")
            commands.append(
                ["cert", "request", "-p", str(yaml_path), "--out", str(keys / part.kind)]
            )
            csr_path = keys / part.kind / f"{part.name}.request.zip"
            made[site][f"{part.kind}.request.zip"] = csr_path
    run_commands(commands)
    return {
        site: {name: path.read_bytes() for name, path in files.items()}
        for site, files in made.items()
    }


def approve_certificates(
    authority: Path, network: FlareNetwork, requests: Mapping[str, Mapping[str, bytes]]
) -> dict[str, dict[str, bytes]]:
    """Sign what each site asked for; return it by site and by the file's name.

    Args:
      authority: The coordinator's folder with the authority's key.
      network: Where the run's sites meet.
      requests: What each site asked with, as ``request_certificates`` returned it.

    Raises:
      RefusedError: A site asks for another's certificate, or for another part; none is signed.
      CorruptMessageError: A request is none.
      InpatientError: NVFLARE is not there, or failed.
    """
    signed: dict[str, dict[str, bytes]] = {}
    commands = []
    with tempfile.TemporaryDirectory(dir=authority) as named:
        place = Path(named).absolute()
        for number, (site, files) in enumerate(requests.items()):
            for part in _parts(site, network):
                content = files.get(f"{part.kind}.request.zip")
                if content is None:
                    raise RefusedError(f"The request of {site!r} lacks its certificate's.")
                _require_own(site, part, content)
                csr_path = place / f"{number}-{part.kind}.request.zip"
                csr_path.write_bytes(content)
                commands.append(
                    ["cert", "approve", "-c", str(authority.absolute()), "--profile",
                     str((authority / _PROFILE).absolute()), str(csr_path), "--out",
                     str(place / f"{number}-{part.kind}.signed.zip")]
                )  # fmt: skip
        run_commands(commands)
        for number, site in enumerate(requests):
            signed[site] = {
                f"{part.kind}.signed.zip": (place / f"{number}-{part.kind}.signed.zip").read_bytes()
                for part in _parts(site, network)
            }
    return signed


def install_kits(
    folders: Mapping[str, Path],
    network: FlareNetwork,
    signed: Mapping[str, Mapping[str, bytes]],
    *,
    subfolder: str = _OWN,
) -> None:
    """Make sites' kits from what was signed for them, with the policy that they have to have.

    Args:
      folders: Each site's, by its name, with the keys that it asked with.
      network: As it was agreed on.
      signed: As ``approve_certificates`` returned it.
      subfolder: As for ``request_certificates``.

    Raises:
      RefusedError: Something is missing.
      InpatientError: NVFLARE is not there, or what was signed is not of the authority that was
        agreed on, or not for these keys.
    """
    commands, made = [], list[tuple[Path, _Part, Path]]()
    with contextlib.ExitStack() as stack:
        for site, folder in folders.items():
            named = stack.enter_context(tempfile.TemporaryDirectory(dir=folder))
            place = Path(named).absolute()
            for part in _parts(site, network):
                content = signed.get(site, {}).get(f"{part.kind}.signed.zip")
                if content is None or len(content) > _LARGEST:
                    raise RefusedError(f"No certificate of {site!r} for its {part.kind} came back.")
                came = place / f"{part.kind}.signed.zip"
                came.write_bytes(content)
                keys = folder.absolute() / subfolder / part.kind
                commands.append(
                    ["package", str(came), "--request-dir", str(keys), "--fingerprint",
                     network.fingerprint, "-w", str(place / part.kind)]
                )  # fmt: skip
                made.append((place / part.kind, part, folder.absolute() / part.kind.folder))
        run_commands(commands)
        for workspace, part, target in made:
            (kit,) = (workspace / PROJECT).glob(f"prod_*/{part.name}")
            harden(kit, part.kind, at=target)
            shutil.rmtree(target, ignore_errors=True)  # jobs and logs of NVFLARE's, and no more
            shutil.move(kit, target)


def _require_own(site: str, part: _Part, content: bytes) -> None:
    """Refuse a request that is not for this site's own certificate, of this part."""
    if len(content) > _LARGEST:
        raise CorruptMessageError(f"The certificate's request of {site!r} is too large to be one.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            declared = parse_json(_member(archive, "request.json"), what="A certificate's request")
            csr = x509.load_pem_x509_csr(_member(archive, f"{part.name}.csr"))
            names = [
                str(one.value) for one in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            ]
    except (zipfile.BadZipFile, KeyError, ValueError, RuntimeError, NotImplementedError) as error:
        raise RefusedError(
            f"The certificate's request of {site!r} is not one for {part.name!r}: "
            f"{type(error).__name__}. Sign nothing, and ask that site."
        ) from error
    differs = {
        key for key, value in part.asked.items()
        if not isinstance(declared, dict) or declared.get(key) != value
    }  # fmt: skip
    if differs or names != [part.name]:
        raise RefusedError(
            f"The site {site!r} asks for a certificate of another name or part "
            f"({', '.join(sorted(differs)) or 'its subject'}). Sign nothing, and ask that site."
        )


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as member:
        return member.read(_LARGEST)


def _fingerprint(pem: bytes) -> str:
    certificate = x509.load_pem_x509_certificate(pem)
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
