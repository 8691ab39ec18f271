"""``inpatient deploy local``: dealt, started, carried, verified, measured and compared."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from aggregation.data.patients import Patients
from aggregation.federation import Federation
from aggregation.models import Inputs, TorchModel, named_model
from aggregation.plan import Plan
from aggregation.roles.messages import AGGREGATOR
from aggregation.sites.agreed import Agreed
from aggregation.sites.dealt import deal
from aggregation.sites.flare.kit import KitKind
from aggregation.sites.flare.site_certificates import make_authority
from aggregation.sites.site_settings import SiteSettings
from aggregation.transcript import Transcript
from experiments.cohorts import load, resolve
from experiments.deployment.local import (
    Daemons,
    Measured,
    carry_over_network,
    carry_to_the_end,
    certify,
    free_port,
    measured,
    site_folders,
    states,
)
from experiments.deployment.own_tables import own_tables
from experiments.run.record import writable_folder
from experiments.studies.design import WIDTH, Design, Regime, make_plan, training_of
from privacy.errors import InvalidInputError
from privacy.ledger import load_trust, verify

__all__ = ["Compared", "Deployed", "LocalRun", "deploy_here", "run_local"]


@dataclass(frozen=True)
class LocalRun:
    """What ``inpatient deploy local`` was asked for.

    Attributes:
      out: Folder of the sites' folders.
      cohort: As for ``own_tables``.
      model: As for ``named_model``.
      epsilon: Of the whole run, and each ledger's budget.
      scheme: How sums are sealed.
      rounds: How many; None: as the model is trained by default.
      seed: Of simulated sites; None: real ones.
      network: Whether NVFLARE carries, over mutual TLS on 127.0.0.1.
      within: Seconds after which it gives up for now.
      data_dir: Folder with heart's original files; None: as packaged.
      json: Whether to print what was measured as JSON.
    """

    out: Path
    cohort: str
    model: str
    epsilon: float
    scheme: str
    rounds: int | None
    seed: int | None
    network: bool
    within: float
    data_dir: Path | None
    json: bool


@dataclass(frozen=True)
class Compared:
    """The same run in one process.

    Attributes:
      same_sums: Whether all opened sums are the same, bit for bit.
      seconds_a_round: There.
    """

    same_sums: bool
    seconds_a_round: float


@dataclass(frozen=True)
class Deployed:
    """A run of processes that has ended.

    Attributes:
      folders: The sites', by name.
      measured: What it took.
      compared: The same run in one process; None: of real sites nothing is compared.
      seconds: From the first file to the last process's end, start-up included.
    """

    folders: Mapping[str, Path]
    measured: Measured
    compared: Compared | None
    seconds: float


def deploy_here(options: LocalRun, console: Console) -> Deployed:
    """Run a federation of processes into ``options.out``, to its end.

    Raises:
      InvalidInputError: Something else lies there, or the cohort has no table for each hospital.
      RefusedError: The run has not ended in time; a later call goes on.
    """
    began = time.monotonic()
    folders = _folders(options, console)
    network = (folders[AGGREGATOR] / KitKind.SERVER.folder).exists()
    with Daemons(folders, network=network).running() as daemons, console.status("") as status:

        def watch(state: Mapping[str, Any]) -> None:
            late = ", ".join(state["late"]) or "nobody"
            status.update(f"round {state['round']}, waiting for {late}")
            daemons.look()

        carry = carry_over_network if network else carry_to_the_end
        carry(folders, seconds=options.within, watch=watch, failed=lambda: daemons.failure)
        measurement = measured(folders, states(folders), daemons.most_by_relay)
    seconds = time.monotonic() - began
    measurement.save(options.out / "measured.json")
    return Deployed(
        folders, measurement, None if options.seed is None else _compare(options, folders), seconds
    )


def run_local(options: LocalRun) -> int:
    """Run a federation of processes into ``options.out``; 0 if its folders were verified.

    Raises:
      InvalidInputError: Something else lies there, or the cohort has no table for each hospital.
      RefusedError: The run has not ended in time; a later call goes on.
    """
    console = Console(stderr=options.json)
    deployed = deploy_here(options, console)
    folders, measurement, compared = deployed.folders, deployed.measured, deployed.compared
    _tell(console, measurement, compared, deployed.seconds)
    if options.json:
        whole: dict[str, Any] = {**vars(measurement), "seconds": deployed.seconds}
        print(json.dumps(whole | ({} if compared is None else vars(compared)), sort_keys=True))
    if compared is not None:
        return 0 if compared.same_sums else 1
    verdict = verify([*folders.values()], load_trust(options.out / "trust.json"))
    for finding in verdict.findings:
        console.print(str(finding), markup=False, highlight=False)
    return verdict.status


def _folders(options: LocalRun, console: Console) -> Mapping[str, Path]:
    """The sites' folders: dealt now, or found."""
    writable_folder(options.out)
    if any(options.out.iterdir()):
        folders = site_folders(options.out)
        run = Agreed.load(folders[AGGREGATOR] / "agreed").plan.run
        console.print(f"The run {run} is in {options.out} already; it goes on.")
        return folders
    cohort = load(*resolve(options.cohort, options.data_dir))
    tables = own_tables(options.cohort, options.data_dir)
    run = f"{cohort.name[:30]}-{secrets.token_hex(4)}"
    plan = _planned(options, run, cohort.hospitals, Inputs.of(cohort.schema))
    file, colon, _ = options.model.rpartition(":")
    dealing = partial(deal, options.out, plan, tables, epsilon=options.epsilon, seed=options.seed,
                      module=Path(file) if colon else None)  # fmt: skip
    if not options.network:
        return dealing()
    network = make_authority(options.out / "authority", "localhost", free_port())
    made = dealing(network=network)
    certify(made, network, options.out / "authority")
    return made


def _planned(options: LocalRun, run: str, patients: Mapping[str, Patients], inputs: Inputs) -> Plan:
    setting = training_of(Regime.FULL, options.model)
    if options.rounds is not None:
        last = min(options.rounds, setting.average_last)
        setting = replace(setting, rounds=options.rounds, average_last=last)
    return make_plan(
        run=run,
        design=Design.SEALED,
        epsilon=options.epsilon,
        model=named_model(options.model, inputs, width=WIDTH),
        setting=setting,
        patients=patients,
        scheme=options.scheme,
    )


def _compare(options: LocalRun, folders: Mapping[str, Path]) -> Compared:
    """Run the same plan in one process, from the same seeds, and compare all sums."""
    agreed = Agreed.load(folders[AGGREGATOR] / "agreed")
    plan = replace(agreed.plan, sealing=None, roster=None)
    settings = SiteSettings.load(folders[plan.hospitals[0]])
    seed = settings.seed
    if seed is None:
        raise InvalidInputError(
            f"The sites in {options.out} are real; they are compared with none."
        )
    if settings.module:
        from aggregation.models.torch_source import approve

        approve(Path(settings.module))
    cohort = load(*resolve(options.cohort, options.data_dir))
    with _one_thread() if isinstance(plan.model, TorchModel) else nullcontext():
        federation = Federation.simulated(plan, dict(cohort.hospitals), seed=seed)
        began = time.monotonic()
        outcome = federation.run()
        seconds = (time.monotonic() - began) / plan.rounds
    messages = Transcript.load(folders[AGGREGATOR] / "transcript").select(kind="opened")
    opened = {m.round: m.payload for m in messages if m.sender == AGGREGATOR}
    sums = [np.frombuffer(opened[number], dtype="<i8") for number in sorted(opened)]
    same = len(sums) == len(outcome.opened) and np.array_equal(np.stack(sums), outcome.opened)
    return Compared(same, seconds)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have torch here as the processes of sites' models have it: last bits follow from it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _tell(
    console: Console, measurement: Measured, compared: Compared | None, seconds: float
) -> None:
    total = sum(measurement.bytes_by_kind.values())
    console.print(
        f"{measurement.rounds} rounds in {seconds:.1f} s, start-up included; a round took "
        f"{1e3 * measurement.median_round:.0f} ms (median; the longest "
        f"{measurement.longest_round:.2f} s), and "
        f"{total / measurement.rounds / 1e3:.0f} kB passed the server in one."
    )
    memory = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in measurement.memory.items())
    if measurement.relays:
        relays = max(measurement.relays.values()) / 1e6
        memory += f"; NVFLARE's processes at one site at most {relays:.0f} MB"
    console.print(f"Most memory by process: {memory}.")
    if compared is not None:
        same = "the same" if compared.same_sums else "NOT the same"
        console.print(
            f"In one process a round took {1e3 * compared.seconds_a_round:.0f} ms; bit for bit the "
            f"sums are {same}."
        )
