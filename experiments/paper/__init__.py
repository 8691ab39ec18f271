"""The paper and the READMEs, made from the committed records (``build``)."""

from experiments.paper.build import build
from experiments.paper.numbers import numbers, published

__all__ = ["build", "numbers", "published"]
