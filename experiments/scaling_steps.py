"""The step of each design of ``experiments.scaling``, chosen on networks that it never reads.

``experiments.scaling_tuning`` tried every step in every place and kept the one of the greatest mean
AUC; its record stands in ``paper/tuning``, and a test holds the table against it. The networks are
simulated, so the choice costs no patient's privacy.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType

from experiments.settings import Setting

__all__ = ["SETTING", "STEPS", "step_of"]

SETTING = Setting(20, 1.0, 1.0, 10)
"""Rounds, clip norm and averaging of every design; each has a step of its own."""

STEPS: Mapping[tuple[str, int, str, float], float] = MappingProxyType({})
"""By arrangement, hospitals, design and epsilon."""


def step_of(arrangement: str, hospitals: int, design: str, epsilon: float) -> float:
    """Return the step of a design: that of the nearest number of hospitals that was searched.

    Raises:
      KeyError: An arrangement, design or epsilon that was not searched.
    """
    searched = [key[1] for key in STEPS if key[0] == arrangement]
    nearest = min(searched, key=lambda n: abs(math.log(n / hospitals)), default=hospitals)
    return STEPS[arrangement, nearest, design, epsilon]
