"""A federation of processes, by sockets and over NVFLARE, beside one and beside NVFLARE's own."""

import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.benchmarks.growth import measure_growth
from experiments.benchmarks.nvflare_he import measure_encrypted_averaging
from experiments.cohorts import load
from experiments.deployment.whole import Deployed, LocalRun, deploy_here
from experiments.studies.design import Regime, training_of

__all__ = ["DeployedRow", "measure_deployed"]

_WITHIN = 1800.0  # seconds


@dataclass(frozen=True)
class DeployedRow:
    """What one deployed run took.

    Attributes:
      model: As for ``named_model``.
      network: Whether NVFLARE carried, over mutual TLS on 127.0.0.1.
      rounds: Sums that were opened.
      same_sums: Whether they are those of one process, bit for bit.
      seconds: Start-up, certificates and closing of the ledgers included.
      round_seconds: From one sum to the next, median.
      longest_round: The longest, in seconds.
      one_process_round_seconds: A round in one process, mean.
      bytes_by_kind: Of all messages that passed the server.
      site_bytes: Most memory of each site's daemon.
      relay_bytes: Most memory of NVFLARE's processes at any site but the server's; 0: none ran.
      server_relay_bytes: At the server's.
      mapped: Heavy libraries in any site's daemon.
    """

    model: str
    network: bool
    rounds: int
    same_sums: bool
    seconds: float
    round_seconds: float
    longest_round: float
    one_process_round_seconds: float
    bytes_by_kind: Mapping[str, int]
    site_bytes: Mapping[str, int]
    relay_bytes: int
    server_relay_bytes: int
    mapped: list[str]


def measure_deployed(
    models: Iterable[str], *, rounds: int, growth: Iterable[int], console: Console
) -> dict[str, Any]:
    """Deploy heart's four hospitals for each model, with and without network; return the record.

    Beside them: NVFLARE's own encrypted averaging, of the logistic model on the same patients, and
    rounds of more hospitals in one process.

    Raises:
      InpatientError: As ``deploy_here`` and ``measure_encrypted_averaging``.
    """
    rows = []
    for model in models:
        for network in (False, True):
            with tempfile.TemporaryDirectory() as named:
                rows.append(_row(model, network, rounds, Path(named) / "run", console))
    setting = training_of(Regime.FULL, "logistic")
    with tempfile.TemporaryDirectory() as named:
        encrypted = measure_encrypted_averaging(
            dict(load("heart").hospitals), rounds=rounds, learning_rate=setting.learning_rate,
            clip_norm=setting.clip_norm, folder=Path(named), seconds=_WITHIN,
        )  # fmt: skip
    return {
        "cohort": "heart", "scheme": "shares", "cores": os.cpu_count(),
        "load": round(os.getloadavg()[1], 1), "rows": [vars(row) for row in rows],
        "encrypted_averaging": vars(encrypted),
        "growth": [vars(row) for row in measure_growth(growth)],
    }  # fmt: skip


def _row(model: str, network: bool, rounds: int, out: Path, console: Console) -> DeployedRow:
    local_run = LocalRun(
        out=out, cohort="heart", model=model, epsilon=1.0, scheme="shares", rounds=rounds, seed=1,
        network=network, within=_WITHIN, data_dir=None, json=True,
    )  # fmt: skip
    return row_of(model, network, deploy_here(local_run, console))


def row_of(model: str, network: bool, deployed: Deployed) -> DeployedRow:
    """Return what one run took, as it stands in the record."""
    measured, compared = deployed.measured, deployed.compared
    server = measured.relays.get("aggregator", 0)
    return DeployedRow(
        model,
        network,
        measured.rounds,
        compared is not None and compared.same_sums,
        round(deployed.seconds, 1),
        round(measured.median_round, 4),
        round(measured.longest_round, 4),
        round(compared.seconds_a_round, 4) if compared is not None else 0.0,
        dict(measured.bytes_by_kind),
        dict(measured.memory),
        max((size for name, size in measured.relays.items() if name != "aggregator"), default=0),
        server,
        sorted({name for mapped in measured.mapped.values() for name in mapped}),
    )
