"""Hypothesis profiles, and one torch thread: tests must not fight over two cores."""

import os

import torch
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

settings.register_profile(
    "ci",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("hunt", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
torch.set_num_threads(1)

if settings().derandomize:
    # Hypothesis tries constants of whichever modules a worker has loaded so far, which depends on
    # the tests that it was given: the same tree would meet other examples in every run.
    providers._get_local_constants = Constants
