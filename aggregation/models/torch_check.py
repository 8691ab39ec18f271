"""What a module must be before a patient is read: checked where it is made, and at every hospital.

>>> check_module(torch.nn.BatchNorm1d(3), "norm.py:make")  # doctest: +ELLIPSIS
Traceback (most recent call last):
    ...
privacy.errors.InvalidInputError: norm.py:make keeps buffers (running_mean, running_var, ...
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aggregation.data.patients import SLOTS
from aggregation.models.torch_model import LARGEST
from aggregation.models.torch_program import Program, Recorded, in_float64
from aggregation.models.torch_source import untouched
from privacy.errors import InpatientError, InvalidInputError

__all__ = ["check_module", "check_rows"]

_CLOSE = 1e-9  # between a batch at once and its records one by one; float64 errs by 1e-15 a step
_STRANGE = (0.0, 1e30, -1e200, np.nan, np.inf, 5e-324)


def check_module(module: torch.nn.Module, name: str) -> None:
    """Refuse what can't be one flat vector of float64 parameters.

    Args:
      module: As the factory made it.
      name: Of it, for errors.

    Raises:
      InvalidInputError: No parameters, too many, half precision or complex ones, frozen or tied
        ones, or buffers.
    """
    parameters = dict(module.named_parameters())
    count = sum(p.numel() for p in parameters.values())
    if not count:
        raise InvalidInputError(f"{name} has no parameters: nothing would be learnt.")
    if count > LARGEST:
        raise InvalidInputError(
            f"{name} has {count:,} parameters; expected at most {LARGEST:,}. A patient's gradient "
            "is a row of so many numbers, clipped, noised and sealed: use a smaller module."
        )
    if buffers := [n for n, _ in module.named_buffers()]:
        raise InvalidInputError(
            f"{name} keeps buffers ({', '.join(buffers)[:200]}): values that no gradient covers, "
            "and that batch norm changes from all patients at once. Use LayerNorm instead of batch "
            "norm, and make constants in forward."
        )
    tied = [n for n, _ in module.named_parameters(remove_duplicate=False) if n not in parameters]
    storages = {p.untyped_storage().data_ptr() for p in parameters.values()}
    if tied or len(storages) < len(parameters):
        raise InvalidInputError(
            f"{name} ties parameters ({', '.join(tied or parameters)[:200]}): one weight under two "
            "names. Use one module twice in forward instead."
        )
    for key, parameter in parameters.items():
        if parameter.dtype not in (torch.float32, torch.float64):
            raise InvalidInputError(
                f"{name}: the parameter {key} is {parameter.dtype}; expected float32, which is "
                "made float64, or float64. Everything is trained in float64."
            )
        if parameter.device.type != "cpu":
            raise InvalidInputError(
                f"{name}: the parameter {key} is on {parameter.device}; expected the processor. "
                "No claim about a row's last bit is made for anything else."
            )
        if not parameter.requires_grad:
            raise InvalidInputError(
                f"{name} freezes the parameter {key}. What is not trained is no parameter: make it "
                "a constant in forward."
            )
        if not bool(torch.isfinite(parameter).all()):
            raise InvalidInputError(f"{name}: the parameter {key} is not finite.")


def check_rows(program: Program, features: int, name: str) -> None:
    """Refuse a module whose rows depend on anything but their own record.

    Tried on records that are made up: at the first parameters and at moved ones, each half of a
    block beside neighbours that are zero, huge, tiny, infinite or missing.

    Args:
      program: The module and its first parameters.
      features: Columns of a record.
      name: Of it, for errors.

    Raises:
      InvalidInputError: It draws at random (dropout), mixes records (batch norm), gives another
        shape or dtype, is not the same twice, has a loss that is not per record, or asks for files.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SLOTS, features))
    y = rng.integers(0, 2, SLOTS)
    with untouched(name):
        try:
            _check_shapes(program, x, y, name)
            for params in (
                program.first,
                program.first + 0.1 * rng.normal(size=program.first.size),
            ):
                _check_rows_at(program, params, x, y, name)
        except InpatientError:
            raise
        except Exception as error:  # whatever a stranger's module does wrong
            raise InvalidInputError(
                f"{name} can't be run a record at a time: {type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]}. Its forward must take [n, {features}], n = "
                "1 included, without drawing at random (dropout), without batch norm, and without "
                "branching on a record's values."
            ) from error


def _check_shapes(
    program: Program, x: NDArray[np.float64], y: NDArray[np.int64], name: str
) -> None:
    """The module is given a whole batch: does it give one score and one loss a record?"""
    batch = torch.from_numpy(x)
    with in_float64(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        scores = program.module(batch)
        if (shape := _shape(scores)) not in ((len(x),), (len(x), 1), (len(x), 2)):
            raise InvalidInputError(
                f"{name} gives {shape} for {len(x)} records; expected one log-odds a record: "
                f"({len(x)},) or ({len(x)}, 1), or the two logits of one outcome ({len(x)}, 2)."
            )
        if scores.dtype != torch.float64:
            raise InvalidInputError(
                f"{name} gives {scores.dtype} for float64 records: it rounds on the way. Leave "
                "dtypes alone."
            )
        _, losses = Recorded(program.module)(batch, torch.from_numpy(y.astype(np.float64)), 0.0)
        if (shape := _shape(losses)) != (len(x),):
            raise InvalidInputError(
                f"The loss of {name} gives {shape} for {len(x)} records; expected ({len(x)},): "
                "one loss a record, neither summed nor averaged."
            )


def _shape(output: object) -> object:
    return tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__


def _check_rows_at(
    program: Program,
    params: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.int64],
    name: str,
) -> None:
    slots = np.arange(SLOTS)

    def both(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        gradients, _ = program.gradients(params, rows, y, slots)
        scores, losses = program.scores_and_losses(params, rows, y, slots)
        return np.column_stack([scores, losses, gradients])

    alone = both(x)
    if not np.array_equal(alone, both(x)):
        raise InvalidInputError(
            f"{name} is not the same twice: it draws at random or keeps what it saw. Leave out "
            "dropout and everything that changes from call to call."
        )
    # What records give together, at once, as who wrote the module would run it.
    for what, batched, expected in zip(
        ("scores", "losses"), program.whole(params, x, y), alone.T[:2], strict=True
    ):
        if not np.allclose(batched, expected, rtol=_CLOSE, atol=_CLOSE):
            raise InvalidInputError(
                f"{name}: the {what} of a batch are not those of its records one by one (up to "
                f"{np.abs(batched - expected).max():.1e} apart): it looks across records, as batch "
                "norm does, or its loss does. Leave that out."
            )
    for value in _STRANGE:
        for mask in (slots % 2 == 0, slots % 2 == 1, slots == SLOTS - 1):
            beside = np.where(mask[:, None], x, value)
            if both(beside)[mask].tobytes() != alone[mask].tobytes():
                raise InvalidInputError(
                    f"{name}: a record's gradient depends on its neighbours (beside records of "
                    f"{value:g}), so that no clipping bounds what one patient changes. Leave out "
                    "whatever looks across records."
                )
