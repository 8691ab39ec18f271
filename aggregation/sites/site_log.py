"""A site's own log: JSON lines about messages, never about patients.

What a line holds is public or the site's own: names, kinds, numbers of rounds, sizes, times, and
why something was refused. Of an error that nobody foresaw it holds the kind and the place in the
code, and not its words, which could quote a value.
"""

import json
import os
import time
import traceback
from pathlib import Path
from typing import Any

from aggregation.sites.site import TableRefusedError
from privacy._foreign import printable
from privacy.errors import InpatientError

__all__ = ["SiteLog", "place_of"]

_LONGEST = 500  # characters of a reason


def place_of(error: BaseException) -> str:
    """Return where in the code an error was raised, innermost first: files and lines, no words."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames[::-1])


class SiteLog:
    """Appends lines to a file (mode 600), opened for each: it may be rotated at any time.

    Guarantees (each is a test in ``tests/aggregation/sites/test_daemon.py``):
      - a line is one JSON object, whatever a stranger's message said;
      - of an error that is none of the project's own, no word is written.

    Args:
      path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def say(self, event: str, **facts: Any) -> None:
        """Write a line; a disk that is full stops no message."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"time": stamp, "event": event, "pid": os.getpid(), **facts})
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags, 0o600)
        except OSError:
            return
        try:
            os.write(descriptor, line.encode() + b"\n")
        except OSError:
            return
        finally:
            os.close(descriptor)

    def fault(self, event: str, error: BaseException, **facts: Any) -> None:
        """Write a line about an error: its words only where they are the project's own."""
        error_facts = {"kind": type(error).__name__}
        if isinstance(error, TableRefusedError):
            pass  # what a table holds is a patient's
        elif isinstance(error, InpatientError):
            error_facts["reason"] = printable(str(error))[:_LONGEST]
        else:
            error_facts["place"] = place_of(error)
        self.say(event, **error_facts, **facts)
