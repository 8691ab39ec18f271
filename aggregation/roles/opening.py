"""How the aggregator has a sum opened: by one opener, or by holders in two steps.

What comes back is checked where it comes in: a holder's commitment and answer carry its signature.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from aggregation.roles import Role
from aggregation.roles.messages import (
    AGGREGATOR,
    OPENER,
    Message,
    MessageKind,
    SetTimer,
    Timer,
    TimerKind,
    holder_address,
    pack,
    read_integers,
)
from aggregation.roles.opener import HolderRole, OpenerRole, pack_total, read_commitment
from aggregation.sealing import Contribution, KeyScheme, Parameters, Policy, Scheme
from aggregation.sealing.holders import Holder, QuorumScheme
from aggregation.sealing.quorum import read_quorum
from privacy.errors import CorruptMessageError, RefusedError

__all__ = ["ByHolders", "ByOpener", "LocalOpening", "OpeningRequest"]

Said = tuple[Message | SetTimer, ...]
Integers = NDArray[np.int64]

_PATIENCE = 60.0  # how long holders may take to commit, in the engine's unit of time


@runtime_checkable
class OpeningRequest(Protocol):
    """The aggregator's side of an opening."""

    def ask(
        self, round_: int, total: bytes, contributions: Sequence[Contribution], now: float
    ) -> Said:
        """Ask for a sum to be opened."""
        ...

    def take(self, message: Message) -> Said | Integers:
        """Take what came back: what to say next, or the opened sum."""
        ...

    def late(self, timer: Timer) -> Said:
        """Go on without those who have not answered."""
        ...


class ByOpener:
    """One party has the key.

    Args:
      run: Name of the run.
      dim: Values of an opened sum.
    """

    def __init__(self, run: str, dim: int) -> None:
        self._run = run
        self._dim = dim
        self._round = -1

    def ask(
        self, round_: int, total: bytes, contributions: Sequence[Contribution], now: float
    ) -> Said:
        """Send the opener the sum and its contributions."""
        self._round = round_
        payload = pack_total(total, contributions)
        return (Message(AGGREGATOR, OPENER, MessageKind.TOTAL, round_, payload, run=self._run),)

    def take(self, message: Message) -> Integers:
        """Read the opened sum."""
        if message.kind is not MessageKind.OPENED or message.round != self._round:
            raise RefusedError(
                f"A {message.kind.value!r} of round {message.round} came where the sum of round "
                f"{self._round} is awaited."
            )
        return read_integers(message.payload, self._dim)

    def late(self, timer: Timer) -> Said:
        """Nobody can stand in for the opener."""
        return ()


class ByHolders:
    """Holders commit, and answer once a quorum has: nobody has the key.

    Guarantees (each is a test in ``tests/aggregation/roles/test_opening.py``):
      - a commitment or an answer that its holder did not sign is refused;
      - holders who are silent don't stop it while a quorum has committed.

    Args:
      run: Name of the run.
      scheme: The scheme's class; it combines answers without a secret.
      parameters: The run's sealing parameters, which name the holders and their keys.
    """

    def __init__(self, run: str, scheme: type[QuorumScheme], parameters: Parameters) -> None:
        self._run = run
        self._scheme = scheme
        self._parameters = parameters
        self._quorum, self._keys = read_quorum(parameters, scheme.label)
        self._round = -1
        self._total = b""
        self._contributions: tuple[Contribution, ...] = ()
        self._commitments: dict[str, bytes] = {}
        self._answers: dict[str, bytes] = {}
        self._awaited: tuple[str, ...] = ()

    def ask(
        self, round_: int, total: bytes, contributions: Sequence[Contribution], now: float
    ) -> Said:
        """Send every holder the sum and its contributions, to commit to."""
        self._round, self._total, self._contributions = round_, total, tuple(contributions)
        self._commitments, self._answers, self._awaited = {}, {}, ()
        payload = pack_total(total, contributions)
        patience = Timer(TimerKind.PATIENCE, round_, time=now + _PATIENCE)
        return (
            *self._tell(self._quorum.names, MessageKind.TOTAL, payload),
            SetTimer(patience),
        )

    def take(self, message: Message) -> Said | Integers:
        """Take a commitment or an answer; the last answer gives the sum."""
        name = self._signer(message)
        if message.kind is MessageKind.COMMITMENT and not self._awaited:
            if read_commitment(message.payload).holder != name:
                raise CorruptMessageError(f"Holder {name!r} sent another holder's commitment.")
            self._commitments[name] = message.payload
            whole = len(self._commitments) == len(self._quorum.names)
            return self._agree() if whole else ()
        if message.kind is not MessageKind.ANSWER or name not in self._awaited:
            raise RefusedError(f"Holder {name!r} was not asked for a {message.kind.value!r} now.")
        self._answers[name] = message.payload
        if len(self._answers) < len(self._awaited):
            return ()
        answers = {name: self._answers[name] for name in self._awaited}
        residues = self._scheme.combine(self._parameters, self._total, self._contributions, answers)
        return self._parameters.centre(residues)

    def late(self, timer: Timer) -> Said:
        """Go on with those who have committed.

        Raises:
          RefusedError: They are fewer than the threshold.
        """
        if timer.round != self._round or self._awaited:
            return ()
        if len(self._commitments) < self._quorum.threshold:
            raise RefusedError(
                f"{len(self._commitments)} of {len(self._quorum.names)} holders committed to the "
                f"sum of round {self._round}; {self._quorum.threshold} are needed to open it."
            )
        return self._agree()

    def _agree(self) -> Said:
        committed = tuple(name for name in self._quorum.names if name in self._commitments)
        self._awaited = self._scheme.answering(self._parameters, self._contributions, committed)
        payload = pack([self._commitments[name] for name in committed])
        return self._tell(self._awaited, MessageKind.AGREED, payload)

    def _tell(self, names: Sequence[str], kind: MessageKind, payload: bytes) -> Said:
        return tuple(
            Message(AGGREGATOR, holder_address(name), kind, self._round, payload, run=self._run)
            for name in names
        )

    def _signer(self, message: Message) -> str:
        """Return which holder sent a message of this round, by its signature."""
        by_address = {holder_address(name): name for name in self._quorum.names}
        name = by_address.get(message.sender)
        if name is None or message.run != self._run or message.round != self._round:
            raise RefusedError(
                f"A {message.kind.value!r} of {message.sender!r}, run {message.run!r} and round "
                f"{message.round} came where holders of run {self._run!r} answer for round "
                f"{self._round}."
            )
        if not message.signed_by(self._keys[name].sign):
            raise CorruptMessageError(
                f"The signature of holder {name!r} does not fit its {message.kind.value}: it "
                "changed on the way, or somebody else sent it."
            )
        return name


class LocalOpening:
    """Whoever opens a scheme's sums, in one process: the same roles, and what they say carried.

    Attributes:
      holders: By name; whoever is taken away is lost. Empty where one party has the key.

    Args:
      scheme: Whose sums are opened.
      policy: Of the opener; each holder has a copy with a log of its own.
    """

    def __init__(self, scheme: Scheme, policy: Policy) -> None:
        self._scheme = scheme
        self._run = policy.roster.run
        self._round = -1
        self.holders: dict[str, Holder] = {}
        self._roles: dict[str, Role] = {}
        if isinstance(scheme, QuorumScheme):
            self.holders = scheme.holders(policy)
            for name, holder in self.holders.items():
                self.replace(name, holder)
        elif isinstance(scheme, KeyScheme):
            self._roles[OPENER] = OpenerRole(self._run, scheme.opener(policy))

    def open(self, total: bytes, contributions: Sequence[Contribution]) -> Integers:
        """Open the sum of these contributions: ``int64[dim]``, centred modulo ``2 ** bits``.

        Raises:
          RefusedError: A policy forbids it, ``total`` is not the sum of the contributions, or too
            few holders are there: then nobody was asked, and nothing is written down.
          CorruptMessageError: A contribution is damaged, forged or of another run.
        """
        self._round += 1
        request: ByHolders | ByOpener = ByOpener(self._run, self._scheme.parameters.dim)
        if isinstance(self._scheme, QuorumScheme):
            self._require_present(self._scheme, contributions)
            request = ByHolders(self._run, type(self._scheme), self._scheme.parameters)
        waiting = list(request.ask(self._round, total, contributions, 0.0))
        timers = [said for said in waiting if isinstance(said, SetTimer)]
        while waiting or timers:
            if not waiting:
                waiting += request.late(timers.pop().timer)
                continue
            said = waiting.pop(0)
            if isinstance(said, SetTimer) or said.receiver not in self._present:
                continue
            for answer in self._roles[said.receiver].handle(said):
                if isinstance(answer, Message):
                    taken = request.take(answer)
                    if not isinstance(taken, tuple):
                        return taken
                    waiting += taken
        raise RefusedError("Nobody has anything more to say, and the sum was not opened.")

    def replace(self, name: str, holder: Holder) -> None:
        """Put another in a holder's place: the same one after a restart, say."""
        self.holders[name] = holder
        self._roles[holder_address(name)] = HolderRole(self._run, holder)

    @property
    def _present(self) -> set[str]:
        return {OPENER, *(holder_address(name) for name in self.holders)}

    def _require_present(self, scheme: QuorumScheme, contributions: Sequence[Contribution]) -> None:
        quorum, _ = read_quorum(scheme.parameters, scheme.label)
        if len(self.holders) < quorum.threshold:
            raise RefusedError(
                f"{len(self.holders)} of {len(quorum.names)} holders are there; "
                f"{quorum.threshold} are needed to open a sum. Nothing was opened; try again when "
                "they are back."
            )
        asked = scheme.answering(scheme.parameters, contributions, tuple(self.holders))
        gone = sorted(set(asked) - self.holders.keys())
        if gone:
            raise RefusedError(
                f"Seats {', '.join(gone)} have sent and are gone: without their own masks this sum "
                "can't be opened. Run the round again."
            )
