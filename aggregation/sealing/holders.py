"""Several holders who open together, each of whom checks everything itself.

An opening has three steps, so that nothing is used up by what can't be opened, and no two quorums
can be given overlapping sets of contributions:

1. *try*: each holder checks signatures, policy and sum on its own, and whether it can answer for
   each contribution; nothing is written down;
2. *commit*: it writes the proposal down and signs exactly this set of ciphertexts, under this
   number in the run's chain, for good;
3. *answer*: only with valid commitments of ``threshold`` holders to the same proposal does it use
   its secret. What it answered, and to what it committed, it finds again on its own disk.

Two quorums of t among k share at least 2t - k holders. With more than ``corrupt`` of them, an
honest one is in both, and it never commits to a contribution twice, nor twice under one number.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from aggregation.sealing import material
from aggregation.sealing.answers import Answer, Commitment, Parts
from aggregation.sealing.contribution import Contribution
from aggregation.sealing.envelope import Kind
from aggregation.sealing.parameters import Parameters
from aggregation.sealing.policy import Policy
from aggregation.sealing.proposal import Place, Proposal
from aggregation.sealing.quorum import HolderSecret, read_quorum, vouchers
from aggregation.sealing.roles import Adder, Scheme, require_total
from privacy.errors import CorruptMessageError, RefusedError
from privacy.ledger.log import canonical
from privacy.ledger.log.keys import SigningKey

__all__ = ["Holder", "QuorumScheme"]

_FIRST = Place()


class Holder(ABC):
    """One holder's half of an opening: its own policy, its commitment, its answer.

    Guarantees (each is a test in ``tests/aggregation/sealing/test_holders.py``):
      - it commits to a set of contributions only if its own policy allows it and ``total`` is their
        sum, to each contribution once, and to one sum under each number of a run;
      - what it could not answer for it says beforehand, and nothing is used up by it;
      - it takes an opening for agreed only with commitments of ``threshold`` holders to the very
        set that it committed to itself;
      - made anew on the same log, it commits and answers as before.

    Args:
      name: Its name in the quorum.
      secret: Its keys.
      policy: Its own policy, with its own log.
      adder: To add the signed ciphertexts again; of the run's parameters.
      held: What it holds beside its keys; each scheme has its own.
    """

    def __init__(
        self, name: str, secret: HolderSecret, policy: Policy, adder: Adder, held: bytes = b""
    ) -> None:
        self.name = name
        self.quorum, public = read_quorum(adder.parameters, adder.label)
        self.policy = policy
        self.key = secret.key
        self._secret, self._held = secret, held
        self._keys = {name: theirs.sign for name, theirs in public.items()}
        self._adder = adder
        self.parameters = adder.parameters
        self._last: tuple[tuple[Any, ...], Proposal] | None = None  # asked for, spelled out
        self._tried: tuple[str, Any] | None = None  # the last proposal, and what it opens with

    def to_bytes(self) -> bytes:
        """Return this holder's material **with its secret**, to be read by ``load_holder``.

        Keep it where its key is kept; it never travels.
        """
        names = [self.name, self._secret.box.hex(), self._secret.sign.hex()]
        content = canonical.encode(names) + b"\n" + self._held
        return material.join(Kind.OPENER, self._adder.label, self.parameters, content)

    def try_(
        self, total: bytes, contributions: Sequence[Contribution], place: Place = _FIRST
    ) -> tuple[str, ...]:
        """Check what may be opened; nothing is written down.

        Returns:
          The hospitals whose contributions this holder can't answer for: their boxes don't open,
          or their ledgers' heads don't extend the last ones seen.

        Raises:
          RefusedError: As ``Opener.open``; or another sum has this number.
          CorruptMessageError: As ``Opener.open``.
        """
        proposal, rolled_back = self.proposal(total, contributions, place), frozenset[str]()
        if self._record_of(proposal) is None:
            self.policy.check(contributions, self.parameters)
            rolled_back = frozenset(self.policy.rolled_back(contributions))
            self.policy.log.require_place(proposal)
            self._require_key()
        bad = []
        opened = []
        self._adder.clear()
        for contribution in contributions:
            content = self._adder.add(contribution.sealed)
            if contribution.hospital in rolled_back:
                bad.append(contribution.hospital)
                continue
            try:
                opened.append(self._open_piece(contribution, content, place))
            except CorruptMessageError:
                bad.append(contribution.hospital)
        require_total(self._adder, total)
        self._tried = None if bad else (proposal.digest, opened)
        return tuple(bad)

    def proposal(
        self, total: bytes, contributions: Sequence[Contribution], place: Place = _FIRST
    ) -> Proposal:
        """Return what is asked for, spelled out; nothing is checked.

        Raises:
          RefusedError: No contributions.
        """
        if not contributions:
            raise RefusedError("A sum of no contributions was asked for. Wait for some.")
        cache_key = (place, total, *contributions)
        if self._last is None or self._last[0] != cache_key:
            spelled = Proposal.of(place, self.parameters.digest, total, contributions)
            self._last = cache_key, spelled
        return self._last[1]

    def commit(
        self, total: bytes, contributions: Sequence[Contribution], place: Place = _FIRST
    ) -> Commitment:
        """Check an opening, write it down, and sign it; the same again if it was written down.

        Raises:
          RefusedError: As ``try_``.
          CorruptMessageError: As ``try_``, or a contribution can't be answered for.
        """
        proposal, _ = self._ready(total, contributions, place)
        if self._record_of(proposal) is None:
            self.policy.record(contributions, proposal.total, proposal)
        return Commitment.sign(self.key, self.name, proposal.digest)

    def answer(
        self,
        total: bytes,
        contributions: Sequence[Contribution],
        commitments: Sequence[Commitment],
        place: Place = _FIRST,
    ) -> tuple[Answer, Parts]:
        """Return this holder's signed part of an agreed opening; each scheme has its own.

        Raises:
          RefusedError: This holder did not commit to it, or too few others did.
        """
        number = self._record_of(self.proposal(total, contributions, place))
        if number is None:
            raise RefusedError(
                f"Holder {self.name!r} did not commit to this set of contributions, or to another "
                "one with some of them; it answers for what it committed to alone."
            )
        proposal, opened = self._ready(total, contributions, place)
        names = {
            c.holder
            for c in commitments
            if c.opening == proposal.digest
            and c.holder in self._keys
            and c.verifies(self._keys[c.holder])
        }
        if len(names) < self.quorum.threshold:
            raise RefusedError(
                f"{len(names)} holders committed to this opening; {self.quorum.threshold} of "
                f"{len(self.quorum.names)} are needed before any of them answers."
            )
        present = tuple(n for n in self.quorum.names if n in names)
        present, parts = self._answer(number, total, opened, present)
        return Answer.sign(self.key, self.name, proposal.digest, present, parts), parts

    def _ready(
        self, total: bytes, contributions: Sequence[Contribution], place: Place
    ) -> tuple[Proposal, list[Any]]:
        """Return the proposal, and what its contributions opened with when it was tried."""
        proposal = self.proposal(total, contributions, place)
        bad: tuple[str, ...] = ()
        if self._tried is None or self._tried[0] != proposal.digest:
            bad = self.try_(total, contributions, place)
        if bad or self._tried is None:
            raise CorruptMessageError(
                f"{self.name!r} can't answer for {', '.join(map(repr, bad))}: the box does not "
                "open or does not hold what the hospital signed (it was made for another holder, "
                "run or hospital, or changed on the way), or the hospital's ledger head does not "
                "extend the last one seen. Open the sum without it, or without this holder."
            )
        return proposal, self._tried[1]

    def _record_of(self, proposal: Proposal) -> int | None:
        """Return the number in this holder's log of what it committed to, or None."""
        return self.policy.log.number_of(proposal.digest)

    def _require_key(self) -> None:
        """Refuse what is beyond the key's use."""
        return

    def _open_piece(self, contribution: Contribution, content: bytes, place: Place) -> Any:
        """Return what this holder answers for a contribution with, from its sealed content.

        Raises:
          CorruptMessageError: It can't answer for it.
        """
        return None

    @abstractmethod
    def _answer(
        self, number: int, total: bytes, opened: Sequence[Any], present: tuple[str, ...]
    ) -> tuple[tuple[str, ...], Parts]:
        """Return the parts of an answer, and the holders present that they are made for.

        Args:
          number: Of the opening in this holder's log.
          total: The sealed sum.
          opened: What ``_open_piece`` returned for each contribution.
          present: Those who have committed.
        """


class QuorumScheme(Scheme):
    """A scheme that several holders open together, each in a place of its own.

    Attributes:
      roles: What adds, and what holds: made from the parameters, and from what a holder was given.
      again: Whether another quorum may answer for what one has left unanswered.
      compared: Whether several holders answer for one part with the same bytes.
      one_each: Whether every contribution is answered for by a part of its own.
    """

    compared: ClassVar[bool] = False
    one_each: ClassVar[bool] = False
    again: ClassVar[bool] = False
    roles: ClassVar[tuple[Callable[[Parameters], Adder], Callable[..., Holder]]]
    _secrets: Mapping[str, HolderSecret]

    def vouched(self, run: str, members: Mapping[str, SigningKey]) -> "QuorumScheme":
        """Have members of a run's roster sign the holders' keys; return the scheme with that.

        In one process; between machines each member signs at home (``quorum.vouchers``).

        Raises:
          InvalidInputError: More holders than members.
        """
        _, public = read_quorum(self.parameters, self.label)
        settings = {**self.parameters.settings, "vouched": vouchers(run, public, members)}
        made = copy.copy(self)
        made.parameters = replace(self.parameters, settings=settings)
        return made

    def adder(self) -> Adder:
        """Return the aggregator's role: no key at all."""
        return self.load_adder(self.parameters)

    @classmethod
    def load_adder(cls, parameters: Parameters, material: bytes = b"") -> Adder:
        """Return the aggregator's role: no key at all; all that it needs is in the parameters."""
        return cls.roles[0](parameters)

    def holder(self, name: str, policy: Policy) -> Holder:
        """Return one holder, with a policy of its own."""
        secret, held = self._secrets[name], self._held(name)
        return self.roles[1](name, secret, policy, self.adder(), held)

    def _held(self, name: str) -> bytes:
        """What a holder is given beside its keys."""
        return b""

    def holders(self, policy: Policy) -> dict[str, Holder]:
        """Return all holders, each with a policy and a log of its own."""
        return {name: self.holder(name, policy.fork(name)) for name in self._secrets}

    @classmethod
    def load_holder(cls, parameters: Parameters, material: bytes, policy: Policy) -> Holder:
        """Return one holder from its material.

        Raises:
          CorruptMessageError: Not the material of a holder that the parameters name.
        """
        keys, _, rest = material.partition(b"\n")
        try:
            name, box, sign = canonical.decode(keys)
            secret = HolderSecret(bytes.fromhex(box), bytes.fromhex(sign))
            ours = parameters.settings["keys"][name]
            if ours != {"box": secret.public.box, "sign": secret.public.sign}:
                raise ValueError("the secret does not belong to the public key of its holder")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptMessageError(f"This is not a holder's secret: {error}.") from error
        return cls.roles[1](name, secret, policy, cls.load_adder(parameters), rest)

    @classmethod
    def answering(
        cls,
        parameters: Parameters,
        contributions: Sequence[Contribution],
        committed: Sequence[str],
    ) -> tuple[str, ...]:
        """Return who has to answer, of those who committed: all of them unless a scheme differs."""
        return tuple(committed)

    @classmethod
    @abstractmethod
    def expected(
        cls, parameters: Parameters, present: Sequence[str], said: Sequence[str]
    ) -> Mapping[str, tuple[str, ...]]:
        """Return the parts that open a sum, each with the holders that answer for it.

        Args:
          parameters: The run's.
          present: Holders that have committed.
          said: The parts that were answered, where they say who is in the sum.
        """

    @classmethod
    @abstractmethod
    def combine(cls, parameters: Parameters, total: bytes, parts: Parts) -> NDArray[np.uint64]:
        """Return the sums of residues from a sealed total and all parts; it takes no secret.

        Raises:
          CorruptMessageError: A part is not what the scheme makes.
        """
