"""The job in pfl-research's simulation, in a process of its own environment.

    python -m experiments.benchmarks.pfl_round JOB FIRST LAST

Its ``SimulatedBackend`` with its own ``FederatedAlgorithm`` hook: each user computes what our
hospital computes, in numpy, which is the least that pfl can be asked. Prints JSON: the seconds of
each round and the seeded sum of a first round that is not timed.
pfl has no types where it is checked: hence the ignored errors below.
"""

import json
import sys
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import AlgorithmHyperParams, FederatedAlgorithm
from pfl.common_types import Population
from pfl.context import CentralContext
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.metrics import Metrics
from pfl.model.base import Model
from pfl.stats import MappedVectorStatistics

from experiments.benchmarks.federation_job import FEATURES, Job
from privacy.mechanisms import NoiseSource, OperatingSystem, Seeded


def main(job: Job, first: int, last: int) -> dict[str, Any]:
    """Run a seeded round and the timed ones over some of the hospitals."""
    params, sums = np.zeros(FEATURES + 1), []
    seeded = True

    # pfl comes without types: its base class is Any to us, and so is what it hands over.
    class OneStep(FederatedAlgorithm):  # type: ignore[misc]
        def get_next_central_contexts(  # type: ignore[no-untyped-def]
            self, model, iteration, algorithm_params, model_train_params, model_eval_params=None
        ):
            return None

        def process_aggregated_statistics(  # type: ignore[no-untyped-def]
            self, central_context, aggregate_metrics, model, statistics
        ):
            return model, aggregate_metrics

        def simulate_one_user(self, model, user_dataset, central_context):  # type: ignore[no-untyped-def]
            k = user_dataset.user_id
            source: NoiseSource = Seeded((job.seed, k)) if seeded else OperatingSystem()
            update = job.update(k, params, source)
            return MappedVectorStatistics({"update": update}, weight=1.0), Metrics()

    @cache
    def make(user: int) -> Dataset:
        return Dataset(job.patients(user), user_id=user)

    users = FederatedDataset(make, get_user_sampler("minimize_reuse", range(first, last)))
    backend = SimulatedBackend(users, users)
    context = CentralContext(
        current_central_iteration=0,
        do_evaluation=False,
        cohort_size=last - first,
        population=Population.TRAIN,
        algorithm_params=AlgorithmHyperParams(),
        model_train_params=None,
        model_eval_params=None,
    )
    seconds = []
    for _ in range(job.rounds + 1):
        start = perf_counter()
        statistics, _metrics = backend.gather_results(
            model=Model(), training_algorithm=OneStep(), central_context=context
        )
        seconds.append(perf_counter() - start)
        sums.append(statistics["update"].tolist())
        seeded = False
    return {"seconds": seconds[1:], "seeded_sum": sums[0]}


if __name__ == "__main__":
    print(json.dumps(main(Job.load(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))))
