"""The device that a search computes on: the processor, or an accelerator where there is one.

Starts are drawn by numpy and outcomes by numpy too, so a search on a device begins where it would
begin on the processor; sums are added in another order there, so last digits differ. Records that
are published were computed on the processor.
"""

import torch

from privacy.errors import InvalidInputError

__all__ = ["PROCESSOR", "checked_device", "found_device"]

PROCESSOR = "cpu"


def found_device() -> str:
    """Return ``cuda`` where torch finds one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else PROCESSOR


def checked_device(name: str) -> str:
    """Return the name of a device that is there; ``auto`` takes what torch finds.

    Raises:
      InvalidInputError: No such device here, or one that has no float64.
    """
    if name == "auto":
        return found_device()
    here = [PROCESSOR]
    if torch.cuda.is_available():
        here += ["cuda", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
    if name not in here:
        raise InvalidInputError(
            f"Expected device={name!r} to be auto or one that torch finds here and that has "
            f"float64: {', '.join(here)}."
        )
    return name
