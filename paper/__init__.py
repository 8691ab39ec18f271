"""The paper and the READMEs, made from the committed records (``build``)."""

from paper.build import build
from paper.numbers import numbers, published

__all__ = ["build", "numbers", "published"]
