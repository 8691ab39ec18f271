"""Runs of Flower: what its server sent and got, kept while it runs, and read without Flower.

In the server's program, one line::

    strategy = record_flower(FedAvg(...), Path("kept"))

and afterwards, on any machine, ``from_flower(Path("kept"), model=..., learning_rate=...)``.
"""

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from aggregation.capture.captured_run import CapturedRun, run_of
from aggregation.capture.update_folder import UpdateFolder, read_updates
from aggregation.models import Model

__all__ = ["from_flower", "record_flower"]

_Strategy = TypeVar("_Strategy")


def record_flower(strategy: _Strategy, folder: Path) -> _Strategy:
    """Have a strategy (``flwr.serverapp.strategy``) keep the weights that pass through it.

    What it computes does not change. Answers with an error are not kept.

    Args:
      strategy: Configures rounds and aggregates their answers; returned.
      folder: A new one, for this run's updates.
    """
    wrapped: Any = strategy
    kept = UpdateFolder(folder, f"flwr {version('flwr')}")
    configure, aggregate = wrapped.configure_train, wrapped.aggregate_train

    def configure_train(server_round: int, arrays: Any, *rest: Any, **more: Any) -> Any:
        kept.sent(server_round, {name: array.numpy() for name, array in arrays.items()})
        return configure(server_round, arrays, *rest, **more)

    def aggregate_train(server_round: int, replies: Iterable[Any]) -> Any:
        answers = list(replies)
        for reply in (answer for answer in answers if not answer.has_error()):
            (arrays,) = reply.content.array_records.values()
            weights = [
                int(metrics[wrapped.weighted_by_key])
                for metrics in reply.content.metric_records.values()
                if wrapped.weighted_by_key in metrics
            ]
            kept.got(
                server_round,
                f"client-{reply.metadata.src_node_id}",
                {name: array.numpy() for name, array in arrays.items()},
                patients=weights[0] if weights else None,
            )
        return aggregate(server_round, answers)

    wrapped.configure_train, wrapped.aggregate_train = configure_train, aggregate_train
    return strategy


def from_flower(
    folder: Path, *, model: Model, learning_rate: float, **capture_options: Any
) -> CapturedRun:
    """Return the run that ``record_flower`` kept.

    Args:
      folder: Where.
      model: What the weights are of.
      learning_rate: The clients'.
      **capture_options: As ``capture.captured_run.run_of`` takes it: batch_size, steps,
        optimizer, reach.

    Raises:
      CorruptMessageError: A file is missing or not of its format.
      InvalidInputError: Flower did not keep it, or it does not fit what was told.
    """
    updates = read_updates(folder, program="flwr")
    return run_of(folder, updates, model=model, learning_rate=learning_rate, **capture_options)
