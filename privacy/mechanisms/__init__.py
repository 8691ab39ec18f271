"""What stands between a patient and a release: clipping, exact integers, noise."""

from privacy.mechanisms.additive import DiscreteGaussian, Gaussian, Skellam, analytic_gaussian
from privacy.mechanisms.article_noise import article_noise, article_noise_std
from privacy.mechanisms.clipping import BoundedIntegers, Clipped, clip, to_integers
from privacy.mechanisms.noise import NoiseSource, OperatingSystem, Seeded

__all__ = [
    "BoundedIntegers",
    "Clipped",
    "DiscreteGaussian",
    "Gaussian",
    "NoiseSource",
    "OperatingSystem",
    "Seeded",
    "Skellam",
    "analytic_gaussian",
    "article_noise",
    "article_noise_std",
    "clip",
    "to_integers",
]
