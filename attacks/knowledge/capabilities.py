"""What attacks ask of a model, and how they say that it is missing: never by a kind's name."""

from aggregation.models import HiddenLayer, LinearInput, Model
from privacy.errors import InvalidInputError

__all__ = ["hidden_layer", "linear_input"]


def linear_input(model: Model) -> LinearInput:
    """Return a model whose first layer is linear.

    Raises:
      InvalidInputError: It has none such.
    """
    if not isinstance(model, LinearInput):
        raise InvalidInputError(
            f"This attack reads the gradient of a linear first layer, and the model "
            f"{model.kind!r} says of none: it has no first_layer. Give it one, or choose an "
            "attack that needs less."
        )
    return model


def hidden_layer(model: Model) -> HiddenLayer | None:
    """Return a model with a hidden layer of ReLU units, or None."""
    return model if isinstance(model, HiddenLayer) else None
