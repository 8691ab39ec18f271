"""The aggregator: sends models, adds what comes back, has the sum opened; it can open nothing."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from aggregation.agreement import Agreement, Trajectory
from aggregation.plan import Plan
from aggregation.roles.messages import AGGREGATOR, Message, MessageKind, SetTimer, Timer, TimerKind
from aggregation.roles.opener import Asked
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
      - made anew, it goes on from the sums that were opened (``resume``), asks hospitals for what
        they sent, and holders for what they committed to.

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
        self._asked: Asked | None = None  # the sum that is to be opened

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
            self._asked = Asked(self._place, *self.total())
            return self._opening.ask(self._asked, incoming.time)
        if incoming.kind in (MessageKind.RETURNED, MessageKind.WITNESSED):
            return self._relay(incoming)
        said = self._opening.take(incoming)
        if isinstance(said, tuple):
            return said
        round_, opened = self.round, said.total.astype("<i8").tobytes()
        evidence, proposal = said.evidence.to_bytes(), said.evidence.proposal
        self._place = self._place.after(proposal.digest)
        self.step(said.total, proposal.hospitals)
        told = tuple(
            self._say(name, kind, round_, payload)
            for name in self.plan.hospitals
            for kind, payload in ((MessageKind.EVIDENCE, evidence), (MessageKind.OPENED, opened))
        )
        return (*told, *self._send_models(incoming.time))

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
        self._place = self._place.after(proposal.digest)
        self.step(total, proposal.hospitals)

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
            if self._asked is not None:  # woken again: what was said may be lost
                return (*plans, *self._opening.ask(self._asked, timer.time))
            return (*plans, *self._send_models(timer.time))
        if timer.kind is TimerKind.MODEL:
            return (self._model(timer.party),)
        return self._opening.late(timer)

    def _send_models(self, now: float) -> Said:
        """Send the open round's model, or set the time for it where the schedule has one."""
        said: list[Message | SetTimer] = []
        for name, time in self._agreement.timing.takers(self.round):
            if time is None:
                said.append(self._model(name))
            else:
                said.append(SetTimer(Timer(TimerKind.MODEL, self.round, name, max(time, now))))
        return tuple(said)

    def _model(self, hospital: str) -> Message:
        payload = self.params.astype("<f8").tobytes()
        return self._say(hospital, MessageKind.MODEL, self.round, payload)

    def _say(self, receiver: str, kind: MessageKind, round_: int, payload: bytes) -> Message:
        return Message(AGGREGATOR, receiver, kind, round_, payload, run=self.plan.run)
