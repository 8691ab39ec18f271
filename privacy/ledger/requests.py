"""What a hospital allows, what it is about to release, and what it plans to release.

>>> Budget(epsilon=1.0, delta=1e-5).relation
'ADD_OR_REMOVE_ONE'
"""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from privacy.errors import InvalidInputError
from privacy.ledger.forms import (
    SENTENCE,
    Form,
    event,
    facts,
    form,
    hexadecimal,
    listed,
    mapping,
    member_of,
    number,
    one_of,
    optional,
    ruled,
    text,
    whole,
)
from privacy.ledger.log.canonical import digest, encode
from privacy.ledger.samplers import AllPatients, Sampler, mismatch, sampler
from privacy.unit import Unit

__all__ = [
    "MOST_COUNT",
    "PUBLIC_BYTES",
    "RELATIONS",
    "Budget",
    "DpEvent",
    "Json",
    "NoiseSource",
    "Planned",
    "Release",
    "ReleaseSchedule",
    "objection",
]

# A dp_accounting.DpEvent or its plain JSON, named without importing that package.
DpEvent = Any
Json = str | int | float | bool | None
NoiseSource = Literal["operating system", "seeded", "none", "torch generator"]

MOST_COUNT = 10**9  # releases in a row, rounds, and repeats
PUBLIC_BYTES = 4096  # of one release that is said to depend on no patient
_MOST_STEPS = 10_000  # kinds of releases in one cycle of a schedule
RELATIONS = ("ADD_OR_REMOVE_ONE", "REPLACE_ONE", "REPLACE_SPECIAL")


@dataclass(frozen=True)
class Budget(Form):
    """How much may be learnt about one unit, over all releases of a hospital, ever.

    Attributes:
      epsilon: Largest epsilon; ``inf`` means that nothing is promised and nothing refused.
      delta: The delta that it goes with, in (0, 1).
      unit: Whose coming or going is hidden.
      relation: Name of a ``dp_accounting.NeighboringRelation`` (or the member itself).
    """

    epsilon: float = ruled(number(above=True, infinite=True))
    delta: float = ruled(number(0.0, math.nextafter(1.0, 0.0), above=True), 1e-5)
    unit: Unit = ruled(member_of(Unit), Unit.PATIENT)
    relation: str | enum.Enum = ruled(one_of(*RELATIONS), "ADD_OR_REMOVE_ONE")

    @property
    def relation_name(self) -> str:
        """The relation as a word, such as ``ADD_OR_REMOVE_ONE``."""
        return cast(str, self.relation)

    @property
    def limited(self) -> bool:
        """Whether anything is promised at all."""
        return math.isfinite(self.epsilon)


@dataclass(frozen=True)
class Release(Form):
    """Something computed from patients that is about to leave a hospital.

    Attributes:
      kind: ``update``, ``statistic``, ``evaluation``, ``tuning``: the word of the message that
        will carry it.
      event: What is done to the patients, as a ``dp_accounting.DpEvent``. ``NonPrivateDpEvent()``
        for a release without any protection; ``NoOpDpEvent()`` for one that does not depend on
        any patient, which needs a ``reason``.
      round: The round it belongs to.
      unit: Whose coming or going the event hides.
      clip_norm: Largest L2 norm of one unit's share of it, in units of the parameters.
      clip_norm_source: Where that number came from. Only a constant is accounted for: a norm that
        follows the data is a release of its own.
      declared_sampler: How the plan says that patients are drawn.
      actual_sampler: How they are drawn by the code that will run.
      noise_source: Where the noise comes from. ``torch generator``: neither the operating system
        nor a seed that a test knows; in foreign ledgers alone.
      requester: Who asked.
      reason: Why a release costs nothing, or why it goes out unprotected.
      details: Further plain facts for the auditor: cohort, code or data digests.
      plan: Digest of the declared plan that it belongs to; None if it belongs to none and is
        counted by itself.
    """

    kind: str = ruled(text())
    event: DpEvent = ruled(event())
    round: int = ruled(whole(0, MOST_COUNT), 0)
    unit: Unit = ruled(member_of(Unit), Unit.PATIENT)
    clip_norm: float | None = ruled(optional(number(above=True)), None)
    clip_norm_source: str = ruled(text(), "constant")
    declared_sampler: Sampler = ruled(sampler(), AllPatients())
    actual_sampler: Sampler = ruled(sampler(), AllPatients())
    noise_source: NoiseSource = ruled(
        one_of("operating system", "seeded", "none", "torch generator"), "operating system"
    )
    requester: str = ruled(text(), "aggregator")
    reason: str = ruled(text(SENTENCE, least=0), "")
    details: Mapping[str, Json] = ruled(facts(), dict)
    plan: str | None = ruled(optional(hexadecimal(64)), None)


@dataclass(frozen=True)
class Planned(Form):
    """A release that a plan foresees.

    Attributes:
      kind: As in ``Release``.
      event: As in ``Release``.
      count: How many such releases in a row.
    """

    kind: str = ruled(text())
    event: DpEvent = ruled(event())
    count: int = ruled(whole(1, MOST_COUNT), 1)


@dataclass(frozen=True)
class ReleaseSchedule(Form):
    """Releases that are fixed beforehand.

    Attributes:
      unit: Whose coming or going their events hide.
      schedule: The releases of one cycle, in order.
      repeats: How many cycles (rounds).
      context: Plain facts for the auditor: ``run`` and ``plan`` name the public plan that it
        follows; digests of data and code.
      others: ``ReleaseSchedule.digest`` of the schedules that the same public plan gives other
        hospitals, as this one derives them: a hospital that declares less than its plan says is
        contradicted.
      plan: What its releases call it by, for good: the digest of the public plan that it follows.
        None: the digest of all of the above.
    """

    unit: Unit = ruled(member_of(Unit))
    schedule: tuple[Planned, ...] = ruled(listed(form(Planned), least=1, most=_MOST_STEPS))
    repeats: int = ruled(whole(1, MOST_COUNT), 1)
    context: Mapping[str, Json] = ruled(facts(), dict)
    others: Mapping[str, str] = ruled(mapping(text(), hexadecimal(64), most=64), dict)
    plan: str | None = ruled(optional(hexadecimal(64)), None)

    def __post_init__(self) -> None:
        super().__post_init__()
        total = self.repeats * sum(step.count for step in self.schedule)
        if total > 2**53:
            raise InvalidInputError(f"A schedule of {total} releases can't be counted exactly.")
        if self.plan is None:
            content = {n: value for n, value in self.to_json().items() if n != "plan"}
            object.__setattr__(self, "plan", digest(encode(content)))

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of what is released and how often."""
        content = self.to_json()
        return digest(encode([content["unit"], content["schedule"], content["repeats"]]))


def objection(release: Release, *, relation: str, foreign: bool = False) -> str:
    """Why a release must not go ahead whatever it costs; empty if nothing speaks against it.

    An event that does nothing, in any disguise but ``NoOpDpEvent``, would let bytes out for free;
    a sampler that is not the event's would be accounted for and not run.

    Args:
      release: What is about to leave, or left.
      relation: Name of the budget's ``dp_accounting.NeighboringRelation``.
      foreign: Whether the ledger is kept for a program of somebody else's.
    """
    content = release.to_json()["event"]
    if content["type"] == "NoOpDpEvent":
        return "" if release.reason else "a release that depends on no patient needs a reason"
    if _does_nothing(content):
        return (
            "its event does nothing to any patient; a release that depends on no patient is a "
            "NoOpDpEvent, with a reason"
        )
    why = mismatch(content, release.declared_sampler, release.actual_sampler, relation=relation)
    if why:
        return why
    if release.clip_norm_source != "constant":
        return (
            f"the clip norm comes from {release.clip_norm_source!r}; only a constant bounds a "
            "patient's influence"
        )
    protected = content["type"] != "NonPrivateDpEvent"
    if protected and release.noise_source == "none":
        return "its event claims protection, but no noise is added"
    if protected and release.noise_source == "seeded":
        return "noise from a seed protects nobody: whoever learns the seed subtracts it"
    if protected and release.noise_source == "torch generator" and not foreign:
        return (
            "noise from torch's generator follows from one number of 64 bits; only a ledger that "
            "is opened as foreign records it, as a claim"
        )
    return ""


def _does_nothing(content: Mapping[str, Any]) -> bool:
    """Whether an event leaves out every patient, by its own numbers."""
    match content["type"]:
        case "NoOpDpEvent":
            return True
        case "ComposedDpEvent":
            return all(_does_nothing(inner) for inner in content["events"])
        case "SelfComposedDpEvent":
            return content["count"] == 0 or _does_nothing(content["event"])
        case "TruncatedSubsampledGaussianDpEvent":
            return bool(content["sampling_probability"] == 0)
        case "PoissonSampledDpEvent" if content["sampling_probability"] == 0:
            return True
        case "SampledWithoutReplacementDpEvent" if content["sample_size"] == 0:
            return True
    return "event" in content and _does_nothing(content["event"])
