"""Make the environments that the Makefile's targets run in, with the standard library alone.

    python3 -P experiments/environment.py [main | audit | bench | bench-pfl | bench-tabular-gia |
        anonymity]

An environment is torch first, then a complete lock whose every file has a digest, then the project,
then ``pip check``. torch is the one package outside the locks: the wheels for CPUs and the wheels
for CUDA have other dependencies, and who wants which cannot be told from a lock. ``torch_road``
says where it comes from. Everything that can fail ends in one sentence on the standard error and
status 1; nothing waits for a network that is not there.
"""

import dataclasses
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

__all__ = ["ENVIRONMENTS", "Environment", "Machine", "Road", "main", "set_up", "torch_road"]

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_ANCHOR = "numpy"  # in every lock: an index that has none is no index, or is not reached
_ANSWER_SECONDS = 5  # for an index to answer; pip counts from each byte on
_LOOK_SECONDS = 30  # for a whole look, as names may resolve slowly

Versions = Callable[..., set[str]]


@dataclass(frozen=True)
class Environment:
    """What stands in one environment.

    Attributes:
      folder: Its place, relative to the checkout.
      lock: The file with every package and its digests, torch and its CUDA excepted.
      torch: Whether torch is there.
      project: Whether the project is, as an editable install.
    """

    folder: str
    lock: str
    torch: bool = True
    project: bool = True


ENVIRONMENTS: Mapping[str, Environment] = {
    "main": Environment(".venv", "requirements.lock"),
    "audit": Environment(".venv-audit", "requirements-audit.lock", torch=False, project=False),
    "bench": Environment(".venv-bench", "requirements-bench.lock"),
    # pfl-research cannot share an environment with our accountant: it is started as a process.
    "bench-pfl": Environment(".venv-bench-pfl", "requirements-bench-pfl.lock", project=False),
    "bench-tabular-gia": Environment(
        ".venv-bench-tabular-gia", "requirements-bench-tabular-gia.lock"
    ),
    # Nor can anjana, which pins another numpy.
    "anonymity": Environment(
        ".venv-anonymity", "requirements-anonymity.lock", torch=False, project=False
    ),
}


@dataclass(frozen=True)
class Machine:
    """The system and processor, and macOS's version, as Python names them."""

    system: str
    processor: str
    macos: str = ""

    @classmethod
    def this(cls) -> "Machine":
        """Return the machine that runs this."""
        return cls(platform.system(), platform.machine(), platform.mac_ver()[0])

    def require(self) -> None:
        """Stop where torch has no wheel: one sentence."""
        if self.system == "Linux":
            return
        if self.system != "Darwin":
            raise SystemExit(
                f"Inpatient runs on Linux and on macOS, not on {self.system or 'this system'}; on "
                "Windows, run `make` inside WSL2."
            )
        if self.processor != "arm64" or int(self.macos.split(".")[0] or 0) < 14:
            raise SystemExit(
                f"This is macOS {self.macos} with a Python for {self.processor}: torch needs macOS "
                "14 or newer on Apple silicon, and a Python for arm64 (PYTHON=/path/to/python3)."
            )


@dataclass(frozen=True)
class Road:
    """Where torch comes from: pip's arguments, and what the user is told."""

    arguments: tuple[str, ...]
    told: str


def torch_road(
    wanted: str, versions: Versions, environ: Mapping[str, str], machine: Machine
) -> Road:
    """Choose where torch comes from, asking no index that need not be asked.

    On Linux: the build for CPUs of whatever pip is configured for; else of PyTorch's own index of
    such builds; else PyPI's build, which brings CUDA with it. On macOS PyPI's is for CPUs.

    Args:
      wanted: torch's version, without what follows a "+".
      versions: The versions of a package that pip sees, given pip's arguments.
      environ: ``TORCH=cuda`` takes PyPI's build at once. ``TORCH_INDEX`` names another index of
        builds for CPUs; it is then the only one.
      machine: Where the environment is made.

    Raises:
      SystemExit: No road leads to torch, or one of the two variables says nothing that is known.
    """
    index = environ.get("TORCH_INDEX", "")
    plain, for_cpus = f"torch=={wanted}", f"torch=={wanted}+cpu"
    if _wants_cuda(environ) or machine.system == "Darwin":
        return Road((plain,), f"torch {wanted}: PyPI's build.")
    at_index = ("--no-deps", "--index-url", index or CPU_INDEX, for_cpus)
    if index:
        if f"{wanted}+cpu" not in versions("torch", "--index-url", index):
            raise SystemExit(
                f"TORCH_INDEX={index} has no {for_cpus} for this Python and machine, or cannot be "
                "reached: name another, or leave it out."
            )
        return Road(at_index, f"torch {wanted}: the build for CPUs from {index}.")
    configured = versions("torch")
    if f"{wanted}+cpu" in configured:
        return Road(("--no-deps", for_cpus), f"torch {wanted}: pip's own build for CPUs.")
    if f"{wanted}+cpu" in versions("torch", "--index-url", CPU_INDEX):
        return Road(at_index, f"torch {wanted}: the build for CPUs from {CPU_INDEX}.")
    if wanted not in configured:
        raise SystemExit(
            f"Nobody offers torch {wanted} for Python {platform.python_version()} on "
            f"{machine.system} {machine.processor}: it has builds for Linux with glibc 2.28 or "
            "newer on x86_64 and aarch64. Another Python: PYTHON=python3.13; another index: "
            "TORCH_INDEX=URL."
        )
    return Road(
        (plain,),
        f"torch {wanted}: no build for CPUs is in reach (pip's configuration, {CPU_INDEX}), so it "
        "is PyPI's with CUDA: 2.7 GB to download, 6.3 GB on the disk. To avoid that press Ctrl-C "
        f"and name an index that has {for_cpus}: make setup TORCH_INDEX=URL",
    )


def _wants_cuda(environ: Mapping[str, str]) -> bool:
    backend = environ.get("TORCH", "")
    if backend not in ("", "cuda"):
        raise SystemExit(f"TORCH={backend} is not known: say TORCH=cuda, or nothing.")
    return backend == "cuda"


@dataclass(frozen=True)
class Mark:
    """What a finished environment was made from: the content of its ``.ready``.

    Attributes:
      folder: Its absolute path; scripts in a folder that was moved start the old one's Python.
      python: Python's version without the last number.
      torch: torch's version, "" where it is not wanted.
      cuda: Whether ``TORCH=cuda`` was asked for.
      files: A digest of the lock and of what pyproject.toml says of the project.
    """

    folder: str
    python: str
    torch: str
    cuda: bool
    files: str

    @classmethod
    def of(cls, environment: Environment, root: Path, environ: Mapping[str, str]) -> "Mark":
        """Return what the environment would be made from now."""
        digest = hashlib.sha256((root / environment.lock).read_bytes())
        if environment.project:
            said = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
            build_tables = (
                said.get("build-system"),
                said["project"],
                said["tool"].get("setuptools"),
            )
            digest.update(json.dumps(build_tables, sort_keys=True).encode())
        wanted = (root / "torch.txt").read_text(encoding="utf-8").strip().removeprefix("torch==")
        return cls(
            folder=str(root / environment.folder),
            python="{}.{}".format(*sys.version_info),
            torch=wanted if environment.torch else "",
            cuda=_wants_cuda(environ) and environment.torch,
            files=digest.hexdigest(),
        )

    @classmethod
    def read(cls, path: Path) -> "Mark | None":
        """Read what a run left; None if it did not finish."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Say that the environment is finished."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", encoding="utf-8")


def set_up(environment: Environment, root: Path, environ: Mapping[str, str]) -> None:
    """Make an environment, or bring it up to date, or find in a moment that it is.

    What an interrupted run left, or another Python, place or torch, is made anew. If only the lock
    or the project changed it is brought up to date in place, and stays if no index answers.

    Raises:
      SystemExit: Something is missing or failed; the text says what, and the way out.
    """
    folder = root / environment.folder
    mark, python = folder / ".ready", folder / "bin" / "python"
    if environment.torch:
        Machine.this().require()
    if folder.is_symlink():  # an environment that others use: never emptied from here
        raise SystemExit(f"{folder} is a link, which set-up does not follow: remove it.")
    if folder.exists() and not mark.exists():
        raise SystemExit(
            f"{folder} is there but was not made by this set-up (it holds no {mark.name}): move or "
            "delete it, then run make again."
        )
    folder.mkdir(exist_ok=True)
    with _locked(mark):
        made, wanted = Mark.read(mark), Mark.of(environment, root, environ)
        if made and made.cuda:  # who asked for CUDA once need not say so each time
            wanted = dataclasses.replace(wanted, cuda=True)
        if not os.access(python, os.X_OK):
            made = None
        if made == wanted:
            return
        started, pip = time.monotonic(), Pip(python)
        kept = made is not None and dataclasses.replace(made, files=wanted.files) == wanted
        if not kept:
            mark.write_text("unfinished\n", encoding="utf-8")
            _make_venv(folder, spare=mark)
        if not pip.versions(_ANCHOR):
            raise SystemExit(
                f"No package index answers: pip, as it is configured here, finds no {_ANCHOR}. "
                "Set-up needs a network, or a mirror in pip's configuration; then run make again."
            )
        road = None
        if environment.torch and not kept:
            road = torch_road(wanted.torch, pip.versions, environ, Machine.this())
        mark.write_text("unfinished\n", encoding="utf-8")
        if road:
            print(road.told, flush=True)
            pip.run("install", *road.arguments, quiet=not sys.stdout.isatty())
        print(f"Installing {environment.lock} into {environment.folder} ...", flush=True)
        lock = str(root / environment.lock)
        pip.run("install", "--no-deps", "--require-hashes", "-r", lock)
        if environment.project:
            pip.run("install", "--no-deps", "--no-build-isolation", "-e", str(root))
        pip.run("check")
        wanted.write(mark)
        print(f"{environment.folder} is ready ({time.monotonic() - started:.0f} s).", flush=True)


@contextmanager
def _locked(mark: Path) -> Iterator[None]:
    """Let one set-up at a time work on a folder; a second waits, and then finds it made."""
    import fcntl  # not on Windows, which has been told so by now

    with mark.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another set-up is at work here; waiting for it.", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_venv(folder: Path, spare: Path) -> None:
    """Empty the folder, all but one file, and make a virtual environment there."""
    print(f"Making {folder.name} with Python {platform.python_version()} ...", flush=True)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            rmtree(path)
        elif path != spare:
            path.unlink()
    try:
        import venv

        venv.create(folder, with_pip=True, symlinks=True)
    except (ImportError, ValueError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            f"{sys.executable} can't make a virtual environment: {error}. On Debian and Ubuntu run "
            f"`apt install python{'{}.{}'.format(*sys.version_info)}-venv`; or name another Python "
            "(make PYTHON=/path/to/python3)."
        ) from None


@dataclass(frozen=True)
class Pip:
    """An environment's pip."""

    python: Path

    def run(self, *arguments: str, quiet: bool = True) -> None:
        """Run pip; its own lines say what failed, and a sentence follows."""
        command = [*self._command, *arguments, *(("-q",) if quiet else ())]
        if subprocess.run(command, env=_pip_environ()).returncode:  # noqa: S603 - no shell
            raise SystemExit(
                f"pip could not finish `pip {' '.join(arguments)}`: see its lines above, then run "
                "make again (what is unfinished is made anew)."
            )

    def versions(self, package: str, *arguments: str) -> set[str]:
        """Return the versions that fit this Python and machine; none if no index answers soon."""
        look = ["index", "versions", package, *arguments]
        limits = ["--timeout", str(_ANSWER_SECONDS), "--retries", "0"]
        try:
            done = subprocess.run(  # noqa: S603 - no shell
                [*self._command, *look, *limits],
                env=_pip_environ(),
                capture_output=True,
                text=True,
                timeout=_LOOK_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return set()
        lines = (line.partition("Available versions:") for line in done.stdout.splitlines())
        return {version.strip() for _, _, tail in lines for version in tail.split(",")} - {""}

    @property
    def _command(self) -> list[str]:
        # Isolated: a PYTHONPATH of the user's must not pass for what is installed here.
        return [str(self.python), "-I", "-m", "pip"]


def _pip_environ() -> dict[str, str]:
    """The user's environment and configuration, but for what would hang or miss the folder."""
    never = {"PIP_NO_INPUT": "1", "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**os.environ, **never}


def main() -> None:
    """Set up the environment that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else "main"
    try:
        set_up(ENVIRONMENTS[name], Path(__file__).resolve().parents[1], os.environ)
    except KeyboardInterrupt:
        raise SystemExit("Interrupted: run make again, what is unfinished is made anew.") from None
    except OSError as error:
        raise SystemExit(f"Set-up failed: {error}.") from None


if __name__ == "__main__":
    main()
