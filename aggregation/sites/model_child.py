"""The process that holds a model's code: rows go in, a row of numbers for each comes out.

It is started with an empty environment and one descriptor, the way to whoever started it
(``model_process``). When patients' rows may be in it, it says no words: an error's could quote one.
"""

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from aggregation.sites.confinement import keep_from_debuggers, leave_network, shut

if TYPE_CHECKING:
    from aggregation.models import TorchModel
    from aggregation.models.torch_program import Program

__all__ = ["main"]


def main() -> None:
    """Leave the network, be told the model, give up files, answer until nobody asks."""
    channel = os.dup(0)
    os.dup2(1, 0)  # code that reads its standard input is told nothing
    keep_from_debuggers()
    network = leave_network()
    _serve(channel, network)


def _serve(channel: int, network: str) -> None:
    # Not above: numpy begins threads, and a process that has some leaves no network.
    import socket

    import torch

    from aggregation.models.torch_program import rebuilt
    from aggregation.sites.flare.orphan import end_with_parent
    from aggregation.sites.model_process import (
        LARGEST_TOLD,
        LARGEST_WORDS,
        ModelAnswer,
        heard,
        said,
    )
    from privacy.ledger.log import canonical

    torch.set_num_threads(1)  # none is begun while its code runs
    if os.getppid() != 1:  # a container's first process: what is in it ends with that
        end_with_parent()
    with socket.socket(fileno=channel) as connection:
        try:
            model = _read(heard(connection, LARGEST_TOLD))
            said(connection, ModelAnswer.SHUT, shut(), network)
            heard(connection, 0)  # it may go on
            program = rebuilt(model)
        except ConnectionError:
            return
        except Exception as error:  # noqa: BLE001 - no patient has been here: its words are told
            said(connection, ModelAnswer.REFUSED, f"{error}"[:LARGEST_WORDS])
            return
        environment = canonical.encode(dict(program.environment))
        said(connection, ModelAnswer.READY, environment, program.first.astype("<f8").tobytes())
        while True:
            try:
                question = heard(connection, sys.maxsize)
            except ConnectionError:
                return
            try:
                rows = _rows(program, question)
            except Exception:  # noqa: BLE001 - its words may quote a patient
                said(connection, ModelAnswer.FAILED)
            else:
                said(connection, ModelAnswer.ROWS, rows)


def _read(parts: tuple[bytes, ...]) -> "TorchModel":
    """Take the model's file, and import what it and torch will import, while files are open."""
    import json
    from pathlib import Path

    import torch

    from aggregation.models import TorchModel
    from aggregation.models.torch_check import check_rows
    from aggregation.models.torch_program import Program, flat
    from aggregation.models.torch_source import SOURCES, Source

    spec, path, content, beside = parts
    model = TorchModel.from_spec(json.loads(spec))
    if not isinstance(model, TorchModel):
        raise TypeError("The plan's model is no torch module.")
    source = Source(Path(path.decode()), content, beside)
    SOURCES[source.digest] = source
    source.check_imports()
    for name in source.imported:
        with suppress(ImportError):  # told when the file itself does it
            import_module(name)
    layers = [torch.nn.Linear(2, 2), torch.nn.LayerNorm(2), torch.nn.GELU(), torch.nn.Linear(2, 1)]
    module = torch.nn.Sequential(*layers).double()
    check_rows(Program(module, flat(module)), 2, "a first module")
    return model


def _rows(program: "Program", parts: tuple[bytes, ...]) -> bytes:
    import numpy as np

    from aggregation.sites.model_process import ModelQuestion

    question, params, x, y, places, offset = parts
    outcomes = np.frombuffer(y, dtype="<i8").copy()
    features = np.frombuffer(x, dtype="<f8").reshape(len(outcomes), -1).copy()
    vector = np.frombuffer(params, dtype="<f8").copy()
    slots = np.frombuffer(places, dtype="<i8").copy() if places else None
    if question == ModelQuestion.GRADIENTS.encode():
        given = float(np.frombuffer(offset, dtype="<f8")[0])
        columns = program.gradients(vector, features, outcomes, slots, given)
    else:
        columns = program.scores_and_losses(vector, features, outcomes, slots)
    return np.column_stack(columns).astype("<f8").tobytes()
