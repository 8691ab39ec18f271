"""A federation in one process: the same roles as between machines, and every message kept.

>>> outcome = Federation.simulated(plan, patients, seed=0).run()       # doctest: +SKIP
>>> observe(outcome.transcript, "server_sealed")                       # doctest: +SKIP
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Int

from aggregation.arrival.schedule import Schedule
from aggregation.course import Course, Rounds
from aggregation.engines.in_process import Delays, InProcess
from aggregation.patients import Patients
from aggregation.plan import Plan
from aggregation.roles import Role
from aggregation.roles.aggregator import Aggregator
from aggregation.roles.hospital import Hospital
from aggregation.roles.messages import AGGREGATOR, OPENER, Message, MessageKind, holder_address
from aggregation.roles.opener import HolderRole, OpenerRole
from aggregation.roles.opening import ByHolders
from aggregation.sealing import (
    OpeningLog,
    Policy,
    Roster,
    Scheme,
    largest_sum,
    make_scheme,
    wrap_probability,
)
from aggregation.sealing.holders import QuorumScheme
from aggregation.standing import StandingLedgers
from aggregation.transcript import Transcript
from privacy.errors import InvalidInputError, RefusedError
from privacy.ledger import Budget, Ledger, Manifest, SigningKey, close, save_trust
from privacy.ledger.requests import Unit
from privacy.mechanisms import NoiseSource, OperatingSystem, Seeded

__all__ = ["Asynchronous", "Federation", "Outcome", "sealing_for", "wrap_probability_of"]

_WRAP_PROBABILITY = 1e-6  # of a run
_PLAIN_BOUND = 2**61 - 1  # what is not clipped has no bound; the widest modulus is taken


@dataclass(frozen=True)
class Outcome:
    """What a run leaves.

    Attributes:
      params: The final model.
      models: All models, the first included; float64 ``[rounds + 1, dim]``.
      opened: The opened sums, integers; int64 ``[rounds, slots]``.
      transcript: Every message that crossed a wall.
      ledgers: Each hospital's.
      drawn: Whose patients were drawn, by hospital and round: the truth, for scoring alone.
      sent: What each hospital sealed, by hospital and round: known to itself, and to those whom it
        colludes with.
    """

    params: Float[np.ndarray, "dim"]
    models: Float[np.ndarray, "versions dim"]
    opened: Int[np.ndarray, "rounds slots"]
    transcript: Transcript
    ledgers: Mapping[str, Ledger]
    drawn: Mapping[str, Mapping[int, tuple[Patients, ...]]]
    sent: Mapping[str, Mapping[int, Int[np.ndarray, "dim"]]]


@dataclass(frozen=True)
class Asynchronous:
    """What is agreed on beside the plan where hospitals work at their own pace.

    Attributes:
      course: Makes a fresh course, one for each party.
      schedule: What is opened together.
      scheme: Sized for what the schedule opens.
    """

    course: Callable[[], Course]
    schedule: Schedule
    scheme: Scheme


class Federation:
    """Hospitals, an aggregator that can't open, and whoever opens sums and nothing else.

    Guarantees (each is a test in ``tests/aggregation/test_federation.py``):
      - the same plan, patients and seed give the same transcript of models and opened sums, bit for
        bit, whichever scheme seals;
      - every byte that a hospital sends is the sealed form of a release in its ledger;
      - ``real`` draws all noise and all samples from the operating system, keeps durable ledgers,
        and accepts no plan that would show a share of noise in clear.
    """

    def __init__(
        self,
        plan: Plan,
        hospitals: Mapping[str, Hospital],
        scheme: Scheme,
        policy: Policy,
        paced: "Asynchronous | None" = None,
    ) -> None:
        self.plan = plan
        self._hospitals = hospitals
        self._keys: dict[str, SigningKey] = {}
        self._receivers: dict[str, SigningKey] = {}
        self._scheme = scheme
        self._progress: Callable[[int], None] = lambda _: None
        course = Rounds(plan) if paced is None else paced.course()
        opening: ByHolders | None = None
        openers: dict[str, Role] = {}
        if isinstance(scheme, QuorumScheme):
            opening = ByHolders(plan.run, type(scheme), scheme.parameters)
            for name, holder in scheme.holders(policy).items():
                openers[holder_address(name)] = HolderRole(plan.run, holder)
        else:
            openers[OPENER] = OpenerRole(plan.run, scheme.opener(policy))
        self._aggregator = Aggregator(plan, scheme.adder(), course, opening)
        self._engine = InProcess(
            {AGGREGATOR: self._aggregator, **openers, **hospitals},
            delays=None if paced is None else Delays(paced.schedule),
            watch=self._watch,
        )

    @property
    def transcript(self) -> Transcript:
        """Every message that passed so far."""
        return self._engine.transcript

    @classmethod
    def simulated(
        cls,
        plan: Plan,
        patients: Mapping[str, Patients],
        *,
        seed: int | tuple[int, ...],
        target_epsilon: float = math.inf,
        paced: Asynchronous | None = None,
    ) -> "Federation":
        """Assemble a federation for an experiment: seeded noise, ledgers in memory.

        Args:
          plan: What to run.
          patients: Patients by hospital, in the plan's order.
          seed: The experiment's seed; each hospital draws from a stream of its own.
          target_epsilon: Budget of each hospital.
          paced: Of a run along a schedule; None: synchronous rounds.
        """
        parts = (seed,) if isinstance(seed, int) else seed
        keys = {name: SigningKey.generate() for name in plan.hospitals}

        def source(name: str) -> NoiseSource:
            return Seeded((*parts, plan.hospitals.index(name)))

        def ledger(name: str) -> Ledger:
            budget = Budget(epsilon=target_epsilon, delta=plan.delta, unit=cast(Unit, plan.unit))
            return Ledger.in_memory(hospital=name, budget=budget, key=keys[name])

        log = OpeningLog()
        return cls._assemble(plan, patients, keys, ledger, source, log, paced=paced)

    @classmethod
    def real(
        cls,
        plan: Plan,
        patients: Mapping[str, Patients],
        *,
        out: Path,
        target_epsilon: float,
        context: Mapping[str, str] | None = None,
        ledgers: Path | None = None,
    ) -> "Federation":
        """Assemble a federation that protects patients: system randomness, durable ledgers.

        Writes ``ledgers/<hospital>.jsonl``, ``keys/`` (private, owner only), ``trust.json`` (the
        public keys) and ``openings.jsonl`` into ``out``; ``save`` adds what was sent. ``context``
        stands in each ledger beside the plan, for the auditor: the code's ``commit``, say. With
        ``ledgers``, ledgers and keys are taken from that folder (``StandingLedgers``), where an
        earlier run may have left them: budgets are for patients, not for runs, and those that stand
        there count, not ``target_epsilon``. No two runs of one folder may have the same plan.

        Raises:
          RefusedError: The plan shows noise shares in clear, or has noise that protects nobody.
          BudgetExceededError: The plan's total passes ``target_epsilon`` at some hospital.
          InvalidInputError: ``out`` holds ledgers already.
        """
        if plan.noise not in ("local", "shared"):
            raise RefusedError(
                f"A real run needs noise that protects; the plan has {plan.noise!r}. Choose local "
                "or shared."
            )
        if plan.noise == "shared" and plan.scheme == "plain":
            raise RefusedError(
                "Shared noise protects sums only, and the scheme 'plain' shows every update. "
                "Choose bfv, shares or threshold."
            )
        if ledgers is None and (out / "ledgers").exists():
            raise InvalidInputError(
                f"{out} holds the ledgers of an earlier run, and ledgers are never overwritten. "
                "Choose another folder with --out."
            )
        home = StandingLedgers(ledgers or out)
        keys = {name: home.key(name) for name in plan.hospitals}
        public = {name: key.public for name, key in keys.items()}
        receivers = {AGGREGATOR: home.key(AGGREGATOR)}
        signing = {name: key.public for name, key in receivers.items()}
        save_trust(out / "trust.json", public, signing)

        def ledger(name: str) -> Ledger:
            return home.ledger(
                name,
                key=keys[name],
                budget=Budget(epsilon=target_epsilon, delta=plan.delta, unit=cast(Unit, plan.unit)),
                enrolled=public,
            )

        log = OpeningLog(out / "openings.jsonl")
        source = OperatingSystem()
        return cls._assemble(
            plan, patients, keys, ledger, lambda _: source, log, receivers, context=context
        )

    @classmethod
    def _assemble(
        cls,
        plan: Plan,
        patients: Mapping[str, Patients],
        keys: Mapping[str, SigningKey],
        ledger: Callable[[str], Ledger],
        source: Callable[[str], NoiseSource],
        log: OpeningLog,
        receivers: Mapping[str, SigningKey] | None = None,
        paced: Asynchronous | None = None,
        context: Mapping[str, str] | None = None,
    ) -> "Federation":
        if tuple(patients) != plan.hospitals:
            raise InvalidInputError(
                f"Expected patients of {plan.hospitals}, in that order; got {tuple(patients)}."
            )
        scheme = sealing_for(plan) if paced is None else paced.scheme
        hospitals = {
            name: Hospital(
                name,
                patients[name],
                plan=plan,
                sealer=scheme.sealer(name),
                ledger=ledger(name),
                key=keys[name],
                source=source(name),
                course=None if paced is None else paced.course(),
                context=context,
            )
            for name in plan.hospitals
        }
        smallest = plan.smallest_sum or len(plan.hospitals)
        policy = Policy(
            Roster(plan.run, {name: key.public for name, key in keys.items()}),
            min_honest=(len(plan.hospitals) if paced is None else smallest) - plan.colluders,
            c_assumed=plan.colluders,
            log=log,
            require_ledger_head=True,
        )
        federation = cls(plan, hospitals, scheme, policy, paced)
        federation._keys, federation._receivers = dict(keys), dict(receivers or {})
        return federation

    def run(self, progress: Callable[[int], None] = lambda _: None) -> Outcome:
        """Run all rounds; ``progress`` is called with the number of rounds done.

        Durable ledgers end with a checkpoint that all other hospitals counter-sign.

        Raises:
          RefusedError: A party refuses, or the run stopped short of its last sum.
        """
        self._progress = progress
        self._engine.run()
        aggregator, hospitals = self._aggregator, self._hospitals
        if aggregator.waits:
            raise RefusedError(
                f"The run stopped in round {aggregator.round}: nobody has anything more to say, "
                "and its sum was not opened. Some party is lost; the spent stays spent."
            )
        ledgers = {name: hospital.ledger for name, hospital in hospitals.items()}
        if all(ledger.durable for ledger in ledgers.values()):
            close(list(ledgers.values()))
        sums = np.array(aggregator.opened, dtype=np.int64)
        return Outcome(
            self.plan.final_model(aggregator.models),
            np.stack(aggregator.models),
            sums.reshape(len(aggregator.opened), self._scheme.parameters.dim),
            self.transcript,
            ledgers,
            {name: hospital.drawn for name, hospital in hospitals.items()},
            {name: hospital.sent for name, hospital in hospitals.items()},
        )

    def _watch(self, message: Message) -> None:
        last = message.receiver == self.plan.hospitals[-1]
        if message.kind is MessageKind.OPENED and last:
            self._progress(message.round + 1)

    def ledger(self, hospital: str) -> Ledger:
        """The ledger of one hospital."""
        return self._hospitals[hospital].ledger

    def save(self, out: Path) -> None:
        """Write ``transcript/`` and ``manifest.json`` (what left each hospital) into ``out``."""
        self.transcript.save(out / "transcript")
        manifest = Manifest.of(self.plan.run, self.transcript, self._keys, self._receivers)
        manifest.save(out / "manifest.json")

    def wrap_probability(self) -> float:
        """Upper bound on the chance that any opened sum of the run wraps."""
        return wrap_probability_of(self.plan, self._scheme)


def sealing_for(plan: Plan) -> Scheme:
    """Make the plan's sealing scheme, sized from public quantities alone."""
    if plan.clip_norm is None:
        bound = _PLAIN_BOUND
    else:
        parts = _parts(plan)
        chance = _WRAP_PROBABILITY / len(parts)
        bound = max(
            largest_sum(rounds=plan.rounds, wrap_probability=chance, **asdict(part))
            for part in parts
        )
    options: dict[str, Any] = {}
    if plan.scheme in ("shares", "threshold"):
        options = _quorum(plan.hospitals, plan.colluders)
    if plan.scheme == "threshold":
        options["openings"] = plan.rounds
    return make_scheme(
        plan.scheme, dim=plan.dim, contributors=len(plan.hospitals), bound=bound, **options
    )


def wrap_probability_of(plan: Plan, scheme: Scheme) -> float:
    """Upper bound on the chance that any opened sum of a plan wraps under a scheme."""
    if plan.clip_norm is None:
        return 0.0
    return sum(
        wrap_probability(scheme.parameters, rounds=plan.rounds, **asdict(part))
        for part in _parts(plan)
    )


def _quorum(hospitals: tuple[str, ...], colluders: int) -> dict[str, Any]:
    """Hospitals as holders: as few as let one be lost, and none trusts anybody but most of them."""
    holders = hospitals[: colluders + 3]
    threshold = (len(holders) + colluders) // 2 + 1
    return {"holders": holders, "threshold": threshold, "corrupt": colluders}


@dataclass(frozen=True)
class _Part:
    """What bounds some coordinates of an opened sum (``largest_sum``)."""

    radius: int
    units: tuple[int, ...]
    noise_variance: float
    dim: int


def _parts(plan: Plan) -> list[_Part]:
    """The update and each scalar; units are bounded rows: patients at every local step, or one."""
    shares, whole = len(plan.hospitals), plan.unit == "hospital"
    ones = (1,) * shares
    units = ones if whole else tuple(n * plan.local_steps for n in plan.declared_sizes)
    variance = shares * plan.share_std**2 * plan.local_noises
    update = _Part(plan.radius, units, variance, plan.model.dim)
    once = ones if whole else plan.declared_sizes
    return [update] + [
        _Part(s.radius, once, shares * s.share_std(plan.noise_shares) ** 2, 1) for s in plan.scalars
    ]
