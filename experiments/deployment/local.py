"""All sites of a run as processes on this machine: started, watched, started again, ended."""

import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aggregation.roles.messages import AGGREGATOR
from aggregation.sites.courier import Courier
from aggregation.sites.flare.nvflare_commands import require_nvflare
from aggregation.sites.flare.parent_process import relay_pid
from aggregation.sites.flare.progress import Progress
from aggregation.sites.flare.site_certificates import (
    approve_certificates,
    install_kits,
    request_certificates,
)
from aggregation.sites.flare_network import FlareNetwork
from aggregation.sites.link import SocketLink, state_of
from aggregation.sites.site_settings import SiteSettings
from aggregation.transcript import Transcript
from privacy.errors import InpatientError, InvalidInputError, RefusedError
from privacy.files import write_durably

__all__ = [
    "Daemons",
    "Measured",
    "carry_over_network",
    "carry_to_the_end",
    "certify",
    "children_of",
    "free_port",
    "measured",
    "site_folders",
    "states",
]

_MOST_STARTS = 5  # of one daemon that ends each time within seconds
_SOON = 10.0  # seconds
_END_WITHIN = 60.0


def children_of(pid: int) -> list[int]:
    """Return the processes that one has begun, and that have not ended."""
    children = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            if int(path.read_text(encoding="utf-8").rpartition(")")[2].split()[1]) == pid:
                children.append(int(path.parent.name))
    return children


def most_resident(pid: int) -> int:
    """Return the most bytes that a process has had in memory; 0: it has ended."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _relay_of(name: str) -> str:
    return f"{name}'s relay"


def site_folders(folder: Path) -> dict[str, Path]:
    """Return the sites that lie in a folder, each by its name.

    Raises:
      InvalidInputError: There is none, or a ``site.toml`` can't be read.
    """
    folders = {}
    for path in sorted(folder.glob("*/site.toml")):
        folders[SiteSettings.load(path.parent).name] = path.parent
    if not folders:
        raise InvalidInputError(f"No folder in {folder} has a site.toml: there is no site.")
    return folders


def socket_of(folder: Path) -> Path:
    """Return where a site's daemon answers."""
    return folder / SiteSettings.load(folder).socket


def states(folders: Mapping[str, Path]) -> dict[str, dict[str, Any] | None]:
    """Return what each site's daemon tells of itself; None: it does not run."""
    statuses: dict[str, dict[str, Any] | None] = {}
    for name, folder in folders.items():
        statuses[name] = None
        with suppress(RefusedError), SocketLink(socket_of(folder)) as link:
            statuses[name] = state_of(link)
    return statuses


class Daemons:
    """The daemons of several sites; one that ends by itself is started again.

    Guarantees (each is a test in ``tests/experiments/deployment/test_local.py``):
      - a daemon that was killed is started again, and one that can't start is given up, and said;
      - a daemon that runs already is taken as it is;
      - in the end all of them are asked to end, and have ended.

    Args:
      folders: Each site's, by its name.
      network: Whether each site has a relay too, which carries over the network.
    """

    def __init__(self, folders: Mapping[str, Path], *, network: bool = False) -> None:
        self._folders, self._network = folders, network
        self._commands = {name: ["site", str(folder)] for name, folder in folders.items()}
        if network:
            for name, folder in folders.items():
                self._commands[_relay_of(name)] = ["deploy", "relay", str(folder)]
        self._ours: dict[str, subprocess.Popen[bytes]] = {}
        self._others: dict[str, int] = {}
        self._starts: dict[str, list[float]] = {}
        self._ending = threading.Event()
        self.failure = ""
        self.most_by_relay: dict[str, int] = {}

    @contextmanager
    def running(self) -> Iterator["Daemons"]:
        """Start them, and watch over them until the end of the block."""
        watcher = threading.Thread(target=self._watch, daemon=True)
        try:
            self._others = self._running()
            for name in self._commands:
                if name not in self._others:
                    self._start(name)
            watcher.start()
            yield self
        finally:
            self._ending.set()
            if watcher.is_alive():
                watcher.join()
            self._end()

    def look(self) -> None:
        """Take note of how much memory NVFLARE's processes at each site have had at most."""
        for name in self._folders if self._network else ():
            relay = self._ours.get(_relay_of(name))
            if relay is not None:
                size = sum(most_resident(pid) for pid in (relay.pid, *children_of(relay.pid)))
                self.most_by_relay[name] = max(self.most_by_relay.get(name, 0), size)

    def _running(self) -> dict[str, int]:
        """The processes that run already, by name."""
        statuses = states(self._folders)
        running = {name: int(state["pid"]) for name, state in statuses.items() if state is not None}
        if self._network:
            pids = {_relay_of(name): relay_pid(folder) for name, folder in self._folders.items()}
            running |= {name: pid for name, pid in pids.items() if pid is not None}
        return running

    def _start(self, name: str) -> None:
        command = [sys.executable, "-m", "experiments.cli", *self._commands[name]]
        self._starts.setdefault(name, []).append(time.monotonic())
        relay = name not in self._folders
        # What NVFLARE prints is in its own logs too.
        out = (Path(command[-1]) / "relay.txt").open("wb") if relay else None
        with out or nullcontext():
            self._ours[name] = subprocess.Popen(  # noqa: S603 - ours
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def _watch(self) -> None:
        while not self._ending.wait(0.2):
            for name, process in [*self._ours.items()]:
                if process.poll() is None:
                    continue
                soon = [at for at in self._starts[name] if time.monotonic() - at < _SOON]
                refused = process.returncode == 2  # said why; it would again
                if refused or len(soon) >= _MOST_STARTS:
                    log = "site.log" if name in self._folders else "relay.txt"
                    self.failure = (
                        f"The daemon of {name} ended with status {process.returncode}; its log is "
                        f"{Path(self._commands[name][-1]) / log}."
                    )
                    return
                self._start(name)

    def _end(self) -> None:
        for process in self._ours.values():
            process.send_signal(signal.SIGTERM)
        for pid in self._others.values():
            with suppress(OSError):
                os.kill(pid, signal.SIGTERM)
        for process in self._ours.values():
            try:
                process.wait(timeout=_END_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def carry_to_the_end(
    folders: Mapping[str, Path],
    *,
    seconds: float,
    watch: Callable[[Mapping[str, Any]], None] = lambda _: None,
    failed: Callable[[], str] = lambda: "",
) -> None:
    """Carry between the sites of folders until the run has ended.

    Args:
      folders: Each site's, by its name.
      seconds: How long at most.
      watch: Called with the aggregator's state.
      failed: Tells why nothing more will come, or nothing.

    Raises:
      RefusedError: It has not ended by then, or can't.
    """
    dials = {name: partial(SocketLink, socket_of(folder)) for name, folder in folders.items()}
    Courier(dials, watch, failed).run(seconds=seconds)


def carry_over_network(
    folders: Mapping[str, Path],
    *,
    seconds: float,
    silent: float = 20.0,
    watch: Callable[[Mapping[str, Any]], None] = lambda _: None,
    failed: Callable[[], str] = lambda: "",
) -> None:
    """As ``carry_to_the_end``, by NVFLARE's jobs: between machines, and on one.

    Args:
      folders: The server's site, under its name; others may be there too.
      seconds: How long at most.
      silent: Seconds without a word of a site's relay after which another job is begun.
      watch: Called with the aggregator's state.
      failed: Tells why nothing more will come, or nothing.

    Raises:
      RefusedError: It has not ended by then, or can't.
    """
    require_nvflare()
    from aggregation.sites.flare.supervisor import supervise

    def told(progress: Progress) -> None:
        if state := progress.states.get(AGGREGATOR):
            watch(state)

    supervise(folders[AGGREGATOR], seconds=seconds, silent=silent, watch=told, fails=failed)


def certify(folders: Mapping[str, Path], network: FlareNetwork, authority: Path) -> None:
    """Give all sites their kits, in one place: each asks, the authority signs, each installs.

    Raises:
      InpatientError: NVFLARE is not there, or failed.
    """
    csrs = request_certificates(folders, network)
    install_kits(folders, network, approve_certificates(authority, network, csrs))


def free_port() -> int:
    """Return a TCP port that nobody on this machine listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass(frozen=True)
class Measured:
    """What a deployed run took.

    Attributes:
      rounds: Sums that were opened.
      median_round: Seconds from one sum to the next, median.
      longest_round: The longest of them.
      bytes_by_kind: Of all messages that passed the aggregator, headers included.
      memory: Most resident bytes of each process.
      mapped: Heavy libraries in each.
      relays: Most resident bytes of NVFLARE's processes at each site, together; empty: none ran.
    """

    rounds: int
    median_round: float
    longest_round: float
    bytes_by_kind: Mapping[str, int]
    memory: Mapping[str, int]
    mapped: Mapping[str, list[str]]
    relays: Mapping[str, int] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_durably(path, json.dumps(vars(self), indent=1, sort_keys=True).encode() + b"\n")


def measured(
    folders: Mapping[str, Path],
    statuses: Mapping[str, dict[str, Any] | None],
    relays: Mapping[str, int] = MappingProxyType({}),
) -> Measured:
    """Return what a run took, from the aggregator's transcript and what the daemons told.

    Args:
      folders: The sites', by name.
      statuses: What each daemon told of itself.
      relays: Most memory of NVFLARE's processes at each site.

    Raises:
      InpatientError: There is no transcript yet.
    """
    transcript = Transcript.load(folders[AGGREGATOR] / "transcript")
    first: dict[int, float] = {}
    sizes: dict[str, int] = {}
    for message in transcript:
        sizes[message.kind.value] = sizes.get(message.kind.value, 0) + len(message.to_bytes())
        if message.kind == "opened" and message.sender == AGGREGATOR:
            first.setdefault(message.round, message.time)
    times = [first[number] for number in sorted(first)]
    if not times:
        raise InpatientError("No sum was opened.")
    steps = [after - before for before, after in itertools.pairwise(times)] or [0.0]
    memory = {n: dict(t["memory"]) for n, t in statuses.items() if t and t.get("memory")}
    return Measured(
        len(times),
        statistics.median(steps),
        max(steps),
        dict(sorted(sizes.items())),
        {name: int(one["most resident"]) for name, one in memory.items()},
        {name: list(one["mapped"]) for name, one in memory.items()},
        dict(relays),
    )
