"""Noise on whole numbers, outcome by outcome."""

import numpy as np
from numpy.typing import NDArray


def lattice(std: float, centre: tuple[int, ...], reach: int) -> NDArray[np.float64]:
    """Discrete Gaussian masses around a whole-number centre, in its number of dimensions."""
    axis = np.arange(-reach, reach + 1)
    square = sum((x - c) ** 2 for x, c in zip(np.ix_(*[axis] * len(centre)), centre, strict=True))
    return np.asarray(np.exp(-square / (2 * std**2)))
