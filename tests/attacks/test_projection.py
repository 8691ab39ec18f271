import numpy as np
import pytest
from dp_accounting import NeighboringRelation

from attacks.scoring.rates import clopper_pearson
from privacy.accounting.events import DiscreteGaussianDpEvent
from privacy.errors import InvalidInputError
from privacy.mechanisms import Seeded
from privacy.reconstruction import success_bound
from tests.attacks.projection import antipodal_success, projection_law

ROW = np.array([3, -4, 0, 2])


def test_masses_are_those_of_enumeration() -> None:
    offset, law = projection_law(ROW, 0.8)
    n = np.arange(-8, 9)
    one = np.exp(-(n**2) / (2 * 0.8**2))
    one /= one.sum()
    a, b, c = np.meshgrid(n, n, n, indexing="ij")
    mass = np.einsum("i,j,k->ijk", one, one, one)
    for value in (-9, -1, 0, 2, 5):
        expected = mass[3 * a - 4 * b + 2 * c == value].sum()
        assert law[value - offset] == pytest.approx(expected, abs=1e-12)
    values = np.arange(len(law)) + offset
    assert law.sum() == pytest.approx(1, abs=1e-9)
    assert (law * values**2).sum() == pytest.approx((ROW**2).sum() * (one * n**2).sum(), rel=1e-9)


@pytest.mark.parametrize("multiplier", [0.5, 1.0, 3.0])
def test_the_exact_law_is_what_draws_show_and_stays_below_the_bound(multiplier: float) -> None:
    radius = 32
    row = np.full(4, radius // 2)  # norm: the radius
    exact = antipodal_success(row, multiplier * radius)
    noise = Seeded(3).discrete_gaussian(multiplier * radius, 4 * 4000).reshape(-1, 4)
    seen = (row + noise) @ row
    hits = int((seen > 0).sum() + (seen == 0).sum() // 2)
    low, high = clopper_pearson(hits, len(seen), confidence=0.999)
    assert low <= exact <= high
    bound = success_bound(
        DiscreteGaussianDpEvent(multiplier, radius),
        prior_success=0.5,
        relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    )
    assert 0.98 * bound <= exact <= bound


def test_too_wide_a_support_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="fewer integer steps"):
        projection_law(np.full(100, 4096), 4096.0)
