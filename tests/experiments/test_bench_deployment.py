"""What a federation of processes costs, by the committed record."""

import json

from experiments.benchmarks.deployed import row_of
from experiments.deployment.local import Measured
from experiments.deployment.whole import Compared, Deployed


def test_a_row_tells_what_was_measured() -> None:
    memory = {"north": 7, "aggregator": 9}
    found = Measured(3, 0.125, 0.5, {"update": 30}, memory, {"north": ["numba"], "aggregator": []},
                     {"north": 20, "aggregator": 40})  # fmt: skip
    row = row_of("logistic", True, Deployed({}, found, Compared(True, 0.0625), 12.34))
    assert row.same_sums and row.network and (row.rounds, row.seconds) == (3, 12.3)
    assert (row.round_seconds, row.longest_round, row.one_process_round_seconds) == (
        0.125, 0.5, 0.0625,
    )  # fmt: skip
    assert row.site_bytes == memory and (row.relay_bytes, row.server_relay_bytes) == (20, 40)
    assert row.mapped == ["numba"] and json.dumps(vars(row))
    plain = Measured(3, 0.1, 0.1, {}, memory, {})
    alone = row_of("mlp", False, Deployed({}, plain, None, 1.0))
    assert not alone.same_sums and (alone.relay_bytes, alone.server_relay_bytes) == (0, 0)
