"""A hospital: the only place where patients are read, and the gate that every release passes.

    accept the model -> spend -> draw, clip, round, sum, noise -> seal -> attach -> sign -> send

The ledger entry is durable before a patient's record is read; the sealed bytes are kept beside it,
so that after a crash the same bytes go out and never a second noise. A spend whose bytes were lost
is completed once, under the same entry, for nothing had left; lost again, it is forfeited.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from dp_accounting import DpEvent
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.agreement import Agreement, Trajectory
from aggregation.data.patients import Patients
from aggregation.plan import Plan
from aggregation.releases import declare, overseen, releases, schedule
from aggregation.roles.draws import Draws
from aggregation.roles.evidence import Judge
from aggregation.roles.kept import Kept, read_state, write_state
from aggregation.roles.messages import (
    AGGREGATOR,
    Message,
    MessageKind,
    Timer,
    pack,
    read_model,
    unpack,
)
from aggregation.roles.round_releases import RoundReleases
from aggregation.roles.witnessed import WitnessedLedger
from aggregation.rules import Local
from aggregation.rules.rule import State
from aggregation.sealing import Contribution, Sealer
from aggregation.sealing.proposal import Place, Proposal
from aggregation.update import local_update, noised_scalars
from privacy.errors import InvalidInputError, RefusedError
from privacy.ledger import Ledger, Release, SigningKey
from privacy.ledger.log.canonical import digest
from privacy.ledger.requests import ReleaseSchedule
from privacy.mechanisms import NoiseSource

__all__ = ["Hospital"]


class Hospital:
    """One hospital of a run.

    Guarantees (each is a test in ``tests/aggregation/roles/test_hospital.py``):
      - nothing is computed from a patient before its release is in the ledger, durably;
      - a refused release reads no patient and sends nothing;
      - nothing is sealed under keys that the plan does not name;
      - only a model that follows from the committed seed and the opened sums is trained on: any
        other is refused, whoever else was sent the same;
      - a sum is learnt from only if those who opened it signed it, at this place of the run's
        chain, and their answers give it: whoever relays it is not believed;
      - one update a model, and never one of the future: asked again for the last, it sends the same
        bytes; for an older one, or one that was not opened yet, none;
      - made anew on the same ledger and the same folder, it goes on where it stopped: nothing is
        spent, noised or learnt twice, and nothing is refunded
        (``tests/aggregation/roles/test_restart.py``);
      - made anew, it releases nothing from an old copy of its ledger (``WitnessedLedger``);
      - what a rule keeps at the hospital (memory, controls) never leaves, and a lost upload leaves
        it as it was: it is renewed once a sum that holds the upload was opened.

    Args:
      name: As in the plan.
      patients: The hospital's patients; at most the declared number.
      plan: What all parties agreed on; ``join`` enters it into the ledger.
      sealer: Seals updates; holds public material only.
      judge: Decides which sums were opened.
      ledger: The hospital's own ledger, with its budget.
      key: Signs contributions.
      source: Where noise and samples come from. In a real run the operating system.
      agreement: Which uploads are opened together and what each costs; None: the plan in
        synchronous rounds.
      context: Plain facts about the run for the auditor, beside its declaration: the code, say.
      kept: Where what is sent and learnt is kept, and found again after a restart; None: what was
        spent and not sent is then forfeited, and sums have to be told anew.

    Raises:
      InvalidInputError: The hospital is not in the plan, has more patients than it declared, or
        features that are not the model's.
      RefusedError: The keys that were handed out are not those that the plan names; a run with a
        durable ledger has a plan that names them.
    """

    def __init__(
        self,
        name: str,
        patients: Patients,
        *,
        plan: Plan,
        sealer: Sealer,
        judge: Judge,
        ledger: Ledger,
        key: SigningKey,
        source: NoiseSource,
        agreement: Agreement | None = None,
        context: Mapping[str, str] | None = None,
        kept: Kept | None = None,
    ) -> None:
        if name not in plan.hospitals:
            raise InvalidInputError(f"Hospital {name!r} is not in the plan {plan.hospitals}.")
        self.name, self.plan, self.ledger = name, plan, ledger
        self.admit(patients)
        if sealer.parameters.digest != judge.parameters.digest:
            raise RefusedError(
                f"Hospital {name!r} was handed public keys to seal under "
                f"({sealer.parameters.digest[:12]}) that are not those of whoever opens "
                f"({judge.parameters.digest[:12]}). Take both from the plan again."
            )
        if ledger.durable or plan.sealing is not None:
            judge.require_named(plan)
        self._sealer, self._judge = sealer, judge
        self._place = Place(plan.digest)
        self._evidence: bytes | None = None  # of the sum that is awaited, not judged yet
        self._kept = kept
        self._learnt: dict[int, str] = {}  # digests of the sums, by round
        self._witnessed = WitnessedLedger(ledger, judge)
        self._waiting: Message | None = None  # what is answered once the ledger may release
        self._opened = -1  # version of the last own upload that is in an opened sum
        self._key = key
        self._source = source
        self._draws = Draws(plan, name, source, kept)
        # A model that this site has not approved is refused here, before a patient is read.
        self._context = {**plan.model.environment, **(context or {})}
        self._agreement = agreement or Agreement.of(plan)
        self._path = Trajectory(self._agreement)
        self._models = {0: self._path.params}  # those that may still be trained on
        self._rule = plan.used_rule
        self._state = self._rule.start(plan.update_dim)
        stateful = len(self._state) > 0
        self._releases = RoundReleases(ledger, plan.digest, kept, stateful=stateful)
        self._pending: State | None = None  # the state once the last upload is opened
        self._drawn: dict[int, tuple[Patients, ...]] = {}
        self._told: dict[int, NDArray[np.int64]] = {}
        if kept is not None:
            self._restore(kept)

    def admit(self, patients: Patients) -> None:
        """Work on these patients from here on; those of an evaluation are known late."""
        name, model = self.name, self.plan.model
        declared = self.plan.declared_sizes[self.plan.hospitals.index(name)]
        if patients.count > declared:
            raise InvalidInputError(
                f"Hospital {name!r} has {patients.count} patients but declared {declared}: the sum "
                "could leave the range that sealing was sized for. Declare at least as many."
            )
        if (features := patients.features.shape[1]) != model.features:
            raise InvalidInputError(
                f"Hospital {name!r} has {features} features, the model expects {model.features}."
            )
        self._patients = patients

    def join(self) -> None:
        """Enter the plan into the ledger: its total is checked against the budget once.

        Raises:
          BudgetExceededError: The run would pass the budget; nothing was read.
        """
        names = [name for name in overseen(self.plan, self.name) if self._agreement.uploads(name)]
        others = {name: self._schedule(name).digest for name in names}
        if self._agreement.uploads(self.name):
            declare(self.ledger, self._schedule(self.name), others)

    def _schedule(self, hospital: str) -> ReleaseSchedule:
        """What the plan has a hospital release."""
        uploads = self._agreement.uploads(hospital)
        counted_releases = [
            (self._asked(hospital, event, 0, 1.0), count) for event, count in uploads
        ]
        return schedule(self.plan, counted_releases, context=self._context)

    def handle(self, incoming: Message | Timer) -> tuple[Message, ...]:
        """Join at the plan, answer a model with an update, learn from an opened sum.

        With a ledger from a disk a model is answered with a question first (``WitnessedLedger``).

        Raises:
          RefusedError: As ``contribute`` and ``Judge.sum_of``; another plan, a sum out of its turn
            or without evidence, or a message that no hospital takes.
          BudgetExceededError: As ``join`` and ``contribute``.
          CorruptMessageError: A payload of another length.
        """
        if isinstance(incoming, Timer):
            return ()
        plan, round_ = self.plan, incoming.round
        if incoming.kind is MessageKind.PLAN:
            if incoming.payload != plan.to_bytes():
                raise RefusedError(f"{self.name} agreed to another plan than the one it was sent.")
            self.join()
            return ()
        if incoming.kind in (MessageKind.EVIDENCE, MessageKind.OPENED):
            self._hear(incoming)
            return ()
        if incoming.kind is MessageKind.WITNESSED:
            self._witnessed.take(incoming.payload)
            if self._waiting is None or not self._witnessed.open:
                return ()
            waiting, self._waiting = self._waiting, None
            return self.handle(waiting)
        if incoming.kind is not MessageKind.MODEL:
            raise RefusedError(f"A hospital takes no message of kind {incoming.kind.value!r}.")
        params = read_model(incoming.payload, plan.model.dim)
        said = self._releases.said
        if self._witnessed.open or (said is not None and said.round == round_):
            return (self._update(params, round_),)
        self._accept(params, round_)  # nothing is asked for the sake of a model that won't do
        question, self._waiting = self._witnessed.question(), incoming
        return (Message(self.name, AGGREGATOR, MessageKind.RETURNED, round_, b"",
                        question.to_json(), run=plan.run, nonce=question.nonce),)  # fmt: skip

    def contribute(self, params: Float[np.ndarray, "dim"], *, round_: int) -> Contribution:
        """Return the hospital's signed, sealed update at a model; asked again, the same bytes.

        Its weight is the rule's, applied before the noise, entered in the ledger and signed.

        Args:
          params: The model that the aggregator sent.
          round_: Its version: the number of sums opened before it.

        Raises:
          RefusedError: The model is not the one that follows from the opened sums, the version is
            older than the last that was answered, what was spent for it is forfeited, or the ledger
            may be an old copy (``WitnessedLedger.require_open``).
          BudgetExceededError: The ledger refuses; no patient was read.
        """
        message = self._update(params, round_)
        return Contribution.from_message(message.payload, message.public)

    def _update(self, params: NDArray[np.float64], round_: int) -> Message:
        """Return the one update of a round: what was said, what was sealed, or a new one."""
        said = self._releases.said
        if said is not None and said.round == round_:
            return said
        self._accept(params, round_)
        self._witnessed.require_open()
        self._draws.prepare(round_, last=self._releases.last)
        weight = self._path.weight(self.name, round_)
        staleness = self._agreement.timing.stale(self.name, round_)
        event = self._agreement.event(self.name, staleness)
        due_releases = self._asked(self.name, event, round_, weight)
        sealed = self._releases.payload(round_)
        if sealed is not None:
            self._pending = self._releases.begun(round_)
            entries = self._releases.spend(due_releases)
        else:
            self._releases.begin(round_)
            entries = self._releases.spend(due_releases)
            sealed, self._pending = self._computed(params, round_, weight, staleness)
        content = sealed
        said = self._releases.keep(
            entries,
            content,
            state=self._pending,
            sign=lambda: self._signed(content, params, round_, weight),
        )
        self._models = {v: model for v, model in self._models.items() if v >= round_}
        return said

    def _signed(
        self, sealed: bytes, params: NDArray[np.float64], round_: int, weight: float
    ) -> Message:
        """Return an update as it is sent, with the ledger's head that has it."""
        plan, head = self.plan, self.ledger.head()
        contribution = Contribution.sign(
            self._key, sealed, run=plan.run, hospital=self.name,
            base_version=round_,
            parameters=self._sealer.parameters.digest,
            weight=plan.applied_weight(weight),
            nonce=digest(sealed)[:32],
            head=head,
            extends=self._witnessed.extension(head),
            model=digest(params.astype("<f8").tobytes()),
        )  # fmt: skip
        return Message(
            self.name, AGGREGATOR, MessageKind.UPDATE, round_, sealed, contribution.public,
            run=plan.run, nonce=contribution.nonce,
        )  # fmt: skip

    def _computed(
        self, params: NDArray[np.float64], round_: int, weight: float, staleness: int
    ) -> tuple[bytes, State]:
        """Read the patients: return the sealed update, and the rule's state once it is opened."""
        plan = self.plan
        batches = self._drawn[round_] = self._draws.batches(self._patients, round_)
        integers, state = local_update(
            plan, self.name, batches, params, self._draws.noise,
            weight=weight, state=self._state, version=round_, staleness=staleness,
        )  # fmt: skip
        if not self._source.protects:
            self._told[round_] = integers
        leaves, state = self._rule.send(state, integers)
        scalars = noised_scalars(plan, self.name, self._patients, params, self._source)
        return self._sealer.seal(np.concatenate([leaves, scalars]), round_=round_), state

    def _restore(self, kept: Kept) -> None:
        """Take up the run where it stopped: the sums that were learnt, and the last update."""
        while (learnt := kept.get(f"opened-{self._path.version}")) is not None:
            evidence, opened, state = unpack(learnt, most=3)
            self._pending = read_state(state)[1] if state else None
            self._follow(evidence, opened)
        said = self._releases.said
        if said is not None and said.round > self._opened:
            self._pending = self._releases.begun(said.round)
            self._witnessed.outstanding(said)
        elif said is not None:
            self._witnessed.opened(said)
        self._models = {v: m for v, m in self._models.items() if v >= self._releases.last}

    def _hear(self, message: Message) -> None:
        """Take a sum, or the signed words on it, in order; told again what it learnt, do nothing.

        Raises:
          RefusedError: A sum of the future, or another than the one that was learnt.
        """
        round_, version = message.round, self._path.version
        if round_ == version and message.kind is MessageKind.EVIDENCE:
            self._evidence = message.payload
        elif round_ == version:
            self._learn(message.payload)
        elif round_ > version:
            raise RefusedError(
                f"{self.name} awaits the sum of round {version} and was sent that of round "
                f"{round_}; each is learnt from once, in order."
            )
        elif message.kind is MessageKind.OPENED and digest(message.payload) != self._learnt[round_]:
            raise RefusedError(
                f"{self.name} was told another sum of round {round_} than the one that it has "
                "learnt from; a round has one."
            )

    def _learn(self, said: bytes) -> None:
        """Judge an opened sum and take note of it: the next model has to follow from it."""
        if self._evidence is None:
            raise RefusedError(
                f"{self.name} was told the sum of round {self._path.version} without the signed "
                "words of those who opened it; who relays a sum is not believed."
            )
        content, self._evidence = self._evidence, None
        self._follow(content, said, keep=True)

    def _follow(self, evidence: bytes, said: bytes, *, keep: bool = False) -> None:
        """Judge a sum and follow it to the next model; what proves it is kept before."""
        proposal, opened_sum = self._judge.judged(evidence, self._place, said)
        hospitals, own_version = proposal.hospitals, self._own_in(proposal)
        self._learnt[self._path.version] = digest(said)
        if keep and self._kept is not None:
            state = b"" if own_version is None else self._written(own_version)
            # Whoever relays sums tells the last one again after a crash; so it need not be waited
            # for. What leaves next, the update on it, waits for all that stands before it.
            learnt = pack([evidence, said, state])
            self._kept.put({f"opened-{self._path.version}": learnt}, soon=True)
        before = self._path.params
        opening = self._path.step(opened_sum, hospitals)
        self._place = self._place.after(proposal.digest)
        if own_version is not None:
            self._opened = own_version
            sent = self._releases.said
            if sent is not None and sent.round == own_version:
                self._witnessed.opened(sent)
            self._state = self._state if self._pending is None else self._pending
            self._pending = None
        self._state = self._rule.opened(self._state, opening, before, self._path.params)
        self._models[self._path.version] = self._path.params

    def _written(self, round_: int) -> bytes:
        """The rule's state once this round's upload is opened, as bytes."""
        return write_state(round_, self._pending or ())

    def _own_in(self, proposal: Proposal) -> int | None:
        """Return the version that the own upload in a sum is of; None: there is none in it.

        Raises:
          RefusedError: It holds another upload under this name, one of another version than the
            plan has, or one of somebody who is not in it.
        """
        due = {a.hospital: a.base_version for a in self._path.arrived(proposal.hospitals)}
        own_version = None
        said = zip(proposal.hospitals, proposal.base_versions, proposal.ciphertexts, strict=True)
        for hospital, base, ciphertext in said:
            if due[hospital] != base:
                raise RefusedError(
                    f"The sum of round {self._path.version} holds an upload of {hospital!r} on "
                    f"version {base}; the plan has one on version {due[hospital]} in it."
                )
            if hospital == self.name:
                own_version = base
                if self._releases.sealed(base) != ciphertext or base <= self._opened:
                    raise RefusedError(
                        f"The sum of round {self._path.version} holds an upload under the name of "
                        f"{self.name} that it never sent, or one that was opened before."
                    )
        return own_version

    def finish(self, params: Float[np.ndarray, "dim"]) -> Local:
        """Return what the rule fits around the final model to the hospital's own patients.

        It stays here: a prediction that uses it and leaves the hospital is a release of its own.
        """
        scores = self.plan.model.scores(params, self._patients.features)
        return self._rule.finish(scores, self._patients.features, self._patients.outcomes)

    @property
    def drawn(self) -> Mapping[int, tuple[Patients, ...]]:
        """Who was drawn, by round: the truth, known inside the hospital and to scoring."""
        return MappingProxyType(self._drawn)

    @property
    def sent(self) -> Mapping[int, Int[np.ndarray, "sent"]]:
        """Its noised update, by round: what it could tell if it colluded.

        Kept in simulations alone.
        """
        return MappingProxyType(self._told)

    def _accept(self, params: NDArray[np.float64], round_: int) -> None:
        last = self._releases.last
        if not last <= round_ <= self._path.version or round_ <= self._opened:
            raise RefusedError(
                f"{self.name} is at round {self._path.version} and was asked for round {round_}: "
                f"one update a round, none of the future; its last was of round {last}."
            )
        if not np.array_equal(params, self._models[round_]):
            raise RefusedError(
                f"{self.name} refuses the model of round {round_}: it does not follow from the "
                "committed seed and the opened sums. A server that chooses the model reads "
                "patients through any encryption."
            )

    def _asked(self, hospital: str, event: DpEvent, round_: int, weight: float) -> list[Release]:
        protects = self._source.protects
        return releases(self.plan, hospital, event, round_=round_, weight=weight, protects=protects)
