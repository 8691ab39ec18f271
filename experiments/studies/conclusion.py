"""What a rule may conclude from records; never that something failed which is open."""

from enum import StrEnum

from experiments.evaluation import Estimate

__all__ = ["Conclusion", "side_of"]


class Conclusion(StrEnum):
    """What a rule says; the value is the name in files, tables and the paper.

    - ``holds only if``: with a condition that the rule names.
    - ``undecided``: the interval holds the margin, or nothing here could decide it.
    - ``not tried``: records are missing.
    """

    HOLDS = "holds"
    HOLDS_ONLY_IF = "holds only if"
    DOES_NOT_HOLD = "does not hold"
    UNDECIDED = "undecided"
    NOT_TRIED = "not tried"


def side_of(effect: Estimate | None, margin: float) -> Conclusion:
    """Which side of the margin the whole interval stands on; above it, something holds."""
    if effect is None:
        return Conclusion.NOT_TRIED
    if effect.lower > margin:
        return Conclusion.HOLDS
    return Conclusion.DOES_NOT_HOLD if effect.upper < margin else Conclusion.UNDECIDED
