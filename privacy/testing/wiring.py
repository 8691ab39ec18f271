r"""Where each draw of noise ends up, and what a neighbour would have needed to release the same.

A mechanism that may use what it released before, as training does, is at round i a function
:math:`f_i(\text{rows}, r_1, \ldots, r_{i-1}) + z_i`. Composition asks that one patient moves
:math:`f_i` by little *for the same* :math:`r_1, \ldots, r_{i-1}`. So the mechanism is run on a data
set, and then on its neighbour with noise that makes every release the same: what that noise differs
by is what the patient moved. The noise is found by correcting it with what the releases still
differ by: each correction makes at least one more release right, or the release does not hold its
noise as it did on other data.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.testing.demands import Demand
from privacy.testing.recording import RandomnessRequest, Recording, Sampler, everybody

__all__ = ["Run", "Running", "Stuck", "Wire", "Wiring", "correct", "play", "rounding", "wire"]

Rows = NDArray[np.float64]
Run = Callable[[Rows, Any], Sequence[Any]]
_ULPS = 2.0**-46  # what a few roundings of float64 may add; 32-bit noise is off by 2^-25


@dataclass(frozen=True)
class Running:
    """What one run asked for, was given and released.

    Attributes:
      releases: As flat float64 arrays; integers below 2^53 stay exact.
      calls: Requests for noise.
      samples: Requests for samples.
      noise: The answers to ``calls``.
      error: What was raised, in words; empty where nothing was.
    """

    releases: tuple[NDArray[np.float64], ...] = ()
    calls: tuple[RandomnessRequest, ...] = ()
    samples: tuple[RandomnessRequest, ...] = ()
    noise: tuple[NDArray[Any], ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Wire:
    """A draw that is part of a release, whole and once.

    Attributes:
      call: Which request for noise.
      coefficient: What the release multiplies it by.
      places: The release's coordinate of each of its numbers.
    """

    call: int
    coefficient: float
    places: NDArray[np.intp]


@dataclass(frozen=True)
class Stuck:
    """Noise could not make a release what it was on the neighbour.

    Attributes:
      release: Which.
      finite: Whether both releases are finite numbers.
    """

    release: int
    finite: bool


@dataclass(frozen=True)
class Wiring:
    """The draws of each release, found by changing one after the other."""

    wires: tuple[tuple[Wire, ...], ...]

    def scales(
        self, release: int, calls: Sequence[RandomnessRequest], size: int
    ) -> list[tuple[str, NDArray[np.float64]]]:
        """Return kind and standard deviation by coordinate of each draw in a release."""
        scales = []
        for end in self.wires[release]:
            scale = np.zeros(size)
            scale[end.places] = abs(end.coefficient) * calls[end.call].scale
            scales.append((calls[end.call].kind, scale))
        return scales

    def carriers(
        self, release: int, kind: str, calls: Sequence[RandomnessRequest], size: int
    ) -> list[tuple[Wire, NDArray[np.bool_]]]:
        """Return a draw to change for each coordinate: wires, and which of their numbers."""
        free = np.ones(size, dtype=np.bool_)
        carriers = []
        for end in self.wires[release]:
            if calls[end.call].kind == kind:
                mine = free[end.places]
                free[end.places[mine]] = False
                carriers.append((end, mine))
        return carriers


def play(
    run: Run,
    rows: Rows,
    noise: Sequence[NDArray[Any]] = (),
    sample: Sampler = everybody,
    *,
    raises: bool = False,
) -> Running:
    """Run a mechanism once on a copy of the rows."""
    source = Recording(noise, sample=sample)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # what overflows shows in the releases
            releases = tuple(
                np.array(release, dtype=np.float64).ravel() for release in run(rows.copy(), source)
            )
        error = ""
    except Exception as caught:  # whatever it is, the data made it happen
        if raises:
            raise
        releases, error = (), f"{type(caught).__name__}: {caught}"
    return Running(
        releases,
        tuple(source.noise_calls),
        tuple(source.sample_calls),
        tuple(source.answers),
        error,
    )


@np.errstate(all="ignore")
def wire(run: Run, rows: Rows, base: Running) -> Wiring:
    """Change one draw after the other and see which release answers first, and how."""
    wires: list[list[Wire]] = [[] for _ in base.releases]
    for j, call in enumerate(base.calls):
        mark = _mark(j, call)
        noise = list(base.noise)
        noise[j] = noise[j] + mark
        loud = play(run, rows, noise)
        for i, (a, b) in enumerate(zip(base.releases, loud.releases, strict=False)):
            if a.shape != b.shape or not (a == b).all():
                end = _matched(j, a, b, mark)
                if end is not None:
                    wires[i].append(end)
                break
    return Wiring(tuple(tuple(ends) for ends in wires))


@np.errstate(all="ignore")  # a release may be infinite
def correct(
    run: Run,
    rows: Rows,
    sample: Sampler,
    target: Running,
    wiring: Wiring,
    demands: Sequence[Demand],
) -> tuple[Running, tuple[NDArray[np.float64], ...]] | Stuck:
    """Run with noise that makes every release what it is in ``target``.

    Returns:
      The run, and for each release by how much its noise had to differ; or what could not be made
      equal. A run that raises, or releases something of another shape, is returned as it is.
    """
    noise = [np.array(z) for z in target.noise]
    last, tries = -1, 0
    for _ in range(3 * len(demands) + 3):
        now = play(run, rows, noise, sample)
        if now.error or [r.shape for r in now.releases] != [r.shape for r in target.releases]:
            return now, ()
        if [(c.kind, c.size) for c in now.calls] != [(c.kind, c.size) for c in target.calls]:
            return now, ()
        wrong = _first_difference(target, now, wiring)
        if wrong is None:
            return now, tuple(
                _moved(i, wiring, demand, target, noise) for i, demand in enumerate(demands)
            )
        tries = tries + 1 if wrong == last else 0
        last = wrong
        finite = bool(np.isfinite([*target.releases[wrong], *now.releases[wrong]]).all())
        if tries == 2 or not finite:
            return Stuck(wrong, finite)
        # What is right is left alone: the next run then has the same history, to the bit.
        for i in range(wrong, len(demands)):
            _correct_release(i, wiring, demands[i], target, now, noise)
    return Stuck(last, finite=True)


def _correct_release(
    i: int,
    wiring: Wiring,
    demand: Demand,
    target: Running,
    now: Running,
    noise: list[NDArray[Any]],
) -> None:
    residual = target.releases[i] - now.releases[i]
    if not np.isfinite(residual).all():
        return  # not this release's fault alone: an earlier one is wrong, or it will be found so
    for end, mine in wiring.carriers(i, demand.kind, target.calls, residual.size):
        step = np.where(mine, residual[end.places] / end.coefficient, 0.0)
        z = noise[end.call]
        noise[end.call] = z + (np.rint(step).astype(np.int64) if z.dtype.kind == "i" else step)


def _moved(
    i: int, wiring: Wiring, demand: Demand, target: Running, noise: list[NDArray[Any]]
) -> NDArray[np.float64]:
    moved = np.zeros(target.releases[i].size)
    for end, mine in wiring.carriers(i, demand.kind, target.calls, moved.size):
        by = (noise[end.call] - target.noise[end.call]) * end.coefficient
        moved[end.places[mine]] = by[mine]
    return moved


def rounding(running: Running, wiring: Wiring, i: int) -> float:
    """What float64 may have added to a release: it is as coarse as the largest of its terms."""
    noise = (end.coefficient * running.noise[end.call] for end in wiring.wires[i])
    return max(_ulps(running.releases[i]), *(_ulps(z) for z in noise), 0.0)


def _ulps(values: NDArray[np.float64]) -> float:
    return _ULPS * float(np.abs(values).max(initial=0.0))


def _first_difference(target: Running, now: Running, wiring: Wiring) -> int | None:
    for i, (a, b) in enumerate(zip(target.releases, now.releases, strict=True)):
        slack = max(rounding(target, wiring, i), rounding(now, wiring, i))
        if not (np.abs(a - b) <= slack).all():
            return i
    return None


def _mark(place: int, call: RandomnessRequest) -> NDArray[Any]:
    """Numbers as large as the noise that are told apart and that 32-bit floats can't hold."""
    scale = call.scale if 0 < call.scale < np.inf else 1.0
    mark = np.random.default_rng([11, place]).uniform(1.0, 2.0, call.size)
    if call.kind in ("gaussian", "laplace"):
        return mark * scale
    # Odd and above 2^25.
    return np.asarray(np.rint(mark * max(scale, 2.0**25)), np.int64) * 2 + 1


def _matched(
    call: int, before: NDArray[np.float64], after: NDArray[np.float64], mark: NDArray[Any]
) -> Wire | None:
    if before.shape != after.shape or not np.isfinite(after - before).all():
        return None
    moved = after - before
    where = np.flatnonzero(moved)
    if len(where) != len(mark):
        return None
    coefficient = float(moved[where].sum() / mark.sum())
    slack = max(_ulps(before), _ulps(after))
    order = np.argsort(mark)
    places = np.empty_like(where)
    # Marks are positive and differ: sorting finds them again wherever they were put.
    places[order] = where[np.argsort(moved[where] * np.sign(coefficient))]
    if not (np.abs(moved[places] - coefficient * mark) <= slack).all():
        return None
    return Wire(call, coefficient, places)
