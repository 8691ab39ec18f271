"""What was released about the same patients elsewhere, entered by the hospital's operator.

A training by Opacus, a run on another platform, a table that was published: patients do not know
which ledger it stood in. So it is entered, always, even where it passes the budget; from then on
nothing is released. Who enters it holds the hospital's key and says who they are: no message of a
run leads here. What is entered is a claim: nobody here saw the noise.

Nothing that was entered is lowered or taken back: a correction is a further entry, of what the
earlier one left out. No bytes belong to it, so none that leave later can name it.

>>> from dp_accounting import GaussianDpEvent
>>> from privacy.ledger.ledger import Ledger
>>> from privacy.ledger.requests import Budget, Planned
>>> ledger = Ledger.in_memory(hospital="north", budget=Budget(epsilon=1.0))
>>> steps = (Planned("update", GaussianDpEvent(20.0), 9),)
>>> past = Imported("a model of 2024", "Dr. Lin", steps, same_patients=True)
>>> ledger.enter(past).content["filter"], 0.5 < ledger.state().committed < 1
('fixed schedule', True)
"""

import enum
from dataclasses import dataclass
from typing import Any

from privacy.errors import InvalidInputError
from privacy.ledger.forms import (
    SENTENCE,
    Form,
    flag,
    form,
    hexadecimal,
    listed,
    member_of,
    number,
    one_of,
    optional,
    ruled,
    text,
    whole,
)
from privacy.ledger.requests import RELATIONS, Budget, Planned
from privacy.unit import Unit

__all__ = ["Guarantee", "Imported", "objection_to"]

_MOST_PARTS = 10_000


@dataclass(frozen=True)
class Guarantee(Form):
    """A bare guarantee, of which the event is not known: it is added up as it stands.

    Attributes:
      epsilon: Above 0; infinite where there was no protection.
      delta: In [0, 1].
    """

    epsilon: float = ruled(number(above=True, infinite=True))
    delta: float = ruled(number(0.0, 1.0))


@dataclass(frozen=True)
class Imported(Form):
    """Spending that happened elsewhere.

    Attributes:
      source: What it was, and by what it was made, for the auditor.
      operator: Who enters it.
      schedule: Its releases, as events.
      claims: Guarantees without events.
      unit: Whose coming or going it hides.
      relation: Between which tables; it has to be the budget's.
      same_patients: Whether the operator states that it is about the patients of this ledger; what
        was released about others belongs into theirs.
      evidence: SHA-256, in hex, of the file that it was read from; None: it was typed.
      corrects: The entry of which this is what was left out.
    """

    source: str = ruled(text(SENTENCE))
    operator: str = ruled(text())
    schedule: tuple[Planned, ...] = ruled(listed(form(Planned), least=0, most=_MOST_PARTS), ())
    claims: tuple[Guarantee, ...] = ruled(listed(form(Guarantee), least=0, most=_MOST_PARTS), ())
    unit: Unit = ruled(member_of(Unit), Unit.PATIENT)
    relation: str | enum.Enum = ruled(one_of(*RELATIONS), "ADD_OR_REMOVE_ONE")
    same_patients: bool = ruled(flag(), False)
    evidence: str | None = ruled(optional(hexadecimal(64)), None)
    corrects: int | None = ruled(optional(whole(0, 2**32)), None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.schedule and not self.claims:
            raise InvalidInputError("Nothing was spent elsewhere: give a schedule or claims.")

    @property
    def parts(self) -> tuple[list[tuple[dict[str, Any], int]], list[tuple[float, float]]]:
        """Events as plain JSON with how often, and claims: what a filter counts."""
        events = [(step.to_json()["event"], step.count) for step in self.schedule]
        return events, [(claim.epsilon, claim.delta) for claim in self.claims]


def objection_to(imported: Imported, budget: Budget) -> str:
    """Why it can't be added to what this budget counts; empty if it can."""
    if not imported.same_patients:
        return "nobody states that it is about the patients of this ledger"
    if imported.unit != budget.unit:
        return f"it hides each {imported.unit}, and the budget counts each {budget.unit}"
    if imported.relation != budget.relation_name:
        return f"it holds under {imported.relation}, and the budget under {budget.relation_name}"
    return ""
