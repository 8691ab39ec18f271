"""NVFLARE's hello-pt on two hospitals of the heart study, its updates kept in the workspace.

    make bench-setup
    .venv-bench/bin/python -m tests.captures.nvflare_run WORKSPACE

What is committed is the workspace's ``server/simulate_job/updates``; ``review.toml`` and
``phases.toml`` are ours. Called with ``--client`` by the simulator.
"""

import sys
from pathlib import Path


def client() -> None:
    """Train at a site, round after round."""
    import nvflare.client as flare
    import torch

    from tests.captures.clients import HOSPITALS, Net, train

    flare.init()
    hospital = HOSPITALS[int(flare.get_site_name().rpartition("-")[2]) - 1]
    while flare.is_running():
        model, net = flare.receive(), Net()
        net.load_state_dict({name: torch.as_tensor(v) for name, v in model.params.items()})
        patients = train(net, hospital)
        flare.send(flare.FLModel(params=net.state_dict(), meta={"patients": patients}))


def main(workspace: Path) -> None:
    """Run two rounds of FedAvg in NVFLARE's simulator."""
    from nvflare.app_opt.pt.job_config.model import PTModel
    from nvflare.job_config.api import FedJob
    from nvflare.job_config.script_runner import ScriptRunner

    from aggregation.capture.nvflare_controller import RecordingFedAvg
    from tests.captures.clients import HOSPITALS, Net

    job = FedJob(name="hello-pt")
    parts = job.to_server(PTModel(Net()))
    job.to_server(
        RecordingFedAvg(
            num_clients=len(HOSPITALS), num_rounds=2, persistor_id=parts["persistor_id"]
        )
    )
    for number in range(1, len(HOSPITALS) + 1):
        job.to(ScriptRunner(__file__, "--client"), f"site-{number}")
    job.simulator_run(str(workspace))


if __name__ == "__main__":
    client() if sys.argv[1] == "--client" else main(Path(sys.argv[1]).absolute())
