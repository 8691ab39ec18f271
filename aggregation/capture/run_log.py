"""What attacks, accounting and audit need of any run, and what a captured one holds of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from dp_accounting import DpEvent
from jaxtyping import Float, Int

from aggregation.capture.optimizers import Optimizer
from aggregation.plan import Plan
from aggregation.transcript import Transcript

__all__ = ["Capture", "RunLog"]


@runtime_checkable
class RunLog(Protocol):
    """A run, whoever ran it."""

    @property
    def public(self) -> Plan:
        """Model, clip norm, noise law, batch sizes, local steps, learning rate, unit."""
        ...

    @property
    def messages(self) -> Transcript:
        """What crossed a wall, in order; the plan first."""
        ...

    @property
    def events(self) -> Mapping[str, DpEvent]:
        """What each hospital's patients paid, by hospital."""
        ...

    @property
    def errors(self) -> Mapping[int, Float[np.ndarray, "dim"]]:
        """How far each update may be from the true integers, by the message's sequence."""
        ...

    @property
    def optimizer(self) -> Optimizer:
        """What made a client's steps of its batches' mean gradients, where it took several."""
        ...


@dataclass(frozen=True)
class Capture:
    """One update of one client, captured as its weights before and after.

    Attributes:
      public: What is known of the run, in the words of a plan; ``step`` is much finer than the
        update's error.
      messages: Plan, model, update.
      events: The client's: unprotected.
      errors: The update's, in integer steps.
      update: What it says: the sum of what the client stepped along, in integer steps.
      optimizer: What made its steps of the mean gradients, where it took several.
    """

    public: Plan
    messages: Transcript
    events: Mapping[str, DpEvent]
    errors: Mapping[int, Float[np.ndarray, "dim"]]
    update: Int[np.ndarray, "dim"]
    optimizer: Optimizer

    @property
    def error(self) -> Float[np.ndarray, "dim"]:
        """How far each coordinate of ``update`` may be from the true one, in integer steps."""
        (only,) = self.errors.values()
        return only
