"""Asynchronous aggregation: who arrives when, what is opened together, what the server does.

``simulate`` makes a schedule of events, deterministic and apart from all numbers; ``replay`` runs
a rule along it without sealing, ``sealed.run_sealed`` with ledgers, noise and sealed sums. The
rule by default is Memory, which hospitals hold themselves; its cost is that of a declared schedule.
Where none can be declared, ``corrected`` is the rule: FedBuff with weights that undo the pace,
applied before the noise, and paid for upload by upload.
"""

from aggregation.arrival.leverage import leverage
from aggregation.arrival.pace import Pace, planned_rates
from aggregation.arrival.rules import Buffered, FedAsync, Memory, corrected, fedbuff, replay
from aggregation.arrival.schedule import Arrival, Opening, Schedule, simulate
from aggregation.arrival.trigger import Trigger

__all__ = [
    "Arrival",
    "Buffered",
    "FedAsync",
    "Memory",
    "Opening",
    "Pace",
    "Schedule",
    "Trigger",
    "corrected",
    "fedbuff",
    "leverage",
    "planned_rates",
    "replay",
    "simulate",
]
