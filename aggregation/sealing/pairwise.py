r"""Pairwise masks with dropout recovery, as a baseline; synchronous rounds only.

After Bonawitz et al. 2017 (Practical Secure Aggregation), with 256-bit keys throughout:

.. math:: y_i = x_i + \mathrm{PRG}(b_{i,r,s}) + \sum_{j > i} \mathrm{PRG}(k_{ij,r})
                - \sum_{j < i} \mathrm{PRG}(k_{ij,r}) \pmod{2^w}

where :math:`k_{ij,r}` and :math:`b_{i,r,s}` are derived for round r from a key agreed by i and j
and, with a salt s that is drawn anew each time, from one that i alone has. In the sum of all, pairs
cancel. To open a sum, each contributor, having committed to the set with a majority of the others
(``holders``), reveals its :math:`b_{i,r,s}` and, for each seat that dropped out before sending,
:math:`k_{ij,r}`; never both of one hospital.

**Trust.** The server and fewer than half of the hospitals learn the sum of the others alone.
**Limits.** Masks cancel within one round of one cohort: buffers of updates from different rounds
can't be summed (the adder refuses them). A hospital that sends and is gone before it answers stops
that opening; the round is run again. Work grows with the square of the cohort. A sealer holds its
hospital's own mask keys, which open nobody else's update.

A machine that was put back to an older state, and seals for a round once more, has the same pairs'
masks but another mask of its own: the difference of its two updates stays hidden as long as it
reveals one of the two. It reveals both only to a server that tells two majorities two stories, and
where nobody but this machine is in both.

A content is: seat 2 | round 4 | salt 32 | masked vector in words. Hospitals take seats in the order
in which their sealers are made.
"""

import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from aggregation.sealing.answers import Parts
from aggregation.sealing.contribution import Contribution
from aggregation.sealing.envelope import Kind, unwrap
from aggregation.sealing.holders import Holder, QuorumScheme
from aggregation.sealing.parameters import Parameters
from aggregation.sealing.policy import Policy
from aggregation.sealing.proposal import Place
from aggregation.sealing.quorum import HolderSecret, Quorum, quorum_settings, read_quorum
from aggregation.sealing.roles import Adder, Sealer
from aggregation.sealing.streams import add_streams, lane, stream, subtract_streams
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError

__all__ = ["MaskHolder", "Pairwise", "PairwiseSealer"]

_LABEL = "pairwise/2"
_PLACE = struct.Struct("<HI")
_HEAD = struct.Struct("<HI32s")
_ROUND = struct.Struct("<I")
_SEED = 32
_SALT = 32


class Pairwise(QuorumScheme):
    """One cohort, one run.

    Guarantees (each is a test in ``tests/aggregation/sealing/test_pairwise.py``):
      - opens to the same integers as ``plain``, whoever dropped out before sending;
      - updates of two rounds are never summed, and no round is sealed twice, by a copy neither;
      - no hospital reveals its own mask and a pair's mask of the same other hospital.
    """

    label = _LABEL
    one_each = True
    trust = (
        "The server and fewer than half of the hospitals learn the sum of the others alone; every "
        "contributor must stay until it has answered."
    )

    def __init__(self, parameters: Parameters, secrets: Mapping[str, HolderSecret]) -> None:
        self.parameters = parameters
        self._secrets = dict(secrets)
        self._sealers: dict[str, PairwiseSealer] = {}

    @classmethod
    def make(cls, *, dim: int, contributors: int, bound: int) -> "Pairwise":
        """Make all hospitals' keys, in one process; each makes its own between machines."""
        names = tuple(str(seat) for seat in range(contributors))
        quorum = Quorum(names, contributors // 2 + 1, 0)
        secrets = {name: HolderSecret.generate() for name in names}
        public = {name: secret.public for name, secret in secrets.items()}
        settings = {"library": _LABEL, **quorum_settings(quorum, public)}
        return cls(Parameters("pairwise", dim, contributors, bound, settings), secrets)

    def sealer(self, hospital: str) -> "PairwiseSealer":
        """Return the role of one hospital, which takes the next seat: the same one if asked again.

        Raises:
          InvalidInputError: All seats are taken.
        """
        if hospital in self._sealers:
            return self._sealers[hospital]
        seat = len(self._sealers)
        if seat >= self.parameters.contributors:
            raise InvalidInputError(
                f"All {self.parameters.contributors} seats are taken; {hospital!r} has none. Make "
                "the scheme for more contributors."
            )
        made = PairwiseSealer(self.parameters, hospital, seat, self._secrets[str(seat)].box)
        return self._sealers.setdefault(hospital, made)

    @classmethod
    def answering(
        cls,
        parameters: Parameters,
        contributions: Sequence[Contribution],
        committed: Sequence[str],
    ) -> tuple[str, ...]:
        """Return the seats of the contributors: no other seat reveals anything."""
        seats, _ = _seats(contributions, _Adder(parameters), parameters)
        return tuple(str(seat) for seat in sorted(seats))

    @classmethod
    def expected(
        cls, parameters: Parameters, present: Sequence[str], said: Sequence[str]
    ) -> Mapping[str, tuple[str, ...]]:
        """One part from each seat that says that it is in the sum."""
        quorum, _ = read_quorum(parameters, _LABEL)
        return {seat: (seat,) for seat in quorum.names if seat in said}

    @classmethod
    def combine(cls, parameters: Parameters, total: bytes, parts: Parts) -> NDArray[np.uint64]:
        """Take the contributors' own masks off the sum, and their pairs with those who dropped."""
        dropped = [n for n in range(parameters.contributors) if str(n) not in parts]
        largest = _ROUND.size + parameters.dim * parameters.word
        content = unwrap(total, Kind.TOTAL, _LABEL, parameters.digest, largest=largest)
        sums = parameters.from_words(content[_ROUND.size :])
        for name, revealed in parts.items():
            if len(revealed) != _SEED * (1 + len(dropped)):
                raise CorruptMessageError(
                    f"Seat {name} revealed {len(revealed)} bytes of seeds; its own and those with "
                    f"{len(dropped)} seats that dropped out are {_SEED * (1 + len(dropped))}."
                )
            seeds = [revealed[i : i + _SEED] for i in range(0, len(revealed), _SEED)]
            sums = sums - _expand(seeds[0], parameters)
            for other, seed in zip(dropped, seeds[1:], strict=True):
                sums = sums - _signed(_expand(seed, parameters), int(name), other)
        return sums

    @classmethod
    def load_sealer(cls, parameters: Parameters, material: bytes, hospital: str) -> Sealer:
        """Return a hospital's role from its material: round, seat and its own key."""
        if len(material) != _PLACE.size + _SEED:
            raise CorruptMessageError("This is not the material of a pairwise sealer.")
        seat, round_ = _PLACE.unpack_from(material)
        return PairwiseSealer(parameters, hospital, seat, material[_PLACE.size :], round_)


class PairwiseSealer(Sealer):
    """Masks one hospital's vectors; what was handed on as bytes, this one masks no more.

    Attributes:
      round: The round of the next seal; set it higher after rounds that the hospital missed.
    """

    label = _LABEL

    def __init__(
        self, parameters: Parameters, hospital: str, seat: int, secret: bytes, round_: int = 0
    ) -> None:
        super().__init__(parameters, hospital)
        self.round = round_
        self._seat = seat
        self._secret = secret
        self._masks = _Masks(parameters, seat, secret)
        self._sealed = round_ - 1
        self._handed_on = False

    def __reduce__(self) -> NoReturn:
        raise InvalidInputError(
            "A sealer of pairwise masks is neither copied nor pickled: two would use one round's "
            "masks twice, and the difference of two updates could show. Hand it on by to_bytes."
        )

    def _begin(self, round_: int | None) -> None:
        round_ = self.round if round_ is None else round_
        if self._handed_on:
            raise RefusedError(
                f"The keys of {self.hospital!r} were handed on as bytes; whoever loads them seals, "
                "and this sealer no more: the same masks would hide two updates."
            )
        if round_ <= self._sealed:
            raise RefusedError(
                f"{self.hospital!r} has sealed an update for round {self._sealed}; a second one "
                f"for round {round_} with the same pairs could show their difference."
            )
        self.round = round_

    def _seal(self, residues: NDArray[np.uint64]) -> Sequence[bytes]:
        bits, masks, salt = self.parameters.bits, self._masks, os.urandom(_SALT)
        above = range(self._seat + 1, self.parameters.contributors)
        masked = residues.astype(lane(bits))
        added = [masks.pair_seed(seat, self.round) for seat in above]
        add_streams(masked, [masks.own_seed(self.round, salt), *added])
        subtracted = [masks.pair_seed(seat, self.round) for seat in range(self._seat)]
        subtract_streams(masked, subtracted)
        masked &= masked.dtype.type((1 << bits) - 1)
        head = _HEAD.pack(self._seat, self.round, salt)
        self._sealed, self.round = self.round, self.round + 1
        return head, self.parameters.to_words(masked)

    def _material(self) -> bytes:
        self._handed_on = True
        return _PLACE.pack(self._seat, max(self.round, self._sealed + 1)) + self._secret


class _Adder(Adder):
    label = _LABEL

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self._sums = np.zeros(parameters.dim, dtype=np.uint64)
        self._round: int | None = None
        self._seats: set[int] = set()

    def _add(self, content: bytes) -> None:
        seat, round_, _ = _head(content, self.parameters)
        if self._round not in (None, round_):
            raise RefusedError(
                f"An update of round {round_} was to be added to a sum of round {self._round}: "
                "pairwise masks cancel within one round only. Use bfv, shares or threshold where "
                "updates of different rounds meet."
            )
        if seat in self._seats:
            raise CorruptMessageError(f"Seat {seat} has sent two updates in round {round_}.")
        self.parameters.add_words(self._sums, content, _HEAD.size)
        self._round = round_
        self._seats.add(seat)

    def _total(self) -> bytes:
        words = self.parameters.to_words(_reduced(self._sums, self.parameters))
        return _ROUND.pack(self._round or 0) + words

    def _clear(self) -> None:
        self._sums = np.zeros(self.parameters.dim, dtype=np.uint64)
        self._round = None
        self._seats = set()

    def _largest(self) -> int:
        return _HEAD.size + self.parameters.dim * self.parameters.word


class MaskHolder(Holder):
    """One hospital's answering half: reveals mask seeds of an agreed opening; named by its seat."""

    def __init__(
        self, name: str, secret: HolderSecret, policy: Policy, adder: Adder, held: bytes = b""
    ) -> None:
        super().__init__(name, secret, policy, adder, held)
        self._seat = int(name)
        self._masks = _Masks(adder.parameters, self._seat, secret.box)

    def _open_piece(
        self, contribution: Contribution, content: bytes, place: Place
    ) -> tuple[int, bytes]:
        """Return seat and salt of a contribution of the round that the place in the chain has.

        One sum is committed to under a number, so that one set of seats is answered in a round: a
        second answer could bare a hospital that is in one and not in the other.
        """
        seat, round_, salt = _head(content, self.parameters)
        if round_ != place.number:
            raise CorruptMessageError(
                f"{contribution.hospital!r} masked its update for round {round_}; this is opening "
                f"{place.number}, and masks are revealed in their own round alone."
            )
        return seat, salt

    def _answer(
        self, number: int, total: bytes, opened: Sequence[Any], present: tuple[str, ...]
    ) -> tuple[tuple[str, ...], Parts]:
        """Return this seat's own seed, and those of its pairs with seats that dropped out.

        Raises:
          RefusedError: This seat is not in the sum.
        """
        salts: dict[int, bytes] = dict(opened)
        if self._seat not in salts:
            raise RefusedError(
                f"Seat {self.name} is not in this sum; its own mask, beside its pairs' masks from "
                "the others, would bare an update of its that came late."
            )
        content = unwrap(total, Kind.TOTAL, _LABEL, self.parameters.digest, largest=len(total))
        (round_,) = _ROUND.unpack_from(content)
        dropped = [n for n in range(self.parameters.contributors) if n not in salts]
        pairs = [self._masks.pair_seed(seat, round_) for seat in dropped]
        own_seed = self._masks.own_seed(round_, salts[self._seat])
        return present, {self.name: b"".join([own_seed, *pairs])}


Pairwise.roles = _Adder, MaskHolder


class _Masks:
    """The seeds of one seat: its own, and those that it shares with every other."""

    def __init__(self, parameters: Parameters, seat: int, secret: bytes) -> None:
        _, self._public = read_quorum(parameters, _LABEL)
        self._parameters = parameters
        self._seat = seat
        self._own = secret
        self._private = X25519PrivateKey.from_private_bytes(secret)
        self._agreed: dict[int, bytes] = {}

    def own_seed(self, round_: int, salt: bytes) -> bytes:
        return _derive(self._own, b"self", round_, salt)

    def pair_seed(self, seat: int, round_: int) -> bytes:
        if seat not in self._agreed:
            theirs = bytes.fromhex(self._public[str(seat)].box)
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(theirs))
            self._agreed[seat] = shared
        return _derive(self._agreed[seat], b"pair", round_)


def _derive(key: bytes, kind: bytes, round_: int, salt: bytes | None = None) -> bytes:
    info = b"inpatient pairwise v2 " + kind + _ROUND.pack(round_)
    return HKDF(SHA256(), _SEED, salt=salt, info=info).derive(key)


def _expand(seed: bytes, parameters: Parameters) -> NDArray[np.uint64]:
    return stream(seed, parameters.dim, parameters.bits).astype(np.uint64)


def _signed(mask: NDArray[np.uint64], seat: int, other: int) -> NDArray[np.uint64]:
    """Add at the lower seat of a pair, subtract at the higher (modulo 2^64)."""
    return mask if seat < other else np.uint64(0) - mask


def _reduced(sums: NDArray[np.uint64], parameters: Parameters) -> NDArray[np.uint64]:
    return sums & np.uint64((1 << parameters.bits) - 1)


def _head(content: bytes, parameters: Parameters) -> tuple[int, int, bytes]:
    if len(content) < _HEAD.size:
        raise CorruptMessageError("A masked update is too short to name its seat and round.")
    seat, round_, salt = _HEAD.unpack_from(content)
    if seat >= parameters.contributors:
        raise CorruptMessageError(f"A masked update names seat {seat}, which this run has not.")
    return seat, round_, salt


def _seats(
    contributions: Sequence[Contribution], adder: Adder, parameters: Parameters
) -> tuple[frozenset[int], int]:
    heads = [_head(adder.open_frame(c.sealed), parameters) for c in contributions]
    return frozenset(seat for seat, _, _ in heads), heads[0][1]
