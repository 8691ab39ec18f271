"""Factories for the tests, written to files as a user's are."""

from pathlib import Path
from textwrap import dedent

from aggregation.models import Inputs, TorchModel

INPUTS = Inputs(9, ((3, 4), (5, 6, 7)))
"""Numbers and two fields with levels."""

PERCEPTRON = """
def make(inputs):
    return nn.Sequential(nn.Linear(inputs.features, {width}), nn.ReLU(), nn.Linear({width}, 1))
"""

NORMED = """
def make(inputs):
    return nn.Sequential(
        nn.Linear(inputs.features, {width}), nn.LayerNorm({width}), nn.GELU(), nn.Linear({width}, 1)
    )
"""

ATTENTION = """
class Attention(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.embed = nn.Parameter(torch.randn(inputs.features, {width}))
        self.into, self.out = nn.Linear({width}, 3 * {width}), nn.Linear({width}, 1)

    def forward(self, x):
        q, k, v = self.into(x.unsqueeze(-1) * self.embed).chunk(3, dim=-1)
        return self.out((torch.softmax(q @ k.transpose(-1, -2), dim=-1) @ v).mean(1))


def make(inputs):
    return Attention(inputs)
"""


def written(folder: Path, body: str, **values: object) -> str:
    """Write a factory's file and return its name for ``--model``."""
    path = folder / "mine.py"
    text = dedent(body)
    for name, value in values.items():
        text = text.replace("{" + name + "}", str(value))
    path.write_text("import torch\nfrom torch import nn\n\n" + text)
    return f"{path}:make"


def made(folder: Path, body: str, inputs: Inputs = INPUTS, **values: object) -> TorchModel:
    """Return the model of a factory."""
    return TorchModel.of(written(folder, body, **values), inputs)
