"""Hospitals, the aggregator between them, sealed sums and the transcript of what crossed a wall."""

from aggregation.aggregator import Aggregator
from aggregation.federation import Federation, Outcome
from aggregation.hospital import Hospital
from aggregation.models import Model
from aggregation.patients import Column, Patients, Schema
from aggregation.plan import Plan
from aggregation.transcript import Message, Transcript

__all__ = [
    "Aggregator",
    "Column",
    "Federation",
    "Hospital",
    "Message",
    "Model",
    "Outcome",
    "Patients",
    "Plan",
    "Schema",
    "Transcript",
]
