"""A training by Opacus that spends from a ledger: an accountant for Opacus's own registry.

    name = register(ledger, steps=300)
    engine = PrivacyEngine(accountant=name)          # then make_private, or ..._with_epsilon

The first step declares what all steps together will cost. Each step is entered before the weights
move; where the budget would be passed it raises, and the weights stay as they were.

What is not true here, and stands in each entry: records *were* read before it, and the noise is
drawn already; only the step has to wait. The noise comes from a generator of torch's. How patients
were drawn is what the caller declares. So the ledger has to be opened as foreign
(``Ledger.create(..., foreign="Opacus")``), and no page says of it that it was verified.

Opacus makes accountants without arguments, also to try noise multipliers with
(``make_private_with_epsilon``): only the one that its engine attached to an optimiser writes.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any

from opacus.accountants import IAccountant, register_accountant
from opacus.data_loader import DPDataLoader
from opacus.optimizers import AdaClipDPOptimizer, DPOptimizer

from privacy._validate import natural
from privacy.errors import InvalidInputError, RefusedError
from privacy.ledger.accountant import composed
from privacy.ledger.ledger import Ledger
from privacy.ledger.requests import NoiseSource, Release
from privacy.ledger.samplers import AllPatients, Poisson, Sampler, Shuffled
from privacy.ledger.spending import Phase
from privacy.unit import Unit

__all__ = ["LedgerAccountant", "Sampling", "register"]

_ORDER = "records were read and noise was drawn before this entry, the weights moved after it"
_DRAWN = "as whoever trains declares it; the ledger saw no patient being drawn"


class Sampling(enum.StrEnum):
    """How the batches of a training are drawn.

    ``POISSON``: each patient by itself (``poisson_sampling=True``, Opacus's own way). ``PASSES``:
    all patients in a new order, cut into batches, every pass run to its end; a patient is in one
    batch of each, and a pass costs one release. That holds where patients are replaced: under the
    relations ``REPLACE_SPECIAL`` and ``REPLACE_ONE``.
    """

    POISSON = "poisson"
    PASSES = "shuffled"


@dataclass(frozen=True)
class _Training:
    """What is known of a training before its first step."""

    ledger: Ledger
    name: str
    label: str
    steps: int | None
    sampling: Sampling


def register(
    ledger: Ledger,
    *,
    steps: int | None = None,
    sampling: Sampling | str = Sampling.POISSON,
    training: str = "training",
) -> str:
    """Make a ledger known to Opacus, and return the name for ``PrivacyEngine(accountant=...)``.

    The name follows from the ledger, so that a checkpoint finds it again. Registered again, the
    newest arguments count for engines that are made from then on.

    Args:
      ledger: Opened as foreign. Its budget is each patient's.
      steps: How many steps the training takes; they are declared together, at the first. None: each
        is counted by itself, which costs more (``privacy.ledger.filter``).
      sampling: How batches are drawn (``Sampling``).
      training: What the ledger calls it; another training of the same patients gets another.

    Raises:
      InvalidInputError: The ledger was not opened as foreign or counts hospitals, or an argument
        breaks its rule.
    """
    if not ledger.foreign:
        raise InvalidInputError(
            f"The ledger of {ledger.hospital} is for releases that can be verified. Open one for "
            'this training: Ledger.create(..., foreign="Opacus").'
        )
    ledger.state(Unit.PATIENT)  # refuses one that counts hospitals
    if steps is not None:
        natural(steps=steps, least=1)
    if sampling not in tuple(Sampling):
        raise InvalidInputError(
            f"Expected sampling={str(sampling)[:40]!r} to be one of {', '.join(Sampling)}."
        )
    name = f"ledger of {ledger.hospital} {ledger.identity[:12]}"
    bound = _Training(ledger, name, training, steps, Sampling(sampling))
    register_accountant(name, partial(LedgerAccountant, bound), force=True)
    return name


class LedgerAccountant(IAccountant):  # type: ignore[misc]
    """Opacus's accountant, kept in a ledger; made by Opacus, under the name of ``register``.

    Guarantees (tests in ``tests/privacy/ledger/test_opacus.py``):
      - only an accountant that an engine attached to an optimiser writes, once a step (of shuffled
        batches: once a pass), and before the weights move;
      - after a refusal the weights are what they were, and no gradient is left;
      - a checkpoint never brings spending back: the ledger's history counts;
      - its epsilon is the certified upper end for its history.
    """

    def __init__(self, training: _Training) -> None:
        self.history: list[tuple[float, float, int]] = []
        self._training = training
        self._plan: str | None = None
        self._within = 0  # steps of the pass that was entered last

    # -- what Opacus asks ------------------------------------------------------------------------

    def step(self, *, noise_multiplier: float, sample_rate: float) -> None:
        """Refuse: a step is entered by the optimiser that takes it, and by nobody else.

        Raises:
          RefusedError: Always.
        """
        raise RefusedError(
            f"A step (noise multiplier {noise_multiplier:g}, sample rate {sample_rate:g}) was to "
            "be counted by hand. Let PrivacyEngine.make_private attach this accountant: it enters "
            "each step itself."
        )

    def get_optimizer_hook_fn(self, sample_rate: float) -> Callable[[DPOptimizer], None]:
        """Attach: what is returned runs when noise has been added and no weight has moved.

        Args:
          sample_rate: Of one batch of the loader.
        """

        def enter(optimizer: DPOptimizer) -> None:
            try:
                self._enter(optimizer, sample_rate)
            except BaseException:
                for parameter in optimizer.params:  # a caught refusal must leave nothing to step by
                    parameter.grad = parameter.grad_sample = parameter.summed_grad = None
                raise

        return enter

    def get_epsilon(self, delta: float, *_: Any, **__: Any) -> float:
        """Return the certified upper end of epsilon for the history, under the budget's relation.

        Raises:
          InpatientError: It has no bound, such as shuffled batches under ``ADD_OR_REMOVE_ONE``.
        """
        if not self.history:
            return 0.0
        ledger = self._training.ledger
        parts = [
            (step.to_json()["event"], step.count)
            for step in (
                self._phase(float(noise), rate, steps).planned
                for noise, rate, steps in self.history
            )
        ]
        budget = replace(ledger.state(Unit.PATIENT).budget, delta=delta)
        return ledger.accountant.epsilon(composed(parts), budget).upper

    def __len__(self) -> int:
        return sum(steps for _, _, steps in self.history)

    def mechanism(self) -> str:
        """The name that it is registered under."""
        return self._training.name

    def load_state_dict(self, state_dict: Any) -> None:
        """Take up a training where its ledger says that it stopped.

        Steps that the ledger holds and the checkpoint does not were taken after it was saved: they
        stay spent.

        Raises:
          RefusedError: The checkpoint tells of steps that the ledger does not hold.
          ValueError: Another accountant's state (raised by Opacus).
        """
        super().load_state_dict(state_dict)
        checkpoint_history, self.history = self.history, self._entered()
        held = {(noise, rate): steps for noise, rate, steps in self.history}
        for noise, rate, steps in checkpoint_history:
            if steps > held.get((noise, rate), 0):
                self.history = []
                raise RefusedError(
                    f"The checkpoint tells of {steps} steps (noise multiplier {noise:g}, sample "
                    f"rate {rate:g}), and the ledger of {self._training.ledger.hospital} holds "
                    f"{held.get((noise, rate), 0)}. Enter what was spent elsewhere first: "
                    "`inpatient ledger enter`."
                )
        self._within = 0

    # -- more than Opacus asks -------------------------------------------------------------------

    def check_loader(self, loader: Any) -> None:
        """Hold the loader that ``make_private`` returned against what was declared.

        Raises:
          RefusedError: Its patients are drawn in another way.
        """
        drawn = Sampling.POISSON if isinstance(loader, DPDataLoader) else Sampling.PASSES
        if drawn is not self._training.sampling:
            raise RefusedError(
                f"The loader's batches are {drawn}, and {self._training.sampling} was declared. "
                f"Register the ledger with sampling={drawn.value!r}, or draw as declared."
            )

    def _enter(self, optimizer: DPOptimizer, sample_rate: float) -> None:
        training = self._training
        batches = int(optimizer.accumulated_iterations)
        rate = min(1.0, sample_rate * batches)
        phase = self._phase(float(optimizer.noise_multiplier), rate, 1)
        passes = training.sampling is Sampling.PASSES
        length = _steps_of_a_pass(sample_rate, batches) if passes else 1
        if not passes and batches > 1:
            raise RefusedError(
                f"{batches} batches were added up into one step: a patient may be drawn into "
                "several of them, and count more than once. Make the batches larger "
                "(BatchMemoryManager splits them), or train in shuffled passes."
            )
        # Of a pass the first step is entered, for all: what is read later is paid by then.
        same = bool(self.history) and self.history[-1][:2] == (phase.noise_multiplier, rate)
        if not (passes and same and 0 < self._within < length):
            self._spend(optimizer, phase, length)
            self._within = 0
        self._within += 1
        steps = self.history.pop()[2] if same else 0
        self.history.append((phase.noise_multiplier, rate, steps + 1))

    def _spend(self, optimizer: DPOptimizer, phase: Phase, length: int) -> None:
        training, planned = self._training, phase.planned
        if self._plan is None and training.steps is not None:
            count = -(-training.steps // length)
            plan = training.ledger.declare(
                [replace(planned, count=count)],
                context={"program": _program(), "training": training.label},
            )
            self._plan = plan.content["plan"]
        sampler = _sampler(planned.to_json()["event"])
        constant = not isinstance(optimizer, AdaClipDPOptimizer)
        training.ledger.spend(
            Release(
                planned.kind,
                planned.event,
                round=len(self),
                clip_norm=float(optimizer.max_grad_norm),
                clip_norm_source="constant" if constant else "patients' gradients",
                declared_sampler=sampler,
                actual_sampler=sampler,
                noise_source=_noise_source(optimizer, phase),
                requester="opacus",
                details={
                    "program": _program(),
                    "training": training.label,
                    "noise_multiplier": phase.noise_multiplier,
                    "sample_rate": phase.sampling_prob,
                    "steps": length,
                    "order": _ORDER,
                    "drawn": _DRAWN,
                },
                plan=self._plan,
            )
        )

    def _phase(self, noise_multiplier: float, rate: float, steps: int) -> Phase:
        return Phase(noise_multiplier, steps, rate, self._training.sampling.value)

    def _entered(self) -> list[tuple[float, float, int]]:
        """The history that the ledger holds of this training."""
        steps: dict[tuple[float, float], int] = {}
        for entry in self._training.ledger.entries():
            details = entry.content.get("details", {})
            if entry.kind == "release" and details.get("training") == self._training.label:
                key = (float(details["noise_multiplier"]), float(details["sample_rate"]))
                steps[key] = steps.get(key, 0) + int(details["steps"])
        return [(noise, rate, count) for (noise, rate), count in steps.items()]


def _steps_of_a_pass(sample_rate: float, batches: int) -> int:
    """Steps in which a pass over all patients is made, so many batches in each.

    Raises:
      RefusedError: A step would reach from one pass into the next.
    """
    loader = round(1 / sample_rate)
    if loader % batches:
        raise RefusedError(
            f"A pass has {loader} batches and a step adds up {batches}: some step would hold "
            "batches of two passes, and a patient twice. Add up a divisor of a pass."
        )
    return loader // batches


def _sampler(event: dict[str, Any]) -> Sampler:
    match event["type"]:
        case "PoissonSampledDpEvent":
            return Poisson(event["sampling_probability"])
        case "ShuffledBatchesDpEvent":
            return Shuffled(event["batches"])
    return AllPatients()


def _noise_source(optimizer: DPOptimizer, phase: Phase) -> NoiseSource:
    if phase.noise_multiplier == 0:
        return "none"
    # Opacus's secure mode draws from the system's device, and adds four draws to a noise.
    return "operating system" if optimizer.secure_mode else "torch generator"


def _program() -> str:
    return f"opacus {version('opacus')}"
