"""Two hidden layers of 64 units with LayerNorm and GELU.

LayerNorm (Ba et al. 2016, arXiv 1607.06450v1, Eq. 4) works along one record; batch norm would mix
patients. GELU: Hendrycks and Gimpel (2016), arXiv 1606.08415v5, Eq. 1.
"""

from torch import nn

from aggregation.models.inputs import Inputs

WIDTH = 64


def make(inputs: Inputs) -> nn.Module:
    """Return the module."""
    return nn.Sequential(
        nn.Linear(inputs.features, WIDTH),
        nn.LayerNorm(WIDTH),
        nn.GELU(),
        nn.Linear(WIDTH, WIDTH),
        nn.LayerNorm(WIDTH),
        nn.GELU(),
        nn.Linear(WIDTH, 1),
    )
