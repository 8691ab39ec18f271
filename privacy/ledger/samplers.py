"""How patients are drawn, as types: what an event claims is held against what would run.

>>> from privacy.ledger.samplers import AllPatients, Poisson, claimed
>>> claimed({"type": "PoissonSampledDpEvent", "sampling_probability": 0.1,
...          "event": {"type": "GaussianDpEvent", "noise_multiplier": 1.0}})
(Poisson(probability=0.1),)
>>> str(AllPatients()), str(Poisson(0.1))
('all patients', 'each patient with probability 0.1')
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privacy.errors import InvalidInputError
from privacy.ledger.forms import FieldRule, Form, number, refuse, ruled, whole

__all__ = [
    "AllPatients",
    "FixedSize",
    "Poisson",
    "RandomAllocation",
    "Sampler",
    "Shuffled",
    "TruncatedPoisson",
    "claimed",
    "mismatch",
    "sampler",
]

_MOST = 2**53


@dataclass(frozen=True)
class AllPatients(Form):
    """Every patient, every time."""

    def __str__(self) -> str:
        return "all patients"


@dataclass(frozen=True)
class Poisson(Form):
    """Each patient on its own, with one probability.

    Attributes:
      probability: In [0, 1].
    """

    probability: float = ruled(number(0.0, 1.0))

    def __str__(self) -> str:
        return f"each patient with probability {self.probability:g}"


@dataclass(frozen=True)
class FixedSize(Form):
    """So many patients, none twice, every set alike.

    Attributes:
      size: How many are drawn.
      of: From how many.
    """

    size: int = ruled(whole(0, _MOST))
    of: int = ruled(whole(1, _MOST))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size > self.of:
            refuse("size", self.size, f"at most of={self.of}: none is drawn twice")

    def __str__(self) -> str:
        return f"{self.size} of {self.of} patients"


@dataclass(frozen=True)
class TruncatedPoisson(Form):
    """Poisson sampling; if more than ``most`` were drawn, a random ``most`` of them are kept.

    Attributes:
      probability: As in ``Poisson``.
      of: Patients to draw from.
      most: Largest batch.
    """

    probability: float = ruled(number(0.0, 1.0))
    of: int = ruled(whole(1, _MOST))
    most: int = ruled(whole(1, _MOST))

    def __str__(self) -> str:
        return f"each of {self.of} patients with probability {self.probability:g}, {self.most} kept"


@dataclass(frozen=True)
class Shuffled(Form):
    """All patients in an order that nobody sees, cut into batches of one size.

    Attributes:
      batches: How many batches make one pass.
    """

    batches: int = ruled(whole(1, _MOST))

    def __str__(self) -> str:
        return f"one of {self.batches} shuffled batches"


@dataclass(frozen=True)
class RandomAllocation(Form):
    """Each patient on its own in exactly one step of a pass, all alike; nobody sees a step's size.

    Attributes:
      steps: How many steps make one pass.
    """

    steps: int = ruled(whole(1, _MOST))

    def __str__(self) -> str:
        return f"each patient in one of {self.steps} steps"


Sampler = AllPatients | Poisson | FixedSize | TruncatedPoisson | Shuffled | RandomAllocation
_NAMES: Mapping[str, type[Sampler]] = {
    "all": AllPatients,
    "poisson": Poisson,
    "fixed size": FixedSize,
    "truncated poisson": TruncatedPoisson,
    "shuffled": Shuffled,
    "random allocation": RandomAllocation,
}
_SPELT = {kind: name for name, kind in _NAMES.items()}


def sampler() -> FieldRule:
    """A sampler; plain JSON names it under ``"sampler"``, beside its numbers."""

    def check(name: str, value: Any) -> Sampler:
        if type(value) not in _SPELT:
            refuse(name, value, "a sampler, such as AllPatients() or Poisson(0.1)")
        accepted: Sampler = value
        return accepted

    def read(name: str, value: Any) -> Sampler:
        word = value.get("sampler") if isinstance(value, Mapping) else None
        if not isinstance(word, str) or word not in _NAMES:
            refuse(name, value, f"a sampler among {', '.join(_NAMES)}")
        return _NAMES[word].from_json({k: v for k, v in value.items() if k != "sampler"})

    def write(value: Sampler) -> dict[str, Any]:
        return {"sampler": _SPELT[type(value)], **value.to_json()}

    return FieldRule(check, read, write)


def claimed(event: Mapping[str, Any]) -> tuple[Sampler, ...]:
    """Every distinct sampler that stands in an event (plain JSON), in order.

    Raises:
      InvalidInputError: One has numbers that no sampler has.
    """
    samplers: dict[Sampler, None] = {}
    waiting: list[Any] = [event]
    while waiting:
        node = waiting.pop()
        node_sampler = _of(node)
        if node_sampler is not None:
            samplers[node_sampler] = None
        waiting += [
            *reversed(node.get("events", ())),
            *([node["event"]] if "event" in node else []),
        ]
    return tuple(samplers)


def _of(node: Mapping[str, Any]) -> Sampler | None:
    match node["type"]:
        case "PoissonSampledDpEvent":
            return Poisson(node["sampling_probability"])
        case "SampledWithoutReplacementDpEvent":
            return FixedSize(node["sample_size"], node["source_dataset_size"])
        case "TruncatedSubsampledGaussianDpEvent":
            return TruncatedPoisson(
                node["sampling_probability"], node["dataset_size"], node["truncated_batch_size"]
            )
        case "ShuffledBatchesDpEvent":
            return Shuffled(node["batches"])
        case "RandomAllocationDpEvent" | "SeenAllocationDpEvent":
            return RandomAllocation(node["steps"])
    if any(word in node["type"] for word in ("Sampled", "Shuffled", "Allocat")):
        raise InvalidInputError(
            f"The event {node['type']} draws patients in a way that the ledger has no sampler for."
        )
    return None


def mismatch(event: Mapping[str, Any], declared: Sampler, actual: Sampler, *, relation: str) -> str:
    """Why an event must not be accounted for with these samplers; empty if it may.

    An event without any sampling claims no amplification. It covers all patients, and Poisson
    sampling and random allocation, which let a patient come or go without moving another. Batches
    of a fixed or largest size, and shuffled ones, do not: whoever comes pushes somebody else out,
    which moves the sum twice as far as ``ADD_OR_REMOVE_ONE`` accounts for; under the other
    relations the number of patients stays. An event with sampling covers that very sampler: its
    kind, its probability and its sizes.

    Args:
      event: As plain JSON.
      declared: How the plan says that patients are drawn.
      actual: How the code that will run draws them.
      relation: Name of the budget's ``dp_accounting.NeighboringRelation``.
    """
    if declared != actual:
        return (
            f"the declared sampler is {declared} but {actual} would run, and the account covers "
            "the declared one"
        )
    wrong = [event_sampler for event_sampler in claimed(event) if event_sampler != actual]
    if wrong:
        return f"its event claims {wrong[0]}, but the sampler is {actual}"
    crowding = not isinstance(actual, AllPatients | Poisson | RandomAllocation)
    if crowding and relation == "ADD_OR_REMOVE_ONE" and _unsampled(event):
        return (
            f"the sampler is {actual}, where a patient's coming or going changes who else is "
            "drawn; an event without sampling covers that under REPLACE_ONE alone"
        )
    return ""


def _unsampled(node: Mapping[str, Any]) -> bool:
    """Whether noise stands in an event that no sampling covers."""
    if _of(node) is not None:
        return False
    inner = [*node.get("events", ()), *([node["event"]] if "event" in node else [])]
    if not inner:
        return node["type"] not in ("NoOpDpEvent", "NonPrivateDpEvent", "ComposedDpEvent")
    return any(_unsampled(one) for one in inner)
