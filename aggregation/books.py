"""The ledgers of many hospitals in a vectorised run: each spends before a patient is read.

A ledger is fetched when its hospital's turn comes and let go afterwards; what is kept between is
one bit a hospital. So ledgers that live in files take no memory, however many there are.
"""

from collections.abc import Callable

import numpy as np
from dp_accounting import DpEvent
from jaxtyping import Bool, Int

from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import declare, overseen, releases, schedule
from aggregation.sealing import Sealer
from privacy.errors import BudgetExceededError, RefusedError
from privacy.ledger import Ledger, Release

__all__ = ["Books"]


class Books:
    """Every hospital's own ledger, asked in the plan's order.

    Guarantees (each is a test in ``tests/aggregation/test_books.py``):
      - the entries are those that a ``Hospital`` with this plan writes, in their order;
      - a hospital whose budget the plan passes takes no part, and its ledger says so;
      - a sum that would hold less noise than was accounted for is refused before any patient is
        read.

    Args:
      plan: One step a round, without scalars.
      ledgers: Fetches the ledger of a hospital by number.
      event: Of one round of a hospital, by number.
      sealer: Makes the bytes whose digest a ledger keeps.
      protects: Whether the noise is the operating system's.
    """

    def __init__(
        self,
        plan: Plan,
        ledgers: Callable[[int], Ledger],
        event: Callable[[int], DpEvent],
        sealer: Sealer,
        *,
        protects: bool,
    ) -> None:
        self._plan = plan
        self._ledgers = ledgers
        self._event = event
        self._sealer = sealer
        self._protects = protects
        self._joined = np.zeros(len(plan.hospitals), dtype=np.bool_)

    def join(self) -> None:
        """Enter the plan into each ledger; those that refuse take no part."""
        names, rounds = self._plan.hospitals, self._plan.rounds
        schedules = [
            schedule(self._plan, [(self._releases(k, 0), rounds)]) for k in range(len(names))
        ]
        digests = {
            names[k]: hospital_schedule.digest for k, hospital_schedule in enumerate(schedules)
        }
        for k in range(len(names)):
            try:
                others = {name: digests[name] for name in overseen(self._plan, names[k])}
                declare(self._ledgers(k), schedules[k], others)
            except BudgetExceededError:  # recorded in the ledger
                continue
            self._joined[k] = True

    def spend(self, round_: int) -> Bool[np.ndarray, "hospitals"]:
        """Spend one round of each hospital; return which ledgers granted it.

        Raises:
          RefusedError: Too few granted it for the noise that the plan accounts for; what was spent
            stays spent, and nothing was read.
        """
        granted = self._joined.copy()
        for k in np.flatnonzero(granted):
            (release,) = self._releases(int(k), round_)
            try:
                self._ledgers(int(k)).spend(release)
            except BudgetExceededError:
                granted[k] = False
        least = self._plan.smallest_sum or len(self._plan.hospitals)
        if self._plan.noise == NoiseKind.SHARED and granted.sum() < least:
            raise RefusedError(
                f"{granted.sum()} of {len(granted)} ledgers grant round {round_}, and the noise is "
                f"shared among at least {least}: the sum would hold too little. No patient was "
                "read. Give the plan a smallest_sum that allows for the others."
            )
        return granted

    def attach(
        self,
        first: int,
        updates: Int[np.ndarray, "block dim"],
        granted: Bool[np.ndarray, "block"],
    ) -> None:
        """Keep beside each hospital's newest entry what its update was."""
        for k in np.flatnonzero(granted):
            ledger = self._ledgers(first + int(k))
            ledger.attach(ledger.pending()[-1], self._sealer.seal(updates[k]))

    def _releases(self, hospital: int, round_: int) -> list[Release]:
        return releases(
            self._plan,
            self._plan.hospitals[hospital],
            self._event(hospital),
            round_=round_,
            weight=1.0,
            protects=self._protects,
        )
