"""What the clients of the captured runs do: one step on eight patients of the heart study."""

from typing import Any

import numpy as np
import torch

from experiments.cohorts import load

__all__ = ["HOSPITALS", "RATE", "Net", "batch", "train"]

HOSPITALS = ("cleveland", "va")
RATE = 0.1
_PATIENTS = 8
_FEATURES, _WIDTH = 18, 64


class Net(torch.nn.Sequential):
    """The quickstarts' perceptron, in float32."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(
            torch.nn.Linear(_FEATURES, _WIDTH), torch.nn.ReLU(), torch.nn.Linear(_WIDTH, 1)
        )


def batch(hospital: str) -> Any:
    """The first patients of a hospital."""
    return load("heart").hospitals[hospital].take(np.arange(_PATIENTS))


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
