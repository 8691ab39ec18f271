"""How many patients stand behind a captured update, where nobody tells.

The mean of a batch's gradients does not change with its size; what a record would have left there
does: it is divided by the size. So at the true size, and at no other, records that units show alone
give back what the units show.
"""

from collections.abc import Callable
from dataclasses import dataclass

from aggregation.capture import RunLog
from attacks.exact.closed_form import peel
from attacks.knowledge.priors import Prior
from attacks.views import GradientView, observe, require
from privacy._validate import natural

__all__ = ["BatchSize", "find_batch_size"]


@dataclass(frozen=True)
class BatchSize:
    """A size, and how it was found.

    Attributes:
      size: Patients.
      tried: How many sizes were tried: a search makes chance coincidences so many times likelier.
      found: Whether any record was read; else ``size`` is the smallest that was tried.
    """

    size: int
    tried: int
    found: bool


def find_batch_size(
    capture: Callable[[int], RunLog], prior: Prior, *, least: int = 1, most: int = 64
) -> BatchSize:
    """Return the size at which the closed form reads most of the update.

    Args:
      capture: Reads the update as a batch of so many.
      prior: Says what the columns are.
      least: Smallest size that is tried.
      most: Largest.
    """
    natural(least_size=least, least=1)
    natural(most=most, least=least)
    best, size = 0, least
    for candidate in range(least, most + 1):
        view = require(observe(capture(candidate), "server_plain"), GradientView, "closed_form")
        reading = peel(view.plan, view.gradients[0], prior)
        if len(reading.records) > best:
            best, size = len(reading.records), candidate
        if reading.complete:
            break
    return BatchSize(size, most - least + 1, best > 0)
