"""Grey-box checks of a mechanism against the event that it claims.

    def my_training(patients, source):            # [patients, dim] -> one array a release
        return [clip(patients, clip_norm=1.0).sum() + source.gaussian(2.0, patients.shape[1])
                for _ in range(10)]

    def test_my_training():
        claim = SelfComposedDpEvent(GaussianDpEvent(2.0), 10)
        assert check_mechanism(my_training, claim, dim=5) == []

What is checked, on data sets chosen to be awkward and their neighbours:
  1. ``control``: the same randomness is asked for on both, scale by scale: neither noise scale nor
     control flow follows the data;
  2. ``count``: as many draws of noise as the claim has releases, and as many releases returned;
  3. ``fresh``: every release holds its own draw, whole, once, in 64 bits;
  4. ``sensitivity``: without the noise, one patient moves a release by no more than the noise's
     scale over the claimed multiplier;
  5. ``sampler``: where the claim says Poisson sampling, the source drew such a sample, with that
     probability, of all patients, for every release.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from numpy.typing import NDArray

from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    SkellamDpEvent,
    check,
)
from privacy.errors import InvalidInputError
from privacy.testing.recording import Call, Recording

__all__ = ["Finding", "Run", "check_mechanism", "neighbours"]

Rows = NDArray[np.float64]
Run = Callable[[Rows, Any], Sequence[NDArray[Any]]]
_NOISE = {
    dp.GaussianDpEvent: "gaussian",
    DiscreteGaussianDpEvent: "discrete_gaussian",
    DistributedDiscreteGaussianDpEvent: "discrete_gaussian",
    SkellamDpEvent: "skellam",
}
_SLACK = 1e-9  # relative: what float64 may add to a norm


@dataclass(frozen=True)
class Finding:
    """A promise that does not hold.

    Attributes:
      check: ``control``, ``count``, ``fresh``, ``sensitivity`` or ``sampler``.
      message: What was seen, and what should have been.
    """

    check: str
    message: str


@dataclass(frozen=True)
class _Claimed:
    """One release of the claim."""

    kind: str
    noise_multiplier: float
    prob: float


def check_mechanism(
    run: Run,
    claim: dp.DpEvent,
    *,
    dim: int,
    patients: int = 6,
    relation: Relation = Relation.ADD_OR_REMOVE_ONE,
) -> list[Finding]:
    """Return what is wrong with a mechanism, one finding a check at most; an empty list if nothing.

    Args:
      run: ``run(rows, source)`` does everything on float64 ``[patients, dim]`` and returns one
        array a release; all of its randomness comes from ``source``.
      claim: The event that it claims, of (sampled) additive noise.
      dim: Columns of the rows.
      patients: Rows of the data sets tried.
      relation: The relation that the claim is made under.

    Raises:
      InvalidInputError: The claim holds an event that is not additive noise.
    """
    check(claim)
    claimed = list(_releases(claim, 1.0))
    found: dict[str, Finding] = {}
    for with_, without in neighbours(patients, dim, relation):
        for finding in _compare(run, claimed, with_, without):
            found.setdefault(finding.check, finding)
    return list(found.values())


def neighbours(patients: int, dim: int, relation: Relation) -> Iterator[tuple[Rows, Rows]]:
    """Yield awkward data sets with a neighbour: long, short, opposed, aligned, empty."""
    rng = np.random.default_rng(0)
    unit = np.zeros(dim)
    unit[0] = 1.0
    for length in (1e6, 1.0, 1e-3):
        aligned = np.tile(unit * length, (patients, 1))
        opposed = aligned.copy()
        opposed[0] *= -1
        spread = rng.normal(size=(patients, dim)) * length
        lonely = np.zeros((patients, dim))
        lonely[0] = unit * length
        for rows in (aligned, opposed, spread, lonely):
            if relation is Relation.ADD_OR_REMOVE_ONE:
                yield rows, rows[1:]
            else:
                other = rows.copy()
                other[0] = 0.0 if relation is Relation.REPLACE_SPECIAL else -rows[0]
                yield rows, other


def _compare(run: Run, claimed: list[_Claimed], with_: Rows, without: Rows) -> Iterator[Finding]:
    sources = Recording(), Recording()
    released = [
        [np.asarray(r) for r in run(rows.copy(), source)]
        for rows, source in zip((with_, without), sources, strict=True)
    ]
    calls = sources[0].noise_calls
    if [_shape(c) for c in sources[0].calls] != [_shape(c) for c in sources[1].calls]:
        yield Finding("control", _difference(sources[0].calls, sources[1].calls))
    if len(calls) != len(claimed) or len(released[0]) != len(claimed):
        yield Finding(
            "count",
            f"The claim has {len(claimed)} releases; {len(calls)} draws of noise were asked for "
            f"and {len(released[0])} releases returned.",
        )
    yield from _sampler(claimed, sources[0].calls, len(with_))
    marked = Recording(marked=True)
    noised = [np.asarray(r) for r in run(with_.copy(), marked)]
    for i, (plain, loud) in enumerate(zip(released[0], noised, strict=False)):
        own = marked.answers[i] if i < len(marked.answers) else None
        # Exact where the noise-free release is an integer or zero; else up to the sum's rounding.
        scale = np.abs(plain).max(initial=0.0) * 1e-14
        if own is None or not _equal(loud - plain, own, float(scale)):
            yield Finding("fresh", f"Release {i} is not its sum plus its own draw, in 64 bits.")
            break
    for i, (a, b) in enumerate(zip(released[0], released[1], strict=False)):
        if i >= min(len(calls), len(claimed)):
            break
        if calls[i].kind != claimed[i].kind:
            yield Finding(
                "sensitivity", f"Release {i} draws {calls[i].kind}, not {claimed[i].kind}."
            )
            break
        moved = float(np.linalg.norm(a.astype(np.float64) - b))
        allowed = calls[i].scale / claimed[i].noise_multiplier
        if moved > allowed * (1 + _SLACK):
            yield Finding(
                "sensitivity",
                f"One patient moves release {i} by {moved:.6g}; noise of scale "
                f"{calls[i].scale:.6g} at multiplier {claimed[i].noise_multiplier:.6g} allows "
                f"{allowed:.6g}.",
            )
            break


def _sampler(claimed: list[_Claimed], calls: list[Call], patients: int) -> Iterator[Finding]:
    wanted = [c.prob for c in claimed if c.prob < 1]
    drawn = [c for c in calls if c.kind == "poisson_sample"]
    if [c.scale for c in drawn] != wanted or any(c.size != patients for c in drawn):
        yield Finding(
            "sampler",
            f"The claim samples {len(wanted)} times with probabilities {sorted(set(wanted))}; "
            f"{len(drawn)} Poisson samples were drawn, with {sorted({c.scale for c in drawn})}, of "
            f"{sorted({c.size for c in drawn})} patients (there are {patients}).",
        )


def _releases(event: dp.DpEvent, prob: float) -> Iterator[_Claimed]:
    match event:
        case dp.NoOpDpEvent():
            return
        case dp.SelfComposedDpEvent():
            for _ in range(event.count):
                yield from _releases(event.event, prob)
        case dp.ComposedDpEvent():
            for child in event.events:
                yield from _releases(child, prob)
        case dp.PoissonSampledDpEvent():
            yield from _releases(event.event, prob * event.sampling_probability)
        case _ if type(event) in _NOISE:
            yield _Claimed(_NOISE[type(event)], float(event.noise_multiplier), prob)
        case _:
            raise InvalidInputError(
                f"A {type(event).__name__} is not (sampled) additive noise; this check reads "
                f"{', '.join(kind.__name__ for kind in _NOISE)} only."
            )


def _shape(call: Call) -> tuple[Any, ...]:
    """What may not depend on the data; the size of a sample may: it counts the patients."""
    return (call.kind, call.scale, None if call.kind == "poisson_sample" else call.size)


def _difference(first: list[Call], second: list[Call]) -> str:
    for i, (a, b) in enumerate(zip(first, second, strict=False)):
        if _shape(a) != _shape(b):
            return f"Request {i} is {a} on one data set and {b} on its neighbour."
    return f"{len(first)} requests on one data set, {len(second)} on its neighbour."


def _equal(found: NDArray[Any], own: NDArray[np.float64], slack: float) -> bool:
    return found.shape == own.shape and bool((np.abs(found - own) <= slack).all())
