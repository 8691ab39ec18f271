"""What a ledger begins with: who keeps it, under which key, with what budget."""

from collections.abc import Mapping
from typing import Any

from privacy.ledger.filter import Filter
from privacy.ledger.log.keys import SigningKey
from privacy.ledger.requests import Budget, Json
from privacy.names import distinct_names, plain_name

__all__ = ["first_entry"]


def first_entry(
    hospital: str,
    key: SigningKey,
    budget: Budget,
    enrolled: Mapping[str, str] | None,
    context: Mapping[str, Json] | None,
    foreign: str | None = None,
) -> dict[str, Any]:
    """Return the content of a ledger's first entry.

    ``foreign`` names the program of somebody else's that makes its releases; None: the project's.

    Raises:
      InvalidInputError: A name is no plain name, or two could be mistaken for each other.
    """
    plain_name(hospital=hospital)
    distinct_names(enrolled=enrolled or {})
    book = Filter.fresh(budget)
    return {
        "public_key": key.public,
        "budgets": [budget.to_json() | {"order": book.order}],
        "enrolled": dict(enrolled or {}),
        "context": dict(context or {}),
    } | ({} if foreign is None else {"foreign": foreign})
