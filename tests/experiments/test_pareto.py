"""The Pareto set: nobody in it is beaten, everybody outside is."""

from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.pareto import pareto, surely_dominated
from experiments.record import Record


def record(place: int, auc: int, risk: int, half: float = 0.0) -> Record:
    def interval(value: float) -> dict[str, float]:
        return {"value": value, "lower": value - half, "upper": value + half}

    return Record({"place": place}, {"auc_within": interval(auc), "risk": interval(risk)}, {})


def better(one: Record, other: Record) -> bool:
    a, b = one.metrics, other.metrics
    gain = a["auc_within"]["value"] - b["auc_within"]["value"]
    saved = b["risk"]["value"] - a["risk"]["value"]
    return bool(gain >= 0 and saved >= 0 and gain + saved > 0)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_nobody_in_it_is_beaten_and_everybody_else_is(points: list[tuple[int, int]]) -> None:
    records = [record(k, auc, risk) for k, (auc, risk) in enumerate(points)]
    kept = pareto(records)
    assert kept
    assert not any(better(a, b) for a in records for b in kept)
    assert all(any(better(a, b) for a in kept) for b in records if b not in kept)


def test_surely_means_by_whole_intervals() -> None:
    good, bad = record(0, 4, 1, 0.4), record(1, 3, 2, 0.4)
    assert surely_dominated([good, bad]) == [bad]
    assert surely_dominated([record(0, 4, 1, 0.6), record(1, 3, 2, 0.6)]) == []
