"""Who may spend: decides before anything is read, and replays to the same state from the entries.

Two rules, and every entry says by which it was let through:

- *fixed schedule*: a plan declared before the first release, whose total the accountant found
  within the budget. Its releases follow in the declared order; a skipped one is forfeited.
  What happened elsewhere and is entered first of all is such a plan, made in full.
- *adaptive*: everything else. Rényi divergences at one preset order add up, the plans counted in
  full, and stop where the budget's epsilon would no longer follow
  (``privacy.ledger.preset_order``).

What happened elsewhere is entered whatever it costs (``enter``): nothing can be undone. Past the
budget nothing more is released, planned or not; what then adds up is a running total, and no
longer a filter's guarantee.

A release belongs to the plan whose digest it names, or to none. A plan may be abandoned: the places
that are left are forfeited, and what they would have cost is freed where that is sound:

- nothing was released yet: the choice depends on no patient, and the plan is as if never declared;
- something was released: the choice may depend on it, so that from then on all is counted by Rényi
  divergence, of the abandoned plan what was made of it. This holds for every course that things
  could have taken only if, counted so, the plans *in full* are within the budget. Where they are
  not, the course on which nothing is abandoned is covered by another proof; each of the two leaves
  delta, together up to twice as much; so nothing is freed.

The state changes through ``apply`` alone, and ``apply`` reads nothing but the entry: what a crash
or a reload replays is what was lived through.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from privacy.errors import CorruptMessageError, InpatientError
from privacy.ledger.accountant import Accountant, Cost, composed
from privacy.ledger.declared_schedule import DeclaredPlan, Fate, Part, parts_of
from privacy.ledger.log.canonical import from_number, to_number
from privacy.ledger.preset_order import best_order, epsilon_at
from privacy.ledger.requests import Budget
from privacy.ledger.rounding import up

__all__ = ["Decision", "Filter"]

_ROUNDING = 1e-14


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
class Filter:
    """State of one budget.

    Guarantees (tests in ``tests/privacy/ledger/test_filter.py``):
      - what is granted never proves an epsilon above the budget, by the rule that the entry names;
      - replaying the entries gives the state that deciding gave;
      - what was spent elsewhere counts with all else, and past the budget nothing is granted that
        depends on a patient;
      - a refusal changes nothing; nothing lowers what is spent, but that a plan is abandoned lowers
        what is set aside for releases that were not made;
      - whatever sequence of plans, releases and abandonments is granted, for any choice of each
        after seeing all before, the releases together keep the budget.
    """

    budget: Budget
    order: int
    plans: list[DeclaredPlan] = field(default_factory=list)
    interval: Cost | None = None
    divergence: float = 0.0
    releases: int = 0
    adaptive: bool = False
    elsewhere: list[Part] = field(default_factory=list)
    claimed: list[tuple[float, float]] = field(default_factory=list)

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
        parts = parts_of(schedule, repeats)
        try:
            if self.late:
                return self._add(self._sum(parts, accountant), accountant)
            interval = accountant.epsilon(composed([*self.planned, *parts]), self.budget)
        except InpatientError as error:
            return Decision(False, {}, f"the accountant can't tell its cost: {error}")
        if not interval.upper <= self.budget.epsilon:
            spent = self.interval.upper if self.interval else 0.0
            return Decision(False, {}, self._passes(interval.upper), spent, interval.upper)
        return Decision(True, {"filter": "fixed schedule", "interval": interval.to_json()})

    def release(
        self,
        kind: str,
        event: Mapping[str, Any],
        accountant: Accountant,
        *,
        plan: str | None = None,
        round_: int = 0,
    ) -> Decision:
        """Decide on one release that belongs to the plan of that digest, or to none.

        Args:
          kind: Its word.
          event: Its event, as plain JSON.
          accountant: Prices it where no plan has it.
          plan: Digest of its plan.
          round_: Its round, which tells what step of a pass it is.
        """
        if event["type"] == "NoOpDpEvent":
            return Decision(True, {"filter": "public"})
        if self.passed:
            spent = self.committed
            return Decision(False, {}, self._passes(spent), spent, spent)
        declared = self.find(plan)
        if declared is not None and declared.fate is not Fate.STANDING:
            return Decision(False, {}, f"its plan {declared.digest[:12]} was abandoned")
        position = None if declared is None else declared.find(kind, event, round_)
        if position is not None:
            return Decision(True, {"filter": "planned", "position": position})
        if not self.budget.limited:
            return Decision(True, {"filter": "unlimited"})
        try:
            return self._add(accountant.divergence(event, self.order, self.budget), accountant)
        except InpatientError as error:
            return Decision(False, {}, f"the accountant can't tell its cost: {error}")

    def enter(
        self,
        parts: Sequence[Part],
        claims: Sequence[tuple[float, float]],
        accountant: Accountant,
    ) -> Decision:
        """Count what was released elsewhere; it is always granted.

        Args:
          parts: Its events, and how often.
          claims: Bare (epsilon, delta), which basic composition adds to all else.
          accountant: Prices the events; what it can't price costs infinity.
        """
        if not self.budget.limited:
            return Decision(True, {"filter": "unlimited"})
        first = not (self.late or self.plans or claims)
        try:
            if first:
                interval = accountant.epsilon(composed(parts), self.budget)
                return Decision(True, {"filter": "fixed schedule", "interval": interval.to_json()})
            divergence = self._so_far(accountant) + self._sum(parts, accountant)
        except InpatientError:
            divergence = math.inf
        return Decision(True, self._adaptive(divergence, claims))

    def abandon(self, digest: str, accountant: Accountant) -> Decision:
        """Decide what becomes free when the rest of a plan is forfeited; see the module."""
        plan = self.find(digest)
        if plan is None or not plan.left:
            return Decision(False, {}, f"no plan {digest[:12]} stands with places left to forfeit")
        if not self.budget.limited:
            return Decision(True, {"filter": "unlimited"})
        try:
            if not self.late:
                rest = [part for p in self.plans if p is not plan for part in p.counted]
                nothing = Cost(0.0, 0.0, 0.0, "nothing was declared", "")
                interval = accountant.epsilon(composed(rest), self.budget) if rest else nothing
                return Decision(True, {"filter": "fixed schedule", "interval": interval.to_json()})
            before = self._so_far(accountant)
            if not self.proves(before) <= self.budget.epsilon:
                return Decision(True, {"filter": "kept"})
            freed = self._sum(plan.unmade, accountant)
        except InpatientError:
            return Decision(True, {"filter": "kept"})  # no proof, so nothing is freed
        # Rounded against us: a difference is wrong by as much as its larger term is.
        after = max(0.0, before - freed * (1 - _ROUNDING)) + before * _ROUNDING
        return Decision(True, self._adaptive(after))

    def _sum(self, parts: Sequence[Part], accountant: Accountant) -> float:
        return math.fsum(
            count * accountant.divergence(event, self.order, self.budget) for event, count in parts
        )

    def _so_far(self, accountant: Accountant) -> float:
        """Divergence of all that counts; before the first adaptive entry it is not yet added up."""
        if self.adaptive:
            return self.divergence
        return self._sum([*self.elsewhere, *self.planned], accountant)

    def _adaptive(
        self, divergence: float, claims: Sequence[tuple[float, float]] = ()
    ) -> dict[str, Any]:
        return {
            "filter": "adaptive",
            "order": self.order,
            "divergence": from_number(divergence),
            "epsilon": from_number(self.proves(divergence, claims)),
        }

    def proves(self, divergence: float, more: Sequence[tuple[float, float]] = ()) -> float:
        """Epsilon that a divergence proves, beside all claims that are added as they stand."""
        claims = [*self.claimed, *more]
        if not claims:
            return epsilon_at(divergence, self.order, self.budget.delta)
        delta = self.budget.delta - math.fsum(delta for _, delta in claims) * (1 + _ROUNDING)
        if not delta > 0:
            return math.inf
        claimed = math.fsum(epsilon for epsilon, _ in claims)
        return (epsilon_at(divergence, self.order, delta) + claimed) * (1 + _ROUNDING)

    def _add(self, cost: float, accountant: Accountant) -> Decision:
        before = self._so_far(accountant)
        after = before + cost
        epsilon = self.proves(after)
        if not epsilon <= self.budget.epsilon:
            spent = self.proves(before) if before or self.claimed else 0.0
            return Decision(False, {}, self._passes(epsilon), spent, epsilon)
        return Decision(True, self._adaptive(after))

    def _passes(self, epsilon: float) -> str:
        return (
            f"epsilon would become {epsilon:.6g} of {self.budget.epsilon:.6g} allowed for each "
            f"{self.budget.unit} at delta {self.budget.delta:g}"
        )

    # -- apply: reads the entry, asks nobody ----------------------------------------------------

    def apply_plan(self, content: Mapping[str, Any]) -> None:
        """Take a granted plan into the state.

        Raises:
          CorruptMessageError: A plan of that digest was declared before.
        """
        plan = DeclaredPlan.read(content)
        if self.find(plan.digest) is not None:
            raise CorruptMessageError(f"The plan {plan.digest[:12]} was declared before.")
        self.plans.append(plan)
        self._take(content)

    def apply_abandonment(self, content: Mapping[str, Any]) -> None:
        """Take an abandonment into the state.

        Raises:
          CorruptMessageError: There is no such plan, or nothing left of it.
        """
        plan = self.find(content["plan"])
        if plan is None or not plan.left:
            raise CorruptMessageError(f"It abandons a plan {content['plan'][:12]} with none left.")
        plan.fate = Fate.KEPT if content["filter"] in ("kept", "unlimited") else Fate.FREED
        self._take(content)

    def apply_entered(self, content: Mapping[str, Any]) -> None:
        """Take what was spent elsewhere into the state."""
        self.elsewhere += [(step["event"], step["count"]) for step in content["schedule"]]
        self.claimed += [
            (to_number(claim["epsilon"]), claim["delta"]) for claim in content["claims"]
        ]
        self._take(content)

    def apply_release(self, content: Mapping[str, Any]) -> None:
        """Take a granted release into the state.

        Raises:
          CorruptMessageError: It claims a place in a plan that the plan does not have.
        """
        if content["filter"] == "public":
            return
        if content["filter"] == "planned":
            position, plan = content["position"], self.find(content["plan"])
            plan_position = (
                None
                if plan is None
                else plan.find(content["kind"], content["event"], content.get("round", 0))
            )
            if plan is None or plan_position != position:
                raise CorruptMessageError(
                    f"A release claims place {position} of a plan, which is not its own."
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
            return math.inf if self.releases or self.plans or self.elsewhere else 0.0
        if self.adaptive:
            return self.proves(self.divergence)
        return self.interval.upper if self.interval else 0.0

    @property
    def passed(self) -> bool:
        """Whether the budget was passed, by what was spent elsewhere: nothing else can."""
        return self.budget.limited and not self.committed <= self.budget.epsilon

    @property
    def left(self) -> int:
        """Planned releases not yet made."""
        return sum(plan.left for plan in self.plans)

    @property
    def planned(self) -> list[Part]:
        """What counts of the plans: events, and how often."""
        return [part for plan in self.plans for part in plan.counted]

    @property
    def late(self) -> bool:
        """Whether a choice may depend on what was released."""
        return self.releases > 0 or self.adaptive or bool(self.elsewhere or self.claimed)

    def find(self, digest: str | None) -> DeclaredPlan | None:
        """The plan of that digest."""
        return next((plan for plan in self.plans if plan.digest == digest), None)

    def costlier(
        self, content: Mapping[str, Any], decision: Decision, accountant: Accountant
    ) -> str:
        """What a plan after the first release costs beside what it would have cost before it."""
        epsilon = decision.asked or decision.record.get("epsilon")
        if not epsilon:
            return ""
        warning = (
            ": after a release, plans are counted by Rényi divergence; epsilon is "
            f"{up(epsilon)} in all"
        )
        try:
            parts = [*self.elsewhere, *self.planned, *DeclaredPlan.read(content).whole]
            together = accountant.epsilon(composed(parts), self.budget).upper
        except InpatientError:
            return warning
        if together < epsilon:
            warning += (
                f", where all plans declared together before it would have had {up(together)}"
            )
        return warning
