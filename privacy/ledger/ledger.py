"""A hospital's append-only list of everything that left it, and the gate that it leaves through.

>>> from dp_accounting import GaussianDpEvent
>>> ledger = Ledger.in_memory(hospital="north", budget=Budget(epsilon=1.0))
>>> step = GaussianDpEvent(40.0)
>>> plan = ledger.declare([Planned("update", step, count=2)])
>>> entry = ledger.spend(Release("update", step, round=0, plan=plan.content["plan"]))
>>> entry.sequence, entry.content["filter"]
(2, 'planned')
"""

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, cast

from privacy._foreign import printable
from privacy.errors import (
    BudgetExceededError,
    CorruptMessageError,
    CostlierPlanWarning,
    InvalidInputError,
    RefusedError,
)
from privacy.ledger.accountant import Accountant, Certified, Guarded
from privacy.ledger.contents import Allowed
from privacy.ledger.filter import Decision, Filter
from privacy.ledger.log.canonical import digest, from_number
from privacy.ledger.log.entries import GENESIS, Entry, compose, parse
from privacy.ledger.log.heads import Head
from privacy.ledger.log.keys import SigningKey
from privacy.ledger.log.merkle import Frontier
from privacy.ledger.log.store import FileStore, MemoryStore, Store
from privacy.ledger.plans import DeclaredPlan, Fate
from privacy.ledger.requests import (
    PUBLIC_BYTES,
    Budget,
    Json,
    Planned,
    Release,
    Schedule,
    Unit,
    objection,
)
from privacy.ledger.rounding import up
from privacy.names import distinct_names, plain_name

__all__ = ["Clock", "Ledger"]

Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class Ledger:
    """One hospital's ledger, open for writing.

    Check, subtract, run: ``spend`` returns when its entry is durable, and only then may a
    patient's record be read.

    Guarantees (tests in ``tests/privacy/ledger/``):
      - ``spend`` never lets the budgets be passed, whoever else writes to the same file;
      - a refusal is recorded, and changes nothing else;
      - nothing refunds: not an exception, not a crash between entry and bytes;
      - the bytes attached to a release never change: after a crash the same are sent again;
      - ``open`` gives the state that the ledger had when it was written.

    Attributes:
      hospital: Who keeps it.
      key: The hospital's signing key.
      accountant: Where events are priced.
    """

    def __init__(
        self, store: Store, key: SigningKey, accountant: Accountant | None, clock: Clock
    ) -> None:
        self.hospital = ""
        self.key = key
        self.accountant: Accountant = Guarded(accountant or Certified())
        self._store = store
        self._clock = clock
        self._tree = Frontier()
        self._offset = 0
        self._last = GENESIS
        self._filters: dict[str, Filter] = {}
        self._declared: dict[str, Entry] = {}
        self._abandoned: dict[str, Entry] = {}
        self._enrolled: dict[str, str] = {}
        self._pending: dict[int, str] = {}
        self._witnessed: dict[str, Head] = {}
        self.identity = ""

    # -- making one ------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        hospital: str,
        key: SigningKey,
        budget: Budget | Sequence[Budget],
        enrolled: Mapping[str, str] | None = None,
        context: Mapping[str, Json] | None = None,
        accountant: Accountant | None = None,
        clock: Clock = _now,
    ) -> "Ledger":
        """Start a ledger in a new file.

        Args:
          path: The file, by custom ``ledgers/<hospital>.jsonl``.
          hospital: Its name.
          key: The hospital's signing key.
          budget: One budget, or one for each unit.
          enrolled: Public keys, by name, of the hospitals that may counter-sign.
          context: Plain facts for the auditor: digests of code, data and protocol.
          accountant: Where events are priced; the project's own by default.
          clock: Source of the time.

        Raises:
          InvalidInputError: The file exists, or the arguments break a rule.
          RefusedError: The disk can't be written.
        """
        budgets = _checked(hospital, budget, enrolled)  # before anything is made
        ledger = cls(FileStore.create(path), key, accountant, clock)
        ledger._start(hospital, budgets, enrolled, context)
        return ledger

    @classmethod
    def in_memory(
        cls,
        *,
        hospital: str = "hospital",
        budget: Budget | Sequence[Budget],
        key: SigningKey | None = None,
        enrolled: Mapping[str, str] | None = None,
        context: Mapping[str, Json] | None = None,
        accountant: Accountant | None = None,
        clock: Clock = _now,
    ) -> "Ledger":
        """Start a ledger that nobody will ever verify: for experiments alone.

        ``durable`` is False, and a real run refuses it.
        """
        ledger = cls(MemoryStore(), key or SigningKey.generate(), accountant, clock)
        ledger._start(hospital, _checked(hospital, budget, enrolled), enrolled, context)
        return ledger

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        key: SigningKey,
        accountant: Accountant | None = None,
        clock: Clock = _now,
    ) -> "Ledger":
        """Take up a ledger where it stopped; a line torn by a crash is set aside first.

        Links and the last signature are checked, which covers every line; ``verify`` checks the
        rest.

        Raises:
          InvalidInputError: No such file, or the key is not its hospital's.
          CorruptMessageError: A whole line is not what was written.
          RefusedError: The disk can't be written.
        """
        store = FileStore.open(path)
        ledger = cls(store, key, accountant, clock)
        with store.lock():
            ledger._catch_up()
            if not ledger.identity:
                raise CorruptMessageError(
                    f"The ledger {path} has no whole line: its making was cut short and nothing "
                    "was released. Remove it and create it anew."
                )
            ledger._seal_left_over()
        return ledger

    def _start(
        self,
        hospital: str,
        budgets: Sequence[Budget],
        enrolled: Mapping[str, str] | None,
        context: Mapping[str, Json] | None,
    ) -> None:
        self.hospital = hospital
        filters = [Filter.fresh(b) for b in budgets]
        with self._store.lock():
            self._append(
                "opening",
                {
                    "public_key": self.key.public,
                    "budgets": [f.budget.to_json() | {"order": f.order} for f in filters],
                    "enrolled": dict(enrolled or {}),
                    "context": dict(context or {}),
                },
            )

    # -- spending --------------------------------------------------------------------------------

    def declare(
        self,
        schedule: Sequence[Planned],
        *,
        repeats: int = 1,
        unit: str = "patient",
        context: Mapping[str, Json] | None = None,
        others: Mapping[str, str] | None = None,
        plan: str | None = None,
    ) -> Entry:
        """Fix a schedule beforehand: its total is checked once, its releases then follow freely.

        Declared again under the same digest, as after a restart, it changes nothing. After a
        release of any plan it counts by Rényi divergence and costs more than if both had been
        declared before; that is said (``CostlierPlanWarning``).

        Args:
          schedule: The releases of one cycle, in order.
          repeats: How many cycles (rounds).
          unit: Whose coming or going its events hide.
          context: Plain facts for the auditor: the run, digests of data and code.
          others: As in ``Schedule``.
          plan: What its releases call it by: the digest of the run's plan. None: of this request.

        Returns:
          The plan's entry; its ``content["plan"]`` is what a ``Release`` names.

        Raises:
          BudgetExceededError: The total passes the budget; the refusal is recorded.
          RefusedError: No budget for the unit, the total can't be told, the plan was abandoned, or
            the digest stands for another schedule; recorded likewise.
        """
        asked = Schedule(
            cast(Unit, unit),
            tuple(schedule),
            repeats,
            dict(context or {}),
            dict(others or {}),
            plan,
        )
        content = asked.to_json()
        with self._store.lock():
            self._catch_up()
            book = self._filter(unit, "plan", content)
            known = self._declared.get(content["plan"])
            if known is not None:
                return self._again(known, content, book)
            late, steps = book.late, content["schedule"]
            decision = book.plan(steps, repeats, self.accountant)
            why = _costlier(book, content, decision, self.accountant) if late else ""
            if not decision.granted:
                self._refuse("plan", content, replace(decision, why=decision.why + why))
            entry = self._append("plan", content | dict(decision.record))
        if why:
            warnings.warn(
                f"The ledger of {self.hospital} granted the plan{why}.",
                CostlierPlanWarning,
                stacklevel=2,
            )
        return entry

    def _again(self, known: Entry, content: Mapping[str, Any], book: Filter) -> Entry:
        plan = book.find(content["plan"])
        why = ""
        if plan is None or any(known.content[name] != value for name, value in content.items()):
            why = f"entry {known.sequence} declares another schedule under this digest"
        elif plan.fate is not Fate.STANDING:
            why = "it was abandoned; a new run needs a plan of its own"
        if why:
            self._refuse("plan", content, Decision(False, {}, why))
        return known

    def abandon(self, plan: str, *, reason: str) -> Entry:
        """Give a plan up: its places left are forfeited, and what they would have cost is freed.

        Freed only where that is sound (``privacy.ledger.filter``); the entry's ``filter`` says how:
        ``fixed schedule``: nothing had been released, the plan is as if never declared;
        ``adaptive``: from here on all is counted by Rényi divergence, of this plan what was made;
        ``kept``: nothing is freed; ``unlimited``: nothing was counted. The hospital alone decides;
        nobody else is asked. Abandoned again, it changes nothing.

        Args:
          plan: The digest that it was declared under.
          reason: Why, for the auditor.

        Raises:
          InvalidInputError: No such plan, or all of it was made; nothing is recorded.
        """
        with self._store.lock():
            self._catch_up()
            known = self._declared.get(plan)
            if known is None:
                raise InvalidInputError(
                    f"The ledger of {self.hospital} holds no plan {plan[:12]!r}; `inpatient ledger "
                    "show` lists those that it holds."
                )
            if plan in self._abandoned:
                return self._abandoned[plan]
            unit = known.content["unit"]
            decision = self._filters[unit].abandon(plan, self.accountant)
            if not decision.granted:
                raise InvalidInputError(f"Nothing can be abandoned: {decision.why}.")
            content = {"unit": unit, "plan": plan, "reason": reason}
            return self._append("abandoned", content | dict(decision.record))

    def spend(self, release: Release) -> Entry:
        """Take a release from the budget, durably, before any patient's record is read.

        Raises:
          BudgetExceededError: The budget would be passed; the refusal is recorded.
          InvalidInputError: The event can't be accounted for; nothing is changed or recorded.
          RefusedError: No budget for the unit; the sampler that would run is not the one accounted
            for; a clip norm that follows the data; no noise, or seeded noise in a durable ledger;
            a release called public without a reason; or the disk refuses. Nothing may be read.
        """
        content = release.to_json()
        event = content["event"]
        with self._store.lock():
            self._catch_up()
            book = self._filter(release.unit, "release", content)
            relation = book.budget.relation_name
            decision = Decision(False, {}, self._objection(release, relation))
            if not decision.why:
                decision = book.release(release.kind, event, self.accountant, plan=release.plan)
            if not decision.granted:
                self._refuse("release", content, decision)
            return self._append("release", content | dict(decision.record))

    def _filter(self, unit: str, what: str, content: Mapping[str, Any]) -> Filter:
        if unit not in self._filters:
            why = f"this ledger holds no budget for the unit {unit!r}"
            self._refuse(what, content, Decision(False, {}, why))
        return self._filters[unit]

    def _objection(self, release: Release, relation: str) -> str:
        if not self.durable and release.noise_source == "seeded":
            release = replace(release, noise_source="operating system")  # an experiment may
        return objection(release, relation=relation)

    def _refuse(self, what: str, content: Mapping[str, Any], decision: Decision) -> NoReturn:
        over = decision.asked > 0
        record: dict[str, Any] = {"what": what, "request": content, "why": printable(decision.why)}
        if over:
            record |= {"spent": from_number(decision.spent), "asked": from_number(decision.asked)}
        self._append("refusal", record)
        message = (
            f"The ledger of {self.hospital} refuses this {what}: {decision.why}. No record was "
            "read; the refusal is recorded."
        )
        if over:
            allowed = self._filters[content["unit"]].budget.epsilon
            raise BudgetExceededError(
                f"{message} Ask for less, or for more noise.",
                spent=decision.spent,
                asked=decision.asked,
                allowed=allowed,
            )
        raise RefusedError(message)

    # -- bytes beside their entry ----------------------------------------------------------------

    def attach(self, entry: Entry, payload: bytes) -> Entry:
        """Keep the bytes that a release became, so that a crash never makes a second noise.

        The same bytes again are accepted and change nothing.

        Returns:
          The ``sealed`` entry.

        Raises:
          RefusedError: Other bytes were attached before, the entry is no release of this ledger,
            or the disk refuses; the bytes must not be sent.
        """
        if entry.content.get("filter") == "public" and len(payload) > PUBLIC_BYTES:
            raise RefusedError(
                f"{len(payload)} bytes were to go out as the release {entry.content['kind']!r}, "
                f"which is said to depend on no patient; more than {PUBLIC_BYTES} are not believed."
            )
        with self._store.lock():
            self._catch_up()
            kept = self._store.payload(entry.sequence)
            if self._pending.get(entry.sequence) == entry.digest and kept in (None, payload):
                if kept is None:
                    self._store.keep_payload(entry.sequence, payload)
                return self._append_sealed(entry.sequence, entry.digest, payload)
            for other in self.entries():
                if other.kind == "sealed" and other.content["entry"] == entry.digest:
                    if other.content["digest"] == digest(payload):
                        return other
                    break
        raise RefusedError(
            f"Entry {entry.sequence} of {self.hospital}'s ledger is not a release that waits for "
            "these bytes: it has its own, and a second noise would be a second release. Send what "
            "payload() returns."
        )

    def payload(self, entry: Entry) -> bytes | None:
        """The bytes attached to a release, to be sent again after a crash; None if there are none.

        None after a crash means that the release is spent and lost: ask for a new one.
        """
        return self._store.payload(entry.sequence)

    def pending(self) -> tuple[Entry, ...]:
        """Releases that were spent and have no bytes: the process died in between."""
        with self._store.lock():
            self._catch_up()
            wanted = dict(self._pending)
        return tuple(e for e in self.entries() if e.sequence in wanted) if wanted else ()

    def _append_sealed(self, sequence: int, of: str, payload: bytes) -> Entry:
        content = {
            "release": sequence,
            "entry": of,
            "bytes": len(payload),
            "digest": digest(payload),
        }
        return self._append("sealed", content)

    def _seal_left_over(self) -> None:
        """Record bytes that were kept whole before a crash cut off their entry."""
        for sequence, of in list(self._pending.items()):
            payload = self._store.payload(sequence)
            if payload is not None:
                self._append_sealed(sequence, of, payload)

    # -- telling ---------------------------------------------------------------------------------

    @property
    def durable(self) -> bool:
        """Whether the ledger survives the process; a real run accepts no other."""
        return self._store.durable

    @property
    def size(self) -> int:
        """Number of entries."""
        return self._tree.size

    @property
    def enrolled(self) -> Mapping[str, str]:
        """Public keys of the hospitals that may counter-sign, by name."""
        return dict(self._enrolled)

    @property
    def witnessed(self) -> Mapping[str, Head]:
        """The newest head of each other hospital's ledger that was counter-signed here."""
        return dict(self._witnessed)

    def entries(self) -> Iterator[Entry]:
        """All entries in order, read from where they are kept."""
        return (parse(line) for line in self._store.lines())

    def head(self) -> Head:
        """The signed head: what an upload carries, and what others counter-sign."""
        with self._store.lock():
            self._catch_up()
            return self._head()

    def _head(self) -> Head:
        return Head.sign(
            self.key, self.hospital, self.identity, self._tree.size, self._tree.root().hex()
        )

    def state(self, unit: str = "patient") -> Filter:
        """The filter's state for a unit; read it, don't change it.

        Raises:
          InvalidInputError: No budget for that unit.
        """
        with self._store.lock():
            self._catch_up()
        if unit not in self._filters:
            raise InvalidInputError(f"This ledger holds no budget for the unit {unit!r}.")
        return self._filters[unit]

    def note(self, kind: str, content: Mapping[str, Any]) -> Entry:
        """Record something that spends nothing: a checkpoint, or the counter-signing of one."""
        if kind not in ("checkpoint", "witness", "countersigned"):
            raise InvalidInputError(f"Entries of kind {kind!r} are not noted; they are earned.")
        with self._store.lock():
            self._catch_up()
            return self._append(kind, content)

    # -- the one way to change -------------------------------------------------------------------

    def _append(self, kind: str, content: Mapping[str, Any]) -> Entry:
        entry = compose(
            self.key,
            sequence=self._tree.size,
            time=self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            hospital=self.hospital,
            kind=kind,
            content=content,
            previous=self._last,
        )
        self._store.append(entry.line)
        self._apply(entry)
        return entry

    def _catch_up(self) -> None:
        """Take in what other handles have written since, checking their links and signature.

        The lock is held: what then follows the last whole line is what a dead writer left.
        """
        start = self._offset
        newest = deque(self._store.lines(start), maxlen=1)
        if newest and not parse(newest[0]).signed_by(self.key.public):
            raise InvalidInputError(
                "The ledger's last entry is not signed by this key (public key "
                f"{self.key.public[:16]}...). Use the key that it was opened with; if this is it, "
                "run `inpatient ledger verify` on the file."
            )
        if newest:
            for line in self._store.lines(start):
                self._apply(parse(line))
        torn = self._store.set_aside(self._offset) if self.identity else None
        if torn is not None:
            content = {"bytes": len(torn.content), "digest": digest(torn.content)}
            self._append("recovered", content | {"moved_to": torn.moved_to})

    def _apply(self, entry: Entry) -> None:
        if entry.sequence != self._tree.size or entry.previous != self._last:
            raise CorruptMessageError(
                f"Entry {entry.sequence} of {entry.hospital}'s ledger does not follow entry "
                f"{self._tree.size - 1}; run `inpatient ledger verify` on it."
            )
        content = entry.content
        match entry.kind:
            case "opening":
                self.hospital, self.identity = entry.hospital, entry.digest
                self._enrolled = dict(content["enrolled"])
                for fields in content["budgets"]:
                    allowed = Allowed.from_json(fields)
                    self._filters[allowed.unit] = Filter(allowed.budget, allowed.order)
            case "plan":
                self._filters[content["unit"]].apply_plan(content)
                self._declared[content["plan"]] = entry
            case "abandoned":
                self._filters[content["unit"]].apply_abandonment(content)
                self._abandoned[content["plan"]] = entry
            case "release":
                self._filters[content["unit"]].apply_release(content)
                self._pending[entry.sequence] = entry.digest
            case "sealed":
                self._pending.pop(content["release"], None)
            case "witness":
                seen = Head.from_json(content["head"])
                self._witnessed[seen.hospital] = seen
        self._tree.append(entry.line)
        self._offset += len(entry.line) + 1
        self._last = entry.digest


def _checked(
    hospital: str, budget: Budget | Sequence[Budget], enrolled: Mapping[str, str] | None
) -> list[Budget]:
    plain_name(hospital=hospital)
    distinct_names(enrolled=enrolled or {})
    budgets = [budget] if isinstance(budget, Budget) else list(budget)
    if len(budgets) != 1:
        raise InvalidInputError(
            f"A ledger holds one budget, got {len(budgets)}: what is released for one unit tells "
            "about every other too, and would go uncounted there."
        )
    return budgets


def _costlier(
    book: Filter, content: Mapping[str, Any], decision: Decision, accountant: Accountant
) -> str:
    """What a plan after the first release costs beside what it would have cost before it."""
    asked = decision.asked or decision.record.get("epsilon")
    if not asked:
        return ""
    at_once = book.at_once(DeclaredPlan.read(content), accountant)
    told = (
        f": after a release, plans are counted by Rényi divergence; epsilon is {up(asked)} in all"
    )
    if at_once is not None and at_once < asked:
        told += f", where all plans declared together before it would have had {up(at_once)}"
    return told
