"""The step of each design of ``studies.scaling``, chosen on networks that it never reads.

``studies.scaling_tuning`` tried every step in every place and kept the one of the greatest mean
AUC; its record stands in ``paper/tuning``, and a test holds the table against it. The networks are
simulated, so the choice costs no patient's privacy.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType

from experiments.studies.design import TrainingSetting
from privacy.errors import InvalidInputError

__all__ = ["SETTING", "STEPS", "step_of"]

SETTING = TrainingSetting(20, 1.0, 1.0, 10)
"""Rounds, clip norm and averaging of every design; each has a step of its own."""

STEPS: Mapping[tuple[str, int, str, float], float] = MappingProxyType(
    {
        ("growing", 4, "sealed", math.inf): 64.0,
        ("growing", 4, "local", 0.1): 0.0625,
        ("growing", 4, "sealed", 0.1): 0.0625,
        ("growing", 4, "local", 1.0): 0.0625,
        ("growing", 4, "sealed", 1.0): 0.0625,
        ("growing", 40, "sealed", math.inf): 64.0,
        ("growing", 40, "local", 0.1): 0.0625,
        ("growing", 40, "sealed", 0.1): 4.0,
        ("growing", 40, "local", 1.0): 16.0,
        ("growing", 40, "sealed", 1.0): 64.0,
        ("growing", 400, "sealed", math.inf): 64.0,
        ("growing", 400, "local", 0.1): 0.0625,
        ("growing", 400, "sealed", 0.1): 64.0,
        ("growing", 400, "local", 1.0): 64.0,
        ("growing", 400, "sealed", 1.0): 64.0,
        ("divided", 4, "sealed", math.inf): 16.0,
        ("divided", 4, "local", 0.1): 16.0,
        ("divided", 4, "sealed", 0.1): 16.0,
        ("divided", 4, "local", 1.0): 16.0,
        ("divided", 4, "sealed", 1.0): 16.0,
        ("divided", 40, "sealed", math.inf): 16.0,
        ("divided", 40, "local", 0.1): 4.0,
        ("divided", 40, "sealed", 0.1): 16.0,
        ("divided", 40, "local", 1.0): 16.0,
        ("divided", 40, "sealed", 1.0): 16.0,
        ("divided", 400, "sealed", math.inf): 16.0,
        ("divided", 400, "local", 0.1): 0.0625,
        ("divided", 400, "sealed", 0.1): 16.0,
        ("divided", 400, "local", 1.0): 4.0,
        ("divided", 400, "sealed", 1.0): 16.0,
        ("divided", 4000, "sealed", math.inf): 16.0,
        ("divided", 4000, "local", 0.1): 1.0,
        ("divided", 4000, "sealed", 0.1): 16.0,
        ("divided", 4000, "local", 1.0): 4.0,
        ("divided", 4000, "sealed", 1.0): 16.0,
    }
)
"""By arrangement, hospitals, design and epsilon."""


def step_of(arrangement: str, hospitals: int, design: str, epsilon: float) -> float:
    """Return the step of a design.

    A number of hospitals that was not searched takes the step of the searched place of its
    arrangement whose mean gradient is as noisy, as nearly as there is one; of two, the larger.

    Raises:
      InvalidInputError: An arrangement, design or epsilon that was not searched anywhere.
    """
    known = {key for key in STEPS if key[0] == arrangement}
    if not any(key[2:] == (design, epsilon) for key in known):
        raise InvalidInputError(
            f"No step was searched for {arrangement}, {design} at epsilon {epsilon:g}; see "
            "experiments.studies.scaling_tuning."
        )
    wanted = (arrangement, hospitals, design, epsilon)
    if wanted in known:
        return STEPS[wanted]
    quiet = math.isinf(epsilon)
    candidates = [key for key in known if math.isinf(key[3]) == quiet]
    here = 0.0 if quiet else math.log(_noise(hospitals, design, epsilon))

    def distance(key: tuple[str, int, str, float]) -> tuple[float, int, str]:
        off = 0.0 if quiet else abs(math.log(_noise(*key[1:])) - here)
        return round(off, 9), -key[1], key[2]

    return STEPS[min(candidates, key=distance)]


def _noise(hospitals: int, design: str, epsilon: float) -> float:
    """Noise on the mean gradient, up to what all places share: one noise in all, or one each."""
    shares = hospitals if design == "sealed" else math.sqrt(hospitals)
    return 1.0 / (shares * epsilon)
