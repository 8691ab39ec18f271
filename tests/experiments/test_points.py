"""Whatever a point is called, its runs have plain names."""

from hypothesis import given
from hypothesis import strategies as st

from experiments.studies.frontier.point import _run_name
from privacy.names import plain_name


@given(st.text("abc xyz=()-", min_size=1, max_size=200), st.integers(0, 9999), st.integers(0, 99))
def test_a_label_too_long_for_a_name_gives_one(label: str, seed: int, fold: int) -> None:
    whole = f"point {' '.join(label.split())} x"
    name = _run_name(whole, seed, fold)
    assert len(plain_name(run=name)) <= 64
    assert name.endswith(f" seed={seed} fold={fold}")
    assert _run_name(whole + "y", seed, fold) != name
