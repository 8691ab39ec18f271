r"""What a release costs: events in, certified intervals of epsilon and delta out.

**Whose noise, and under which relation.** An event's ``noise_multiplier`` is the standard deviation
of the noise over D, the sensitivity when one unit *comes or goes* (``radius``, a clip norm),
whatever the relation that the question is asked under. The relation says which pairs of data sets
are neighbours, and so how far apart the two sums are:

  - ``ADD_OR_REMOVE_ONE``: a unit comes or goes; the sums are D apart.
  - ``REPLACE_SPECIAL``: a unit's record is replaced by an empty one, the number of units stays; D.
  - ``REPLACE_ONE``: a unit's record is replaced by any other: one vector leaves and another enters,
    the sums are **2 D** apart. The noise stays noise_multiplier x D, so a Gaussian release has
    :math:`\mu = 2 / \mathrm{noise\_multiplier}`. Nobody halves the noise multiplier before asking.

The same holds for ``sensitivity`` of a discrete Laplace event and for fixed-size samples. Whoever
tests a mechanism under ``REPLACE_ONE`` gives it two data sets of equal size that differ in one
record, whose sums may be 2 D apart, and compares with ``epsilon(event, relation=REPLACE_ONE)``.

>>> from dp_accounting import GaussianDpEvent, NeighboringRelation
>>> found = epsilon(GaussianDpEvent(3.7306), delta=1e-5,
...                 relation=NeighboringRelation.ADD_OR_REMOVE_ONE)
>>> round(found.estimate, 4), found.method
(1.0, 'closed form')
>>> twice = epsilon(GaussianDpEvent(2 * 3.7306), delta=1e-5,
...                 relation=NeighboringRelation.REPLACE_ONE)
>>> round(twice.estimate, 4)
1.0
"""

from privacy.accounting.intervals import Interval, delta, epsilon

__all__ = ["Interval", "delta", "epsilon"]
