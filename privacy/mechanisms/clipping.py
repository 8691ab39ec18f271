r"""Bounding one patient's influence: clip to a norm, then to integers without passing it.

Sensitivity is a property of the bounded value, not a number typed in beside it: ``Clipped`` and
``BoundedIntegers`` check their own rows and answer ``sensitivity(relation)``.

>>> clipped = clip(np.array([[3.0, 4.0], [0.3, 0.4]]), clip_norm=1.0)
>>> bounded = to_integers(clipped, radius=1000)
>>> bounded.values.tolist(), bounded.sensitivity(NeighboringRelation.REPLACE_ONE)
([[600, 800], [300, 400]], 2000)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from dp_accounting import NeighboringRelation
from jaxtyping import Float, Int
from numpy.typing import NDArray

from privacy._validate import finite_array, member, natural, positive
from privacy.errors import InvalidInputError
from privacy.mechanisms import kernels

__all__ = ["BoundedIntegers", "Clipped", "clip", "to_integers"]

_SLACK = 1e-12  # relative: what float64 may add to a clipped norm
_LARGEST_RADIUS = 2**30  # sums of squares stay far inside int64


@dataclass(frozen=True)
class Clipped:
    """Rows, one a patient, whose L2 norm is at most ``clip_norm`` (1 + 1e-12).

    Attributes:
      values: float64 ``[patients, dim]``, in units of the model's parameters.
      clip_norm: The bound, in the same units.

    Raises:
      InvalidInputError: A row is longer than ``clip_norm``, or holds NaN or infinity.
    """

    values: Float[np.ndarray, "patients dim"]
    clip_norm: float

    def __post_init__(self) -> None:
        positive(clip_norm=self.clip_norm)
        finite_array(values=self.values)
        norms = kernels.norms(_floats(self.values))
        if (norms > self.clip_norm * (1 + _SLACK)).any():
            raise InvalidInputError(
                f"Row {int(norms.argmax())} has norm {norms.max()} > clip_norm={self.clip_norm}: "
                "clip(updates, clip_norm=...) first."
            )

    def sum(self) -> Float[np.ndarray, "dim"]:
        """Sum over patients."""
        return np.asarray(self.values.sum(axis=0))

    def sensitivity(self, relation: NeighboringRelation) -> float:
        """L2 distance that one patient can move ``sum()``, up to the rounding of floats."""
        return self.clip_norm * _factor(relation)


@dataclass(frozen=True)
class BoundedIntegers:
    """Integer rows, one a patient, whose sum of squares is at most ``radius`` squared, exactly.

    Attributes:
      values: int64 ``[patients, dim]``; one step is ``clip_norm / radius``.
      radius: The bound on every row's L2 norm, in steps.
      clip_norm: What ``radius`` steps mean, in units of the model's parameters.

    Raises:
      InvalidInputError: A row is longer than ``radius``, ``radius`` is not from 1 to 2^30, or
        ``values`` is no table of signed integers.
    """

    values: Int[np.ndarray, "patients dim"]
    radius: int
    clip_norm: float

    def __post_init__(self) -> None:
        _check_radius(self.radius)
        positive(clip_norm=self.clip_norm)
        if self.values.dtype.kind != "i":
            raise InvalidInputError(
                f"Expected signed integers, got {self.values.dtype}: another kind could be cut or "
                "wrapped on its way to the check. to_integers(clipped, radius=...) makes int64."
            )
        values = np.ascontiguousarray(_table(self.values), dtype=np.int64)
        short = kernels.squares(values, self.radius) <= self.radius**2
        if not short.all():
            raise InvalidInputError(
                f"Row {int(np.argmin(short))} is longer than radius={self.radius}: "
                "to_integers(clipped, radius=...) makes rows that are not."
            )

    @property
    def step(self) -> float:
        """What one integer means, in units of the model's parameters."""
        return self.clip_norm / self.radius

    def sum(self) -> Int[np.ndarray, "dim"]:
        """Exact sum over patients."""
        return np.asarray(self.values.sum(axis=0))

    def sensitivity(self, relation: NeighboringRelation) -> int:
        """L2 distance that one patient can move ``sum()``, in steps; exact."""
        return self.radius * _factor(relation)


def clip(updates: Float[np.ndarray, "patients dim"], *, clip_norm: float) -> Clipped:
    r"""Scale each patient's row so that its L2 norm is at most ``clip_norm``.

    Guarantees (each is a test in ``tests/privacy/mechanisms/test_clipping.py``):
      - every row of the result has norm <= ``clip_norm`` (1 + 1e-12);
      - a row already within the bound is returned unchanged, bit for bit;
      - a longer row keeps its direction;
      - row i depends on row i alone.

    Args:
      updates: One row per patient, in units of the model's parameters.
      clip_norm: The bound :math:`C` of Abadi et al. 2016, Algorithm 1. Units of ``updates``.

    Raises:
      InvalidInputError: NaN or infinity in a row, no table of rows, or ``clip_norm`` not above 0.
    """
    positive(clip_norm=clip_norm)
    finite_array(updates=updates, hint="Reject such a patient's update before clipping.")
    return Clipped(kernels.clipped_rows(_floats(updates), clip_norm), clip_norm)


def to_integers(clipped: Clipped, *, radius: int) -> BoundedIntegers:
    r"""Scale ``clip_norm`` to ``radius`` and round each row to integers no longer than that.

    Nearest rounding may lengthen a row: by about :math:`\sqrt d / 2` steps in the worst case. Such
    a row is repaired: coordinates that were rounded away from zero go one step back, those that
    gained most first, until the sum of squares is at most ``radius`` squared.

    Guarantees (each is a test in ``tests/privacy/mechanisms/test_clipping.py``):
      - every row's sum of squares is at most ``radius ** 2``, in integer arithmetic;
      - every coordinate is less than one step from its scaled value;
      - a row whose nearest rounding is short enough is that rounding;
      - row i depends on row i alone.

    Take ``radius`` >= 100 sqrt(dim): below, truncation eats the gradient.

    Args:
      clipped: What ``clip`` returned.
      radius: The integer L2 bound, from 1 to 2^30.

    Raises:
      InvalidInputError: ``radius`` is out of range.
    """
    _check_radius(radius)
    # Shrinking by twice the slack makes every scaled row truly no longer than the radius, so that
    # taking back all that was rounded away from zero always suffices.
    scale = radius / clipped.clip_norm * (1 - 2 * _SLACK)
    values = kernels.bounded_rows(_floats(clipped.values), scale, radius)
    return BoundedIntegers(values, radius, clipped.clip_norm)


def _floats(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ascontiguousarray(_table(values), dtype=np.float64)


def _table(values: NDArray[Any]) -> NDArray[Any]:
    if values.ndim != 2:
        raise InvalidInputError(
            f"Expected one row a patient, an array [patients, dim]; got shape {values.shape}. "
            "A single row is values[None]."
        )
    return values


def _check_radius(radius: int) -> None:
    natural(radius=radius, least=1)
    if radius > _LARGEST_RADIUS:
        raise InvalidInputError(f"Expected radius={radius} <= 2^30: sums must fit into int64.")


def _factor(relation: NeighboringRelation) -> int:
    member(NeighboringRelation, relation=relation)
    return 2 if relation is NeighboringRelation.REPLACE_ONE else 1
