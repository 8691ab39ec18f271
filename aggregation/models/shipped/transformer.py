"""A small FT-Transformer for tables (Gorishniy et al. 2021, arXiv 2106.11959v5, section 3.3).

Each field is a token: a number times its vector, or its level's vector, and a bias. One [CLS] token
is put before them, a pre-norm block of attention over one record's tokens follows, and the [CLS]
token gives the log-odds. No dropout: it would draw at random.
"""

import math

import torch
from torch import Tensor, nn

from aggregation.models.inputs import Inputs

SIZE, HEADS, BLOCKS = 8, 2, 1


class Block(nn.Module):
    """Attention between the tokens of a record, and a layer along each token."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(SIZE)
        self.into = nn.Linear(SIZE, 3 * SIZE)
        self.back = nn.Linear(SIZE, SIZE)
        self.second_norm = nn.LayerNorm(SIZE)
        self.wide = nn.Linear(SIZE, 2 * SIZE)
        self.narrow = nn.Linear(2 * SIZE, SIZE)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens ``[n, tokens, SIZE]``."""
        n, count, _ = tokens.shape
        parts = self.into(self.norm(tokens)).reshape(n, count, 3, HEADS, SIZE // HEADS)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        weights = torch.softmax(queries @ keys.transpose(-1, -2) / math.sqrt(SIZE // HEADS), dim=-1)
        heads = (weights @ values).transpose(1, 2).reshape(n, count, SIZE)
        tokens = tokens + self.back(heads)
        found: Tensor = tokens + self.narrow(torch.relu(self.wide(self.second_norm(tokens))))
        return found


class Transformer(nn.Module):
    """Tokens of fields, blocks of attention, and the [CLS] token's log-odds."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        fields = [[column] for column in inputs.single] + [list(g) for g in inputs.groups]
        self.fields = len(fields)
        self.owner = [number for number, columns in enumerate(fields) for _ in columns]
        self.order = [column for columns in fields for column in columns]
        bound = 1 / math.sqrt(SIZE)
        self.weights = nn.Parameter(torch.empty(inputs.features, SIZE).uniform_(-bound, bound))
        self.biases = nn.Parameter(torch.empty(len(fields), SIZE).uniform_(-bound, bound))
        self.start = nn.Parameter(torch.empty(SIZE).uniform_(-bound, bound))
        self.blocks = nn.ModuleList([Block() for _ in range(BLOCKS)])
        self.norm = nn.LayerNorm(SIZE)
        self.out = nn.Linear(SIZE, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Log-odds ``[n]`` of rows ``[n, features]``."""
        columns = x[:, self.order].unsqueeze(-1) * self.weights
        # A field's token is the sum of its columns': at most one of a group is 1.
        places = torch.eye(self.fields, dtype=x.dtype)[:, self.owner]
        fields = places @ columns + self.biases
        start = self.start.expand(x.shape[0], 1, SIZE)
        tokens = torch.cat([start, fields], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        scores: Tensor = self.out(torch.relu(self.norm(tokens[:, 0]))).squeeze(-1)
        return scores


def make(inputs: Inputs) -> nn.Module:
    """Return the module."""
    return Transformer(inputs)
