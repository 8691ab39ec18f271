"""The bound on discrete uploads that several sums show: against the exact law, summed by hand."""

import math
from collections.abc import Callable, Hashable
from itertools import product

import attr
import numpy as np
import pytest
from dp_accounting import NeighboringRelation, SelfComposedDpEvent, dp_event
from numpy.typing import NDArray

from privacy.accounting import delta, epsilon
from privacy.accounting.discrete import log_ratio
from privacy.accounting.events import LinearOpeningsDpEvent, from_json, to_json
from privacy.accounting.linear import certified, coset_spread, upload_events
from privacy.accounting.units import leverage
from privacy.errors import InvalidInputError
from privacy.ledger.preset_order import epsilon_of

ADD = NeighboringRelation.ADD_OR_REMOVE_ONE
AGAIN = np.array([[1.0, 1, 0, 0], [-1, 0, 1, 1]])  # a and b; then a renews, with c
OWNERS = ("a", "b", "a", "c")
CHAIN = np.array([[1.0, 1, 0, 0, 0, 0], [-1, 0, 1, 1, 0, 0], [0, -1, 0, 0, 1, 1]])


def law(openings: NDArray[np.float64], std: float, reach: int) -> NDArray[np.float64]:
    """Exact probabilities of the opened noise on a box: one upload after the other is added."""
    count = len(openings)
    found = np.zeros((2 * reach + 1,) * count)
    found[(reach,) * count] = 1.0
    noise = np.arange(-reach, reach + 1)
    mass = np.exp(-(noise**2) / (2 * std**2))
    mass /= mass.sum()
    for column in openings.T.astype(int):
        added = np.zeros_like(found)
        for z, p in zip(noise, mass, strict=True):
            if p < 1e-16:
                continue
            into, out = [], []
            for shift, size in zip(column * z, found.shape, strict=True):
                into.append(slice(max(0, shift), min(size, size + shift)))
                out.append(slice(max(0, -shift), min(size, size - shift)))
            added[tuple(into)] += p * found[tuple(out)]
        found = added
    return found


def exact_delta(
    openings: NDArray[np.float64],
    std: float,
    at: float,
    moves: Callable[[int], tuple[int, int]],
    reach: int = 60,
) -> float:
    """Exact delta of two openings; how far a moves its second upload may follow the first sum."""
    whole = law(openings, std, reach)
    other = np.zeros_like(whole)
    for row in range(len(whole)):
        first, second = moves(row - reach)
        shift = openings[:, [j for j, o in enumerate(OWNERS) if o == "a"]] @ np.array(
            [first, second]
        )
        source = row - int(shift[0])
        if 0 <= source < len(whole):
            other[row] = np.roll(whole[source], int(shift[1]))
    return float(np.maximum(whole - math.exp(at) * other, 0).sum())


def always(first: int, second: int) -> Callable[[int], tuple[int, int]]:
    return lambda _: (first, second)


def part(
    openings: NDArray[np.float64] = AGAIN,
    owners: tuple[str, ...] = OWNERS,
    *,
    std: float = 3.0,
    dim: int = 1,
    owner: str = "a",
) -> LinearOpeningsDpEvent:
    made = upload_events(openings, owners=owners, noise_multiplier=std, radius=1, dim=dim)
    return made[owner]


@pytest.mark.parametrize("openings", [AGAIN, np.array([[1.0, 1, 0, 0], [-1, -1, 1, 1]]), CHAIN])
def test_opened_noise_is_a_discrete_gaussian_up_to_the_proved_slack(
    openings: NDArray[np.float64],
) -> None:
    std, reach = 2.2, 24
    found = law(openings, std, reach)
    inverse = np.linalg.inv(std**2 * openings @ openings.T)
    axes = np.arange(-6, 7)
    points = np.array(list(product(axes, repeat=len(openings))))
    shape = np.exp(-np.einsum("pi,ij,pj->p", points, inverse, points) / 2)
    ratio = found[tuple((points + reach).T)] / shape
    spread = coset_spread(openings)
    free = openings.shape[1] - len(openings)
    tail = 2.001 * math.exp(-2 * math.pi**2 * std**2 / spread)
    assert math.log(ratio.max() / ratio.min()) <= 2.1 * free * tail + 1e-9
    narrow = law(openings, 0.45, 8)  # and the slack is needed: narrow shares depart from it
    inverse = np.linalg.inv(0.45**2 * openings @ openings.T)
    axes = np.array(list(product((-1, 0, 1), repeat=len(openings))))
    shape = np.exp(-np.einsum("pi,ij,pj->p", axes, inverse, axes) / 2)
    ratio = narrow[tuple((axes + 8).T)] / shape
    assert math.log(ratio.max() / ratio.min()) > 0.01


@pytest.mark.parametrize("at", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    "moves",
    [
        lambda first: (1, 1),
        lambda first: (1, -1),
        lambda first: (-1, 1 if first >= 0 else -1),  # the second follows the first opened sum
        lambda first: (1, (first % 3) - 1),
    ],
)
def test_the_bound_holds_for_the_exact_discrete_law_also_when_moves_follow_what_was_opened(
    at: float, moves: Callable[[int], tuple[int, int]]
) -> None:
    bound = delta(SelfComposedDpEvent(part(), 2), epsilon=at, relation=ADD).upper
    assert exact_delta(AGAIN, 3.0, at, moves) <= bound


def test_the_bound_is_tight_up_to_the_narrower_noise_and_counting_each_opening_once_is_not() -> (
    None
):
    worst = max(
        exact_delta(AGAIN, 3.0, 0.3, always(first, second))
        for first, second in product((1, -1), repeat=2)
    )
    bound = delta(SelfComposedDpEvent(part(), 2), epsilon=0.3, relation=ADD).upper
    assert worst <= bound <= 1.35 * worst
    naive = dp_event.GaussianDpEvent(3.0 * math.sqrt(2 / 2))  # m / n = 2 / 2
    assert delta(naive, epsilon=0.3, relation=ADD).lower < worst


def test_wide_noise_costs_what_continuous_noise_does_and_the_ledgers_road_agrees() -> None:
    made = upload_events(AGAIN, owners=OWNERS, noise_multiplier=4.0, radius=500, dim=19)["a"]
    mine = epsilon(SelfComposedDpEvent(made, 2), delta=1e-5, relation=ADD).upper
    smooth = dp_event.GaussianDpEvent(4.0 / math.sqrt(leverage(AGAIN, owners=OWNERS)["a"]))
    theirs = epsilon(smooth, delta=1e-5, relation=ADD).upper
    assert theirs <= mine <= theirs * (1 + 1e-4)
    road, _ = epsilon_of(to_json(SelfComposedDpEvent(made, 2)), 1e-5, ADD.name)
    assert mine <= road <= 1.2 * mine


def test_an_upload_held_while_others_renew_ends_with_its_own_share_alone() -> None:
    """What no filter that pays upload by upload can know: others' uploads raise my cost."""
    found = []
    for rounds in (1, 4, 40):
        openings = np.zeros((rounds, 1 + rounds))
        openings[0, :2] = 1  # a, with b; then b renews on and on, with nobody else
        for t in range(1, rounds):
            openings[t, t], openings[t, t + 1] = -1, 1
        made = part(openings, ("a", *"b" * rounds), std=300.0)
        found.append(made.leverage)
    assert found[0] == pytest.approx(1 / 2)
    assert found[0] < found[1] < found[2] and found[2] > 0.97


def test_shares_too_narrow_for_the_proof_are_not_bounded() -> None:
    mu, _ = certified(part(std=0.8))
    assert math.isinf(mu)
    assert math.isinf(epsilon(part(std=0.8), delta=1e-5, relation=ADD).upper)
    assert math.isinf(epsilon_of(to_json(part(std=0.8)), 1e-5, ADD.name)[0])


def test_the_slack_of_cosets_is_paid_in_every_coordinate() -> None:
    """Uploads that an opening's others hide cost a factor a coordinate, on top of each answer's."""
    narrow = [part(std=1.45, dim=dim) for dim in (1, 2, 300)]
    (one, two, many) = (certified(event)[1] for event in narrow)
    assert two == pytest.approx(2 * one, rel=1e-3, abs=0)
    assert many == pytest.approx(300 * one, rel=1e-3, abs=0)
    answers = narrow[0].dim * narrow[0].openings
    assert one > 100 * 1e-14 * answers  # it is the cosets' factor that is seen here


def test_every_answer_is_paid_for_in_every_coordinate() -> None:
    """Where the cosets cost nothing, each of dim x openings answers may change by its own share."""
    for dim in (1, 50):
        event = part(std=300.0, dim=dim)
        answers = dim * event.openings
        r2 = math.log(5 * answers / 1e-14) / (2 * math.pi**2)
        assert certified(event)[1] == pytest.approx(answers * log_ratio(r2), rel=1e-3, abs=0)
        assert event.openings > 1


def test_a_replaced_patient_is_twice_as_far() -> None:
    event = part(std=30.0)
    assert certified(event, factor=2)[0] == pytest.approx(2 * certified(event)[0], rel=1e-12)
    assert certified(event)[0] ** 2 > event.leverage / event.noise_multiplier**2


def test_sampling_amplifies_no_part_of_a_joint_cost() -> None:
    whole = SelfComposedDpEvent(part(), 2)
    drawn = dp_event.PoissonSampledDpEvent(0.1, whole)
    assert epsilon(drawn, delta=1e-5, relation=ADD).upper == pytest.approx(
        epsilon(whole, delta=1e-5, relation=ADD).upper
    )


def test_the_event_is_plain_data_and_what_can_not_be_proved_is_refused() -> None:
    assert from_json(to_json(part())) == part()
    with pytest.raises(InvalidInputError, match="nothing fresh hides it"):
        part(np.array([[1.0, 1, 0], [-1, 0, 0]]), ("a", "b", "c"))
    with pytest.raises(InvalidInputError, match="whole numbers"):
        part(0.5 * AGAIN)


def fresh_each_time(openings: int) -> NDArray[np.float64]:
    """Each opening has two new uploads; the next one takes the first of them back."""
    found = np.zeros((openings, 2 * openings))
    for t in range(openings):
        found[t, 2 * t : 2 * t + 2] = 1
        if t:
            found[t, 2 * t - 2] = -1
    return found


def test_chains_of_replacements_stay_short() -> None:
    """With the uploads that are shown again as pivots the bound would be 1 + 5^2."""
    openings = fresh_each_time(5)
    assert coset_spread(openings) == pytest.approx(5, abs=1e-4)
    pivots, others = openings[:, 1::2], openings[:, ::2]
    w = np.linalg.solve(pivots, others)
    assert coset_spread(openings) >= np.linalg.eigvalsh(np.eye(5) + w.T @ w)[-1]


def test_an_opening_of_uploads_that_were_all_shown_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="Opening 1 has no honest upload of coefficient 1"):
        coset_spread(np.array([[1.0, 1], [1, -1]]))


def test_events_hold_the_least_eigenvalue_and_spread_the_cost_over_all_uploads() -> None:
    def events(uploads: dict[Hashable, int] | None) -> dict[Hashable, LinearOpeningsDpEvent]:
        return upload_events(
            CHAIN, owners=range(6), noise_multiplier=2.0, radius=100, dim=3, uploads=uploads
        )

    least = np.linalg.eigvalsh(CHAIN @ CHAIN.T)[0]
    own, spread = events(None), events(dict.fromkeys(range(6), 10))
    for owner in range(6):
        assert 0.999 * least < own[owner].least_eigenvalue <= least
        assert spread[owner].leverage == pytest.approx(own[owner].leverage / 10)


def test_where_each_opening_is_one_upload_no_coset_costs_anything() -> None:
    event = upload_events(np.eye(2), owners="ab", noise_multiplier=0.01, radius=100, dim=3)["a"]
    narrow = attr.evolve(event, coset_spread=2.0)  # sums over a coset would be 1e-4 off
    assert certified(narrow)[1] == certified(event)[1]
