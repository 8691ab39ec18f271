"""The opening policy: which sums an opener opens, and the record of every one that it opened.

The opener holds the policy itself. A server that lies about who contributed, that repeats a
contribution, or that asks for a sum of too few meets it before any secret is used.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aggregation.sealing.contribution import Contribution
from aggregation.sealing.parameters import Parameters
from privacy._validate import natural
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.ledger import canonical
from privacy.ledger.keys import SigningKey, verifies

__all__ = ["Enrolment", "Opening", "OpeningLog", "Policy", "Roster"]

_GENESIS = "0" * 64


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
    """

    def __init__(
        self, run: str, founders: Mapping[str, str], *, vouchers: int | None = None
    ) -> None:
        if not founders:
            raise InvalidInputError("A roster needs at least one founding hospital.")
        if len(set(founders.values())) != len(founders):
            raise InvalidInputError("Two founding hospitals have one key; each makes its own.")
        self.run = run
        self._keys = dict(founders)
        self._vouchers = None if vouchers is None else natural(vouchers=vouchers, least=1)

    @property
    def keys(self) -> Mapping[str, str]:
        """Public keys by hospital, as of now."""
        return MappingProxyType(self._keys)

    @property
    def vouchers(self) -> int:
        """Members that must sign for a newcomer, as of now."""
        return len(self._keys) // 2 + 1 if self._vouchers is None else self._vouchers

    def enrol(self, enrolment: Enrolment) -> None:
        """Take a hospital, or its new key, into the roster.

        Raises:
          RefusedError: Another run, too few valid signatures of members, or a key already in use.
        """
        name = enrolment.hospital
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


@dataclass(frozen=True)
class Opening:
    """One sum that was opened, written before it was.

    Attributes:
      number: From 0.
      run: Name of the run.
      parameters: Digest of the sealing parameters: which key opened it.
      hospitals: Who contributed, in the order of ``nonces``.
      nonces: The contributions.
      ciphertexts: SHA-256 of each sealed update, in hex.
      base_versions: Of each contribution.
      total: SHA-256 of the sealed sum, in hex.
      previous: Digest of the opening before.
    """

    number: int
    run: str
    parameters: str
    hospitals: tuple[str, ...]
    nonces: tuple[str, ...]
    ciphertexts: tuple[str, ...]
    base_versions: tuple[int, ...]
    total: str
    previous: str

    @property
    def digest(self) -> str:
        """SHA-256 of the opening; the next one names it."""
        return canonical.digest(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return one line of canonical JSON."""
        return canonical.encode(
            {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        )


class OpeningLog:
    """Every opening in order, hash-chained; on disk it is durable before a secret is used.

    Args:
      path: JSON lines, continued if the file exists; None keeps the log in memory (experiments).

    Raises:
      CorruptMessageError: The file is not an unbroken log.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._openings: list[Opening] = []
        self._spent: set[str] = set()
        self._opened: set[str] = set()
        if path is not None and path.exists():
            for line in path.read_bytes().splitlines():
                self._remember(_read(line, self._head, path))

    def __len__(self) -> int:
        return len(self._openings)

    @property
    def openings(self) -> tuple[Opening, ...]:
        """All openings in order."""
        return tuple(self._openings)

    @property
    def _head(self) -> str:
        return self._openings[-1].digest if self._openings else _GENESIS

    def spent(self, nonces: Sequence[str]) -> tuple[str, ...]:
        """Return those of the nonces that an earlier opening holds."""
        return tuple(n for n in nonces if n in self._spent)

    def opened(self, ciphertexts: Sequence[str]) -> tuple[str, ...]:
        """Return those of the sealed updates, by digest, that an earlier opening holds."""
        return tuple(c for c in ciphertexts if c in self._opened)

    def fork(self, name: str) -> "OpeningLog":
        """Return an empty log for another holder: beside this one on disk, or in memory."""
        if self._path is None:
            return OpeningLog()
        return OpeningLog(self._path.with_name(f"{self._path.stem}-{name}{self._path.suffix}"))

    def append(self, contributions: Sequence[Contribution], total: str) -> Opening:
        """Write an opening down, durably, and return it."""
        first = contributions[0]
        opening = Opening(
            number=len(self._openings),
            run=first.run,
            parameters=first.parameters,
            hospitals=tuple(c.hospital for c in contributions),
            nonces=tuple(c.nonce for c in contributions),
            ciphertexts=tuple(c.ciphertext for c in contributions),
            base_versions=tuple(c.base_version for c in contributions),
            total=total,
            previous=self._head,
        )
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(opening.to_bytes() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        self._remember(opening)
        return opening

    def _remember(self, opening: Opening) -> None:
        self._openings.append(opening)
        self._spent.update(opening.nonces)
        self._opened.update(opening.ciphertexts)


class Policy:
    """What an opener demands of a sum before it uses its secret.

    Guarantees (each is a test in ``tests/aggregation/sealing/test_policy.py``): a sum is opened
    only if
      - every contribution names this run, these parameters and an enrolled hospital, whose
        signature over the very bytes is valid;
      - no contribution is in it twice, and none was in any sum opened before, under its own
        nonce or as a copy under another's name;
      - at least ``min_honest + c_assumed`` distinct hospitals contributed;
      - it holds no more contributions than the parameters were chosen for;
      - fewer than ``openings_per_key`` sums were opened under the key.

    Every opening is in the log before the secret is used: after a crash the sum is lost, not
    opened twice.

    Args:
      roster: The hospitals whose signatures count.
      min_honest: Honest contributions that the noise was sized for.
      c_assumed: Hospitals that may collude.
      log: Where openings are recorded; None: in memory.
      openings_per_key: Openings after which a new key is demanded; None: no limit.
      require_ledger_head: Whether each contribution must name its hospital's ledger head.
    """

    def __init__(
        self,
        roster: Roster,
        *,
        min_honest: int,
        c_assumed: int,
        log: OpeningLog | None = None,
        openings_per_key: int | None = None,
        require_ledger_head: bool = False,
    ) -> None:
        self.roster = roster
        self.min_honest = natural(min_honest=min_honest, least=1)
        self.c_assumed = natural(c_assumed=c_assumed)
        self.log = OpeningLog() if log is None else log
        self.openings_per_key = openings_per_key
        self.require_ledger_head = require_ledger_head

    def check(self, contributions: Sequence[Contribution], parameters: Parameters) -> None:
        """Refuse what may not be opened; writes nothing and uses no secret.

        Raises:
          RefusedError: With the rule that was broken, and by whom.
          CorruptMessageError: A signature does not fit its contribution.
        """
        if len(contributions) > parameters.contributors:
            raise RefusedError(
                f"A sum of {len(contributions)} contributions was asked for; the parameters were "
                f"chosen for at most {parameters.contributors}, beyond which it could open wrongly."
            )
        digest = parameters.digest
        for contribution in contributions:
            self._check_one(contribution, digest)
        nonces = [c.nonce for c in contributions]
        if len(set(nonces)) != len(nonces):
            twice = sorted({c.hospital for c in contributions if nonces.count(c.nonce) > 1})
            raise RefusedError(
                f"A contribution of {', '.join(twice)} is in this sum more than once; its noise "
                "would be scaled with it."
            )
        spent = set(self.log.spent(nonces))
        if spent:
            names = sorted({c.hospital for c in contributions if c.nonce in spent})
            raise RefusedError(
                f"Contributions of {', '.join(names)} were in a sum opened before; the difference "
                "of two sums would show the rest. Each contribution is opened once."
            )
        self._check_copies(contributions)
        distinct = len({c.hospital for c in contributions})
        needed = self.min_honest + self.c_assumed
        if distinct < needed:
            raise RefusedError(
                f"This sum holds contributions of {distinct} distinct hospitals; {needed} are "
                f"needed ({self.min_honest} honest and {self.c_assumed} that may collude). Wait "
                "for "
                "more."
            )
        self._check_key(digest)

    def record(self, contributions: Sequence[Contribution], total: str) -> Opening:
        """Write the opening down; call it after ``check`` and before the secret is used."""
        return self.log.append(contributions, total)

    def fork(self, name: str) -> "Policy":
        """Return the same rules with a log of its own, for one of several holders."""
        return Policy(
            self.roster,
            min_honest=self.min_honest,
            c_assumed=self.c_assumed,
            log=self.log.fork(name),
            openings_per_key=self.openings_per_key,
            require_ledger_head=self.require_ledger_head,
        )

    def _check_copies(self, contributions: Sequence[Contribution]) -> None:
        bodies = [c.ciphertext for c in contributions]
        opened = set(self.log.opened(bodies))
        for contribution, body in zip(contributions, bodies, strict=True):
            if bodies.count(body) > 1 or body in opened:
                raise RefusedError(
                    f"The sealed update of {contribution.hospital!r} is a copy of another: it "
                    "would count twice, and its noise with it. Each hospital seals its own."
                )

    def _check_one(self, contribution: Contribution, digest: str) -> None:
        name = contribution.hospital
        if contribution.run != self.roster.run:
            raise RefusedError(
                f"The contribution of {name!r} is signed for run {contribution.run!r}; this opener "
                f"serves {self.roster.run!r}."
            )
        if name not in self.roster.keys:
            raise RefusedError(
                f"{name!r} is not enrolled. A newcomer needs the signatures of "
                f"{self.roster.vouchers} members."
            )
        if contribution.parameters != digest:
            raise RefusedError(
                f"The contribution of {name!r} was sealed under parameters or a key of another run "
                f"({contribution.parameters[:12]}; here {digest[:12]}). It must be sealed again."
            )
        if not contribution.verifies(self.roster.keys[name]):
            raise CorruptMessageError(
                f"The signature of {name!r} does not fit its contribution: the bytes, the weight "
                "or "
                "another signed value changed on the way, or somebody else signed."
            )
        if self.require_ledger_head and contribution.ledger_head is None:
            raise RefusedError(
                f"The contribution of {name!r} names no ledger head; nobody could tell later that "
                "it "
                "was paid for."
            )

    def _check_key(self, digest: str) -> None:
        if self.openings_per_key is None:
            return
        opened = sum(o.parameters == digest for o in self.log.openings)
        if opened >= self.openings_per_key:
            raise RefusedError(
                f"{opened} sums were opened under this key, as many as the policy allows. Make a "
                "new "
                "key (make_scheme) and have the hospitals seal under it."
            )


def _read(line: bytes, previous: str, path: Path) -> Opening:
    try:
        fields: dict[str, Any] = canonical.decode(line)
        opening = Opening(
            number=int(fields["number"]),
            run=fields["run"],
            parameters=fields["parameters"],
            hospitals=tuple(fields["hospitals"]),
            nonces=tuple(fields["nonces"]),
            ciphertexts=tuple(fields["ciphertexts"]),
            base_versions=tuple(fields["base_versions"]),
            total=fields["total"],
            previous=fields["previous"],
        )
    except (TypeError, KeyError, ValueError, CorruptMessageError) as error:
        raise CorruptMessageError(
            f"The opening log {path} holds a broken line: {error}."
        ) from error
    if opening.previous != previous:
        raise CorruptMessageError(
            f"The opening log {path} is not unbroken at opening {opening.number}: a line was "
            "changed "
            "or removed. An opener can't go on without knowing what it has opened."
        )
    return opening
