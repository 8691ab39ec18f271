r"""Threshold RLWE, add-only: nobody ever holds the key, against parties that follow the protocol.

*Keys.* For each piece A of the quorum there is a ternary :math:`s_A`, known to its holders alone;
the joint key is :math:`b = \sum_A b_A` with :math:`b_A = -a s_A + e_A`, and its secret
:math:`s = \sum_A s_A` never exists anywhere (``joint_key``, which says how pieces are drawn so that
nobody chooses the sum).

*Seal.* :math:`c_0 = b u + e_0 + Q m,\; c_1 = a u + e_1` with ternary u. *Add* ciphertexts.

*Open.* Each holder of a quorum, having committed (``holders``), answers once with
:math:`d = c_1 \sum_{A \text{ its}} s_A + f`, where f is uniform on :math:`[-2^k, 2^k)`; then
:math:`c_0 + \sum d = Q m + e + \sum f`, read exactly (``rlwe``).

**Security argument** (as in Mouchet et al. 2021, "Multiparty homomorphic encryption from RLWE",
sections 4 and 5, restricted to addition):

1. *Updates are hidden.* ``threshold - 1`` holders lack one :math:`s_A`; given all else, :math:`b`
is an
   RLWE sample under it, and a ciphertext under a pseudo-random b is pseudo-random. Ternary secret,
   N and log q within 128 bits of the HE standard.
2. *Answers tell the sum alone.* The honest answers can be simulated from the sum: what they add to
it is
   the noise e of the ciphertexts, a shift of f by at most |e| in each coefficient. The statistical
   distance is :math:`\sum |e_i| / 2^{k+1}` over all coefficients of all openings; k makes it at
   most :math:`2^{-40}` for ``openings`` openings, after which holders demand a new key. Two answers
   to one opening would halve the protection: a holder keeps its answer, and sends the same again.
3. *Exactness.* :math:`|e| + |{\textstyle\sum} f| < Q/2`: the smudging is bounded by ``holders``
times
   :math:`2^k`, and the noise stays within 13 standard deviations of
   :math:`3.24 \sqrt{n(1 + 4PN/3)}` for n contributions and P pieces.

**Limits.** All of this is for contributions that are ciphertexts. A hospital that *makes up* a
ciphertext :math:`(0, Q K)` puts :math:`K s` into the opened sum and reads the joint secret off it;
with the server's ciphertexts it then opens updates (a test does it). Well-formedness would need a
zero-knowledge proof a contribution. The same holds for every scheme of this kind, single-key BFV
and CKKS included; the scheme ``shares`` with the hospitals as holders has no such weakness, and is
the one to choose where a hospital may be malicious.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.sealing.answers import Parts
from aggregation.sealing.envelope import Kind, unwrap
from aggregation.sealing.holders import Holder, QuorumScheme
from aggregation.sealing.joint_key import JointKey, common_polynomial
from aggregation.sealing.parameters import Parameters
from aggregation.sealing.policy import Policy
from aggregation.sealing.quorum import HolderSecret, Quorum, quorum_settings
from aggregation.sealing.rlwe import Residues, noise, ternary
from aggregation.sealing.roles import Adder, Sealer
from aggregation.sealing.threshold_layout import LABEL, read_layout
from privacy.errors import CorruptMessageError, RefusedError
from privacy.ledger.log import canonical

__all__ = ["KeyHolder", "Threshold"]

_LABEL = LABEL


class Threshold(QuorumScheme):
    """A joint key, one run.

    Guarantees (each is a test in ``tests/aggregation/sealing/test_threshold.py``):
      - opens to the same integers as ``plain`` and ``bfv``, bit for bit, whichever quorum answers;
      - ring and modulus have 128 bits by the HE standard's table, and the margin holds;
      - a holder makes one answer to each opening, kept and sent again as it is, and no more than
        ``openings`` in all.
    """

    label = _LABEL
    trust = (
        "Fewer holders than the threshold, with the server, learn the opened sums alone, provided "
        "that hospitals send real ciphertexts; a hospital that makes one up can learn the key."
    )

    def __init__(
        self,
        parameters: Parameters,
        public: bytes,
        secrets: Mapping[str, HolderSecret],
        pieces: Sequence[NDArray[np.int64]],
    ) -> None:
        self.parameters = parameters
        self._public = public
        self._secrets = dict(secrets)
        self._pieces = tuple(pieces)

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
        openings: int = 1000,
    ) -> "Threshold":
        """Choose parameters and make the joint key, all holders in one process.

        Between machines each holder draws its pieces at home (``JointKey``).

        Raises:
          InvalidInputError: An unsafe quorum, or no parameters hold such a sum.
        """
        quorum = Quorum(tuple(holders), threshold, corrupt)
        secrets = {name: HolderSecret.generate() for name in quorum.names}
        public = {name: secret.public for name, secret in secrets.items()}
        context = canonical.digest(canonical.encode(quorum_settings(quorum, public)))
        key = JointKey(dim, contributors, bound, quorum, openings, context)
        drawn = {name: key.draw(name) for name in quorum.names}
        pieces = {
            piece: secret
            for name, (piece_secrets, _) in drawn.items()
            for piece, secret in zip(key.led_by(name), piece_secrets, strict=True)
        }
        published = {name: content for name, (_, content) in drawn.items()}
        said = {name: key.commitment(name, content) for name, content in published.items()}
        joint = key.joined(published, said)
        ordered = [pieces[piece] for piece in range(len(quorum.pieces))]
        return cls(key.parameters(public, joint), joint, secrets, ordered)

    def sealer(self, hospital: str) -> Sealer:
        """Return the role of one hospital: the joint public key."""
        return _Sealer(self.parameters, hospital, self._public)

    def _held(self, name: str) -> bytes:
        _, quorum = read_layout(self.parameters)
        return b"".join(self._pieces[i].astype(np.int8).tobytes() for i in quorum.held_by(name))

    @classmethod
    def expected(
        cls, parameters: Parameters, present: Sequence[str], said: Sequence[str]
    ) -> Mapping[str, tuple[str, ...]]:
        """One part from each holder present that has pieces to answer for; none is checked."""
        _, quorum = read_layout(parameters)
        needed = {name for (name,) in quorum.answered_by(present)}
        return {name: (name,) for name in quorum.names if name in needed}

    @classmethod
    def combine(cls, parameters: Parameters, total: bytes, parts: Parts) -> NDArray[np.uint64]:
        """Add all parts to the ciphertexts' sum and read the slots."""
        layout, _ = read_layout(parameters)
        ring, half = layout.ring, layout.half
        content = unwrap(total, Kind.TOTAL, _LABEL, parameters.digest, largest=2 * half)
        phase, second = _Adder(parameters).parse(content)
        for part in parts.values():
            phase = ring.add(phase, ring.from_bytes(part, second.shape[1:]))
        slots = ring.lower(ring.to_coefficients(phase)).ravel()
        return layout.lanes.unpack(slots[: layout.lanes.slots])

    @classmethod
    def load_sealer(cls, parameters: Parameters, material: bytes, hospital: str) -> Sealer:
        """Return a hospital's role from the joint public key that the parameters name."""
        return _Sealer(parameters, hospital, material)


class _Sealer(Sealer):
    label = _LABEL

    def __init__(self, parameters: Parameters, hospital: str, public: bytes) -> None:
        super().__init__(parameters, hospital)
        if canonical.digest(public) != parameters.settings.get("public_key"):
            raise CorruptMessageError(
                "The joint public key is not the one that the parameters name; somebody put "
                "another "
                "in its place. Take both from the plan again."
            )
        self._layout, _ = read_layout(parameters)
        ring = self._layout.ring
        self._public = public
        self._key = ring.from_bytes(public, (ring.degree,))
        self._common = common_polynomial(ring, parameters.settings["seed"])

    def _seal(self, residues: NDArray[np.uint64]) -> Sequence[bytes]:
        layout, ring = self._layout, self._layout.ring
        shape = (layout.ciphertexts, ring.degree)
        slots = np.zeros(layout.ciphertexts * ring.degree, dtype=np.uint64)
        slots[: layout.lanes.slots] = layout.lanes.pack(residues)
        u = ring.to_values(ring.residues(ternary(shape)))
        message = ring.add(ring.lift(slots.reshape(shape)), ring.residues(noise(shape)))
        error = ring.to_values(ring.residues(noise(shape)))
        first = ring.add(ring.multiply(self._key[:, None], u), ring.to_values(message))
        second = ring.add(ring.multiply(self._common[:, None], u), error)
        return ring.to_bytes(first), ring.to_bytes(second)

    def _material(self) -> bytes:
        return self._public


class _Adder(Adder):
    label = _LABEL

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self._layout, _ = read_layout(parameters)
        self._sums: tuple[Residues, Residues] | None = None

    def parse(self, content: bytes) -> tuple[Residues, Residues]:
        """Return both polynomials of a content.

        Raises:
          CorruptMessageError: Another size, or a residue not below its prime.
        """
        layout = self._layout
        if len(content) != 2 * layout.half:
            raise CorruptMessageError(
                f"Expected {2 * layout.half} bytes of ciphertexts, got {len(content)}."
            )
        shape = (layout.ciphertexts, layout.ring.degree)
        return (
            layout.ring.from_bytes(content[: layout.half], shape),
            layout.ring.from_bytes(content[layout.half :], shape),
        )

    def _add(self, content: bytes) -> None:
        new, ring = self.parse(content), self._layout.ring
        if self._sums is not None:
            new = ring.add(self._sums[0], new[0]), ring.add(self._sums[1], new[1])
        self._sums = new

    def _total(self) -> bytes:
        return b"".join(self._layout.ring.to_bytes(half) for half in self._sums or ())

    def _clear(self) -> None:
        self._sums = None

    def _largest(self) -> int:
        return 2 * self._layout.half


class KeyHolder(Holder):
    """One holder of pieces of the joint key.

    Args:
      name: Its name in the quorum.
      secret: Its own keys.
      policy: Its own, with its own log.
      adder: Of the run's parameters.
      held: Its ternary pieces, in the quorum's order, a byte each.

    Raises:
      CorruptMessageError: ``held`` is something else.
    """

    def __init__(
        self,
        name: str,
        secret: HolderSecret,
        policy: Policy,
        adder: "_Adder",
        held: bytes = b"",
    ) -> None:
        super().__init__(name, secret, policy, adder, held)
        self._layout, quorum = read_layout(adder.parameters)
        mine, degree = quorum.held_by(name), self._layout.ring.degree
        pieces = np.frombuffer(held, dtype=np.int8).astype(np.int64)
        if pieces.size != len(mine) * degree or np.abs(pieces).max(initial=0) > 1:
            raise CorruptMessageError("These are not a holder's pieces of the joint secret.")
        self._pieces = dict(zip(mine, pieces.reshape(len(mine), degree), strict=True))
        self._parse = adder.parse

    def _require_key(self) -> None:
        allowed = int(self.parameters.settings["openings"])
        opened = sum(o.parameters == self.parameters.digest for o in self.policy.log.openings)
        if opened >= allowed:
            raise RefusedError(
                f"{opened} sums were opened under this joint key, as many as its smudging was "
                "sized for. Generate a new key."
            )

    def _answer(
        self, number: int, total: bytes, opened: Sequence[Any], present: tuple[str, ...]
    ) -> tuple[tuple[str, ...], Parts]:
        """Return this holder's smudged part of the decryption: made once, then sent again.

        The average of two answers with smudging of their own would show more than one; so what is
        made is kept before it leaves, whoever is present when it is asked for again.
        """
        kept = self.policy.log.kept(number)
        if kept is None:
            part = self._smudged(total, present)
            kept = canonical.encode(list(present)) + b"\n" + part
            self.policy.log.keep(number, kept)
        names, _, part = kept.partition(b"\n")
        return tuple(canonical.decode(names)), {self.name: part}

    def _smudged(self, total: bytes, present: tuple[str, ...]) -> bytes:
        ring = self._layout.ring
        content = unwrap(total, Kind.TOTAL, _LABEL, self.parameters.digest, largest=len(total))
        _, second = self._parse(content)
        share = np.zeros(ring.degree, dtype=np.int64)
        for piece, names in enumerate(self.quorum.answered_by(present)):
            if names == (self.name,):
                share += self._pieces[piece]
        key = ring.to_values(ring.residues(share))
        smudge = ring.smudge(second.shape[1:], self._layout.smudge_bits)
        return ring.to_bytes(ring.add(ring.multiply(second, key[:, None]), ring.to_values(smudge)))


Threshold.roles = _Adder, KeyHolder
