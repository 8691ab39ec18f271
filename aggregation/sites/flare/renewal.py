"""A site's certificates are renewed within a run, as they were made: ask, sign, install.

    site          ask_anew      new keys beside the old ones; renewal/, signed with the site's key
    coordinator   sign_anew     if that key is the roster's, and it asks for its own name
    site          install_anew  a kit with the new certificates; the new keys replace the old ones

Nothing else of the run changes: what a message says is signed with the roster's keys, and sealed. A
renewal that somebody sends again is the site's word too, on keys that may be stolen by now: so
people compare its fingerprint, by another way.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aggregation.sites.agreed import Agreed
from aggregation.sites.flare.parent_process import relay_pid
from aggregation.sites.flare.site_certificates import (
    approve_certificates,
    install_kits,
    request_certificates,
)
from aggregation.sites.flare_network import FlareNetwork
from aggregation.sites.request import digest_of, in_groups, read_asked
from aggregation.sites.site_settings import SiteSettings
from privacy._foreign import parse_json, read_file
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.files import write_durably
from privacy.ledger import SigningKey
from privacy.ledger.forms import Form, constant, hexadecimal, name, ruled, text
from privacy.ledger.log import canonical
from privacy.ledger.log.keys import verifies

__all__ = ["Renewal", "ask_anew", "install_anew", "read_renewal", "sign_anew"]

_DOMAIN = b"inpatient certificate renewal 1\x00"
_FILE = "renewal.json"
_NEW = "certificates.new"
_OLD = "certificates"


@dataclass(frozen=True)
class Renewal(Form):
    """What a site publishes in order to have its certificates renewed.

    Attributes:
      site: Its name.
      run: Name of the run.
      agreed: Digest of what the run's sites agreed on.
      certificates: SHA-256 over what asks for the certificates.
      signature: With the key that the roster has of the site, over all of the above.
      version: Of this form.
    """

    site: str = ruled(name())
    run: str = ruled(name())
    agreed: str = ruled(hexadecimal(64))
    certificates: str = ruled(hexadecimal(64))
    signature: str = ruled(text(128, least=0), "")
    version: int = ruled(constant(1), 1)

    @property
    def statement(self) -> bytes:
        """What its signature covers."""
        return _DOMAIN + canonical.encode(self.to_json() | {"signature": ""})

    @property
    def fingerprint(self) -> str:
        """What people compare by telephone."""
        return in_groups(canonical.encode(self.to_json()))


Renewals = Sequence[tuple[Renewal, Mapping[str, bytes]]]


def ask_anew(folder: Path) -> Renewal:
    """Make new keys for the wire, and what asks for their certificates: ``renewal/``.

    The kit that the site has works on with the old ones.

    Raises:
      InvalidInputError: It has asked already, or its run has no network.
      InpatientError: NVFLARE is not there, or failed.
    """
    settings, agreed, network = _installed(folder)
    if (folder / _NEW).exists():
        raise InvalidInputError(
            f"{folder} has asked already: send {folder / 'renewal'} to the coordinator. To ask "
            f"with other keys, delete {folder / _NEW} first."
        )
    csrs = request_certificates({settings.name: folder}, network, subfolder=_NEW)[settings.name]
    key = SigningKey.load(folder / (settings.ledgers or ".") / "keys" / f"{settings.name}.key")
    said = Renewal(settings.name, agreed.plan.run, agreed.digest, digest_of(csrs))
    said = replace(said, signature=key.sign(said.statement))
    shutil.rmtree(folder / "renewal", ignore_errors=True)
    for file, content in csrs.items():
        write_durably(folder / "renewal" / file, content)
    write_durably(folder / "renewal" / _FILE, canonical.encode(said.to_json()))
    return said


def read_renewal(folder: Path, agreed: Agreed) -> tuple[Renewal, Mapping[str, bytes]]:
    """Read what a site of a run asks with.

    Raises:
      CorruptMessageError: Something else, or what lies beside it is not what it names.
      RefusedError: It is of another run, or not signed with the key that the roster has of its
        site.
    """
    content = read_file(folder / _FILE, most=1 << 12, what="The renewal")
    try:
        said = Renewal.from_json(parse_json(content, what="A renewal"))
    except InvalidInputError as error:
        raise CorruptMessageError(f"{folder} holds no renewal: {error}") from error
    if (said.run, said.agreed) != (agreed.plan.run, agreed.digest):
        raise RefusedError(
            f"The renewal of {said.site!r} is for run {said.run!r} and agreement "
            f"{said.agreed[:12]}; this is {agreed.plan.run!r} and {agreed.digest[:12]}."
        )
    if not verifies(agreed.members.key_of(said.site), said.signature, said.statement):
        raise RefusedError(
            f"The renewal of {said.site!r} is not signed with the key that the roster has of it. "
            "Sign nothing, and ask that site."
        )
    return said, read_asked(folder, said.site, said.certificates)


def sign_anew(
    authority: Path, agreed: Agreed, renewals: Renewals
) -> Mapping[str, Mapping[str, bytes]]:
    """Sign what sites ask for; return it by site and by the file's name.

    Args:
      authority: The coordinator's folder with the run's authority.
      agreed: Of the run.
      renewals: Each as ``read_renewal`` returned it.

    Raises:
      InvalidInputError: The run has no network.
      RefusedError: As ``approve_certificates``; none is signed.
      InpatientError: NVFLARE is not there, or failed.
    """
    network = _network_of(agreed)
    return approve_certificates(authority, network, {r.site: files for r, files in renewals})


def install_anew(folder: Path, signed: Path) -> None:
    """Make the site's kit anew, with what was signed for its new keys.

    Args:
      folder: The site's.
      signed: The folder that came back.

    Raises:
      InvalidInputError: The site has not asked.
      RefusedError: Its relay runs; something is missing, or not of the agreed authority.
      InpatientError: As ``install_kits``; the old kit stands.
    """
    settings, _, network = _installed(folder)
    if not (folder / _NEW).exists():
        raise InvalidInputError(
            f"{folder} has not asked for new certificates. Ask: inpatient deploy renew {folder}."
        )
    running = relay_pid(folder)
    if running is not None:
        raise RefusedError(
            f"The relay of {folder} runs (process {running}) on the kit that is to be replaced. "
            "End it first; what it carried is said again."
        )
    came = {
        path.name: read_file(path, most=1 << 16, what="A certificate")
        for path in sorted(signed.glob("*.zip"))[:4]
    }
    install_kits({settings.name: folder}, network, {settings.name: came}, subfolder=_NEW)
    # Killed from here on, it is installed again: the new keys are deleted by nobody.
    shutil.rmtree(folder / _OLD, ignore_errors=True)
    (folder / _NEW).rename(folder / _OLD)
    shutil.rmtree(folder / "renewal", ignore_errors=True)


def _installed(folder: Path) -> tuple[SiteSettings, Agreed, FlareNetwork]:
    settings = SiteSettings.load(folder)
    agreed = Agreed.load(folder / settings.agreed)
    return settings, agreed, _network_of(agreed)


def _network_of(agreed: Agreed) -> FlareNetwork:
    if agreed.network is None:
        raise InvalidInputError(
            f"The sites of run {agreed.plan.run!r} meet over no network, and have no certificates."
        )
    return agreed.network
