"""A step of somebody else's that was clipped and noised: a training by Opacus, from its files."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from aggregation.capture.run_log import Capture
from aggregation.capture.weights import Given, captured, from_weights
from aggregation.models import Model
from aggregation.noise_kind import NoiseKind
from privacy._validate import natural, positive
from privacy.accounting.events import from_json
from privacy.errors import InvalidInputError
from privacy.ledger.accountant import composed
from privacy.ledger.spending import Phase

__all__ = ["from_opacus"]

_FINEST = 2**38  # steps in a unit of the gradient, as for what was not clipped
_LARGEST = 2**30  # steps of a clip norm: finer, and guessed patients can't be clipped to integers


def from_opacus(
    before: Given,
    after: Given,
    *,
    history: Sequence[tuple[float, float, int]],
    model: Model,
    learning_rate: float,
    clip_norm: float,
    batch_size: int,
    patients: int,
    sampler: str = "poisson",
    **capture_options: Any,
) -> Capture:
    r"""Read one noisy step of a ``DPOptimizer`` off the weights around it.

    It is :math:`B (\theta_0 - \theta_1) / \eta`: clipped gradients and their noise, as Opacus
    divides both by the expected batch size :math:`B`. The noise is the last phase's; the events are
    those of the whole history. The known error is that of as many patients as are expected; of a
    noisy step nothing is certified.

    Args:
      before: Weights before the step (``from_weights``).
      after: Weights after it.
      history: The accountant's: (noise multiplier, sample rate, steps), as a checkpoint holds it
        (``privacy.ledger.opacus_history``).
      model: What the weights are of.
      learning_rate: Of plain descent, or as ``optimizer`` says.
      clip_norm: ``max_grad_norm``.
      batch_size: Expected patients of a step.
      patients: In the whole table.
      sampler: How they were drawn: ``poisson`` or ``shuffled``.
      **capture_options: Further arguments of ``from_weights``: optimizer, reach, hospital.

    Raises:
      InvalidInputError: There is no history, or a number breaks its rule.
    """
    positive(clip_norm=clip_norm)
    natural(batch_size=batch_size, least=1)
    natural(patients=patients, least=batch_size)
    if not history:
        raise InvalidInputError("The history is empty: no step was accounted for.")
    phases = [
        Phase(float(noise), steps, float(rate), sampler).planned for noise, rate, steps in history
    ]
    read = from_weights(
        before,
        after,
        model=model,
        learning_rate=learning_rate,
        batch_size=batch_size,
        **capture_options,
    )
    noise = float(history[-1][0])
    plan = replace(
        read.public,
        noise=NoiseKind.LOCAL if noise > 0 else NoiseKind.NONE,
        clip_norm=float(clip_norm),
        radius=max(1, min(_LARGEST, round(clip_norm * _FINEST))),
        noise_multiplier=noise,
        declared_sizes=(patients,),
        sampling_size=batch_size if batch_size < patients else None,
    )
    scale = read.public.step / plan.step
    integers = np.rint(read.update * scale).astype(np.int64)
    (sent,) = read.messages.select(kind="model")
    event = from_json(composed([(step.to_json()["event"], step.count) for step in phases]))
    start = np.frombuffer(sent.payload, dtype="<f8").astype(np.float64)
    capture = captured(
        plan, start, integers, read.error * scale + 1.0, sent.receiver, read.optimizer
    )
    return replace(capture, events={sent.receiver: event})
