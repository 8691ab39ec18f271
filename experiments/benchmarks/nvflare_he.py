"""NVFLARE's own encrypted averaging (CKKS), on the model and the patients of our deployed run.

Kits are made as its example makes them: ``provision``, whose builder draws one CKKS key pair and
puts the secret key into the kit of every client. So what one hospital seals, any other opens; the
server alone can't. There is no noise and no account of it. All parts are NVFLARE's, in processes
over mutual TLS on 127.0.0.1, but for the step that a hospital computes (``nvflare_he_job``).
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tenseal
from jaxtyping import Float

import aggregation
from aggregation.data.patients import Patients
from aggregation.sites.flare.kit import KitKind
from aggregation.sites.flare.nvflare_commands import require_nvflare, run_commands
from aggregation.sites.flare.parent_process import parent_command
from experiments.benchmarks.averaged_step import hospital_step
from experiments.deployment.local import children_of, free_port, most_resident
from privacy._validate import natural
from privacy.errors import InpatientError

__all__ = ["EncryptedAveraging", "measure_encrypted_averaging"]

_PROJECT, _SERVER, _ADMIN = "bench", "localhost", "admin@bench.local"
_HE = "nvflare.app_opt.he"
_JOB = "experiments.benchmarks.nvflare_he_job"
_CLIENT_KEYS = "client_context.tenseal"
_LOOK = 0.1  # seconds
_CONNECT_WITHIN = 60.0
_OFTEN = 0.05  # seconds between a client's questions for a task; 2 is NVFLARE's own


@dataclass(frozen=True)
class EncryptedAveraging:
    """What NVFLARE's encrypted averaging took, and gave.

    Attributes:
      rounds: Models that were averaged.
      seconds: Kits, start-up and end included.
      round_seconds: From one model to the next at one site, median.
      update_bytes: Of one hospital's update as it travels.
      key_bytes: Of what each client's kit holds of the CKKS keys.
      clients_with_secret_key: Kits of clients in which the secret key lies.
      clients: All of them.
      opened_by_another: Largest error, in units of the update, with which one hospital opens the
        update that another sealed.
      model_error: Largest distance of a parameter of the last model from the same training in one
        process in float64.
      client_bytes: Most memory of NVFLARE's processes at a hospital.
      server_bytes: At the server.
    """

    rounds: int
    seconds: float
    round_seconds: float
    update_bytes: int
    key_bytes: int
    clients_with_secret_key: int
    clients: int
    opened_by_another: float
    model_error: float
    client_bytes: int
    server_bytes: int


def measure_encrypted_averaging(
    patients: Mapping[str, Patients],
    *,
    rounds: int,
    learning_rate: float,
    clip_norm: float,
    folder: Path,
    seconds: float = 600.0,
) -> EncryptedAveraging:
    """Train a logistic model by NVFLARE's encrypted averaging; return what it took.

    Args:
      patients: By hospital, at least two.
      rounds: At least 2.
      learning_rate: Of a step along the mean of all patients' clipped gradients.
      clip_norm: Of a patient's gradient.
      folder: For kits, logs and what the sites leave; it must be empty or absent.
      seconds: How long at most.

    Raises:
      RefusedError: NVFLARE is not installed.
      InpatientError: It did not end in time.
    """
    require_nvflare()
    natural(rounds=rounds, least=2)
    natural(hospitals=len(patients), least=2)
    began, folder = time.monotonic(), folder.absolute()
    setting = _Setting([*patients], rounds, learning_rate, clip_norm, folder / "sites")
    setting.place.mkdir(parents=True)
    for name, people in patients.items():
        np.savez(setting.place / f"{name}.npz", features=people.features, outcomes=people.outcomes)
    kits = _provisioned(folder, setting.hospitals)
    memory = dict.fromkeys([_SERVER, *setting.hospitals], 0)
    with _running(kits) as processes:

        def look() -> None:
            for name, process in processes.items():
                if (ended := process.poll()) is not None:
                    raise InpatientError(
                        f"NVFLARE's process of {name} ended with status {ended}; its log is in "
                        f"{kits[name]}."
                    )
                pids = (process.pid, *children_of(process.pid))
                memory[name] = max(memory[name], sum(map(most_resident, pids)))

        _carry_out(kits[_ADMIN], _written(folder / "job", setting), look, began + seconds)
    spent = time.monotonic() - began
    keys = {name: (kits[name] / "startup" / _CLIENT_KEYS).read_bytes() for name in patients}
    models = {name: _models(setting.place / f"{name}.jsonl") for name in patients}
    if any(len(site_models) != rounds + 1 for site_models in models.values()):
        raise InpatientError(f"NVFLARE's run did not pass {rounds} models; its logs: {folder}.")
    first = setting.hospitals[0]
    times = [at for at, _ in models[first]]
    reference = [*_trained(patients, rounds, learning_rate, clip_norm)]
    return EncryptedAveraging(
        rounds=rounds,
        seconds=round(spent, 1),
        round_seconds=round(statistics.median(b - a for a, b in pairwise(times)), 4),
        update_bytes=int((setting.place / f"{first}.size").read_text(encoding="utf-8")),
        key_bytes=len(keys[first]),
        clients=len(keys),
        clients_with_secret_key=sum(tenseal.context_from(k).is_private() for k in keys.values()),
        opened_by_another=_opened_by_another(patients, setting, keys, models),
        model_error=max(
            float(np.abs(site_models[-1][1] - reference[-1]).max())
            for site_models in models.values()
        ),
        client_bytes=max(memory[name] for name in patients),
        server_bytes=memory[_SERVER],
    )


@dataclass(frozen=True)
class _Setting:
    hospitals: list[str]
    rounds: int
    learning_rate: float
    clip_norm: float
    place: Path


def _trained(
    patients: Mapping[str, Patients], rounds: int, learning_rate: float, clip_norm: float
) -> Iterator[Float[np.ndarray, "dim"]]:
    """The same training in one process, in clear: the models, the first included."""
    features = np.concatenate([people.features for people in patients.values()])
    outcomes = np.concatenate([people.outcomes for people in patients.values()])
    params = np.zeros(features.shape[1] + 1)
    yield params
    for _ in range(rounds):
        params = params + hospital_step(params, features, outcomes, learning_rate, clip_norm)
        yield params


def _opened_by_another(
    patients: Mapping[str, Patients],
    setting: _Setting,
    keys: Mapping[str, bytes],
    models: Mapping[str, list[tuple[float, Float[np.ndarray, "dim"]]]],
) -> float:
    """How far off one hospital is when it opens, with its own kit, what another sealed."""
    owner, reader = setting.hospitals[:2]
    context = tenseal.context_from(keys[reader])
    sealed = (setting.place / f"{owner}.sealed").read_bytes()
    opened = np.array(tenseal.ckks_vector_from(context, sealed).decrypt())
    people = patients[owner]
    sent = hospital_step(models[owner][1][1], people.features, people.outcomes,
                         setting.learning_rate, setting.clip_norm)  # fmt: skip
    return float(np.abs(opened / len(people) - sent).max())


def _models(path: Path) -> list[tuple[float, Float[np.ndarray, "dim"]]]:
    """When each model came to a site, and which."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    entries = [json.loads(line) for line in lines]
    return [(one["time"], np.array(one["params"])) for one in entries]


def _provisioned(folder: Path, hospitals: list[str]) -> dict[str, Path]:
    """The kits, by name, made in one place: as NVFLARE's example makes them."""
    org = {"org": _PROJECT}
    server = {"name": _SERVER, "type": "server", "fed_learn_port": free_port(), **org}
    admin = {"name": _ADMIN, "type": "admin", "role": "project_admin", **org}
    impl = "nvflare.lighter.impl"
    project = {
        "api_version": 3,
        "name": _PROJECT,
        "participants": [
            server, *({"name": name, "type": "client", **org} for name in hospitals), admin,
        ],
        "builders": [
            {"path": f"{impl}.workspace.WorkspaceBuilder",
             "args": {"template_file": ["master_template.yml"]}},
            {"path": f"{impl}.static_file.StaticFileBuilder",
             "args": {"config_folder": "config", "scheme": "tcp"}},
            {"path": f"{impl}.he.HEBuilder",
             "args": {"poly_modulus_degree": 8192, "coeff_mod_bit_sizes": [60, 40, 40],
                      "scale_bits": 40, "scheme": "CKKS"}},
            {"path": f"{impl}.cert.CertBuilder", "args": {}},
            {"path": f"{impl}.signature.SignatureBuilder", "args": {}},
        ],
    }  # fmt: skip
    path = folder / "project.yml"
    path.write_text(json.dumps(project), encoding="utf-8")  # JSON is YAML
    run_commands([["provision", "-p", str(path), "-w", str(folder / "workspace")]])
    (made,) = (folder / "workspace" / _PROJECT).glob("prod_*")
    for name in (_SERVER, *hospitals):  # as each site's IT would allow classes that it has read
        local = made / name / "local"
        resources = json.loads((local / "resources.json.default").read_text(encoding="utf-8"))
        resources["class_allow_list"] += [f"{_JOB}.{one}" for one in ("Begun", "Step", "Metered")]
        (local / "resources.json").write_text(json.dumps(resources), encoding="utf-8")
    return {name: made / name for name in (_SERVER, _ADMIN, *hospitals)}


@contextmanager
def _running(kits: Mapping[str, Path]) -> Iterator[dict[str, "subprocess.Popen[bytes]"]]:
    """NVFLARE's processes, by name; ended behind the block, with the jobs that they began."""
    here = str(Path(aggregation.__file__).resolve().parent.parent)
    paths = [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "MALLOC_ARENA_MAX": "2"}
    with ExitStack() as stack:
        begun = {}
        for name, kit in kits.items():
            if name == _ADMIN:
                continue
            kind = KitKind.SERVER if name == _SERVER else KitKind.SITE
            named = [] if name == _SERVER else [f"uid={name}"]
            out = stack.enter_context((kit / "said.txt").open("wb"))
            command = parent_command(
                kind, "-m", str(kit), "-s", kind.startup, "--set", "secure_train=true", *named,
                f"org={_PROJECT}", "config_folder=config",
            )  # fmt: skip
            begun[name] = subprocess.Popen(  # noqa: S603 - ours
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environ
            )
        try:
            yield begun
        finally:
            for process in begun.values():
                for pid in (*children_of(process.pid), process.pid):
                    with suppress(OSError):
                        os.kill(pid, signal.SIGKILL)  # nothing of it is needed any more
                process.wait()


def _written(job: Path, setting: _Setting) -> Path:
    """The job: NVFLARE's own classes, with the step of a hospital."""
    said = {"folder": str(setting.place)}
    step = said | {"learning_rate": setting.learning_rate, "clip_norm": setting.clip_norm}
    ids = {"aggregator_id": "aggregator", "persistor_id": "persistor",
           "shareable_generator_id": "generator"}  # fmt: skip
    often = {"min_clients": len(setting.hospitals), "num_rounds": setting.rounds + 1,
             "wait_time_after_min_received": 0, "task_check_period": _OFTEN,
             "persist_every_n_rounds": 0, "snapshot_every_n_rounds": 0}  # fmt: skip
    dim = int(np.load(setting.place / f"{setting.hospitals[0]}.npz")["features"].shape[1]) + 1
    files: dict[str, Any] = {
        "meta.json": {
            "name": "he", "resource_spec": {}, "min_clients": len(setting.hospitals),
            "mandatory_clients": setting.hospitals,
            "deploy_map": {"app": ["server", *setting.hospitals]},
        },
        "app/config/config_fed_server.json": {
            "format_version": 2,
            "server": {"task_request_interval": _OFTEN},
            "workflows": [
                {"id": "averaging", "args": ids | often,
                 "path": "nvflare.app_common.workflows.scatter_and_gather.ScatterAndGather"},
            ],
            "components": [
                {"id": "persistor", "args": {"dim": dim}, "path": f"{_JOB}.Begun"},
                {"id": "generator", "args": {},
                 "path": f"{_HE}.model_shareable_generator.HEModelShareableGenerator"},
                {"id": "aggregator", "args": {"weigh_by_local_iter": False},
                 "path": f"{_HE}.intime_accumulate_model_aggregator."
                         "HEInTimeAccumulateWeightedAggregator"},
            ],
        },
        "app/config/config_fed_client.json": {
            "format_version": 2,
            "default_task_fetch_interval": _OFTEN,
            "executors": [{"tasks": ["train"], "executor": {"path": f"{_JOB}.Step", "args": step}}],
            "task_data_filters": [
                {"tasks": ["train"],
                 "filters": [{"path": f"{_HE}.model_decryptor.HEModelDecryptor", "args": {}}]},
            ],
            "task_result_filters": [
                {"tasks": ["train"],
                 "filters": [
                     {"path": f"{_HE}.model_encryptor.HEModelEncryptor",
                      "args": {"weigh_by_local_iter": True}},
                     {"path": f"{_JOB}.Metered", "args": said},
                 ]},
            ],
            "components": [],
        },
    }  # fmt: skip
    for name, content in files.items():
        (job / name).parent.mkdir(parents=True, exist_ok=True)
        (job / name).write_text(json.dumps(content), encoding="utf-8")
    return job


def _carry_out(kit: Path, job: Path, look: Callable[[], None], end: float) -> None:
    """Submit a job and wait until it has ended."""
    from nvflare.fuel.flare_api.flare_api import new_secure_session

    session: Any = None
    status, number = "not begun", ""
    try:
        while not status.startswith("FINISHED"):
            if time.monotonic() > end:
                raise InpatientError(f"NVFLARE's job did not end in time: {status}.")
            look()
            time.sleep(_LOOK)
            # NVFLARE tells its user what it does on the standard output, which is ours.
            with redirect_stdout(sys.stderr):
                if session is None:
                    with suppress(Exception):  # it starts yet
                        session = new_secure_session(_ADMIN, str(kit), timeout=_CONNECT_WITHIN)
                elif not number:
                    number = session.submit_job(str(job))
                else:
                    status = str(session.get_job_meta(number).get("status"))
    finally:
        if session is not None:  # an open one would never let go
            with suppress(Exception):
                session.close()
    if "COMPLETED" not in status:
        raise InpatientError(f"NVFLARE's job ended as {status}.")
