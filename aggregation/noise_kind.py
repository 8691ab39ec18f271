"""Who adds the noise that hides a patient in a run's releases."""

from enum import StrEnum

__all__ = ["NoiseKind"]


class NoiseKind(StrEnum):
    """How a plan's uploads are noised; a plan's file holds the value."""

    NONE = "none"
    """Nobody adds noise."""
    ARTICLE = "article"
    """The article's snippet, scaled by the upload's own norm: no epsilon can be stated for it."""
    LOCAL = "local"
    """Every hospital adds all of the noise."""
    SHARED = "shared"
    """Every hospital adds a share; the honest shares of the smallest sum make up all of it."""

    @property
    def protects(self) -> bool:
        """Whether the noise has a standard deviation that no patient moves, and so an epsilon."""
        return self in (NoiseKind.LOCAL, NoiseKind.SHARED)
