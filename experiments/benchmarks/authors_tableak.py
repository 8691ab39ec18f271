"""The authors' TabLeak on a batch of Adult: run as a program inside a checkout of their repository.

``python authors_tableak.py JOB RESULT``: JSON that ``benchmarks.authors`` writes, and the .npz that
it reads. Nothing of ours is imported, and nothing of theirs is changed but one line, which current
torch refuses: it writes into a leaf that wants a gradient.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

__all__ = ["main"]


def main(job: Path, result: Path) -> None:
    """Take a batch, its gradient at an untrained network, invert it, and write all of that."""
    sys.path.insert(0, str(Path.cwd()))
    inversion: Any = import_module("attacks.gradient_inversion_attack")
    bounded = inversion.continuous_sigmoid_bound
    inversion.continuous_sigmoid_bound = lambda x, *args, **named: bounded(
        x.clone(), *args, **named
    )
    settings = json.loads(job.read_text(encoding="utf-8"))
    size, restarts, iterations, seed = (
        int(settings[name]) for name in ("size", "restarts", "iterations", "seed")
    )
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    dataset = import_module("datasets").ADULT()
    dataset.standardize()
    everybody, labels = dataset.get_Xtrain(), dataset.get_ytrain()
    chosen = np.random.default_rng(seed).choice(len(everybody), size, replace=False)
    batch, batch_labels = everybody[chosen], labels[chosen]
    network = import_module("models").FullyConnected(everybody.shape[1], [100, 100, 2])
    criterion = torch.nn.CrossEntropyLoss()
    loss = criterion(network(batch), batch_labels)
    gradient = [g.detach() for g in torch.autograd.grad(loss, list(network.parameters()))]
    start = perf_counter()
    reconstruction = inversion.invert_grad(
        net=network, training_criterion=criterion, true_grad=gradient, true_label=batch_labels,
        true_data=batch, reconstruction_loss="cosine_sim", dataset=dataset,
        max_iterations=iterations, post_selection=restarts, softmax_trick=True, sigmoid_trick=True,
        pooling="median+softmax",
    )  # fmt: skip
    seconds = perf_counter() - start
    truth, rows = (
        dataset.decode_batch(x.detach(), standardized=True) for x in (batch, reconstruction)
    )
    matched = import_module("utils").match_reconstruction_ground_truth(
        truth, rows, dataset.create_tolerance_map()
    )
    columns = [
        f"{name}={level}" if kind == "cat" else name
        for name, (kind, places) in dataset.train_feature_index_map.items()
        for level in (dataset.train_features[name] if kind == "cat" else [""])
        if places is not None
    ]
    np.savez(
        result,
        columns=np.array(columns),
        mean=dataset.mean.numpy(),
        sd=dataset.std.numpy(),
        truth=np.array(truth, dtype=str),
        rows=np.array(rows, dtype=str),
        labels=batch_labels.numpy(),
        gradient=torch.cat([g.flatten() for g in gradient]).numpy(),
        weights=torch.cat([p.detach().flatten() for p in network.parameters()]).numpy(),
        seconds=seconds,
        accuracy=1 - float(np.mean(matched[1])),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
