"""The step of each design of ``studies.scaling``, chosen on networks that it never reads.

``studies.tuning`` tried every step in every place and kept the one of the greatest mean
AUC; its record stands in ``paper/tuning``, and a test holds the table against it. The networks are
simulated, so the choice costs no patient's privacy.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from experiments.studies.design import Design, TrainingSetting
from privacy.errors import InvalidInputError

__all__ = ["SETTING", "STEPS", "Arrangement", "ScalingArm", "StepKey", "step_of"]


class Arrangement(StrEnum):
    """What grows with the number of hospitals."""

    GROWING = "growing"
    DIVIDED = "divided"


class ScalingArm(StrEnum):
    """What is compared on one network: clipping alone, all noise at each hospital, one noise."""

    NONE = "none"
    LOCAL = "local"
    SEALED = "sealed"

    @property
    def noise_seed(self) -> int:
        """Tells the noises of one network apart; part of every published number."""
        return {ScalingArm.NONE: 4, ScalingArm.LOCAL: 5, ScalingArm.SEALED: 6}[self]

    @property
    def design(self) -> Design:
        """The design that is trained: what has no noise is summed as sealed."""
        return Design.LOCAL if self is ScalingArm.LOCAL else Design.SEALED


SETTING = TrainingSetting(20, 1.0, 1.0, 10)
"""Rounds, clip norm and averaging of every design; each has a step of its own."""

StepKey = tuple[Arrangement, int, ScalingArm, float]
"""Arrangement, hospitals, design and epsilon."""

STEPS: Mapping[StepKey, float] = MappingProxyType(
    {
        (Arrangement.GROWING, 4, ScalingArm.SEALED, math.inf): 64.0,
        (Arrangement.GROWING, 4, ScalingArm.LOCAL, 0.1): 0.0625,
        (Arrangement.GROWING, 4, ScalingArm.SEALED, 0.1): 0.0625,
        (Arrangement.GROWING, 4, ScalingArm.LOCAL, 1.0): 0.0625,
        (Arrangement.GROWING, 4, ScalingArm.SEALED, 1.0): 0.0625,
        (Arrangement.GROWING, 40, ScalingArm.SEALED, math.inf): 64.0,
        (Arrangement.GROWING, 40, ScalingArm.LOCAL, 0.1): 0.0625,
        (Arrangement.GROWING, 40, ScalingArm.SEALED, 0.1): 4.0,
        (Arrangement.GROWING, 40, ScalingArm.LOCAL, 1.0): 16.0,
        (Arrangement.GROWING, 40, ScalingArm.SEALED, 1.0): 64.0,
        (Arrangement.GROWING, 400, ScalingArm.SEALED, math.inf): 64.0,
        (Arrangement.GROWING, 400, ScalingArm.LOCAL, 0.1): 0.0625,
        (Arrangement.GROWING, 400, ScalingArm.SEALED, 0.1): 64.0,
        (Arrangement.GROWING, 400, ScalingArm.LOCAL, 1.0): 64.0,
        (Arrangement.GROWING, 400, ScalingArm.SEALED, 1.0): 64.0,
        (Arrangement.DIVIDED, 4, ScalingArm.SEALED, math.inf): 16.0,
        (Arrangement.DIVIDED, 4, ScalingArm.LOCAL, 0.1): 16.0,
        (Arrangement.DIVIDED, 4, ScalingArm.SEALED, 0.1): 16.0,
        (Arrangement.DIVIDED, 4, ScalingArm.LOCAL, 1.0): 16.0,
        (Arrangement.DIVIDED, 4, ScalingArm.SEALED, 1.0): 16.0,
        (Arrangement.DIVIDED, 40, ScalingArm.SEALED, math.inf): 16.0,
        (Arrangement.DIVIDED, 40, ScalingArm.LOCAL, 0.1): 4.0,
        (Arrangement.DIVIDED, 40, ScalingArm.SEALED, 0.1): 16.0,
        (Arrangement.DIVIDED, 40, ScalingArm.LOCAL, 1.0): 16.0,
        (Arrangement.DIVIDED, 40, ScalingArm.SEALED, 1.0): 16.0,
        (Arrangement.DIVIDED, 400, ScalingArm.SEALED, math.inf): 16.0,
        (Arrangement.DIVIDED, 400, ScalingArm.LOCAL, 0.1): 0.0625,
        (Arrangement.DIVIDED, 400, ScalingArm.SEALED, 0.1): 16.0,
        (Arrangement.DIVIDED, 400, ScalingArm.LOCAL, 1.0): 4.0,
        (Arrangement.DIVIDED, 400, ScalingArm.SEALED, 1.0): 16.0,
        (Arrangement.DIVIDED, 4000, ScalingArm.SEALED, math.inf): 16.0,
        (Arrangement.DIVIDED, 4000, ScalingArm.LOCAL, 0.1): 1.0,
        (Arrangement.DIVIDED, 4000, ScalingArm.SEALED, 0.1): 16.0,
        (Arrangement.DIVIDED, 4000, ScalingArm.LOCAL, 1.0): 4.0,
        (Arrangement.DIVIDED, 4000, ScalingArm.SEALED, 1.0): 16.0,
    }
)


def step_of(arrangement: Arrangement, hospitals: int, design: ScalingArm, epsilon: float) -> float:
    """Return the step of a design.

    A number of hospitals that was not searched takes the step of the searched place of its
    arrangement whose mean gradient is as noisy, as nearly as there is one; of two, the larger.

    Raises:
      InvalidInputError: An arrangement, design or epsilon that was not searched anywhere.
    """
    searched = {key for key in STEPS if key[0] == arrangement}
    if not any(key[2:] == (design, epsilon) for key in searched):
        raise InvalidInputError(
            f"No step was searched for {arrangement}, {design} at epsilon {epsilon:g}; see "
            "experiments.studies.tuning."
        )
    wanted = (arrangement, hospitals, design, epsilon)
    if wanted in searched:
        return STEPS[wanted]
    quiet = math.isinf(epsilon)
    candidates = [key for key in searched if math.isinf(key[3]) == quiet]
    here = 0.0 if quiet else math.log(_noise(hospitals, design, epsilon))

    def distance(key: StepKey) -> tuple[float, int, str]:
        off = 0.0 if quiet else abs(math.log(_noise(*key[1:])) - here)
        return round(off, 9), -key[1], key[2]

    return STEPS[min(candidates, key=distance)]


def _noise(hospitals: int, design: ScalingArm, epsilon: float) -> float:
    """Noise on the mean gradient, up to what all places share: one noise in all, or one each."""
    shares = hospitals if design is ScalingArm.SEALED else math.sqrt(hospitals)
    return 1.0 / (shares * epsilon)
