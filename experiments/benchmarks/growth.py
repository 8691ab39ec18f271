"""What a sealed round takes as hospitals become more, by who takes it; and of how many thousands.

Hospitals of ``sealed_run``'s shape, in one process, under ``shares``; the bytes are those between
machines, the seconds those of each role. What grows with the number of hospitals grows along a
straight line here, and that line is what ``at`` draws further. Nobody has run so many.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from aggregation.federation import Federation
from aggregation.models import Logistic
from aggregation.roles.messages import AGGREGATOR, holder_address
from experiments.benchmarks.sealed_run import stroke_like
from experiments.studies.design import TRAINING, Design, Regime, make_plan
from privacy._validate import natural

__all__ = ["GrowthRow", "at", "measure_growth"]

_ROUNDS = 3


@dataclass(frozen=True)
class GrowthRow:
    """One round of some number of hospitals; what is of one party is of the one that takes most.

    Attributes:
      hospitals: How many.
      holders: Those among them who open sums.
      sent: Bytes that one hospital sends.
      received: Bytes that one hospital receives.
      proof: Those among them that prove the opened sum to it.
      held: Bytes that one holder receives and sends beside that.
      server: Bytes that the server receives and sends.
      hospital_seconds: In one hospital's role.
      holder_seconds: In one holder's.
      server_seconds: In the server's.
    """

    hospitals: int
    holders: int
    sent: float
    received: float
    proof: float
    held: float
    server: float
    hospital_seconds: float
    holder_seconds: float
    server_seconds: float


def measure_growth(sizes: Iterable[int]) -> tuple[GrowthRow, ...]:
    """Run some rounds of each number of hospitals, and return what one of them took."""
    return tuple(_row(natural(hospitals=hospitals, least=4)) for hospitals in sizes)


def at(hospitals: int, rows: Sequence[GrowthRow]) -> dict[str, float]:
    """Draw the line through the two largest rows further, by the names of ``GrowthRow``.

    The server's bytes follow from the others'; its seconds grow faster than a line, and are left
    out.
    """
    before, last = sorted(rows, key=lambda row: row.hospitals)[-2:]
    share = (hospitals - last.hospitals) / (last.hospitals - before.hospitals)
    drawn = {
        name: value + share * (value - vars(before)[name]) for name, value in vars(last).items()
    }
    del drawn["server_seconds"]
    passed = hospitals * (drawn["sent"] + drawn["received"]) + last.holders * drawn["held"]
    return drawn | {"hospitals": hospitals, "holders": last.holders, "server": passed}


def _row(hospitals: int) -> GrowthRow:
    patients = stroke_like(hospitals, seed=0)
    setting = replace(TRAINING[Regime.FULL, "logistic"], rounds=_ROUNDS, average_last=1)
    plan = make_plan(
        run=f"bench-{hospitals}", design=Design.SEALED, epsilon=1.0, setting=setting,
        model=Logistic(next(iter(patients.values())).features.shape[1]), patients=patients,
    )  # fmt: skip
    federation = Federation.simulated(plan, patients, seed=0)
    passed: dict[str, dict[str, int]] = {}
    for message in federation.run().transcript:
        size = len(message.to_bytes())
        for party, way in ((message.sender, "sent"), (message.receiver, "received")):
            traffic = passed.setdefault(party, {"sent": 0, "received": 0})
            traffic[way] += size
            traffic[message.kind] = traffic.get(message.kind, 0) + size
    seconds = federation.seconds
    holders = [name for name in map(holder_address, patients) if name in seconds]

    def most(of: Iterable[str], *ways: str) -> float:
        return max(sum(passed[name].get(way, 0) for way in ways) for name in of) / _ROUNDS

    return GrowthRow(
        hospitals=hospitals,
        holders=len(holders),
        sent=most(patients, "sent"),
        received=most(patients, "received"),
        proof=most(patients, "evidence"),
        held=most(holders, "sent", "received"),
        server=most([AGGREGATOR], "sent", "received"),
        hospital_seconds=max(seconds[name] for name in patients) / _ROUNDS,
        holder_seconds=max(seconds[name] for name in holders) / _ROUNDS,
        server_seconds=seconds[AGGREGATOR] / _ROUNDS,
    )
