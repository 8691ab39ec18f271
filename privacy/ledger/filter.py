"""Who may spend: decides before anything is read, and replays to the same state from the entries.

Two rules, and every entry says by which it was let through:

- *fixed schedule*: a plan declared before the first release, whose total the accountant found
  within the budget. Its releases follow in the declared order; a skipped one is forfeited.
- *adaptive*: everything else. Rényi divergences at one preset order add up, the plans counted in
  full, and stop where the budget's epsilon would no longer follow (``privacy.ledger.renyi``).

The state changes through ``apply`` alone, and ``apply`` reads nothing but the entry: what a crash
or a reload replays is what was lived through.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from privacy.errors import CorruptMessageError, InpatientError
from privacy.ledger.accountant import Accountant, Cost, composed
from privacy.ledger.log.canonical import encode, from_number, to_number
from privacy.ledger.renyi import best_order, epsilon_at
from privacy.ledger.requests import Budget

__all__ = ["Decision", "Filter"]


@dataclass(frozen=True)
class Decision:
    """What the filter says to one request.

    Attributes:
      granted: Whether it may go ahead.
      record: What the entry says about it.
      why: Reason of a refusal; empty otherwise.
      spent: Epsilon before (upper bound), where a refusal is about the budget.
      asked: Epsilon with it.
    """

    granted: bool
    record: Mapping[str, Any]
    why: str = ""
    spent: float = 0.0
    asked: float = 0.0


@dataclass
class _Plan:
    """A declared schedule and how far it has been walked."""

    steps: tuple[tuple[bytes, int], ...]
    repeats: int
    position: int = 0

    @property
    def cycle(self) -> int:
        return sum(count for _, count in self.steps)

    @property
    def size(self) -> int:
        return self.cycle * self.repeats

    def find(self, key: bytes) -> int | None:
        """First position not yet passed where such a release is planned."""
        start = self.position // self.cycle
        for lap in (start, start + 1):
            place = lap * self.cycle
            for step, count in self.steps:
                first = max(place, self.position)
                if step == key and first < place + count and first < self.size:
                    return first
                place += count
        return None


@dataclass
class Filter:
    """State of one budget.

    Guarantees (tests in ``tests/privacy/ledger/test_filter.py``):
      - what is granted never proves an epsilon above the budget, by the rule that the entry names;
      - replaying the entries gives the state that deciding gave;
      - a refusal changes nothing; nothing lowers what is spent.
    """

    budget: Budget
    order: int
    plans: list[_Plan] = field(default_factory=list)
    planned: list[tuple[Mapping[str, Any], int]] = field(default_factory=list)
    interval: Cost | None = None
    divergence: float = 0.0
    releases: int = 0
    adaptive: bool = False

    @classmethod
    def fresh(cls, budget: Budget) -> "Filter":
        """Nothing spent."""
        return cls(budget, best_order(budget))

    # -- decide: asks the accountant, changes nothing ------------------------------------------

    def plan(
        self, schedule: Sequence[Mapping[str, Any]], repeats: int, accountant: Accountant
    ) -> Decision:
        """Decide on a schedule of ``{"kind", "event", "count"}``, walked ``repeats`` times."""
        if not self.budget.limited:
            return Decision(True, {"filter": "unlimited"})
        parts = [(step["event"], step["count"] * repeats) for step in schedule]
        try:
            if self.releases or self.adaptive:
                cost = math.fsum(
                    count * accountant.divergence(event, self.order, self.budget)
                    for event, count in parts
                )
                return self._add(cost, accountant)
            interval = accountant.epsilon(composed([*self.planned, *parts]), self.budget)
        except InpatientError as error:
            return Decision(False, {}, f"the accountant can't tell its cost: {error}")
        if not interval.upper <= self.budget.epsilon:
            spent = self.interval.upper if self.interval else 0.0
            return Decision(False, {}, self._passes(interval.upper), spent, interval.upper)
        return Decision(True, {"filter": "fixed schedule", "interval": interval.to_json()})

    def release(self, kind: str, event: Mapping[str, Any], accountant: Accountant) -> Decision:
        """Decide on one release."""
        if event["type"] == "NoOpDpEvent":
            return Decision(True, {"filter": "public"})
        key = _key(kind, event)
        for number, plan in enumerate(self.plans):
            position = plan.find(key)
            if position is not None:
                return Decision(True, {"filter": "planned", "plan": number, "position": position})
        if not self.budget.limited:
            return Decision(True, {"filter": "unlimited"})
        try:
            return self._add(accountant.divergence(event, self.order, self.budget), accountant)
        except InpatientError as error:
            return Decision(False, {}, f"the accountant can't tell its cost: {error}")

    def _add(self, cost: float, accountant: Accountant) -> Decision:
        before = self.divergence
        if not self.adaptive:  # from here on the plans count by divergence as well
            before += math.fsum(
                count * accountant.divergence(event, self.order, self.budget)
                for event, count in self.planned
            )
        after = before + cost
        asked = epsilon_at(after, self.order, self.budget.delta)
        if not asked <= self.budget.epsilon:
            spent = epsilon_at(before, self.order, self.budget.delta) if before else 0.0
            return Decision(False, {}, self._passes(asked), spent, asked)
        record = {
            "filter": "adaptive",
            "order": self.order,
            "divergence": from_number(after),
            "epsilon": asked,
        }
        return Decision(True, record)

    def _passes(self, asked: float) -> str:
        return (
            f"epsilon would become {asked:.6g} of {self.budget.epsilon:.6g} allowed for each "
            f"{self.budget.unit} at delta {self.budget.delta:g}"
        )

    # -- apply: reads the entry, asks nobody ----------------------------------------------------

    def apply_plan(self, content: Mapping[str, Any]) -> None:
        """Take a granted plan into the state."""
        schedule, repeats = content["schedule"], content["repeats"]
        steps = tuple((_key(step["kind"], step["event"]), step["count"]) for step in schedule)
        self.plans.append(_Plan(steps, repeats))
        self.planned.extend((step["event"], step["count"] * repeats) for step in schedule)
        self._take(content)

    def apply_release(self, content: Mapping[str, Any]) -> None:
        """Take a granted release into the state.

        Raises:
          CorruptMessageError: It claims a place in a plan that the plan does not have.
        """
        if content["filter"] == "public":
            return
        if content["filter"] == "planned":
            number, position = content["plan"], content["position"]
            key = _key(content["kind"], content["event"])
            plan = self.plans[number] if 0 <= number < len(self.plans) else None
            if plan is None or plan.find(key) != position:
                raise CorruptMessageError(
                    f"A release claims place {position} of plan {number}, which is not its own."
                )
            plan.position = position + 1
        self.releases += 1
        self._take(content)

    def _take(self, content: Mapping[str, Any]) -> None:
        match content["filter"]:
            case "fixed schedule":
                self.interval = Cost.from_json(content["interval"])
            case "adaptive":
                self.adaptive = True
                self.divergence = to_number(content["divergence"])

    # -- tell -----------------------------------------------------------------------------------

    @property
    def committed(self) -> float:
        """Epsilon that the plans and the adaptive releases prove together (upper bound)."""
        if not self.budget.limited:
            return math.inf if self.releases or self.plans else 0.0
        if self.adaptive:
            return epsilon_at(self.divergence, self.order, self.budget.delta)
        return self.interval.upper if self.interval else 0.0

    @property
    def left(self) -> int:
        """Planned releases not yet made."""
        return sum(plan.size - plan.position for plan in self.plans)


def _key(kind: str, event: Mapping[str, Any]) -> bytes:
    return encode([kind, event])
