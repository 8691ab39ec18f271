"""A request that was refused: recorded, and then told to whoever asked."""

from collections.abc import Mapping
from typing import Any, NoReturn

from privacy._foreign import printable
from privacy.errors import BudgetExceededError, RefusedError
from privacy.ledger.chain import Chain
from privacy.ledger.filter import Decision
from privacy.ledger.log.canonical import from_number

__all__ = ["refuse"]


def refuse(chain: Chain, what: str, content: Mapping[str, Any], decision: Decision) -> NoReturn:
    """Record a refusal and raise it; the lock is held.

    Args:
      chain: The ledger.
      what: ``release`` or ``plan``.
      content: What was asked.
      decision: Why not, and what it would have cost.

    Raises:
      BudgetExceededError: The budget would be passed.
      RefusedError: Any other reason.
    """
    over, state = decision.asked > 0, chain.state
    epsilons = {"spent": from_number(decision.spent), "asked": from_number(decision.asked)}
    record = {"what": what, "request": content, "why": printable(decision.why)}
    chain.append("refusal", record | (epsilons if over else {}))
    message = f"The ledger of {state.hospital} refuses this {what}: {decision.why}. "
    # Somebody else's program may ask when it has read and summed already.
    read = "Records may have been read; no result may be used" if state.foreign else ""
    message += f"{read or 'No record was read'}; the refusal is recorded."
    if over:
        allowed = state.filters[content["unit"]].budget.epsilon
        unfinished = [p.digest for book in state.filters.values() for p in book.plans if p.left]
        digests = ", ".join(plan[:12] for plan in unfinished)
        hint = f" Plans that are not finished count in full: {digests}; abandon dead ones."
        raise BudgetExceededError(
            f"{message} Ask for less, or for more noise.{hint if digests else ''}",
            spent=decision.spent,
            asked=decision.asked,
            allowed=allowed,
        )
    raise RefusedError(message)
