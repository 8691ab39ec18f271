"""Enters into a ledger what was released elsewhere: always granted, priced like all else."""

from privacy.errors import InvalidInputError
from privacy.ledger.accountant import Accountant
from privacy.ledger.chain import Chain
from privacy.ledger.imported import Imported, objection_to
from privacy.ledger.log.entries import Entry

__all__ = ["enter"]


def enter(chain: Chain, accountant: Accountant, imported: Imported) -> Entry:
    """Record what was released elsewhere (``Ledger.enter``).

    Raises:
      InvalidInputError: It is about another unit or relation, or corrects an entry that is none of
        its kind; nothing is recorded.
    """
    with chain.lock() as state:
        if imported.unit not in state.filters:
            raise InvalidInputError(
                f"The ledger of {state.hospital} holds no budget for the unit "
                f"{imported.unit.value!r}: what was spent for another unit can't be counted here."
            )
        book = state.filters[imported.unit]
        if why := objection_to(imported, book.budget):
            raise InvalidInputError(
                f"It can't be entered into the ledger of {state.hospital}: {why}. State what it "
                "costs each of its patients (--same-patients), under the budget's own relation."
            )
        corrects = imported.corrects
        if corrects is not None and corrects not in state.entered:
            raise InvalidInputError(
                f"Entry {corrects} of the ledger of {state.hospital} entered nothing that could be "
                "corrected."
            )
        decision = book.enter(*imported.parts, accountant)
        return chain.append("imported", imported.to_json() | dict(decision.record))
