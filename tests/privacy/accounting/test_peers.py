"""No library that proves an end contradicts ours: dp-accounting, prv-accountant, PLD_accounting.

The last one shares nothing with the others but its loss grids: it samples a loss distribution by
its dual (arXiv 2602.17284, Algorithms 8 to 10) instead of building the sampled mechanism's, and
composes whole Gaussians by geometric convolution, with both ends proved.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from dp_accounting import (
    ComposedDpEvent,
    DpEvent,
    GaussianDpEvent,
    LaplaceDpEvent,
    NeighboringRelation,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)
from dp_accounting.pld import privacy_loss_distribution as library
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting import delta, epsilon

ADD_OR_REMOVE = NeighboringRelation.ADD_OR_REMOVE_ONE
STEP = 1e-3  # of their grids: the width of what they add below, a release
ROUNDING = 1e-9  # of their floating sums, relative


@dataclass(frozen=True)
class Phase:
    """So many equal releases of sampled patients; ``noise`` is Gaussian deviation or Laplace's."""

    gaussian: bool
    noise: float
    prob: float
    count: int

    @property
    def event(self) -> DpEvent:
        one = (GaussianDpEvent if self.gaussian else LaplaceDpEvent)(self.noise)
        return SelfComposedDpEvent(PoissonSampledDpEvent(self.prob, one), self.count)

    def losses(self, *, pessimistic: bool, prob: float) -> Any:
        """dp-accounting's loss distribution of one release."""
        build: Any = (
            library.from_gaussian_mechanism if self.gaussian else library.from_laplace_mechanism
        )
        return build(
            self.noise,
            value_discretization_interval=STEP,
            pessimistic_estimate=pessimistic,
            sampling_prob=prob,
        )


def phases(gaussian: st.SearchStrategy[bool]) -> st.SearchStrategy[Phase]:
    return st.builds(
        Phase,
        gaussian,
        st.floats(0.7, 8.0),
        st.sampled_from((0.001, 0.01, 0.1, 0.5, 1.0)),
        st.integers(1, 60),
    )


def composed(parts: Sequence[Any]) -> Any:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.compose(part)
    return whole


def event_of(schedule: Sequence[Phase]) -> DpEvent:
    return ComposedDpEvent([phase.event for phase in schedule])


DELTAS = st.sampled_from((1e-3, 1e-5, 1e-7))


@settings(max_examples=25)
@given(st.lists(phases(st.booleans()), min_size=1, max_size=3), DELTAS)
def test_dp_accounting_proves_nothing_on_the_other_side_of_an_end(
    schedule: list[Phase], at: float
) -> None:
    ours = epsilon(event_of(schedule), delta=at, relation=ADD_OR_REMOVE)
    above, below = (
        composed(
            [p.losses(pessimistic=side, prob=p.prob).self_compose(p.count) for p in schedule]
        ).get_epsilon_for_delta(at)
        for side in (True, False)
    )
    assert ours.lower <= above * (1 + ROUNDING) + ROUNDING
    assert below <= ours.upper * (1 + ROUNDING) + ROUNDING


@settings(max_examples=25)
@given(phases(st.booleans()), DELTAS, st.floats(0, 5))
def test_sampling_by_the_dual_of_a_loss_ends_above_our_lower_ends(
    phase: Phase, at: float, at_epsilon: float
) -> None:
    from PLD_accounting import subsample_pld

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # masses of 1e-8 that it trims upwards
        theirs = subsample_pld(  # its grid follows what is sampled: no two phases compose
            pld=phase.losses(pessimistic=True, prob=1.0), sampling_probability=phase.prob
        ).self_compose(phase.count)
    ours = epsilon(phase.event, delta=at, relation=ADD_OR_REMOVE)
    above = theirs.get_epsilon_for_delta(at)
    assert ours.lower <= above * (1 + ROUNDING) + ROUNDING
    # and ours is not far above what an independent road proves from above
    assert ours.upper <= 1.02 * above + 4e-3
    mine = delta(phase.event, epsilon=at_epsilon, relation=ADD_OR_REMOVE)
    assert mine.lower <= theirs.get_delta_for_epsilon(at_epsilon) * (1 + 1e-6) + 1e-12


@settings(max_examples=10)
@given(st.floats(0.7, 6.0), st.integers(1, 40), DELTAS)
def test_whole_gaussians_lie_between_the_ends_of_geometric_convolution(
    noise: float, count: int, at: float
) -> None:
    from PLD_accounting import (
        AllocationSchemeConfig,
        BoundType,
        PrivacyParams,
        gaussian_allocation_epsilon_configurable,
    )

    ours = epsilon(
        SelfComposedDpEvent(GaussianDpEvent(noise), count), delta=at, relation=ADD_OR_REMOVE
    )
    once_in_one_step = PrivacyParams(
        sigma=noise, num_steps=1, num_selected=1, num_epochs=count, delta=at
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        below, above = (
            gaussian_allocation_epsilon_configurable(
                params=once_in_one_step, config=AllocationSchemeConfig(), bound_type=end
            )
            for end in (BoundType.IS_DOMINATED, BoundType.DOMINATES)
        )
    assert below <= ours.upper * (1 + ROUNDING)
    assert ours.lower <= above * (1 + ROUNDING)
    assert above - below <= 0.02 * ours.upper + 0.02  # a comparison that says something


@settings(max_examples=10)
@given(st.lists(phases(st.just(True)), min_size=1, max_size=2), DELTAS)
def test_prv_accountant_proves_nothing_on_the_other_side_of_an_end(
    schedule: list[Phase], at: float
) -> None:
    from prv_accountant import PoissonSubsampledGaussianMechanism, PRVAccountant

    sampled = [p for p in schedule if p.prob < 1]
    if not sampled:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own integrals
        theirs = PRVAccountant(
            prvs=[
                PoissonSubsampledGaussianMechanism(
                    noise_multiplier=p.noise, sampling_probability=p.prob
                )
                for p in sampled
            ],
            max_self_compositions=[p.count for p in sampled],
            eps_error=0.02,
            delta_error=at / 1000,
        )
        below, _, above = theirs.compute_epsilon(at, [p.count for p in sampled])
    ours = epsilon(event_of(sampled), delta=at, relation=ADD_OR_REMOVE)
    assert ours.lower <= above * (1 + ROUNDING) + ROUNDING
    assert below <= ours.upper * (1 + ROUNDING) + ROUNDING
    assert above - below == pytest.approx(0.04, abs=0.04)
