import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from aggregation.federation import Federation, Outcome
from aggregation.models import Perceptron
from aggregation.noise_kind import NoiseKind
from aggregation.rules import Buffered
from aggregation.timing import Pace, Trigger, simulate
from attacks.exact.closed_form import ClosedForm
from attacks.searching.stale import StaleInversion, StaleMixture
from attacks.searching.surrogate import BatchGradient
from attacks.views import GradientView, observe, require
from privacy.errors import RefusedError
from tests.attacks.runs import PRIOR, SCHEMA, cohort, run

PEOPLE = {name: p.take(np.arange(2)) for name, p in cohort(4).items()}
TRIGGER = Trigger(count=2, distinct=2)
PACES = {n: Pace(d) for n, d in zip(PEOPLE, (1.0, 1.3, 2.2, 3.1), strict=True)}
SCHEDULE = simulate(PACES, TRIGGER, horizon=8.0, seed=1, waits=True)
PLAN = dataclasses.replace(
    run().plan, hospitals=tuple(PEOPLE), declared_sizes=(2,) * 4, sampling_size=None,
    clip_norm=1.0, radius=2**20, learning_rate=1.0, model=Perceptron(len(SCHEMA), 64),
    smallest_sum=TRIGGER.distinct,
)  # fmt: skip
ATTACK = StaleInversion(restarts=4, iterations=100)


@cache
def buffered(**fields: Any) -> Outcome:
    plan = dataclasses.replace(PLAN, **fields)
    return Federation.simulated(plan, PEOPLE, rule=Buffered(), schedule=SCHEDULE, seed=3).run()


def seen(**fields: Any) -> GradientView:
    return require(observe(buffered(**fields).transcript, "server_sealed"), GradientView, "test")


def stale(view: GradientView) -> GradientView:
    """The sums that mix models or weights."""
    kept = []
    for g in view.gradients:
        same = all(np.array_equal(c.params, g.contributions[0].params) for c in g.contributions)
        if not same or any(c.weight != 1 for c in g.contributions):
            kept.append(g)
    return dataclasses.replace(view, gradients=tuple(kept))


def test_a_view_knows_each_contributors_model_and_weight() -> None:
    view = seen()
    assert [tuple(a.hospital for a in o.arrivals) for o in SCHEDULE.openings] == [
        g.hospitals for g in view.gradients
    ]
    models = buffered().models
    for g, opening in zip(view.gradients, SCHEDULE.openings, strict=True):
        for c, a in zip(g.contributions, opening.arrivals, strict=True):
            np.testing.assert_array_equal(c.params, models[a.base_version])
            assert c.weight == pytest.approx((1 + a.staleness) ** -0.5, abs=1e-5)
    assert len(stale(view).gradients) >= 2
    with pytest.raises(RefusedError, match="stale mixtures"):
        ClosedForm().reconstruct(view, PRIOR)


def test_the_mixture_is_what_the_hospitals_updates_sum_to() -> None:
    for g in stale(seen()).gradients:
        mixture = StaleMixture(
            tuple(
                BatchGradient.at(PLAN.model, c.params, 1.0, torch.float64) for c in g.contributions
            ),
            tuple(c.weight for c in g.contributions),
            (2,) * len(g.contributions),
        )
        x = np.concatenate([PEOPLE[n].features for n in g.hospitals])
        y = torch.tensor(np.concatenate([PEOPLE[n].outcomes for n in g.hospitals]))[None].double()
        total = mixture(torch.tensor(x)[None], y, torch.ones_like(y))[0].numpy()
        assert np.abs(total / PLAN.step - g.integers).max() < len(x) + 1


def test_under_much_noise_the_answer_is_the_priors() -> None:
    """That it wins undefended is shown in test_wins_and_loses.py."""
    noised = stale(seen(noise=NoiseKind.SHARED, noise_multiplier=4.0, colluders=1, radius=4096))
    assert noised.gradients[0].noise_std == pytest.approx(4.0 * 4096 * np.sqrt(2))
    for g in noised.gradients[:4]:
        found = ATTACK.reconstruct(dataclasses.replace(noised, gradients=(g,)), PRIOR)
        assert not found.certified.any()
        np.testing.assert_array_equal(found.records, PRIOR.best_guesses(4))


def test_walks_are_refused() -> None:
    with pytest.raises(RefusedError, match="Use fedavg"):
        ATTACK.reconstruct(run(local_steps=2).view("server_plain"), PRIOR)
