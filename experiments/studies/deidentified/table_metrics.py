"""What a record of published tables holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.evaluation import Estimate
from experiments.run.record import Record
from experiments.run.typed import TypedRecord, read_all
from experiments.studies.deidentified.published_point import DeidentifiedPoint
from experiments.studies.frontier.risks import Risk

__all__ = ["DeidentifiedMetrics", "TableMetrics", "read_tables"]


@dataclass(frozen=True)
class TableMetrics:
    """What a record holds of one k.

    Attributes:
      k: Least size of a class; 1: as recorded.
      auc: Within-site, on held-out patients, of a model of the published rows.
      less_pooled: That AUC less pooled training's on the patients themselves.
      less_sealed: Less a sealed federation's.
      less_own: Less that of each hospital's own model.
      left_out: Share of the rows that were not published.
      said: Share of the quasi-identifiers that still say something.
      risk: Of who knows nobody, by the better road (chosen on half of the folds).
      risks: Of each road, and of who knows all others.
      linked: How often the prosecutor points at the right row, over all patients.
      linked_most: Of the patient of whom it is likeliest.
      alone: Share of patients who are alone in their class.
      outcome_known: How much more often it says the right outcome than without the class.
      outcome_of_strangers: The same of patients who are in no table: what is of no one person.
    """

    k: int
    auc: Estimate
    less_pooled: Estimate
    less_sealed: Estimate
    less_own: Estimate
    left_out: float
    said: float
    risk: Risk
    risks: Mapping[str, Risk]
    linked: Estimate
    linked_most: float
    alone: Estimate
    outcome_known: Estimate
    outcome_of_strangers: Estimate


@dataclass(frozen=True)
class DeidentifiedMetrics:
    """What a record holds: AUCs beside (``pooled``, ``sealed``, ``own``), and the tables by k."""

    beside: Mapping[str, Estimate]
    epsilon: float
    tables: tuple[TableMetrics, ...]


def read_tables(
    records: Sequence[Record],
) -> list[TypedRecord[DeidentifiedPoint, DeidentifiedMetrics]]:
    """Read records of this study, in order."""
    return read_all(records, DeidentifiedPoint, DeidentifiedMetrics)
