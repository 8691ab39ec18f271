"""Runs of somebody else's, as attacks, accounting and audit read them: a ``RunLog`` of each.

What was captured was computed and stored in numbers of few bits. How far that may have moved a
gradient is bounded, coordinate by coordinate, and goes with it: an attack that takes it for exact
reads nothing, and an update looks safe for the wrong reason.

>>> import numpy as np
>>> from aggregation.models import Logistic
>>> before, patient = np.zeros(3, dtype=np.float32), np.array([2.0, 1.0])
>>> after = before + np.float32(0.1 * 0.5) * np.array([*patient, 1.0], dtype=np.float32)
>>> run = from_weights(before, after, model=Logistic(2), learning_rate=0.1, batch_size=1)
>>> [message.kind.value for message in run.messages]
['plan', 'model', 'update']
>>> update, error = run.update * run.public.step, run.error * run.public.step
>>> bool((np.abs(update - [-1.0, -0.5, -0.5]) <= error).all()), bool(error.max() < 1e-5)
(True, True)
"""

from aggregation.capture.captured_run import CapturedRun
from aggregation.capture.flower_history import from_flower, record_flower
from aggregation.capture.nvflare_job import from_nvflare
from aggregation.capture.optimizers import Adam, Optimizer, Sgd
from aggregation.capture.precision import Precision
from aggregation.capture.private_step import from_opacus
from aggregation.capture.run_log import Capture, RunLog
from aggregation.capture.weights import Weights, flat, from_weights

__all__ = [
    "Adam",
    "Capture",
    "CapturedRun",
    "Optimizer",
    "Precision",
    "RunLog",
    "Sgd",
    "Weights",
    "flat",
    "from_flower",
    "from_nvflare",
    "from_opacus",
    "from_weights",
    "record_flower",
]
