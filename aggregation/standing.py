"""Ledgers that outlive runs: one for the same patients, whatever run or cohort file comes next."""

from collections.abc import Mapping
from pathlib import Path

from privacy.errors import RefusedError
from privacy.ledger import Budget, Ledger, SigningKey

__all__ = ["StandingLedgers"]


class StandingLedgers:
    """A folder of ledgers and their keys, taken up by one run after the other.

    A ledger that stands keeps its own budget, whatever a run asks: its file rules.

    Args:
      folder: Holds ``ledgers/<hospital>.jsonl`` and ``keys/<party>.key``; what is missing is made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def key(self, party: str) -> SigningKey:
        """The signing key of a hospital, or of who signs for what it received.

        Raises:
          InvalidInputError: It can't be read or made.
        """
        path = self._folder / "keys" / f"{party}.key"
        return SigningKey.load(path) if path.exists() else SigningKey.create(path)

    def ledger(
        self,
        hospital: str,
        *,
        key: SigningKey,
        budget: Budget,
        enrolled: Mapping[str, str],
    ) -> Ledger:
        """The hospital's ledger, with its own budget; ``budget`` is for one that is made now.

        Hospitals that it does not enrol yet may counter-sign it from here on.

        Raises:
          RefusedError: It is another hospital's, or enrols one of these under another key.
        """
        path = self._folder / "ledgers" / f"{hospital}.jsonl"
        if not path.exists():
            return Ledger.create(path, hospital=hospital, key=key, budget=budget, enrolled=enrolled)
        ledger = Ledger.open(path, key=key)
        if ledger.hospital != hospital:
            raise RefusedError(
                f"The ledger {path} is that of {ledger.hospital}, not of {hospital}. Put each "
                "hospital's ledger under its own name."
            )
        ledger.enrol(enrolled)
        return ledger
