"""A schedule as bytes: declared before the first patient is read, and the same at every party."""

import math
from dataclasses import dataclass
from typing import Any

from aggregation.timing.schedule import Arrival, Schedule, ScheduledOpening
from privacy._foreign import parse_json
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger import forms
from privacy.ledger.forms import Form, ruled
from privacy.ledger.log import canonical

__all__ = ["read_schedule", "write_schedule"]

_MOST = 1 << 20  # openings, and uploads in one
_LARGEST = 1 << 26  # bytes
_LAST = 1e12  # of a time, in the schedule's own unit


@dataclass(frozen=True)
class _Upload(Form):
    """One upload (``Arrival``); what never arrives does so at ``inf``."""

    hospital: str = ruled(forms.name())
    number: int = ruled(forms.whole(0, _MOST))
    base_version: int = ruled(forms.whole(0, _MOST))
    sealed_version: int = ruled(forms.whole(0, _MOST))
    started: float = ruled(forms.number(0.0, _LAST))
    sealed: float = ruled(forms.number(0.0, _LAST))
    arrived: float = ruled(forms.number(0.0, infinite=True))


@dataclass(frozen=True)
class _Sum(Form):
    """One sum that is opened (``ScheduledOpening``)."""

    version: int = ruled(forms.whole(0, _MOST))
    time: float = ruled(forms.number(0.0, _LAST))
    arrivals: tuple[_Upload, ...] = ruled(forms.listed(forms.form(_Upload), least=1, most=_MOST))
    reason: str = ruled(forms.one_of("count", "time-out"))


@dataclass(frozen=True)
class _Declared(Form):
    """A whole schedule."""

    openings: tuple[_Sum, ...] = ruled(forms.listed(forms.form(_Sum), least=1, most=_MOST))
    left: tuple[_Upload, ...] = ruled(forms.listed(forms.form(_Upload), least=0, most=_MOST))
    lost: tuple[_Upload, ...] = ruled(forms.listed(forms.form(_Upload), least=0, most=_MOST))


def write_schedule(schedule: Schedule) -> bytes:
    """Return a schedule as canonical JSON: equal schedules give equal bytes.

    Raises:
      InvalidInputError: It opens nothing, or a number of it is out of range.
    """
    openings = tuple(
        _Sum(one.version, one.time, _uploads(one.arrivals), one.reason) for one in schedule.openings
    )
    said = _Declared(openings, _uploads(schedule.left), _uploads(schedule.lost))
    return canonical.encode(said.to_json())


def read_schedule(content: bytes) -> Schedule:
    """Read what ``write_schedule`` wrote.

    Raises:
      CorruptMessageError: Any departure from it; a version out of its turn, or an upload that is
        opened before the model that it was computed at is there.
    """
    try:
        said = _Declared.from_json(parse_json(content, what="A schedule", most=_LARGEST))
    except InvalidInputError as error:
        raise CorruptMessageError(f"These bytes are no schedule: {error}") from error
    openings = []
    for number_, one in enumerate(said.openings):
        late = any(not u.base_version <= u.sealed_version <= number_ for u in one.arrivals)
        if one.version != number_ or late or any(math.isinf(u.arrived) for u in one.arrivals):
            raise CorruptMessageError(
                f"Sum {number_} of a schedule stands out of its turn, or holds an upload that is "
                "not there yet."
            )
        reason: Any = one.reason
        openings.append(ScheduledOpening(one.version, one.time, _arrivals(one.arrivals), reason))
    return Schedule(tuple(openings), _arrivals(said.left), _arrivals(said.lost))


def _uploads(arrivals: tuple[Arrival, ...]) -> tuple[_Upload, ...]:
    return tuple(
        _Upload(a.hospital, a.number, a.base_version, a.sealed_version, a.started, a.sealed,
                a.arrived)
        for a in arrivals
    )  # fmt: skip


def _arrivals(uploads: tuple[_Upload, ...]) -> tuple[Arrival, ...]:
    return tuple(
        Arrival(u.hospital, u.number, u.base_version, u.sealed_version, u.started, u.sealed,
                u.arrived)
        for u in uploads
    )  # fmt: skip
