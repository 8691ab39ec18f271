"""Whose coming or going noise hides."""

from enum import StrEnum

__all__ = ["Unit"]


class Unit(StrEnum):
    """The unit of privacy of a plan, a release or a budget; a file holds the value."""

    PATIENT = "patient"
    HOSPITAL = "hospital"
