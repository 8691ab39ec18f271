"""NVFLARE's own command line, called where certificates are made; nothing else of it is."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from privacy._foreign import printable
from privacy.errors import InpatientError, RefusedError

__all__ = ["require_nvflare", "run_commands"]

_VERSION = "2.9."
_WITHIN = 300.0  # seconds
# One process for several commands: importing it takes longer than what they do.
_SCRIPT = """
import json, sys
from nvflare.cli import run
for command in json.loads(sys.argv[1]):
    sys.argv = ["nvflare", *command]
    try:
        run("nvflare")
    except SystemExit as end:
        if end.code:
            sys.exit(1)
"""


def require_nvflare() -> None:
    """Refuse where NVFLARE is not installed, or another version of it.

    Raises:
      RefusedError: So it is; the text says what to install.
    """
    try:
        there = version("nvflare")
    except PackageNotFoundError:
        there = ""
    if not there.startswith(_VERSION):
        raise RefusedError(
            f"Between machines NVFLARE {_VERSION}x carries the messages; "
            f"{f'{there} is' if there else 'it is not'} installed here. Install the extra: "
            'pip install "inpatient[deploy]". On one machine nothing needs it.'
        )


def run_commands(commands: Sequence[Sequence[str]]) -> None:
    """Run commands of ``nvflare``, one after the other.

    Args:
      commands: Arguments of each.

    Raises:
      RefusedError: NVFLARE is not installed.
      InpatientError: One of them failed; its own words follow.
    """
    require_nvflare()
    made = [sys.executable, "-c", _SCRIPT, json.dumps([list(one) for one in commands])]
    try:
        # It writes paths and digests of what it made under HOME: into no user's home.
        with tempfile.TemporaryDirectory() as home:
            done = subprocess.run(  # noqa: S603 - ours
                made, cwd=home, env=os.environ | {"HOME": home}, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, timeout=_WITHIN,
            )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InpatientError(f"NVFLARE's commands did not end: {type(error).__name__}.") from error
    if done.returncode:
        words = printable(" ".join((done.stdout + done.stderr).split()))[-600:]
        raise InpatientError(f"NVFLARE made no certificates: {words}")
