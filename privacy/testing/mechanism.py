"""Grey-box checks of a mechanism against the event that it claims.

    def my_training(patients, source):            # [patients, dim] -> one array a release
        return [clip(patients, clip_norm=1.0).sum() + source.gaussian(2.0, patients.shape[1])
                for _ in range(10)]

    def test_my_training():
        claim = SelfComposedDpEvent(GaussianDpEvent(2.0), 10)
        assert check_mechanism(my_training, claim, dim=5) == []

The source answers what the check tells it to, so that every run can be repeated. On some hundred
and fifty data sets chosen to be awkward, their neighbours, and samples of everybody, nobody, one
patient, all the others and halves:
  1. ``control``: all randomness comes from the source, and it is asked for the same whatever the
     patients: neither the noise's scale nor the flow of control follows them;
  2. ``count``: as many releases as the claim has;
  3. ``fresh``: every release holds noise of its own of the claimed kind, each draw whole, once, in
     64 bits, times a constant; one draw or several shares, wherever they are put;
  4. ``sensitivity``: if the neighbour had released the same so far, one patient moves the next
     release by no more than the noise's strength over the claimed multiplier (twice that under
     ``REPLACE_ONE``), and an unsampled patient not at all;
  5. ``sampler``: where the claim says Poisson sampling, the source drew such samples, with those
     probabilities, of all patients.

There is no randomness in the check and so no chance of a false alarm; ``check_source`` tests the
source itself. What it can't see: mistakes on data that none of its data sets resembles (a threshold
beyond ``crowd`` patients); effects below a relative 1e-9; what a run gives away beside its releases
(a refusal, its time, its log); and whether the claim says what is enough.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from numpy.typing import NDArray

from privacy._validate import natural
from privacy.testing.demands import Demands, moves, read
from privacy.testing.neighbours import PATTERNS, Pair, Pattern, ordinary, pairs, samplers
from privacy.testing.recording import RandomnessRequest
from privacy.testing.wiring import Run, Running, Stuck, Wiring, correct, play, rounding, wire

__all__ = ["BrokenPromise", "Run", "check_mechanism"]

_SLACK = 1e-9  # relative: what float64 may add to a norm, with room


@dataclass(frozen=True)
class BrokenPromise:
    """A promise that does not hold.

    Attributes:
      check: ``control``, ``count``, ``fresh``, ``sensitivity`` or ``sampler``.
      message: What was seen, and what should have been.
    """

    check: str
    message: str


def check_mechanism(
    run: Run,
    claim: dp.DpEvent,
    *,
    dim: int,
    patients: int = 6,
    relation: Relation = Relation.ADD_OR_REMOVE_ONE,
    crowd: int = 1_000,
    non_finite: bool = True,
) -> list[BrokenPromise]:
    """Return what the first data set that shows a mistake shows; an empty list if none does.

    Args:
      run: ``run(rows, source)`` does everything on float64 ``[patients, dim]`` and returns one
        array a release, as it was when it was noised (a constant factor does no harm); all of its
        randomness comes from ``source``. Rounds may build on what was released before.
      claim: The event that it claims, of (sampled) additive noise, at most 1,000 releases. Its
        multipliers are over what a patient moves by coming or going, under every relation.
      dim: Columns of the rows.
      patients: Rows of most of the data sets tried.
      relation: The relation that the claim is made under.
      crowd: Rows of the largest data set.
      non_finite: Whether rows with NaN, infinity or 1e300 are tried. A mechanism may refuse these,
        by raising, but no others; say False where what calls it refuses them.

    Raises:
      InvalidInputError: The claim holds an event that is not additive noise, ``relation`` is none,
        or a number is out of range.
      Exception: What ``run`` raises on ordinary rows.
    """
    natural(dim=dim, least=1)
    natural(patients=patients, least=2)
    natural(crowd=crowd)
    check = _Check(run, read(claim), moves(relation), relation, dim)
    findings: dict[str, BrokenPromise] = {}
    for finding in check.findings(patients, crowd, non_finite=non_finite):
        findings.setdefault(finding.check, finding)
    return list(findings.values())


@dataclass(frozen=True)
class _Check:
    run: Run
    claim: Demands
    factor: int
    relation: Relation
    dim: int

    def findings(self, patients: int, crowd: int, *, non_finite: bool) -> Iterator[BrokenPromise]:
        rows = ordinary(patients, self.dim)
        base = play(self.run, rows, raises=True)
        first = list(self._first(rows, base))
        yield from first
        if first:
            return
        # Where the number of patients is public, noise may follow it; else one holds for all.
        baselines: dict[int, tuple[Running, Wiring]] = {}
        add = self.relation is Relation.ADD_OR_REMOVE_ONE
        unit = self._unit(base, wire(self.run, rows, base))
        patterns = PATTERNS if base.samples else PATTERNS[:1]
        for turn, pair in enumerate(
            pairs(patients, self.dim, self.relation, unit=unit, crowd=crowd, non_finite=non_finite)
        ):
            n = patients if add else len(pair.rows)
            if n not in baselines:
                some = ordinary(n, self.dim)
                start = play(self.run, some)
                baselines[n] = start, wire(self.run, some, start)
                unnoised = list(self._unnoised(*baselines[n]))
                yield from unnoised
                if unnoised:
                    return
            # Everybody is sampled each time, the other samples take turns.
            for pattern in dict.fromkeys((patterns[0], patterns[turn % len(patterns)])):
                seen = list(self._compare(*baselines[n], pair, pattern))
                yield from seen
                if seen:  # the rest would tell the same at length
                    return
        if not _same(base, play(self.run, rows)):
            yield BrokenPromise(
                "control", "The same rows and the same noise gave other releases later."
            )

    def _first(self, rows: NDArray[np.float64], base: Running) -> Iterator[BrokenPromise]:
        """What one data set shows."""
        demands, probs = self.claim.demands, self.claim.probs
        if not _same(base, play(self.run, rows)):
            yield BrokenPromise(
                "control",
                "The same rows and the same noise gave two different releases: there is randomness "
                "that does not come from the source, or something is kept from run to run.",
            )
        if len(base.releases) != len(demands):
            yield BrokenPromise(
                "count",
                f"The claim has {len(demands)} releases; {len(base.releases)} were returned, with "
                f"{len(base.calls)} draws of noise.",
            )
        drawn = [call.scale for call in base.samples]
        if probs and (
            len(drawn) != len(probs)
            or not np.allclose(drawn, probs, rtol=1e-12, atol=0)
            or any(call.size != len(rows) for call in base.samples)
        ):
            yield BrokenPromise(
                "sampler",
                f"The claim samples {len(probs)} times with probabilities {sorted(set(probs))}; "
                f"{len(drawn)} Poisson samples were drawn, with {sorted(set(drawn))}, of "
                f"{sorted({c.size for c in base.samples})} patients (there are {len(rows)}).",
            )
        if len(base.releases) == len(demands):
            yield from self._unnoised(base, wire(self.run, rows, base))

    def _unnoised(self, base: Running, wiring: Wiring) -> Iterator[BrokenPromise]:
        if len(base.releases) != len(self.claim.demands):
            difference = (
                base.error or f"{len(base.releases)} releases, not {len(self.claim.demands)}."
            )
            yield BrokenPromise("control", f"Another number of patients gets {difference}")
            return
        for i, demand in enumerate(self.claim.demands):
            size = base.releases[i].size
            scales = wiring.scales(i, base.calls, size)
            if size and (not scales or not (demand.strength(scales) > 0).all()):
                many = f" in {demand.shares} shares" if demand.shares > 1 else ""
                yield BrokenPromise(
                    "fresh",
                    f"Release {i} is not its sum plus {demand.kind} noise of its own{many}, each "
                    "draw whole and once, in 64 bits.",
                )
                return
            if demand.dim is not None and demand.dim != size:
                yield BrokenPromise(
                    "count", f"Release {i} has {size} coordinates; the claim's has {demand.dim}."
                )
                return

    def _unit(self, base: Running, wiring: Wiring) -> float:
        """The smallest distance that the claim lets one patient move a release."""
        distances = [
            float(demand.strength(wiring.scales(i, base.calls, base.releases[i].size)).min())
            / demand.noise_multiplier
            for i, demand in enumerate(self.claim.demands)
            if base.releases[i].size
        ]
        return min(distances, default=1.0)

    def _compare(
        self, base: Running, wiring: Wiring, pair: Pair, pattern: Pattern
    ) -> Iterator[BrokenPromise]:
        of_rows, of_other = samplers(pattern, pair)
        target = play(self.run, pair.rows, sample=of_rows)
        leaks = self._told_apart(base, target, pair)
        if leaks is not None:
            yield from leaks
            return
        corrected = correct(self.run, pair.other, of_other, target, wiring, self.claim.demands)
        if isinstance(corrected, Stuck):
            yield _stuck(corrected, pair)
            return
        other, moved = corrected
        leaks = self._told_apart(base, other, pair)
        if leaks is not None:
            yield from leaks
            return
        if not _same_scales(target.calls, other.calls) or not _same_scales(
            target.samples, other.samples
        ):
            yield BrokenPromise("control", _difference(target.calls, other.calls))
            return
        if base.samples and any(c.size != len(pair.rows) for c in target.samples):
            if self.claim.probs:
                yield BrokenPromise(
                    "sampler", f"Not all of {len(pair.rows)} patients could be sampled."
                )
            return
        taken = [of_rows(draw, len(pair.rows))[pair.place] for draw in range(len(target.samples))]
        far = self._moved_too_far(target, other, wiring, moved, taken)
        if far is not None:
            yield far

    def _told_apart(
        self, base: Running, running: Running, pair: Pair
    ) -> list[BrokenPromise] | None:
        """What the flow of a run gives away; None if it is the usual one."""
        if running.error:
            if not pair.ordinary:
                return []  # refused
            return [BrokenPromise("control", f"{_named(pair)} raises {running.error}")]
        shapes = [[(c.kind, c.size) for c in each.calls] for each in (base, running)]
        if shapes[0] != shapes[1] or len(base.samples) != len(running.samples):
            return [BrokenPromise("control", _difference(base.calls, running.calls))]
        sizes = [[r.size for r in each.releases] for each in (base, running)]
        if sizes[0] != sizes[1]:
            return [
                BrokenPromise(
                    "control", f"{_named(pair)} releases {sizes[1]} numbers, not {sizes[0]}."
                )
            ]
        return None

    @np.errstate(all="ignore")  # what moves without bound may overflow
    def _moved_too_far(
        self,
        target: Running,
        other: Running,
        wiring: Wiring,
        moved: tuple[NDArray[np.float64], ...],
        taken: list[np.bool_],
    ) -> BrokenPromise | None:
        for i, (demand, by) in enumerate(zip(self.claim.demands, moved, strict=True)):
            strength = demand.strength(wiring.scales(i, target.calls, by.size))
            slack = 4 * max(rounding(each, wiring, i) for each in (target, other))
            away = demand.sample is not None and not taken[demand.sample]
            times = 0 if away else self.factor
            allowed = (times + _SLACK) / demand.noise_multiplier
            far = float(np.linalg.norm(by, demand.order))
            surely = np.maximum(np.abs(by) - slack, 0) / strength
            scaled = float(np.linalg.norm(surely, demand.order))
            # Integers have no rounding to be forgiven.
            radius = np.inf if demand.radius is None else times * demand.radius
            weak = demand.radius is not None and bool(
                (strength < demand.noise_multiplier * demand.radius * (1 - _SLACK)).any()
            )
            if scaled > allowed or far > radius + _SLACK or weak:
                who = "A patient outside its sample" if away else "One patient"
                return BrokenPromise(
                    "sensitivity",
                    f"{who} moves release {i} by {far:.6g}, if all before it are the same; noise "
                    f"of strength {float(strength.min()):.6g} at multiplier "
                    f"{demand.noise_multiplier:.6g} allows "
                    f"{times * float(strength.min()) / demand.noise_multiplier:.6g}"
                    + ("." if demand.radius is None else f", the claim's radius {radius:.6g}."),
                )
        return None


def _same(first: Running, second: Running) -> bool:
    return (
        first.calls == second.calls
        and first.samples == second.samples
        and [r.tobytes() for r in first.releases] == [r.tobytes() for r in second.releases]
    )


def _same_scales(
    first: tuple[RandomnessRequest, ...], second: tuple[RandomnessRequest, ...]
) -> bool:
    return np.allclose([c.scale for c in first], [c.scale for c in second], rtol=_SLACK, atol=0)


def _stuck(stuck: Stuck, pair: Pair) -> BrokenPromise:
    if not stuck.finite:
        return BrokenPromise(
            "sensitivity",
            f"{_named(pair)} makes release {stuck.release} something that is no finite number. "
            "Set such rows to zero or refuse them first; if what calls the mechanism does, say "
            "non_finite=False.",
        )
    return BrokenPromise(
        "fresh",
        f"{_named(pair)} makes release {stuck.release} something else than its sum plus the noise "
        "that it holds on other data.",
    )


def _named(pair: Pair) -> str:
    return f"Patient {pair.place} of {len(pair.rows)}, {np.array2string(pair.rows[pair.place])},"


def _difference(first: tuple[RandomnessRequest, ...], second: tuple[RandomnessRequest, ...]) -> str:
    for i, (a, b) in enumerate(zip(first, second, strict=False)):
        if (a.kind, a.size) != (b.kind, b.size) or not _same_scales((a,), (b,)):
            return f"Request {i} for noise is {a} on one data set and {b} on another."
    return f"{len(first)} requests for noise on one data set, {len(second)} on another."
