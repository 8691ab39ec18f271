"""A hospital: the only place where patients are read, and the gate that every release passes.

    accept the model -> spend -> draw, clip, round, sum, noise -> seal -> attach -> sign -> send

The ledger entry is durable before a patient's record is read; the sealed bytes are kept beside it,
so that after a crash the same bytes go out and never a second noise.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.agreement import Agreement, Trajectory
from aggregation.patients import Patients
from aggregation.plan import Plan
from aggregation.releases import declare, overseen, releases, schedule
from aggregation.roles.evidence import Evidence, Judge
from aggregation.roles.messages import (
    AGGREGATOR,
    Message,
    MessageKind,
    Timer,
    read_model,
)
from aggregation.rules import Local
from aggregation.rules.rule import State
from aggregation.sealing import Contribution, Sealer
from aggregation.sealing.proposal import Place, Proposal
from aggregation.update import draw_batches, local_update, noised_scalars
from privacy.errors import InvalidInputError, RefusedError
from privacy.ledger import Ledger, Release, SigningKey
from privacy.ledger.log.canonical import digest
from privacy.ledger.requests import Schedule
from privacy.mechanisms import NoiseSource

__all__ = ["Hospital"]


class Hospital:
    """One hospital of a run.

    Guarantees (each is a test in ``tests/aggregation/roles/test_hospital.py``):
      - nothing is computed from a patient before its release is in the ledger, durably;
      - a refused release reads no patient and sends nothing;
      - only a model that follows from the committed seed and the opened sums is trained on: any
        other is refused, whoever else was sent the same;
      - a sum is learnt from only if those who opened it signed it, at this place of the run's
        chain, and their answers give it: whoever relays it is not believed;
      - one update a model, and never one of the future: a second request for the same version, an
        older one or one that was not opened yet is refused;
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

    Raises:
      InvalidInputError: The hospital is not in the plan, has more patients than it declared, or
        features that are not the model's.
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
    ) -> None:
        if name not in plan.hospitals:
            raise InvalidInputError(f"Hospital {name!r} is not in the plan {plan.hospitals}.")
        declared = plan.declared_sizes[plan.hospitals.index(name)]
        if len(patients) > declared:
            raise InvalidInputError(
                f"Hospital {name!r} has {len(patients)} patients but declared {declared}: the sum "
                "could leave the range that sealing was sized for. Declare at least as many."
            )
        if patients.features.shape[1] != plan.model.features:
            raise InvalidInputError(
                f"Hospital {name!r} has {patients.features.shape[1]} features, the model expects "
                f"{plan.model.features}."
            )
        self.name = name
        self.plan = plan
        self.ledger = ledger
        self._patients = patients
        self._sealer = sealer
        self._judge = judge
        self._place = Place(plan.digest)
        self._evidence: bytes | None = None  # of the sum that is awaited, not judged yet
        self._sealed: dict[int, str] = {}  # digests of what was sent and is not opened yet
        self._key = key
        self._source = source
        self._context = context or {}
        self._agreement = agreement or Agreement.of(plan)
        self._path = Trajectory(self._agreement)
        self._models = {0: self._path.params}  # those that may still be trained on
        self._last = -1  # version of the last upload
        self._rule = plan.used_rule
        self._state = self._rule.start(plan.update_dim)
        self._pending: State | None = None  # the state once the last upload is opened
        self._drawn: dict[int, tuple[Patients, ...]] = {}
        self._told: dict[int, NDArray[np.int64]] = {}

    def join(self) -> None:
        """Enter the plan into the ledger: its total is checked against the budget once.

        Raises:
          BudgetExceededError: The run would pass the budget; nothing was read.
        """
        own = self._schedule(self.name)
        if own is None:
            return
        others = {
            name: derived.digest
            for name in overseen(self.plan, self.name)
            if (derived := self._schedule(name)) is not None
        }
        declare(self.ledger, own, others)

    def _schedule(self, hospital: str) -> Schedule | None:
        """What the plan has a hospital release; None: its uploads are not declared beforehand."""
        agreement, protects = self._agreement, self._source.protects
        repeats = agreement.uploads(hospital)
        if repeats is None:
            return None
        weight = self._path.weight(hospital)
        event = agreement.event(hospital, weight)
        asked = releases(self.plan, hospital, event, round_=0, weight=weight, protects=protects)
        return schedule(self.plan, asked, repeats=repeats, context=self._context)

    def handle(self, incoming: Message | Timer) -> tuple[Message, ...]:
        """Join at the plan, answer a model with an update, learn from an opened sum.

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
            if round_ != self._path.version:
                raise RefusedError(
                    f"{self.name} awaits the sum of round {self._path.version} and was sent that "
                    f"of round {round_}; each is learnt from once, in order."
                )
            if incoming.kind is MessageKind.EVIDENCE:
                self._evidence = incoming.payload
            else:
                self._learn(incoming.payload)
            return ()
        if incoming.kind is not MessageKind.MODEL:
            raise RefusedError(f"A hospital takes no message of kind {incoming.kind.value!r}.")
        params = read_model(incoming.payload, plan.model.dim)
        contribution = self.contribute(params, round_=round_)
        head = json.dumps(self.ledger.head().to_json())
        return (
            Message(
                self.name,
                AGGREGATOR,
                MessageKind.UPDATE,
                round_,
                contribution.sealed,
                contribution.public | {"head": head},
                run=plan.run,
                nonce=contribution.nonce,
            ),
        )

    def contribute(self, params: Float[np.ndarray, "dim"], *, round_: int) -> Contribution:
        """Return the hospital's signed, sealed update at a model.

        Its weight is the rule's, applied before the noise and signed.

        Args:
          params: The model that the aggregator sent.
          round_: Its version: the number of sums opened before it.

        Raises:
          RefusedError: The model is not the one that follows from the opened sums, or the version
            was answered already.
          BudgetExceededError: The ledger refuses; no patient was read.
        """
        self._accept(params, round_)
        plan = self.plan
        staleness = self._path.version - round_
        weight = self._path.weight(self.name, staleness)
        entries = [self.ledger.spend(release) for release in self._releases(round_, weight)]
        batches = draw_batches(plan, self.name, self._patients, self._source)
        self._drawn[round_] = batches
        integers, state = local_update(
            plan, self.name, batches, params, self._source,
            weight=weight, state=self._state, version=round_, staleness=staleness,
        )  # fmt: skip
        if not self._source.protects:
            self._told[round_] = integers
        leaves, state = self._rule.send(state, integers)
        scalars = noised_scalars(plan, self.name, self._patients, params, self._source)
        sealed = self._sealer.seal(np.concatenate([leaves, scalars]), round_=round_)
        for entry in entries:
            self.ledger.attach(entry, sealed)
        self._pending = state
        self._last = round_
        self._sealed[round_] = digest(sealed)
        self._models = {v: model for v, model in self._models.items() if v > round_}
        return Contribution.sign(
            self._key,
            sealed,
            run=plan.run,
            hospital=self.name,
            base_version=round_,
            parameters=self._sealer.parameters.digest,
            weight=plan.radius_of(weight) / plan.radius,
            ledger_head=digest(self.ledger.head().note),
        )

    def _learn(self, said: bytes) -> None:
        """Judge an opened sum and take note of it: the next model has to follow from it."""
        if self._evidence is None:
            raise RefusedError(
                f"{self.name} was told the sum of round {self._path.version} without the signed "
                "words of those who opened it; who relays a sum is not believed."
            )
        content, self._evidence = self._evidence, None
        evidence = Evidence.from_bytes(content)
        opened_sum = self._judge.sum_of(evidence, self._place, said)
        self._require_own(evidence.proposal)
        before = self._path.params
        opening = self._path.step(opened_sum, evidence.proposal.hospitals)
        self._place = self._place.after(evidence.proposal.digest)
        for arrival in opening.arrivals:
            if arrival.hospital == self.name:
                self._sealed.pop(arrival.base_version, None)
                self._state = self._state if self._pending is None else self._pending
                self._pending = None
        self._state = self._rule.opened(self._state, opening, before, self._path.params)
        self._models[self._path.version] = self._path.params

    def _require_own(self, proposal: Proposal) -> None:
        """Refuse a sum that holds another upload under this name, or one of another version."""
        arrivals = {a.hospital: a for a in self._agreement.timing.arrivals(self._path.version)}
        said = zip(proposal.hospitals, proposal.base_versions, proposal.ciphertexts, strict=True)
        for hospital, base, ciphertext in said:
            due = arrivals.get(hospital)
            if due is not None and due.base_version != base:
                raise RefusedError(
                    f"The sum of round {self._path.version} holds an upload of {hospital!r} on "
                    f"version {base}; the plan has one on version {due.base_version} in it."
                )
            if hospital == self.name and self._sealed.get(base) != ciphertext:
                raise RefusedError(
                    f"The sum of round {self._path.version} holds an upload under the name of "
                    f"{self.name} that it never sent."
                )

    def finish(self, params: Float[np.ndarray, "dim"]) -> Local:
        """Return what the rule fits around the final model to the hospital's own patients.

        It stays here: a prediction that uses it and leaves the hospital is a release of its own.
        """
        scores = self.plan.model.scores(params, self._patients.features)
        return self._rule.finish(scores, self._patients.outcomes)

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
        if not self._last < round_ <= self._path.version:
            raise RefusedError(
                f"{self.name} is at round {self._path.version} and was asked for round {round_}: "
                f"one update a round, none of the future; its last was of round {self._last}."
            )
        if not np.array_equal(params, self._models[round_]):
            raise RefusedError(
                f"{self.name} refuses the model of round {round_}: it does not follow from the "
                "committed seed and the opened sums. A server that chooses the model reads "
                "patients through any encryption."
            )

    def _releases(self, round_: int, weight: float) -> list[Release]:
        event = self._agreement.event(self.name, weight)
        protects = self._source.protects
        return releases(
            self.plan,
            self.name,
            event,
            round_=round_,
            weight=weight,
            protects=protects,
            declared=self._agreement.uploads(self.name) is not None,
        )
