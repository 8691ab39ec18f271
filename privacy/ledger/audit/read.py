"""Read one ledger as a stranger would: believe nothing that can be computed again.

Every entry is parsed, its link and signature checked, and the filter walked anew with the reader's
own accountants. Memory stays flat: entries are not kept, only 32 bytes each.
"""

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from privacy._foreign import digest_file
from privacy.errors import CorruptMessageError, InpatientError
from privacy.ledger.accountant import Accountant, Cost, composed
from privacy.ledger.audit.reading import (
    Claim,
    PayloadEntry,
    PlanWord,
    Problem,
    Reading,
    Spent,
    gathered,
)
from privacy.ledger.contents import Allowed
from privacy.ledger.filter import Filter
from privacy.ledger.imported import Imported, objection_to
from privacy.ledger.log.canonical import to_number
from privacy.ledger.log.entries import GENESIS, Entry, parse, read_lines
from privacy.ledger.log.heads import Head
from privacy.ledger.log.merkle import Frontier, leaf
from privacy.ledger.log.store import payload_folder
from privacy.ledger.preset_order import best_order
from privacy.ledger.requests import PUBLIC_BYTES, Release, ReleaseSchedule, objection
from privacy.ledger.witness import countersignature_holds
from privacy.unit import Unit

__all__ = ["read"]

_PLACE = {"filter", "position", "order"}
_Part = tuple[Mapping[str, Any], int]
_CLOSE = 1 + 1e-9  # two computations of one number on two machines


@dataclass(frozen=True)
class _Waiting:
    """A release whose bytes are not sealed yet."""

    digest: str
    kind: str
    kept: PayloadEntry


class _Reader:
    """The state of reading one file."""

    def __init__(
        self,
        path: Path,
        trusted: Mapping[str, str] | None,
        wanted: frozenset[str],
        accountants: tuple[Accountant, Accountant],
    ) -> None:
        self.out = Reading(path)
        self._trusted = trusted
        self._wanted = wanted
        self._first, self._second = accountants
        self._tree = Frontier()
        self._previous = GENESIS
        self._time = ""
        self._backwards = 0
        self._key = ""
        self._filters: dict[Unit, Filter] = {}
        self._adaptive: dict[Unit, list[_Part]] = {}
        self._intervals: dict[Unit, Cost] = {}
        self._open: dict[int, _Waiting] = {}
        self._runs: dict[str, str] = {}  # by the digest of a plan
        self._unknown: Counter[str] = Counter()
        self._unprotected = 0

    def take(self, line: bytes) -> None:
        """Check one line and take it in; raises at the first thing that is wrong."""
        entry = parse(line)
        if entry.sequence != self.out.size:
            raise CorruptMessageError(
                f"it stands at place {self.out.size} but is numbered {entry.sequence}"
            )
        if entry.previous != self._previous:
            raise CorruptMessageError("it is not linked to the entry before it")
        if (entry.kind == "opening") != (entry.sequence == 0):
            raise CorruptMessageError("a ledger has one opening, at its start")
        if entry.sequence == 0:
            self._opening(entry)
        if entry.hospital != self.out.hospital:
            raise CorruptMessageError(f"it belongs to {entry.hospital!r}")
        if not entry.signed_by(self._key):
            raise CorruptMessageError(f"its signature is not that of {self.out.hospital}'s key")
        if entry.time < self._time:
            self._backwards += 1
        self._content(entry)
        self._time, self._previous = entry.time, entry.digest
        self._tree.append_leaf(hashed := leaf(line))
        self.out.leaves += hashed
        self.out.size += 1

    def _opening(self, entry: Entry) -> None:
        content, out = entry.content, self.out
        out.hospital, out.identity = entry.hospital, entry.digest
        out.public_key = self._key = content["public_key"]
        out.context = dict(content["context"])
        out.foreign = content.get("foreign", "")
        if self._trusted is not None:
            self._key = self._trusted.get(out.hospital, "")
            if not self._key:
                raise CorruptMessageError(f"no trusted key is known for {out.hospital!r}")
            if self._key != out.public_key:
                raise CorruptMessageError("it names another public key than the trusted one")
        self._enrol(content["enrolled"])
        for fields in content["budgets"]:
            allowed = Allowed.from_json(fields)
            budget = allowed.budget
            if allowed.order != best_order(budget):
                raise CorruptMessageError("its filter's order does not follow from its budget")
            self._filters[budget.unit] = Filter.fresh(budget)
            self._adaptive[budget.unit] = []

    def _enrol(self, more: Mapping[str, str]) -> None:
        for name, public in more.items():
            if name in self.out.enrolled:
                raise CorruptMessageError(f"it enrols {name!r} a second time")
            if self._trusted is not None and self._trusted.get(name, public) != public:
                raise CorruptMessageError(f"it enrols {name!r} with an untrusted key")
        self.out.enrolled |= more

    def _content(self, entry: Entry) -> None:
        content = entry.content
        match entry.kind:
            case "enrolled":
                self._enrol(content["enrolled"])
            case "plan":
                self._plan(content)
            case "abandoned":
                self._abandoned(content)
            case "release":
                self._release(entry)
            case "imported":
                self._imported(entry)
            case "sealed":
                self._sealed(content)
            case "refusal":
                self.out.refusals += 1
            case "recovered":
                self.out.notes.append(
                    f"entry {entry.sequence}: a crash left {content['bytes']} bytes of a torn "
                    f"line, kept in {content['moved_to']}"
                )
            case "checkpoint":
                if content["size"] != entry.sequence or content["root"] != self._tree.root().hex():
                    raise CorruptMessageError("its root is not that of the entries before it")
            case "witness":
                self._witness(Head.from_json(content["head"]))
            case "countersigned":
                self._countersigned(content)

    def _book(self, unit: str) -> Filter:
        if unit not in self._filters:
            raise CorruptMessageError(f"its ledger holds no budget for the unit {str(unit)!r}")
        return self._filters[Unit(unit)]

    def _plan(self, content: Mapping[str, Any]) -> None:
        book = self._book(content["unit"])
        decision = book.plan(content["schedule"], content["repeats"], self._first)
        if not decision.granted:
            raise CorruptMessageError(f"it let a plan through, but {decision.why}")
        if decision.record["filter"] != content["filter"]:
            raise CorruptMessageError(
                f"it was let through as {content['filter']!r} but {decision.record['filter']!r} "
                "is the rule"
            )
        self._recomputed(content, decision.record)
        book.apply_plan({**content, **decision.record})
        schedule_fields = set(ReleaseSchedule.__dataclass_fields__)
        schedule = ReleaseSchedule.from_json(
            {n: value for n, value in content.items() if n in schedule_fields}
        )
        run = str(schedule.context.get("run", ""))
        self._runs[content["plan"]] = run
        if run:
            self.out.facts[run] = dict(schedule.context)
            word = PlanWord(content["plan"], schedule.digest, schedule.others)
            self.out.plans.setdefault(run, []).append(word)

    def _recomputed(self, content: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Hold what a ledger says that its budget has spent against what was computed anew."""
        if content["filter"] == "fixed schedule":
            self._compare(Cost.from_json(content["interval"]), record["interval"])
            self._intervals[content["unit"]] = Cost.from_json(record["interval"])
        self._divergence(content, record)

    def _abandoned(self, content: Mapping[str, Any]) -> None:
        book = self._book(content["unit"])
        decision = book.abandon(content["plan"], self._first)
        if not decision.granted:
            raise CorruptMessageError(f"it abandons a plan, but {decision.why}")
        if decision.record["filter"] != content["filter"]:
            raise CorruptMessageError(
                f"it frees a plan by the rule {content['filter']!r} but "
                f"{decision.record['filter']!r} is the rule"
            )
        self._recomputed(content, decision.record)
        book.apply_abandonment({**content, **decision.record})
        self.out.dead.add(self._runs[content["plan"]])

    def _imported(self, entry: Entry) -> None:
        content = entry.content
        book = self._book(content["unit"])
        fields = set(Imported.__dataclass_fields__)
        imported = Imported.from_json({n: value for n, value in content.items() if n in fields})
        if why := objection_to(imported, book.budget):
            raise CorruptMessageError(f"it enters what was spent elsewhere, but {why}")
        decision = book.enter(*imported.parts, self._first)
        if decision.record["filter"] != content["filter"]:
            raise CorruptMessageError(
                f"it was entered as {content['filter']!r} but {decision.record['filter']!r} is "
                "the rule"
            )
        self._recomputed(content, decision.record)
        book.apply_entered({**content, **decision.record})
        self.out.notes.append(
            f"entry {entry.sequence}: spent elsewhere, as {content['operator']} claims and nobody "
            f"here can check: {content['source']}"
        )

    def _release(self, entry: Entry) -> None:
        content = entry.content
        book = self._book(content["unit"])
        what = content["kind"], content["event"], self._first
        decision = book.release(*what, plan=content["plan"], round_=content["round"])
        if not decision.granted:
            raise CorruptMessageError(f"it let a release through, but {decision.why}")
        rule = decision.record["filter"]
        if any(
            content.get(name) != decision.record[name] for name in _PLACE & set(decision.record)
        ):
            raise CorruptMessageError(f"it was not let through by the rule, which is {rule!r}")
        fields = set(Release.__dataclass_fields__)
        release = Release.from_json({n: value for n, value in content.items() if n in fields})
        relation, foreign = book.budget.relation_name, bool(self.out.foreign)
        why = objection(release, relation=relation, foreign=foreign)
        if why and (book.budget.limited or rule == "public"):
            raise CorruptMessageError(f"it let a release through, but {why}")
        self._divergence(content, decision.record)
        book.apply_release({**content, **decision.record})
        if rule == "adaptive":
            self._adaptive[content["unit"]].append((content["event"], 1))
        if not book.budget.limited and rule != "public":
            self._unprotected += 1
        run = self._runs[content["plan"]] if rule == "planned" else ""
        kept = PayloadEntry(entry.sequence, 0, rule, run, release.details.get("weight", 1.0))
        self._open[entry.sequence] = _Waiting(entry.digest, content["kind"], kept)
        if rule == "public":
            self.out.public[content["kind"]] += 1
        self.out.last_release = entry.sequence

    @staticmethod
    def _divergence(content: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        if record["filter"] != "adaptive":
            return
        stated, computed = to_number(content["divergence"]), to_number(record["divergence"])
        if not computed <= stated * _CLOSE:
            raise CorruptMessageError(
                f"its running divergence is told as {stated:.6g} and computed as {computed:.6g}"
            )

    @staticmethod
    def _compare(stated: Cost, computed_json: Mapping[str, Any]) -> None:
        computed = Cost.from_json(computed_json)
        if not (
            stated.lower <= computed.upper * _CLOSE and computed.lower <= stated.upper * _CLOSE
        ):
            raise CorruptMessageError(
                f"its epsilon is told as [{stated.lower:.6g}, {stated.upper:.6g}] and computed as "
                f"[{computed.lower:.6g}, {computed.upper:.6g}]: the intervals do not meet"
            )

    def _sealed(self, content: Mapping[str, Any]) -> None:
        out, sequence, size = self.out, content["release"], content["bytes"]
        release = self._open.get(sequence)
        if release is None or release.digest != content["entry"]:
            raise CorruptMessageError("it seals no release that was waiting for its bytes")
        del self._open[sequence]
        out.payloads += 1
        if release.kept.run:
            out.runs[release.kept.run] += 1
        if release.kept.rule == "public":
            out.public_bytes += size
            if size > PUBLIC_BYTES:
                raise CorruptMessageError(
                    f"{size} bytes went out as the public release {release.kind!r}, which is said "
                    f"to depend on no patient; more than {PUBLIC_BYTES} are not believed"
                )
        if content["digest"] in self._wanted:
            out.matched += 1
            out.sealed.setdefault(content["digest"], replace(release.kept, bytes=size))
        kept = payload_folder(out.path) / f"{sequence:09d}.bin"
        if not os.path.lexists(kept):
            out.lost.append(sequence)
        elif digest_file(kept) != (size, content["digest"]):
            raise CorruptMessageError(f"the bytes kept in {kept.name} are not the ones it sealed")

    def _key_of(self, name: str) -> str:
        """The key of another hospital: the trusted one, or without any the ledger's own word."""
        key = (self.out.enrolled if self._trusted is None else self._trusted).get(name, "")
        if not key:
            self._unknown[name] += 1
        return key

    def _witness(self, head: Head) -> None:
        """Take another hospital's head as evidence, if that hospital signed it."""
        if head.hospital == self.out.hospital:
            raise CorruptMessageError("it witnesses its own ledger")
        key = self._key_of(head.hospital)
        if key and not head.signed_by(key):
            raise CorruptMessageError(
                f"it counter-signs a head of {head.hospital} that {head.hospital}'s key did not "
                "sign"
            )
        if key:
            self.out.vouched.append(Claim(head, self.out.hospital))

    def _countersigned(self, content: Mapping[str, Any]) -> None:
        head = Head.from_json(content["head"])
        if head.hospital != self.out.hospital or not head.signed_by(self._key):
            raise CorruptMessageError("it holds no counter-signature of this ledger")
        for name, signature in content["signatures"].items():
            key = self._key_of(name)
            if not key:
                continue
            if name == self.out.hospital or not countersignature_holds(key, signature, head):
                raise CorruptMessageError(f"the counter-signature of {name!r} does not hold")
            self.out.vouched.append(Claim(head, name))

    def finish(self) -> Reading:
        """Close the account of every unit."""
        out = self.out
        out.notes += [
            f"{count} heads or counter-signatures of {name} can't be checked: no trusted key is "
            "known for it"
            for name, count in sorted(self._unknown.items())
        ]
        if out.foreign:
            reason = "nobody here saw clipping, noise or how patients were drawn"
            out.notes.append(f"its releases are claims of {out.foreign}: {reason}")
        if self._open:
            out.notes.append(
                f"{len(self._open)} releases are spent and no bytes are attached to them"
            )
        if self._backwards:
            out.notes.append(f"the writer's clock went backwards {self._backwards} times")
        if self._unprotected:
            out.notes.append(
                f"{self._unprotected} releases went out under a budget that promises nothing"
            )
        for unit, book in self._filters.items():
            out.spent.append(self._account(unit, book))
        return out

    def _account(self, unit: Unit, book: Filter) -> Spent:
        budget, adaptive = book.budget, self._adaptive[unit]
        event = composed([*book.elsewhere, *book.planned, *gathered(adaptive)])
        common = (book.releases, book.left, event)
        if not budget.limited:
            return Spent(budget, None, math.inf, "unlimited", *common)
        if not book.planned and not adaptive and not book.elsewhere and not book.claimed:
            nothing = Cost(0.0, 0.0, 0.0, "nothing was released", "")
            return Spent(budget, nothing, 0.0, "nothing spent", *common)
        if book.adaptive:
            interval, second = self._filtered(book, event)
        else:
            interval = self._intervals[unit]
            second = self._second.epsilon(event, budget).upper
        if not interval.upper <= budget.epsilon * _CLOSE:
            out_of = f"epsilon is {interval.upper:.6g} of {budget.epsilon:.6g} allowed"
            out_of += " (a running total, no filter's guarantee)" if book.passed else ""
            self.out.problems.append(Problem(None, out_of))
        if second * _CLOSE < interval.lower:
            self.out.problems.append(
                Problem(
                    None,
                    f"two accountants contradict each other: at least {interval.lower:.6g} by "
                    f"{interval.method}, at most {second:.6g} by Rényi divergence",
                )
            )
        rule = "adaptive" if book.adaptive else "fixed schedule"
        return Spent(budget, interval, second, rule, *common)

    def _filtered(self, book: Filter, event: Mapping[str, Any]) -> tuple[Cost, float]:
        """The filter's own bound, and the same divergences added up at once.

        Upper bounds for events fixed beforehand do not hold for events chosen on the way. Their
        lower ends do, and neither of the two may lie below them.
        """
        budget = book.budget
        try:
            fixed = self._first.epsilon(event, budget)
        except InpatientError:
            fixed = Cost(0.0, 0.0, 0.0, "", "")
        method = f"Rényi filter at order {book.order}"
        upper = book.committed
        interval = Cost(min(fixed.lower, upper), upper, upper, method, fixed.versions)
        at_once = self._second.divergence(event, book.order, budget)
        return interval, book.proves(at_once)


def read(
    path: Path,
    *,
    trusted: Mapping[str, str] | None,
    wanted: frozenset[str],
    accountants: tuple[Accountant, Accountant],
) -> Reading:
    """Read one ledger to its end or to the first thing that is wrong.

    Args:
      path: The file.
      trusted: Public keys by hospital, obtained apart; None: the ledger's own word.
      wanted: Digests of payloads whose ``sealed`` entries are to be found.
      accountants: Whose word counts, and the second that must not contradict it.
    """
    reader = _Reader(path, trusted, wanted, accountants)
    out = reader.out
    try:
        for line in read_lines(path):
            reader.take(line)
        if not out.size:
            raise CorruptMessageError("it is empty")
        return reader.finish()
    except (InpatientError, ArithmeticError, RecursionError, MemoryError, ValueError) as error:
        # All but the first: an accountant that a lawful event, of absurd numbers, is beyond.
        reason = str(error) if isinstance(error, InpatientError) else _beyond(error)
        out.problems.append(Problem(out.size, reason.rstrip(".")))
        return out


def _beyond(error: BaseException) -> str:
    return f"what it holds is beyond the accountant ({type(error).__name__})"
