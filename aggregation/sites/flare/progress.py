"""How far the courier's job is: a file that it writes again and again, and a supervisor reads.

It holds what sites told in public, and no run rests on it: lost, it is written anew.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aggregation.sites.courier import Courier
from privacy._foreign import parse_json, read_file
from privacy.errors import CorruptMessageError

__all__ = ["Progress", "ProgressWriter"]

PROGRESS_FILE = "carried.json"
_EVERY = 0.5  # seconds
_LARGEST = 1 << 22
_KINDS: Mapping[str, type] = {
    "agreed": str, "job": str, "beat": int, "ended": bool, "why": str, "states": dict,
    "carried": dict, "refusals": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Progress:
    """What a courier's job told last.

    Attributes:
      agreed: Digest of what the sites have agreed to.
      job: Name of the job.
      beat: Another number each time.
      ended: Whether the run has ended at every site.
      why: Why the job ended before that, or nothing.
      states: What each site told of itself.
      carried: Bytes by address.
      refusals: Of messages, by site.
    """

    agreed: str
    job: str
    beat: int
    ended: bool = False
    why: str = ""
    states: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    carried: Mapping[str, int] = field(default_factory=dict)
    refusals: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "Progress | None":
        """Read what lies in the server's folder; None: no job has told anything.

        Raises:
          CorruptMessageError: Something else lies there.
        """
        path = folder / PROGRESS_FILE
        if not path.exists():
            return None
        fields = parse_json(read_file(path, most=_LARGEST), what=PROGRESS_FILE, most=_LARGEST)
        if (
            not isinstance(fields, dict)
            or fields.keys() != _KINDS.keys()
            or not all(type(fields[name]) is kind for name, kind in _KINDS.items())
        ):
            raise CorruptMessageError(f"{path} is not what a courier writes; delete it.")
        return cls(**fields)


class ProgressWriter:
    """Writes ``Progress`` into the server's folder.

    Args:
      folder: The folder.
      job: Name of the courier's job.
    """

    def __init__(self, folder: Path, job: str) -> None:
        self._path, self._job = folder / PROGRESS_FILE, job
        self._written = -_EVERY

    def look(self, courier: Courier) -> None:
        """Write how the courier is, unless that was done a moment ago."""
        if time.monotonic() - self._written >= _EVERY:
            self.write(courier)

    def write(self, courier: Courier, *, ended: bool = False, why: str = "") -> None:
        """Write how the courier is."""
        self._written = time.monotonic()
        progress = Progress(
            courier.agreed, self._job, time.monotonic_ns(), ended, why, dict(courier.states),
            dict(courier.carried), dict(courier.refusals),
        )  # fmt: skip
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        beside.write_text(json.dumps(vars(progress), sort_keys=True), encoding="utf-8")
        beside.replace(self._path)
