"""Who may contribute: hospitals whose signatures count, and how a newcomer joins them.

A server that could enrol hospitals would invent them until a sum holds one real one (Sybils); so
members vouch for newcomers, with signatures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from aggregation.sealing.contribution import Contribution
from privacy._validate import natural
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.ledger.log import canonical
from privacy.ledger.log.keys import SigningKey, verifies
from privacy.names import distinct_names, plain_name

__all__ = ["Enrolment", "Roster"]


@dataclass(frozen=True)
class Enrolment:
    """A new hospital, or a hospital's new key, with the signatures of members that vouch for it.

    Attributes:
      run: Name of the run.
      hospital: Name of the hospital.
      public_key: Its new Ed25519 key, 64 hex digits.
      signatures: By member name, over ``statement``. A rotation also needs the old key's.
    """

    run: str
    hospital: str
    public_key: str
    signatures: Mapping[str, str]

    @property
    def statement(self) -> bytes:
        """What members sign."""
        return canonical.encode(
            {
                "domain": "inpatient enrolment v1",
                "run": self.run,
                "hospital": self.hospital,
                "public_key": self.public_key,
            }
        )

    @classmethod
    def vouched(
        cls, run: str, hospital: str, public_key: str, members: Mapping[str, SigningKey]
    ) -> "Enrolment":
        """Have members sign (in one process; between machines each signs ``statement`` at home)."""
        bare = cls(run, hospital, public_key, {})
        signatures = {name: key.sign(bare.statement) for name, key in members.items()}
        return cls(run, hospital, public_key, signatures)


class Roster:
    """The hospitals whose signatures count.

    Guarantees (each is a test in ``tests/aggregation/sealing/test_policy.py``):
      - a hospital joins only with valid signatures of ``vouchers`` distinct members, so that a
        server can't invent hospitals until a sum holds one real one (Sybils);
      - a key is replaced only with the old key's signature and ``vouchers`` others; the old key
        then counts no more.

    Args:
      run: Name of the run.
      founders: Public keys by hospital, agreed before the run.
      vouchers: Members that must sign for a newcomer; None: more than half of the members.
      opener: Public key of the one who opens, where one party has the key; else empty.

    Attributes:
      digest: SHA-256 of the run, the founders' keys and the opener's, in hex: what a plan names.
    """

    def __init__(
        self,
        run: str,
        founders: Mapping[str, str],
        *,
        vouchers: int | None = None,
        opener: str = "",
    ) -> None:
        if not founders:
            raise InvalidInputError("A roster needs at least one founding hospital.")
        if len(set(founders.values())) != len(founders):
            raise InvalidInputError("Two founding hospitals have one key; each makes its own.")
        self.run = plain_name(run=run)
        distinct_names(hospitals=founders)
        self._keys = dict(founders)
        self.opener = opener
        named = {"run": run, "hospitals": self._keys, "opener": opener}
        self.digest = canonical.digest(canonical.encode(named))
        self._vouchers = None if vouchers is None else natural(vouchers=vouchers, least=1)

    @property
    def keys(self) -> Mapping[str, str]:
        """Public keys by hospital, as of now."""
        return MappingProxyType(self._keys)

    @property
    def vouchers(self) -> int:
        """Members that must sign for a newcomer, as of now."""
        return len(self._keys) // 2 + 1 if self._vouchers is None else self._vouchers

    def recognise(self, contribution: Contribution, parameters: str) -> None:
        """Refuse what is not a member's own contribution to this run under these parameters.

        Args:
          contribution: As it arrived.
          parameters: Digest of the sealing parameters.

        Raises:
          RefusedError: It is of another run, hospital or parameters.
          CorruptMessageError: Its signature does not fit.
        """
        name = contribution.hospital
        if contribution.run != self.run:
            raise RefusedError(
                f"The contribution of {name!r} is signed for run {contribution.run!r}; this is "
                f"{self.run!r}."
            )
        if name not in self._keys:
            raise RefusedError(
                f"{name!r} is not enrolled. A newcomer needs the signatures of "
                f"{self.vouchers} members."
            )
        if contribution.parameters != parameters:
            raise RefusedError(
                f"The contribution of {name!r} was sealed under parameters or a key of another run "
                f"({contribution.parameters[:12]}; here {parameters[:12]}). It must be sealed "
                "again."
            )
        if not contribution.verifies(self._keys[name]):
            raise CorruptMessageError(
                f"The signature of {name!r} does not fit its contribution: the bytes, the weight "
                "or another signed value changed on the way, or somebody else signed."
            )
        head = contribution.head
        if head is not None and not (head.hospital == name and head.signed_by(self._keys[name])):
            raise CorruptMessageError(
                f"The contribution of {name!r} comes with a ledger head that {name!r} did not sign."
            )

    def enrol(self, enrolment: Enrolment) -> None:
        """Take a hospital, or its new key, into the roster.

        Raises:
          InvalidInputError: The name is no plain name, or could be mistaken for a member's.
          RefusedError: Another run, too few valid signatures of members, or a key already in use.
        """
        name = plain_name(hospital=enrolment.hospital)
        if name not in self._keys:
            distinct_names(hospitals=[*self._keys, name])
        if enrolment.run != self.run:
            raise RefusedError(
                f"The enrolment of {name!r} is for run {enrolment.run!r}, not {self.run!r}."
            )
        if enrolment.public_key in self._keys.values():
            raise RefusedError(
                f"The key offered for {name!r} is in use; each hospital makes its own."
            )
        valid = {
            member
            for member, signature in enrolment.signatures.items()
            if member in self._keys and verifies(self._keys[member], signature, enrolment.statement)
        }
        if name in self._keys and name not in valid:
            raise RefusedError(
                f"{name!r} is enrolled already, and its present key has not signed the new one. If "
                "the key is lost, start a new run."
            )
        others = valid - {name}
        if len(others) < self.vouchers:
            raise RefusedError(
                f"{name!r} has {len(others)} valid signatures of members; {self.vouchers} of "
                f"{len(self._keys)} must vouch for a newcomer, or a server could invent hospitals."
            )
        self._keys[name] = enrolment.public_key
