"""What a plan, a hospital and an attack ask of a model; numpy alone."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from aggregation._spec import rebuilt
from aggregation.registry import Registry

__all__ = ["HiddenLayer", "LinearInput", "Model"]


class Model(ABC):
    r"""A binary classifier over one flat float64 vector of parameters, the output's bias last.

    The loss of a patient is :math:`\log(1 + e^{f(x)}) - y f(x)` (binary cross-entropy), with the
    log-odds :math:`f`. A model is a frozen dataclass of sizes; with a ``kind`` of its own it is in
    ``MODELS``, and plans name it.

    Guarantees (each is a test in ``tests/aggregation/test_models.py``):
      - ``per_patient_gradients`` equals Opacus's per-sample gradients, and those of
        ``torch.func``, to 1e-10;
      - row i of gradients, losses and scores depends on patient i (and, where a model says so, on
        the patient's slot) alone, to the last bit;
      - everything is float64, and the same bits in, the same bits out.

    Attributes:
      kind: The name that plans give it.
      released: What ledgers call a sum of its rows.
      features: Columns of a patient's row.
    """

    kind: ClassVar[str]
    released: ClassVar[str] = "update"
    registered: ClassVar[Registry[type["Model"]]] = Registry("model")
    features: int

    def __init_subclass__(cls) -> None:
        if "kind" in cls.__dict__:
            Model.registered.add(cls.kind, cls)

    @property
    def spec(self) -> dict[str, Any]:
        """Kind and sizes as plain JSON values: what a plan's digest covers."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]  # each is a dataclass

    @classmethod
    def from_spec(cls, spec: Any) -> "Model":
        """Rebuild what ``spec`` tells; it may be a stranger's.

        Raises:
          InvalidInputError: No such model, or sizes that it does not take.
        """
        return rebuilt(cls.registered, spec, what="model")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """A model inside a plan is read by ``from_spec``; one of a kind by its fields."""
        from pydantic_core import core_schema

        if cls is not Model:
            return handler(source)
        return core_schema.no_info_plain_validator_function(cls.from_spec)

    @property
    @abstractmethod
    def dim(self) -> int:
        """Length of the flat parameter vector."""

    @abstractmethod
    def initial(self, rng: np.random.Generator) -> Float[np.ndarray, "dim"]:
        """Return first parameters.

        All parties draw them from a jointly committed seed, so that no server chooses them.
        """

    @abstractmethod
    def per_patient_gradients(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
    ) -> Float[np.ndarray, "patients dim"]:
        """Gradient of each patient's loss at ``params``, one row a patient.

        Args:
          params: The model.
          features: One row a patient.
          outcomes: 0 or 1.
          slots: ``Patients.slots``: what rows may follow besides. None: in turn, for who guesses
            patients or predicts; a hospital whose sum is to have a sensitivity gives them.
        """

    @abstractmethod
    def scores(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
    ) -> Float[np.ndarray, "patients"]:
        """Log-odds of disease of each patient."""

    def above_noise(self, deviation: float) -> "Model":
        """Return the model as it is read where noise has moved each parameter by so much.

        A public choice, before anything is opened; most models have none.
        """
        return self

    @property
    def environment(self) -> Mapping[str, str]:
        """What of this machine the last bits of a row depend on, for the hospital's ledger."""
        return {}

    def gradients_and_residuals(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
        offset: float = 0.0,
    ) -> tuple[Float[np.ndarray, "patients dim"], Float[np.ndarray, "patients"]]:
        """Return ``per_patient_gradients`` and each patient's risk less outcome.

        Args:
          params: The model.
          features: One row a patient.
          outcomes: 0 or 1.
          slots: As in ``per_patient_gradients``.
          offset: Added to everybody's log-odds in the loss.
        """
        rows = self.per_patient_gradients(
            self.shifted(params, offset), features, outcomes, slots=slots
        )
        return rows, rows[:, -1]  # the output's bias is last: its gradient is the residual

    def losses(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
    ) -> Float[np.ndarray, "patients"]:
        """Binary cross-entropy of each patient, in nats."""
        scores = self.scores(params, features, slots=slots)
        return np.asarray(np.logaddexp(0.0, scores) - outcomes * scores)

    def shifted(self, params: Float[np.ndarray, "dim"], offset: float) -> Float[np.ndarray, "dim"]:
        """Return parameters whose log-odds are higher by ``offset`` for everybody."""
        if offset == 0:
            return params
        moved = params.copy()
        moved[-1] += offset
        return moved


@runtime_checkable
class LinearInput(Protocol):
    """A model whose first layer is linear: what exact attacks ask for."""

    @property
    def features(self) -> int:
        """Columns of a patient's row."""
        ...

    def first_layer(
        self, vector: np.ndarray
    ) -> tuple[Float[np.ndarray, "units features"], Float[np.ndarray, "units"]]:
        """Split off the first layer's weights and biases of parameters, or of a gradient."""
        ...

    def outer_weights(self, params: Float[np.ndarray, "dim"]) -> Float[np.ndarray, "units"]:
        """Return what multiplies p - y in each unit's bias gradient."""
        ...


@runtime_checkable
class HiddenLayer(LinearInput, Protocol):
    """A model with one hidden layer of ReLU units."""

    @property
    def width(self) -> int:
        """Hidden units."""
        ...

    def hidden(
        self, params: Float[np.ndarray, "dim"], features: Float[np.ndarray, "patients features"]
    ) -> Float[np.ndarray, "patients units"]:
        """Return what the units give, by arithmetic along each patient's row."""
        ...
