"""Who holds what, under which keys, and how many are needed to open a sum."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from aggregation.sealing.parameters import Parameters
from privacy._validate import natural
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.ledger.log import canonical
from privacy.ledger.log.keys import SigningKey, verifies
from privacy.names import distinct_names

__all__ = [
    "HolderPublic",
    "HolderSecret",
    "Quorum",
    "quorum_settings",
    "read_quorum",
    "require_vouched",
    "vouch",
    "vouchers",
]


@dataclass(frozen=True)
class HolderPublic:
    """A holder's public keys, in hex.

    Attributes:
      box: X25519: to send it something that it alone can read.
      sign: Ed25519: to verify its commitments.
    """

    box: str
    sign: str


@dataclass(frozen=True)
class HolderSecret:
    """A holder's private keys, 32 bytes each: neither shown nor pickled, they never leave it.

    Attributes:
      box: X25519.
      sign: Ed25519.
    """

    box: bytes = field(repr=False)
    sign: bytes = field(repr=False)

    def __reduce__(self) -> NoReturn:
        raise InvalidInputError(
            "A holder's keys are not pickled; hand on Holder.to_bytes where a key may lie."
        )

    @classmethod
    def generate(cls) -> "HolderSecret":
        """Draw both from the operating system."""
        return cls(os.urandom(32), os.urandom(32))

    @property
    def key(self) -> SigningKey:
        """What commitments are signed with."""
        return SigningKey(Ed25519PrivateKey.from_private_bytes(self.sign))

    @property
    def public(self) -> HolderPublic:
        """The public half."""
        box = X25519PrivateKey.from_private_bytes(self.box).public_key()
        return HolderPublic(box.public_bytes_raw().hex(), self.key.public)


@dataclass(frozen=True)
class Quorum:
    """Who holds what, and how many are needed.

    A secret is dealt in pieces, one for each set of ``threshold - 1`` holders; the members of that
    set are those who do *not* get the piece. Any ``threshold`` holders then know every piece, and
    ``threshold - 1`` of them lack one (replicated secret sharing, Ito, Saito and Nishizeki 1987).

    Attributes:
      names: The holders, in order.
      threshold: Holders that open together.
      corrupt: Holders that may break the protocol with the server.

    Raises:
      InvalidInputError: ``2 threshold <= holders + corrupt``: two quorums without a common honest
        holder, or corrupt ones that open alone.
    """

    names: tuple[str, ...]
    threshold: int
    corrupt: int

    def __post_init__(self) -> None:
        k, t = len(self.names), self.threshold
        natural(threshold=t, least=1)
        natural(corrupt=self.corrupt)
        distinct_names(holders=self.names)
        if len(set(self.names)) != k or t > k:
            raise InvalidInputError(f"Expected at least {t} distinct holders, got {self.names}.")
        if 2 * t <= k + self.corrupt:  # so that t > corrupt, for t <= k
            raise InvalidInputError(
                f"{t} of {k} holders with {self.corrupt} corrupt is unsafe: expected 2 threshold > "
                "holders + corrupt, or two quorums could open overlapping sums. "
                f"Raise the threshold to {(k + self.corrupt) // 2 + 1} or more."
            )

    @property
    def pieces(self) -> tuple[tuple[str, ...], ...]:
        """The sets of holders that lack each piece, in order."""
        return tuple(combinations(self.names, self.threshold - 1))

    def held_by(self, name: str) -> tuple[int, ...]:
        """Return the numbers of the pieces that a holder has."""
        return tuple(i for i, without in enumerate(self.pieces) if name not in without)

    def answered_by(self, present: Sequence[str], copies: int = 1) -> tuple[tuple[str, ...], ...]:
        """Return who answers for each piece when ``present`` answer together.

        The first ``copies`` of the present that have it, or all of them if they are fewer.
        """
        order = [n for n in self.names if n in set(present)]
        return tuple(
            tuple(n for n in order if n not in without)[:copies] for without in self.pieces
        )


def quorum_settings(quorum: Quorum, public: Mapping[str, HolderPublic]) -> dict[str, Any]:
    """Return a quorum and its public keys as settings of the parameters."""
    return {
        "holders": list(quorum.names),
        "threshold": quorum.threshold,
        "corrupt": quorum.corrupt,
        "keys": {
            name: {"box": public[name].box, "sign": public[name].sign} for name in quorum.names
        },
    }


def read_quorum(parameters: Parameters, label: str) -> tuple[Quorum, dict[str, HolderPublic]]:
    """Read what ``quorum_settings`` wrote.

    Raises:
      CorruptMessageError: Not such settings, an unsafe quorum, or of another version.
    """
    settings = parameters.settings
    try:
        if settings["library"] != label:
            raise ValueError(f"made by {settings['library']!r}, not {label!r}")
        quorum = Quorum(tuple(settings["holders"]), settings["threshold"], settings["corrupt"])
        keys = {n: HolderPublic(**settings["keys"][n]) for n in quorum.names}
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptMessageError(f"These parameters name no safe quorum: {error}") from error
    return quorum, keys


def vouchers(
    run: str, public: Mapping[str, HolderPublic], members: Mapping[str, SigningKey]
) -> dict[str, dict[str, str]]:
    """Have a member of the roster sign each holder's keys (in one process).

    A member that is a holder by name signs for itself; else holders in order are signed for by
    members in order. Nobody signs for two: so many corrupt members, so many corrupt holders.

    Raises:
      InvalidInputError: More holders than members.
    """
    named = [name in members for name in public]
    order = list(public) if all(named) else list(members)
    if len(order) < len(public):
        raise InvalidInputError(
            f"{len(members)} members can't vouch for {len(public)} holders, one each. Choose fewer "
            "holders."
        )
    return {
        name: {"by": by, "signature": vouch(run, name, public[name], members[by])}
        for name, by in zip(public, order, strict=False)
    }


def vouch(run: str, name: str, public: HolderPublic, key: SigningKey) -> str:
    """Return a member's signature over one holder's keys, in hex: what it does at home."""
    return key.sign(_statement(run, name, public))


def require_vouched(
    parameters: Parameters, label: str, run: str, members: Mapping[str, str]
) -> None:
    """Refuse parameters with a holder whose keys no member of the roster has signed.

    Raises:
      RefusedError: A holder is not vouched for, or two by one member.
      CorruptMessageError: As ``read_quorum``.
    """
    _, public = read_quorum(parameters, label)
    vouched = parameters.settings.get("vouched")
    by: set[str] = set()
    for name, keys in public.items():
        try:
            # Whatever stands there instead is caught below: the form is a stranger's.
            member, signature = vouched[name]["by"], vouched[name]["signature"]  # type: ignore[index]
            held = verifies(members[member], signature, _statement(run, name, keys))
        except (KeyError, TypeError):
            member, held = "", False
        if not held or member in by:
            raise RefusedError(
                f"No member of the roster of its own vouches for the keys of holder {name!r}: "
                "whoever made these parameters could have made its keys as well. Seal nothing "
                "under them."
            )
        by.add(member)


def _statement(run: str, name: str, keys: HolderPublic) -> bytes:
    named = {"run": run, "holder": name, "box": keys.box, "sign": keys.sign}
    return canonical.encode({"domain": "inpatient holder v1", **named})
