"""Sites of small federations on one disk, and messages between them carried without sockets."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from aggregation.data.patients import Patients, Schema
from aggregation.data.tables import read_table
from aggregation.models import Logistic
from aggregation.plan import Plan
from aggregation.roles.messages import AGGREGATOR
from aggregation.sites.dealt import deal
from aggregation.sites.server_site import ServerSite, open_site
from aggregation.sites.site import Reply, Site
from aggregation.timing import Pace, Trigger
from aggregation.timing.schedule import Schedule, simulate
from aggregation.transcript import Transcript
from privacy.errors import InpatientError
from tests.aggregation.parts import HOSPITALS, plan

_COLUMNS = "abc"
MORE = ("west", "midland")  # hospitals of larger federations
SENTINEL = -49.885  # one patient's value at each hospital; with its sign it is in no time of day


def tables(name: str, folder: Path) -> tuple[str, str]:
    """A hospital's own table of twelve patients, with the files that say what it means."""
    columns = "".join(
        f'{c} = {{unit = "u", mean = 0, sd = 1, low = -50, high = 50, step = 0.001}}\n'
        for c in _COLUMNS
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.toml").write_text(f'outcome = "event"\n[columns]\n{columns}')
    (folder / "table.toml").write_text(
        'source = "ward.csv"\nid = "id"\noutcome = {column = "event"}\n'
    )
    rows = np.random.default_rng((*HOSPITALS, *MORE).index(name)).normal(size=(12, 3)).round(3)
    rows[3, 1] = SENTINEL
    lines = [f"{i},{r[0]},{r[1]},{r[2]},{int(r[0] > 0)}" for i, r in enumerate(rows)]
    (folder / "ward.csv").write_text("\n".join(["id,a,b,c,event", *lines]) + "\n")
    return "table.toml", "schema.toml"


def patients_of(folders: Mapping[str, Path]) -> dict[str, Patients]:
    schema = Schema.from_toml(folders[HOSPITALS[0]] / "schema.toml")
    return {name: read_table(folders[name] / "table.toml", schema) for name in HOSPITALS}


def made(scheme: str = "shares", **changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "scheme": scheme,
        "model": Logistic(3),
        "noise_multiplier": 60.0,
        "rounds": 3,
    }
    return plan(**(fields | changes))


def own_pace() -> Schedule:
    """A schedule in which uploads are stale, and sums hold two of three."""
    paces = {name: Pace(duration=1.0 + 1.5 * k, variation=0.3) for k, name in enumerate(HOSPITALS)}
    return simulate(paces, Trigger(count=2, distinct=2), horizon=12.0, seed=1, waits=True)


def dealt(out: Path, agreed: Plan, **options: Any) -> Mapping[str, Path]:
    return deal(out, agreed, tables, **({"epsilon": 3.0} | options))


@contextmanager
def opened(folders: Mapping[str, Path]) -> Iterator[dict[str, Site]]:
    sites: dict[str, Site] = {}
    try:
        for name, folder in folders.items():
            sites[name] = open_site(folder)
        yield sites
    finally:
        for site in sites.values():
            site.close()


def server(sites: Mapping[str, Site]) -> ServerSite:
    found = sites[AGGREGATOR]
    assert isinstance(found, ServerSite)
    return found


def carry(
    sites: Mapping[str, Site],
    before: Callable[[str, bytes], bool] = lambda *_: True,
    said: Reply | None = None,
) -> list[InpatientError]:
    """Carry until nobody has anything more to say; return what was refused."""
    queue = list((server(sites).wake() if said is None else said).messages)
    refused = []
    while queue:
        to, envelope = queue.pop(0)
        if not before(to, envelope):
            continue
        site = next(one for one in sites.values() if to in one.addresses)
        try:
            queue += site.deliver(envelope).messages
        except InpatientError as error:
            refused.append(error)
    return refused


def opened_sums(folder: Path) -> list[Any]:
    """The sums that the first hospital was told, by the aggregator's saved transcript."""
    told = Transcript.load(folder / "transcript").select(kind="opened", receiver=HOSPITALS[0])
    by_round = {message.round: message.payload for message in told}
    return [np.frombuffer(by_round[number], dtype="<i8") for number in sorted(by_round)]
