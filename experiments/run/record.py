"""Records: what a run measured, with everything that names it, written once and whole.

A record is ``{"config", "metrics", "stamp"}``. ``config`` alone names it: the file's name is the
first 12 hex digits of SHA-256 over the RFC 8785 form of ``config`` (so no clock and no duration may
stand there). ``stamp`` says which code made it. Durations go into a sidecar, not into the record.
"""

import dataclasses
import hashlib
import itertools
import json
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from privacy.errors import CorruptMessageError, InvalidInputError

__all__ = [
    "Record",
    "config_hash",
    "read_records",
    "stamp",
    "writable_folder",
    "write_json",
    "write_new",
]

_ROOT = Path(__file__).resolve().parents[2]
_ROW = re.compile(r"\[\n\s*((?:-?[\d.e+-]+,?\s+)+)\]")  # a line break stands in no JSON string


@dataclass(frozen=True)
class Record:
    """One point of an experiment.

    Attributes:
      config: What names the point; plain JSON without NaN.
      metrics: What was measured, every name with its unit; None where it was not measured.
      stamp: Commit, whether the tree was changed, digest of the lock, Python's version.
    """

    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    stamp: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return config_hash(self.config)

    def write(self, folder: Path) -> Path:
        """Write ``<hash>.json`` into ``folder``, all or nothing."""
        return write_json(folder / f"{self.name}.json", dataclasses.asdict(self))


def config_hash(config: Mapping[str, Any]) -> str:
    """Return the 12 hex digits that name a config."""
    return hashlib.sha256(rfc8785.dumps(dict(config))).hexdigest()[:12]


def read_records(folder: Path) -> list[Record]:
    """Read all records of a folder, in the order of their names.

    Raises:
      CorruptMessageError: A file is not a record, or its name is not its config's hash.
    """
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            record = Record(**json.loads(path.read_text(encoding="utf-8")))
            if record.name != path.stem:
                raise ValueError(f"its config hashes to {record.name}")
        except (ValueError, TypeError, RecursionError, OSError) as error:
            raise CorruptMessageError(
                f"{path} is not a record: {error}. Delete it and run the command again."
            ) from error
        records.append(record)
    return records


def write_json(path: Path, content: object) -> Path:
    """Write JSON with sorted keys through a temporary file, so that no half of it is ever seen.

    A list of numbers stands on one line: a matrix is read, and compared, row by row.
    """
    partial = path.with_suffix(path.suffix + ".tmp")
    try:
        text = json.dumps(content, sort_keys=True, indent=1, allow_nan=False)
        text = _ROW.sub(lambda row: f"[{' '.join(row[1].split())}]", text) + "\n"
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InvalidInputError(
            f"Can't write {path}: {error.strerror}. Choose another folder with --out."
        ) from error
    return path


def write_new(*files: tuple[Path, bytes]) -> tuple[Path, ...]:
    """Write files that belong together; what is there already with other content stays.

    The same content again is left alone under its name; other content gets the next number.
    """
    paths, contents = zip(*files, strict=True)
    for number in itertools.count(1):
        tail = "" if number == 1 else f"-{number}"
        numbered = tuple(p.with_name(f"{p.stem}{tail}{p.suffix}") for p in paths)
        there = [p.read_bytes() if p.exists() else None for p in numbered]
        if all(old is None or old == new for old, new in zip(there, contents, strict=True)):
            break
    for target, content in zip(numbered, contents, strict=True):
        partial = target.with_name(target.name + ".tmp")
        try:
            partial.write_bytes(content)
            partial.replace(target)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise InvalidInputError(
                f"Can't write {target}: {error.strerror}. Choose another folder with --out."
            ) from error
    return numbered


def writable_folder(path: Path) -> Path:
    """Make the folder and try it, so that a run fails before its first hour, not after it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".probe"
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)  # of another shard, perhaps
    except OSError as error:
        raise InvalidInputError(
            f"Can't write into {path}: {error.strerror}. Choose another folder with --out."
        ) from error
    return path


def stamp() -> dict[str, Any]:
    """Say which code runs: commit, whether it was changed since, digest of the lock, Python.

    ``results/`` is git-ignored, so a sweep does not mark itself as changed.
    """
    lock = _ROOT / "requirements.lock"
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "dirty": _git("status", "--porcelain") != "",
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else "",
        "python": platform.python_version(),
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, no shell
            ["git", *arguments],  # noqa: S607 - the user's git, wherever it is
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
