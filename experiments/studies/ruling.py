"""What a claim's rule says."""

from dataclasses import dataclass

from experiments.evaluation import Estimate
from experiments.studies.claim_words import Text
from experiments.studies.conclusion import Conclusion

__all__ = ["Ruling", "three"]


@dataclass(frozen=True)
class Ruling:
    """What a rule says; see ``studies.claims.Finding``."""

    verdict: Conclusion
    condition: Text
    effect: Text
    value: float
    lower: float | None = None
    upper: float | None = None


def three(estimate: Estimate) -> tuple[float, float, float]:
    """Value, lower and upper end."""
    return estimate.value, estimate.lower, estimate.upper
