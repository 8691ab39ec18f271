"""Hospitals, the aggregator between them, sealed sums and the transcript of what crossed a wall.

The names below are imported when they are first used: whoever only reads a cohort or a transcript
does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aggregation.data.cohort import Cohort
    from aggregation.data.patients import Column, Patients, Schema
    from aggregation.federation import Federation, Outcome
    from aggregation.models import Logistic, Model, Perceptron, TorchModel
    from aggregation.plan import Plan
    from aggregation.roles.aggregator import Aggregator
    from aggregation.roles.hospital import Hospital
    from aggregation.transcript import Message, Transcript

__all__ = [
    "Aggregator",
    "Cohort",
    "Column",
    "Federation",
    "Hospital",
    "Logistic",
    "Message",
    "Model",
    "Outcome",
    "Patients",
    "Perceptron",
    "Plan",
    "Schema",
    "TorchModel",
    "Transcript",
]

_MODULES = {
    "roles.aggregator": ("Aggregator",),
    "data.cohort": ("Cohort",),
    "federation": ("Federation", "Outcome"),
    "roles.hospital": ("Hospital",),
    "models": ("Logistic", "Model", "Perceptron", "TorchModel"),
    "data.patients": ("Column", "Patients", "Schema"),
    "plan": ("Plan",),
    "transcript": ("Message", "Transcript"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
