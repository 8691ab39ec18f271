"""Many updates of somebody else's clients as one run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from dp_accounting import DpEvent
from jaxtyping import Float
from numpy.typing import NDArray

from aggregation.capture.optimizers import Optimizer
from aggregation.capture.run_log import Capture
from aggregation.capture.update_folder import SavedUpdate
from aggregation.capture.weight_files import read_weights
from aggregation.capture.weights import Weights, from_weights
from aggregation.models import Model
from aggregation.plan import Plan
from aggregation.sized import sealing_for
from aggregation.transcript import AGGREGATOR, Transcript
from privacy.errors import InvalidInputError

__all__ = ["CapturedRun", "run_of"]


@dataclass(frozen=True)
class CapturedRun:
    """Updates of several clients and rounds; a ``RunLog``.

    Attributes:
      public: What is known of the run, in the words of a plan.
      messages: The plan; then for each update the model that its client got, and the update.
      events: Each client's: unprotected.
      errors: How far each update may be from the true integers, by the message's sequence.
      optimizer: What made the clients' steps of the mean gradients, where they took several.
    """

    public: Plan
    messages: Transcript
    events: Mapping[str, DpEvent]
    errors: Mapping[int, Float[np.ndarray, "dim"]]
    optimizer: Optimizer


def run_of(
    folder: Path,
    updates: Sequence[SavedUpdate],
    *,
    model: Model,
    learning_rate: float,
    batch_size: int | None = None,
    steps: int = 1,
    **capture_options: Any,
) -> CapturedRun:
    """Read each update off its weights, and put them into one transcript, rounds counted from 0.

    Args:
      folder: Holds the weights.
      updates: Which they are.
      model: What the weights are of.
      learning_rate: The clients'.
      batch_size: Patients of one step; None: all that a client said it has, in every step.
      steps: Local steps of each client in a round.
      **capture_options: Further arguments of ``from_weights``.

    Raises:
      InvalidInputError: A client's number of patients is not known, or changes from round to round.
      CorruptMessageError: A file of weights can't be read.
    """
    sizes = _sizes(updates, batch_size)
    rounds = {number: place for place, number in enumerate(sorted({u.round for u in updates}))}
    kept: dict[str, Weights] = {}

    def weights(file: str) -> Weights:
        if file not in kept:
            kept[file] = read_weights(folder / file)
        return kept[file]

    captures = [
        from_weights(
            weights(update.before),
            weights(update.after),
            model=model,
            learning_rate=learning_rate,
            batch_size=batch_size or sizes[update.client],
            patients=sizes[update.client] if batch_size else None,
            steps=steps,
            hospital=update.client,
            **capture_options,
        )
        for update in updates
    ]
    plan = replace(
        captures[0].public,
        hospitals=tuple(sizes),
        declared_sizes=tuple(sizes.values()),
        rounds=len(rounds),
        sampling_size=batch_size
        if batch_size and any(n > batch_size for n in sizes.values())
        else None,
    )
    return _joined(plan, captures, [rounds[update.round] for update in updates])


def _sizes(updates: Sequence[SavedUpdate], batch_size: int | None) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for update in updates:
        patients = update.patients or batch_size
        if patients is None:
            raise InvalidInputError(
                f"{update.client} did not say how many patients it trained on. Give batch_size."
            )
        if sizes.setdefault(update.client, patients) != patients:
            raise InvalidInputError(
                f"{update.client} trained on {sizes[update.client]} patients and on {patients} in "
                f"round {update.round}. Read rounds of one size, or each update by itself "
                "(from_weights)."
            )
    return sizes


def _joined(plan: Plan, captures: Sequence[Capture], rounds: Sequence[int]) -> CapturedRun:
    transcript = Transcript()
    for hospital in plan.hospitals:
        transcript.send(AGGREGATOR, hospital, "plan", plan.to_bytes(), round_=0)
    errors: dict[int, NDArray[np.float64]] = {}
    events: dict[str, DpEvent] = {}
    seal: Callable[[str], Any] = sealing_for(plan).sealer
    for capture, round_ in zip(captures, rounds, strict=True):
        (sent,) = capture.messages.select(kind="model")
        client = sent.receiver
        transcript.send(AGGREGATOR, client, "model", sent.payload, round_=round_)
        update = transcript.send(
            client, AGGREGATOR, "update", seal(client).seal(capture.update), round_=round_
        )
        errors[update.sequence] = capture.error
        events |= capture.events
    return CapturedRun(plan, transcript, events, errors, captures[0].optimizer)
