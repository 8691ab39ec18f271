"""Submits the courier's job, again and again, until the run has ended at every site.

What NVFLARE says of a job is not believed: after its server was started again it says that jobs run
which nobody runs. What counts is what the courier writes, and that it goes on writing.
"""

import json
import math
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from nvflare.fuel.flare_api.flare_api import new_secure_session

from aggregation.roles.messages import OPENER
from aggregation.sites.agreed import Agreed
from aggregation.sites.flare.kit import CLASSES, KitKind
from aggregation.sites.flare.parent_process import network_of
from aggregation.sites.flare.progress import PROGRESS_FILE, Progress
from aggregation.sites.flare.site_certificates import SUPERVISOR
from aggregation.sites.flare_network import FlareNetwork
from aggregation.sites.site_settings import SiteSettings
from privacy.errors import RefusedError

__all__ = ["supervise"]

_LOOK = 0.2  # seconds between looks at what the courier wrote
_ASK_EVERY = 1.0  # seconds between questions to the server, while the courier is silent
_BEGIN_WITHIN = 60.0  # seconds that a job which is said to run may take until it carries
_CONNECT_WITHIN = 5.0
_JOB = "inpatient"


def far_sites(agreed: Agreed) -> tuple[str, ...]:
    """Return the sites that the server reaches over the network."""
    openers = (OPENER,) if agreed.members.opener else ()
    return (*agreed.plan.hospitals, *openers)


def supervise(
    folder: Path,
    *,
    seconds: float = math.inf,
    silent: float = 20.0,
    watch: Callable[[Progress], None] = lambda _: None,
    fails: Callable[[], str] = lambda: "",
) -> Progress:
    """Have the sites' messages carried until the run has ended; return what the courier told last.

    Args:
      folder: The server's site, with its kits.
      seconds: How long at most.
      silent: Seconds without a word of the courier, or of a site's relay to it, after which another
        job is begun.
      watch: Called with what the courier tells.
      fails: Asked again and again: why nothing more can come, or nothing.

    Raises:
      RefusedError: It has not ended by then, or can't; a later call goes on.
    """
    agreed = Agreed.load(folder / SiteSettings.load(folder).agreed)
    (folder / PROGRESS_FILE).unlink(missing_ok=True)
    end, progress = time.monotonic() + seconds, Progress(agreed.digest, "", 0)
    with tempfile.TemporaryDirectory(dir=folder) as named:
        job = _write_job(Path(named), far_sites(agreed), silent)
        jobs = _Jobs(folder, network_of(folder), job, silent)
        try:
            while not (progress.ended and progress.states.keys() >= set(far_sites(agreed))):
                if why := fails():
                    raise RefusedError(why)
                if time.monotonic() > end:
                    raise RefusedError(
                        "The run has not ended in time "
                        f"({jobs.trouble or progress.why or 'it goes on'}). Nothing is lost: "
                        "start it again, and it goes on."
                    )
                latest = Progress.read(folder)
                if latest is not None and latest.agreed == agreed.digest and latest != progress:
                    progress = latest
                    watch(progress)
                    jobs.heard(progress)
                jobs.look()
                time.sleep(_LOOK)
            jobs.ended()
        finally:
            jobs.close()
    return progress


class _Jobs:
    """The job that carries now, and the session in which it was submitted."""

    def __init__(self, folder: Path, network: FlareNetwork, job: Path, silent: float) -> None:
        self._server = (network.host, network.port)
        self._kit = (folder / KitKind.SUPERVISOR.folder).absolute()
        self._definition, self._silent = job, silent
        self._session: Any = None
        self._job, self._since = "", 0.0
        self._begun, self._failed, self._heard, self._asked = False, False, 0.0, 0.0
        self.trouble = ""

    def heard(self, progress: Progress) -> None:
        """Take note of what a courier wrote; what one writes that was given up is of no account."""
        if progress.job == self._job:
            self._begun, self._failed, self._heard = True, progress.why != "", time.monotonic()

    def look(self) -> None:
        """Submit a job where none carries."""
        now = time.monotonic()
        carries = self._begun and not self._failed and now - self._heard < _ASK_EVERY
        if now - self._asked < _ASK_EVERY or carries:
            return
        self._asked = now
        # NVFLARE tells its user what it does on the standard output, which is ours.
        with redirect_stdout(sys.stderr):
            self._submit(now)

    def _submit(self, now: float) -> None:
        try:
            if self._session is None:
                self._session = self._connected()
            if self._job and self._over(self._session, now):
                self._abort(self._session, self._job)
                self._job = ""
            if not self._job:
                self._job = self._session.submit_job(str(self._definition))
                self._since, self._begun, self._failed = now, False, False
            self.trouble = ""
        except Exception as error:  # noqa: BLE001 - whatever it is, the server is asked again
            self.trouble = f"the server does not answer: {type(error).__name__}"
            self._leave()

    def ended(self) -> None:
        """Take note that the job ends by itself."""
        self._job = ""

    def close(self) -> None:
        """End the job, if it has not ended, and the session: an open one would never let go."""
        if self._session is not None and self._job:
            self._abort(self._session, self._job)
        self._leave()

    def _connected(self) -> Any:
        with socket.create_connection(self._server, timeout=_CONNECT_WITHIN):
            pass  # somebody listens: NVFLARE would wait for long, and complain aloud
        session = new_secure_session(SUPERVISOR, str(self._kit), timeout=_CONNECT_WITHIN)
        if not self._job:  # of a supervisor that was killed: two couriers would get in the way
            for job in session.list_jobs():
                if not str(job.get("status", "")).startswith("FINISHED"):
                    self._abort(session, str(job.get("job_id")))
        return session

    def _over(self, session: Any, now: float) -> bool:
        if self._failed or (self._begun and now - self._heard > self._silent):
            return True
        status = str(session.get_job_meta(self._job).get("status"))
        if status.startswith(("FINISHED", "ABANDONED")):
            return True
        return status == "RUNNING" and not self._begun and now - self._since > _BEGIN_WITHIN

    def _abort(self, session: Any, job: str) -> None:
        with suppress(Exception):  # it has ended, or the server has forgotten it
            session.abort_job(job)

    def _leave(self) -> None:
        if self._session is not None:
            with suppress(Exception):  # what is gone is closed
                self._session.close()
        self._session = None


def _write_job(place: Path, sites: tuple[str, ...], silent: float) -> Path:
    """Write what the server is asked to run: two files that name our two classes."""
    server, site = CLASSES
    workflow = {"id": "courier", "path": server, "args": {"silent": silent}}
    executor = {"tasks": ["frames"], "executor": {"path": site, "args": {}}}
    files: dict[str, Any] = {
        "meta.json": {
            "name": _JOB, "resource_spec": {}, "min_clients": len(sites),
            "mandatory_clients": list(sites), "deploy_map": {"app": ["server", *sites]},
        },
        "app/config/config_fed_server.json": {
            "format_version": 2, "workflows": [workflow], "components": [],
        },
        "app/config/config_fed_client.json": {
            "format_version": 2, "executors": [executor], "components": [],
        },
    }  # fmt: skip
    job = (place / _JOB).absolute()
    shutil.rmtree(job, ignore_errors=True)
    for name, content in files.items():
        (job / name).parent.mkdir(parents=True, exist_ok=True)
        (job / name).write_text(json.dumps(content), encoding="utf-8")
    return job
