"""``inpatient site``: one site of a federation between machines, as a process of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

__all__ = ["SiteCommand"]


@dataclass(frozen=True)
class SiteCommand:
    """Run a site's daemon: patients, keys and ledger stay in its folder and in this process.

    It answers on a Unix socket in its folder until it is asked to end (SIGTERM). Killed at any
    moment, it goes on where it stopped when it is started again.
    """

    folder: Annotated[Positional[Path], arg(metavar="SITE_DIR")]
    """The site's folder, with its ``site.toml``."""
    status: bool = False
    """Ask the daemon that runs how it is, print that as JSON, and end."""

    def run(self) -> int:
        """Serve until the end, or tell the state; 0 at an orderly end."""
        if self.status:
            import json

            from aggregation.sites.link import SocketLink, state_of
            from aggregation.sites.site_settings import SiteSettings

            with SocketLink(self.folder / SiteSettings.load(self.folder).socket) as link:
                print(json.dumps(state_of(link), sort_keys=True))
            return 0
        from aggregation.sites.daemon import serve

        return serve(self.folder)
