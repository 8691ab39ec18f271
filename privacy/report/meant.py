"""What an epsilon is for, in words: whose records, in which rounds, under which noise."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from privacy.unit import Unit

__all__ = ["Meant", "Participation", "meant_by"]

_RECORDS = re.compile(r"at most (\d{1,9})")
_ROUNDS = re.compile(r"(the same )?one of (\d{1,9})")
_NOISE = re.compile(r"(banded|buffered) (\d{1,9})")


class Participation(StrEnum):
    """In which rounds patients take part; the value ends the names of its words."""

    ALL = "all"
    POISSON = "poisson"
    ALLOCATED = "allocated"
    SEEN = "seen"
    FIXED = "fixed"
    OTHER = "other"


Rounds = tuple[Participation, int]  # and how many make a pass; 0: there are no passes

_DRAWN = {
    "PoissonSampledDpEvent": Participation.POISSON,
    "RandomAllocationDpEvent": Participation.ALLOCATED,
    "SeenAllocationDpEvent": Participation.SEEN,
    "SampledWithoutReplacementDpEvent": Participation.OTHER,
    "SampledWithReplacementDpEvent": Participation.OTHER,
    "ShuffledBatchesDpEvent": Participation.OTHER,
    "TruncatedSubsampledGaussianDpEvent": Participation.OTHER,
}


@dataclass(frozen=True)
class Meant:
    """What releases were accounted for.

    Attributes:
      unit: Whose coming or going the budget hides.
      records: Rows of one hospital that one patient may have, bounded as one.
      hospitals: Hospitals in which one patient may stand.
      rounds: How patients take part.
      noises: Where noise is correlated over rounds: ``banded`` or ``buffered``, and how many bands
        or buffers.
    """

    unit: Unit = Unit.PATIENT
    records: int = 1
    hospitals: int = 1
    rounds: tuple[Rounds, ...] = ((Participation.ALL, 0),)
    noises: tuple[tuple[str, int], ...] = ()

    def sampling(self, words: Mapping[str, str]) -> str:
        """Return how patients take part, in a language's words (``page.strings``)."""
        phrases = (words[f"sampling_{kind}"].format(steps=steps) for kind, steps in self.rounds)
        return words["stated"].join(phrases)

    def sentences(self, words: Mapping[str, str]) -> list[str]:
        """Return what the epsilon is for, each a sentence."""
        sentences = []
        if self.unit == Unit.PATIENT:
            where = "one" if self.hospitals == 1 else "several"
            rows = "row" if self.records == 1 else "rows"
            template = words[f"meant_{where}_{rows}"]
            sentences.append(template.format(records=self.records, hospitals=self.hospitals))
            sentences.append(words["meant_rounds"].format(rounds=self.sampling(words)))
        for kind, number in self.noises:
            noise = words[f"noise_{kind}"].format(number=number)
            sentences.append(words["meant_correlated"].format(noise=noise))
        return sentences


def meant_by(
    unit: Unit, events: Iterable[Mapping[str, Any]], stated: Mapping[str, Iterable[str]]
) -> Meant:
    """Read it off what ledgers account for and what they state; of several, what says least.

    Args:
      unit: Of the budget.
      events: All that was released or declared, as plain JSON.
      stated: What *every* hospital states, by name; all of its values.
    """
    kept = [int(m[2]) for m in _read(_ROUNDS, stated.get("a patient's rounds", ())) if m[1]]
    noises = [(m[1], int(m[2])) for m in _read(_NOISE, stated.get("noise of rounds", ()))]
    return Meant(
        unit,
        _least(stated.get("a patient's records", ())),
        _least(stated.get("a patient's hospitals", ())),
        tuple(dict.fromkeys(one for event in events for one in _rounds(event, kept))),
        tuple(dict.fromkeys(noises)),
    )


def _read(form: re.Pattern[str], values: Iterable[str]) -> list[re.Match[str]]:
    return [matched for value in values if (matched := form.fullmatch(value))]


def _least(values: Iterable[str]) -> int:
    texts = tuple(values)
    counts = [int(m[1]) for m in _read(_RECORDS, texts)]
    return max(1, min(counts)) if counts and len(counts) == len(texts) else 1


def _rounds(event: Mapping[str, Any], kept: list[int]) -> list[Rounds]:
    """How an event's patients take part; ``kept``: passes in which a patient's round is fixed."""
    kind = event["type"]
    if kind in _DRAWN:
        return [(_DRAWN[kind], int(event.get("steps", 0)))]
    if kind in ("NoOpDpEvent", "NonPrivateDpEvent"):
        return []
    if kind == "LinearOpeningsDpEvent" and kept:
        return [(Participation.FIXED, steps) for steps in kept]
    inner = [*event.get("events", ()), *([event["event"]] if "event" in event else ())]
    if not inner:
        return [(Participation.ALL, 0)]
    return [one for each in inner for one in _rounds(each, kept)]
