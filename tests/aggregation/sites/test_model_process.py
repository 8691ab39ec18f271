"""A model's code in a process of its own: the same bits, nothing in its reach, never believed."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aggregation.models import Inputs, TorchModel
from aggregation.models.model_file import ModelFile
from aggregation.sites import model_process
from aggregation.sites.confinement import SHUT
from aggregation.sites.model_process import ModelApart, ModelProcess, installed_file
from privacy.errors import InvalidInputError, RefusedError
from tests.aggregation.models.made import ATTENTION, INPUTS, NORMED, made
from tests.aggregation.sites.test_daemon import ROOT

Started = Callable[..., ModelProcess]
LINEAR = "def make(inputs):\n    return nn.Linear(inputs.features, 1)\n"
REAL = model_process._CHILD


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Started]:
    """Starts the process of the model in ``mine.py``; all are ended behind the test."""
    begun: list[ModelProcess] = []

    def start(model: TorchModel, **options: Any) -> ModelProcess:
        file = ModelFile.read(tmp_path / "mine.py")
        begun.append(ModelProcess(model, file, **options))
        return begun[-1]

    yield start
    for process in begun:
        process.close()


def records(count: int, features: int = INPUTS.features) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(count, features)), rng.integers(0, 2, count)
    return x, y, rng.integers(0, 1000, count)


@pytest.mark.parametrize("body", [NORMED, ATTENTION])
def test_rows_are_those_of_one_process_to_the_last_bit(
    body: str, tmp_path: Path, apart: Started
) -> None:
    model = made(tmp_path, body, width=8)
    process = apart(model)
    here = model.program
    assert process.content == here.content == (tmp_path / "mine.py").read_bytes()
    assert process.first.tobytes() == here.first.tobytes()
    assert dict(process.environment) == dict(here.environment)
    x, y, slots = records(150)
    x[7, 2], x[9], x[20] = 1e300, np.nan, np.inf
    params = here.first + 0.1 * np.random.default_rng(1).normal(size=model.dim)
    for given in (slots, None):
        for offset in (0.0, 0.7):
            found = process.gradients(params, x, y, given, offset)
            expected = here.gradients(params, x, y, given, offset)
            assert [a.tobytes() for a in found] == [a.tobytes() for a in expected]
        found = process.scores_and_losses(params, x, y, given)
        expected = here.scores_and_losses(params, x, y, given)
        assert [a.tobytes() for a in found] == [a.tobytes() for a in expected]
    assert not process.gradients(params, x, y, slots)[0][[9, 20]].any()
    some = np.arange(0, 150, 7)  # whoever else is there
    fewer = process.gradients(params, x[some], y[some], slots[some])[0]
    assert fewer.tobytes() == here.gradients(params, x, y, slots)[0][some].tobytes()
    nobody = process.gradients(params, x[:0], y[:0], slots[:0])
    assert [a.shape for a in nobody] == [(0, model.dim), (0,)]


def test_the_model_of_a_plan_is_the_same_model_whoever_runs_it(
    tmp_path: Path, apart: Started
) -> None:
    model = made(tmp_path, LINEAR)
    here = ModelApart.run_by(model, apart(model))
    assert here.spec == model.spec and here.dim == model.dim
    x, y, slots = records(20)
    params = here.initial(np.random.default_rng(0))
    for told in ("per_patient_gradients", "losses"):
        found = getattr(here, told)(params, x, y, slots=slots)
        assert found.tobytes() == getattr(model, told)(params, x, y, slots=slots).tobytes()
    assert np.array_equal(here.scores(params, x), model.scores(params, x))


PROBE = """
import ctypes
import os

libc = ctypes.CDLL(None)


class Probe(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.linear = nn.Linear(inputs.features, 1)

    def forward(self, x):
        held = sum(libc.fcntl(number, 1) >= 0 for number in range(4096))
        opened = [libc.open(b"/etc/passwd", 0), libc.open(SECRET, 0), libc.dup(1)]
        opened += [libc.socket(family, 1, 0) for family in (1, 2, 10)]
        had = len(os.environ.keys() & OURS)
        had += 1000 * (libc.prctl(3, 0, 0, 0, 0) != 0)  # whether a debugger may look at it
        evidence = sum(found >= 0 for found in opened) + 100 * held + 10_000 * had
        [libc.close(found) for found in opened if found >= 0]
        return self.linear(x) * 0 + evidence


def make(inputs):
    return Probe(inputs)
"""


def test_it_has_no_descriptor_no_environment_no_file_and_no_socket(
    tmp_path: Path, apart: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INPATIENT_SECRET", "a key")
    secret = tmp_path / "north.key"
    secret.write_text("a key")
    # Not all that is here: torch sets variables of its own, and python LC_CTYPE.
    begun = Path("/proc/self/environ").read_text().split("\0")
    names = {line.partition("=")[0] for line in begun if line} - {"LC_CTYPE"}
    ours = repr(names | {"INPATIENT_SECRET"})
    body = PROBE.replace("SECRET", repr(str(secret).encode())).replace("OURS", ours)
    model = made(tmp_path, body)
    x, y, _ = records(2)
    here = model.scores(model.initial(np.random.default_rng(0)), x)[0]
    assert here > 10_000 and here % 100 == 6  # in this process it has all of that
    with secret.open("rb") as held:
        os.set_inheritable(held.fileno(), True)
        process = apart(model)
        scores, _ = process.scores_and_losses(process.first, x, y, None)
    assert list(scores) == [400.0, 400.0]  # three of its standard ones, and the way to us
    assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0  # nor does it see into this process


def run_here(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_from_its_own_network_nothing_is_reached_or_it_is_said_that_there_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        said, reached = run_here(
            "import socket\n"
            "from aggregation.sites.confinement import leave_network\n"
            "print(leave_network())\n"
            "try:\n"
            f"    socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 5)\n"
            "    print('reached')\n"
            "except OSError:\n"
            "    print('not reached')"
        )
    if said == "a network of its own, which leads nowhere":
        assert reached == "not reached"
    else:
        assert said.startswith("no network of its own: ") and reached == "reached"


def test_what_is_shut_stays_shut_whatever_is_closed_or_raised() -> None:
    lines = run_here(
        "import ctypes, os, resource, socket\n"
        "from aggregation.sites.confinement import keep_from_debuggers, shut\n"
        "keep_from_debuggers()\n"
        "limit = resource.getrlimit(resource.RLIMIT_CORE)\n"
        "print(shut())\n"
        "os.close(0)\n"
        "for tried in (\n"
        "    lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),\n"
        "    lambda: os.open('/dev/null', 0), lambda: os.dup(1), os.pipe, socket.socket,\n"
        "    lambda: os.dup2(1, 0), lambda: os.memfd_create('x'), lambda: os.listdir('/'),\n"
        "):\n"
        "    try:\n"
        "        tried()\n"
        "    except (OSError, ValueError):\n"
        "        print('refused')\n"
        "    else:\n"
        "        print('had')\n"
        "print(limit)\n"
        "found = (ctypes.c_uint32 * 6)(*[1] * 6)\n"
        "ctypes.CDLL(None).capget((ctypes.c_uint32 * 2)(0x20080522, 0), found)\n"
        "print(list(found))"
    )
    assert lines == [SHUT, *["refused"] * 8, "(0, 0)", str([0] * 6)]  # the last: capabilities


def test_a_limit_that_does_not_hold_is_noticed() -> None:
    lines = run_here(
        "import resource\n"
        "from aggregation.sites import confinement\n"
        "confinement.resource.setrlimit = lambda *_: None\n"
        "print(confinement.shut())"
    )
    assert lines == ["files and sockets can be opened"]


MARKS = """
import ctypes

ctypes.CDLL(None).open(MARK, 0o101, 0o600)
""" + LINEAR  # fmt: skip
OPEN = (
    "import sys; sys.path.insert(0, sys.argv[1]); import aggregation.sites.confinement as c; "
    "c.shut = lambda: 'files and sockets can be opened'; "
) + REAL.partition("; ")[2]


def test_where_nothing_confines_it_its_code_is_not_run_unless_the_site_says_so(
    tmp_path: Path, apart: Started
) -> None:
    mark = tmp_path / "mark"
    model = made(tmp_path, MARKS.replace("MARK", repr(str(mark).encode())))
    mark.unlink()
    assert len(apart(model).first) == model.dim and not mark.exists()  # it was shut before
    with pytest.raises(RefusedError, match=r"none of it was run.*module_unconfined = true"):
        _ = apart(model, code=OPEN).first
    assert not mark.exists()
    told: list[Any] = []
    process = apart(model, code=OPEN, unconfined=True, say=lambda *a, **k: told.append((a, k)))
    assert len(process.first) == model.dim and mark.exists()
    assert told[0][0] == ("model started",)
    assert told[0][1]["files"] == "files and sockets can be opened"


def test_a_kernel_that_gives_no_network_of_its_own_is_said_and_the_model_runs(
    tmp_path: Path, apart: Started
) -> None:
    refused = REAL.replace(
        "from agg", "import aggregation.sites.confinement as c; c._NEW_USER = 1; from agg", 1
    )
    told: list[Any] = []
    process = apart(made(tmp_path, LINEAR), code=refused, say=lambda *_, **k: told.append(k))
    assert len(process.first) == 10
    assert told[0]["network"] == "no network of its own: Invalid argument"
    assert told[0]["files"] == SHUT and len(told) == 1


def test_a_site_that_is_the_first_process_of_a_container_has_its_model(
    tmp_path: Path, apart: Started
) -> None:
    first = REAL.replace("import sys;", "import os, sys; os.getppid = lambda: 1;", 1)
    model = made(tmp_path, LINEAR, Inputs(2))
    process = apart(model, code=first)
    x, y, _ = records(3, 2)
    assert process.first.shape == (3,)
    assert process.scores_and_losses(process.first, x, y, None)[0].shape == (3,)


FAKE = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
import socket
from aggregation.sites.model_process import heard, said, _LENGTH
from aggregation.sites.confinement import SHUT
connection = socket.socket(fileno=os.dup(0))
first = bytes.fromhex("FIRST")
environment = b"{}"
heard(connection, 1 << 26)
def ready():
    said(connection, "shut", SHUT, "none")
    heard(connection, 0)
    said(connection, "ready", environment, first)
    return heard(connection, 1 << 26)
"""

# What a process may do instead of answering: with its code, and what is said of it.
STRANGE = {
    "too many bytes": ("ready(); said(connection, 'rows', bytes(1 << 20))", "answered with"),
    "a huge length": ("ready(); connection.sendall(_LENGTH.pack(1 << 60)); time.sleep(60)",
                      "answered with"),
    "another shape": ("ready(); said(connection, 'rows', bytes(8))", "of another shape"),
    "two answers": ("ready(); said(connection, 'rows', bytes(264), b'')", "of another shape"),
    "no answer": ("ready(); said(connection)", "of another shape"),
    "garbage": ("ready(); connection.sendall(_LENGTH.pack(9) + b'x' * 9); time.sleep(60)",
                "truncated"),
    "words": ("ready(); print('-49.885', file=sys.stderr); said(connection, 'refused', '-49.885')",
              "of another shape"),
    "nothing": ("ready(); time.sleep(60)", "did not answer in time"),
    "a part": ("ready(); connection.sendall(_LENGTH.pack(90) + b'x'); time.sleep(60)",
               "did not answer in time"),
    "a byte now and then": (
        ("ready(); connection.sendall(_LENGTH.pack(264) + b'x')\n"
         "[(time.sleep(0.2), connection.sendall(b'x')) for _ in range(263)]"),
        "did not answer in time",
    ),
    "its end": ("ready(); os._exit(3)", "died twice"),
    "its end by a signal": ("ready(); os.kill(os.getpid(), 11)", "died twice"),
    "no start": ("time.sleep(60)", "can't be started.*did not answer in time"),
    "an early end": ("os._exit(0)", "can't be started.*it died"),
    "no word on what it gave up": ("said(connection, 'ready', b'{}', first)", "gave up"),
    "words at the start": ("said(connection, 'refused', 'no\\n\\x1b[31m file')",
                           r"^no\\n\\x1b\[31m file$"),
    "many words": ("said(connection, 'refused', 'no' * 9000)", "answered with"),
    "other first parameters": ("first = bytes(len(first)); ready()", "other first parameters"),
    "fewer first parameters": ("first = first[8:]; ready()", "other first parameters"),
    "an environment of other things": ("environment = b'{\"a\": 1}'; ready()", "plain text"),
    "an environment of control characters": ("environment = b'{\"a\": \"\\\\u001b\"}'; ready()",
                                             "plain text"),
    "a list": ("environment = b'[]'; ready()", "no short list"),
    "no JSON": ("environment = b'{'; ready()", "environment of a model's process"),
}  # fmt: skip


@pytest.mark.parametrize("strange", STRANGE)
def test_whatever_it_answers_is_refused_in_time_and_in_words_of_ours(
    strange: str, tmp_path: Path, apart: Started, capfd: pytest.CaptureFixture[str]
) -> None:
    does, said = STRANGE[strange]
    model = made(tmp_path, LINEAR, Inputs(2))
    first = model.initial(np.random.default_rng(0))
    code = FAKE.replace("FIRST", first.astype("<f8").tobytes().hex()) + does
    process = apart(model, code=code, seconds=20.0 if "time" not in said else 2.0)
    x, y, _ = records(11, 2)
    began = time.monotonic()
    with pytest.raises(RefusedError, match=said) as refused:
        process.gradients(first, x, y, None)
    assert time.monotonic() - began < 20
    assert process._child is None and process._connection is None
    out, error = capfd.readouterr()
    assert "-49.885" not in str(refused.value) + out + error


def test_a_row_that_is_not_finite_is_zero_whoever_says_it(tmp_path: Path, apart: Started) -> None:
    model = made(tmp_path, LINEAR, Inputs(2))
    first = model.initial(np.random.default_rng(0))
    rows = np.arange(12.0).reshape(3, 4)
    rows[0, 1], rows[2, 3] = np.nan, -np.inf
    does = f"ready(); said(connection, 'rows', bytes.fromhex('{rows.tobytes().hex()}'))\nready()"
    process = apart(model, code=FAKE.replace("FIRST", first.tobytes().hex()) + does)
    gradients, scores = process.gradients(first, *records(3, 2)[:2], None)
    assert gradients.tolist() == [[0, 0, 0], [4, 5, 6], [0, 0, 0]] and scores.tolist() == [0, 7, 0]


def test_one_that_was_killed_is_started_again_and_asked_again(
    tmp_path: Path, apart: Started
) -> None:
    told: list[Any] = []
    model = made(tmp_path, LINEAR)
    process = apart(model, say=lambda *a, **_: told.extend(a))
    x, y, slots = records(30)
    before = process.gradients(process.first, x, y, slots)
    assert process._child is not None
    os.kill(process._child.pid, signal.SIGKILL)
    after = process.gradients(process.first, x, y, slots)
    assert [a.tobytes() for a in after] == [a.tobytes() for a in before]
    assert told == ["model started", "model ended", "model started"]
    process._environment = {"torch": "0.1"}
    process.close()
    with pytest.raises(RefusedError, match="changed while this site ran"):
        process.gradients(process.first, x, y, slots)


HANGS = """
import hashlib, sys, threading, time
from pathlib import Path
from aggregation.models import TorchModel
from aggregation.models.model_file import ModelFile
from aggregation.sites.model_process import ModelProcess
file = ModelFile.read(Path(sys.argv[1]))
model = TorchModel(2, "make", file.digest, (("weight", (1, 2)),), "0" * 64)
process = ModelProcess(model, file, say=print)
threading.Thread(target=lambda: process.first, daemon=True).start()
while process._child is None:
    time.sleep(0.01)
print(process._child.pid, flush=True)
time.sleep(600)
"""


def test_it_ends_soon_after_a_site_that_was_killed_whatever_it_is_at(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import ctypes, time\n\nctypes.CDLL(None).prctl(15, b'asleep')\ntime.sleep(600)\n"
    )
    command = [sys.executable, "-c", HANGS, str(tmp_path / "mine.py")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as site:
        assert site.stdout is not None
        child = int(site.stdout.readline())
        until = time.monotonic() + 60
        name = Path(f"/proc/{child}/comm")
        while name.read_text().strip() != "asleep" and time.monotonic() < until:
            time.sleep(0.05)
        assert name.read_text().strip() == "asleep"
        site.kill()
    while Path(f"/proc/{child}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.parametrize("what", ["another file", "none", "unreadable"])
def test_a_file_that_is_not_the_plans_is_refused_and_nothing_of_it_runs(
    what: str, tmp_path: Path
) -> None:
    model = made(tmp_path, LINEAR)
    path = tmp_path / "mine.py"
    assert installed_file(model, path).content == path.read_bytes()
    if what == "another file":
        path.write_text(path.read_text() + "raise SystemExit\n")
        with pytest.raises(RefusedError, match=f"{model.source}.*Nothing of it was run"):
            installed_file(model, path)
    elif what == "none":
        with pytest.raises(RefusedError, match=f"{model.source}.*module = .FILE. in site.toml"):
            installed_file(model, None)
        shipped = TorchModel.of("embedded", INPUTS)
        assert installed_file(shipped, None).path.name == "embedded.py"
    else:
        path.unlink()
        with pytest.raises(InvalidInputError, match="Can't read the model file"):
            installed_file(model, path)
