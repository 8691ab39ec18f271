"""A client's weights before and after training, as an update with a known error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from dp_accounting import NonPrivateDpEvent
from jaxtyping import Float
from numpy.typing import NDArray

from aggregation.capture.arithmetic import bounds
from aggregation.capture.optimizers import DESCENT, Adam, Known, Optimizer, Sgd
from aggregation.capture.precision import Precision
from aggregation.capture.run_log import Capture
from aggregation.capture.two_logits import difference, magnitudes, opposite, shapes_of, tail
from aggregation.models import Model, TorchModel
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.sized import sealing_for
from aggregation.transcript import AGGREGATOR, Transcript
from privacy._validate import finite_array, natural, positive
from privacy.errors import InvalidInputError, RefusedError

__all__ = ["Given", "Weights", "captured", "flat", "from_weights"]

_RADIUS = 2**38  # steps in a unit of the gradient: much finer than float32 at any learning rate
_LARGEST = 2.0**60  # steps; the widest sum that a transcript holds
_REACH = 8.0  # public deviations: what no patient's standardised number is thought to pass
_SLACK = 8  # roundings of an optimiser's own arithmetic, in units of roundoff


@dataclass(frozen=True)
class Weights:
    """A model's parameters by name, in a format that the arrays themselves can't say.

    Attributes:
      tensors: By name.
      precision: What they were stored in, such as ``bfloat16``, which numpy lacks.
    """

    tensors: Mapping[str, NDArray[Any]]
    precision: Precision


Given = Weights | Mapping[str, NDArray[Any]] | NDArray[Any]


def from_weights(
    before: Given,
    after: Given,
    *,
    model: Model,
    learning_rate: float,
    batch_size: int,
    steps: int = 1,
    patients: int | None = None,
    optimizer: Optimizer | None = None,
    arithmetic: Precision | None = None,
    reach: float | Sequence[float] = _REACH,
    reduction: Literal["mean", "sum"] = "mean",
    hospital: str = "client",
) -> Capture:
    r"""Read what a client stepped along off its weights, with a bound on how wrong that may be.

    Of one step of plain descent it is :math:`B (\theta_0 - \theta_1) / \eta`, the sum of the
    batch's gradients. Its error has three parts: weights were rounded to their format after each
    step; the optimiser's arithmetic rounds; and so does the gradient's, in whatever order it added.

    Guarantees (each is a test in ``tests/aggregation/capture/``):
      - the gradients' exact sum lies within the error of what is read, in float16, bfloat16,
        float32 and float64, for one step of each optimiser, as PyTorch takes them (Adam not in
        float16);
      - of several steps the sum of the directions that the optimiser took is read in the same way
        (``capture.optimizers`` says what of a gradient that tells).

    Not covered: a unit that rounding switches (``capture.arithmetic``); models other than
    ``Logistic`` and ``Perceptron``, whose arithmetic is left out of the error; of several steps the
    weights in between, for which those at both ends stand, and gradients near 0 under Adam.
    Attacks certify nothing in all but the first.

    Args:
      before: Weights that the client was given: a vector as ``model`` orders it, or tensors by
        name, which are told apart by their shapes (a torch module's by their names).
      after: Weights that it sent. A difference that it sent is ``before`` with it added.
      model: What the weights are of. A last layer with two rows gives two logits: what is read is
        of the one-logit model that they are (``two_logits``).
      learning_rate: The client's.
      batch_size: Patients of one step.
      steps: Local steps.
      patients: Behind all steps: ``batch_size`` where each step takes the same (None), or
        ``steps * batch_size`` in one pass over all.
      optimizer: None: plain descent.
      arithmetic: What gradients were computed in; None: what weights are stored in.
      reach: Largest absolute value of each standardised column, or of all of them.
      reduction: Whether the client's loss is the batch's mean or its sum.
      hospital: What the client is called.

    Raises:
      InvalidInputError: Weights of other shapes than the model's, of two formats or not finite,
        moved further than any gradient moves them, or of two rows that are not two logits'.
      RefusedError: Adam in float16; two logits under weight decay for several steps.
    """
    positive(learning_rate=learning_rate)
    natural(batch_size=batch_size, least=1)
    natural(steps=steps, least=1)
    (start, stored), (end, same) = _flat(model, before, "before"), _flat(model, after, "after")
    if len(start) != len(end):
        raise InvalidInputError("The weights before and after are of different numbers of logits.")
    logits = 1 if len(start) == model.dim else 2
    if stored is not same:
        raise InvalidInputError(
            f"The weights before are stored in {stored} and those after in {same}; expected one "
            "format. Save both as they were in training."
        )
    arithmetic = arithmetic or stored
    if isinstance(optimizer, Adam) and Precision.FLOAT16 in (stored, arithmetic):
        raise RefusedError(
            "In float16 the squares that Adam divides by vanish, and a step no longer says what "
            "the gradient was. Capture descent, or a client that keeps float32."
        )
    optimizer = optimizer or DESCENT
    if logits == 2 and steps > 1 and optimizer.weight_decay > 0:
        raise RefusedError(
            "Over several steps weight decay pulls two logits' rows each by itself, and they are "
            "not one another's opposite. Give the module itself (FILE:FACTORY), or one step."
        )
    # In a plan's words: steps on the mean, and an update that is so many times their sum.
    summed = batch_size if reduction == "sum" else 1
    grows = summed if isinstance(optimizer, Sgd) or steps == 1 else 1
    scale = batch_size / grows
    plan = _plan(model, learning_rate * grows, batch_size, steps, patients, hospital)
    roundoff = max(stored.roundoff, arithmetic.roundoff)
    spacing = np.maximum(stored.half_spacing(start), stored.half_spacing(end))
    moved = Known(start - end, steps * spacing)
    mean = optimizer.undo(
        moved, start, rate=learning_rate, steps=steps, slack=_SLACK * steps * roundoff
    )
    widths = np.broadcast_to(np.asarray(reach, dtype=np.float64), (model.features,))
    where = start if steps == 1 else np.maximum(np.abs(start), np.abs(end))
    sizes = magnitudes(model, where) if logits == 2 else None
    if logits == 2:
        ends = np.abs([difference(model, vector) for vector in (start, end)])
        where = ends[0] if steps == 1 else ends.max(axis=0)
    gradient_bounds = bounds(
        model,
        where,
        reach=widths,
        patients=steps * batch_size,
        precision=arithmetic,
        sizes=sizes,
    )
    arithmetic_error = np.zeros(model.dim)
    if gradient_bounds is not None:
        arithmetic_error = gradient_bounds.error * (1.0 if steps == 1 else optimizer.passes_on)
    if logits == 2:
        unbounded = steps > 1 and isinstance(optimizer, Adam)
        mean = opposite(model, mean, np.inf if unbounded else arithmetic_error / scale)
        start = difference(model, start)
    centre, error = scale * mean.centre, scale * mean.error + arithmetic_error
    if gradient_bounds is not None and steps == 1:
        error = np.minimum(error, gradient_bounds.largest + np.abs(centre))
    if (np.abs(centre) > _LARGEST * plan.step).any():
        raise InvalidInputError(
            f"The weights moved by up to {np.abs(moved.centre).max():g}, more than gradients at "
            f"learning_rate={learning_rate:g} make them. Check the rate, and which file is which."
        )
    integers = np.rint(centre / plan.step).astype(np.int64)
    # A replay rounds each patient to a step as well.
    steps_wrong = error / plan.step * (1 + 1e-9) + steps * batch_size + 1.0
    walked: Optimizer = DESCENT  # one step is undone already
    if steps > 1:
        twice = tail(model) if logits == 2 else 0
        walked = replace(optimizer.of_means(summed), twice=twice)
    return captured(plan, start, integers, steps_wrong, hospital, walked)


def _plan(
    model: Model,
    learning_rate: float,
    batch_size: int,
    steps: int,
    patients: int | None,
    hospital: str,
) -> Plan:
    patients = batch_size if patients is None else patients
    if patients not in (batch_size, steps * batch_size):
        raise InvalidInputError(
            f"Expected patients={patients} to be {batch_size} (each step takes the same) or "
            f"{steps * batch_size} (one pass in {steps} steps of {batch_size})."
        )
    return Plan(
        run="capture",
        model=model,
        hospitals=(hospital,),
        declared_sizes=(patients,),
        rounds=1,
        learning_rate=learning_rate,
        noise=NoiseKind.NONE,
        scheme="plain",
        clip_norm=None,
        radius=_RADIUS,
        sampling_size=None if patients == batch_size else batch_size,
        local_steps=steps,
    )


def captured(
    plan: Plan,
    start: NDArray[np.float64],
    integers: NDArray[np.int64],
    error: NDArray[np.float64],
    hospital: str,
    optimizer: Optimizer,
) -> Capture:
    """Return one update with its messages: the plan, the model at ``start``, the update."""
    transcript = Transcript()
    transcript.send(AGGREGATOR, hospital, "plan", plan.to_bytes(), round_=0)
    transcript.send(AGGREGATOR, hospital, "model", start.astype("<f8").tobytes(), round_=0)
    sealed = sealing_for(plan).sealer(hospital).seal(integers)
    update = transcript.send(hospital, AGGREGATOR, "update", sealed, round_=0)
    events = {hospital: NonPrivateDpEvent()}
    return Capture(plan, transcript, events, {update.sequence: error}, integers, optimizer)


def flat(model: Model, weights: Given) -> Float[np.ndarray, "dim"]:
    """Return weights as one vector in the model's order.

    Raises:
      InvalidInputError: They are of other shapes, of several formats, or not finite.
    """
    return _flat(model, weights, "weights")[0]


def _flat(model: Model, given: Given, what: str) -> tuple[NDArray[np.float64], Precision]:
    """Return the parameters as one vector, of one logit or two, and their stored format."""
    if isinstance(given, np.ndarray):
        if given.shape != (model.dim,):
            raise InvalidInputError(
                f"The weights {what} have shape {given.shape}; the model {model.kind!r} has "
                f"{model.dim} parameters."
            )
        precision, parts = Precision.of(given.dtype), [given]
    else:
        declared_precision = given.precision if isinstance(given, Weights) else None
        tensors = given.tensors if isinstance(given, Weights) else given
        parts = _ordered(model, tensors, what)
        precisions = {declared_precision or Precision.of(part.dtype) for part in parts}
        if len(precisions) > 1:
            raise InvalidInputError(
                f"The weights {what} are of several formats: {', '.join(sorted(precisions))}; "
                "expected one."
            )
        (precision,) = precisions
    vector = np.concatenate([np.asarray(part, dtype=np.float64).ravel() for part in parts])
    return finite_array(hint="Weights that diverged tell nothing.", **{what: vector}), precision


def _ordered(model: Model, tensors: Mapping[str, NDArray[Any]], what: str) -> list[NDArray[Any]]:
    """Return the tensors in the order of the model's flat vector."""
    if isinstance(model, TorchModel):
        wanted = dict(model.parameters)
        if {name: tensors[name].shape for name in tensors} != wanted:
            raise InvalidInputError(
                f"The weights {what} are not the model's: expected {_told(wanted)}, got "
                f"{_told({name: tensor.shape for name, tensor in tensors.items()})}."
            )
        return [tensors[name] for name in wanted]
    shapes = shapes_of(model)
    pair, given_shapes = shapes_of(model, 2), [tensor.shape for tensor in tensors.values()]
    if pair[-2] in given_shapes and shapes[-2] not in given_shapes:
        shapes = pair
    ordered = []
    for shape in shapes:
        fitting = [t for t in tensors.values() if t.shape in (shape, *_short(shape))]
        if len(fitting) != 1:
            raise InvalidInputError(
                f"Expected one tensor of shape {shape} in the weights {what}, and found "
                f"{len(fitting)} among {_told({n: t.shape for n, t in tensors.items()})}. Name the "
                "model that they are of, or give one vector in its order."
            )
        ordered.append(fitting[0])
    if len(tensors) != len(shapes):
        raise InvalidInputError(
            f"The weights {what} have {len(tensors)} tensors; the model {model.kind!r} has "
            f"{len(shapes)}."
        )
    return ordered


def _short(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """A scalar may stand without its brackets."""
    return [()] if shape == (1,) else []


def _told(shapes: Mapping[str, tuple[int, ...]]) -> str:
    names = [f"{name[:40]} {tuple(shape)}" for name, shape in list(shapes.items())[:8]]
    return ", ".join(names) + (", ..." if len(shapes) > 8 else "")
