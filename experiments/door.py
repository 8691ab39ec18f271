"""The door of the command line: what is wrong with a command is found before its work begins.

A field's name says what it must be, in every command and in every action of a command: a new one
is checked without a line here. What only a command knows (which names it takes) is its own
``check``; folders come last, so that a command that is refused leaves none behind.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from privacy._validate import natural
from privacy.errors import InvalidInputError

__all__ = ["Checked", "checked", "enter"]

_LARGEST_SEED = 2**31 - 2**20  # a seed's neighbours are drawn from too, and some are 32 bits wide
_MOST_JOBS = 1024  # each is a process
_LEAST: Mapping[str, int] = {
    "seeds": 1,
    "studies": 2,
    "restarts": 1,
    "iterations": 1,
    "width": 1,
    "rounds": 1,
    "different": 1,
    "repeats": 1,
    "batches": 1,
    "sizes": 1,
    "hospitals": 1,
    "peer_hospitals": 0,
    "threads": 1,
    "entry": 0,
    "since": 0,
    "size": 0,
}


@runtime_checkable
class Checked(Protocol):
    """A command that knows more of its fields than their names tell."""

    def check(self) -> None:
        """Raise ``InvalidInputError`` for what it can't do; read and write nothing."""
        ...


def enter(command: Any) -> None:
    """Check a command, its action included; then make and try the folder that it writes to.

    Raises:
      InvalidInputError: The first thing that is wrong: value, rule and way out.
    """
    for part in checked(command):
        _check_folders(part)


def checked(command: Any) -> list[Any]:
    """Return the command and its action, whose numbers and names are right; touch no folder.

    Raises:
      InvalidInputError: The first thing that is wrong.
    """
    parts = list(_parts(command))
    for part in parts:
        for name, value in _values(part):
            _check_number(name, value)
        if isinstance(part, Checked):
            part.check()
    return parts


def _parts(command: Any) -> Iterator[Any]:
    """The command and the action within it."""
    yield command
    for _, value in _values(command):
        if is_dataclass(value):
            yield from _parts(value)


def _values(part: Any) -> Iterator[tuple[str, Any]]:
    return ((field.name, getattr(part, field.name)) for field in fields(part))


def _check_number(name: str, value: Any) -> None:
    if value is None:
        return
    if name == "seed" and not 0 <= value <= _LARGEST_SEED:
        raise InvalidInputError(
            f"Expected seed={value} from 0 to {_LARGEST_SEED}; a seed only tells experiments apart."
        )
    if name == "jobs" and value != -1 and not 1 <= value <= _MOST_JOBS:
        raise InvalidInputError(
            f"Expected jobs={value} from 1 to {_MOST_JOBS}, or -1 for every core."
        )
    for one in value if isinstance(value, tuple) else (value,):
        if name in _LEAST:
            natural(
                least=_LEAST[name],
                hint=f"Choose another --{name.replace('_', '-')}.",
                **{name: one},
            )


def _check_folders(part: Any) -> None:
    from experiments.run.record import writable_folder

    if hasattr(part, "data_dir"):
        from experiments.cohorts import load, resolve

        named = getattr(part, "cohort", "") or "heart"
        if named.startswith(getattr(part, "DRAWN_COHORTS", named + " ")):
            named = "heart"  # nothing is read of hospitals that are drawn
        name, place = resolve(named, part.data_dir)
        if place is not None:  # what is packaged is there
            repeats = getattr(part, "TAKES_REPEATS", False)
            load(name, place, repeats=repeats)  # a file that is missing or wrong is named
    out = getattr(part, "out", None)
    if isinstance(out, Path) and not getattr(part, "READS_OUT", False):
        writable_folder(out)
