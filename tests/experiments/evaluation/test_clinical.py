"""Net benefit and sensitivity by hand."""

import numpy as np
import pytest

from experiments.evaluation import Scored, net_benefit, sensitivity_at
from privacy.errors import InvalidInputError

SITE = Scored(
    np.log(np.array([1 / 9, 1 / 4, 1.0, 4.0, 9.0])),  # risks .1 .2 .5 .8 .9
    np.array([0, 1, 0, 1, 1]),
)


def test_net_benefit_by_hand() -> None:
    at_half = net_benefit(SITE, threshold=0.5)
    assert at_half.model == pytest.approx(2 / 5 - 1 / 5)  # risk .5 is treated
    assert at_half.treat_all == pytest.approx(3 / 5 - 2 / 5)
    low = net_benefit(SITE, threshold=0.05)
    assert low.model == pytest.approx(low.treat_all)
    assert low.model == pytest.approx(3 / 5 - 2 / 5 * 0.05 / 0.95)


def test_a_perfect_model_gains_the_prevalence() -> None:
    perfect = Scored(np.array([-5.0, -5.0, 5.0]), np.array([0, 0, 1]))
    assert net_benefit(perfect, threshold=0.3).model == pytest.approx(1 / 3)


@pytest.mark.parametrize(("specificity", "expected"), [(0.0, 1.0), (0.5, 1.0), (1.0, 2 / 3)])
def test_sensitivity_by_hand(specificity: float, expected: float) -> None:
    assert sensitivity_at(SITE, specificity=specificity) == pytest.approx(expected)


def test_tied_wells_are_all_spared() -> None:
    site = Scored(np.zeros(4), np.array([0, 0, 1, 1]))
    assert sensitivity_at(site, specificity=0.5) == 0.0


def test_missing_classes_and_bad_thresholds_are_errors() -> None:
    ill = Scored(np.zeros(2), np.array([1, 1]))
    with pytest.raises(InvalidInputError, match="2 ill and 0 well"):
        sensitivity_at(ill, specificity=0.9)
    with pytest.raises(InvalidInputError, match=r"threshold=1\.0"):
        net_benefit(ill, threshold=1.0)
    with pytest.raises(InvalidInputError, match="No patients"):
        net_benefit(Scored(np.empty(0), np.empty(0, dtype=np.int64)), threshold=0.1)
