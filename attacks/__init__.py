"""What each adversary can reconstruct from what it truly saw."""

from attacks.closed_form import ClosedForm
from attacks.priors import Prior
from attacks.reconstruction import Reconstruction
from attacks.scoring import Score, lineup, score
from attacks.tableak import TabLeak
from attacks.views import Adversary, Knowledge, Observation, observe

__all__ = [
    "Adversary",
    "ClosedForm",
    "Knowledge",
    "Observation",
    "Prior",
    "Reconstruction",
    "Score",
    "TabLeak",
    "lineup",
    "observe",
    "score",
]
