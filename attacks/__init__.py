"""What each adversary can reconstruct from what it truly saw.

The names below are imported when they are first used: whoever only scores, or reads what an
adversary saw, does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attacks.exact.closed_form import ClosedForm
    from attacks.knowledge.priors import Prior
    from attacks.reconstructed import Reconstruction
    from attacks.scoring import Score, lineup, score
    from attacks.searching.tableak import TabLeak
    from attacks.suite import ATTACKS, make_attack, reconstruct
    from attacks.views import Adversary, Knowledge, Observation, observe

__all__ = [
    "ATTACKS",
    "Adversary",
    "ClosedForm",
    "Knowledge",
    "Observation",
    "Prior",
    "Reconstruction",
    "Score",
    "TabLeak",
    "lineup",
    "make_attack",
    "observe",
    "reconstruct",
    "score",
]

_MODULES = {
    "exact.closed_form": ("ClosedForm",),
    "knowledge.priors": ("Prior",),
    "reconstructed": ("Reconstruction",),
    "scoring": ("Score", "lineup", "score"),
    "suite": ("ATTACKS", "make_attack", "reconstruct"),
    "searching.tableak": ("TabLeak",),
    "views": ("Adversary", "Knowledge", "Observation", "observe"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
