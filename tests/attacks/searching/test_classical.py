from typing import Literal

import numpy as np
import pytest

from attacks.scoring import score
from attacks.searching.classical import Inversion
from privacy.errors import InvalidInputError
from tests.attacks.runs import PRIOR, run

KINDS: tuple[Literal["dlg", "idlg", "ig"], ...] = ("dlg", "idlg", "ig")


@pytest.mark.parametrize("name", KINDS)
def test_each_recovers_more_than_guessing(name: Literal["dlg", "idlg", "ig"]) -> None:
    attack = Inversion(name=name, restarts=1, iterations=200)
    advantage = []
    for seed in range(1, 3):
        done = run(seed, sampling_size=3)
        for hospital in done.plan.hospitals:
            truth = done.truth(round_=0, hospitals=(hospital,)).features
            if len(truth):
                found = attack.reconstruct(done.view("server_plain").only(hospital=hospital), PRIOR)
                assert not found.certified.any()
                scored = score(found, truth, PRIOR, np.random.default_rng(0))
                advantage.append(scored.advantage.mean())
    assert np.mean(advantage) > 0.05
    assert np.mean(advantage) > 2 * np.std(advantage) / np.sqrt(len(advantage))


def test_the_same_seed_gives_the_same_records() -> None:
    view = run().view("server_plain").only(hospital="north")
    quick = Inversion(restarts=2, iterations=5)
    np.testing.assert_array_equal(
        quick.reconstruct(view, PRIOR).records, quick.reconstruct(view, PRIOR).records
    )


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="iterations"):
        Inversion(iterations=0)
