"""What stands in an entry, kind by kind: the forms that a writer fills in and a reader accepts.

``checked`` is the one way into an entry and out of one (``privacy.ledger.log.entries``): whoever
forges a line of his own ledger, with his own key, writes a form or writes nothing.

>>> checked("sealed", {"release": -1, "entry": "0" * 64, "bytes": 1, "digest": "0" * 64})
Traceback (most recent call last):
    ...
privacy.errors.InvalidInputError: Expected release=-1 to be a whole number from 0 to 4294967296.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from privacy.ledger.accountant import Cost
from privacy.ledger.forms import (
    NAME,
    SENTENCE,
    FieldRule,
    Form,
    facts,
    form,
    hexadecimal,
    listed,
    mapping,
    member_of,
    name,
    number,
    one_of,
    refuse,
    ruled,
    text,
    whole,
)
from privacy.ledger.imported import Imported
from privacy.ledger.log.heads import Head
from privacy.ledger.requests import Budget, Release, ReleaseSchedule
from privacy.unit import Unit

__all__ = ["MOST_BYTES", "MOST_ENTRIES", "MOST_HOSPITALS", "RULES", "checked"]

MOST_ENTRIES = 2**32
MOST_HOSPITALS = 10_000
MOST_BYTES = 2**40  # of one payload
_ORDER = whole(2, 2**16)
_DIGEST, _SIGNATURE = hexadecimal(64), hexadecimal(128)


@dataclass(frozen=True)
class Allowed(Budget):
    """A budget with the Rényi order at which unplanned releases add up."""

    order: int = ruled(_ORDER, 2)

    @property
    def budget(self) -> Budget:
        """The budget alone."""
        return Budget(self.epsilon, self.delta, self.unit, self.relation)


@dataclass(frozen=True)
class LedgerOpening(Form):
    """Who keeps a ledger, its budget, and who may counter-sign it.

    One budget: what is released for one unit also tells about every other, and would go uncounted
    there.
    """

    public_key: str = ruled(_DIGEST)
    budgets: tuple[Allowed, ...] = ruled(listed(form(Allowed), least=1, most=1))
    enrolled: Mapping[str, str] = ruled(mapping(name(), _DIGEST, most=MOST_HOSPITALS))
    context: Mapping[str, Any] = ruled(facts())


@dataclass(frozen=True)
class ForeignOpening(LedgerOpening):
    """Of a ledger whose releases a program of somebody else's makes: what it says is a claim."""

    foreign: str = ruled(text(SENTENCE))


@dataclass(frozen=True)
class Enrolled(Form):
    """More hospitals that may counter-sign, by name."""

    enrolled: Mapping[str, str] = ruled(mapping(name(), _DIGEST, least=1, most=MOST_HOSPITALS))


@dataclass(frozen=True)
class Abandoned(Form):
    """A plan whose places left are forfeited."""

    unit: Unit = ruled(member_of(Unit))
    plan: str = ruled(_DIGEST)
    reason: str = ruled(text(SENTENCE))


@dataclass(frozen=True)
class Sealed(Form):
    """Size and digest of the bytes that a release became."""

    release: int = ruled(whole(0, MOST_ENTRIES))
    entry: str = ruled(_DIGEST)
    bytes: int = ruled(whole(0, MOST_BYTES))
    digest: str = ruled(_DIGEST)


@dataclass(frozen=True)
class TornLine(Form):
    """A torn line that a crash left, moved aside."""

    bytes: int = ruled(whole(0, MOST_BYTES))
    digest: str = ruled(_DIGEST)
    moved_to: str = ruled(text(4 * NAME))


@dataclass(frozen=True)
class Checkpoint(Form):
    """Root of all lines before this one."""

    size: int = ruled(whole(1, MOST_ENTRIES))
    root: str = ruled(_DIGEST)


@dataclass(frozen=True)
class Witness(Form):
    """Another hospital's head, counter-signed here."""

    head: Head = ruled(form(Head))


@dataclass(frozen=True)
class Countersigned(Form):
    """The counter-signatures of a head of this ledger."""

    head: Head = ruled(form(Head))
    signatures: Mapping[str, str] = ruled(mapping(name(), _SIGNATURE, least=1, most=MOST_HOSPITALS))


# -- what a filter granted, beside what was asked ------------------------------------------------


@dataclass(frozen=True)
class Free(Form):
    """``public`` or ``unlimited``: nothing is counted."""


@dataclass(frozen=True)
class Placed(Form):
    """``planned``: a place in the plan that the release names."""

    position: int = ruled(whole(0, 2**53))


@dataclass(frozen=True)
class Added(Form):
    """``adaptive``: the running divergence, and the epsilon that it proves."""

    order: int = ruled(_ORDER)
    divergence: float = ruled(number(infinite=True))
    epsilon: float = ruled(number(infinite=True))


@dataclass(frozen=True)
class Fixed(Form):
    """``fixed schedule``: the cost of all schedules so far."""

    interval: Cost = ruled(form(Cost))


_RELEASES = {"public": Free, "unlimited": Free, "planned": Placed, "adaptive": Added}
_PLANS = {"unlimited": Free, "adaptive": Added, "fixed schedule": Fixed}
_ABANDONED = _PLANS | {"kept": Free}
_ENTERED = _PLANS
RULES = frozenset({*_RELEASES, *_ABANDONED})  # by which anything was let through


def _granted(what: type[Form], grants: Mapping[str, type[Form]], content: Any) -> dict[str, Any]:
    """Check a request and what the filter said to it, which stand side by side."""
    if not isinstance(content, Mapping):
        refuse("content", content, "an object")
    rule = content.get("filter")
    if not isinstance(rule, str) or rule not in grants:
        refuse("filter", rule, f"one of {', '.join(grants)}")
    request_fields = set(what.__dataclass_fields__)
    request = {name: value for name, value in content.items() if name in request_fields}
    said = {n: value for n, value in content.items() if n not in request_fields and n != "filter"}
    grant = grants[rule].from_json(said)
    return what.from_json(request).to_json() | {"filter": rule} | grant.to_json()


@dataclass(frozen=True)
class _Over(Form):
    """Epsilon before and with a request that would pass the budget."""

    spent: float = ruled(number(infinite=True))
    asked: float = ruled(number(infinite=True))


@dataclass(frozen=True)
class _Refused(Form):
    """A request that was refused; nothing was read."""

    what: str = ruled(one_of("release", "plan", "abandonment"))
    request: Mapping[str, Any] = ruled(FieldRule(lambda _, value: value))
    why: str = ruled(text(4000))


_REQUESTS: Mapping[str, type[Form]] = MappingProxyType(
    {"release": Release, "plan": ReleaseSchedule, "abandonment": Abandoned}
)


def _refusal(content: Any) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        refuse("content", content, "an object")
    over = {name: value for name, value in content.items() if name in ("spent", "asked")}
    refused = _Refused.from_json({n: v for n, v in content.items() if n not in over})
    kind = _REQUESTS[refused.what]
    refusal = refused.to_json() | {"request": kind.from_json(refused.request).to_json()}
    return refusal | (_Over.from_json(over).to_json() if over else {})


_FORMS: Mapping[str, type[Form]] = MappingProxyType(
    {
        "opening": LedgerOpening,
        "enrolled": Enrolled,
        "sealed": Sealed,
        "recovered": TornLine,
        "checkpoint": Checkpoint,
        "witness": Witness,
        "countersigned": Countersigned,
    }
)


def checked(kind: str, content: Any) -> dict[str, Any]:
    """Return an entry's content as plain JSON, every field of it read and found in its range.

    Raises:
      InvalidInputError: A field is missing, unknown, or breaks its rule.
    """
    match kind:
        case "plan":
            return _granted(ReleaseSchedule, _PLANS, content)
        case "release":
            return _granted(Release, _RELEASES, content)
        case "abandoned":
            return _granted(Abandoned, _ABANDONED, content)
        case "imported":
            return _granted(Imported, _ENTERED, content)
        case "refusal":
            return _refusal(content)
        case "opening" if isinstance(content, Mapping) and "foreign" in content:
            return ForeignOpening.from_json(content).to_json()
    return _FORMS[kind].from_json(content).to_json()
