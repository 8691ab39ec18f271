"""Where the ledger asks what events cost: one seam, two accountants, answers kept.

The ledger stores events, never just epsilon. The accountant is called once a plan, not once a
release, and equal questions are answered from memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

from privacy._foreign import printable
from privacy.errors import InpatientError, RefusedError
from privacy.ledger.forms import SENTENCE, Form, number, ruled, text
from privacy.ledger.log.canonical import decode, encode
from privacy.ledger.preset_order import delta_at, epsilon_of, renyi
from privacy.ledger.requests import Budget, DpEvent

__all__ = [
    "Accountant",
    "Assessor",
    "Certified",
    "Cost",
    "Guarded",
    "RenyiOnly",
    "composed",
    "event_json",
    "mentions",
]


@dataclass(frozen=True)
class Cost(Form):
    """An interval for an epsilon: ``lower <= true epsilon <= upper``.

    Attributes:
      lower: No smaller epsilon holds, as far as ``method`` can tell.
      estimate: Best guess.
      upper: Proved.
      method: How ``upper`` was found.
      versions: The accountant's version, and those of the libraries that it used.
    """

    lower: float = ruled(number(infinite=True))
    estimate: float = ruled(number(infinite=True))
    upper: float = ruled(number(infinite=True))
    method: str = ruled(text(SENTENCE))
    versions: str = ruled(text(SENTENCE, least=0))


@runtime_checkable
class Accountant(Protocol):
    """What a ledger needs to know about events, given as plain JSON."""

    def epsilon(self, event: Mapping[str, Any], budget: Budget) -> Cost:
        """Cost of the event at the budget's delta, under its relation."""

    def divergence(self, event: Mapping[str, Any], order: int, budget: Budget) -> float:
        """Upper bound on its Rényi divergence at an integer order; ``inf`` if none is proved."""


@runtime_checkable
class Assessor(Accountant, Protocol):
    """What an auditor's page asks beyond that; nothing of it decides what may be spent."""

    def delta(self, event: Mapping[str, Any], epsilon: float, budget: Budget) -> float:
        """Upper bound on delta at an epsilon."""

    def success(self, event: Mapping[str, Any], prior: float, budget: Budget) -> float | None:
        """Upper bound on reconstruction where ``prior`` succeeds without the release, or None."""


class Certified:
    """The project's accountant for epsilon, and its own Rényi sum for filters."""

    def epsilon(self, event: Mapping[str, Any], budget: Budget) -> Cost:
        """Interval from ``privacy.accounting``."""
        return _epsilon(encode(event), budget.delta, budget.relation_name)

    def divergence(self, event: Mapping[str, Any], order: int, budget: Budget) -> float:
        """Bound from ``privacy.ledger.preset_order``."""
        return _divergence(encode(event), order, budget.relation_name)

    def delta(self, event: Mapping[str, Any], epsilon: float, budget: Budget) -> float:
        """Upper end of the interval from ``privacy.accounting``."""
        from privacy.accounting import delta

        relation = _relation(budget.relation_name)
        return delta(_typed(event), epsilon=epsilon, relation=relation).upper

    def success(self, event: Mapping[str, Any], prior: float, budget: Budget) -> float | None:
        """Bound from ``privacy.reconstruction``."""
        from privacy.reconstruction import success_bound

        relation = _relation(budget.relation_name)
        return success_bound(_typed(event), prior_success=prior, relation=relation)


class RenyiOnly:
    """The second road: nothing but Rényi divergences."""

    def epsilon(self, event: Mapping[str, Any], budget: Budget) -> Cost:
        """Upper bound alone; below it nothing is claimed."""
        upper, order = _second(encode(event), budget.delta, budget.relation_name)
        return Cost(0.0, upper, upper, f"Rényi divergence at order {order}", "own")

    def divergence(self, event: Mapping[str, Any], order: int, budget: Budget) -> float:
        """Bound from ``privacy.ledger.preset_order``."""
        return _divergence(encode(event), order, budget.relation_name)

    def delta(self, event: Mapping[str, Any], epsilon: float, budget: Budget) -> float:
        """Bound from ``privacy.ledger.preset_order``."""
        return delta_at(event, epsilon, budget.relation_name)

    def success(self, event: Mapping[str, Any], prior: float, budget: Budget) -> float | None:
        """None: it has no bound on reconstruction."""
        return None


class Guarded:
    """An accountant whose every failure is an ``InpatientError``, and whose every answer a bound.

    The ledger asks through it: whatever an accountant raises or returns becomes a refusal, which is
    recorded, and nothing is spent.
    """

    def __init__(self, accountant: Accountant) -> None:
        self.accountant = accountant

    def epsilon(self, event: Mapping[str, Any], budget: Budget) -> Cost:
        """Its answer.

        Raises:
          InpatientError: It has none.
        """
        with _in_words():
            cost = self.accountant.epsilon(event, budget)
            if not 0 <= cost.lower <= cost.upper:
                raise RefusedError(f"it answered with epsilon in [{cost.lower}, {cost.upper}]")
        return cost

    def divergence(self, event: Mapping[str, Any], order: int, budget: Budget) -> float:
        """Its answer.

        Raises:
          InpatientError: It has none.
        """
        with _in_words():
            divergence = float(self.accountant.divergence(event, order, budget))
            if not divergence >= 0:
                raise RefusedError(f"it answered with a divergence of {divergence}")
        return divergence


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except InpatientError:
        raise
    except Exception as error:  # whatever it is, a refusal has to be recorded
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise RefusedError(f"it failed with {printable(reason[:200])}") from error


def event_json(event: DpEvent) -> dict[str, Any]:
    """Return an event as plain JSON; plain JSON passes through, once it is checked.

    Raises:
      InvalidInputError: It can't be accounted for; the message names the subevent.
    """
    from privacy.accounting.events import from_json, to_json

    if isinstance(event, dict):
        from_json(event)
        return event
    return dict(to_json(event))


def composed(parts: Sequence[tuple[Mapping[str, Any], int]]) -> dict[str, Any]:
    """Return one event for several, each repeated, as plain JSON."""
    events = [
        dict(event)
        if count == 1
        else {"type": "SelfComposedDpEvent", "event": dict(event), "count": count}
        for event, count in parts
    ]
    return events[0] if len(events) == 1 else {"type": "ComposedDpEvent", "events": events}


def mentions(event: Mapping[str, Any], name: str) -> bool:
    """Whether an event of that type stands anywhere in this one."""
    inner = event.get("event")
    children = [*event.get("events", []), *([inner] if isinstance(inner, Mapping) else [])]
    return bool(event["type"] == name) or any(mentions(child, name) for child in children)


@lru_cache(maxsize=512)
def _epsilon(event: bytes, delta: float, relation: str) -> Cost:
    from privacy.accounting import epsilon

    interval = epsilon(_typed(decode(event)), delta=delta, relation=_relation(relation))
    versions = ", ".join(f"{name} {version}" for name, version in sorted(interval.versions.items()))
    return Cost(interval.lower, interval.estimate, interval.upper, interval.method, versions)


@lru_cache(maxsize=512)
def _second(event: bytes, delta: float, relation: str) -> tuple[float, int]:
    return epsilon_of(decode(event), delta, relation)


@lru_cache(maxsize=4096)
def _divergence(event: bytes, order: int, relation: str) -> float:
    return renyi(decode(event), order, relation)


def _typed(event: Mapping[str, Any]) -> DpEvent:
    from privacy.accounting.events import from_json

    return from_json(event)


def _relation(name: str) -> Any:
    from dp_accounting import NeighboringRelation

    return NeighboringRelation[name]
