"""A training by Opacus on a hospital of the heart study, with and without Poisson sampling.

    .venv/bin/python -m tests.captures.opacus_run tests/captures/opacus

Of each, the weights around the last step, and the checkpoint's part that counts. ``review.toml`` is
ours.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from opacus import PrivacyEngine
from torch.utils.data import DataLoader, TensorDataset

from experiments.cohorts import load
from privacy.files import make_folder
from tests.captures.clients import RATE, Net

PATIENTS, BATCH, EPOCHS, NOISE, CLIP = 280, 28, 5, 1.0, 1.0


def main(folder: Path) -> None:
    """Train twice and keep what an auditor would be handed."""
    for poisson in (True, False):
        torch.manual_seed(11)
        people = load("heart").hospitals["cleveland"].take(np.arange(PATIENTS))
        table = TensorDataset(
            torch.tensor(people.features, dtype=torch.float32),
            torch.tensor(people.outcomes, dtype=torch.float32),
        )
        net = Net()
        engine = PrivacyEngine(accountant="prv")
        net, optimizer, loader = engine.make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=RATE),
            data_loader=DataLoader(table, batch_size=BATCH, shuffle=True),
            noise_multiplier=NOISE,
            max_grad_norm=CLIP,
            poisson_sampling=poisson,
        )
        loss = torch.nn.functional.binary_cross_entropy_with_logits
        before: dict[str, Any] = {}
        for _ in range(EPOCHS):
            for x, y in loader:
                before = _weights(net)
                optimizer.zero_grad()
                loss(net(x).squeeze(-1), y).backward()
                optimizer.step()
        out = folder / ("poisson" if poisson else "shuffled")
        make_folder(out)
        np.savez(out / "before.npz", **before)
        np.savez(out / "after.npz", **_weights(net))
        state = {"privacy_accountant_state_dict": engine.accountant.state_dict()}
        torch.save(state, out / "checkpoint.pt")


def _weights(net: Any) -> dict[str, Any]:
    return {n.removeprefix("_module."): v.numpy().copy() for n, v in net.state_dict().items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
