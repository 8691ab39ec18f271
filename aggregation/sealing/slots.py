r"""Several sums in one sealed vector, each with its own sensitivity, noise and event.

A rule may need more than the model's update to be summed: how many patients took part, their
losses, FedNova's :math:`\sum_j p_j \tau_j`. Such scalars travel in slots behind the update and are
opened with the same sum; nobody sees them hospital by hospital. Each group of slots is clipped,
rounded and noised on its own, so that a count needs no share of the update's clip norm:

.. math:: v_h = \Big(\textstyle\sum_i u_{h,i} + z_h,\;\; \sum_i x_{h,i} + z'_h,\; \dots\Big),
   \qquad \|u_{h,i}\| \le D, \quad |x_{h,i}| \le D', \dots

A unit's coming or going moves group g by at most :math:`D_g`, and the groups' noises are
independent: the release is the composition of the groups' events. Under Poisson sampling that holds
if each group draws a sample of its own.

>>> count = SlotGroup("count", 1, clip_norm=1.0, radius=1, noise_multiplier=3.0)
>>> count.values(np.array([12]))
array([12.])
"""

import math
from dataclasses import dataclass

import numpy as np
from dp_accounting import DpEvent, NonPrivateDpEvent
from jaxtyping import Float, Int

from privacy._validate import natural, non_negative, positive
from privacy.accounting.events import DiscreteGaussianDpEvent, DistributedDiscreteGaussianDpEvent
from privacy.errors import InvalidInputError
from privacy.mechanisms import NoiseSource, clip, to_integers

__all__ = ["SlotGroup"]


@dataclass(frozen=True)
class SlotGroup:
    """Slots that are clipped, noised and accounted for together.

    Guarantees (each is a test in ``tests/aggregation/sealing/test_slots.py``):
      - one unit more or less moves ``integers`` by at most ``radius`` in L2 norm before the noise;
      - the noise is discrete Gaussian of the stated size, fresh for each group;
      - ``event`` is what the honest shares of a sum make of it.

    Attributes:
      name: What is summed.
      dim: Slots.
      clip_norm: Largest L2 norm of one unit's values, in their own units; longer ones are cut.
      radius: The integer :math:`D_g` that ``clip_norm`` becomes.
      noise_multiplier: Standard deviation of all of the noise over ``clip_norm``, unitless; 0: no
        noise, and the event says unprotected.
    """

    name: str
    dim: int
    clip_norm: float
    radius: int
    noise_multiplier: float

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidInputError("Expected a name for a group of slots, such as count.")
        natural(dim=self.dim, least=1)
        natural(radius=self.radius, least=1)
        positive(clip_norm=self.clip_norm)
        non_negative(noise_multiplier=self.noise_multiplier)

    @property
    def step(self) -> float:
        """What one integer step means, in the values' units."""
        return self.clip_norm / self.radius

    def share_std(self, honest: int) -> float:
        """Standard deviation of one share in integer steps: ``honest`` of them make up the noise.

        1 where each hospital adds all of it.
        """
        natural(honest=honest, least=1)
        return self.noise_multiplier * self.radius / math.sqrt(honest)

    def event(self, honest: int) -> DpEvent:
        """Return the DP event of one opened sum, judged by its honest shares."""
        natural(honest=honest, least=1)
        if self.noise_multiplier == 0:
            return NonPrivateDpEvent()
        if honest == 1:
            return DiscreteGaussianDpEvent(self.noise_multiplier, self.radius)
        return DistributedDiscreteGaussianDpEvent(
            noise_multiplier=self.noise_multiplier,
            radius=self.radius,
            dim=self.dim,
            contributors=honest,
        )

    def integers(
        self, rows: Float[np.ndarray, "units slots"], *, honest: int, source: NoiseSource
    ) -> Int[np.ndarray, "slots"]:
        """Clip each unit's row, round it to integers, add the rows, and add a share of the noise.

        Args:
          rows: One row a patient; one row in all where the hospital is the unit.
          honest: As for ``share_std``.
          source: Where the noise comes from.
        """
        if rows.shape[1] != self.dim:
            raise InvalidInputError(
                f"Expected {self.dim} values a unit for {self.name!r}, got {rows.shape[1]}."
            )
        total = to_integers(clip(rows, clip_norm=self.clip_norm), radius=self.radius).sum()
        std = self.share_std(honest)
        return total + source.discrete_gaussian(std, self.dim) if std > 0 else total

    def values(self, total: Int[np.ndarray, "slots"]) -> Float[np.ndarray, "slots"]:
        """Return an opened sum in the values' own units."""
        return np.asarray(total * self.step)
