"""The job in pfl-research's simulation with pfl's own PyTorch path, as its users would run it.

    python -m experiments.benchmarks.pfl_torch_round JOB FIRST LAST UNIT

A ``PyTorchModel``, ``FederatedAveraging`` of one step on all patients of a hospital, the default
aggregator and pfl's ``GaussianMechanism``: one draw of floating noise a round instead of one exact
share a hospital. UNIT says whose influence is clipped:

- ``patient``: each patient's gradient, by ``torch.func`` in pfl's training step: our job but for
  its arithmetic.
- ``hospital``: each hospital's update, all that pfl offers ready-made; a lighter job than ours.

Prints JSON: the seconds of each round after one to warm up.
pfl has no types where it is checked: hence the ignored errors below.
"""

import json
import sys
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.common_types import Population
from pfl.context import CentralContext
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from pfl.privacy.gaussian_mechanism import GaussianMechanism
from pfl.privacy.privacy_mechanism import CentrallyAppliedPrivacyMechanism

from experiments.benchmarks.federation_job import FEATURES, Job


class PflLogistic(torch.nn.Module):
    """Logistic regression as pfl asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(FEATURES, 1)

    def loss(self, features: torch.Tensor, outcomes: torch.Tensor) -> torch.Tensor:
        """Mean loss of a batch."""
        logits = self.layer(features).squeeze(1)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, outcomes)

    def metrics(self, features: torch.Tensor, outcomes: torch.Tensor) -> dict[str, Any]:
        """What pfl would report; it is not asked for."""
        return {}


def _loss(
    params: dict[str, torch.Tensor], features: torch.Tensor, outcome: torch.Tensor
) -> torch.Tensor:
    logit = torch.nn.functional.linear(features, params["layer.weight"], params["layer.bias"])
    return torch.nn.functional.binary_cross_entropy_with_logits(logit[0], outcome)


_GRADIENTS = torch.func.vmap(torch.func.grad(_loss), in_dims=(None, 0, 0))


class PatientsClipped(FederatedAveraging):  # type: ignore[misc]
    """One step along the sum of each patient's clipped gradient."""

    def __init__(self, clip_norm: float) -> None:
        super().__init__()
        self._clip_norm = clip_norm

    def train_one_user(self, initial_model_state, model, user_dataset, central_context):  # type: ignore[no-untyped-def]
        """Return the model's difference, as ``FederatedAveraging`` does."""

        def step(module, optimizer, batch, kwargs, args):  # type: ignore[no-untyped-def]
            params = {name: p.detach() for name, p in module.named_parameters()}
            rows = _GRADIENTS(params, *batch)
            squares = [r.flatten(1).square().sum(1) for r in rows.values()]
            factors = (self._clip_norm / torch.stack(squares).sum(0).sqrt()).clamp(max=1.0)
            for name, p in module.named_parameters():
                p.grad = torch.tensordot(factors, rows[name], 1)
            optimizer.step()

        model.do_multiple_epochs_of(user_dataset, central_context.model_train_params, step)
        return model.get_model_difference(initial_model_state), Metrics()


def main(job: Job, first: int, last: int, unit: str) -> dict[str, Any]:
    """Run the timed rounds over some of the hospitals."""
    torch.set_num_threads(1)  # a process a core
    module = PflLogistic()
    model = PyTorchModel(module, torch.optim.SGD, torch.optim.SGD(module.parameters(), lr=1.0))

    @cache  # as tensors in memory: making them is not timed
    def make(user: int) -> Dataset:
        features, outcomes = job.patients(user)
        tensors = torch.from_numpy(features).float(), torch.from_numpy(outcomes).float()
        return Dataset(tensors, user_id=str(user))

    users = FederatedDataset(make, get_user_sampler("minimize_reuse", range(first, last)))
    # A sum over patients that are clipped already is not clipped again.
    bound = job.clip_norm if unit == "hospital" else 1e9
    noise = CentrallyAppliedPrivacyMechanism(GaussianMechanism(bound, job.clip_norm / bound))
    backend = SimulatedBackend(users, users, postprocessors=[noise])
    algorithm = FederatedAveraging() if unit == "hospital" else PatientsClipped(job.clip_norm)
    context = CentralContext(
        current_central_iteration=0,
        do_evaluation=False,
        cohort_size=last - first,
        population=Population.TRAIN,
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=job.rounds,
            evaluation_frequency=job.rounds,
            train_cohort_size=last - first,
            val_cohort_size=0,
        ),
        model_train_params=NNTrainHyperParams(
            local_learning_rate=1.0, local_num_epochs=1, local_batch_size=None
        ),
        model_eval_params=None,
    )
    seconds = []
    for _ in range(job.rounds + 1):
        start = perf_counter()
        statistics, metrics = backend.gather_results(
            model=model, training_algorithm=algorithm, central_context=context
        )
        algorithm.process_aggregated_statistics(context, metrics, model, statistics)
        seconds.append(perf_counter() - start)
    return {"seconds": seconds[1:]}


if __name__ == "__main__":
    _, path, low, high, whose = sys.argv
    print(json.dumps(main(Job.load(Path(path)), int(low), int(high), whose)))
