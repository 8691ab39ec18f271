"""What a federation over a network has besides: ``inpatient deploy relay, check``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

__all__ = ["CheckKit", "Relay"]


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

        found = kit_faults(self.folder, datetime.now(UTC))
        for kit, faults in found.items():
            for fault in faults:
                print(f"FAIL: {kit}: {fault}")
            if not faults:
                print(f"OK: {kit}: mutual TLS; carries, and may do nothing else")
        return 1 if any(found.values()) else 0
