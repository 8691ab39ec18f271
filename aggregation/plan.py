"""The plan that all parties of a run agree on before the first patient is read.

It is public, sent as the first message of the transcript, and complete: from the plan and the
opened sums anybody recomputes every model, and from the plan alone every release's DP event.
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from aggregation._participation import check_participation
from aggregation.correlation import Correlation
from aggregation.models import Model
from aggregation.noise_kind import NoiseKind
from aggregation.rules import ContractUnit, FedAvg, FedSGD, Opened, Rule
from aggregation.sealing.slots import SlotGroup
from aggregation.statistics import STATISTICS
from aggregation.timing.schedule import Arrival
from aggregation.transcript import AGGREGATOR, OPENER
from privacy._foreign import parse_json, printable
from privacy._validate import fraction, member, natural, non_negative, positive, unit_open
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.names import distinct_names, plain_name
from privacy.unit import Unit

__all__ = ["Plan"]

_LARGEST = 1 << 20  # bytes of a plan
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Plan:
    r"""What every hospital will do in every round.

    Attributes:
      run: Name of the run; part of every signature.
      model: What is trained.
      hospitals: Names, in order.
      declared_sizes: Number of patients that each hospital has made public, in the same order. A
        constant of the plan: the server divides by it, and it never follows a patient's coming or
        going.
      rounds: Number of rounds.
      learning_rate: Step on the mean gradient: the server's, and a hospital's own where it walks
        several local steps.
      noise: Who adds the noise; shares of it are sized so that those of
        ``len(hospitals) - colluders`` make up all of it.
      scheme: How updates are sealed; ``plain`` shows each of them to the server.
      clip_norm: Largest L2 norm of one patient's gradient (of one hospital's update when that is
        the unit), in units of the parameters; None: not clipped, which ``noise`` none and article
        alone allow.
      radius: The integer :math:`D` that ``clip_norm`` becomes; one integer step is
        ``clip_norm / radius``.
      noise_multiplier: Standard deviation of all of the noise over ``clip_norm``, unitless.
      epsilon: The article's epsilon of one upload (``article`` alone).
      delta: The delta that all epsilons of the run go with.
      sampling_size: Expected patients of a hospital in a round, drawn by Poisson sampling with
        probability ``sampling_size / declared_size``; None: all patients, every round.
      colluders: Hospitals that may give their share of the noise to the adversary. At least 1
        where shares are used: each hospital sees the opened sums and knows its own share.
      local_steps: 1 is FedSGD: one summed gradient. More is FedAvg: the hospital walks them on
        its own patients and sends the sum of what it stepped along.
      unit: Whose coming or going the noise hides.
      model_seed: The jointly committed seed of the first model.
      smallest_sum: Hospitals in the smallest sum that is ever opened, which shares of noise are
        sized for; None: all of them. Fewer where hospitals work at their own pace.
      average_last: The final model is the mean of the last so many; 1 is the last alone. It costs
        no privacy: it is computed from what was opened.
      scalars: What is summed beside the update, in slots behind it: each one slot, named in
        ``STATISTICS``, with its own clip norm, noise and event. Where the rule opens a statistic
        hospital by hospital, it has a slot and all of its noise at each hospital.
      rule: What hospitals send and which model follows; None: ``FedSGD``, or ``FedAvg`` where the
        hospital is the unit.
      pass_rounds: Rounds of a pass in which each patient takes part in exactly one, drawn for that
        patient alone (random allocation); None: as ``sampling_size`` says.
      correlated: How each hospital's own noise is correlated over its rounds (DP-FTRL, matrix
        factorisation); then a patient's step is the same in all passes. None: it is independent.
      patient_hospitals: Hospitals in which one patient may stand: the noise hides a patient with
        their records in all of them. No party can check it alone.
      sealing: Digest of the sealing parameters, in hex: which public keys updates are sealed under,
        and which holders open; None: not named, in simulations alone.
      roster: Digest of whose signatures count, in hex; likewise.
    """

    run: str
    model: Model
    hospitals: tuple[str, ...]
    declared_sizes: tuple[int, ...]
    rounds: int
    learning_rate: float
    noise: NoiseKind
    scheme: str
    clip_norm: float | None
    radius: int
    noise_multiplier: float = 0.0
    epsilon: float | None = None
    delta: float = 1e-5
    sampling_size: int | None = None
    colluders: int = 0
    local_steps: int = 1
    unit: Unit = Unit.PATIENT
    model_seed: int = 0
    average_last: int = 1
    scalars: tuple[SlotGroup, ...] = ()
    smallest_sum: int | None = None
    rule: Rule | None = None
    pass_rounds: int | None = None
    correlated: Correlation | None = None
    patient_hospitals: int = 1
    sealing: str | None = None
    roster: str | None = None

    def __post_init__(self) -> None:
        plain_name(run=self.run)
        if not distinct_names(hospitals=self.hospitals):
            raise InvalidInputError("A plan needs at least one hospital.")
        if taken := {AGGREGATOR, OPENER} & set(self.hospitals):
            raise InvalidInputError(
                f"A hospital can't be called {sorted(taken)[0]!r}: its messages would pass for "
                "another party's."
            )
        if len(self.declared_sizes) != len(self.hospitals):
            raise InvalidInputError(
                f"Expected one declared size a hospital, got {len(self.declared_sizes)} for "
                f"{len(self.hospitals)}."
            )
        for size in self.declared_sizes:
            natural(declared_size=size, least=1)
        natural(rounds=self.rounds, least=1)
        natural(radius=self.radius, least=1)
        natural(local_steps=self.local_steps, least=1)
        natural(average_last=self.average_last, least=1)
        if self.average_last > self.rounds:
            raise InvalidInputError(
                f"Expected average_last={self.average_last} <= rounds={self.rounds}."
            )
        positive(learning_rate=self.learning_rate)
        member(NoiseKind, noise=self.noise)
        for name, digest in (("sealing", self.sealing), ("roster", self.roster)):
            if digest is not None and not _DIGEST.fullmatch(digest):
                raise InvalidInputError(f"Expected {name} as 64 hex digits, got {digest[:80]!r}.")
        non_negative(noise_multiplier=self.noise_multiplier)
        unit_open(delta=self.delta)
        if self.sampling_size is not None:
            natural(sampling_size=self.sampling_size, least=1)
        if self.pass_rounds is not None:
            natural(pass_rounds=self.pass_rounds, least=1)
        self._check_noise()
        self._check_scalars()
        self._check_rule()
        check_participation(self)

    def _check_scalars(self) -> None:
        names = [group.name for group in self.scalars]
        if len(set(names)) < len(names) or not set(names) <= set(STATISTICS):
            raise InvalidInputError(
                f"Expected distinct scalars among {', '.join(STATISTICS)}, got {names}."
            )
        for group in self.scalars:
            if group.dim != 1:
                raise InvalidInputError(f"Expected one slot for {group.name!r}, got {group.dim}.")
            if self.noise.protects != (group.noise_multiplier > 0):
                raise InvalidInputError(
                    f"Expected the scalar {group.name!r} to be protected as the plan's noise "
                    f"{self.noise.value!r} is; its noise_multiplier is {group.noise_multiplier}."
                )

    def _check_rule(self) -> None:
        contract = self.used_rule.contract
        whole = contract.unit in (ContractUnit.HOSPITAL, ContractUnit.UNPROTECTED)
        if whole != (self.unit == Unit.HOSPITAL):
            unit = "hospital" if whole else "patient"
            raise InvalidInputError(
                f"The rule {contract.name!r} sends {contract.crosses}: what is clipped is "
                f"{'the whole vector' if whole else 'each gradient'}, so the unit is the {unit}. "
                f"Set unit={unit!r}, or choose another rule."
            )
        if contract.unit == ContractUnit.UNPROTECTED and self.noise.protects:
            raise RefusedError(
                f"No noise protects anybody under the rule {contract.name!r}: what crosses the "
                f"wall is {contract.crosses}. Set noise='none', or choose another rule."
            )
        if contract.opens_each and (self.scheme != "plain" or self.noise == NoiseKind.SHARED):
            raise RefusedError(
                f"Under the rule {contract.name!r} every update is opened alone: no sealing can "
                "help, and it would carry a share of the noise alone. With scheme='plain' and "
                "noise none or local it runs; or choose a buffered rule or Memory."
            )
        if missing := set(contract.alone) - {group.name for group in self.scalars}:
            raise InvalidInputError(
                f"The rule {contract.name!r} needs the statistics {sorted(missing)} of every "
                "hospital: give each its clip norm and noise in the plan's scalars."
            )

    def _check_noise(self) -> None:
        member(Unit, unit=self.unit)
        if self.clip_norm is not None:
            positive(clip_norm=self.clip_norm)
        elif self.noise.protects:
            raise InvalidInputError(
                f"Noise {self.noise.value!r} needs a clip norm: without one no noise bounds "
                "a patient's influence. Give clip_norm."
            )
        if self.noise == NoiseKind.ARTICLE:
            positive(epsilon=math.nan if self.epsilon is None else self.epsilon)
        if self.smallest_sum is not None:
            natural(smallest_sum=self.smallest_sum, least=1)
            if self.smallest_sum > len(self.hospitals):
                raise InvalidInputError(
                    f"Expected smallest_sum={self.smallest_sum} at most the number of hospitals "
                    f"({len(self.hospitals)}): no sum could be opened."
                )
        if self.noise == NoiseKind.SHARED:
            natural(
                colluders=self.colluders,
                least=1,
                hint="A hospital knows its own share and sees every opened sum.",
            )
            if self.honest_shares < 1:
                raise InvalidInputError(
                    f"Expected colluders={self.colluders} below the number of hospitals in the "
                    f"smallest sum ({self.honest_shares + self.colluders}): no honest share would "
                    "be left."
                )
        if self.local_steps > 1 and self.unit == Unit.PATIENT and self.noise == NoiseKind.SHARED:
            raise InvalidInputError(
                "Shared noise covers one-step uploads only: after the first local step one patient "
                "changes every other's gradient. Use noise='local' (full noise at each step) or "
                "unit='hospital'."
            )
        for prob in self.sampling_probs:
            fraction(sampling_prob=prob, hint="Lower sampling_size below every declared size.")

    @property
    def sampling_probs(self) -> tuple[float, ...]:
        """Probability with which each hospital draws each of its patients in a round."""
        if self.pass_rounds is not None:
            return (1 / self.pass_rounds,) * len(self.hospitals)
        if self.sampling_size is None:
            return (1.0,) * len(self.hospitals)
        return tuple(self.sampling_size / n for n in self.declared_sizes)

    @property
    def draws_patients(self) -> bool:
        """Whether a round holds a random part of the patients; else all of them, in every round."""
        return self.sampling_size is not None or self.pass_rounds is not None

    @property
    def step(self) -> float:
        """What one integer step means, in units of the parameters."""
        return (self.clip_norm or 1.0) / self.radius

    @property
    def used_rule(self) -> Rule:
        """The rule, the default one included."""
        if self.rule is not None:
            return self.rule
        return FedAvg() if self.unit == Unit.HOSPITAL else FedSGD()

    @property
    def update_dim(self) -> int:
        """Coordinates of an update: the model's, and what the rule sends beyond them."""
        return self.model.dim + self.used_rule.contract.extra

    def is_alone(self, scalar: SlotGroup) -> bool:
        """Whether a scalar is opened hospital by hospital."""
        return scalar.name in self.used_rule.contract.alone

    def slots_of(self, scalar: SlotGroup) -> int:
        """Return how many slots a scalar takes."""
        return len(self.hospitals) if self.is_alone(scalar) else 1

    def shares_of(self, scalar: SlotGroup) -> int:
        """Return how many honest shares make up a scalar's noise."""
        return 1 if self.is_alone(scalar) else self.noise_shares

    @property
    def dim(self) -> int:
        """Coordinates of what is sealed: the update's, and the scalars' slots."""
        return self.update_dim + sum(self.slots_of(scalar) for scalar in self.scalars)

    @property
    def honest_shares(self) -> int:
        """Shares of noise in the smallest sum that the adversary does not know."""
        return (self.smallest_sum or len(self.hospitals)) - self.colluders

    @property
    def noise_shares(self) -> int:
        """Honest shares that make up all of a noise; 1 where each hospital adds all of it."""
        return self.honest_shares if self.noise == NoiseKind.SHARED else 1

    def radius_of(self, weight: float) -> int:
        """Return what ``radius`` becomes under a weight before the noise: rounded down, at least 1.

        A patient then moves the upload by at most so many integer steps, exactly.
        """
        return max(1, math.floor(weight * self.radius))

    def applied_weight(self, weight: float) -> float:
        """Return what a weight becomes in whole steps: ``radius_of`` it over ``radius``."""
        return self.radius_of(weight) / self.radius

    def applied_radius(self, weight: float) -> int:
        """Return the radius that an applied weight, as an update signs it, stands for."""
        return max(1, round(weight * self.radius))  # k / radius times radius may lie below k

    @property
    def share_std(self) -> float:
        """Standard deviation of what one hospital adds to its update, in integer steps."""
        std = self.noise_multiplier * self.radius
        return std / math.sqrt(self.noise_shares) if self.noise.protects else 0.0

    @property
    def local_noises(self) -> int:
        """How often a hospital adds its noise in a round."""
        return 1 if self.unit == Unit.HOSPITAL else self.local_steps

    @cached_property
    def batch_sizes(self) -> tuple[float, ...]:
        """Expected patients of each hospital in one step."""
        return tuple(q * n for q, n in zip(self.sampling_probs, self.declared_sizes, strict=True))

    @property
    def normaliser(self) -> float:
        """Expected number of units in a round's sum: what the server divides by."""
        return float(len(self.hospitals) if self.unit == Unit.HOSPITAL else sum(self.batch_sizes))

    def advance(
        self, params: Float[np.ndarray, "dim"], opened_sum: Int[np.ndarray, "slots"]
    ) -> Float[np.ndarray, "dim"]:
        r"""Return the next model of the default rule: :math:`w - \eta\, s\, S / n`.

        ``S`` is the opened integer sum (of the update alone, whatever scalars follow), ``s`` is
        ``step`` and ``n`` is ``normaliser``. Rules with a state are followed by a ``Trajectory``.
        """
        return np.asarray(params + self._moved(opened_sum[: self.model.dim]))

    def _moved(self, update: Int[np.ndarray, "update"]) -> Float[np.ndarray, "update"]:
        return np.asarray(-self.learning_rate * self.step / self.normaliser * update)

    def read(self, opened_sum: Int[np.ndarray, "slots"], arrivals: tuple[Arrival, ...]) -> Opened:
        """Return an opened sum as rules take it.

        Args:
          opened_sum: Update and scalars, integers.
          arrivals: Whose uploads it holds.
        """
        update = opened_sum[: self.update_dim]
        return Opened(
            total=self.step * update,
            moved=self._moved(update),
            rate=self.learning_rate,
            steps=self.local_steps,
            arrivals=arrivals,
            alone={
                scalar.name: values * scalar.step
                for scalar, values in self._scalar_slots(opened_sum)
                if self.is_alone(scalar)
            },
        )

    def _scalar_slots(
        self, opened_sum: Int[np.ndarray, "slots"]
    ) -> list[tuple[SlotGroup, Int[np.ndarray, "_"]]]:
        scalar_slots, start = [], self.update_dim
        for scalar in self.scalars:
            scalar_slots.append((scalar, opened_sum[start : start + self.slots_of(scalar)]))
            start += self.slots_of(scalar)
        return scalar_slots

    def first_model(self) -> Float[np.ndarray, "dim"]:
        """Return the model of round 0, which follows from the committed seed."""
        return self.model.initial(np.random.default_rng(self.model_seed))

    def final_model(self, models: Sequence[Float[np.ndarray, "dim"]]) -> Float[np.ndarray, "dim"]:
        """Return what the run hands out, from all models in order (the first included)."""
        return np.asarray(np.mean(models[-self.average_last :], axis=0))

    def to_bytes(self) -> bytes:
        """Return the plan as JSON with sorted keys; what is optional only where it is given."""
        content = dataclasses.asdict(dataclasses.replace(self, rule=None))
        content["model"] = self.model.spec
        for name in ("rule", "sealing", "roster", "pass_rounds", "correlated"):
            if content[name] is None:
                del content[name]
        if self.patient_hospitals == 1:  # plans that say nothing of it keep their digests
            del content["patient_hospitals"]
        if self.rule is not None:
            content["rule"] = self.rule.spec
        return json.dumps(content, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Plan":
        """Read what ``to_bytes`` wrote.

        Raises:
          CorruptMessageError: The bytes are not a plan.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            parse_json(content, what="A plan", most=_LARGEST)  # one meaning, and not too deep
            return TypeAdapter(cls).validate_json(content, strict=True)
        except (CorruptMessageError, InvalidInputError, RefusedError, ValidationError) as error:
            raise CorruptMessageError(f"These bytes are not a plan: {_told(error)}") from error

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the plan, in hex: what signatures and ledgers name."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def _told(error: Exception) -> str:
    """What is wrong with foreign bytes, without repeating them."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return printable(str(error))[:500]
    first = error.errors(include_input=False, include_url=False)[0]
    return printable(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")[:500]
