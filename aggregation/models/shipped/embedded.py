"""Embeddings of levels beside numbers, and one hidden layer.

Each level of a field has a vector of 4 numbers of its own (Guo and Berkhahn 2016, arXiv
1604.06737v1), the reference level too. A one-hot row times a table is the looked-up vector, and
stays differentiable.
"""

import torch
from torch import Tensor, nn

from aggregation.models.inputs import Inputs

WIDTH, SIZE = 64, 4


class Embedded(nn.Module):
    """Looks up each field's level, joins the numbers, and weighs."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.groups = [list(group) for group in inputs.groups]
        self.single = list(inputs.single)
        # The bias is the reference level's vector, each column's weight what its level adds.
        self.tables = nn.ModuleList([nn.Linear(len(group), SIZE) for group in self.groups])
        self.hidden = nn.Linear(len(self.single) + SIZE * len(self.groups), WIDTH)
        self.out = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Log-odds ``[n]`` of rows ``[n, features]``."""
        found = [table(x[:, group]) for table, group in zip(self.tables, self.groups, strict=True)]
        joined = torch.cat([x[:, self.single], *found], dim=1)
        scores: Tensor = self.out(torch.relu(self.hidden(joined))).squeeze(-1)
        return scores


def make(inputs: Inputs) -> nn.Module:
    """Return the module."""
    return Embedded(inputs)
