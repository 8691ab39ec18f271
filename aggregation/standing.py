"""Ledgers that outlive runs: one for the same patients, whatever run or cohort file comes next."""

from collections.abc import Mapping
from pathlib import Path

from privacy.errors import RefusedError
from privacy.ledger import Budget, Ledger, SigningKey
from privacy.ledger.requests import Json

__all__ = ["StandingLedgers"]


class StandingLedgers:
    """A folder of ledgers and their keys, taken up by one run after the other.

    A ledger that stands keeps its own budget, whatever a run asks: its file rules.

    Args:
      folder: Holds ``ledgers/<hospital>.jsonl`` and ``keys/<hospital>.key``; what is missing is
        made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def key(self, hospital: str) -> SigningKey:
        """The hospital's signing key.

        Raises:
          InvalidInputError: It can't be read or made.
        """
        path = self._folder / "keys" / f"{hospital}.key"
        return SigningKey.load(path) if path.exists() else SigningKey.create(path)

    def ledger(
        self,
        hospital: str,
        *,
        key: SigningKey,
        budget: Budget,
        enrolled: Mapping[str, str],
        context: Mapping[str, Json],
    ) -> Ledger:
        """The hospital's ledger, with its own budget; ``budget`` is for one that is made now.

        Raises:
          RefusedError: It stands and does not enrol all of these hospitals, who would have to
            counter-sign it, or is another hospital's.
        """
        path = self._folder / "ledgers" / f"{hospital}.jsonl"
        if not path.exists():
            return Ledger.create(
                path, hospital=hospital, key=key, budget=budget, enrolled=enrolled, context=context
            )
        ledger = Ledger.open(path, key=key)
        strangers = sorted(n for n, k in enrolled.items() if ledger.enrolled.get(n) != k)
        if ledger.hospital != hospital or strangers:
            raise RefusedError(
                f"The ledger {path} is that of {ledger.hospital} and does not enrol "
                f"{', '.join(strangers) or hospital}. Run with the hospitals that it enrols."
            )
        return ledger
