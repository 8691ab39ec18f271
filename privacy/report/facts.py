"""Everything that the page says, as data without a language: gathered once, shown twice."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from privacy._foreign import digest_file
from privacy.errors import CorruptMessageError
from privacy.ledger.accountant import Assessor, Cost, composed, mentions
from privacy.ledger.audit.manifest import Manifest
from privacy.ledger.audit.reading import Reading, Spent, roots_at
from privacy.ledger.audit.show import read_entries
from privacy.ledger.audit.verify import Verdict
from privacy.ledger.declared_schedule import parts_of
from privacy.ledger.log.entries import Entry
from privacy.ledger.preset_order import best_order, delta_at
from privacy.ledger.requests import Budget
from privacy.report.evidence_file import ReportedEvidence
from privacy.report.meant import Meant, meant_by
from privacy.report.printed import gaussian_mu
from privacy.unit import Unit

__all__ = ["CurvePoint", "Facts", "LedgerRow", "SpentRow", "gather"]

PRIOR = 0.1  # the guess before the release that the first sentence starts from
_POINTS = 13


@dataclass(frozen=True)
class SpentRow:
    """One budget of one hospital."""

    hospital: str
    budget: Budget
    interval: Cost | None
    second: float
    rule: str
    releases: int
    left: int

    @property
    def share(self) -> float:
        """Spent over allowed, in [0, 1]; 0 where nothing is promised."""
        if self.interval is None:
            return 0.0
        return min(1.0, self.interval.upper / self.budget.epsilon)


@dataclass(frozen=True)
class LedgerRow:
    """A run of like entries of one ledger.

    Attributes:
      hospital: Whose.
      first: Sequence of the first entry.
      last: Sequence of the last.
      kind: Kind of entry.
      word: Kind of release, what was refused or abandoned, who was enrolled.
      event: The event, as plain JSON, if there is one.
      count: How many releases.
      rounds: First and last round, if it is a release.
      rule: By which it was let through.
      interval: What the accountant says of it, for a plan.
      epsilon: Epsilon so far, for an adaptive release.
      text: A free remark from the ledger, such as a refusal's reason.
    """

    hospital: str
    first: int
    last: int
    kind: str
    word: str = ""
    event: Mapping[str, Any] | None = None
    count: int = 1
    rounds: tuple[int, int] | None = None
    rule: str = ""
    interval: Cost | None = None
    epsilon: float | None = None
    text: str = ""


@dataclass(frozen=True)
class CurvePoint:
    """Delta at one epsilon, by both accountants."""

    epsilon: float
    certified: float
    renyi: float


@dataclass(frozen=True)
class Facts:
    """What both pages are made from.

    Attributes:
      run: Name of the run, empty if the ledgers don't say.
      verdict: What verification found.
      evidence: What was measured.
      spent: One row a hospital and unit.
      worst: The row with the largest epsilon; None if no ledger could be read.
      rows: The ledger table.
      curve: Delta against epsilon for the worst row; empty if nothing is promised.
      mu: The Gaussian with the worst row's (epsilon, delta), None if there is none.
      success: Bound on reconstruction at ``PRIOR``, None if there is none.
      honest: Hospitals that must keep their noise shares to themselves; None if none must.
      meant: What the epsilon is for.
      unprotected: Number of releases that nothing bounds.
      rounds: Number of rounds.
      files: Digest of every ledger's file, by name.
      roots: Size and root of every ledger.
      versions: Accountants and libraries.
      context: Plain facts from the ledgers about the run, each by the hospitals that state it.
      began: Time of the earliest entry, by the hospitals' clocks; empty if no ledger could be read.
      ended: Time of the latest entry.
      manifests: Digest of each manifest, and whether every row of it is signed, by name.
    """

    run: str
    verdict: Verdict
    evidence: ReportedEvidence
    spent: tuple[SpentRow, ...]
    worst: SpentRow | None
    rows: tuple[LedgerRow, ...]
    curve: tuple[CurvePoint, ...]
    mu: float | None
    success: float | None
    honest: int | None
    meant: Meant
    unprotected: int
    rounds: int
    files: Mapping[str, str]
    roots: Mapping[str, tuple[int, str]]
    versions: tuple[str, ...]
    context: Mapping[str, Mapping[str, tuple[str, ...]]]
    began: str
    ended: str
    manifests: Mapping[str, tuple[str, bool]]

    def stated(self, name: str) -> tuple[str, ...]:
        """What the ledgers state under a name: one value if they agree, none if none does."""
        return tuple(self.context.get(name, {}))

    @property
    def promised(self) -> bool:
        """Whether a guarantee exists, and was verified."""
        return (
            self.verdict.ok
            and bool(self.spent)
            and self.unprotected == 0
            and all(row.interval is not None for row in self.spent)
        )

    @property
    def claimed(self) -> bool:
        """Whether a program of somebody else's made the releases of any ledger."""
        return any(reading.foreign for reading in self.verdict.readings)

    @property
    def hospitals(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(dict.fromkeys(row.hospital for row in self.spent))


def gather(
    verdict: Verdict,
    evidence: ReportedEvidence,
    assessor: Assessor,
    *,
    manifests: Mapping[str, Path],
) -> Facts:
    """Collect the page's facts from a verdict and the evidence beside it."""
    readings = [reading for reading in verdict.readings if reading.hospital]
    pairs = [(reading, spent) for reading in readings for spent in reading.spent]
    spent = tuple(_spent_row(reading, each) for reading, each in pairs)
    limited = [(row, each) for row, (_, each) in zip(spent, pairs, strict=True) if row.interval]
    worst, most = max(limited, key=_upper, default=(spent[0] if spent else None, None))
    rows = tuple(row for reading in readings for row in _ledger_rows(reading))
    released = [row for row in rows if row.kind == "release"]
    events = [each.event for _, each in pairs]
    sent = {name: _Sent.read(path) for name, path in manifests.items() if path.is_file()}
    named = {one.run for one in sent.values()}
    run = named.pop() if len(named) == 1 else ""
    context: dict[str, dict[str, tuple[str, ...]]] = {}
    for reading in readings:
        statements = reading.stated(run)
        for name, value in dict.fromkeys(
            (name, str(value)) for facts in statements for name, value in facts.items()
        ):
            values = context.setdefault(name, {})
            values[value] = (*values.get(value, ()), reading.hospital)
    times = [time for reading in readings for time in _times(reading)]
    runs = tuple(context.get("run", {}))
    return Facts(
        run=runs[0] if len(runs) == 1 else "",
        verdict=verdict,
        evidence=evidence,
        spent=spent,
        worst=worst,
        rows=rows,
        curve=_curve(most, assessor) if most else (),
        mu=_mu(worst),
        success=_success(most, assessor) if most else None,
        honest=min(_honest(events), default=None),
        meant=meant_by(
            worst.budget.unit if worst else Unit.PATIENT,
            events,
            {name: tuple(values) for name, values in context.items() if _by_all(values, readings)},
        ),
        unprotected=sum(
            row.count for row in released if row.event and mentions(row.event, "NonPrivateDpEvent")
        ),
        rounds=max((row.rounds[1] + 1 for row in released if row.rounds), default=0),
        files={r.path.name: digest_file(r.path)[1] for r in readings},
        roots={r.hospital: (r.size, _root(r)) for r in readings},
        versions=tuple(sorted({row.interval.versions for row in spent if row.interval} - {""})),
        context=context,
        began=min(times, default=""),
        ended=max(times, default=""),
        manifests={name: (one.digest, one.signed) for name, one in sent.items()},
    )


def _by_all(values: Mapping[str, tuple[str, ...]], readings: list[Reading]) -> bool:
    """Whether every hospital states one of these."""
    return {name for names in values.values() for name in names} == {r.hospital for r in readings}


class _Sent(NamedTuple):
    """What a manifest says of itself: its run, and whether each row names a signature.

    ``verify`` checks whether the signatures hold.
    """

    digest: str
    run: str
    signed: bool

    @classmethod
    def read(cls, path: Path) -> "_Sent":
        digest = digest_file(path)[1]
        try:
            manifest = Manifest.load(path)
        except CorruptMessageError:  # it has failed verification already
            return cls(digest, "", False)
        rows = manifest.messages
        return cls(digest, manifest.run, bool(rows) and all(row.signature for row in rows))


def _times(reading: Reading) -> list[str]:
    if reading.problems:
        return []
    return [entry.time for entry in read_entries(reading.path)]


def _upper(pair: tuple[SpentRow, Spent]) -> float:
    interval = pair[0].interval
    return interval.upper if interval else 0.0


def _spent_row(reading: Reading, spent: Spent) -> SpentRow:
    return SpentRow(
        reading.hospital,
        spent.budget,
        spent.interval,
        spent.second,
        spent.rule,
        spent.releases,
        spent.left,
    )


def _root(reading: Reading) -> str:
    return roots_at(reading.leaves, [reading.size])[reading.size]


def _mu(worst: SpentRow | None) -> float | None:
    if worst is None or worst.interval is None or not math.isfinite(worst.interval.upper):
        return None
    if worst.interval.upper == 0:
        return 0.0
    return gaussian_mu(worst.interval.upper, worst.budget.delta)


def _success(spent: Spent, assessor: Assessor) -> float | None:
    """Bound on reconstruction, where there is something to bound."""
    if spent.interval is None or not 0 < spent.interval.upper < math.inf:
        return None
    if spent.rule == "adaptive":  # (epsilon, delta) alone holds then: kappa e^epsilon + delta
        return min(1.0, PRIOR * math.exp(spent.interval.upper) + spent.budget.delta)
    return assessor.success(spent.event, PRIOR, spent.budget)


def _curve(spent: Spent, assessor: Assessor) -> tuple[CurvePoint, ...]:
    if spent.interval is None or not 0 < spent.interval.upper < math.inf:
        return ()
    event, budget = spent.event, spent.budget
    adaptive = spent.rule == "adaptive"
    order = best_order(budget) if adaptive else None
    top = 2 * max(spent.interval.upper, budget.epsilon)
    points = []
    for number in range(_POINTS):
        epsilon = top * number / (_POINTS - 1)
        second = delta_at(event, epsilon, budget.relation_name, order)
        certified = second if adaptive else assessor.delta(event, epsilon, budget)
        points.append(CurvePoint(epsilon, certified, second))
    return tuple(points)


def _honest(events: list[Mapping[str, Any]]) -> list[int]:
    """Contributors of every shared noise in the events."""
    contributors = []
    for event in events:
        if event["type"] == "DistributedDiscreteGaussianDpEvent":
            contributors.append(int(event["contributors"]))
        contributors += _honest(event.get("events", []))
        if "event" in event:
            contributors += _honest([event["event"]])
    return contributors


def _ledger_rows(reading: Reading) -> list[LedgerRow]:
    """Table rows: like releases in a row become one."""
    if reading.problems:
        return []
    rows: list[LedgerRow] = []
    for entry in read_entries(reading.path):
        if entry.kind == "sealed":
            continue
        row = _row(reading.hospital, entry)
        joined = _join(rows[-1], row) if rows else None
        if joined:
            rows[-1] = joined
        else:
            rows.append(row)
    return rows


def _join(one: LedgerRow, other: LedgerRow) -> LedgerRow | None:
    like = ("hospital", "kind", "word", "event", "rule", "text")
    if one.kind in ("opening", "plan", "imported", "abandoned", "enrolled") or any(
        getattr(one, n) != getattr(other, n) for n in like
    ):
        return None
    rounds = None
    if one.rounds and other.rounds:
        rounds = (min(one.rounds[0], other.rounds[0]), max(one.rounds[1], other.rounds[1]))
    return replace(other, first=one.first, count=one.count + 1, rounds=rounds)


def _row(hospital: str, entry: Entry) -> LedgerRow:
    content, at = entry.content, entry.sequence
    match entry.kind:
        case "plan":
            steps = content["schedule"]
            event = composed(parts_of(steps, 1))
            return LedgerRow(
                hospital,
                at,
                at,
                "plan",
                ", ".join(dict.fromkeys(step["kind"] for step in steps)),
                event,
                content["repeats"] * sum(step["count"] for step in steps),
                rule=content["filter"],
                interval=Cost.from_json(content["interval"]) if "interval" in content else None,
                epsilon=content.get("epsilon"),
            )
        case "release":
            return LedgerRow(
                hospital,
                at,
                at,
                "release",
                content["kind"],
                content["event"],
                1,
                (content["round"], content["round"]),
                content["filter"],
                None,
                content.get("epsilon"),
                content["reason"],
            )
        case "imported":
            steps = content["schedule"]
            return LedgerRow(
                hospital,
                at,
                at,
                "imported",
                "spent elsewhere, as claimed",
                composed([(step["event"], step["count"]) for step in steps]) if steps else None,
                sum(step["count"] for step in steps) + len(content["claims"]),
                rule=content["filter"],
                interval=Cost.from_json(content["interval"]) if "interval" in content else None,
                epsilon=content.get("epsilon"),
                text=f"{content['source']} (entered by {content['operator']})",
            )
        case "abandoned":
            return LedgerRow(
                hospital,
                at,
                at,
                "abandoned",
                content["plan"][:12],
                rule=content["filter"],
                interval=Cost.from_json(content["interval"]) if "interval" in content else None,
                epsilon=content.get("epsilon"),
                text=content["reason"],
            )
        case "enrolled":
            return LedgerRow(hospital, at, at, "enrolled", ", ".join(sorted(content["enrolled"])))
        case "refusal":
            return LedgerRow(hospital, at, at, "refusal", content["what"], text=str(content["why"]))
    return LedgerRow(hospital, at, at, entry.kind)
