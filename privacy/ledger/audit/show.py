"""A ledger for human eyes; nothing is verified here."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privacy._foreign import printable, quoted
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger.log.canonical import to_number
from privacy.ledger.log.entries import Entry, parse, read_lines
from privacy.ledger.rounding import up

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["describe", "event_words", "rows", "table"]


def read_entries(path: Path) -> Iterator[Entry]:
    """Entries of a ledger's file, in order.

    Raises:
      InvalidInputError: No such file.
      CorruptMessageError: A line is not an entry.
    """
    if not os.path.lexists(path):
        raise InvalidInputError(f"There is no ledger at {quoted(path)}.")
    number = 1
    try:
        for line in read_lines(path):
            yield parse(line)
            number += 1
    except CorruptMessageError as error:
        raise CorruptMessageError(f"{quoted(path)}, line {number}: {error}") from error


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Entries as plain JSON."""
    for entry in read_entries(path):
        yield {
            "sequence": entry.sequence,
            "time": entry.time,
            "kind": entry.kind,
            "content": entry.content,
            "digest": entry.digest,
        }


def table(path: Path) -> "Table":
    """A table, one row an entry."""
    from rich.table import Table
    from rich.text import Text

    entry_table = Table(title=Text(printable(str(path))), title_justify="left")
    for heading in ("entry", "time (UTC)", "kind", "what"):
        entry_table.add_column(heading, no_wrap=heading != "what", overflow="fold")
    for entry in read_entries(path):
        entry_table.add_row(
            # as Text: what stands in a file is no markup
            Text(str(entry.sequence)),
            Text(entry.time[:19].replace("T", " ")),
            Text(entry.kind),
            Text(printable(describe(entry))),
        )
    return entry_table


def describe(entry: Entry) -> str:
    """One entry in words."""
    content = entry.content
    match entry.kind:
        case "opening":
            allowed = ", ".join(
                f"epsilon {b['epsilon']} at delta {b['delta']:g} for each {b['unit']}"
                for b in content["budgets"]
            )
            return f"{entry.hospital} allows {allowed}"
        case "enrolled":
            return f"{', '.join(sorted(content['enrolled']))} may counter-sign from here on"
        case "plan":
            laps = content["repeats"]
            steps = " then ".join(
                f"{step['count'] * laps} x {step['kind']} ({event_words(step['event'])})"
                for step in content["schedule"]
            )
            return f"{steps}: {content['filter']}{_epsilon(content)}"
        case "release":
            return (
                f"{content['kind']} of round {content['round']} "
                f"({event_words(content['event'])}): {content['filter']}{_epsilon(content)}"
            )
        case "abandoned":
            return (
                f"plan {content['plan'][:12]} abandoned ({content['reason']}): "
                f"{_FREED[content['filter']]}{_epsilon(content)}"
            )
        case "imported":
            spent = [f"{s['count']} x {event_words(s['event'])}" for s in content["schedule"]]
            spent += [f"epsilon {c['epsilon']} at delta {c['delta']:g}" for c in content["claims"]]
            elsewhere = f"spent elsewhere ({content['source']}): {', '.join(spent)}"
            return f"{elsewhere}: {content['filter']}{_epsilon(content)}"
        case "sealed":
            return f"{content['bytes']} bytes of release {content['release']}"
        case "refusal":
            return f"{content['what']} refused: {content['why']}"
        case "recovered":
            return f"{content['bytes']} bytes of a torn line kept in {content['moved_to']}"
        case "checkpoint":
            return f"the {content['size']} entries before, root {content['root'][:12]}"
        case "witness":
            head = content["head"]
            return f"saw {head['hospital']} at {head['size']} entries"
        case _:
            head = content["head"]
            return f"{head['size']} entries, by {', '.join(sorted(content['signatures']))}"


_FREED = {
    "unlimited": "nothing is counted",
    "fixed schedule": "freed as if never declared, because nothing had been released",
    "adaptive": "what was not made of it is freed",
    "kept": "nothing is freed, because no proof covers it",
}


def _epsilon(content: Mapping[str, Any]) -> str:
    if "interval" in content:
        return f", epsilon at most {up(to_number(content['interval']['upper']))}"
    if "epsilon" in content:
        return f", epsilon at most {up(to_number(content['epsilon']))} so far"
    return ""


def event_words(event: Mapping[str, Any]) -> str:
    """An event in a few words, its numbers kept."""
    name = str(event["type"]).removesuffix("DpEvent")
    match name:
        case "NonPrivate":
            return "unprotected"
        case "NoOp":
            return "depends on no patient"
        case "SelfComposed":
            return f"{event['count']} x {event_words(event['event'])}"
        case "Composed":
            return " + ".join(event_words(inner) for inner in event["events"])
        case "PoissonSampled":
            return f"{event_words(event['event'])}, Poisson {event['sampling_probability']:.4g}"
        case "RandomAllocation":
            return f"{event_words(event['event'])}, in one of {event['steps']} steps"
        case "SeenAllocation":
            return f"{event_words(event['event'])}, in a step of {event['steps']} that is seen"
    numbers = ", ".join(
        f"{key.replace('_', ' ')} {value:.6g}"
        for key, value in event.items()
        if isinstance(value, int | float)
    )
    spaced = "".join(f" {c}" if c.isupper() else c for c in name).strip()
    words = spaced[:1] + spaced[1:].lower()
    return f"{words}, {numbers}" if numbers else words
