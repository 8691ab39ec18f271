"""Whether a torch module is one of the models that exact attacks know: by what it computes."""

import numpy as np
from jaxtyping import Float

from aggregation.capture.two_logits import difference, rows_of, shapes_of, tail
from aggregation.models import Logistic, Model, Perceptron, TorchModel

__all__ = ["recognised"]

_TRIALS = 32
_CLOSE = 1e-9


def recognised(model: Model, params: Float[np.ndarray, "dim"]) -> Model:
    """Return the ``Logistic`` or ``Perceptron`` that a torch module is, or the module itself.

    Its parameters have such a model's shapes, in order, with one logit or two, and its gradients at
    ``params`` are that model's on random records of both outcomes. Of two logits the first layer's
    are compared, and the last's two rows, each the other's opposite (``capture.two_logits``).

    Args:
      model: Any.
      params: Where they are compared.
    """
    if not isinstance(model, TorchModel):
        return model
    candidate, logits = _of_shapes(model.features, [shape for _, shape in model.parameters])
    if candidate is None:
        return model
    rng = np.random.default_rng(0)  # any records would do
    records = rng.normal(size=(_TRIALS, model.features))
    outcomes = np.arange(_TRIALS) % 2
    module_gradients = model.per_patient_gradients(params, records, outcomes)
    if logits == 2:
        first, second = rows_of(candidate, module_gradients)
        last = slice(candidate.dim - tail(candidate), None)
        if not np.allclose(first[:, last], -second[:, last], rtol=0, atol=_CLOSE):
            return model
        module_gradients, params = second, difference(candidate, params)
    other = candidate.per_patient_gradients(params, records, outcomes)
    return candidate if np.allclose(module_gradients, other, rtol=0, atol=_CLOSE) else model


def _of_shapes(features: int, shapes: list[tuple[int, ...]]) -> tuple[Model | None, int]:
    """The model with these shapes, and its number of logits."""
    models: list[Model] = [Logistic(features)]
    if len(shapes) == 4 and len(shapes[0]) == 2:
        models.append(Perceptron(features, shapes[0][0]))
    for model in models:
        for logits in (1, 2):
            if shapes == shapes_of(model, logits):
                return model, logits
    return None, 0
