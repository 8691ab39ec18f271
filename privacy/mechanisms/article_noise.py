"""The article's own noise, faithfully: what this project puts to the test, and no protection.

It differs from the Gaussian mechanism where it matters: the scale of the noise is computed from the
very gradient that it should hide.
"""

import math

import numpy as np
from jaxtyping import Float

from privacy._validate import finite_array, positive, unit_open
from privacy.mechanisms.noise import NoiseSource

__all__ = ["article_noise", "article_noise_std"]


def article_noise_std(
    gradient: Float[np.ndarray, "*shape"], *, epsilon: float, delta: float
) -> float:
    """Return the article's standard deviation: norm * sqrt(2 ln(1.25 / delta)) / epsilon.

    The article leaves ``compute_sensitivity(gradient)`` open; the norm of the gradient is the
    only L2 bound that can be computed from the gradient itself.
    """
    positive(epsilon=epsilon)
    unit_open(delta=delta)
    finite_array(gradient=gradient)
    sensitivity = float(np.linalg.norm(gradient))
    return sensitivity * math.sqrt(2 * math.log(1.25 / delta)) / epsilon


def article_noise(
    gradient: Float[np.ndarray, "*shape"], *, epsilon: float, delta: float, source: NoiseSource
) -> Float[np.ndarray, "*shape"]:
    """Add normal noise as the article's snippet does.

    What it does *not* guarantee (each is a test in ``tests/privacy/mechanisms/test_article.py``):
      - (epsilon, delta)-DP for any finite epsilon: a zero gradient gets no noise at all, and the
        scale of the noise tells the norm of the gradient.

    Args:
      gradient: What is uploaded; float64, any shape.
      epsilon: The article's claim for one upload.
      delta: The delta that goes with it.
      source: Where the noise comes from.

    Raises:
      InvalidInputError: NaN or infinity in the gradient, or a parameter out of range.
    """
    std = article_noise_std(gradient, epsilon=epsilon, delta=delta)
    if std == 0:
        return gradient.copy()
    noise = source.gaussian(std, gradient.size).reshape(gradient.shape)
    return np.asarray(gradient + noise)
