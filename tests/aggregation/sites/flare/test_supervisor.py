"""Jobs end with any process that is killed; the supervisor submits until the run has ended."""

import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aggregation.roles.messages import AGGREGATOR, OPENER
from aggregation.sites.agreed import Agreed
from aggregation.sites.flare import supervisor
from aggregation.sites.flare.progress import PROGRESS_FILE, Progress
from aggregation.sites.flare.supervisor import far_sites, supervise
from aggregation.sites.flare_network import FlareNetwork
from privacy.errors import RefusedError
from tests.aggregation.parts import HOSPITALS
from tests.aggregation.sites.parts import dealt, made


class Server:
    """What NVFLARE's server would answer; each submitted job does the next thing of a list."""

    def __init__(self, folder: Path, jobs: list[str], left: tuple[Mapping[str, str], ...] = ()):
        self.folder, self.jobs, self.left = folder, jobs, left
        self.agreed = Agreed.load(folder / "agreed").digest
        self.submitted: list[dict[str, Any]] = []
        self.aborted: list[str] = []
        self.sessions = self.closed = self.beats = 0

    def session(self, *_: object, **__: object) -> "Server":
        self.sessions += 1
        print("what NVFLARE tells its user")  # noqa: T201
        return self

    def tell(
        self,
        *,
        ended: bool = False,
        agreed: str = "",
        names: tuple[str, ...] = (),
        job: str = "",
        why: str = "",
    ) -> None:
        job = job or str(len(self.submitted))
        self.beats += 1
        states = {name: {"round": self.beats} for name in names or (*HOSPITALS, AGGREGATOR)}
        told = Progress(agreed or self.agreed, job, self.beats, ended, why, states)
        (self.folder / PROGRESS_FILE).write_text(json.dumps(vars(told)))

    def list_jobs(self) -> tuple[Mapping[str, str], ...]:
        return self.left

    def submit_job(self, path: str) -> str:
        files = sorted(one for one in Path(path).rglob("*.json"))
        self.submitted.append({one.name: json.loads(one.read_text()) for one in files})
        if self.now == "gone":
            raise ConnectionError
        if self.now in ("silent", "begun", "ends"):
            self.tell(ended=self.now == "ends")
        if self.now == "gives up":
            self.tell(why="The relays of north have not answered.")
        if self.now == "incomplete":
            self.tell(ended=True, names=(AGGREGATOR, HOSPITALS[0]))
        if self.now == "another":
            self.tell(ended=True, agreed="f" * 64)
        return str(len(self.submitted))

    @property
    def now(self) -> str:
        return self.jobs[min(len(self.submitted), len(self.jobs)) - 1]

    def get_job_meta(self, job: str) -> dict[str, str]:
        finished = {"fails": "FINISHED:EXECUTION_EXCEPTION", "incomplete": "FINISHED:COMPLETED",
                    "another": "FINISHED:COMPLETED", "lost": "ABANDONED"}  # fmt: skip
        return {"status": finished.get(self.now, "RUNNING")}

    def abort_job(self, job: str) -> None:
        self.aborted.append(job)
        raise RuntimeError("it is no more")

    def close(self) -> None:
        self.closed += 1


@contextmanager
def serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: list[str], **options: Any
) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        network = FlareNetwork("127.0.0.1", listener.getsockname()[1], "ab" * 32)
        folder = dealt(tmp_path / "run", made(), network=network)[AGGREGATOR]
        server = Server(folder, jobs, **options)
        monkeypatch.setattr(supervisor, "new_secure_session", server.session)
        monkeypatch.setattr(supervisor, "_LOOK", 0.01)
        monkeypatch.setattr(supervisor, "_ASK_EVERY", 0.05)
        monkeypatch.setattr(supervisor, "_BEGIN_WITHIN", 0.3)
        yield server


@pytest.mark.parametrize(
    ("jobs", "least", "aborted"),
    [
        (["ends"], 1, []),
        (["fails", "lost", "ends"], 3, ["1", "2"]),
        (["silent", "ends"], 2, ["1"]),
        (["gives up", "gives up", "ends"], 3, ["1", "2"]),
        (["never begins", "ends"], 2, ["1"]),
        (["incomplete", "ends"], 2, ["1"]),
        (["another", "ends"], 2, ["1"]),
        (["gone", "gone", "ends"], 3, []),
    ],
)
def test_a_job_that_is_over_is_submitted_again_and_the_end_is_ours(
    jobs: list[str],
    least: int,
    aborted: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving(tmp_path, monkeypatch, jobs) as server:
        (server.folder / PROGRESS_FILE).write_text("of an earlier one")
        seen: list[Progress] = []
        silent = 60.0 if "gives up" in jobs else 0.3  # who says so is not waited for
        told = supervise(server.folder, seconds=15.0, silent=silent, watch=seen.append)
    assert told.ended and seen[-1] == told
    assert len(server.submitted) == least and server.aborted == aborted
    assert server.sessions == server.closed >= 1
    assert capsys.readouterr().out == ""
    assert [*server.folder.glob("tmp*")] == []


def test_a_job_asks_for_our_two_classes_at_every_site_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, monkeypatch, ["ends"]) as server:
        supervise(server.folder, seconds=15.0)
    (files,) = server.submitted
    meta = files["meta.json"]
    assert meta["mandatory_clients"] == list(HOSPITALS) and meta["min_clients"] == len(HOSPITALS)
    assert meta["deploy_map"] == {"app": ["server", *HOSPITALS]}
    (workflow,) = files["config_fed_server.json"]["workflows"]
    (executor,) = files["config_fed_client.json"]["executors"]
    assert workflow["path"] == "aggregation.sites.flare.server_end.ServerEnd"
    assert executor["executor"]["path"] == "aggregation.sites.flare.site_end.SiteEnd"
    assert workflow["args"] == {"silent": 20.0} and executor["executor"]["args"] == {}


def test_what_a_job_says_that_was_given_up_ends_no_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, monkeypatch, ["begun"]) as server:
        seen: list[Progress] = []

        def watch(told: Progress) -> None:
            seen.append(told)
            if len(seen) == 1:
                server.tell(job="0", why="The job was asked to end.")

        with pytest.raises(RefusedError, match="Nothing is lost"):
            supervise(server.folder, seconds=1.0, watch=watch)
        assert [told.why != "" for told in seen] == [False, True]
        assert len(server.submitted) == 1


def test_jobs_of_a_supervisor_that_was_killed_are_ended_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = ({"job_id": "a", "status": "RUNNING"}, {"job_id": "b", "status": "FINISHED:COMPLETED"})
    with serving(tmp_path, monkeypatch, ["ends"], left=left) as server:
        supervise(server.folder, seconds=15.0)
    assert server.aborted == ["a"]


def test_it_ends_in_time_or_with_what_failed_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, monkeypatch, ["begun"]) as server:
        with pytest.raises(RefusedError, match="Nothing is lost"):
            supervise(server.folder, seconds=0.2)
        assert server.aborted == ["1"] and server.closed == server.sessions == 1
        with pytest.raises(RefusedError, match="a daemon ended"):
            supervise(server.folder, seconds=15.0, fails=lambda: "a daemon ended")
    monkeypatch.setattr(supervisor, "_CONNECT_WITHIN", 0.2)
    began = time.monotonic()
    with pytest.raises(RefusedError, match="the server does not answer: ConnectionRefused"):
        supervise(server.folder, seconds=0.5)
    assert time.monotonic() - began < 20.0


def test_an_opener_is_a_far_site_too(tmp_path: Path) -> None:
    for scheme in ("shares", "bfv"):
        folders = dealt(tmp_path / scheme, made(scheme))
        agreed = Agreed.load(folders[AGGREGATOR] / "agreed")
        assert set(far_sites(agreed)) == set(folders) - {AGGREGATOR}
        assert (OPENER in far_sites(agreed)) == (scheme == "bfv")
