"""What leaves a hospital in one run: every byte, against its ledger and against its own table."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aggregation.federation import Federation
from experiments.studies.design import Design, Regime
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.lineups import AttackSuite
from privacy.ledger.audit.manifest import outbound

__all__ = ["UploadMetrics", "Uploads"]


@dataclass(frozen=True)
class Uploads:
    """One whole federation, sealed as in earnest.

    Attributes:
      design: Of the federation.
      epsilon: Of it.
      regime: ``full`` or ``small``.
      model: ``logistic`` or ``mlp``.
      seed: Of the run.
      cohort: Whose patients, named as ``experiments.cohorts.resolve`` names it.
      code_version: Raised when a change moves the numbers.
    """

    design: Design = Design.SEALED
    epsilon: float | None = 1.0
    regime: Regime = Regime.FULL
    model: str = "logistic"
    seed: int = 0
    cohort: str = "heart"
    code_version: int = 1

    @property
    def config(self) -> Mapping[str, Any]:
        """What names the record."""
        return {"experiment": "uploads", **asdict(self)}

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        return f"uploads {self.regime} {self.model} {self.design}"

    @property
    def units(self) -> tuple[int, ...]:
        """One run."""
        return (self.seed,)

    def measure(self, unit: int, data_dir: Path | None) -> dict[str, Any]:
        """Run, and account for what the hospitals sent.

        A payload is accounted for if its digest stands in its sender's ledger; a field in clear if
        it is one of those that follow from public values.
        """
        point = FrontierPoint(
            self.design,
            self.epsilon,
            self.regime,
            self.model,
            AttackSuite(()),
            cohort=self.cohort,
        )
        _, split = point.split(unit, 0, data_dir)
        plan = point.plan(split.train, seed=unit, fold=0)
        federation = Federation.simulated(plan, split.train, seed=(unit, 0))
        federation.run()
        sent = outbound(federation.transcript, plan.hospitals)
        recorded = {
            name: {e.content.get("digest") for e in federation.ledger(name).entries()}
            for name in plan.hospitals
        }
        unaccounted = sum(
            (0 if m.digest in recorded[m.sender] else m.bytes) + sum(m.other.values()) for m in sent
        )
        received = federation.transcript.select(kind="model")
        return {
            "messages": len(sent),
            "rounds": plan.rounds,
            "bytes": {
                name: sum(
                    m.bytes + m.clear_bytes + sum(m.other.values())
                    for m in sent
                    if m.sender == name
                )
                for name in plan.hospitals
            },
            "bytes_received": {
                name: sum(m.size for m in received if m.receiver == name) for name in plan.hospitals
            },
            "table_bytes": {
                name: p.features.nbytes + len(p.outcomes) for name, p in split.train.items()
            },
            "unaccounted_bytes": unaccounted,
            "to": sorted({m.receiver for m in sent}),
        }

    def summarise(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        """The one run, and its bytes over those of the hospital's own table."""
        run = parts[0]
        ratios = {name: n / run["table_bytes"][name] for name, n in run["bytes"].items()}
        return {**run, "bytes_over_table": ratios}


@dataclass(frozen=True)
class UploadMetrics:
    """What a record holds.

    Attributes:
      unaccounted_bytes: That no ledger accounts for.
      bytes: Sent by each hospital.
      bytes_over_table: Over the bytes of its own table.
    """

    unaccounted_bytes: int
    bytes: Mapping[str, int]
    bytes_over_table: Mapping[str, float]
