"""A federation over NVFLARE with mutual TLS: killed, listened to, and impersonated."""

import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregation.federation import Federation
from aggregation.plan import Plan
from aggregation.roles.messages import AGGREGATOR
from aggregation.sites.flare.parent_process import relay_pid
from aggregation.sites.flare.progress import Progress
from aggregation.sites.flare.site_certificates import make_authority
from aggregation.sites.flare_network import FlareNetwork
from aggregation.timing.schedule import Schedule
from aggregation.trained import Trained
from aggregation.transcript import Transcript
from experiments.deployment.local import (
    Daemons,
    carry_over_network,
    certify,
    children_of,
    free_port,
    states,
)
from tests.aggregation.parts import HOSPITALS
from tests.aggregation.sites.parts import (
    SENTINEL,
    dealt,
    made,
    opened_sums,
    own_pace,
    patients_of,
)
from tests.aggregation.sites.test_courier import assert_no_patients_value, whole

ROOT = Path(__file__).resolve().parents[3]


class Wire:
    """Between everybody and the server: it records all bytes that pass."""

    def __init__(self, port: int, server: int) -> None:
        self.taken = bytearray()
        self._server, self._lock = server, threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", port))

    @contextmanager
    def listening(self) -> Iterator["Wire"]:
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._server))
                except OSError:
                    near.close()
                    continue
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(1 << 16):
                with self._lock:
                    self.taken += content
                target.sendall(content)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def job_of(relay: int | None) -> int | None:
    """The job's process that NVFLARE's process of a site began."""
    return next(iter(children_of(relay)), None) if relay else None


def await_that(holds: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def round_of(folder: Path) -> int:
    told = Progress.read(folder)
    return -1 if told is None else int(told.states.get(AGGREGATOR, {}).get("round", -1))


class Hunter:
    """Kills one process of each kind; those whose loss another one hides are killed together."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders
        self.killed: list[str] = []

    def run(self) -> None:
        north, server = self._folders["north"], self._folders[AGGREGATOR]
        kinds: dict[str, tuple[int, Callable[[], int | None]]] = {
            "daemon": (1, lambda: (states({"north": north})["north"] or {}).get("pid")),
            "site's job": (1, lambda: job_of(relay_pid(north))),
            "server's job": (2, lambda: job_of(relay_pid(server))),
            "server's daemon": (2, lambda: (states({"s": server})["s"] or {}).get("pid")),
            "site's relay": (3, lambda: relay_pid(north)),
            "server's relay": (4, lambda: relay_pid(server)),
        }
        for kind, (reached, find) in kinds.items():
            while round_of(server) < reached:
                time.sleep(0.05)
            while not (pid := find()):  # between two jobs there is none
                time.sleep(0.05)
            os.kill(pid, signal.SIGKILL)
            self.killed.append(kind)


def supervising(server: Path, within: float = 300.0) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "experiments.cli", "deploy", "run", str(server)]
    return subprocess.Popen([*command, "--within", str(within), "--silent", "6"], cwd=ROOT,
                            text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)  # fmt: skip


def behind_a_wire(out: Path, rounds: int) -> tuple[dict[str, Path], Wire]:
    """Sites whose relays reach the server through a wire that is listened to."""
    port, server = free_port(), free_port()
    network = make_authority(out / "authority", "localhost", port)
    folders = dict(dealt(out, made(rounds=rounds), network=network))
    certify(folders, network, out / "authority")
    startup = folders[AGGREGATOR] / "flare" / "startup" / "fed_server.json"
    startup.write_text(startup.read_text().replace(str(port), str(server)))
    return folders, Wire(port, server)


def secrets_of(folders: Mapping[str, Path]) -> list[bytes]:
    """What no wire may carry as it is: keys, patients' values, what sites said to each other."""
    found = [str(SENTINEL).encode(), struct.pack("<d", SENTINEL), struct.pack(">d", SENTINEL)]
    for folder in folders.values():
        found += [path.read_bytes()[20:80] for path in (folder / "keys").iterdir()]
        found += [path.read_bytes().splitlines()[2] for path in folder.rglob("*.key")
                  if b"BEGIN" in path.read_bytes()]  # fmt: skip
    transcript = Transcript.load(folders[AGGREGATOR] / "transcript")
    found += [message.payload[:64] for message in transcript if len(message.payload) >= 64]
    return found


def test_each_kind_of_process_is_killed_once_and_the_wire_tells_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    folders, wire = behind_a_wire(out, rounds=8)
    hunter, server = Hunter(folders), folders[AGGREGATOR]
    hunt = threading.Thread(target=hunter.run, daemon=True)
    with wire.listening(), Daemons(folders, network=True).running() as daemons:
        hunt.start()
        with supervising(server) as process:
            await_that(lambda: round_of(server) >= 1)
            process.send_signal(signal.SIGKILL)  # the supervisor too
        with supervising(server) as process:
            said, _ = process.communicate(timeout=400)
        assert process.returncode == 0, said
        assert daemons.failure == ""
        hunt.join(timeout=10.0)
    assert len(hunter.killed) == 6
    whole(out, folders)
    assert_no_patients_value(folders)
    taken, hidden = bytes(wire.taken), secrets_of(folders)
    carried = sum(message.size for message in Transcript.load(server / "transcript"))
    assert len(taken) > carried > 100_000  # all of it passed here
    assert len(hidden) > 200 and not any(secret in taken for secret in hidden)
    in_clear = b"".join(path.read_bytes() for path in server.rglob("*") if path.is_file())
    assert sum(secret in in_clear for secret in hidden) > 200  # they would have been found


def networked(out: Path, agreed: Plan, **options: Any) -> dict[str, Path]:
    """Sites with certificates, that meet on this machine."""
    network = make_authority(out / "authority", "localhost", free_port())
    folders = dict(dealt(out, agreed, network=network, **options))
    certify(folders, network, out / "authority")
    return folders


STALE = made("threshold", smallest_sum=2, noise_multiplier=90.0)


@pytest.mark.parametrize(
    ("agreed", "schedule"),
    [
        pytest.param(STALE, own_pace(), id="threshold, declared schedule"),
        pytest.param(made(), None, marks=pytest.mark.nightly, id="shares"),
        pytest.param(made("threshold"), None, marks=pytest.mark.nightly, id="threshold"),
        pytest.param(made("bfv"), None, marks=pytest.mark.nightly, id="bfv"),
    ],
)
def test_over_nvflare_the_sums_are_those_of_one_process_bit_for_bit(
    agreed: Plan, schedule: Schedule | None, tmp_path: Path
) -> None:
    folders = networked(tmp_path / "run", agreed, schedule=schedule, seed=5, epsilon=1000.0)
    with Daemons(folders, network=True).running() as daemons:
        carry_over_network(folders, seconds=240.0, failed=lambda: daemons.failure)
    sums = opened_sums(folders[AGGREGATOR])
    other = Federation.simulated(agreed, patients_of(folders), seed=5, schedule=schedule).run()
    assert len(sums) == len(other.opened) >= 3
    assert np.array_equal(np.stack(sums), other.opened)
    for name in HOSPITALS:
        assert np.array_equal(Trained.read(folders[name] / "model").params, other.params)


@contextmanager
def serving(out: Path) -> Iterator[tuple[dict[str, Path], FlareNetwork]]:
    """A server that listens, of sites that are not there yet."""
    network = make_authority(out / "authority", "localhost", free_port())
    folders = dict(dealt(out, made(), network=network))
    certify(folders, network, out / "authority")

    def listens() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", network.port), timeout=1.0):
            return True
        return False

    with Daemons({AGGREGATOR: folders[AGGREGATOR]}, network=True).running():
        await_that(listens)
        yield folders, network


def is_heard(network: FlareNetwork, kit: Path | None) -> bool:
    """Whether the server goes on talking to who shows a kit's certificate, or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if kit is not None:
        context.load_cert_chain(kit / "startup" / "client.crt", kit / "startup" / "client.key")
    try:
        with (
            socket.create_connection(("127.0.0.1", network.port), timeout=5.0) as plain,
            context.wrap_socket(plain) as secured,
        ):
            secured.settimeout(3.0)
            return secured.recv(1) != b""
    except TimeoutError:
        return True  # it waits for what we say
    except OSError:
        return False


def test_who_has_no_certificate_of_the_runs_authority_is_not_heard(tmp_path: Path) -> None:
    stranger = make_authority(tmp_path / "stranger", "localhost", 8002)
    strange = {"north": tmp_path / "strange"}
    strange["north"].mkdir()
    certify(strange, stranger, tmp_path / "stranger")
    with serving(tmp_path / "run") as (folders, network):
        assert is_heard(network, folders["north"] / "flare")
        assert not is_heard(network, strange["north"] / "flare")
        assert not is_heard(network, None)
        with socket.create_connection(("127.0.0.1", network.port), timeout=5.0) as plain:
            plain.sendall(b"no TLS at all\n" * 100)
            plain.settimeout(5.0)
            with suppress(ConnectionError):
                assert plain.recv(1 << 16)[:1] in (b"", b"\x15")  # an alert, and the end
        _impersonates(folders, network)


def _impersonates(folders: Mapping[str, Path], network: FlareNetwork) -> None:
    """A hospital that has a certificate of its own, and calls itself another."""
    kit, log = folders["north"] / "flare", folders[AGGREGATOR] / "flare" / "log.txt"
    told = ["secure_train=true", "uid=east", "org=inpatient", "config_folder="]
    command = [sys.executable, "-m", "nvflare.private.fed.app.client.client_train", "-m", str(kit),
               "-s", "fed_client.json", "--set", *told]  # fmt: skip
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:  # fmt: skip
        try:
            await_that(lambda: "but claimed" in log.read_text())
            assert "authenticated as 'north'" in log.read_text()
            assert "client east registered" not in log.read_text()
        finally:
            process.kill()


@pytest.mark.nightly
def test_twenty_random_kill_points_over_the_network(tmp_path: Path) -> None:
    """As the two hundred from socket to socket, with relays and jobs among the victims."""
    kills, dice, number = 0, random.Random(19), 0
    while kills < 20:
        out = tmp_path / f"run-{number}"
        folders = networked(out, made(rounds=150))
        with Daemons(folders, network=True).running() as daemons:
            ended = threading.Event()

            def hunt(ended: threading.Event = ended, folders: Mapping[str, Path] = folders) -> None:
                nonlocal kills
                while not ended.wait(dice.uniform(5.0, 30.0)):
                    name = dice.choice([*folders])
                    told, relay = states({name: folders[name]})[name], relay_pid(folders[name])
                    victims = [told and told["pid"], relay, job_of(relay)]
                    if pid := dice.choice(victims):
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                            kills += 1

            hunter = threading.Thread(target=hunt)
            hunter.start()
            try:
                with supervising(folders[AGGREGATOR], within=1200.0) as process:
                    said, _ = process.communicate(timeout=1300)
            finally:
                ended.set()
                hunter.join()
            assert daemons.failure == ""
        forfeited = any("The spend is forfeited" in (folders[name] / "site.log").read_text()
                        for name in HOSPITALS)  # fmt: skip
        assert process.returncode == 0 or forfeited, said
        if not forfeited:
            whole(out, folders)
        assert_no_patients_value(folders)
        number += 1
