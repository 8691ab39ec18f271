"""The hospitals and schemes that most tests of sealing begin with."""

import pytest

from aggregation.sealing import make_scheme
from tests.aggregation.sealing.parties import Parties


@pytest.fixture(params=["plain", "bfv"])
def parties(request: pytest.FixtureRequest) -> Parties:
    return Parties(make_scheme(request.param, dim=3, contributors=6, bound=1000))
