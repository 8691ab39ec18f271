"""The evaluation round: how good a trained model is, from counts that hospitals release.

Held-out patients are counted by score bin and outcome; the counts are a release like any other: in
each hospital's ledger, with discrete noise, sealed, and opened as a sum by those who opened the
training's. AUC and calibration follow from what was opened and cost nothing more.
"""

from aggregation.evaluation.counted_figures import CountedFigure, HeldOut, figures
from aggregation.evaluation.held_out import binned, part, score_edges
from aggregation.evaluation.round import Evaluated, evaluation_plan, opened_counts

__all__ = [
    "CountedFigure",
    "Evaluated",
    "HeldOut",
    "binned",
    "evaluation_plan",
    "figures",
    "opened_counts",
    "part",
    "score_edges",
]
