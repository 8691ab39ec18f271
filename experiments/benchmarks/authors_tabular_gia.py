"""One batch of Adult under tabular-GIA's authors' attack, then under ours, on the same gradient.

``python -m experiments.benchmarks.authors_tabular_gia JOB RESULT``: JSON that
``benchmarks.architectures`` writes, and JSON that it reads. Nothing of theirs is changed; they
compute the gradient themselves, of an untrained network in ``eval`` (its dropout draws nothing), by
the code that attacks one client, with their published rate and loss. Levels that their attack
leaves soft are read by the largest, as they read them.
"""

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import process_time
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from attacks.knowledge.priors import Prior
from attacks.scoring import baseline_accuracies, matched_accuracies
from experiments.benchmarks.architectures import ARCHITECTURES, ArchitectureRow, Attacked, Layout
from experiments.benchmarks.authors_checkout import require_same_gradient
from experiments.benchmarks.module_gradient import ModuleGradient
from experiments.replicate.adult import load_adult
from experiments.replicate.tableak_on_adult import recovered
from privacy.errors import InvalidInputError

__all__ = ["main"]

_RATE = 0.06  # theirs, published


@dataclass(frozen=True)
class _Inverted:
    """What the authors' code was given and gave.

    Attributes:
      module: The network, in ``eval``.
      gradient: As they took it, flat.
      coded: The people they found, as ``Layout.coded``.
      seconds: Of their steps, as the processor counts them.
      counted: Share of features right, by their own count.
    """

    module: torch.nn.Module
    gradient: Tensor
    coded: NDArray[np.float64]
    seconds: float
    counted: float


def main(job: Path, result: Path) -> None:
    """Attack one batch twice, score, and write the row."""
    settings = json.loads(job.read_text(encoding="utf-8"))
    checkout, adult, architecture = (
        Path(settings["checkout"]),
        Path(settings["adult"]),
        settings["architecture"],
    )
    size, restarts, iterations, seed = (
        int(settings[name]) for name in ("size", "restarts", "iterations", "seed")
    )
    torch.set_num_threads(1)
    people, schema = load_adult(adult)
    attacked, layout = Attacked.drawn(people, schema, size, seed), Layout.of(schema)
    theirs = _theirs(checkout, architecture, attacked, layout, restarts * iterations, seed)
    network = ModuleGradient(theirs.module)
    wrapper: Any = theirs.module
    if hasattr(wrapper, "gia_forward_mode"):
        wrapper.gia_forward_mode = "probabilities"  # ours are shares, theirs logits
    _require_alike(network, layout, attacked, theirs.gradient)

    def ours(prior: Prior) -> tuple[float, float]:
        start = process_time()
        reconstruction = recovered(
            theirs.gradient, attacked.labels, network, layout.inputs, prior,
            np.random.default_rng([seed, size]), restarts=restarts, iterations=iterations,
        )  # fmt: skip
        return _right(reconstruction, attacked), process_time() - start

    schema_accuracy, _ = ours(Prior.from_schema(schema))
    our_accuracy, our_seconds = ours(attacked.marginals)
    guesses = baseline_accuracies(
        attacked.marginals, attacked.truth, size, np.random.default_rng(seed), draws=1
    )
    row = ArchitectureRow(
        architecture=architecture, weights=len(theirs.gradient), size=size, seed=seed,
        steps=restarts * iterations, restarts=restarts, iterations=iterations,
        seconds=theirs.seconds, our_seconds=our_seconds,
        accuracy=_right(layout.rows(theirs.coded), attacked),
        our_accuracy=our_accuracy, schema_accuracy=schema_accuracy,
        guess=float(guesses["best"].mean()), counted=theirs.counted,
    )  # fmt: skip
    fields = {**asdict(row), "torch": torch.__version__}
    result.write_text(json.dumps(fields), encoding="utf-8")


def _right(rows: NDArray[np.float64], attacked: Attacked) -> float:
    features = attacked.marginals.features
    return float(matched_accuracies(rows, attacked.truth, features).mean())


def _require_alike(
    network: Callable[[Tensor, Tensor, Tensor], Tensor],
    layout: Layout,
    attacked: Attacked,
    gradient: Tensor,
) -> None:
    """Take ours of the same people."""
    x = torch.tensor(attacked.truth[None], dtype=torch.float32)
    y = torch.tensor(attacked.labels[None], dtype=torch.float32)
    again = network(layout.inputs(x), y, torch.ones_like(y))[0]
    require_same_gradient(again, gradient)


def _theirs(
    checkout: Path, architecture: str, attacked: Attacked, layout: Layout, steps: int, seed: int
) -> _Inverted:
    """Build their network, let their code take its gradient of the batch, and invert it."""
    _reach(checkout)
    logging.disable(logging.INFO)  # a line for each better loss
    inverting = import_module("leakpro.attacks.gia_attacks.invertinggradients")
    wrapper = import_module("model.model_wrapper").ModelWrapper
    config = import_module("configs.model.model").ModelConfig(preset=ARCHITECTURES[architecture])
    ordinal = wrapper.infer_encoding_mode(config) == "ordinal"
    torch.manual_seed(seed)
    feature_schema = _feature_schema(layout, attacked.marginals, ordinal=ordinal)
    module = wrapper.from_config(config, feature_schema).eval()
    soft = layout.inputs(torch.tensor(attacked.truth, dtype=torch.float32))
    x = torch.tensor(layout.coded(attacked.truth), dtype=torch.float32) if ordinal else soft
    y = torch.tensor(attacked.labels, dtype=torch.float32)[:, None]
    attack = inverting.InvertingGradients(
        module, DataLoader(TensorDataset(x, y), batch_size=len(x)), None, None,
        train_fn=import_module("leakpro.fl_utils.gia_train").train_nostep,
        configs=inverting.InvertingConfig(
            attack_lr=_RATE, at_iterations=steps, criterion=module.criterion,
            data_extension=import_module("leakpro.fl_utils.data_utils").GiaTabularExtension(),
        ),
    )  # fmt: skip
    attack.prepare_attack()
    start = process_time()
    taken = [step for step, _, _ in attack.run_attack()]
    seconds = process_time() - start
    if taken[-1] != steps - 1:  # their loop swallows whatever is raised in it
        raise InvalidInputError(f"Their attack stopped after {taken[-1]} of {steps} steps.")
    metrics = import_module("tabular_gia.metrics.tabular_metrics")
    truth, rows, _ = metrics.prepare_tensors_for_metrics(
        attack.original, attack.best_reconstruction, attack.reconstruction_labels, attack.model,
        feature_schema, 0,
    )  # fmt: skip
    counted = metrics.compute_reconstruction_metrics(truth, rows, feature_schema, 0, seed)
    reconstruction = rows.numpy().astype(np.float64)
    return _Inverted(
        module=module,
        gradient=torch.cat([part.flatten() for part in attack.client_gradient]),
        coded=reconstruction if ordinal else layout.largest(reconstruction),
        seconds=seconds,
        counted=float(counted["aggregate_metrics"]["tableak_acc"]),
    )


def _feature_schema(layout: Layout, marginals: Prior, *, ordinal: bool) -> dict[str, Any]:
    """What their models and their count are told of the columns; numbers are standardised."""
    numbers = [f.name for f in layout.numbers]
    categories = {f.name: [*range(len(f.columns) + 1)] for f in layout.categories}
    return {
        "task": "binary",
        "encoding_mode": "ordinal" if ordinal else "onehot",
        "num_cols": numbers,
        "cat_cols": list(categories),
        "cat_categories": categories,
        "cat_cardinalities": layout.cardinalities,
        "num_features": len(layout.inputs.constant),
        "n_num_features": len(numbers),
        "client_num_mean": [[0.0] * len(numbers)],
        "client_num_std": [[1.0] * len(numbers)],
        "train_num_min": [f.low for f in layout.numbers],
        "train_num_max": [f.high for f in layout.numbers],
        "client_cat_probs": [{name: list(marginals.levels[name]) for name in categories}],
    }


def _reach(checkout: Path) -> None:
    """Make their modules importable, and two names of torchvision's where it is not installed.

    Their modules for images import it and the attack on tables calls neither; its builds have to
    fit torch's to the digit.
    """
    sys.path[:0] = [str(checkout), str(checkout / "tabular_gia")]
    if find_spec("torchvision") is not None:
        return
    if find_spec("torchmetrics") is not None:
        import_module("torchmetrics.functional")  # before: it looks for the real torchvision
    for name, attribute in (("utils", "save_image"), ("models.convnext", "LayerNorm2d")):
        module = ModuleType(f"torchvision.{name}")
        setattr(module, attribute, torch.nn.LayerNorm)
        sys.modules[module.__name__] = module
    for name in ("torchvision", "torchvision.models"):
        sys.modules[name] = ModuleType(name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
