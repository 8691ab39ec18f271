"""The models that hospitals train together: logistic regression, a perceptron, any torch module.

``Moments`` is logistic regression from one release. A model is data (its kind and sizes); its
parameters are one flat float64 vector. Training sums *per-patient* gradients, each by arithmetic
along its patient's row alone. The proof of sensitivity needs that a patient's integers do not
depend on who else is in the batch, *to the last bit*, and a matrix product adds in an order that
follows the number of rows: another patient's coming could change this one's last bit and, with it,
at times, an integer (measured with ``torch.func.vmap``: about one entry in a thousand differs
between batch sizes). So all sums of the models that are written out here run along one row's
contiguous numbers, in an order that only their count decides: that is proof. A ``TorchModel`` runs
torch's own sums in blocks of one shape: that is evidence, and it says so. What attacks
differentiate is in ``models.differentiable``; plans and ledgers read every model without torch.

>>> import numpy as np
>>> model = Logistic(features=3)
>>> g = model.per_patient_gradients(np.zeros(4), np.ones((2, 3)), np.array([0, 1]))
>>> g.tolist()
[[0.5, 0.5, 0.5, 0.5], [-0.5, -0.5, -0.5, -0.5]]
"""

from aggregation.models.counts import Counts
from aggregation.models.inputs import Inputs
from aggregation.models.logistic import Logistic
from aggregation.models.model import HiddenLayer, LinearInput, Model
from aggregation.models.one_release import Moments
from aggregation.models.perceptron import Perceptron
from aggregation.models.torch_model import SHIPPED, TorchModel
from aggregation.registry import Registry
from privacy.errors import InvalidInputError

__all__ = [
    "MODELS",
    "Counts",
    "HiddenLayer",
    "Inputs",
    "LinearInput",
    "Logistic",
    "Model",
    "Moments",
    "Perceptron",
    "TorchModel",
    "check_name",
    "make_model",
    "named_model",
    "sized_kinds",
]

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


def sized_kinds() -> tuple[str, ...]:
    """Return the kinds that ``make_model`` makes: features and a width say all."""
    return tuple(kind for kind, model in MODELS.items() if model not in (TorchModel, Counts))


def named_model(name: str, inputs: Inputs, *, width: int = 0, seed: int = 0) -> Model:
    """Return the model that a command names.

    Args:
      name: A kind, the name of a shipped module, or ``FILE:FACTORY``.
      inputs: The columns.
      width: Hidden units of the perceptron; no other model has them.
      seed: Of a module's first parameters.

    Raises:
      InvalidInputError: Nothing has this name, or the file's module can't be trained.
    """
    check_name(name)
    if name in sized_kinds():
        return make_model(name, inputs.features, width if name == "mlp" else 0)
    return TorchModel.of(name, inputs, seed=seed)


def check_name(name: str) -> None:
    """Refuse what can't name a model, without torch.

    Raises:
      InvalidInputError: Neither a kind, nor shipped, nor FILE:FACTORY.
    """
    if name not in (*sized_kinds(), *SHIPPED) and ":" not in name:
        raise InvalidInputError(
            f"Unknown model {name!r}; choose one of {', '.join((*sized_kinds(), *SHIPPED))}, or "
            "name a Python file's factory as FILE:FACTORY."
        )
