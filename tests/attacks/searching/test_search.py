"""What searches share: batches are brought into one order before they vote."""

import numpy as np

from attacks.searching.search import align
from tests.attacks.runs import PRIOR


def test_batches_are_aligned_patient_by_patient_and_never_across_outcomes() -> None:
    rng = np.random.default_rng(0)
    first = PRIOR.draw(6, rng)
    labels = np.array([0, 0, 0, 1, 1, 1])
    order = np.array([2, 0, 1, 4, 5, 3])
    (_, again) = align([first, first[order]], labels, PRIOR.features)
    np.testing.assert_array_equal(again, first)
    crossed = first[[3, 4, 5, 0, 1, 2]]  # whoever it resembles has the other outcome
    (_, kept) = align([first, crossed], labels, PRIOR.features)
    for outcome in (0, 1):
        ours, theirs = kept[labels == outcome], crossed[labels == outcome]
        assert {row.tobytes() for row in ours} == {row.tobytes() for row in theirs}
