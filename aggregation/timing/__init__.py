"""Who arrives when, and what is opened together: rounds, or a schedule of hospitals' own paces.

``simulate`` makes a schedule of events, deterministic and apart from all numbers. Which models
follow is a rule's to say (``aggregation.rules``), in a federation with ledgers, noise and sealed
sums, or in ``engines.clear`` without.
"""

from aggregation.timing.leverage import leverage
from aggregation.timing.pace import Pace, planned_rates
from aggregation.timing.rounds import Rounds, Timing
from aggregation.timing.schedule import Arrival, Schedule, ScheduledOpening, simulate
from aggregation.timing.trigger import Trigger

__all__ = [
    "Arrival",
    "Pace",
    "Rounds",
    "Schedule",
    "ScheduledOpening",
    "Timing",
    "Trigger",
    "leverage",
    "planned_rates",
    "simulate",
]
