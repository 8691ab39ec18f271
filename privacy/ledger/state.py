"""What a ledger's entries add up to: whoever takes up a ledger walks them, from the first on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from privacy.errors import CorruptMessageError
from privacy.ledger.contents import Allowed
from privacy.ledger.filter import Filter
from privacy.ledger.log.entries import GENESIS, Entry
from privacy.ledger.log.heads import Head
from privacy.ledger.log.merkle import Frontier
from privacy.unit import Unit

__all__ = ["State"]


@dataclass
class State:
    """The state after some entries; it changes through ``apply`` alone.

    Attributes:
      hospital: Who keeps the ledger; empty before its opening.
      identity: Digest of its opening.
      foreign: The program of somebody else's that makes its releases; empty: the project's own.
      filters: The filter of each unit's budget.
      declared: Entries of declared plans, by the plan's digest.
      abandoned: Entries of abandonments, by the plan's digest.
      entered: Places of what was spent elsewhere.
      enrolled: Public keys of the hospitals that may counter-sign, by name.
      pending: Digests of releases without bytes, by their place.
      witnessed: The newest head seen of each other hospital.
      countersigned: The newest head of its own that others counter-signed; None: none was.
      tree: The Merkle tree over all lines.
      last: Digest of the last line.
      offset: Bytes of the file that were taken in.
    """

    hospital: str = ""
    identity: str = ""
    foreign: str = ""
    filters: dict[Unit, Filter] = field(default_factory=dict)
    declared: dict[str, Entry] = field(default_factory=dict)
    abandoned: dict[str, Entry] = field(default_factory=dict)
    entered: set[int] = field(default_factory=set)
    enrolled: dict[str, str] = field(default_factory=dict)
    pending: dict[int, str] = field(default_factory=dict)
    witnessed: dict[str, Head] = field(default_factory=dict)
    countersigned: Head | None = None
    tree: Frontier = field(default_factory=Frontier)
    last: str = GENESIS
    offset: int = 0

    def apply(self, entry: Entry) -> None:
        """Take in the next entry.

        Raises:
          CorruptMessageError: It does not follow the last one.
        """
        if entry.sequence != self.tree.size or entry.previous != self.last:
            raise CorruptMessageError(
                f"Entry {entry.sequence} of {entry.hospital}'s ledger does not follow entry "
                f"{self.tree.size - 1}; run `inpatient ledger verify` on it."
            )
        if (entry.kind == "opening") != (entry.sequence == 0):
            raise CorruptMessageError(
                f"Entry {entry.sequence} is of kind {entry.kind!r}: a ledger has one opening, at "
                "its start."
            )
        content = entry.content
        match entry.kind:
            case "opening":
                self.hospital, self.identity = entry.hospital, entry.digest
                self.enrolled = dict(content["enrolled"])
                self.foreign = content.get("foreign", "")
                for fields in content["budgets"]:
                    allowed = Allowed.from_json(fields)
                    self.filters[allowed.unit] = Filter(allowed.budget, allowed.order)
            case "enrolled":
                self._enrol(entry.sequence, content["enrolled"])
            case "plan":
                self._book(entry).apply_plan(content)
                self.declared[content["plan"]] = entry
            case "abandoned":
                self._book(entry).apply_abandonment(content)
                self.abandoned[content["plan"]] = entry
            case "imported":
                self._book(entry).apply_entered(content)
                self.entered.add(entry.sequence)
            case "release":
                self._book(entry).apply_release(content)
                self.pending[entry.sequence] = entry.digest
            case "sealed":
                self.pending.pop(content["release"], None)
            case "witness":
                seen = Head.from_json(content["head"])
                self.witnessed[seen.hospital] = seen
            case "countersigned":
                self.countersigned = Head.from_json(content["head"])
        self.tree.append(entry.line)
        self.offset += len(entry.line) + 1
        self.last = entry.digest

    def _book(self, entry: Entry) -> Filter:
        unit = entry.content["unit"]
        if unit not in self.filters:
            raise CorruptMessageError(
                f"Entry {entry.sequence} of {self.hospital}'s ledger is about the unit {unit!r}, "
                "for which it holds no budget."
            )
        return self.filters[unit]

    def _enrol(self, sequence: int, more: Mapping[str, str]) -> None:
        replaced = sorted(set(more) & set(self.enrolled))
        if replaced:
            raise CorruptMessageError(
                f"Entry {sequence} of {self.hospital}'s ledger enrols {replaced[0]!r} twice."
            )
        self.enrolled |= more
