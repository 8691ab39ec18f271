"""How the sites on other machines are, by what the courier's job last wrote at the server.

It is what they told in public on the way: no ledger, no memory, nothing of a patient leaves a site.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aggregation.roles.messages import AGGREGATOR
from aggregation.sites.agreed import Agreed
from aggregation.sites.flare.progress import PROGRESS_FILE, Progress
from aggregation.sites.site_settings import SiteSettings
from experiments.studies.design import RELATION
from privacy.accounting import epsilon
from privacy.errors import InvalidInputError, RefusedError
from privacy.ledger.rounding import up

__all__ = ["far_states"]


def far_states(folder: Path) -> dict[str, Any]:
    """Return how a run between machines is, as its courier told last.

    Returns:
      ``run``, ``rounds`` in all, ``round`` that is open, ``late``; ``ended`` at every site; ``why``
      the last job ended before that, or nothing; ``seconds`` since it was told; ``bytes`` by
      address; by site ``ended``, ``closed``, ``refused`` and, of a hospital, ``costs``:
      what the agreed plan costs each of its patients, spent or not.

    Raises:
      InvalidInputError: The folder is not the server's site.
      RefusedError: No job has carried anything yet.
      CorruptMessageError: What lies there is no courier's word on this run.
    """
    settings = SiteSettings.load(folder)
    if settings.name != AGGREGATOR:
        raise InvalidInputError(
            f"{folder} is the site {settings.name!r}. How all are is told at the {AGGREGATOR}; of "
            "one site alone: inpatient site SITE_DIR --status."
        )
    agreed = Agreed.load(folder / settings.agreed)
    progress = Progress.read(folder)
    if progress is None or progress.agreed != agreed.digest:
        raise RefusedError(
            f"Nothing has been carried in {folder} yet. Start it: inpatient deploy run {folder}."
        )
    server = progress.states.get(AGGREGATOR, {})
    return {
        "run": agreed.plan.run,
        "rounds": agreed.agreement.timing.sums,
        "round": server.get("round"),
        "late": server.get("late", []),
        "ended": progress.ended,
        "why": progress.why,
        "seconds": round(max(time.time() - (folder / PROGRESS_FILE).stat().st_mtime, 0.0), 1),
        "bytes": dict(progress.carried),
        "sites": {name: _site(name, agreed, progress) for name in progress.refusals},
    }


def _site(name: str, agreed: Agreed, progress: Progress) -> Mapping[str, Any]:
    state = progress.states.get(name, {})
    facts = {
        "ended": state.get("ended"), "closed": state.get("closed"),
        "refused": progress.refusals[name],
    }  # fmt: skip
    if name in agreed.plan.hospitals:
        event = agreed.agreement.run_event(name)
        spent = epsilon(event, delta=agreed.plan.delta, relation=RELATION).upper
        facts["costs"] = float(up(spent))
    return facts
