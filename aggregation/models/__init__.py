"""The models that hospitals train together: logistic regression and a one-layer perceptron.

A model is data (its kind and sizes); its parameters are one flat float64 vector. Training sums
*per-patient* gradients, each by arithmetic along its patient's row alone. The proof of sensitivity
needs that a patient's integers do not depend on who else is in the batch, *to the last bit*, and a
matrix product adds in an order that follows the number of rows: another patient's coming could
change this one's last bit and, with it, at times, an integer (measured with ``torch.func.vmap``:
about one entry in a thousand differs between batch sizes). So all sums here run along one row's
contiguous numbers, in an order that only their count decides. What attacks differentiate is in
``models.differentiable``, in torch, which nothing else here imports.

>>> import numpy as np
>>> model = Logistic(features=3)
>>> g = model.per_patient_gradients(np.zeros(4), np.ones((2, 3)), np.array([0, 1]))
>>> g.tolist()
[[0.5, 0.5, 0.5, 0.5], [-0.5, -0.5, -0.5, -0.5]]
"""

from aggregation.models.logistic import Logistic
from aggregation.models.model import HiddenLayer, LinearInput, Model
from aggregation.models.perceptron import Perceptron
from aggregation.registry import Registry

__all__ = ["MODELS", "HiddenLayer", "LinearInput", "Logistic", "Model", "Perceptron", "make_model"]

MODELS: Registry[type[Model]] = Model.registered
MODELS.mark_built_in()


def make_model(kind: str, features: int, width: int = 0) -> Model:
    """Return a model by its kind and sizes.

    Args:
      kind: One of ``MODELS``.
      features: Columns of a patient's row.
      width: Hidden units; 0 where there are none.

    Raises:
      InvalidInputError: An unknown kind, or a width that does not fit it.
    """
    return Model.from_spec({"kind": kind, "features": features, "width": width})
