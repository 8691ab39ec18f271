"""Runs of NVFLARE: what its controller sent and got, kept in the job's workspace, read without it.

The job's controller is ``aggregation.capture.nvflare_controller.RecordingFedAvg`` in place of
NVFLARE's ``FedAvg``; then ``from_nvflare(workspace, model=..., learning_rate=...)`` reads what lies
in the workspace.
"""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aggregation.capture.captured_run import CapturedRun, run_of
from aggregation.capture.update_folder import INDEX, UpdateFolder, read_updates
from aggregation.models import Model
from privacy._foreign import quoted
from privacy.errors import InvalidInputError

__all__ = ["from_nvflare", "keep_result", "keep_sent", "updates_of"]

_MOST_FOLDERS = 100_000


def updates_of(controller: Any) -> UpdateFolder:
    """Open the folder ``updates`` in the run's folder of a controller (``ModelController``)."""
    context = controller.fl_ctx
    run = context.get_workspace().get_run_dir(context.get_job_id())
    return UpdateFolder(Path(run) / "updates", f"nvflare {version('nvflare')}")


def keep_sent(kept: UpdateFolder, model: Any) -> None:
    """Keep the weights of an ``FLModel`` that clients are sent."""
    kept.sent(int(model.current_round), model.params)


def keep_result(kept: UpdateFolder, sent: Any, result: Any) -> None:
    """Keep what a client sent back: its weights, or their difference from what it was sent.

    Args:
      kept: Where.
      sent: The ``FLModel`` that it answers.
      result: The ``FLModel`` of its answer.
    """
    params = dict(result.params)
    if str(result.params_type).endswith("DIFF"):
        params = {name: sent.params[name] + change for name, change in params.items()}
    patients = result.meta.get("patients")
    # NVFLARE itself weighs by NUM_STEPS_CURRENT_ROUND, which counts no patients.
    kept.got(
        int(sent.current_round),
        str(result.meta["client_name"]),
        params,
        patients=None if patients is None else int(patients),
    )


def from_nvflare(
    workspace: Path, *, model: Model, learning_rate: float, **capture_options: Any
) -> CapturedRun:
    """Return the run whose updates lie in a job's workspace.

    Args:
      workspace: The server's workspace, the simulator's, or the job's folder within.
      model: What the weights are of.
      learning_rate: The clients'.
      **capture_options: As ``capture.captured_run.run_of`` takes it. A client says how many
        patients it has in its answer's ``meta["patients"]``; else give ``batch_size``.

    Raises:
      CorruptMessageError: A file is missing or not of its format.
      InvalidInputError: There are no updates there, or those of several jobs.
    """
    folders = []
    for number, (folder, _, files) in enumerate(os.walk(workspace)):
        if number > _MOST_FOLDERS:
            raise InvalidInputError(f"{quoted(workspace)} holds too many folders for a workspace.")
        if INDEX in files:
            folders.append(Path(folder))
    if len(folders) != 1:
        raise InvalidInputError(
            f"Expected the updates of one job below {quoted(workspace)}, found {len(folders)}. Run "
            "the job with a recording controller, or name the job's own folder."
        )
    updates = read_updates(folders[0], program="nvflare")
    return run_of(folders[0], updates, model=model, learning_rate=learning_rate, **capture_options)
