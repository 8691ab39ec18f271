"""How far sites are, as the courier told at the server last."""

import contextlib
import json
import os
import time
from pathlib import Path

import pytest

from aggregation.roles.messages import AGGREGATOR
from aggregation.sites.agreed import Agreed
from aggregation.sites.flare.progress import PROGRESS_FILE
from experiments.deployment.far import far_states
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from tests.aggregation.parts import HOSPITALS
from tests.aggregation.sites.flare.test_relayed_link import Wire, carried, far
from tests.aggregation.sites.parts import dealt, made
from tests.aggregation.sites.test_daemon import running
from tests.experiments.deployment.test_local import said_by


def test_at_the_server_all_sites_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = dealt(tmp_path / "run", made(rounds=2))
    server = folders[AGGREGATOR]
    status, said = said_by(["deploy", "status", str(server)], capsys)
    assert status == 2 and "inpatient deploy run" in said
    with contextlib.ExitStack() as stack:
        for folder in folders.values():
            stack.enter_context(running(folder))
        wire = stack.enter_context(contextlib.closing(Wire(far(folders))))
        carried(server, folders, wire)
    status, said = said_by(["deploy", "status", str(server), "--json"], capsys)
    told = json.loads(said)
    assert status == 0 and (told["round"], told["rounds"], told["late"]) == (2, 2, [])
    assert told["ended"] and told["why"] == "" and set(told["sites"]) == set(folders)
    for name in HOSPITALS:
        site = told["sites"][name]
        assert site["ended"] and site["closed"] and 0 < site["costs"] < 3
        assert told["bytes"][name] > 1000
        assert not {"ledger", "budget", "memory", "pid"} & set(site)  # which no relay tells
    assert "costs" not in told["sites"][AGGREGATOR]
    status, said = said_by(["deploy", "status", str(server)], capsys)
    assert status == 0 and "round 2 of 2, waiting for nobody" in " ".join(said.split())
    assert all(name in said for name in folders)


def test_what_is_old_or_ended_early_is_no_good_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = dealt(tmp_path / "run", made())
    server = folders[AGGREGATOR]
    path = server / PROGRESS_FILE
    with running(server), pytest.raises(RefusedError):
        carried(server, folders, Wire(far(folders)), stopped=True)
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"agreed": "f" * 64}))  # of another run
    with pytest.raises(RefusedError, match="Nothing has been carried"):
        far_states(server)
    digest = Agreed.load(server / "agreed").digest
    for changes, status in (({"why": ""}, 0), ({"why": "a relay is gone"}, 2)):
        path.write_text(json.dumps(told | {"agreed": digest} | changes))
        assert said_by(["deploy", "status", str(server)], capsys)[0] == status
    path.write_text(json.dumps(told | {"agreed": digest, "why": ""}))
    before = time.time() - 60.0
    os.utime(path, (before, before))
    assert far_states(server)["seconds"] > 59
    assert said_by(["deploy", "status", str(server)], capsys)[0] == 2
    path.write_text("[]")
    with pytest.raises(CorruptMessageError):
        far_states(server)
    with pytest.raises(InvalidInputError, match="site SITE_DIR --status"):
        far_states(folders["north"])
