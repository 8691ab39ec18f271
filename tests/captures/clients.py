"""What the clients of the captured runs do with patients of the heart study.

One step on eight of them; or, as the quickstarts of Flower and torch do, an epoch in batches of a
classifier with two logits, by descent with momentum under cross-entropy.
"""

from typing import Any

import numpy as np
import torch

from experiments.cohorts import load

__all__ = [
    "EPOCH",
    "HOSPITALS",
    "MOMENTUM",
    "RATE",
    "Classifier",
    "Net",
    "batch",
    "train",
    "train_epoch",
]

HOSPITALS = ("cleveland", "va")
RATE = 0.1
MOMENTUM = 0.9
EPOCH = 24  # patients of one, in batches of _PATIENTS
_PATIENTS = 8
_FEATURES, _WIDTH = 18, 64


class Net(torch.nn.Sequential):
    """The quickstarts' perceptron, in float32."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(
            torch.nn.Linear(_FEATURES, _WIDTH), torch.nn.ReLU(), torch.nn.Linear(_WIDTH, 1)
        )


class Classifier(torch.nn.Sequential):
    """The same with two logits."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(
            torch.nn.Linear(_FEATURES, _WIDTH), torch.nn.ReLU(), torch.nn.Linear(_WIDTH, 2)
        )


def batch(hospital: str, size: int = _PATIENTS) -> Any:
    """The first patients of a hospital."""
    return load("heart").hospitals[hospital].take(np.arange(size))


def train_epoch(net: torch.nn.Module, hospital: str) -> int:
    """Take one pass in batches, shuffled, in place; return the number of patients."""
    people = batch(hospital, EPOCH)
    table = torch.utils.data.TensorDataset(
        torch.tensor(people.features, dtype=torch.float32), torch.tensor(people.outcomes)
    )
    loader = torch.utils.data.DataLoader(table, batch_size=_PATIENTS, shuffle=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM)
    for features, outcomes in loader:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(features), outcomes).backward()
        optimizer.step()
    return len(people)


def train(net: torch.nn.Module, hospital: str) -> int:
    """Take one step of plain descent on the mean loss, in place; return the number of patients."""
    people = batch(hospital)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    scores = net(torch.tensor(people.features, dtype=torch.float32)).squeeze(-1)
    torch.nn.functional.binary_cross_entropy_with_logits(
        scores, torch.tensor(people.outcomes, dtype=torch.float32)
    ).backward()
    optimizer.step()
    return len(people)
