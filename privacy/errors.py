"""The errors that a caller may want to handle, and what each means for the command line.

Every message holds the value, the rule and the way out, in one paragraph. The command line prints
it and exits with status 2; nothing half-written is left behind.
"""

__all__ = [
    "BudgetExceededError",
    "CorruptMessageError",
    "CostlierPlanWarning",
    "IncompleteSweepError",
    "InpatientError",
    "InvalidInputError",
    "RefusedError",
]


class InpatientError(Exception):
    """Base of all errors that tell the user what to change."""


class InvalidInputError(InpatientError, ValueError):
    """An argument, a file or a patient's table breaks a stated rule."""


class RefusedError(InpatientError):
    """A privacy rule forbids what was asked; nothing was read, released or opened."""


class BudgetExceededError(RefusedError):
    """A release would pass a hospital's budget.

    Attributes:
      spent: epsilon of the releases so far (upper bound).
      asked: epsilon that the whole ledger would have with the refused release (upper bound).
      allowed: epsilon of the budget.
    """

    def __init__(self, message: str, *, spent: float, asked: float, allowed: float) -> None:
        super().__init__(message)
        self.spent = spent
        self.asked = asked
        self.allowed = allowed


class CostlierPlanWarning(UserWarning):
    """A plan was granted, and would have cost less if it had been declared before any release."""


class CorruptMessageError(InpatientError):
    """Bytes that arrived are not what their header, signature or scheme says they are."""


class IncompleteSweepError(InpatientError):
    """Some points of a sweep failed; those that did not have their records."""
