"""What releases cost a patient, by name: each risk with its adversary's question and its bound.

Membership, attribute inference, re-identification and reconstruction are readings of one trade-off
curve (Kulynych and others 2025, arXiv 2507.06969). Of several targets no more is promised than
follows without any independence: how many are named on average, and whether any is.

>>> from dp_accounting import GaussianDpEvent, NeighboringRelation
>>> found = named_risks(GaussianDpEvent(4.0), relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
...                     prior_success=0.1, prior=(0.7, 0.2, 0.1), targets=20)
>>> round(found.advantage, 3), round(found.reidentified, 3), round(found.attribute, 3)
(0.099, 0.151, 0.7)
>>> round(found.expected_named, 2), found.any_named
(3.02, 1.0)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp

from privacy._validate import natural
from privacy.accounting.intervals import delta as delta_of
from privacy.accounting.tradeoff import tradeoff_curve
from privacy.reconstruction import attribute_bound, success_bound

__all__ = ["FALSE_POSITIVES", "NamedRisks", "named_risks"]

FALSE_POSITIVES = (1e-3, 1e-2, 1e-1)
"""Where ``named_risks`` reads true positive rates."""


@dataclass(frozen=True)
class NamedRisks:
    """Upper bounds, each for any adversary who knows all but what it asks for.

    Attributes:
      advantage: Membership: true positive rate less false positive rate, at most.
      true_positives: Membership: true positive rate at each of ``FALSE_POSITIVES``.
      reidentified: A target is named among candidates, or its record reconstructed, where that
        succeeds with ``prior_success`` blindly (1/n for n candidates, all alike beforehand).
      attribute: A value with the given prior is guessed rightly; None without a prior.
      expected_named: Of the targets, each as in ``reidentified``, how many on average.
      any_named: That it is any of them, at least once.
    """

    advantage: float
    true_positives: tuple[float, ...]
    reidentified: float
    attribute: float | None
    expected_named: float
    any_named: float


def named_risks(
    event: dp.DpEvent,
    *,
    relation: Relation,
    prior_success: float = 0.1,
    prior: Sequence[float] | None = None,
    targets: int = 1,
) -> NamedRisks:
    """Return all risks of one event.

    Args:
      event: All that was released.
      relation: How the releases without the patient are meant.
      prior_success: How often a target is named, or its record reconstructed, blindly.
      prior: Of an attribute's values, given all else that is known.
      targets: How many patients are asked for.

    Raises:
      InvalidInputError: A parameter is out of range, or the event can't be accounted for.
    """
    natural(targets=targets, least=1)
    missed = tradeoff_curve(event, errors=FALSE_POSITIVES, relation=relation)
    named = success_bound(event, prior_success=prior_success, relation=relation)
    return NamedRisks(
        advantage=delta_of(event, epsilon=0.0, relation=relation).upper,
        true_positives=tuple(1 - error for error in missed),
        reidentified=named,
        attribute=None if prior is None else attribute_bound(event, prior=prior, relation=relation),
        expected_named=targets * named,
        any_named=min(1.0, targets * named),
    )
