"""What a hospital allows, what it is about to release, and what it plans to release.

>>> Budget(epsilon=1.0, delta=1e-5).relation
'ADD_OR_REMOVE_ONE'
"""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from privacy._validate import natural, positive, unit_open
from privacy.errors import InvalidInputError
from privacy.ledger.log.canonical import from_number, to_number

__all__ = ["Budget", "DpEvent", "Json", "NoiseSource", "Planned", "Release", "Unit", "objection"]

# A dp_accounting.DpEvent, named without importing that package.
DpEvent = Any
Json = str | int | float | bool | None
Unit = Literal["patient", "hospital"]
NoiseSource = Literal["operating system", "seeded", "none"]

_RELATIONS = ("ADD_OR_REMOVE_ONE", "REPLACE_ONE", "REPLACE_SPECIAL")


@dataclass(frozen=True)
class Budget:
    """How much may be learnt about one unit, over all releases of a hospital, ever.

    Attributes:
      epsilon: Largest epsilon; ``inf`` means that nothing is promised and nothing refused.
      delta: The delta that it goes with.
      unit: Whose coming or going is hidden.
      relation: Name of a ``dp_accounting.NeighboringRelation`` (or the member itself).
    """

    epsilon: float
    delta: float = 1e-5
    unit: Unit = "patient"
    relation: str | enum.Enum = "ADD_OR_REMOVE_ONE"

    def __post_init__(self) -> None:
        if self.epsilon != math.inf:
            positive(epsilon=self.epsilon)
        unit_open(delta=self.delta)
        if self.unit not in ("patient", "hospital"):
            raise InvalidInputError(f"Expected unit={self.unit!r} to be patient or hospital.")
        relation = self.relation
        name = relation.name if isinstance(relation, enum.Enum) else relation
        if name not in _RELATIONS:
            raise InvalidInputError(f"Expected relation={name!r} to be one of {_RELATIONS}.")
        object.__setattr__(self, "relation", name)

    @property
    def relation_name(self) -> str:
        """The relation as a word, such as ``ADD_OR_REMOVE_ONE``."""
        return cast(str, self.relation)

    @property
    def limited(self) -> bool:
        """Whether anything is promised at all."""
        return math.isfinite(self.epsilon)

    def to_json(self) -> dict[str, Json]:
        """Return plain JSON."""
        return {
            "epsilon": from_number(self.epsilon),
            "delta": self.delta,
            "unit": self.unit,
            "relation": self.relation_name,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Budget":
        """Read what ``to_json`` wrote."""
        return cls(
            to_number(fields["epsilon"]), fields["delta"], fields["unit"], fields["relation"]
        )


@dataclass(frozen=True)
class Release:
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
      noise_source: Where the noise comes from.
      requester: Who asked.
      reason: Why a release costs nothing, or why it goes out unprotected.
      details: Further plain facts for the auditor: cohort, code or data digests.
    """

    kind: str
    event: DpEvent
    round: int = 0
    unit: Unit = "patient"
    clip_norm: float | None = None
    clip_norm_source: str = "constant"
    declared_sampler: str = "all"
    actual_sampler: str = "all"
    noise_source: NoiseSource = "operating system"
    requester: str = "aggregator"
    reason: str = ""
    details: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.kind:
            raise InvalidInputError("Expected a kind of release, such as update.")
        natural(round=self.round)
        if self.clip_norm is not None:
            positive(clip_norm=self.clip_norm)

    def to_json(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return plain JSON, with the event as it is written there."""
        return {
            "kind": self.kind,
            "event": event,
            "round": self.round,
            "unit": self.unit,
            "clip_norm": self.clip_norm,
            "clip_norm_source": self.clip_norm_source,
            "declared_sampler": self.declared_sampler,
            "actual_sampler": self.actual_sampler,
            "noise_source": self.noise_source,
            "requester": self.requester,
            "reason": self.reason,
            "details": dict(self.details),
        }


@dataclass(frozen=True)
class Planned:
    """A release that a plan foresees.

    Attributes:
      kind: As in ``Release``.
      event: As in ``Release``.
      count: How many such releases in a row.
    """

    kind: str
    event: DpEvent
    count: int = 1

    def __post_init__(self) -> None:
        natural(count=self.count, least=1)


def objection(content: Mapping[str, Any], *, sampled: bool, protected: bool) -> str:
    """Why a release must not go ahead whatever it costs; empty if nothing speaks against it.

    Args:
      content: The release as plain JSON.
      sampled: Whether its event claims Poisson sampling.
      protected: Whether its event claims any protection.
    """
    declared, actual = content["declared_sampler"], content["actual_sampler"]
    if declared != actual:
        return (
            f"the declared sampler is {declared!r} but {actual!r} would run, and the account "
            "covers the declared one"
        )
    if sampled and "poisson" not in actual:
        return f"its event claims Poisson sampling, but the sampler is {actual!r}"
    if content["clip_norm_source"] != "constant":
        return (
            f"the clip norm comes from {content['clip_norm_source']!r}; only a constant bounds a "
            "patient's influence"
        )
    if protected and content["noise_source"] == "none":
        return "its event claims protection, but no noise is added"
    if protected and content["noise_source"] == "seeded":
        return "noise from a seed protects nobody: whoever learns the seed subtracts it"
    return ""
