"""Correct mechanisms, and the mistakes that the field has made, each of which must be caught.

They are written as somebody would write them: none is contrived to be found. ``CORRECT`` must pass
(a check that cries wolf is soon switched off); of ``MUTANTS`` each must die of the check that is
named for it.
"""

from privacy.testing.mutants.building import Mutant
from privacy.testing.mutants.sound import CORRECT
from privacy.testing.mutants.unsound_rounds import COURSES
from privacy.testing.mutants.unsound_sums import SUMS

__all__ = ["CORRECT", "MUTANTS", "Mutant"]

MUTANTS: tuple[Mutant, ...] = (*SUMS, *COURSES)
