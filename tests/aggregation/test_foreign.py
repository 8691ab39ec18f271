"""Every parser of what parties send and hospitals bring refuses in the project's own words."""

import pytest

from tests.fuzzing import fuzz


def test_no_crash_no_hang_no_foreign_exception_no_wrong_sum() -> None:
    found = fuzz("tests.aggregation.fuzzed", 2_000, 0)
    assert found["faults"] == []
    assert sum(found["seen"].values()) == 2_000
    assert all(found["seen"][name] > found["taken"].get(name, 0) for name in found["seen"])


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1, 11))
def test_a_hundred_thousand_inputs(seed: int) -> None:
    assert fuzz("tests.aggregation.fuzzed", 10_000, seed)["faults"] == []
