"""What reading a ledger gives: who said what, what was spent, and what is wrong with it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from privacy.ledger.accountant import Cost
from privacy.ledger.log.heads import Head
from privacy.ledger.log.merkle import Frontier
from privacy.ledger.requests import Budget, Json

__all__ = [
    "Claim",
    "PayloadEntry",
    "PlanWord",
    "Problem",
    "Reading",
    "Spent",
    "gathered",
    "roots_at",
]


@dataclass(frozen=True)
class Problem:
    """Why a ledger is not to be believed.

    Attributes:
      entry: Sequence of the entry at fault, None if it is the whole file.
      reason: One sentence.
    """

    entry: int | None
    reason: str


@dataclass(frozen=True)
class Claim:
    """Somebody's signed word on what a ledger held when it had a certain size.

    Attributes:
      head: The head.
      by: Who vouches for it: another hospital, or the receiver who kept it.
    """

    head: Head
    by: str


@dataclass(frozen=True)
class Spent:
    """What a unit's budget has seen, recomputed.

    Attributes:
      budget: What was allowed.
      interval: By the project's accountant; None where nothing is promised.
      second: Upper bound by Rényi divergence alone; ``inf`` if it has none.
      rule: ``fixed schedule``, ``adaptive``, ``nothing spent`` or ``unlimited``.
      releases: Accounted releases made.
      left: Planned releases not made.
      event: What was committed to, as plain JSON: the plans, and the unplanned releases.
    """

    budget: Budget
    interval: Cost | None
    second: float
    rule: str
    releases: int
    left: int
    event: Mapping[str, Any]


@dataclass(frozen=True)
class PayloadEntry:
    """A payload's entry, found by its digest.

    Attributes:
      release: Sequence of the release.
      bytes: Size that was sealed.
      rule: How the release was let through.
      run: Of the plan that it follows; empty without one.
      weight: What its patients were multiplied by before the noise.
    """

    release: int
    bytes: int
    rule: str
    run: str
    weight: Json


@dataclass(frozen=True)
class PlanWord:
    """What a hospital says about a run's plan in its ledger.

    Attributes:
      plan: Digest of the public plan.
      own: Digest of its own schedule.
      others: Digests of other hospitals' schedules, as it derives them.
    """

    plan: str
    own: str
    others: Mapping[str, str]


@dataclass
class Reading:
    """What a ledger's file says, and what is wrong with it."""

    path: Path
    hospital: str = ""
    identity: str = ""
    public_key: str = ""
    foreign: str = ""
    size: int = 0
    enrolled: dict[str, str] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    spent: list[Spent] = field(default_factory=list)
    vouched: list[Claim] = field(default_factory=list)
    sealed: dict[str, PayloadEntry] = field(default_factory=dict)
    plans: dict[str, list[PlanWord]] = field(default_factory=dict)
    runs: Counter[str] = field(default_factory=Counter)
    dead: set[str] = field(default_factory=set)
    public: Counter[str] = field(default_factory=Counter)
    public_bytes: int = 0
    payloads: int = 0
    matched: int = 0
    lost: list[int] = field(default_factory=list)
    refusals: int = 0
    last_release: int = -1
    leaves: bytearray = field(default_factory=bytearray)

    def stated(self, run: str = "") -> list[dict[str, Any]]:
        """Plain facts: those of its opening with those beside each plan of a run, or of all."""
        wanted = [facts for name, facts in self.facts.items() if run in ("", name)]
        return [self.context | facts for facts in wanted] or [self.context]


def gathered(
    parts: Iterable[tuple[Mapping[str, Any], int]],
) -> list[tuple[Mapping[str, Any], int]]:
    """Join equal neighbours, so that a thousand like releases stay one event."""
    joined: list[tuple[Mapping[str, Any], int]] = []
    for event, count in parts:
        if joined and joined[-1][0] == event:
            joined[-1] = (event, joined[-1][1] + count)
        else:
            joined.append((event, count))
    return joined


def roots_at(leaves: bytes | bytearray, sizes: Iterable[int]) -> dict[int, str]:
    """Merkle roots of the first ``size`` entries, for each size, from their leaf hashes."""
    wanted, roots, tree = set(sizes), {}, Frontier()
    if 0 in wanted:
        roots[0] = tree.root().hex()
    for start in range(0, len(leaves), 32):
        tree.append_leaf(bytes(leaves[start : start + 32]))
        if tree.size in wanted:
            roots[tree.size] = tree.root().hex()
    return roots
