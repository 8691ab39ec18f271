"""The courier between the server's own daemon and those of all other sites, behind their relays."""

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from aggregation.sites.courier import Courier, Dial
from aggregation.sites.flare.progress import ProgressWriter
from aggregation.sites.flare.relayed_link import RelayedLink, Sending
from aggregation.sites.link import SocketLink
from aggregation.sites.site_settings import Part, SiteSettings
from privacy.errors import InpatientError

__all__ = ["carry_between_machines"]

_ASK_EVERY = 1.0  # seconds between questions to a site's relay whether it is there


def carry_between_machines(
    folder: Path,
    sites: Iterable[str],
    send: Sending,
    stopped: Callable[[], bool],
    *,
    job: str,
    silent: float,
) -> None:
    """Carry until the run has ended at every site.

    Args:
      folder: The server's site; its daemon answers on the socket there.
      sites: All others, by the names in their certificates.
      send: How frames reach their relays.
      stopped: Whether the job was asked to end.
      job: Name of this job, for the supervisor.
      silent: Seconds without an answer of a site's relay, after which it can't go on.

    Raises:
      InpatientError: It can't go on within this job; another one does.
    """
    socket_path = folder / SiteSettings.load(folder).socket
    dials: dict[str, Dial] = {Part.AGGREGATOR.value: partial(SocketLink, socket_path)}
    names = tuple(sites)
    dials |= {site: partial(RelayedLink, site, send) for site in names}
    progress = ProgressWriter(folder, job)

    def fails() -> str:
        progress.look(courier)
        if stopped():
            return "The job was asked to end."
        # Who has no part in a job can't join it later.
        gone = ", ".join(send.silent(silent))
        return gone and f"The relays of {gone} have not answered for {silent:g} s."

    courier = Courier(dials, fails=fails)
    try:
        with _asking(names, send):
            courier.run(seconds=math.inf)
    except InpatientError as error:
        progress.write(courier, why=str(error))
        raise
    progress.write(courier, ended=True)


@contextmanager
def _asking(sites: Iterable[str], send: Sending) -> Iterator[None]:
    """Ask each relay again and again: a message that it does not answer is waited for long."""
    ended = threading.Event()

    def ask(site: str) -> None:
        while not ended.wait(_ASK_EVERY):
            send.ask(site)

    for site in sites:
        threading.Thread(target=ask, args=(site,), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
