"""What a federation of processes costs, by the committed record."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from aggregation.data.patients import Patients
from experiments.benchmarks.averaged_step import hospital_step
from experiments.benchmarks.deployed import row_of
from experiments.benchmarks.growth import GrowthRow, at, measure_growth
from experiments.benchmarks.nvflare_he import measure_encrypted_averaging
from experiments.commands.bench_deployment import BenchDeployment
from experiments.deployment.local import Measured
from experiments.deployment.whole import Compared, Deployed
from privacy.errors import InvalidInputError

ROOT = Path(__file__).resolve().parents[2]
MANY = 36_000
RECORD = json.loads((ROOT / "paper" / "bench" / "deployment.json").read_text())
GROWTH = [GrowthRow(**row) for row in RECORD["growth"]]
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


def test_under_nvflares_own_sealing_each_hospital_opens_what_another_sealed() -> None:
    """Ours costs less a round, and no hospital has what opens another's update."""
    beside = RECORD["encrypted_averaging"]
    assert beside["rounds"] == 30 and beside["model_error"] < 1e-5
    assert beside["clients_with_secret_key"] == beside["clients"] == 4
    assert beside["opened_by_another"] < 1e-9
    assert ROWS["logistic", True]["round_seconds"] < beside["round_seconds"]
    assert sum(ROWS["logistic", True]["bytes_by_kind"].values()) / 30 < beside["update_bytes"]


def test_the_guide_tells_what_nvflares_own_sealing_took() -> None:
    guide = " ".join((ROOT / "docs" / "deploy.md").read_text().split())
    beside, ours = RECORD["encrypted_averaging"], ROWS["logistic", True]
    times = beside["round_seconds"] / ours["round_seconds"]
    for told in (
        f"{1e3 * beside['round_seconds']:.0f} ms a round ({times:.1f} times ours)",
        f"{beside['update_bytes'] / 1e3:.0f} kB for one update",
        f"{beside['seconds']:.0f} s in all",
        f"{beside['client_bytes'] / 1e6:.0f} MB at a hospital",
        f"{beside['server_bytes'] / 1e6:.0f} MB at the server",
    ):
        assert told in guide, told


def test_the_guide_tells_of_36000_institutions_what_the_lines_say() -> None:
    guide = " ".join((ROOT / "docs" / "deploy.md").read_text().split())

    def megabytes(size: float) -> str:
        return f"{size / 1e6:,.0f}"

    drawn, last = at(MANY, GROWTH), max(GROWTH, key=lambda row: row.hospitals)
    each = (last.proof - min(GROWTH, key=lambda row: row.hospitals).proof) / (
        last.hospitals - min(row.hospitals for row in GROWTH)
    )
    for told in (
        f"| a hospital | {megabytes(drawn['received'])} MB | {drawn['hospital_seconds']:.1f} s |",
        f"| a holder | {megabytes(drawn['held'])} MB more | {drawn['holder_seconds']:.0f} s more |",
        f"| the server | {megabytes(drawn['server'])} MB | not drawn |",
        f"{last.holders} holders",
        f"sends {drawn['sent'] / 1e3:.1f} kB",
        f"{each:.0f} bytes for each other hospital",
        f"{8 * drawn['server'] / 1e10:.0f} s at 10 Gbit/s",
        f"{100 * MANY * drawn['proof'] / drawn['server']:.0f} % of them",
        f"{math.ceil(math.log2(MANY))} hashes",
    ):
        assert told in guide, told


def test_the_line_foresees_the_bytes_of_more_hospitals() -> None:
    """Drawn from two small federations, and measured: every kind of byte to one in a hundred."""
    *small, large = measure_growth((6, 12, 40))
    drawn = at(large.hospitals, small)
    for name in ("sent", "received", "proof", "held", "server"):
        assert drawn[name] == pytest.approx(vars(large)[name], rel=1e-2), name
    assert all(row.proof < row.received for row in small) and large.holders == small[0].holders
    assert "server_seconds" not in drawn and min(vars(large).values()) > 0


def test_steps_of_hospitals_average_to_the_step_of_all_patients() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 3)), rng.integers(0, 2, 30)
    params = rng.normal(size=4)
    whole = hospital_step(params, x, y, 2.0, 0.5)
    first, rest = (hospital_step(params, x[s], y[s], 2.0, 0.5) for s in (slice(8), slice(8, 30)))
    assert (8 * first + 22 * rest) / 30 == pytest.approx(whole, abs=1e-14)
    chance = 1 / (1 + np.exp(-(x @ params[:-1] + params[-1])))
    rows = (chance - y)[:, None] * np.c_[x, np.ones(30)]
    rows /= np.maximum(1, np.linalg.norm(rows, axis=1) / 0.5)[:, None]
    assert whole == pytest.approx(-2.0 * rows.mean(axis=0), abs=1e-14)


@pytest.mark.parametrize(
    "asked", [{"rounds": 1}, {"growth": (16,)}, {"growth": (16, 16)}, {"growth": (3, 16)}]
)
def test_too_little_is_refused(asked: dict[str, object]) -> None:
    command = BenchDeployment(**asked)  # type: ignore[arg-type]  # that is what is tested
    with pytest.raises(InvalidInputError, match=r"rounds|growth"):
        command.check()


@pytest.mark.nightly
def test_nvflare_averages_sealed_updates_and_any_hospital_opens_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    patients = {
        name: Patients(rng.normal(size=(20, 3)), rng.integers(0, 2, 20)) for name in ("a", "b")
    }
    found = measure_encrypted_averaging(
        patients, rounds=2, learning_rate=1.0, clip_norm=1.0, folder=tmp_path / "he"
    )
    assert found.clients_with_secret_key == found.clients == 2
    assert found.opened_by_another < 1e-9 and found.model_error < 1e-6
    assert found.update_bytes > 100_000 and min(found.client_bytes, found.server_bytes) > 1e7
