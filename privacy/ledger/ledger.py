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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from privacy.errors import (
    CorruptMessageError,
    CostlierPlanWarning,
    InvalidInputError,
    RefusedError,
)
from privacy.ledger.accountant import Accountant, Certified, Guarded
from privacy.ledger.chain import Chain, Clock, now
from privacy.ledger.declared_schedule import Fate
from privacy.ledger.elsewhere import enter
from privacy.ledger.filter import Decision, Filter
from privacy.ledger.founding import first_entry
from privacy.ledger.imported import Imported
from privacy.ledger.kept_bytes import attach, seal_left_over
from privacy.ledger.log.entries import Entry
from privacy.ledger.log.heads import Head
from privacy.ledger.log.keys import SigningKey
from privacy.ledger.log.memory import MemoryStore
from privacy.ledger.log.merkle import leaf
from privacy.ledger.log.store import FileStore, Store
from privacy.ledger.refusals import refuse
from privacy.ledger.requests import (
    Budget,
    Json,
    Planned,
    Release,
    ReleaseSchedule,
    objection,
)
from privacy.names import distinct_names
from privacy.unit import Unit

__all__ = ["Clock", "Ledger"]


class Ledger:
    """One hospital's ledger, open for writing.

    Check, subtract, run: ``spend`` returns when its entry is durable, and only then may a
    patient's record be read.

    Guarantees (tests in ``tests/privacy/ledger/``):
      - ``spend`` never lets the budgets be passed, whoever else writes to the same file;
      - a refusal is recorded, and changes nothing else;
      - nothing refunds: not an exception, not a crash between entry and bytes;
      - the bytes attached to a release never change: after a crash the same are sent again;
      - what was spent elsewhere is entered whatever it costs; past the budget nothing is granted;
      - ``open`` gives the state that the ledger had when it was written.

    ``accountant`` prices its events; ``taken_up`` says whether it was found on a disk: it may then
    be an old copy of itself, which it can't tell alone.
    """

    def __init__(
        self, store: Store, key: SigningKey, accountant: Accountant | None, clock: Clock
    ) -> None:
        self.accountant: Accountant = Guarded(accountant or Certified())
        self.taken_up = False
        self._store = store
        self._chain = Chain(store, key, clock)

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        hospital: str,
        key: SigningKey,
        budget: Budget,
        enrolled: Mapping[str, str] | None = None,
        context: Mapping[str, Json] | None = None,
        foreign: str | None = None,
        accountant: Accountant | None = None,
        clock: Clock = now,
    ) -> "Ledger":
        """Start a ledger in a new file.

        Args:
          path: The file, by custom ``ledgers/<hospital>.jsonl``.
          hospital: Its name.
          key: The hospital's signing key.
          budget: What its releases may cost together, ever.
          enrolled: Public keys, by name, of the hospitals that may counter-sign.
          context: Plain facts for the auditor: digests of code, data and protocol.
          foreign: The program of somebody else's that makes the releases, such as Opacus: what the
            entries say is then its claim, and no page says that it was verified.
          accountant: Where events are priced; the project's own by default.
          clock: Source of the time.

        Raises:
          InvalidInputError: The file exists, or the arguments break a rule.
          RefusedError: The disk can't be written.
        """
        # Before anything is made.
        opening = first_entry(hospital, key, budget, enrolled, context, foreign)
        ledger = cls(FileStore.create(path), key, accountant, clock)
        ledger._chain.start(hospital, opening)
        return ledger

    @classmethod
    def in_memory(
        cls,
        *,
        hospital: str = "hospital",
        budget: Budget,
        key: SigningKey | None = None,
        enrolled: Mapping[str, str] | None = None,
        context: Mapping[str, Json] | None = None,
        foreign: str | None = None,
        accountant: Accountant | None = None,
        clock: Clock = now,
    ) -> "Ledger":
        """Start a ledger that nobody will ever verify: for experiments alone.

        ``durable`` is False, and a real run refuses it.
        """
        key = key or SigningKey.generate()
        ledger = cls(MemoryStore(), key, accountant, clock)
        opening = first_entry(hospital, key, budget, enrolled, context, foreign)
        ledger._chain.start(hospital, opening)
        return ledger

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        key: SigningKey,
        accountant: Accountant | None = None,
        clock: Clock = now,
    ) -> "Ledger":
        """Take up a ledger where it stopped; a line torn by a crash is set aside first.

        Links and the last signature are checked, which covers every line; ``verify`` does more.

        Raises:
          InvalidInputError: No such file, or the key is not its hospital's.
          CorruptMessageError: A whole line is not what was written.
          RefusedError: The disk can't be written.
        """
        store = FileStore.open(path)
        ledger = cls(store, key, accountant, clock)
        with ledger._chain.lock() as state:
            if not state.identity:
                raise CorruptMessageError(
                    f"The ledger {path} has no whole line: its making was cut short and nothing "
                    "was released. Remove it and create it anew."
                )
            seal_left_over(ledger._chain)
        ledger.taken_up = True
        return ledger

    def declare(
        self,
        schedule: Sequence[Planned],
        *,
        repeats: int = 1,
        unit: Unit = Unit.PATIENT,
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
          others: As in ``ReleaseSchedule``.
          plan: What its releases call it by: the digest of the run's plan. None: of this request.

        Returns:
          The plan's entry; its ``content["plan"]`` is what a ``Release`` names.

        Raises:
          BudgetExceededError: The total passes the budget; the refusal is recorded.
          RefusedError: No budget for the unit, the total can't be told, the plan was abandoned, or
            the digest stands for another schedule; recorded likewise.
        """
        request = ReleaseSchedule(
            unit,
            tuple(schedule),
            repeats,
            dict(context or {}),
            dict(others or {}),
            plan,
        )
        content = request.to_json()
        with self._chain.lock() as state:
            book = self._book(unit, "plan", content)
            declared = state.declared.get(content["plan"])
            if declared is not None:
                return self._again(declared, content, book)
            late, steps = book.late, content["schedule"]
            decision = book.plan(steps, repeats, self.accountant)
            why = book.costlier(content, decision, self.accountant) if late else ""
            if not decision.granted:
                self._refuse("plan", content, replace(decision, why=decision.why + why))
            entry = self._chain.append("plan", content | dict(decision.record))
        if why:
            warnings.warn(
                f"The ledger of {self.hospital} granted the plan{why}.",
                CostlierPlanWarning,
                stacklevel=2,
            )
        return entry

    def _again(self, declared: Entry, content: Mapping[str, Any], book: Filter) -> Entry:
        plan = book.find(content["plan"])
        if plan is None or any(declared.content[name] != value for name, value in content.items()):
            why = f"entry {declared.sequence} declares another schedule under this digest"
            self._refuse("plan", content, Decision(False, {}, why))
        if plan.fate is not Fate.STANDING:
            why = "it was abandoned; a new run needs a plan of its own"
            self._refuse("plan", content, Decision(False, {}, why))
        return declared

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
        with self._chain.lock() as state:
            declared = state.declared.get(plan)
            if declared is None:
                raise InvalidInputError(
                    f"The ledger of {self.hospital} holds no plan {plan[:12]!r}; `inpatient ledger "
                    "show` lists those that it holds."
                )
            if plan in state.abandoned:
                return state.abandoned[plan]
            unit = declared.content["unit"]
            decision = state.filters[unit].abandon(plan, self.accountant)
            if not decision.granted:
                raise InvalidInputError(f"Nothing can be abandoned: {decision.why}.")
            content = {"unit": unit, "plan": plan, "reason": reason}
            return self._chain.append("abandoned", content | dict(decision.record))

    def enter(self, imported: Imported) -> Entry:
        """Count what was released elsewhere, whatever it costs (``privacy.ledger.elsewhere``)."""
        return enter(self._chain, self.accountant, imported)

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
        with self._chain.lock():
            book = self._book(release.unit, "release", content)
            judged = release
            if not self.durable and release.noise_source == "seeded":
                judged = replace(release, noise_source="operating system")  # an experiment may
            relation, foreign = book.budget.relation_name, bool(self.foreign)
            why = objection(judged, relation=relation, foreign=foreign)
            decision = Decision(False, {}, why)
            if not decision.why:
                decision = book.release(
                    release.kind, event, self.accountant, plan=release.plan, round_=release.round
                )
            if not decision.granted:
                self._refuse("release", content, decision)
            return self._chain.append("release", content | dict(decision.record))

    def _book(self, unit: Unit, what: str, content: Mapping[str, Any]) -> Filter:
        filters = self._chain.state.filters
        if unit not in filters:
            why = f"this ledger holds no budget for the unit {str(unit)!r}"
            self._refuse(what, content, Decision(False, {}, why))
        return filters[unit]

    def _refuse(self, what: str, content: Mapping[str, Any], decision: Decision) -> NoReturn:
        refuse(self._chain, what, content, decision)

    def attach(self, entry: Entry, payload: bytes) -> Entry:
        """Keep the bytes that a release became, so that a crash never makes a second noise.

        The same bytes again are accepted and change nothing. Returns the ``sealed`` entry.

        Raises:
          RefusedError: Other bytes were attached before, the entry is no release of this ledger,
            or the disk refuses; the bytes must not be sent.
        """
        return attach(self._chain, entry, payload)

    def payload(self, entry: Entry) -> bytes | None:
        """The bytes attached to a release, to be sent again after a crash; None if there are none.

        None after a crash means that the release is spent and lost: ask for a new one.
        """
        return self._store.payload(entry.sequence)

    def pending(self) -> tuple[Entry, ...]:
        """Releases that were spent and have no bytes: the process died in between."""
        with self._chain.lock() as state:
            wanted = dict(state.pending)
        return tuple(e for e in self.entries() if e.sequence in wanted) if wanted else ()

    def together(self) -> AbstractContextManager[None]:
        """Have what is written within be durable at its end, and not before, by one wait."""
        return self._chain.together()

    # -- telling ---------------------------------------------------------------------------------

    @property
    def hospital(self) -> str:
        """Who keeps it."""
        return self._chain.state.hospital

    @property
    def key(self) -> SigningKey:
        """The hospital's signing key."""
        return self._chain.key

    @property
    def identity(self) -> str:
        """Digest of its first entry: no two ledgers share it."""
        return self._chain.state.identity

    @property
    def foreign(self) -> str:
        """The program of somebody else's that makes its releases; empty: the project's own."""
        return self._chain.state.foreign

    @property
    def durable(self) -> bool:
        """Whether the ledger survives the process; a real run accepts no other."""
        return self._store.durable

    @property
    def size(self) -> int:
        """Number of entries."""
        return self._chain.state.tree.size

    @property
    def enrolled(self) -> Mapping[str, str]:
        """Public keys of the hospitals that may counter-sign, by name."""
        return dict(self._chain.state.enrolled)

    @property
    def witnessed(self) -> Mapping[str, Head]:
        """The newest head of each other hospital's ledger that was counter-signed here."""
        return dict(self._chain.state.witnessed)

    @property
    def countersigned(self) -> Head | None:
        """The newest head of this ledger that others counter-signed; None: none was."""
        return self._chain.state.countersigned

    def leaves(self) -> list[bytes]:
        """Merkle leaf hashes of all entries in order."""
        return [leaf(line) for line in self._store.lines()]

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Digests of plans that stand and have places left."""
        books = self._chain.state.filters.values()
        return tuple(plan.digest for book in books for plan in book.plans if plan.left)

    def entries(self) -> Iterator[Entry]:
        """All entries in order, read from where they are kept."""
        return self._chain.entries()

    def head(self) -> Head:
        """The signed head: what an upload carries, and what others counter-sign."""
        with self._chain.lock() as state:
            root = state.tree.root().hex()
            return Head.sign(self.key, state.hospital, state.identity, state.tree.size, root)

    def state(self, unit: Unit = Unit.PATIENT) -> Filter:
        """The filter's state for a unit; read it, don't change it.

        Raises:
          InvalidInputError: No budget for that unit.
        """
        with self._chain.lock() as state:
            if unit not in state.filters:
                raise InvalidInputError(f"This ledger holds no budget for the unit {str(unit)!r}.")
            return state.filters[unit]

    def enrol(self, hospitals: Mapping[str, str]) -> Entry | None:
        """Let more hospitals counter-sign this ledger, as when one joins a later run.

        Args:
          hospitals: Public keys by name. If nobody is new, nothing changes and None comes back.

        Raises:
          RefusedError: A name is enrolled under another key: whoever has it was promised that
            nobody takes its place. Nothing is recorded.
        """
        distinct_names(enrolled=hospitals)
        with self._chain.lock() as state:
            replaced = sorted(n for n, k in hospitals.items() if state.enrolled.get(n, k) != k)
            if replaced:
                raise RefusedError(
                    f"The ledger of {self.hospital} enrols {replaced[0]} under another public key. "
                    f"Use the key that {replaced[0]} had, or another name."
                )
            new = {name: key for name, key in hospitals.items() if name not in state.enrolled}
            return self._chain.append("enrolled", {"enrolled": new}) if new else None

    def note(self, kind: str, content: Mapping[str, Any]) -> Entry:
        """Record something that spends nothing: a checkpoint, or the counter-signing of one."""
        if kind not in ("checkpoint", "witness", "countersigned"):
            raise InvalidInputError(f"Entries of kind {kind!r} are not noted; they are earned.")
        with self._chain.lock():
            return self._chain.append(kind, content)
