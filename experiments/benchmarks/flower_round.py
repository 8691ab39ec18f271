"""The job in Flower's simulation, in a process of its own.

    python -m experiments.benchmarks.flower_round JOB

One message a hospital and round, on its Ray backend with one actor a core; the client computes what
our hospital computes. Prints JSON: the seconds of each round and the seeded sum of a first round
that is not timed (in it the actors start).
Flower has no types where it is checked: hence the ignored errors below.
"""

import json
import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from experiments.benchmarks.federation_job import FEATURES, Job
from privacy.mechanisms import NoiseSource, OperatingSystem, Seeded


def main(job: Job) -> dict[str, Any]:
    """Run a seeded round and the timed ones."""
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.simulation import run_simulation

    client, server = ClientApp(), ServerApp()
    measurements: dict[str, Any] = {}

    # Flower comes without types where it is not installed, and its decorators with it.
    @client.train()  # type: ignore[untyped-decorator]
    def train(message: Message, context: Context) -> Message:
        k = int(context.node_config["partition-id"])
        (params,) = message.content["model"].to_numpy_ndarrays()
        seeded = message.content["how"]["seeded"]
        source: NoiseSource = Seeded((job.seed, k)) if seeded else OperatingSystem()
        update = ArrayRecord([job.update(k, params, source)])
        return Message(RecordDict({"update": update}), reply_to=message)

    @server.main()  # type: ignore[untyped-decorator]  # as above
    def serve(grid: Grid, context: Context) -> None:
        nodes: list[int] = []
        while len(nodes) < job.hospitals:
            nodes = list(grid.get_node_ids())
        params, seconds, sums = np.zeros(FEATURES + 1), [], []
        for round_ in range(job.rounds + 1):
            start = perf_counter()
            content = RecordDict(
                {
                    "model": ArrayRecord([params]),
                    "how": ConfigRecord({"seeded": round_ == 0}),
                }
            )
            sent = [
                Message(content, dst_node_id=node, message_type="train", group_id=str(round_))
                for node in nodes
            ]
            total = np.zeros(FEATURES + 1, dtype=np.int64)
            for reply in grid.send_and_receive(sent):
                total += reply.content["update"].to_numpy_ndarrays()[0]
            seconds.append(perf_counter() - start)
            sums.append(total.tolist())
        measurements.update(seconds=seconds[1:], seeded_sum=sums[0])

    run_simulation(
        server_app=server,
        client_app=client,
        num_supernodes=job.hospitals,
        backend_config={"client_resources": {"num_cpus": 1.0, "num_gpus": 0.0}},
    )
    return measurements


if __name__ == "__main__":
    print(json.dumps(main(Job.load(Path(sys.argv[1])))))
