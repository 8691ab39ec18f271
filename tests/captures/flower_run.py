"""Flower's quickstart on two hospitals of the heart study, its updates kept.

    make bench-setup
    .venv-bench/bin/python -m tests.captures.flower_run tests/captures/flower
    .venv-bench/bin/python -m tests.captures.flower_run tests/captures/flower_epoch epoch

The folders must be new. The first has clients of one step and one logit; the second clients of an
epoch, momentum and two logits, as the quickstart's. ``review.toml`` and ``phases.toml`` are ours.
"""

import os
import sys
from pathlib import Path


def main(folder: Path, *, epoch: bool = False) -> None:
    """Run two rounds of FedAvg in Flower's simulation (of an epoch, one)."""
    os.environ["FLWR_TELEMETRY_ENABLED"] = os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    from aggregation.capture.flower_history import record_flower
    from tests.captures.clients import HOSPITALS, Classifier, Net, train, train_epoch

    make, local, rounds = (Classifier, train_epoch, 1) if epoch else (Net, train, 2)

    client, server = ClientApp(), ServerApp()

    @client.train()
    def step(message: Message, context: Context) -> Message:
        net = make()
        net.load_state_dict(message.content["arrays"].to_torch_state_dict())
        patients = local(net, HOSPITALS[int(context.node_config["partition-id"])])
        content = {
            "arrays": ArrayRecord(net.state_dict()),
            "metrics": MetricRecord({"num-examples": patients}),
        }
        return Message(RecordDict(content), reply_to=message)

    @server.main()
    def serve(grid: Grid, context: Context) -> None:
        strategy = record_flower(FedAvg(fraction_evaluate=0.0), folder)
        strategy.start(
            grid=grid, initial_arrays=ArrayRecord(make().state_dict()), num_rounds=rounds
        )

    run_simulation(server_app=server, client_app=client, num_supernodes=len(HOSPITALS))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), epoch=sys.argv[2:] == ["epoch"])
