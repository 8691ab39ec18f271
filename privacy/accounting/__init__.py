"""What a release costs: events in, certified intervals of epsilon and delta out.

>>> from dp_accounting import GaussianDpEvent, NeighboringRelation
>>> found = epsilon(GaussianDpEvent(3.7306), delta=1e-5,
...                 relation=NeighboringRelation.ADD_OR_REMOVE_ONE)
>>> round(found.estimate, 4), found.method
(1.0, 'closed form')
"""

from privacy.accounting.intervals import Interval, delta, epsilon

__all__ = ["Interval", "delta", "epsilon"]
