"""What a hospital sends and what follows from the sum: one form for all rules.

A ``Rule`` serves bias correction and asynchronous arrival alike. A hospital's side makes one
vector from its patients, the weight is applied before the noise, the server's side sees sums. Every
party runs ``advance`` itself, from what is public: a rule holds constants alone, and what changes
from opening to opening is handed in and out as a ``State``.

The same methods run in every engine: on integers that are clipped, noised and sealed
(``aggregation.federation``), on blocks of hospitals (``aggregation.engines.fleet``), and on plain
floats, to see what a rule converges to (``aggregation.engines.clear``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation._spec import rebuilt
from aggregation.registry import Registry
from aggregation.timing.schedule import Arrival
from privacy._validate import natural, positive
from privacy.errors import InvalidInputError

__all__ = [
    "Call",
    "Contract",
    "ContractUnit",
    "Gradient",
    "Local",
    "Opened",
    "Rule",
    "State",
    "Vector",
    "walk",
]

Vector = NDArray[np.float64]
State = tuple[NDArray[Any], ...]
"""What a party keeps between openings; a hospital's own never leaves it."""
Gradient = Callable[[Vector], Vector]
"""A hospital's mean gradient at the given parameters."""


class ContractUnit(StrEnum):
    """Whose coming or going a rule's sensitivity covers."""

    PATIENT = "patient"
    HOSPITAL = "hospital"
    NONE = "none"
    UNPROTECTED = "unprotected"


@dataclass(frozen=True)
class Contract:
    """What a rule sends, and whom its sensitivity protects.

    Attributes:
      name: The rule's.
      source: Where it comes from.
      unit: ``patient``: a sum over patients of vectors clipped one by one; adding or removing one
        moves it by the clip norm at most, and hospitals may share the noise. ``hospital``: several
        local steps, or several hospital-wide statistics; the whole vector is clipped, and replacing
        a hospital's cohort moves the sum by twice the clip norm at most. ``none``: nothing leaves.
        ``unprotected``: no sensitivity can be stated.
      crosses: What leaves the hospital, in words.
      extra: Coordinates sent beyond the model's.
      alone: Statistics that are opened hospital by hospital, each with all of its noise.
      opens_each: Whether every update is opened alone: no sealing can help.
      adaptive: Whether weights follow what was opened; every upload then costs what one of weight
        1 does.
      memory: Whether a hospital sends what changed since its last opened upload: each noised update
        is opened twice.
      every_round: Whether all hospitals have to be in every sum.
    """

    name: str
    source: str
    unit: ContractUnit
    crosses: str
    extra: int = 0
    alone: tuple[str, ...] = ()
    opens_each: bool = False
    adaptive: bool = False
    memory: bool = False
    every_round: bool = False


@dataclass(frozen=True)
class Call:
    """What a hospital's side of a rule computes from.

    Attributes:
      hospital: Whose.
      params: The model that was sent.
      version: Sums that were opened before it.
      staleness: Sums that were opened since.
      steps: Local steps.
      rate: Local step size, on the mean gradient.
      gradient: Of the hospital's mean loss; in a sampled run, of the next drawn batch.
      loss: The hospital's mean loss, in nats; 0 without patients.
    """

    hospital: str
    params: Vector
    version: int
    staleness: int
    steps: int
    rate: float
    gradient: Gradient
    loss: Callable[[Vector], float]


@dataclass(frozen=True)
class Opened:
    """An opened sum, as every party reads it.

    Attributes:
      total: The sum of what was sent, in its own units, the weights before the noise applied.
      moved: The same as a displacement: ``-rate * total`` over the expected number of units.
      rate: The plan's step size.
      steps: The plan's local steps.
      arrivals: Whose uploads it holds.
      alone: Statistics opened hospital by hospital, ``[hospitals]`` each.
    """

    total: Vector
    moved: Vector
    rate: float
    steps: int
    arrivals: tuple[Arrival, ...]
    alone: Mapping[str, Vector] = field(default_factory=dict)


@dataclass(frozen=True)
class Local:
    """What a hospital does to the final model's log-odds, and tells nobody.

    Attributes:
      intercept: Added.
      slope: Multiplied by, before.
      shift: Coefficients of the patients' columns, added too; empty: none.
    """

    intercept: float = 0.0
    slope: float = 1.0
    shift: tuple[float, ...] = ()

    def scores(
        self,
        scores: Float[np.ndarray, "patients"],
        features: Float[np.ndarray, "patients features"],
    ) -> Float[np.ndarray, "patients"]:
        """Return the hospital's own log-odds: ``intercept + slope * scores + features @ shift``."""
        log_odds = self.intercept + self.slope * scores
        return np.asarray(log_odds + features @ np.array(self.shift) if self.shift else log_odds)


class Rule:
    """One step on the summed gradients, and what other rules do differently.

    A rule is a frozen dataclass of public constants; its ``spec`` stands in the plan's digest.
    """

    contract: Contract  # a class's own, or a property where it follows from another rule
    registered: ClassVar[Registry[type["Rule"]]] = Registry("rule")

    def __init_subclass__(cls, *, register: bool = True) -> None:
        contract = cls.__dict__.get("contract")
        if register and isinstance(contract, Contract):
            Rule.registered.add(contract.name, cls)

    @property
    def spec(self) -> dict[str, Any]:
        """Kind and constants as plain JSON values."""
        spec: dict[str, Any] = {"kind": self.kind}
        for each in fields(self):  # type: ignore[arg-type]  # every rule is a dataclass
            value = getattr(self, each.name)
            if isinstance(value, Rule):
                value = value.spec
            elif isinstance(value, Mapping):
                value = {k: list(v) if isinstance(v, Sequence) else v for k, v in value.items()}
            spec[each.name] = value
        return spec

    @classmethod
    def from_spec(cls, spec: Any) -> "Rule":
        """Rebuild what ``spec`` tells; it may be a stranger's.

        Raises:
          InvalidInputError: No such rule, or constants that it does not take.
        """
        return rebuilt(cls.registered, spec, what="rule")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """A rule inside a plan is read by ``from_spec``; a rule of one kind by its fields."""
        from pydantic_core import core_schema

        if cls is not Rule:
            return handler(source)
        return core_schema.no_info_plain_validator_function(cls.from_spec)

    @property
    def kind(self) -> str:
        """The name that ``spec`` says."""
        return self.contract.name

    def begin(self, params: Vector, hospitals: Sequence[str]) -> State:
        """Return the public state before the first opening."""
        return ()

    def start(self, dim: int) -> State:
        """Return a hospital's state before its first upload of ``dim`` coordinates."""
        return ()

    def weight(self, public: State, hospital: str, staleness: int) -> float:
        """Return what an upload is multiplied by before the noise, in [0, 1]."""
        return 1.0

    def steps_of(self, hospital: str, planned: int) -> int:
        """Return a hospital's local steps."""
        return planned

    def offset(self, hospital: str) -> float:
        """Return what is added to the log-odds of a hospital's patients in training."""
        return 0.0

    def record_weights(
        self,
        hospital: str,
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
        residuals: Float[np.ndarray, "patients"],
    ) -> Float[np.ndarray, "patients"] | None:
        """Return what each patient's gradient is multiplied by before the clip; None: 1.

        A row's weight may depend on that row alone. ``residuals`` are risk less outcome.
        """
        return None

    @property
    def weighs_records(self) -> bool:
        """Whether what is clipped may be other than a patient's gradient as the model gives it."""
        rule_class = type(self)
        return (
            rule_class.record_weights is not Rule.record_weights
            or rule_class.offset is not Rule.offset
        )

    def local(self, state: State, call: Call) -> tuple[Vector, State]:
        """Return what a hospital sends, in units of the gradient, where it is the unit.

        The state is kept only once a sum that holds the upload was opened.
        """
        raise InvalidInputError(
            f"The rule {self.contract.name!r} sums clipped gradients of patients; it makes no "
            "vector of a hospital as a whole. Set unit='patient'."
        )

    def send(self, state: State, noised: NDArray[Any]) -> tuple[NDArray[Any], State]:
        """Return what leaves of an update that is noised already, and the state once it opened."""
        return noised, state

    def opened(self, state: State, opening: Opened, before: Vector, after: Vector) -> State:
        """Return a hospital's state after an opening, from the models before and after."""
        return state

    def advance(self, public: State, params: Vector, opening: Opened) -> tuple[Vector, State]:
        """Return the next model and public state."""
        return params + opening.moved, public

    def finish(
        self,
        scores: Float[np.ndarray, "patients"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
    ) -> Local:
        """Return what a hospital keeps to itself, from the final model's log-odds of its own.

        It is called once, after the last round, and what it returns enters nothing that is sent.
        """
        return Local()

    def rows(
        self,
        hospital: str,
        gradients: Float[np.ndarray, "patients dim"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
    ) -> Float[np.ndarray, "patients dim"]:
        """Weigh each patient's gradient, whose last coordinate is the residual."""
        weights = self.record_weights(hospital, features, outcomes, gradients[:, -1])
        return gradients if weights is None else gradients * weights[:, None]


def walk(
    start: Float[np.ndarray, "dim"],
    gradient: Gradient,
    *,
    steps: int,
    rate: float,
    correction: Gradient | None = None,
) -> Float[np.ndarray, "dim"]:
    """Return the sum of the slopes that a hospital steps along: it ends at start - rate * sum.

    Args:
      start: The global model.
      gradient: Gradient of the hospital's mean loss.
      steps: Number of local steps H.
      rate: Local step size.
      correction: Added to the gradient at each point; None adds nothing.
    """
    natural(steps=steps)
    positive(rate=rate)
    here, walked = start, np.zeros(len(start))
    for _ in range(steps):
        slope = gradient(here)
        if correction is not None:
            slope = slope + correction(here)
        walked += slope
        here = here - rate * slope
    return walked
