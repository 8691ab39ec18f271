"""How a reconstruction is judged: the only place where the truth is seen."""

from attacks.scoring.scores import (
    LEVELS,
    Score,
    baseline_accuracies,
    lineup,
    matched_accuracies,
    score,
)

__all__ = ["LEVELS", "Score", "baseline_accuracies", "lineup", "matched_accuracies", "score"]
