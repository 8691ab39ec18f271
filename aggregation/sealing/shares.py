r"""Additive shares from seeds: the trustless choice, at the bytes of the integers themselves.

A hospital draws one 32-byte seed for each piece of the quorum, sends the server its vector less all
of the seeds' streams, and each holder the seeds of the pieces that it has, in a box that only it
can open:

.. math:: y = x - \sum_A \mathrm{PRG}(k_A) \pmod{2^w}, \qquad
          \sum_i x_i = \sum_i y_i + \sum_A \sum_i \mathrm{PRG}(k_{A,i})

The server adds the :math:`y_i`; a quorum of holders, each having checked the signed contributions
itself, returns sums of streams, a piece at a time: where ``corrupt + 1`` of those present have a
piece, so many answer for it, and a lie of up to ``corrupt`` is seen. Any set of hospitals in any
order can be summed, so that buffers and dropouts need no recovery.

**Trust.** The server and ``threshold - 1`` holders together learn the opened sums and nothing else:
they lack one piece, whose streams hide every update (AES-256 in counter mode under a key that is
used once). ``holders - threshold`` lost holders don't stop the federation. The holders may be the
hospitals themselves, who then need trust nobody else. A box is bound to its hospital's name: nobody
can contribute a copy of another's update, nor a multiple of it, as homomorphic ciphertexts allow.

A content is: the sealer's X25519 key 32 | salt 32 | one hash a seed, 32 each | one box a holder |
masked vector in words. The hashes are signed with the rest: a holder whose box holds another seed
says so before anything is opened, and holders of one piece can't be given different ones. A sealer
agrees once with each holder, and derives each box's key from that agreement and a fresh salt of 256
bits, so that no key is used twice and the nonce may be constant. What it keeps in memory, and
nowhere else, opens its updates of this run until it is closed: who could read that memory could
read its patients. A new agreement an update would take some .2 ms for four holders, and would
protect past updates from such a reader alone.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from numpy.typing import NDArray

from aggregation.sealing.answers import Parts
from aggregation.sealing.boxes import box_cipher
from aggregation.sealing.contribution import Contribution
from aggregation.sealing.envelope import Kind, unwrap
from aggregation.sealing.holders import Holder, QuorumScheme
from aggregation.sealing.parameters import Parameters
from aggregation.sealing.policy import Policy
from aggregation.sealing.proposal import Place
from aggregation.sealing.quorum import (
    HolderPublic,
    HolderSecret,
    Quorum,
    quorum_settings,
    read_quorum,
)
from aggregation.sealing.roles import Adder, Sealer
from aggregation.sealing.streams import SEED, add_streams, lane, subtract_streams
from privacy.errors import CorruptMessageError

__all__ = ["ShareHolder", "Shares"]

_LABEL = "shares/3"
_USE = b"inpatient shares box v2"
_KEY = 32
_SALT = 32
_HASH = 32
_TAG = 16


class Shares(QuorumScheme):
    """A quorum of holders, one run.

    Guarantees (each is a test in ``tests/aggregation/sealing/test_shares.py``):
      - opens to the same integers as ``plain``, whichever quorum answers;
      - an update is ``word`` bytes a coordinate and a constant (at most 1.1 times the integers in
        clear from 10,000 coordinates on);
      - all that the server and ``threshold - 1`` holders have is independent of an update but for
        one piece's stream;
      - a box opened under another hospital's name fails.
    """

    label = _LABEL
    again = True
    compared = True
    trust = (
        "The server and fewer holders than the threshold, together, learn the opened sums alone; "
        "enough holders together with the server could open an update."
    )

    def __init__(self, parameters: Parameters, secrets: Mapping[str, HolderSecret]) -> None:
        self.parameters = parameters
        self._secrets = dict(secrets)

    @classmethod
    def make(
        cls,
        *,
        dim: int,
        contributors: int,
        bound: int,
        holders: Sequence[str] = ("holder 1", "holder 2", "holder 3", "holder 4"),
        threshold: int = 3,
        corrupt: int = 1,
    ) -> "Shares":
        """Agree on the quorum and make all holders' keys, in one process.

        Between machines each holder runs ``HolderSecret.generate`` at home and publishes the public
        half; ``public_parameters`` then makes the same parameters from these.

        Raises:
          InvalidInputError: The quorum is unsafe (``Quorum``).
        """
        quorum = Quorum(tuple(holders), threshold, corrupt)
        secrets = {name: HolderSecret.generate() for name in quorum.names}
        public = {name: secret.public for name, secret in secrets.items()}
        return cls(
            cls.public_parameters(quorum, public, dim=dim, contributors=contributors, bound=bound),
            secrets,
        )

    @staticmethod
    def public_parameters(
        quorum: Quorum,
        public: Mapping[str, HolderPublic],
        *,
        dim: int,
        contributors: int,
        bound: int,
    ) -> Parameters:
        """Return the run's parameters from the holders' public keys."""
        settings = {"library": _LABEL, **quorum_settings(quorum, public)}
        return Parameters("shares", dim, contributors, bound, settings)

    def sealer(self, hospital: str) -> Sealer:
        """Return the role of one hospital: the holders' public keys."""
        return _Sealer(self.parameters, hospital)

    @classmethod
    def expected(
        cls, parameters: Parameters, present: Sequence[str], said: Sequence[str]
    ) -> Mapping[str, tuple[str, ...]]:
        """Each piece, from ``corrupt + 1`` holders where so many have it: a lie is then seen."""
        quorum, _ = read_quorum(parameters, _LABEL)
        answered = quorum.answered_by(present, quorum.corrupt + 1)
        return {str(piece): names for piece, names in enumerate(answered)}

    @classmethod
    def combine(cls, parameters: Parameters, total: bytes, parts: Parts) -> NDArray[np.uint64]:
        """Add the streams of all pieces to the masked sum; unreduced."""
        largest = parameters.dim * parameters.word
        content = unwrap(total, Kind.TOTAL, _LABEL, parameters.digest, largest=largest)
        sums = parameters.from_words(content)
        for words in parts.values():
            parameters.add_words(sums, words)
        return sums

    @classmethod
    def load_sealer(cls, parameters: Parameters, material: bytes, hospital: str) -> Sealer:
        """Return a hospital's role; all that it needs is in the parameters."""
        return _Sealer(parameters, hospital)


class _Sealer(Sealer):
    label = _LABEL

    def __init__(self, parameters: Parameters, hospital: str) -> None:
        super().__init__(parameters, hospital)
        self._quorum, public = read_quorum(parameters, _LABEL)
        ephemeral = X25519PrivateKey.generate()
        self._key = ephemeral.public_key().public_bytes_raw()
        self._agreed: dict[str, tuple[bytes, bytes]] = {}
        for name in self._quorum.names:
            theirs = bytes.fromhex(public[name].box)
            shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(theirs))
            self._agreed[name] = shared, theirs

    def _seal(self, residues: NDArray[np.uint64]) -> Sequence[bytes]:
        seeds = [os.urandom(SEED) for _ in self._quorum.pieces]
        bits = self.parameters.bits
        masked = residues.astype(lane(bits))
        subtract_streams(masked, seeds)
        masked &= masked.dtype.type((1 << bits) - 1)
        salt, bound = os.urandom(_SALT), _bound(self.parameters, self.hospital)
        boxes = []
        for name, (shared, theirs) in self._agreed.items():
            box = box_cipher(shared, self._key, theirs, use=_USE, salt=salt)
            content = b"".join(seeds[i] for i in self._quorum.held_by(name))
            boxes.append(box.encrypt(bytes(12), content, bound))
        hashes = [_hash(seed, piece) for piece, seed in enumerate(seeds)]
        return self._key, salt, *hashes, *boxes, self.parameters.to_words(masked)


class _Adder(Adder):
    label = _LABEL

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        quorum, _ = read_quorum(parameters, _LABEL)
        self._head = _head_size(quorum)
        self._clear()

    def _add(self, content: bytes) -> None:
        self.parameters.add_words(self._sums, content, self._head)

    def _total(self) -> bytes:
        mask = self._sums.dtype.type((1 << self.parameters.bits) - 1)
        return self.parameters.to_words(self._sums & mask)

    def _clear(self) -> None:
        self._sums = np.zeros(self.parameters.dim, dtype=lane(self.parameters.bits))

    def _largest(self) -> int:
        return self._head + self.parameters.dim * self.parameters.word


class ShareHolder(Holder):
    """One holder of seeds."""

    def __init__(
        self, name: str, secret: HolderSecret, policy: Policy, adder: Adder, held: bytes = b""
    ) -> None:
        super().__init__(name, secret, policy, adder, held)
        self._private = X25519PrivateKey.from_private_bytes(secret.box)

    def _answer(
        self, number: int, total: bytes, opened: Sequence[Any], present: tuple[str, ...]
    ) -> tuple[tuple[str, ...], Parts]:
        """Return the sum of the streams of each of this holder's pieces, in words.

        Answering once more for the same contributions, with another quorum, is safe: the streams
        are fixed, and only their sums over this one set ever leave.
        """
        mine = self.quorum.held_by(self.name)
        answered = self.quorum.answered_by(present, self.quorum.corrupt + 1)
        bits, dim, parts = self.parameters.bits, self.parameters.dim, {}
        for place, piece in enumerate(mine):
            if self.name in answered[piece]:
                sums = np.zeros(dim, dtype=lane(bits))
                add_streams(sums, [seeds[place] for seeds in opened])
                sums &= sums.dtype.type((1 << bits) - 1)
                parts[str(piece)] = self.parameters.to_words(sums)
        return present, parts

    def _open_piece(self, contribution: Contribution, content: bytes, place: Place) -> list[bytes]:
        sender, salt, start = content[:_KEY], content[_KEY : _KEY + _SALT], _KEY + _SALT
        hashes = content[start : start + _HASH * len(self.quorum.pieces)]
        start += len(hashes)
        for name in self.quorum.names:
            size = _box_size(self.quorum, name)
            if name == self.name:
                break
            start += size
        ours = self._private.public_key().public_bytes_raw()
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(sender))
            opened = box_cipher(shared, sender, ours, use=_USE, salt=salt).decrypt(
                bytes(12),
                content[start : start + size],
                _bound(self.parameters, contribution.hospital),
            )
        except (InvalidTag, ValueError) as error:
            raise CorruptMessageError(
                f"The box of {contribution.hospital!r} for {self.name!r} does not open: it was "
                "made for another holder, run or hospital, or changed on the way."
            ) from error
        seeds = [opened[i : i + SEED] for i in range(0, len(opened), SEED)]
        for piece, seed in zip(self.quorum.held_by(self.name), seeds, strict=True):
            if _hash(seed, piece) != hashes[_HASH * piece : _HASH * (piece + 1)]:
                raise CorruptMessageError(
                    f"{contribution.hospital!r} gave {self.name!r} another seed of piece {piece} "
                    "than the one whose hash it signed; other holders may have that one."
                )
        return seeds


Shares.roles = _Adder, ShareHolder


def _box_size(quorum: Quorum, name: str) -> int:
    return SEED * len(quorum.held_by(name)) + _TAG


def _head_size(quorum: Quorum) -> int:
    hashes = _HASH * len(quorum.pieces)
    return _KEY + _SALT + hashes + sum(_box_size(quorum, name) for name in quorum.names)


def _hash(seed: bytes, piece: int) -> bytes:
    """What a hospital signs of a seed, so that all holders of a piece have the same."""
    return hashlib.sha256(b"inpatient seed v1" + piece.to_bytes(4, "little") + seed).digest()


def _bound(parameters: Parameters, hospital: str) -> bytes:
    return bytes.fromhex(parameters.digest) + hospital.encode()
