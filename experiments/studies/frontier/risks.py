"""A point's risk by who attacks it: one axis, one adversary; what was not tried is said.

``curious`` sees what its position sees and knows the schema: the server that gets each update, or
the opened sums where they are sealed. ``informed`` knows all other patients beside that. A low risk
under one says nothing of the other, so no figure joins the two and no table puts one for both.
"""

from collections.abc import Mapping
from typing import Any

from experiments.run.record import Record
from experiments.run.text import interval, nearest
from experiments.studies.design import Design
from experiments.studies.lineups import INFORMED

__all__ = ["ADVERSARIES", "BY_DEFINITION", "NOT_TRIED", "by_definition", "risk_of", "told"]

ADVERSARIES = {"curious": "a curious server", INFORMED: "who knows all other patients"}
"""Names of figures' axes and of tables' columns."""
NOT_TRIED = "not tried"
BY_DEFINITION = "by definition"


def risk_of(record: Record, adversary: str) -> Mapping[str, Any] | None:
    """How often an adversary's best attack names the target, and which ``attack`` that is.

    Args:
      record: A point of the frontier, or of hospitals at their own pace.
      adversary: One of ``ADVERSARIES``.

    Returns:
      ``attack``, ``value``, ``lower``, ``upper`` and so on; what ``by_definition`` speaks of has
      the same for every adversary; None: no attack of this adversary was tried.
    """
    if by_definition(record):
        risk: Mapping[str, Any] = record.metrics["risk"]
        return risk
    found = [
        {**risk, "attack": name}
        for name, risk in record.metrics["risks"].items()
        if (name == INFORMED) == (adversary == INFORMED) and _reads(record, name)
    ]
    return max(found, key=lambda risk: float(risk["value"]), default=None)


def by_definition(record: Record) -> bool:
    """Whether this is no federation: a pool's keeper reads all, nothing leaves who trains alone."""
    return record.config["design"] in (Design.POOLED, Design.LOCAL_ONLY)


def told(record: Record, adversary: str, digits: int = 2) -> tuple[str, str]:
    """The risk and its interval as text; ``NOT_TRIED`` and nothing where it was not tried."""
    found = risk_of(record, adversary)
    if found is None:
        return NOT_TRIED, ""
    between = BY_DEFINITION if by_definition(record) else interval(found, digits)
    return nearest(found["value"], digits), between


def _reads(record: Record, attack: str) -> bool:
    """Whether an attack can read what was sent: one that only guesses was not tried.

    The closed form knows itself that it reads nothing of several local steps.
    """
    return not (attack == "closed_form" and record.config["local_steps"] > 1)
