"""The roles of one site, taken up from its folder: messages in, messages out, all of it durable.

SITE/site.toml  agreed/  table.toml ...        what people put there
SITE/keys/  secret                             private: mode 600, of no backup but the keys'
SITE/ledgers/  openings.jsonl                  what it spent, which sums it helped to open
SITE/kept/  sent  passed  received             what a restart needs; of no backup
SITE/manifest.json  transcript/  model/        what is left when the run has ended
SITE/ended.json                                it has, everywhere: secret and kept/ are deleted
"""

import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aggregation.data.patients import Patients, Schema
from aggregation.data.tables import read_table
from aggregation.roles import Role
from aggregation.roles.hospital import Hospital
from aggregation.roles.kept import Kept
from aggregation.roles.messages import (
    AGGREGATOR,
    OPENER,
    Message,
    MessageKind,
    SetTimer,
    holder_address,
    pack,
)
from aggregation.roles.messages import unpack as unpacked
from aggregation.roles.opener import HolderRole, OpenerRole
from aggregation.rules import Local
from aggregation.sealing import OpeningLog, Policy, load_holder, load_opener
from aggregation.sealing.quorum import read_quorum
from aggregation.sites.agreed import Agreed
from aggregation.sites.closing import Closing
from aggregation.sites.ending import save_model
from aggregation.sites.forgetting import EndedRole, SpentOpener, forget, has_forgotten
from aggregation.sites.rehearsal import rehearse
from aggregation.sites.rows import SentRows
from aggregation.sites.site_settings import Part, SiteSettings
from aggregation.standing import StandingLedgers
from privacy.errors import InvalidInputError, RefusedError
from privacy.files import lock_file, make_folder, open_regular, read_regular
from privacy.ledger import Budget, Ledger, SigningKey
from privacy.ledger.log import canonical
from privacy.mechanisms import NoiseSource, OperatingSystem, Seeded

__all__ = ["Reply", "Site", "TableRefusedError", "largest_message", "lock_site"]

SECRET = "secret"  # noqa: S105 - a file's name
_KEPT = "kept"
_LOCK_SECONDS = 1.0
TableReader = Callable[[Path, Schema], Patients]

_LARGEST_SECRET = 1 << 28
_EVIDENCE = 1 << 20  # bytes of a message beside what is sealed and what is answered


class TableRefusedError(InvalidInputError):
    """A site's own table breaks a rule; its words are for the terminal, and for no log."""


@dataclass(frozen=True)
class Reply:
    """What a site says to what it was handed.

    Attributes:
      messages: Address and bytes of each message that leaves.
      state: Plain public facts: the round, whether the run has ended here.
    """

    messages: tuple[tuple[str, bytes], ...]
    state: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return what travels on the socket."""
        parts = [part for to, content in self.messages for part in (to.encode(), content)]
        return pack([canonical.encode(dict(self.state)), *parts])


def largest_message(agreed: Agreed) -> int:
    """Return the most bytes that any message of a run can have: what is larger is not read."""
    parameters = agreed.parameters
    sealer = agreed.load_sealer(agreed.plan.hospitals[0])
    sealed = len(sealer.seal(np.zeros(parameters.dim, dtype=np.int64)))
    pieces, judge = 1, agreed.judge()
    if judge.scheme is not None:
        quorum, _ = read_quorum(parameters, judge.scheme.label)
        pieces = len(quorum.pieces) + len(quorum.names)
    return (parameters.contributors + pieces + 2) * (sealed + (1 << 16)) + _EVIDENCE


class Site:
    """One site of a run that is no aggregator: a hospital, a holder, both, or the opener.

    Guarantees (each is a test in ``tests/aggregation/sites/test_site.py``):
      - what it has said it can say again, in the same bytes, whenever it was killed;
      - what is not addressed to it, of another run, or from whom it does not listen to, is refused
        before a role sees it;
      - a real site takes noise from the operating system alone, and keeps its ledger on disk;
      - once the run has ended at every hospital it has deleted what could open its sums, whenever
        it was killed, and says so (``tests/aggregation/sites/test_forgetting.py``).

    Args:
      folder: The site's.
      settings: Its ``site.toml``.
      agreed: What all sites have alike.
      reader: Reads the site's own table.

    Raises:
      InvalidInputError: A file of the site can't be read.
      RefusedError: Another process has the site, or what lies there does not belong together.
    """

    def __init__(
        self,
        folder: Path,
        settings: SiteSettings,
        agreed: Agreed,
        reader: TableReader = read_table,
    ) -> None:
        self.folder, self.settings, self.agreed, self._reader = folder, settings, agreed, reader
        self.name = settings.name
        self.largest = largest_message(agreed)
        self._closing: list[Callable[[], None]] = []
        self._roles: dict[str, Role] = {}
        self._rows: SentRows | None = None
        self._kept: Kept | None = None
        self._ledger: Ledger | None = None
        self._schema: Schema | None = None
        self._closing_run: Closing | None = None
        self._saved = -1  # rows of the manifest as it was written
        self._over = False  # the run has ended everywhere, and what it needed is deleted
        try:
            self._take_up()
        except BaseException:
            self.close()
            raise

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where messages to this site go."""
        return tuple(self._roles)

    @property
    def listens_to(self) -> tuple[str, ...]:
        """Whose messages it takes."""
        return (AGGREGATOR,)

    def deliver(self, envelope: bytes) -> Reply:
        """Take a message and the row beside it; return what leaves, when all of it is durable.

        Raises:
          InpatientError: It is refused; the site is as it was before.
        """
        message, row = self._opened(envelope)
        return self._replied(self._handle(message, row))

    def wake(self) -> Reply:
        """Say again what is outstanding; a site that only answers has nothing to say."""
        return self._replied(())

    def due(self) -> Reply:
        """Say what it is time for by the clock."""
        return self._replied(())

    def status(self) -> dict[str, Any]:
        """Plain facts for whoever runs the site; nothing of a patient."""
        facts: dict[str, Any] = {
            "name": self.name,
            "roles": [str(role) for role in self.settings.roles],
            "run": self.agreed.plan.run,
            "agreed": self.agreed.digest,
            **self._state(),
        }
        if self._ledger is not None:
            state = self._ledger.state()
            facts["ledger"] = {
                "entries": self._ledger.size,
                "releases": state.releases,
                "budget": state.budget.epsilon,
            }
        return facts

    def ends_with(self, close: Callable[[], None]) -> None:
        """Have something that only this site uses closed with it."""
        self._closing.append(close)

    def close(self) -> None:
        """Let another process have the site."""
        while self._closing:
            self._closing.pop()()

    # -- from the folder ---------------------------------------------------------------------------

    def _take_up(self) -> None:
        parts = self.settings.roles
        if has_forgotten(self.folder, self.agreed):
            self._forget()
            return
        if Part.HOSPITAL in parts:
            self._roles[self.name] = self._hospital()
        if Part.HOLDER in parts:
            policy, content = self._policy(), self._secret()
            holder = load_holder(content, policy)
            if self._ledger is not None:  # what this hospital counter-signed in earlier runs
                policy.log.take_heads(self._ledger.witnessed.values())
            self._roles[holder_address(holder.name)] = HolderRole(self.agreed.plan.run, holder)
        if Part.OPENER in parts:
            opener = load_opener(self._secret(), self._policy())
            self._roles[OPENER] = OpenerRole(self.agreed.plan.run, opener, self._key(OPENER))
        self._end()  # of what was killed before it had

    def _forget(self) -> None:
        """Delete what only the run needed; what is left answers that it has ended."""
        self._over, run = True, self.agreed.plan.run
        if self._kept is not None:
            self._kept.close()
            self._kept = None
        forget(self.folder, self.agreed, (SECRET, _KEPT))
        if self.settings.is_hospital:
            key = self._key(self.name)
            self._roles[self.name] = EndedRole(run)
            self._rows = self._rows or self._sent(key)
            self._ledger = self._ledger or self._own_ledger(key)
            self._closing_run = self._closing_of(self._ledger, None)
        if Part.HOLDER in self.settings.roles:
            self._roles[holder_address(self.name)] = EndedRole(run)
        if Part.OPENER in self.settings.roles:
            spent = SpentOpener(self.agreed.parameters, self._policy(), self.agreed.load_adder())
            self._roles[OPENER] = OpenerRole(run, spent, self._key(OPENER))

    def _hospital(self) -> Hospital:
        plan, settings = self.agreed.plan, self.settings
        self._schema = Schema.from_toml(self.folder / settings.schema)
        patients = self._patients(self._schema)  # before any key is in memory
        rehearse(plan, self.name, patients, simulated=settings.simulated)
        key = self._key(self.name)
        self._kept = Kept(self.folder / _KEPT)
        self._closing.append(self._kept.close)
        self._rows = self._sent(key)
        index, source = plan.hospitals.index(self.name), OperatingSystem()
        drawn: NoiseSource = source
        if settings.simulated:
            drawn = Seeded((settings.seed or 0, index))
        self._ledger = self._own_ledger(key)
        if self._ledger.durable:
            self._closing_run = self._closing_of(self._ledger, self._kept)
        return Hospital(
            self.name,
            patients,
            plan=plan,
            sealer=self.agreed.load_sealer(self.name),
            judge=self.agreed.judge(),
            ledger=self._ledger,
            key=key,
            source=drawn,
            agreement=self.agreed.agreement,
            kept=self._kept,
        )

    def _sent(self, key: SigningKey) -> SentRows:
        rows = SentRows(self.folder / "sent", self.agreed.plan.run, key)
        self._closing.append(rows.close)
        return rows

    def _closing_of(self, ledger: Ledger, kept: Kept | None) -> Closing:
        plan = self.agreed.plan
        others = tuple(name for name in plan.hospitals if name != self.name)
        return Closing(plan.run, self.agreed.agreement.timing.sums, ledger, kept, others)

    def _patients(self, schema: Schema) -> Patients:
        try:
            return self._reader(self.folder / self.settings.table, schema)
        except InvalidInputError as error:
            raise TableRefusedError(str(error)) from error

    def _own_ledger(self, key: SigningKey) -> Ledger:
        plan, epsilon = self.agreed.plan, self.settings.epsilon
        unit: Any = plan.unit
        budget = Budget(math.inf if epsilon is None else epsilon, plan.delta, unit=unit)
        members = self.agreed.members.hospitals
        if self.settings.simulated:
            if self._kept is not None and self._kept.get("simulated") is not None:
                raise RefusedError(
                    f"The simulated site {self.name!r} was started before, and its ledger was in "
                    "memory: begin it anew in a new folder."
                )
            if self._kept is not None:
                self._kept.put({"simulated": b"1"})
            return Ledger.in_memory(hospital=self.name, budget=budget, key=key, enrolled=members)
        return self._home.ledger(self.name, key=key, budget=budget, enrolled=members)

    @property
    def _home(self) -> StandingLedgers:
        return StandingLedgers(self.folder / (self.settings.ledgers or "."))

    def _key(self, party: str) -> SigningKey:
        """The site's key, which has to be the one that the roster names."""
        path = self.folder / (self.settings.ledgers or ".") / "keys" / f"{party}.key"
        key, members = SigningKey.load(path), self.agreed.members
        named = {OPENER: members.opener, AGGREGATOR: members.aggregator, **members.hospitals}
        if named.get(party) != key.public:
            raise RefusedError(
                f"The roster of run {members.run!r} does not have {party!r} under the key of this "
                "site. Somebody else was enrolled under its name, or the key is of another run."
            )
        return key

    def _policy(self) -> Policy:
        plan, least = self.agreed.plan, self.agreed.agreement.least
        return Policy(
            self.agreed.members.roster,
            min_honest=least - plan.colluders,
            c_assumed=plan.colluders,
            log=OpeningLog(self.folder / "openings.jsonl"),
            require_ledger_head=True,
        )

    def _secret(self) -> bytes:
        path = self.folder / SECRET
        try:
            return read_regular(path, largest=_LARGEST_SECRET, secret=True)
        except OSError as error:
            raise RefusedError(
                f"What opens sums can't be read at {path}: {error.strerror}. It is of no backup: "
                "a holder whose secret is lost is a new holder, and needs a new run."
            ) from error

    # -- one message -------------------------------------------------------------------------------

    def _opened(self, envelope: bytes) -> tuple[Message, bytes]:
        parts = unpacked(envelope, most=2)
        if not parts:
            raise RefusedError("A message came without content.")
        message = Message.from_bytes(parts[0], largest=self.largest)
        if message.run != self.agreed.plan.run:
            raise RefusedError(f"A message of run {message.run[:80]!r} came to another run's site.")
        if message.receiver not in self._roles or message.sender not in self.listens_to:
            raise RefusedError(
                f"A message of {message.sender[:80]!r} to {message.receiver[:80]!r} came to "
                f"{self.name!r}, which is not addressed by it or does not listen to it."
            )
        return message, parts[1] if len(parts) > 1 else b""

    def _handle(self, message: Message, row: bytes) -> tuple[Message, ...]:
        closing = self._closing_run
        if closing is not None and message.receiver == self.name and closing.takes(message):
            return closing.handle(message)
        said = self._roles[message.receiver].handle(message)
        messages = tuple(one for one in said if not isinstance(one, SetTimer))
        if closing is not None and message.receiver == self.name and self.ended:
            # At the last sum; and whenever the server was woken, which tells that sum again.
            messages += closing.say() if message.kind is MessageKind.OPENED else ()
        return messages

    def _replied(self, messages: tuple[Message, ...]) -> Reply:
        out = tuple((message.receiver, pack([*self._sealed(message)])) for message in messages)
        self._end()
        return Reply(out, self._state())

    def _sealed(self, message: Message) -> list[bytes]:
        """A message as it travels, with its row beside it where a hospital sends it."""
        content = [message.to_bytes()]
        if self._rows is not None and message.sender == self.name:
            content.append(canonical.encode(self._rows.row(message).to_json()))
        return content

    @property
    def ended(self) -> bool:
        """Whether the site has learnt the last sum; one that only opens never knows."""
        last = self.agreed.agreement.timing.sums - 1
        if self._kept is None:
            return self._over
        return self._kept.get(f"opened-{last}") is not None

    def _state(self) -> dict[str, Any]:
        if not self.settings.is_hospital:
            return {}
        return {"ended": self.ended, "closed": self.ended and self._closed}

    @property
    def _closed(self) -> bool:
        """Whether all others have counter-signed the ledger; one in memory is never."""
        return self._closing_run is None or self._closing_run.done

    def _end(self) -> None:
        """Write down what is left of the run; again when something has left since."""
        opener = self._roles.get(OPENER)
        if isinstance(opener, OpenerRole) and not self._over:
            if opener.has_opened(self.agreed.agreement.timing.sums):
                self._forget()
            return
        if self._rows is None or not self.ended:
            return
        kept, schema = self._kept, self._schema
        if self._saved < 0 and kept is not None and schema is not None:
            role = self._roles[self.name]
            finish = role.finish if isinstance(role, Hospital) else lambda _: Local()
            save_model(self.folder, self.agreed, kept, schema, finish)
        if self._saved != self._rows.count:
            self._rows.manifest(self.name).save(self.folder / "manifest.json")
            self._saved = self._rows.count
        if self._closing_run is not None and self._closing_run.done and not self._over:
            self._forget()


def lock_site(folder: Path) -> Callable[[], None]:
    """Keep every other daemon out of a site's folder; return what lets them in.

    Raises:
      RefusedError: Another has it.
      InvalidInputError: There is no such folder.
    """
    if not (folder / "site.toml").is_file():
        raise InvalidInputError(f"There is no site.toml in {folder}: it is no site's folder.")
    descriptor = -1
    try:
        make_folder(folder)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        descriptor = open_regular(folder / ".lock", flags, 0o600)
        # What a killed daemon had begun to read its table with may hold the lock for a moment.
        lock_file(descriptor, seconds=_LOCK_SECONDS)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise RefusedError(
            f"The site {folder} can't be had: {error.strerror}. One daemon runs a site; end the "
            "other one, or wait for it."
        ) from error

    def release() -> None:
        with suppress(OSError):
            os.close(descriptor)

    return release
