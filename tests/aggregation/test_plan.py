"""The promises of ``aggregation.plan``."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.unit import Unit
from tests.aggregation.parts import clear, plan


@given(
    st.integers(1, 50),
    st.floats(0.01, 10),
    st.sampled_from([NoiseKind.LOCAL, NoiseKind.SHARED]),
    st.sampled_from([None, 3]),
)
def test_a_plan_survives_its_bytes(
    rounds: int, multiplier: float, noise: NoiseKind, sampling_size: int | None
) -> None:
    made = plan(
        rounds=rounds, noise_multiplier=multiplier, noise=noise, sampling_size=sampling_size
    )
    assert Plan.from_bytes(made.to_bytes()) == made
    assert Plan.from_bytes(made.to_bytes()).digest == made.digest
    json.loads(made.to_bytes(), parse_constant=pytest.fail)  # no NaN, no Infinity


@pytest.mark.parametrize(
    "change",
    [
        {"run": "another"},
        {"rounds": 4},
        {"learning_rate": 0.25},
        {"radius": 2048},
        {"noise_multiplier": 2.5},
        {"delta": 1e-6},
        {"sampling_size": 3},
        {"colluders": 2},
        {"model_seed": 1},
        {"average_last": 2},
        {"scheme": "bfv"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_change_changes_the_digest(change: dict[str, object]) -> None:
    assert plan(**change).digest != plan().digest


@given(st.integers(2, 30), st.integers(1, 29), st.floats(0.1, 100))
def test_honest_shares_make_up_all_of_the_noise(
    hospitals: int, colluders: int, multiplier: float
) -> None:
    colluders = min(colluders, hospitals - 1)
    made = plan(
        hospitals=tuple(f"h{i}" for i in range(hospitals)),
        declared_sizes=(12,) * hospitals,
        colluders=colluders,
        noise_multiplier=multiplier,
    )
    honest = hospitals - colluders
    assert math.sqrt(honest) * made.share_std == pytest.approx(multiplier * made.radius)
    alone = plan(noise=NoiseKind.LOCAL, noise_multiplier=multiplier, colluders=0)
    assert alone.share_std == pytest.approx(multiplier * alone.radius)


def test_the_server_steps_along_the_mean() -> None:
    made = clear(learning_rate=0.5)
    params, total = np.zeros(made.model.dim), np.arange(made.model.dim, dtype=np.int64)
    by_hand = [-0.5 * (i / 2**30) / 36 for i in range(made.model.dim)]
    np.testing.assert_allclose(made.advance(params, total), by_hand, rtol=1e-14)


def test_the_final_model_is_the_mean_of_the_last() -> None:
    models = [np.full(2, float(v)) for v in (0, 1, 2, 6)]
    assert clear(average_last=1).final_model(models).tolist() == [6, 6]
    assert clear(average_last=3).final_model(models).tolist() == [3, 3]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hospitals": ("a", "a"), "declared_sizes": (1, 1)}, "distinct hospitals"),
        ({"hospitals": ("a", "A"), "declared_sizes": (1, 1)}, "share one file"),
        ({"hospitals": (), "declared_sizes": ()}, "at least one hospital"),
        ({"hospitals": ("a", "../../evil"), "declared_sizes": (1, 1)}, "plain name"),
        ({"hospitals": ("a", "b\0"), "declared_sizes": (1, 1)}, "plain name"),
        ({"hospitals": ("a", "aggregator"), "declared_sizes": (1, 1)}, "another party's"),
        ({"hospitals": ("a", "opener"), "declared_sizes": (1, 1)}, "another party's"),
        ({"run": "r\nOK: all is well"}, "plain name"),
        ({"declared_sizes": (12, 12)}, "one declared size a hospital"),
        ({"declared_sizes": (12, 12, 0)}, "declared_size=0"),
        ({"rounds": 0}, "rounds=0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"delta": 1.0}, "delta=1.0"),
        ({"noise_multiplier": math.nan}, "noise_multiplier=nan"),
        ({"noise": "loud"}, "NoiseKind.LOCAL, NoiseKind.SHARED"),
        ({"noise": "shared"}, "noise='shared' to be one of NoiseKind.NONE"),
        ({"unit": "patient"}, "unit='patient' to be one of Unit.PATIENT"),
        ({"clip_norm": None}, "needs a clip norm"),
        ({"colluders": 0}, "knows its own share"),
        ({"colluders": 3}, "no honest share"),
        ({"local_steps": 2}, "one-step uploads only"),
        ({"sampling_size": 13}, "sampling_prob"),
        ({"noise": NoiseKind.ARTICLE, "clip_norm": None, "epsilon": 0.0}, "epsilon=0.0"),
        ({"average_last": 4}, "average_last=4 <= rounds=3"),
    ],
)
def test_what_cannot_be_run_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        plan(**changes)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"model": {}}', plan().to_bytes()[:-2]])
def test_bytes_that_are_no_plan_are_refused(content: bytes) -> None:
    with pytest.raises(CorruptMessageError, match="not a plan"):
        Plan.from_bytes(content)


@pytest.mark.parametrize("field", ["noise", "unit"])
def test_a_plan_that_is_read_holds_members_and_no_other_words(field: str) -> None:
    made = plan()
    read = Plan.from_bytes(made.to_bytes())
    assert (type(read.noise), type(read.unit)) == (NoiseKind, Unit)
    value = f'"{field}": "{getattr(made, field).value}"'.encode()
    assert value in made.to_bytes()
    with pytest.raises(CorruptMessageError, match=field):
        Plan.from_bytes(made.to_bytes().replace(value, f'"{field}": "loud"'.encode()))


@pytest.mark.parametrize("name", ["sealing", "roster"])
def test_a_plan_names_digests_and_nothing_else(name: str) -> None:
    made = plan(**{name: "ab" * 32})
    assert Plan.from_bytes(made.to_bytes()) == made
    assert made.digest != plan().digest
    assert name.encode() not in plan().to_bytes()
    for wrong in ("ab" * 31, "AB" * 32, "key"):
        with pytest.raises(InvalidInputError, match=f"Expected {name} as 64 hex digits"):
            plan(**{name: wrong})
