"""A federation over a network: ``inpatient deploy relay, check, renew, certify``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

__all__ = ["CertifySites", "CheckKit", "Relay", "RenewCertificates"]


@dataclass(frozen=True)
class Relay:
    """Run NVFLARE's process of a site, or of the server: it carries, beside the site's daemon.

    It is refused where the kit lets it do more than carry (inpatient deploy check).
    """

    folder: Annotated[Positional[Path], arg(metavar="SITE_DIR")]
    """The site's folder."""

    def run(self) -> int:
        """Become that process, until SIGTERM."""
        from aggregation.sites.flare.parent_process import become_relay

        become_relay(self.folder)


@dataclass(frozen=True)
class CheckKit:
    """What a site's kit lets NVFLARE do, and what is wrong with its certificates."""

    folder: Annotated[Positional[Path], arg(metavar="SITE_DIR")]
    """The site's folder."""

    def run(self) -> int:
        """Say what is wrong; 0 if nothing is."""
        from datetime import UTC, datetime

        from aggregation.sites.flare.parent_process import kit_faults

        faults_by_kit = kit_faults(self.folder, datetime.now(UTC))
        for kit, faults in faults_by_kit.items():
            for fault in faults:
                print(f"FAIL: {kit}: {fault}")
            if not faults:
                print(f"OK: {kit}: mutual TLS; carries, and may do nothing else")
        return 1 if any(faults_by_kit.values()) else 0


@dataclass(frozen=True)
class RenewCertificates:
    """Renew a site's certificates for the wire: ask with new keys; then install what was signed."""

    folder: Annotated[Positional[Path], arg(metavar="SITE_DIR")]
    """The site's folder."""
    signed: Path | None = None
    """The folder that came back from the coordinator; without it the site asks."""

    def run(self) -> int:
        """Write ``renewal/`` and print its fingerprint; or install, with --signed."""
        from aggregation.sites.flare.renewal import ask_anew, install_anew

        if self.signed is not None:
            install_anew(self.folder, self.signed)
            print(f"Installed. Start what carries for it: inpatient deploy relay {self.folder}")
            return 0
        renewal = ask_anew(self.folder)
        print(f"Send {self.folder / 'renewal'} to the coordinator, and tell its fingerprint by "
              f"another way: {renewal.fingerprint}")  # fmt: skip
        return 0


@dataclass(frozen=True)
class CertifySites:
    """Sign the certificates that sites of a run ask for anew. Whoever does it has the authority."""

    agreed: Annotated[Positional[Path], arg(metavar="AGREED_DIR")]
    """What the run's sites agreed on: as ``inpatient deploy agree`` wrote it."""
    renewals: Annotated[Positional[tuple[Path, ...]], arg(metavar="RENEWAL_DIR...")]
    """The ``renewal`` folder of each site that asks."""
    authority: Path = Path("federation/authority")
    """Folder with the key that signs certificates."""
    out: Path = Path("renewed")
    """Folder for what is signed: a folder for each site."""

    def run(self) -> int:
        """Check, sign, and print whose fingerprints are to be compared."""
        from aggregation.sites.agreed import Agreed
        from aggregation.sites.flare.renewal import read_renewal, sign_anew
        from privacy.files import write_durably

        agreed = Agreed.load(self.agreed)
        renewals = [read_renewal(folder, agreed) for folder in self.renewals]
        for site, files in sign_anew(self.authority, agreed, renewals).items():
            for name, content in files.items():
                write_durably(self.out / site / name, content)
        for one, _ in renewals:
            print(f"{one.site}: {one.fingerprint}")
        print("Compare each fingerprint with what the site told you by another way. Then send it "
              f"its folder in {self.out}; it runs: inpatient deploy renew SITE_DIR --signed "
              "FOLDER")  # fmt: skip
        return 0
