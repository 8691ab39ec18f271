"""The aggregator: sends models, adds what comes back, has the sum opened; it can open nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from aggregation.agreement import Agreement, Trajectory
from aggregation.plan import Plan
from aggregation.roles.messages import AGGREGATOR, Message, MessageKind, SetTimer, Timer, TimerKind
from aggregation.roles.opener import OpeningAsked
from aggregation.roles.opening import OpeningRequest
from aggregation.sealing import Adder, Contribution, Roster
from aggregation.sealing.answers import Witnessed
from aggregation.sealing.proposal import Place
from privacy.errors import CorruptMessageError, RefusedError
from privacy.ledger.log import canonical

__all__ = ["Aggregator"]

Said = tuple[Message | SetTimer, ...]


class Aggregator:
    """Adds sealed updates and steps the model by opened sums.

    Guarantees (each is a test in ``tests/aggregation/roles/test_aggregator.py``):
      - it holds an ``Adder`` and never a key: what it can learn is in the transcript;
      - a contribution of another run, round or unknown hospital, one that its hospital did not
        sign, or a second one of the same hospital, is refused and leaves the sum as it was: no
        forged one takes the place of the true one;
      - the next model depends on the opened sum alone;
      - made anew, it goes on from the sums that were opened (``resume``) and what it had received
        (``receive_again``), tells the last sum again, and asks for what is not there.

    Attributes:
      plan: What all parties agreed on.
      round: The round that is open: how many sums were opened.
      models: All models so far, the first included.
      opened: All opened sums so far.

    Args:
      plan: What all parties agreed on.
      adder: Adds sealed updates.
      roster: The hospitals whose signatures count.
      opening: How sums are opened, and who judges them.
      agreement: Whose uploads each sum holds; None: the plan in synchronous rounds.
    """

    def __init__(
        self,
        plan: Plan,
        adder: Adder,
        roster: Roster,
        opening: OpeningRequest,
        agreement: Agreement | None = None,
    ) -> None:
        self.plan = plan
        self.round = 0
        self.opened: list[Int[np.ndarray, slots]] = []
        self._adder = adder
        self._roster = roster
        self._agreement = agreement or Agreement.of(plan)
        self._path = Trajectory(self._agreement)
        self.models = [self._path.params]
        self._bases = self._awaited()
        self._opening = opening
        self._place = Place(plan.digest)
        self._contributions: dict[str, Contribution] = {}
        self._asked: OpeningAsked | None = None  # the sum that is to be opened
        self._told: tuple[bytes, bytes] | None = None  # evidence and sum of the last opening

    @property
    def params(self) -> Float[np.ndarray, "dim"]:
        """The model of the open round."""
        return self.models[-1]

    def handle(self, incoming: Message | Timer) -> Said:
        """Send plan and models, add updates, have the sum opened, tell what was opened.

        Raises:
          RefusedError: As ``receive``, or what came is not awaited.
          CorruptMessageError: As ``receive`` and ``step``.
        """
        if isinstance(incoming, Timer):
            return self._wake(incoming)
        if incoming.kind is MessageKind.UPDATE:
            self.receive(Contribution.from_message(incoming.payload, incoming.public))
            if not self.ready:
                return ()
            self._asked = OpeningAsked(self._place, *self.total())
            return self._opening.ask(self._asked, incoming.time)
        if incoming.kind in (MessageKind.RETURNED, MessageKind.WITNESSED):
            return self._relay(incoming)
        said = self._opening.take(incoming)
        if isinstance(said, tuple):
            return said
        round_, opened = self.round, said.total.astype("<i8").tobytes()
        evidence, proposal = said.evidence.to_bytes(), said.evidence.proposal
        self._place, self._told = self._place.after(proposal.digest), (evidence, opened)
        self.step(said.total, proposal.hospitals)
        return (*self._tell(round_), *self._send_models(incoming.time))

    def _relay(self, message: Message) -> Said:
        """Carry a hospital's question to whoever opens, and their words back: it asked them."""
        receivers = self._opening.judge.addresses
        if message.kind is MessageKind.WITNESSED:
            receivers = (Witnessed.from_bytes(message.payload).hospital,)
            if receivers[0] not in self.plan.hospitals:
                raise RefusedError(f"{receivers[0]!r}, who is to be told of it, is no hospital.")
        return tuple(
            replace(message, sender=AGGREGATOR, receiver=name, signature="") for name in receivers
        )

    def receive(self, contribution: Contribution) -> None:
        """Add one sealed update.

        Raises:
          RefusedError: It belongs elsewhere, or its hospital has sent already.
          CorruptMessageError: The sealed bytes are not what the scheme makes, or another signed.
        """
        if contribution.hospital not in self.plan.hospitals:
            raise RefusedError(f"{contribution.hospital!r} is not a hospital of this run.")
        expected = self._bases.get(contribution.hospital)
        if contribution.run != self.plan.run or contribution.base_version != expected:
            raise RefusedError(
                f"An update of run {contribution.run!r}, round {contribution.base_version} reached "
                f"run {self.plan.run!r}, round {self.round}; it is not added."
            )
        self._roster.recognise(contribution, self._adder.parameters.digest)
        ours = canonical.digest(self.models[contribution.base_version].astype("<f8").tobytes())
        if contribution.model not in (None, ours):
            raise RefusedError(
                f"{contribution.hospital!r} has computed its update on another model than that of "
                f"round {contribution.base_version}: it was told another sum, or makes it up. It "
                "is not added."
            )
        weight = self._path.weight(contribution.hospital, contribution.base_version)
        if contribution.weight != (due := self.plan.applied_weight(weight)):
            raise RefusedError(
                f"{contribution.hospital!r} has weighed its update by {contribution.weight:g}; the "
                f"rule gives it {due:g}. It is not added."
            )
        if contribution.hospital in self._contributions:
            raise RefusedError(
                f"{contribution.hospital!r} has sent its update of round {self.round} already; the "
                "second is not added."
            )
        self._adder.add(contribution.sealed)
        self._contributions[contribution.hospital] = contribution

    @property
    def ready(self) -> bool:
        """Whether all hospitals of the open sum have sent."""
        return self.waits and len(self._contributions) == len(self._bases)

    @property
    def waits(self) -> bool:
        """Whether a sum is still to be opened."""
        return len(self._bases) > 0

    @property
    def late(self) -> tuple[str, ...]:
        """Hospitals whose upload the open sum still waits for."""
        return tuple(name for name in self._bases if name not in self._contributions)

    def total(self) -> tuple[bytes, tuple[Contribution, ...]]:
        """The sealed sum and the signed contributions that it is made of, for the opener.

        In the plan's order, whoever came first: asked for again, it is the same sum.
        """
        names = [name for name in self.plan.hospitals if name in self._contributions]
        return self._adder.total(), tuple(self._contributions[name] for name in names)

    def resume(self, evidence: bytes, said: bytes) -> None:
        """Take up a run after a restart: follow a sum that was opened before, in order.

        Args:
          evidence: As hospitals were sent it.
          said: The sum, likewise.

        Raises:
          RefusedError: As ``Judge.sum_of``.
          CorruptMessageError: As ``Judge.sum_of``.
        """
        proposal, total = self._opening.judge.judged(evidence, self._place, said)
        self._place, self._told = self._place.after(proposal.digest), (evidence, said)
        self.step(total, proposal.hospitals)

    def receive_again(self, updates: Iterable[Message]) -> None:
        """Take up the open sum after a restart, from updates that were received before.

        Raises:
          RefusedError: As ``receive``.
          CorruptMessageError: As ``receive``.
        """
        for update in updates:
            contribution = Contribution.from_message(update.payload, update.public)
            name = contribution.hospital
            awaited = self._bases.get(name) == contribution.base_version
            if awaited and name not in self._contributions:
                self.receive(contribution)
        if self.ready:
            self._asked = OpeningAsked(self._place, *self.total())

    def step(
        self, opened_sum: Int[np.ndarray, "slots"], hospitals: Sequence[str] | None = None
    ) -> None:
        """Step the model by an opened sum and start the next round with an empty adder.

        Args:
          opened_sum: Update and scalars, integers.
          hospitals: Whose uploads it holds; None: all that were awaited.
        """
        if opened_sum.shape != (self._adder.parameters.dim,):
            raise CorruptMessageError(
                f"Expected an opened sum of {self._adder.parameters.dim} values, got "
                f"{opened_sum.shape}."
            )
        self._path.step(opened_sum, hospitals)
        self.models.append(self._path.params)
        self.opened.append(opened_sum)
        self.round += 1
        self._bases = self._awaited()
        self._contributions = {}
        self._asked = None
        self._adder.clear()

    def _awaited(self) -> dict[str, int]:
        """Whose uploads the open sum takes, each with its base version."""
        arrivals = self._agreement.timing.arrivals(self.round)
        return {arrival.hospital: arrival.base_version for arrival in arrivals}

    def _wake(self, timer: Timer) -> Said:
        if timer.kind is TimerKind.START:
            content = self.plan.to_bytes()
            plans = tuple(
                self._say(name, MessageKind.PLAN, 0, content) for name in self.plan.hospitals
            )
            sum_messages = self._tell(self.round - 1)  # woken again: what was said may be lost
            if self._asked is not None:
                return (*plans, *sum_messages, *self._opening.ask(self._asked, timer.time))
            return (*plans, *sum_messages, *self._send_models_again(timer.time))
        if timer.kind is TimerKind.MODEL:
            return (self._model(timer.party, timer.round),)
        return self._opening.late(timer)

    def _tell(self, round_: int) -> Said:
        """Tell every hospital the last sum, and why it is to be believed."""
        if self._told is None:
            return ()
        evidence, opened = self._told
        return tuple(
            self._say(name, kind, round_, payload)
            for name in self.plan.hospitals
            for kind, payload in ((MessageKind.EVIDENCE, evidence), (MessageKind.OPENED, opened))
        )

    def _send_models(self, now: float) -> Said:
        """Send the open round's model, or set the time for it where the schedule has one."""
        return self._send(self.round, self._agreement.timing.takers(self.round), now)

    def _send_models_again(self, now: float) -> Said:
        """Send all models, of this round and before, whose updates are still awaited."""
        timing, said = self._agreement.timing, list[Message | SetTimer]()
        later = (a for number in range(self.round, timing.sums) for a in timing.arrivals(number))
        due = {(arrival.hospital, arrival.base_version) for arrival in later}
        for version in range(self.round + 1):
            takers = tuple(t for t in timing.takers(version) if (t[0], version) in due)
            said += self._send(version, takers, now)
        return tuple(said)

    def _send(self, version: int, takers: Sequence[tuple[str, float | None]], now: float) -> Said:
        said: list[Message | SetTimer] = []
        for name, time in takers:
            here = self._contributions.get(name)
            if here is not None and here.base_version == version:
                continue
            if time is None:
                said.append(self._model(name, version))
            else:
                said.append(SetTimer(Timer(TimerKind.MODEL, version, name, max(time, now))))
        return tuple(said)

    def _model(self, hospital: str, version: int) -> Message:
        payload = self.models[version].astype("<f8").tobytes()
        return self._say(hospital, MessageKind.MODEL, version, payload)

    def _say(self, receiver: str, kind: MessageKind, round_: int, payload: bytes) -> Message:
        return Message(AGGREGATOR, receiver, kind, round_, payload, run=self.plan.run)
