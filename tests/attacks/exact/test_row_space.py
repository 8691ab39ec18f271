from typing import Any

import numpy as np
import pytest

from aggregation.models import Logistic
from aggregation.noise_kind import NoiseKind
from attacks.exact.row_space import RowSpace
from attacks.scoring import score
from privacy.errors import RefusedError
from tests.attacks.runs import PRIOR, SCHEMA, cohort, run

PEOPLE = {name: p.take(np.arange(4)) for name, p in cohort(6).items()}
LOGISTIC: dict[str, Any] = {
    "patients": PEOPLE, "model": Logistic(len(SCHEMA)), "sampling_size": None,
    "rounds": 12, "learning_rate": 4.0, "radius": 2**30,
}  # fmt: skip
ATTACK = RowSpace()


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_small_hospitals_are_read_off_and_certified(clip_norm: float | None) -> None:
    done = run(3, clip_norm=clip_norm, **LOGISTIC)
    exact = []
    for name, people in PEOPLE.items():
        found = ATTACK.reconstruct(done.view("server_plain").only(hospital=name), PRIOR)
        scored = score(found, people.features, PRIOR, np.random.default_rng(0))
        assert scored.false_certificates == 0
        exact.append(scored.certified)
    assert sum(exact) >= 12  # of 16


def test_noise_certifies_nothing_and_it_loses() -> None:
    done = run(
        3,
        **(LOGISTIC | {"radius": 4096}),
        clip_norm=1.0,
        noise=NoiseKind.LOCAL,
        noise_multiplier=2.0,
    )
    found = ATTACK.reconstruct(done.view("server_plain").only(hospital="north"), PRIOR)
    np.testing.assert_array_equal(found.records, PRIOR.best_guesses(4))


def test_hospitals_of_more_patients_than_columns_are_guessed() -> None:
    done = run(3, **(LOGISTIC | {"patients": cohort(6, size=20)}))
    found = ATTACK.reconstruct(done.view("server_plain").only(hospital="north"), PRIOR)
    assert not found.certified.any()


def test_what_has_no_row_space_is_refused() -> None:
    with pytest.raises(RefusedError, match="logistic"):
        ATTACK.reconstruct(run().view("server_plain"), PRIOR)
    done = run(3, **LOGISTIC)
    with pytest.raises(RefusedError, match="combinations=10"):
        RowSpace(combinations=10).reconstruct(done.view("server_plain"), PRIOR)
