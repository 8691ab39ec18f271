"""The courier between the server's own daemon and those of all other sites, behind their relays."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from aggregation.sites.courier import Courier, Dial
from aggregation.sites.flare.progress import ProgressWriter
from aggregation.sites.flare.relayed_link import RelayedLink, Sending
from aggregation.sites.link import SocketLink
from aggregation.sites.site_settings import Part, SiteSettings
from privacy.errors import InpatientError

__all__ = ["carry_between_machines"]

_SILENT = 20.0  # seconds without an answer of a site's relay, after which another job is begun


def carry_between_machines(
    folder: Path, sites: Iterable[str], send: Sending, stopped: Callable[[], bool]
) -> None:
    """Carry until the run has ended at every site.

    Args:
      folder: The server's site; its daemon answers on the socket there.
      sites: All others, by the names in their certificates.
      send: How frames reach their relays.
      stopped: Whether the job was asked to end.

    Raises:
      InpatientError: It can't go on within this job; another one does.
    """
    own = folder / SiteSettings.load(folder).socket
    dials: dict[str, Dial] = {Part.AGGREGATOR.value: partial(SocketLink, own)}
    dials |= {site: partial(RelayedLink, site, send) for site in sites}
    told = ProgressWriter(folder)

    def fails() -> str:
        told.look(courier)
        if stopped():
            return "The job was asked to end."
        # Who has no part in a job can't join it later.
        silent = ", ".join(send.silent(_SILENT))
        return silent and f"The relays of {silent} have not answered for {_SILENT:g} s."

    courier = Courier(dials, fails=fails)
    try:
        courier.run(seconds=math.inf)
    except InpatientError as error:
        told.write(courier, why=str(error))
        raise
    told.write(courier, ended=True)
