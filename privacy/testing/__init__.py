"""Testing private mechanisms and accountants: yours as well as ours.

``check_mechanism`` looks at a mechanism from inside and compares it with the event that it claims;
``check_source`` tests the laws of what it draws from; ``check_accountant`` holds an accountant
against relations that must be true of every one; ``privacy.testing.strategies`` are Hypothesis
strategies, ``privacy.testing.plugin`` is a pytest plugin with one budget of false alarms a run,
``privacy.testing.mutants`` the mistakes to be caught.
"""

from privacy.testing.mechanism import BrokenPromise, check_mechanism
from privacy.testing.noise_sources import check_source
from privacy.testing.recording import RandomnessRequest, Recording
from privacy.testing.relations import Broken, check_accountant

__all__ = [
    "Broken",
    "BrokenPromise",
    "RandomnessRequest",
    "Recording",
    "check_accountant",
    "check_mechanism",
    "check_source",
]
