"""Any torch module as a model of a plan: what stands in the plan, without torch.

The arithmetic is in ``torch_program``, imported when it is first needed: a plan, a ledger and an
auditor read a ``TorchModel`` and never run one.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from re import fullmatch
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit

from aggregation.models.inputs import Inputs
from aggregation.models.model import Model
from privacy._validate import natural
from privacy.errors import InvalidInputError, RefusedError

if TYPE_CHECKING:
    from aggregation.models.torch_program import Program

__all__ = ["LARGEST", "SHIPPED", "RunsModule", "TorchModel", "program_of"]

LARGEST = 1_000_000  # parameters; a patient's gradient is a row of so many numbers of 8 bytes
SHIPPED = {
    name: f"{Path(__file__).parent / 'shipped' / name}.py:make"
    for name in ("deep", "embedded", "transformer")
}
"""Factories that come with the project, by the name that commands give them."""


class RunsModule(ABC):
    """What runs a plan's module: ``Program`` in this process, ``ModelProcess`` in another."""

    @property
    @abstractmethod
    def first(self) -> Float[np.ndarray, "dim"]:
        """The first parameters, which are the plan's."""

    @property
    @abstractmethod
    def content(self) -> bytes:
        """Of the module's file."""

    @property
    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """What of the machine the last bits of a gradient depend on."""

    @abstractmethod
    def gradients(
        self,
        params: Float[np.ndarray, "dim"],
        x: Float[np.ndarray, "patients features"],
        y: Int[np.ndarray, "patients"],
        slots: Int[np.ndarray, "patients"] | None,
        offset: float = 0.0,
    ) -> tuple[Float[np.ndarray, "patients dim"], Float[np.ndarray, "patients"]]:
        """Return each record's gradient and log-odds (before the offset); zeros if not finite."""

    @abstractmethod
    def scores_and_losses(
        self,
        params: Float[np.ndarray, "dim"],
        x: Float[np.ndarray, "patients features"],
        y: Int[np.ndarray, "patients"],
        slots: Int[np.ndarray, "patients"] | None,
    ) -> tuple[Float[np.ndarray, "patients"], Float[np.ndarray, "patients"]]:
        """Return each record's log-odds and loss; zeros if not finite."""


@dataclass(frozen=True)
class TorchModel(Model):
    r"""A ``torch.nn.Module`` that a factory in a Python file makes, trained in float64.

    The factory is called as ``make(inputs)`` with ``Inputs`` and returns a module that gives each
    row of ``[n, features]`` its log-odds, as ``[n]`` or ``[n, 1]``; or two logits, ``[n, 2]``,
    whose second less first they are: what classifiers of two classes give. The loss is binary
    cross-entropy (of two logits, cross-entropy: the same), or the module's own ``loss(log_odds,
    outcomes)``, one number a record.

    Guarantees (each is a test in ``tests/aggregation/models``):
      - a patient's gradient equals that of ``torch.func`` and Opacus to 1e-10;
      - a row that is not finite is all zeros, so that it adds nothing and tells nobody;
      - what a plan names is what runs: the source's digest, each parameter's name and shape and the
        first parameters' digest are compared before a patient is read.

    Evidence, not proof: row i is a function of (record i, its slot) to the last bit, in every test
    (neighbours added, removed, replaced by huge, infinite and missing values; widths 17, 33, 64 and
    257; one thread and several). Sensitivity rests on it. What proves it for ``Logistic`` and
    ``Perceptron`` is arithmetic of this project's own; here the arithmetic is torch's, which
    promises nothing of the kind, so it runs in blocks of one shape where a patient's slot follows
    from the patient's id alone (``torch_program``). That holds on one machine at one number of
    threads: each hospital's ledger names both, and torch's version.

    Attributes:
      features: Columns of a patient's row.
      groups: As in ``Inputs``.
      factory: Name of the factory in the file.
      source: SHA-256 of the file, hex. Each site installs it (``approve``) before it takes part.
      seed: Of torch's generator while the factory runs.
      parameters: Name and shape of each parameter, in the order of the flat vector.
      first: SHA-256 of the first parameters as little-endian float64, hex.

    Raises:
      InvalidInputError: What can't be a model: no parameters, too many, a digest that is none.
    """

    kind: ClassVar[str] = "torch"
    features: int
    factory: str
    source: str
    parameters: tuple[tuple[str, tuple[int, ...]], ...]
    first: str
    groups: tuple[tuple[int, ...], ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        Inputs(self.features, self.groups)
        natural(seed=self.seed)
        if not self.factory.isidentifier():
            raise InvalidInputError(f"Expected a function's name, got {self.factory[:80]!r}.")
        for name, digest in (("source", self.source), ("first", self.first)):
            if not fullmatch(r"[0-9a-f]{64}", digest):
                raise InvalidInputError(f"Expected {name} as 64 hex digits, got {digest[:80]!r}.")
        names = [name for name, _ in self.parameters]
        if len(set(names)) < len(names) or not all(
            fullmatch(r"[A-Za-z0-9_.]{1,200}", name) for name in names
        ):
            raise InvalidInputError("Expected parameters with distinct names as torch gives them.")
        for name, shape in self.parameters:
            for size in shape:
                natural(least=1, size=size, hint=f"The parameter {name} is empty.")
        if not 1 <= self.dim <= LARGEST:
            raise InvalidInputError(
                f"The model has {self.dim:,} parameters; expected 1 to {LARGEST:,}. A patient's "
                "gradient is a row of so many numbers, clipped, noised and sealed: use a smaller "
                "module."
            )

    @classmethod
    def of(cls, name: str, inputs: Inputs, *, seed: int = 0) -> "TorchModel":
        """Approve a file at this site, run its factory, and check what comes out.

        Args:
          name: ``FILE:FACTORY``, or the name of one that is shipped (``SHIPPED``).
          inputs: Handed to the factory.
          seed: Of torch's generator while it runs; not used where ``FILE.first.npy`` lies beside
            the file and holds the first parameters.

        Raises:
          InvalidInputError: The file, the factory or the module breaks a rule (``torch_check``).
        """
        from aggregation.models.torch_program import constructed

        return constructed(name, inputs, seed)

    @property
    def inputs(self) -> Inputs:
        """What the factory is told."""
        return Inputs(self.features, self.groups)

    @property
    def dim(self) -> int:
        """Length of the flat parameter vector."""
        return sum(math.prod(shape) for _, shape in self.parameters)

    @property
    def program(self) -> RunsModule:
        """What runs the module here.

        Raises:
          RefusedError: This site has not approved the file, or gets other parameters from it.
        """
        return program_of(self)

    @property
    def environment(self) -> Mapping[str, str]:
        """What of this machine the last bits of a gradient depend on, for the ledger."""
        return self.program.environment

    def initial(self, rng: np.random.Generator) -> Float[np.ndarray, "dim"]:
        """Return the first parameters that ``first`` names, whatever the generator.

        Whoever wrote the file chose them: they are approved with it.

        Raises:
          RefusedError: This site has not approved the file, or gets other parameters from it.
        """
        return self.program.first.copy()

    def per_patient_gradients(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
    ) -> Float[np.ndarray, "patients dim"]:
        """Gradient of each patient's loss at ``params``, one row a patient; zeros if not finite."""
        return self.program.gradients(params, features, outcomes, slots)[0]

    def gradients_and_residuals(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
        offset: float = 0.0,
    ) -> tuple[Float[np.ndarray, "patients dim"], Float[np.ndarray, "patients"]]:
        """As ``Model.gradients_and_residuals``; the offset is added to the log-odds."""
        rows, scores = self.program.gradients(params, features, outcomes, slots, offset)
        return rows, np.asarray(expit(scores + offset) - outcomes)

    def scores(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
    ) -> Float[np.ndarray, "patients"]:
        """Log-odds of disease of each patient; 0 where they are not finite."""
        outcomes = np.zeros(len(features), dtype=np.int64)
        return self.program.scores_and_losses(params, features, outcomes, slots)[0]

    def losses(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
    ) -> Float[np.ndarray, "patients"]:
        """Each patient's loss; 0 where it is not finite."""
        return self.program.scores_and_losses(params, features, outcomes, slots)[1]

    def shifted(self, params: Float[np.ndarray, "dim"], offset: float) -> Float[np.ndarray, "dim"]:
        """Return the parameters themselves where nothing is to be shifted.

        Raises:
          RefusedError: No parameter of any torch module is known to move all log-odds alike.
        """
        if offset != 0:
            raise RefusedError(
                f"A torch module has no parameter that moves all log-odds by {offset:g}. Add the "
                "offset to its scores."
            )
        return params

    def named(self, params: Float[np.ndarray, "dim"]) -> dict[str, Float[np.ndarray, "..."]]:
        """Return each parameter by its name, in its shape; copies."""
        parameters, start = {}, 0
        for name, shape in self.parameters:
            size = math.prod(shape)
            parameters[name] = params[start : start + size].reshape(shape).copy()
            start += size
        return parameters


@lru_cache(maxsize=32)
def program_of(model: TorchModel) -> "Program":
    """Rebuild and check once a process what a plan names."""
    from aggregation.models.torch_program import rebuilt

    return rebuilt(model)
