"""What a federation of processes costs, by the committed record."""

import json
from pathlib import Path

from experiments.benchmarks.deployed import row_of
from experiments.deployment.local import Measured
from experiments.deployment.whole import Compared, Deployed

ROOT = Path(__file__).resolve().parents[2]
RECORD = json.loads((ROOT / "paper" / "bench" / "deployment.json").read_text())
ROWS = {(row["model"], row["network"]): row for row in RECORD["rows"]}


def test_the_record_keeps_what_was_asked_of_four_hospitals_over_the_network() -> None:
    """On two cores, beside other work: 90 s with start-up, .3 and 1 s a round, 300 MB a daemon."""
    assert set(ROWS) == {(model, by) for model in ("logistic", "mlp") for by in (False, True)}
    for (_, network), row in ROWS.items():
        assert row["same_sums"] and row["rounds"] == 30 and row["mapped"] == ["numba"]
        assert len(row["site_bytes"]) == 5 and max(row["site_bytes"].values()) <= 300e6
        assert (row["relay_bytes"] > 0) == network
    for model, most in (("logistic", 0.3), ("mlp", 1.0)):
        assert ROWS[model, True]["seconds"] <= 90 and ROWS[model, True]["round_seconds"] <= most


def test_the_guide_tells_what_the_record_holds() -> None:
    guide = " ".join((ROOT / "docs" / "deploy.md").read_text().split())
    for model in ("logistic", "mlp"):
        row = ROWS[model, True]
        sites = max(row["site_bytes"].values())
        told = (
            f"{1e3 * row['round_seconds']:.0f} ms a round over NVFLARE "
            f"({1e3 * row['one_process_round_seconds']:.0f} ms in one process), "
            f"{row['seconds']:.0f} s for {row['rounds']} rounds with start-up and certificates, "
            f"{sum(row['bytes_by_kind'].values()) / row['rounds'] / 1e3:.0f} kB through the "
            f"server in one, {sites / 1e6:.0f} MB at most in a site's daemon and "
            f"{row['relay_bytes'] / 1e6:.0f} MB in NVFLARE's processes beside it"
        )
        assert told in guide, told
    assert f"{ROWS['logistic', True]['server_relay_bytes'] / 1e6:.0f} MB at the server" in guide


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
