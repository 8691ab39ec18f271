import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from attacks.exact.closed_form import ClosedForm
from attacks.exact.differencing import Differencing
from attacks.knowledge.replay import integer_rows
from attacks.scoring import score
from attacks.views import Gradient, GradientView, Knowledge, SumPart
from privacy.errors import RefusedError
from privacy.mechanisms import Seeded
from tests.attacks.runs import PRIOR, cohort, run

PLAN = dataclasses.replace(run().plan, scheme="bfv", sampling_size=None)
PARAMS = PLAN.model.initial(np.random.default_rng(0))
PEOPLE = {name: p.take(np.arange(7)) for name, p in cohort(5).items()}


def own(name: str) -> np.ndarray:
    people = PEOPLE[name]
    rows = integer_rows(PLAN, PARAMS, people.features, people.outcomes)
    return np.asarray(rows.sum(axis=0))


def view(sums: Sequence[tuple[str, ...]], noise_std: float = 0.0) -> GradientView:
    gradients = []
    for t, names in enumerate(sums):
        total = np.sum([own(n) for n in names], axis=0)
        if noise_std:
            total = total + Seeded(t).discrete_gaussian(noise_std, PLAN.model.dim)
        parts = tuple(SumPart(n, PARAMS) for n in names)
        gradients.append(Gradient(t, parts, total, noise_std))
    return GradientView(PLAN, "longitudinal", Knowledge(), tuple(gradients))


def test_changing_membership_isolates_a_hospital_to_the_last_integer() -> None:
    alone = Differencing().isolate(
        view([("north", "east", "south"), ("north", "east"), ("east", "west")])
    )
    assert [g.hospitals for g in alone.gradients] == [("south",)]
    np.testing.assert_array_equal(alone.gradients[0].integers, own("south"))
    found = ClosedForm().reconstruct(alone, PRIOR)
    scored = score(found, PEOPLE["south"].features, PRIOR, np.random.default_rng(0))
    assert scored.certified >= 4
    assert scored.false_certificates == 0


def test_three_overlapping_pairs_isolate_everybody() -> None:
    alone = Differencing().isolate(view([("north", "east"), ("east", "south"), ("north", "south")]))
    assert [g.hospitals[0] for g in alone.gradients] == ["east", "north", "south"]
    for g in alone.gradients:
        np.testing.assert_array_equal(g.integers, own(g.hospitals[0]))


def test_repeats_average_the_noise_out_and_say_so() -> None:
    repeats = 25
    alone = Differencing().isolate(view([("north",)] * repeats, noise_std=1e5))
    (g,) = alone.gradients
    assert g.noise_std == pytest.approx(1e5 / np.sqrt(repeats))
    assert np.std(g.integers - own("north")) == pytest.approx(g.noise_std, rel=0.05)
    (once,) = Differencing().isolate(view([("north",)], noise_std=1e5)).gradients
    assert once.noise_std == pytest.approx(1e5)


def test_fixed_membership_isolates_nobody() -> None:
    same = view([("north", "east", "south", "west")] * 5)
    assert Differencing().isolate(same).gradients == ()
    with pytest.raises(RefusedError, match="determine no hospital's own gradient"):
        Differencing().reconstruct(same, PRIOR)


def test_sampled_rounds_are_refused() -> None:
    with pytest.raises(RefusedError, match="draws them anew"):
        Differencing().isolate(run().view("server_plain"))
