"""Paces that hospitals declare become a schedule, and its price is the whole run's."""

import pytest
from dp_accounting import SelfComposedDpEvent

from aggregation.agreement import Agreement
from aggregation.timing.declared import read_schedule, write_schedule
from experiments.deployment.declared_paces import DeclaredPaces, least_noise, paced_schedule
from experiments.studies.design import RELATION
from privacy.accounting import epsilon
from privacy.errors import InvalidInputError
from tests.aggregation.parts import HOSPITALS
from tests.aggregation.sites.parts import made

PACES = DeclaredPaces(2, {"north": 1.0, "east": 1.5, "south": 4.0})


@pytest.mark.parametrize("together", [2, 3])
@pytest.mark.parametrize("pace", [(1.0, 1.5, 4.0), (1.0, 1.0, 1.0), (0.001, 0.5, 1.0)])
def test_it_opens_as_many_sums_as_were_asked_for(together: int, pace: tuple[float, ...]) -> None:
    paces = DeclaredPaces(together, dict(zip(HOSPITALS, pace, strict=True)))
    schedule = paced_schedule(paces, sums=20)
    assert schedule.sums == 20 and not schedule.left and not schedule.lost
    for opening in schedule.openings:
        names = [arrival.hospital for arrival in opening.arrivals]
        assert len(names) == len(set(names)) == together
    assert read_schedule(write_schedule(schedule)) == schedule
    assert write_schedule(paced_schedule(paces, sums=20)) == write_schedule(schedule)
    turned = DeclaredPaces(together, dict(reversed(paces.pace.items())))
    assert paced_schedule(turned, sums=20) == schedule  # from paces alone, in whatever order


def test_who_is_slower_is_in_fewer_sums() -> None:
    uploads = paced_schedule(PACES, sums=40).uploads
    assert uploads["north"] >= uploads["east"] > uploads["south"] > 0


def test_the_least_noise_keeps_epsilon_for_the_patients_of_every_hospital() -> None:
    schedule = paced_schedule(PACES, sums=12)
    plan = least_noise(made(rounds=12, smallest_sum=2), schedule, epsilon=1.0)
    agreement = Agreement.of(plan, schedule)
    assert plan.smallest_sum == agreement.least == 2
    spent = [
        epsilon(agreement.run_event(name), delta=plan.delta, relation=RELATION).upper
        for name in HOSPITALS
    ]
    assert max(spent) <= 1.0 and max(spent) > 0.98
    for name in HOSPITALS:
        event = agreement.run_event(name)
        assert isinstance(event, SelfComposedDpEvent) and event.count == schedule.uploads[name]


def test_what_is_no_pace_or_leaves_somebody_out_is_refused() -> None:
    for together, pace in ((0, {"a": 1.0}), (2, {"a": 0.0}), (2, {"a": 1.0, "b": 1001.0})):
        with pytest.raises(InvalidInputError):
            DeclaredPaces(together, pace)
    slow = DeclaredPaces(2, {"north": 1.0, "east": 1.0, "south": 50.0})
    with pytest.raises(InvalidInputError, match="south would be in none of the 3 sums"):
        paced_schedule(slow, sums=3)
    with pytest.raises(InvalidInputError):
        paced_schedule(DeclaredPaces(4, PACES.pace), sums=3)
    with pytest.raises(InvalidInputError, match="uploads of south, who are not in the plan"):
        Agreement.of(
            made(hospitals=("north", "east"), declared_sizes=(12, 12), smallest_sum=2),
            paced_schedule(PACES, sums=6),
        )
