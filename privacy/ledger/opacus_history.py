"""What Opacus keeps of a training, read from its checkpoint; Opacus itself is not needed."""

import io
from collections.abc import Mapping
from typing import Any

from privacy.errors import CorruptMessageError, InvalidInputError

__all__ = ["history"]

_STATE = "privacy_accountant_state_dict"  # where ``PrivacyEngine.save_checkpoint`` puts it
_MOST = 10_000


def history(content: bytes) -> tuple[tuple[float, float, int], ...]:
    """Return the phases of an accountant's history: noise multiplier, sample rate and steps.

    It is alike for the accountants rdp, prv and gdp. torch unpickles numbers and containers alone
    (``weights_only``): nothing in the file is run.

    Args:
      content: What ``PrivacyEngine.save_checkpoint`` wrote, or an accountant's saved state.

    Raises:
      CorruptMessageError: The bytes are neither, or its history is no list of phases.
      InvalidInputError: torch is not installed, which alone reads the format.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            "a checkpoint is read by torch, which is not installed here (an auditor's environment "
            "has none). Use that of `make setup`, or write its phases into a .toml."
        ) from error

    try:
        state: Any = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its readers do
        raise CorruptMessageError(
            "it is no checkpoint that torch reads without running it "
            f"({type(error).__name__}). Save it with PrivacyEngine.save_checkpoint."
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get(_STATE), Mapping):
        state = state[_STATE]
    steps = state.get("history") if isinstance(state, Mapping) else None
    if not isinstance(steps, list) or len(steps) > _MOST or not all(map(_is_phase, steps)):
        raise CorruptMessageError(
            "it holds no history of an accountant: a list of (noise multiplier, sample rate, "
            "steps)."
        )
    return tuple((float(noise), float(rate), int(count)) for noise, rate, count in steps)


def _is_phase(step: Any) -> bool:
    numbers = isinstance(step, tuple | list) and len(step) == 3
    return numbers and all(isinstance(n, int | float) and not isinstance(n, bool) for n in step)
