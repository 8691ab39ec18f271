"""A federation in one process: the same roles as between machines, and every message kept.

>>> outcome = Federation.simulated(plan, patients, seed=0).run()       # doctest: +SKIP
>>> observe(outcome.transcript, "server_sealed")                       # doctest: +SKIP
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from aggregation.agreement import Agreement
from aggregation.data.patients import Patients
from aggregation.engines.in_process import Delays, InProcess
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.roles import Role
from aggregation.roles.aggregator import Aggregator
from aggregation.roles.evidence import Judge
from aggregation.roles.hospital import Hospital
from aggregation.roles.messages import AGGREGATOR, OPENER, Message, MessageKind, holder_address
from aggregation.roles.opener import HolderRole, OpenerRole
from aggregation.roles.opening import ByHolders, ByOpener
from aggregation.rules import Local, Rule
from aggregation.run_folder import KeptScheme, RunFolder
from aggregation.sealing import KeyScheme, OpeningLog, Policy, Roster, Scheme
from aggregation.sealing.holders import QuorumScheme
from aggregation.sized import sealing_for, wrap_probability_of
from aggregation.standing import StandingLedgers
from aggregation.timing import Schedule
from aggregation.transcript import Transcript
from privacy.errors import InvalidInputError, RefusedError
from privacy.ledger import Budget, Ledger, Manifest, SigningKey, close, save_trust
from privacy.mechanisms import NoiseSource, OperatingSystem, Seeded

__all__ = ["Federation", "Outcome"]


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
      local: What the rule fitted at each hospital around the final model; known to it alone.
    """

    params: Float[np.ndarray, "dim"]
    models: Float[np.ndarray, "versions dim"]
    opened: Int[np.ndarray, "rounds slots"]
    transcript: Transcript
    ledgers: Mapping[str, Ledger]
    drawn: Mapping[str, Mapping[int, tuple[Patients, ...]]]
    sent: Mapping[str, Mapping[int, Int[np.ndarray, "sent"]]]
    local: Mapping[str, Local]


class Federation:
    """Hospitals, an aggregator that can't open, and whoever opens sums and nothing else.

    Guarantees (each is a test in ``tests/aggregation/test_federation.py``):
      - the same plan, patients and seed give the same transcript of models and opened sums, bit for
        bit, whichever scheme seals;
      - every byte that a hospital sends is the sealed form of a release in its ledger;
      - ``real`` draws all noise and all samples from the operating system, keeps durable ledgers,
        and accepts no plan that would show a share of noise in clear;
      - a real run that died is taken up by the same parties from what each of them kept: nothing is
        spent, noised or opened twice, and what is sent again is sent as the same bytes
        (``tests/aggregation/test_resumed.py``).
    """

    def __init__(
        self,
        agreement: Agreement,
        hospitals: Mapping[str, Hospital],
        scheme: Scheme | KeptScheme,
        policy: Policy,
        judge: Judge,
        opener: SigningKey,
        folder: RunFolder | None = None,
    ) -> None:
        self.plan = plan = agreement.plan
        self._timing = agreement.timing
        self._hospitals = hospitals
        self._keys: dict[str, SigningKey] = {}
        self._receivers: dict[str, SigningKey] = {}
        self._scheme = scheme
        self._progress: Callable[[int], None] = lambda _: None
        self._folder = folder
        self._carried = None if folder is None else folder.carried()
        opening: ByHolders | ByOpener = ByOpener(judge)
        openers: dict[str, Role] = {}
        if judge.scheme is not None and isinstance(scheme, QuorumScheme | KeptScheme):
            opening = ByHolders(judge)
            for name, holder in scheme.holders(policy).items():
                if name in hospitals:  # what its own hospital counter-signed in earlier runs
                    holder.policy.log.take_heads(hospitals[name].ledger.witnessed.values())
                openers[holder_address(name)] = HolderRole(plan.run, holder)
        elif isinstance(scheme, KeyScheme | KeptScheme):
            for hospital in hospitals.values():
                policy.log.take_heads(hospital.ledger.witnessed.values())
            openers[OPENER] = OpenerRole(plan.run, scheme.opener(policy), opener)
        self._aggregator = Aggregator(plan, scheme.adder(), policy.roster, opening, agreement)
        transcript = None if self._carried is None else self._carried.transcript
        self._engine = InProcess(
            {AGGREGATOR: self._aggregator, **openers, **hospitals},
            delays=Delays(self._timing) if isinstance(self._timing, Schedule) else None,
            watch=self._watch,
            transcript=transcript,
            begin=(0, 0.0) if self._carried is None else self._carried.take_up(self._aggregator),
        )

    @property
    def transcript(self) -> Transcript:
        """Every message that passed so far."""
        return self._engine.transcript

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds spent in each role so far, by its address."""
        return self._engine.seconds

    @classmethod
    def simulated(
        cls,
        plan: Plan,
        patients: Mapping[str, Patients],
        *,
        seed: int | tuple[int, ...],
        target_epsilon: float = math.inf,
        rule: Rule | None = None,
        schedule: Schedule | None = None,
    ) -> "Federation":
        """Assemble a federation for an experiment: seeded noise, ledgers in memory.

        Args:
          plan: What to run.
          patients: Patients by hospital, in the plan's order.
          seed: The experiment's seed; each hospital draws from a stream of its own.
          target_epsilon: Budget of each hospital.
          rule: Takes the place of the plan's; None: the plan's own.
          schedule: Of hospitals at their own pace, made with ``waits=True``; the plan's
            ``smallest_sum`` is then the trigger's distinct hospitals, and its rounds don't count.
            All uploads are declared and checked against the budget before the first, but those of
            a rule whose weights follow the run: each of these is asked for as it comes. None:
            synchronous rounds.

        Raises:
          RefusedError: The rule's contract forbids the plan's design.
          InvalidInputError: A plan or schedule that the rule does not cover.
        """
        agreement = Agreement.of(plan if rule is None else replace(plan, rule=rule), schedule)
        plan = agreement.plan
        parts = (seed,) if isinstance(seed, int) else seed
        keys = {name: SigningKey.generate() for name in plan.hospitals}

        def source(name: str) -> NoiseSource:
            return Seeded((*parts, plan.hospitals.index(name)))

        def ledger(name: str) -> Ledger:
            budget = Budget(epsilon=target_epsilon, delta=plan.delta, unit=plan.unit)
            return Ledger.in_memory(hospital=name, budget=budget, key=keys[name])

        log = OpeningLog()
        return cls._assemble(agreement, patients, keys, ledger, source, log)

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
        rule: Rule | None = None,
        schedule: Schedule | None = None,
        detects: bool = False,
        resume: bool = False,
    ) -> "Federation":
        """Assemble a federation that protects patients: system randomness, durable ledgers.

        Writes ``ledgers/<hospital>.jsonl``, ``keys/`` (private, owner only), ``trust.json`` (the
        public keys) and ``openings.jsonl`` into ``out``; ``save`` adds what was sent. ``context``
        stands in each ledger beside the plan, for the auditor: the code's ``commit``, say. With
        ``ledgers``, ledgers and keys are taken from that folder (``StandingLedgers``), where an
        earlier run may have left them: budgets are for patients, not for runs, and those that stand
        there count, not ``target_epsilon``. No two runs of one folder may have the same plan.
        ``rule`` and ``schedule`` are as for ``simulated``. With ``detects``, under ``shares``, so
        many holders answer for each piece that a lie of ``colluders`` of them is always seen, and
        no sum is opened where fewer answer (``Judge``).

        What each party needs to go on after a crash is kept in ``out/kept`` (``RunFolder``) until
        ``save``. With ``resume``, and the same arguments otherwise, the run that died in ``out`` is
        taken up. It knows no more whom it had drawn before.

        Raises:
          RefusedError: The plan shows noise shares in clear, has noise that protects nobody, or a
            rule whose contract forbids its design.
          BudgetExceededError: The plan's total passes ``target_epsilon`` at some hospital.
          InvalidInputError: ``out`` holds a run already; or, with ``resume``, none, or another.
        """
        agreement = Agreement.of(plan if rule is None else replace(plan, rule=rule), schedule)
        plan = agreement.plan
        if not plan.noise.protects:
            raise RefusedError(
                f"A real run needs noise that protects; the plan has {plan.noise.value!r}. "
                "Choose local or shared."
            )
        if plan.noise == NoiseKind.SHARED and plan.scheme == "plain":
            raise RefusedError(
                "Shared noise protects sums only, and the scheme 'plain' shows every update. "
                "Choose bfv, shares or threshold."
            )
        folder = RunFolder(out / "kept", resume=resume)
        if not resume and ledgers is None and (out / "ledgers").exists():
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
                budget=Budget(epsilon=target_epsilon, delta=plan.delta, unit=plan.unit),
                enrolled=public,
            )

        log = OpeningLog(out / "openings.jsonl")
        source = OperatingSystem()
        try:
            return cls._assemble(
                agreement, patients, keys, ledger, lambda _: source, log, receivers,
                context=context, detects=detects, folder=folder,
            )  # fmt: skip
        except BaseException:
            folder.close()  # it can be taken up in this process, with other arguments
            raise

    @classmethod
    def _assemble(
        cls,
        agreement: Agreement,
        patients: Mapping[str, Patients],
        keys: Mapping[str, SigningKey],
        ledger: Callable[[str], Ledger],
        source: Callable[[str], NoiseSource],
        log: OpeningLog,
        receivers: Mapping[str, SigningKey] | None = None,
        context: Mapping[str, str] | None = None,
        detects: bool = False,
        folder: RunFolder | None = None,
    ) -> "Federation":
        plan = agreement.plan
        if tuple(patients) != plan.hospitals:
            raise InvalidInputError(
                f"Expected patients of {plan.hospitals}, in that order; got {tuple(patients)}."
            )
        scheme: Scheme | KeptScheme
        if folder is None:
            scheme, opener = sealing_for(plan, agreement.timing), SigningKey.generate()
        else:
            scheme, opener = folder.parties(agreement, keys, detects=detects)
        public = {name: key.public for name, key in keys.items()}
        roster = Roster(plan.run, public, opener=opener.public)
        if folder is not None:
            plan = replace(plan, sealing=scheme.parameters.digest, roster=roster.digest)
            agreement = replace(agreement, plan=plan)
            folder.require(agreement)
        least = agreement.least
        kind = type(scheme) if isinstance(scheme, QuorumScheme) else None
        kind = scheme.quorum if isinstance(scheme, KeptScheme) else kind
        judge = Judge(roster, scheme.parameters, scheme=kind, least=least, detects=detects)
        hospitals = {
            name: Hospital(
                name,
                patients[name],
                plan=plan,
                sealer=scheme.sealer(name),
                judge=judge,
                ledger=ledger(name),
                key=keys[name],
                source=source(name),
                agreement=agreement,
                context=context,
                kept=None if folder is None else folder.kept(name),
            )
            for name in plan.hospitals
        }
        policy = Policy(
            roster,
            min_honest=least - plan.colluders,
            c_assumed=plan.colluders,
            log=log,
            require_ledger_head=True,
        )
        federation = cls(agreement, hospitals, scheme, policy, judge, opener, folder)
        federation._keys, federation._receivers = dict(keys), dict(receivers or {})
        return federation

    def join(self) -> None:
        """Enter the plan into every ledger before the run, as several runs of one budget do.

        What is declared before the first release costs less (``privacy.ledger.filter``).
        """
        for hospital in self._hospitals.values():
            hospital.join()

    def admit(self, patients: Mapping[str, Patients]) -> None:
        """Have each hospital work on these patients from here on (``Hospital.admit``)."""
        for name, hospital in self._hospitals.items():
            hospital.admit(patients[name])

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
        params = self.plan.final_model(aggregator.models)
        return Outcome(
            params,
            np.stack(aggregator.models),
            sums.reshape(len(aggregator.opened), self._scheme.parameters.dim),
            self.transcript,
            ledgers,
            {name: hospital.drawn for name, hospital in hospitals.items()},
            {name: hospital.sent for name, hospital in hospitals.items()},
            {name: hospital.finish(params) for name, hospital in hospitals.items()},
        )

    def close(self) -> None:
        """Let another process take a real run up; one that died has let it go."""
        if self._folder is not None:
            self._folder.close()

    def _watch(self, message: Message) -> None:
        if self._carried is not None:
            self._carried.add(message)
        last = message.receiver == self.plan.hospitals[-1]
        if message.kind is MessageKind.OPENED and last:
            self._progress(message.round + 1)

    def ledger(self, hospital: str) -> Ledger:
        """The ledger of one hospital."""
        return self._hospitals[hospital].ledger

    def save(self, out: Path) -> None:
        """Write ``transcript/`` and ``manifest.json`` (what left each hospital) into ``out``.

        What was kept for a restart is deleted then: box keys are of no use but to an adversary.
        """
        self.transcript.save(out / "transcript")
        manifest = Manifest.of(self.plan.run, self.transcript, self._keys, self._receivers)
        manifest.save(out / "manifest.json")
        self.close()
        if self._folder is not None:
            self._folder.delete()

    def wrap_probability(self) -> float:
        """Upper bound on the chance that any opened sum of the run wraps."""
        return wrap_probability_of(self.plan, self._scheme.parameters, self._timing)
