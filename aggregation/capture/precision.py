"""Floating-point formats, and how far rounding to one may move a number.

>>> Precision.FLOAT32.roundoff == 2.0**-24
True
>>> Precision.BFLOAT16.half_spacing(np.array([1.0, 0.1])).tolist()
[0.00390625, 0.000244140625]
"""

from enum import StrEnum

import numpy as np
from jaxtyping import Float

from privacy.errors import InvalidInputError

__all__ = ["Precision"]


class Precision(StrEnum):
    """A binary floating-point format; ``tf32`` is one that matrices are multiplied in, only."""

    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    TF32 = "tf32"
    FLOAT32 = "float32"
    FLOAT64 = "float64"

    @property
    def roundoff(self) -> float:
        """Largest relative change by rounding to the nearest number."""
        return 2.0 ** -_BITS[self][0]

    def half_spacing(self, values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Half the distance between neighbours at each value: what rounding there may have moved.

        Below the smallest normal number the distance no longer falls.
        """
        exponent = np.frexp(np.abs(values))[1] - 1  # 0 has exponent -1 here, which is too large
        exponent = np.where(values == 0, _BITS[self][1], np.maximum(exponent, _BITS[self][1]))
        return np.ldexp(self.roundoff, exponent)

    @classmethod
    def of(cls, dtype: "np.dtype[np.generic]") -> "Precision":
        """Return the format of an array.

        Raises:
          InvalidInputError: It holds no floating-point numbers of 16, 32 or 64 bits.
        """
        try:
            return cls(dtype.name)
        except ValueError as error:
            raise InvalidInputError(
                f"Weights of type {dtype.name} can't be read; expected one of "
                f"{', '.join(p.value for p in cls if p is not cls.TF32)}."
            ) from error


# Bits of the significand (the hidden one included), and the smallest normal exponent.
_BITS = {
    Precision.FLOAT16: (11, -14),
    Precision.BFLOAT16: (8, -126),
    Precision.TF32: (11, -126),
    Precision.FLOAT32: (24, -126),
    Precision.FLOAT64: (53, -1022),
}
