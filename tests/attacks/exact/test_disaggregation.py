import dataclasses

import numpy as np
import pytest

from aggregation.noise_kind import NoiseKind
from attacks.exact.disaggregation import Disaggregation, participation
from attacks.scoring import score
from attacks.views import GradientView, SumPart
from privacy.errors import RefusedError
from privacy.mechanisms import Seeded
from tests.attacks.exact.test_differencing import PARAMS, PEOPLE, own, view
from tests.attacks.runs import PRIOR, run

ROUNDS = 9
COUNTS = {"north": 7, "east": 6, "south": 5, "west": 4}


def rounds(seed: int, noise_std: float = 0.0) -> GradientView:
    """Sums whose contributors the view names wrongly on purpose: the attack may not read them."""
    rng = np.random.default_rng(seed)
    part = np.zeros((ROUNDS, 4), dtype=np.bool_)
    while (part.sum(axis=1) < 2).any() or np.linalg.matrix_rank(part) < 4:
        part[:] = False
        for k, count in enumerate(COUNTS.values()):
            part[rng.choice(ROUNDS, count, replace=False), k] = True
    names = np.array(list(COUNTS))
    shown = view([tuple(names[row]) for row in part], noise_std)
    everybody = tuple(SumPart(name, PARAMS) for name in COUNTS)
    hidden = tuple(dataclasses.replace(g, contributions=everybody) for g in shown.gradients)
    return dataclasses.replace(shown, gradients=hidden)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_hospitals_come_out_to_the_last_integer(seed: int) -> None:
    alone = Disaggregation(COUNTS).disaggregate(rounds(seed))
    assert [g.hospitals[0] for g in alone.gradients] == list(COUNTS)
    for g in alone.gradients:
        np.testing.assert_array_equal(g.integers, own(g.hospitals[0]))


def test_it_wins_on_the_sums_and_loses_to_noise_for_the_sum() -> None:
    attack = Disaggregation(COUNTS)
    truth = np.concatenate([p.features for p in PEOPLE.values()])
    clear = score(attack.reconstruct(rounds(0), PRIOR), truth, PRIOR, np.random.default_rng(0))
    assert clear.false_certificates == 0
    assert clear.certified >= len(truth) / 2
    assert clear.advantage.mean() > 0.2
    plan = dataclasses.replace(
        run().plan,
        scheme="bfv",
        sampling_size=None,
        noise=NoiseKind.SHARED,
        colluders=1,
        clip_norm=1.0,
        radius=4096,
        noise_multiplier=4.0,
    )
    noised = dataclasses.replace(rounds(0, noise_std=plan.share_std * 2), plan=plan)
    lost = score(attack.reconstruct(noised, PRIOR), truth, PRIOR, np.random.default_rng(0))
    assert lost.certified == 0
    assert abs(lost.advantage.mean()) < 0.1


def test_noise_is_stated() -> None:
    (first, *_) = Disaggregation(COUNTS).disaggregate(rounds(1, noise_std=50.0)).gradients
    assert np.std(first.integers - own("north")) == pytest.approx(first.noise_std, rel=0.1)


def test_what_determines_nothing_is_refused() -> None:
    sums = Seeded(0).discrete_gaussian(9.0, 4 * 30).reshape(4, 30).astype(np.float64)
    with pytest.raises(RefusedError, match="any P fits"):
        participation(sums, (2, 2, 2, 2))
    with pytest.raises(RefusedError, match="Check the counts"):
        participation(np.tile(sums[:1], (6, 1)), (7, 2))
    with pytest.raises(RefusedError, match="one by one"):
        Disaggregation().disaggregate(run().view("server_plain"))
