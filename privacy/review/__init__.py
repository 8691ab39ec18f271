"""A run of somebody else's, judged by what its files say: claims, cost, and the usual mistakes."""

from privacy.review.mistakes import Check, Judgement, examine
from privacy.review.told import ReviewFile, read_review

__all__ = ["Check", "Judgement", "ReviewFile", "examine", "read_review"]
