"""The set-up: every road to torch, on an index made here, and every way of breaking off."""

import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import venv
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import experiments.environment as module
from experiments.environment import ENVIRONMENTS, Environment, Machine, set_up, torch_road

ROOT = Path(__file__).resolve().parents[2]
LINUX, MAC = Machine("Linux", "x86_64"), Machine("Darwin", "arm64", "14.5")
MAIN = ENVIRONMENTS["main"]
BACKEND = """
import zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    name, info = "inpatient-1.0-py3-none-any.whl", "inpatient-1.0.dist-info/"
    with zipfile.ZipFile(folder + "/" + name, "w") as wheel:
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: inpatient\\nVersion: 1.0")
        told = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any"
        wheel.writestr(info + "WHEEL", told)
        wheel.writestr(info + "RECORD", "")
    return name
"""


def wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> str:
    """Put a wheel into an index's folder and return its digest."""
    info = f"{name}-{version}.dist-info/"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    content = {
        f"{name}.py": f"version = {version!r}\n",
        info + "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        info + "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for path, text in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        lines.append(f"{path},sha256={digest.decode()},{len(text.encode())}\n")
    content[info + "RECORD"] = "".join([*lines, f"{info}RECORD,,\n"])
    file = folder / name / f"{name}-{version}-py3-none-any.whl"
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in content.items():
            archive.writestr(path, text)
    return hashlib.sha256(file.read_bytes()).hexdigest()


class Index:
    """A package index on loopback that remembers what it was asked, and can hang."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, list[str]()
        self.hangs_at, self.released = "", threading.Event()
        index = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                index.asked.append(self.path)
                if index.hangs_at and index.hangs_at in self.path:
                    index.released.wait(60)
                super().do_GET()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                pass

        folder.mkdir()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def pypi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index that has what the lock names and torch with CUDA; pip is configured for it alone."""
    index = Index(tmp_path / "pypi")
    wheel(index.folder, "torch", "2.13.0", requires=("nvidia",))
    wheel(index.folder, "nvidia", "13.0")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.setattr(module, "CPU_INDEX", "http://127.0.0.1:9")
    yield index
    index.close()


@pytest.fixture
def root(tmp_path: Path, pypi: Index) -> Path:
    """A checkout, in a folder with a space in its name."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    (folder / "backend.py").write_text(BACKEND)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "inpatient"\nversion = "1.0"\n[tool]\n'
    )
    (folder / "torch.txt").write_text("torch==2.13.0\n")
    digest = wheel(pypi.folder, "numpy", "1.0")
    (folder / "requirements.lock").write_text(f"numpy==1.0 --hash=sha256:{digest}\n")
    return folder


def installed(root: Path) -> dict[str, str]:
    code = (
        "import importlib.metadata as m, json\n"
        "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
    )
    python = root / ".venv" / "bin" / "python"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return {name: version for name, version in found.items() if name not in ("pip", "setuptools")}


class Offers:
    """What pip would see: by default and, in turn, at an index that was named."""

    def __init__(self, configured: set[str], at_index: set[str]) -> None:
        self.configured, self.at_index, self.looks = configured, at_index, list[str]()

    def __call__(self, package: str, *arguments: str) -> set[str]:
        assert package == "torch"
        self.looks.append(arguments[-1] if arguments else "configured")
        return self.at_index if arguments else self.configured


BOTH, CUDA, CPU = {"2.13.0", "2.13.0+cpu"}, {"2.13.0", "2.12.0"}, {"2.13.0+cpu", "2.12.0+cpu"}
THEIRS, OURS = module.CPU_INDEX, "https://mirror.example/cpu"
PLAIN = ("torch==2.13.0",)


@pytest.mark.parametrize(
    ("configured", "at_index", "environ", "machine", "arguments", "looks"),
    [
        (BOTH, CPU, {}, LINUX, ("--no-deps", "torch==2.13.0+cpu"), ["configured"]),
        (CUDA, CPU, {}, LINUX, ("--no-deps", "--index-url", THEIRS, "torch==2.13.0+cpu"),
         ["configured", THEIRS]),
        (set(), CPU, {}, LINUX, ("--no-deps", "--index-url", THEIRS, "torch==2.13.0+cpu"),
         ["configured", THEIRS]),
        (CUDA, set(), {}, LINUX, PLAIN, ["configured", THEIRS]),
        (BOTH, CPU, {"TORCH": "cuda"}, LINUX, PLAIN, []),
        (BOTH, CPU, {"TORCH_INDEX": OURS}, LINUX,
         ("--no-deps", "--index-url", OURS, "torch==2.13.0+cpu"), [OURS]),
        (CUDA, CPU, {}, MAC, PLAIN, []),
    ],
)  # fmt: skip
def test_the_roads_in_their_order(
    configured: set[str],
    at_index: set[str],
    environ: Mapping[str, str],
    machine: Machine,
    arguments: tuple[str, ...],
    looks: list[str],
) -> None:
    offers = Offers(configured, at_index)
    road = torch_road("2.13.0", offers, environ, machine)
    assert road.arguments == arguments
    assert offers.looks == looks
    expected = arguments == PLAIN and machine is LINUX and not environ
    assert ("2.7 GB" in road.told and "TORCH_INDEX=" in road.told) == expected


@pytest.mark.parametrize(
    ("configured", "at_index", "environ", "said"),
    [
        ({"2.12.0"}, {"2.12.0+cpu"}, {}, "Nobody offers torch 2.13.0 .*PYTHON=.*TORCH_INDEX="),
        (BOTH, {"2.12.0+cpu"}, {"TORCH_INDEX": OURS}, f"TORCH_INDEX={OURS} has no torch==2.13.0"),
        (BOTH, CPU, {"TORCH": "gpu"}, "TORCH=gpu is not known: say TORCH=cuda"),
    ],
)
def test_where_no_road_leads(
    configured: set[str], at_index: set[str], environ: Mapping[str, str], said: str
) -> None:
    with pytest.raises(SystemExit, match=said):
        torch_road("2.13.0", Offers(configured, at_index), environ, LINUX)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (Machine("Windows", "AMD64"), "Windows.*WSL2"),
        (Machine("CYGWIN_NT-10.0", "x86_64"), "WSL2"),
        (Machine("Darwin", "x86_64", "15.1"), "Apple silicon"),
        (Machine("Darwin", "arm64", "13.6"), "macOS 13.6 .*macOS 14 or newer"),
    ],
)
def test_machines_without_torch_are_told_so(machine: Machine, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        machine.require()
    LINUX.require()
    MAC.require()


def test_every_road_ends_in_the_locked_environment(
    root: Path, pypi: Index, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """CUDA's packages come along from PyPI alone; a second run asks no index anything."""
    set_up(MAIN, root, {})
    everything = {"numpy": "1.0", "torch": "2.13.0", "nvidia": "13.0", "inpatient": "1.0"}
    assert installed(root) == everything
    out = capfd.readouterr().out
    assert "2.7 GB" in out and ".venv is ready" in out

    asked = len(pypi.asked)
    set_up(MAIN, root, {})
    assert len(pypi.asked) == asked and capfd.readouterr().out == ""

    # moved: its scripts would start the old place's Python
    other = root.rename(tmp_path / "moved")
    cpu = Index(tmp_path / "cpu")
    wheel(cpu.folder, "torch", "2.13.0+cpu")
    monkeypatch.setattr(module, "CPU_INDEX", cpu.url)
    set_up(MAIN, other, {})
    assert installed(other) == {"numpy": "1.0", "torch": "2.13.0+cpu", "inpatient": "1.0"}
    assert "2.7 GB" not in capfd.readouterr().out

    # a changed lock is followed in place, without torch being asked for again
    digest = wheel(pypi.folder, "numpy", "1.1")
    (other / "requirements.lock").write_text(f"numpy==1.1 --hash=sha256:{digest}\n")
    cpu.close()
    set_up(MAIN, other, {})
    assert installed(other) == {"numpy": "1.1", "torch": "2.13.0+cpu", "inpatient": "1.0"}

    set_up(MAIN, other, {"TORCH": "cuda"})
    assert installed(other) == everything | {"numpy": "1.1"}
    asked = len(pypi.asked)
    set_up(MAIN, other, {})  # which need not be said each time
    assert len(pypi.asked) == asked


def test_without_a_network_it_says_so_and_what_stands_stays(
    root: Path, pypi: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port where nobody listens, then one where somebody does but never answers."""
    audit = Environment(".venv", "requirements.lock", torch=False, project=False)
    set_up(audit, root, {})
    (root / "requirements.lock").write_text("numpy==1.2 --hash=sha256:" + "0" * 64 + "\n")
    for hangs in (False, True):
        if hangs:
            pypi.hangs_at = "/"
        else:
            monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
        started = time.monotonic()
        with pytest.raises(SystemExit, match=r"No package index answers.*network, or a mirror"):
            set_up(audit, root, {})
        assert time.monotonic() - started < 30
        assert installed(root) == {"numpy": "1.0"}
        monkeypatch.setenv("PIP_INDEX_URL", pypi.url)


def test_a_wheel_that_is_not_the_locked_one_is_refused(
    root: Path, pypi: Index, capfd: pytest.CaptureFixture[str]
) -> None:
    audit = Environment(".venv", "requirements.lock", torch=False, project=False)
    set_up(audit, root, {})
    wheel(pypi.folder, "numpy", "1.1")
    (root / "requirements.lock").write_text("numpy==1.1 --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(SystemExit, match=r"could not finish `pip install .*--require-hashes"):
        set_up(audit, root, {})
    assert "DO NOT MATCH THE HASHES" in capfd.readouterr().err
    assert installed(root) == {"numpy": "1.0"}
    assert module.Mark.read(root / ".venv" / ".ready") is None  # begun, so made anew next time


def test_a_killed_run_is_not_taken_for_a_finished_one(root: Path, pypi: Index) -> None:
    code = (
        "import os; from pathlib import Path\n"
        "from experiments.environment import Environment, set_up\n"
        f"set_up(Environment('.venv', 'requirements.lock', torch=False), Path({str(root)!r}), {{}})"
    )
    pypi.hangs_at = ".whl"
    first = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)
    while not any(".whl" in path for path in pypi.asked):
        assert first.poll() is None
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    pypi.hangs_at = ""
    leftover = root / ".venv" / "half-made"
    leftover.write_text("")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert installed(root) == {"numpy": "1.0", "inpatient": "1.0"}
    assert not leftover.exists()


def test_a_finished_environment_that_broke_and_is_interrupted_is_not_taken_for_finished(
    root: Path, pypi: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Python went away with an upgrade; the run that makes it anew is interrupted."""
    audit = Environment(".venv", "requirements.lock", torch=False, project=False)
    python = root / ".venv" / "bin" / "python"
    set_up(audit, root, {})
    python.unlink()

    def interrupted(folder: Path, **options: bool) -> None:
        python.parent.mkdir()
        python.symlink_to(sys.executable)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(venv, "create", interrupted)
        with pytest.raises(KeyboardInterrupt):
            set_up(audit, root, {})
    set_up(audit, root, {})
    assert installed(root) == {"numpy": "1.0"}


def test_somebody_elses_folder_is_left_alone(root: Path) -> None:
    (root / ".venv").mkdir()
    (root / ".venv" / "theirs").write_text("")
    with pytest.raises(SystemExit, match=r"not made by this set-up.*move or delete"):
        set_up(MAIN, root, {})
    assert (root / ".venv" / "theirs").exists()


def test_a_link_is_not_followed(root: Path, tmp_path: Path) -> None:
    """Emptying it would empty an environment that somebody shares."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / ".ready").write_text("")
    (root / ".venv").symlink_to(shared)
    with pytest.raises(SystemExit, match=r"\.venv is a link.*remove it"):
        set_up(MAIN, root, {})
    assert [path.name for path in shared.iterdir()] == [".ready"]


def test_a_python_that_makes_no_environments_is_told_what_to_install(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    monkeypatch.setitem(sys.modules, "venv", None)
    with pytest.raises(SystemExit, match=r"apt install python3\.\d+-venv.*PYTHON="):
        set_up(MAIN, root, {})


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_the_locks_are_complete_but_for_torch(environment: Environment) -> None:
    lock = (ROOT / environment.lock).read_text()
    names = {line.split("==")[0] for line in lock.splitlines() if not line.startswith((" ", "#"))}
    assert module._ANCHOR in names
    bound = ("torch", "torchvision", "torchaudio")  # one build, to the digit; torchmetrics is not
    assert not {n for n in names if n in bound or n.startswith(("nvidia", "cuda", "triton"))}
    assert "://" not in lock
    for package in re.split(r"\n(?=\w)", lock):
        assert "--hash=sha256:" in package, package


def test_one_file_names_one_index() -> None:
    """No other registry's host stands anywhere, so whatever pip is configured for is used."""
    assert module.CPU_INDEX == "https://download.pytorch.org/whl/cpu"
    hosts = ("download.pytorch.org", "pypi.org", "pythonhosted.org", "anaconda.org")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    texts = (".py", ".md", ".toml", ".txt", ".in", ".lock", ".cff", "Makefile", "run")
    naming = {
        (name, host)
        for name in listed
        if name.endswith(texts) and name != "tests/experiments/test_environment.py"
        for host in hosts
        if host in (ROOT / name).read_text()
    }
    assert naming == {("experiments/environment.py", "download.pytorch.org")}


def test_two_at_once_make_one_environment(root: Path, pypi: Index) -> None:
    code = (
        "from pathlib import Path\n"
        "from experiments.environment import Environment, set_up\n"
        "set_up(Environment('.venv', 'requirements.lock', torch=False, project=False), "
        f"Path({str(root)!r}), {{}})"
    )
    start = partial(
        subprocess.Popen, [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    pypi.hangs_at = ".whl"
    first = start()
    while not any(".whl" in path for path in pypi.asked):
        assert first.poll() is None
        time.sleep(0.05)
    second = start()
    assert second.stdout is not None
    waiting = second.stdout.readline()
    pypi.released.set()
    said = [one.communicate(timeout=120)[0] for one in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert "Another set-up is at work here" in waiting
    assert "is ready" in said[0] and "is ready" not in said[1]
    assert installed(root) == {"numpy": "1.0"}
