"""Every margin and threshold that a verdict turns on, in one file: change one, and see what flips.

The margins of the study of joining were written before any of its numbers (``paper/protocol.md``).
Those of the claims and of acceptance are conventions; which of them were chosen after something had
been seen is said in the paper's limits.
"""

from dataclasses import dataclass

__all__ = [
    "AUC_MARGIN",
    "ECE",
    "ECE_SMALL",
    "ENOUGH",
    "EXPECTED_OVER_OBSERVED",
    "IN_THE_LARGE",
    "LABEL_HARM",
    "LEVEL",
    "PRIVACY_COST",
    "RISK_MARGIN",
    "SLOPE",
    "SMALL",
    "TIER_GAP",
    "TIER_GAP_OVER_POOLED",
    "TIMES",
    "WAIT",
    "Margins",
]

LEVEL = 0.025
"""One-sided level of each interval, and of Holm's families."""

RISK_MARGIN = 0.05
"""Over guessing one in ten: half of what guessing gives."""
TIMES = 3.0
"""The article's data equivalent."""
LABEL_HARM = 0.01
"""Within-site AUC: what would be missed."""
WAIT = 60.0
"""Seconds of a whole run's uploads on a modest line: what somebody would notice."""

# Acceptance (``evaluation.acceptance``): well under the between-setting SD of .055 in AUC found
# over 469 cardiovascular models (arXiv 2406.08628).
ENOUGH = 50
"""Of either class, before a hospital is ranked or tested on its own."""
AUC_MARGIN = 0.02
"""Of the federated model against local and pooled ones, per hospital."""
TIER_GAP = 0.10
"""AUC between best and worst tier."""
TIER_GAP_OVER_POOLED = 0.02
"""And over the gap that pooled training leaves."""
PRIVACY_COST = 0.01
"""Within-site AUC."""
IN_THE_LARGE = 0.2
"""Logits, either way."""
EXPECTED_OVER_OBSERVED = (0.9, 1.1)
SLOPE = (0.8, 1.2)
ECE = 0.05
ECE_SMALL = 0.08
"""Below ``SMALL`` patients."""
SMALL = 200


@dataclass(frozen=True)
class Margins:
    """What the verdicts of the study of joining turn on.

    Attributes:
      worse: AUC by which a class may be worse off, or protection may cost.
      power: Half-width of an interval above which a class is without power.
      level: One-sided level of each interval and of Holm's families.
      target: Epsilon of the primary design.
    """

    worse: float = PRIVACY_COST
    power: float = 0.03
    level: float = LEVEL
    target: float = 1.0
