"""What each adversary sees: positions, their knowledge, and the views made from a transcript."""

from attacks.views.adversary import Adversary, Knowledge, Name, Place
from attacks.views.observation import (
    AnswersView,
    ColludingView,
    Envelope,
    Gradient,
    GradientView,
    InformedView,
    Observation,
    PublicView,
    SumPart,
    TrafficView,
    require,
)
from attacks.views.observing import observe

__all__ = [
    "Adversary",
    "AnswersView",
    "ColludingView",
    "Envelope",
    "Gradient",
    "GradientView",
    "InformedView",
    "Knowledge",
    "Name",
    "Observation",
    "Place",
    "PublicView",
    "SumPart",
    "TrafficView",
    "observe",
    "require",
]
