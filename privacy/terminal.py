"""What a command says when something is wrong, and with which status it ends: one place for all."""

import contextlib
import io
import os
import sys
from collections.abc import Callable

from privacy._foreign import printable
from privacy.errors import InpatientError

__all__ = ["exit_status"]


def exit_status(name: str, work: Callable[[], int]) -> int:
    """Do a command's work; what goes wrong is one paragraph on stderr, never a traceback.

    Args:
      name: What the paragraph begins with.
      work: Parses, checks and runs; returns the status, or leaves by ``SystemExit`` (help).

    Returns:
      The work's own status; 2 for a mistake of the user's or a machine that can't go on (a full
      disk); 130 where it was interrupted, 141 where nobody reads what it prints. Only a fault of
      the program's own is raised.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without Greek gets \\u03b5 for it
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            status = work()
        except SystemExit as exit_request:  # help, and what can't be parsed
            if isinstance(exit_request.__context__, BrokenPipeError):  # rich turns it into an exit
                raise exit_request.__context__ from None
            status = exit_request.code if isinstance(exit_request.code, int) else 0
        sys.stdout.flush()
        return status
    except InpatientError as error:
        return _say(name, str(error))
    except KeyboardInterrupt:
        _say(
            name, "interrupted; what was finished is kept, and the same command goes on from there."
        )
        return 130
    except BrokenPipeError:
        _silence()
        return 141
    except OSError as error:
        where = f" at {error.filename}" if error.filename else ""
        status = _say(
            name,
            f"the machine refuses{where}: {error.strerror or error}. Make room there, or choose "
            "another folder with --out.",
        )
        _silence()
        return status
    except MemoryError:
        return _say(name, "there is not enough memory. Ask for less at a time, or fewer --jobs.")


def _say(name: str, sentence: str) -> int:
    with contextlib.suppress(OSError):  # nobody reads stderr either
        print(f"{name}: {printable(sentence)}", file=sys.stderr, flush=True)
    return 2


def _silence() -> None:
    """Let nothing be written to stdout any more, so that Python's own end does not fail on it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
