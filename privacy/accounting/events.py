"""What happened, as data: dp-accounting's events, a few of our own, and their JSON.

An event holds what accounting needs and no cost; the cost is a function of it, recomputed later by
anyone with a better accountant. Ledgers are read for decades: a name or a field's meaning below is
never changed and never removed.

>>> event = dp.SelfComposedDpEvent(DiscreteGaussianDpEvent(noise_multiplier=4.0, radius=100), 10)
>>> to_json(event)["event"]
{'type': 'DiscreteGaussianDpEvent', 'noise_multiplier': 4.0, 'radius': 100}
>>> from_json(to_json(event)) == event
True
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attr
import numpy as np
from dp_accounting import dp_event as dp

from privacy._foreign import quoted
from privacy.errors import InvalidInputError

if TYPE_CHECKING:  # dp-accounting has no type hints, and an untyped base class hides mistakes

    class DpEvent:
        """Stands for dp_accounting.DpEvent while types are checked."""
else:
    from dp_accounting import DpEvent

__all__ = [
    "DiscreteGaussianDpEvent",
    "DistributedDiscreteGaussianDpEvent",
    "LinearOpeningsDpEvent",
    "RandomAllocationDpEvent",
    "SeenAllocationDpEvent",
    "ShuffledBatchesDpEvent",
    "SkellamDpEvent",
    "check",
    "from_json",
    "to_json",
]


@attr.s(frozen=True, slots=True, auto_attribs=True)
class DiscreteGaussianDpEvent(DpEvent):
    """An integer vector sum plus discrete Gaussian noise, independent on every coordinate.

    Attributes:
      noise_multiplier: The parameter of the noise over ``radius``, unitless.
      radius: L2 sensitivity of the sum when one unit comes or goes, in integer steps.
    """

    noise_multiplier: float
    radius: int


@attr.s(frozen=True, slots=True, auto_attribs=True)
class DistributedDiscreteGaussianDpEvent(DpEvent):
    """An integer vector sum plus discrete Gaussian shares of several contributors.

    Attributes:
      noise_multiplier: Standard deviation (the root of the sum of squared parameters) of the
        honest contributors' noise over ``radius``, unitless.
      radius: L2 sensitivity of the sum when one unit comes or goes, in integer steps.
      dim: Coordinates of the sum.
      contributors: Honest contributors, each with an equal share.
    """

    noise_multiplier: float
    radius: int
    dim: int
    contributors: int


@attr.s(frozen=True, slots=True, auto_attribs=True)
class LinearOpeningsDpEvent(DpEvent):
    """One of several integer uploads with discrete Gaussian shares, opened together in sums.

    An upload may be shown by several sums (``privacy.accounting.linear``). Each carries an equal
    part of what its owner's uploads cost in all openings of the declared schedule.

    Attributes:
      noise_multiplier: The parameter of *one upload's* noise over ``radius``, unitless.
      radius: L2 norm by which one unit moves an upload at most, in integer steps.
      dim: Coordinates of an upload.
      leverage: This upload's part of the squared distance that one unit makes in all openings, in
        units of one over ``noise_multiplier`` squared.
      openings: Sums that are opened in all.
      uploads: Uploads that they hold, without the adversary's own.
      least_eigenvalue: Of the openings' Gram matrix, from below.
      coset_spread: ``privacy.accounting.linear.coset_spread``.
    """

    noise_multiplier: float
    radius: int
    dim: int
    leverage: float
    openings: int
    uploads: int
    least_eigenvalue: float
    coset_spread: float


@attr.s(frozen=True, slots=True, auto_attribs=True)
class SkellamDpEvent(DpEvent):
    """An integer vector sum plus Skellam noise, in one or in several shares: sums stay Skellam.

    Attributes:
      noise_multiplier: Standard deviation of all of the noise over ``radius``, unitless.
      radius: L2 sensitivity of the sum when one unit comes or goes, in integer steps.
      dim: Coordinates of the sum.
    """

    noise_multiplier: float
    radius: int
    dim: int


@attr.s(frozen=True, slots=True, auto_attribs=True)
class ShuffledBatchesDpEvent(DpEvent):
    """One pass over the patients, shuffled and cut into batches; ``event`` once for each batch.

    Every patient is in exactly one of the batches, of fixed size, in an order that nobody sees.

    Attributes:
      batches: Number of batches of the pass.
      event: What is done to each batch.
    """

    batches: int
    event: DpEvent


@attr.s(frozen=True, slots=True, auto_attribs=True)
class RandomAllocationDpEvent(DpEvent):
    """One pass of random allocation (balls and bins): ``event`` once in each of its steps.

    Every unit takes part in exactly one of the steps, drawn uniformly for it alone, in secret.
    Batches' sizes are random, and nobody sees them either; a step of nobody sends its noise.

    Attributes:
      steps: Number of steps of the pass.
      event: What is done in each step.
    """

    steps: int
    event: DpEvent


@attr.s(frozen=True, slots=True, auto_attribs=True)
class SeenAllocationDpEvent(DpEvent):
    """One pass of random allocation of which somebody sees who, or how many, are in which step.

    Whoever knows the others then knows the step of the one who is left: it hides nothing, and the
    pass is one ``event``, in the step that the unit is in.

    Attributes:
      steps: Number of steps of the pass.
      event: What is done in each step.
    """

    steps: int
    event: DpEvent


Rule = Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _count(least: int) -> tuple[str, Rule]:
    rule = f"a whole number from {least} to 2^53"
    return rule, lambda v: _is_whole(v) and least <= v <= 2**53


# Within these no square and no count of squares passes the largest float.
_NOISE = "between 1e-100 and 1e100", lambda v: _is_number(v) and 1e-100 <= v <= 1e100
_PROB = "in [0, 1]", lambda v: _is_number(v) and 0 <= v <= 1
_EVENT = "a DP event", lambda v: isinstance(v, dp.DpEvent)
_EVENTS = (
    "a list of DP events",
    lambda v: isinstance(v, list | tuple) and all(isinstance(e, dp.DpEvent) for e in v),
)

_STEPS = "a whole number from 1 to 2^30", lambda v: _is_whole(v) and 1 <= v <= 2**30

_SHAPE = "between 0 and 1000", lambda v: _is_number(v) and 0 <= v <= 1000
_MEAN = "between 1 and 1e6", lambda v: _is_number(v) and 1 <= v <= 1e6
_RHO = "between 0 and 1e100", lambda v: _is_number(v) and 0 <= v <= 1e100
_NUMBERS = (
    "a list of numbers between 0 and 1e100",
    lambda v: isinstance(v, list | tuple) and len(v) > 0 and all(_RHO[1](x) for x in v),
)
_COUNTS = (
    "a whole number from 1 to 2^53, or a list of such",
    lambda v: (
        all(_count(1)[1](n) for n in v) and len(v) > 0
        if isinstance(v, list | tuple)
        else _count(1)[1](v)
    ),
)

# Every kind of event that is accounted for, and the rule of each of its fields.
_KINDS: Mapping[type, Mapping[str, tuple[str, Rule]]] = {
    dp.NoOpDpEvent: {},
    dp.NonPrivateDpEvent: {},
    dp.GaussianDpEvent: {"noise_multiplier": _NOISE},
    dp.LaplaceDpEvent: {"noise_multiplier": _NOISE},
    dp.DiscreteLaplaceDpEvent: {"noise_parameter": _NOISE, "sensitivity": _count(1)},
    dp.RandomizedResponseDpEvent: {"noise_parameter": _PROB, "num_buckets": _count(1)},
    dp.PoissonSampledDpEvent: {"sampling_probability": _PROB, "event": _EVENT},
    dp.SampledWithoutReplacementDpEvent: {
        "source_dataset_size": _count(1),
        "sample_size": _count(0),
        "event": _EVENT,
    },
    dp.TruncatedSubsampledGaussianDpEvent: {
        "dataset_size": _count(1),
        "sampling_probability": _PROB,
        "truncated_batch_size": _count(1),
        "noise_multiplier": _NOISE,
    },
    dp.SampledWithReplacementDpEvent: {
        "source_dataset_size": _count(1),
        "sample_size": _count(0),
        "event": _EVENT,
    },
    dp.SingleEpochTreeAggregationDpEvent: {"noise_multiplier": _NOISE, "step_counts": _COUNTS},
    dp.RepeatAndSelectDpEvent: {"event": _EVENT, "mean": _MEAN, "shape": _SHAPE},
    dp.MixtureOfGaussiansDpEvent: {
        "standard_deviation": _NOISE,
        "sensitivities": _NUMBERS,
        "sampling_probs": _NUMBERS,
    },
    dp.ZCDpEvent: {"rho": _RHO, "xi": _RHO},
    dp.SelfComposedDpEvent: {"event": _EVENT, "count": _count(0)},
    dp.ComposedDpEvent: {"events": _EVENTS},
    DiscreteGaussianDpEvent: {"noise_multiplier": _NOISE, "radius": _count(1)},
    DistributedDiscreteGaussianDpEvent: {
        "noise_multiplier": _NOISE,
        "radius": _count(1),
        "dim": _count(1),
        "contributors": _count(1),
    },
    LinearOpeningsDpEvent: {
        "noise_multiplier": _NOISE,
        "radius": _count(1),
        "dim": _count(1),
        "leverage": _NOISE,
        "openings": _count(1),
        "uploads": _count(1),
        "least_eigenvalue": _NOISE,
        "coset_spread": ("at least 1 and finite", lambda v: _NOISE[1](v) and v >= 1),
    },
    SkellamDpEvent: {"noise_multiplier": _NOISE, "radius": _count(1), "dim": _count(1)},
    ShuffledBatchesDpEvent: {"batches": _count(1), "event": _EVENT},
    RandomAllocationDpEvent: {"steps": _STEPS, "event": _EVENT},
    SeenAllocationDpEvent: {"steps": _STEPS, "event": _EVENT},
}
_BY_NAME: Mapping[str, type] = {kind.__name__: kind for kind in _KINDS}


_DEEPEST = 100  # every reader of a tree descends by recursion: Python's own limit is not met


def check(event: dp.DpEvent, *, path: str = "event") -> None:
    """Refuse an event that can't be accounted for, anywhere in the tree.

    Raises:
      InvalidInputError: A kind that is not supported, a field out of range, or a tree deeper than
        100 events; the message names the subevent's path, the value and the rule.
    """
    rules = _KINDS.get(type(event))
    if rules is None:
        raise InvalidInputError(
            f"{path} is a {type(event).__name__}, which is not accounted for. Supported: "
            f"{', '.join(sorted(_BY_NAME))}."
        )
    for name, (rule, holds) in rules.items():
        value = getattr(event, name)
        if not holds(value):
            raise InvalidInputError(
                f"Expected {path}.{name}={value!r} {rule} ({type(event).__name__})."
            )
    if isinstance(event, dp.SampledWithoutReplacementDpEvent) and (
        event.sample_size > event.source_dataset_size
    ):
        raise InvalidInputError(
            f"Expected {path}.sample_size={event.sample_size} <= "
            f"source_dataset_size={event.source_dataset_size}: none is drawn twice."
        )
    if isinstance(event, dp.MixtureOfGaussiansDpEvent):
        _check_mixture(event, path)
    if path.count(".") > _DEEPEST:
        raise InvalidInputError(_TOO_DEEP.format(path=_shortened(path)))
    for step, child in _children(event):
        check(child, path=f"{path}.{step}")


def _check_mixture(event: dp.MixtureOfGaussiansDpEvent, path: str) -> None:
    shifts, probs = event.sensitivities, event.sampling_probs
    if len(shifts) != len(probs) or abs(math.fsum(probs) - 1) > 1e-12:
        raise InvalidInputError(
            f"Expected {path}.sampling_probs={probs!r} to add up to 1 and to be as many as the "
            f"{len(shifts)} sensitivities."
        )


def to_json(event: dp.DpEvent) -> dict[str, Any]:
    """Return the event as plain JSON; ``from_json`` gives an equal event.

    Raises:
      InvalidInputError: The event can't be accounted for (see ``check``).
    """
    check(event)
    return _plain(event)


def from_json(content: Mapping[str, Any]) -> dp.DpEvent:
    """Read what ``to_json`` wrote.

    Raises:
      InvalidInputError: An unknown type, a missing or unknown field, or a value out of range.
    """
    event = _build(content, "event")
    check(event)
    return event


_TOO_DEEP = (
    f"Expected at most {_DEEPEST} events inside each other, but {{path}} is deeper: take "
    "compositions of compositions apart."
)


def _shortened(path: str) -> str:
    return f"{path[:40]}...{path[-20:]}"


def _children(event: dp.DpEvent) -> list[tuple[str, dp.DpEvent]]:
    if isinstance(event, dp.ComposedDpEvent):
        return [(f"events[{i}]", child) for i, child in enumerate(event.events)]
    child = getattr(event, "event", None)
    return [] if child is None else [("event", child)]


def _plain(event: dp.DpEvent) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": type(event).__name__}
    for name, (rule, _) in _KINDS[type(event)].items():
        value = getattr(event, name)
        if rule == _EVENT[0]:
            fields[name] = _plain(value)
        elif rule == _EVENTS[0]:
            fields[name] = [_plain(child) for child in value]
        elif isinstance(value, list | tuple):
            fields[name] = [int(v) if _is_whole(v) else float(v) for v in value]
        else:
            fields[name] = int(value) if _is_whole(value) else float(value)
    return fields


def _build(content: Any, path: str) -> dp.DpEvent:
    if path.count(".") > _DEEPEST:
        raise InvalidInputError(_TOO_DEEP.format(path=_shortened(path)))
    got = content.get("type") if isinstance(content, Mapping) else content
    if not isinstance(content, Mapping) or not isinstance(got, str) or got not in _BY_NAME:
        raise InvalidInputError(
            f"Expected {path}.type={quoted(got)} to be one of {', '.join(sorted(_BY_NAME))}."
        )
    kind = _BY_NAME[content["type"]]
    rules = _KINDS[kind]
    if set(content) != {"type", *rules}:
        raise InvalidInputError(
            f"Expected {path} ({kind.__name__}) to have the fields {sorted(rules)}, got "
            f"{sorted(set(content) - {'type'})}."
        )
    values: dict[str, Any] = {}
    for name, (rule, _) in rules.items():
        value = content[name]
        if rule == _EVENT[0]:
            values[name] = _build(value, f"{path}.{name}")
        elif rule == _EVENTS[0] and isinstance(value, list):
            values[name] = [_build(e, f"{path}.{name}[{i}]") for i, e in enumerate(value)]
        else:
            values[name] = value
    return kind(**values)
