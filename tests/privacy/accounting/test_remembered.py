"""Results are remembered as long as they fit, and no ledger fills an auditor's memory."""

import gc
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from dp_accounting import (
    GaussianDpEvent,
    NeighboringRelation,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting import roads
from privacy.accounting.intervals import delta, epsilon
from privacy.accounting.losses import Losses
from privacy.accounting.remembered import remembered


@given(asked=st.lists(st.integers(0, 9), max_size=60), most=st.integers(0, 30))
def test_what_is_kept_fits_and_was_asked_for_latest(asked: list[int], most: int) -> None:
    made: list[int] = []
    kept: list[int] = []  # the other road: a list, least lately asked first

    @remembered(lambda size: size, most=most)
    def call(size: int) -> int:
        made.append(size)
        return size

    for size in asked:
        before = len(made)
        assert call(size) == size
        assert (len(made) == before) is (size in kept)
        kept = [k for k in kept if k != size] + [size]
        while sum(kept) > most:
            kept.pop(0)


def test_named_arguments_are_told_apart_and_errors_are_not_kept() -> None:
    made = []

    @remembered(lambda _: 1, most=10)
    def call(x: int, *, finer: float = 1.0) -> float:
        made.append((x, finer))
        if finer == 0.0:
            raise ValueError(x)
        return x * finer

    assert [call(2), call(2, finer=3.0), call(2), call(2, finer=3.0)] == [2, 6, 2, 6]
    assert made == [(2, 1.0), (2, 3.0)]
    for _ in range(2):
        try:
            call(1, finer=0.0)
        except ValueError:
            continue
    assert made.count((1, 0.0)) == 2
    assert call.__name__ == "call"


def test_threads_get_their_own_answers() -> None:
    @remembered(lambda _: 1, most=5)
    def call(x: int) -> int:
        return x * x

    with ThreadPoolExecutor(8) as pool:
        asked = [x % 20 for x in range(2000)]
        assert list(pool.map(call, asked)) == [x * x for x in asked]


def hard(k: int) -> SelfComposedDpEvent:
    return SelfComposedDpEvent(PoissonSampledDpEvent(1e-11 / k, GaussianDpEvent(0.125)), 100)


def test_hard_events_do_not_pile_up() -> None:
    """One of them holds a hundred times what a usual one does."""
    relation = NeighboringRelation.REPLACE_ONE
    tracemalloc.start()
    try:
        for k in (1, 2, 3):
            delta(hard(k), epsilon=1.0, relation=relation)
            epsilon(hard(k), delta=1e-5, relation=relation)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 1.2 * roads._REMEMBERED


def test_bytes_count_what_reading_adds() -> None:
    """A composition computes sums when it is first asked; they are counted beforehand."""
    event = SelfComposedDpEvent(PoissonSampledDpEvent(0.01, GaussianDpEvent(1.0)), 1234)
    epsilon(event, delta=1.25e-5, relation=NeighboringRelation.ADD_OR_REMOVE_ONE)
    read = 0
    for one in [o for o in gc.get_objects() if type(o) is Losses]:
        held = [v if isinstance(v, tuple) else (v,) for v in vars(one).values()]
        arrays = {id(v): v.nbytes for some in held for v in some if isinstance(v, np.ndarray)}
        assert sum(arrays.values()) <= one.nbytes
        read += len(arrays) > 5
    assert read
