"""The lines of a verdict, and the verdict.

Each line is one of:

    OK: ledgers/north.jsonl: 14 entries of north, all signed and linked, counter-signed by south
    FAIL: ledgers/south.jsonl: entry 9: its signature is not that of south's key
    NOTE: what is true and worth knowing, and no failure
    UNANCHORED: no trusted keys were given

Every line is about one hospital, or about no single one (a manifest that anybody could have cut).
"""

from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from typing import Any, Literal

from privacy._foreign import printable
from privacy.ledger.audit.reading import Reading, Spent
from privacy.ledger.forms import number

__all__ = ["Finding", "Flow", "Level", "Verdict"]

_LONGEST = 700  # characters of a line
Level = Literal["OK", "FAIL", "NOTE", "UNANCHORED"]


@dataclass(frozen=True)
class Finding:
    """One line of a verdict; whatever a file says in it is escaped when it is printed.

    Attributes:
      level: ``OK``, ``FAIL``, ``NOTE`` or ``UNANCHORED``.
      subject: The file, or what the line is about.
      reason: What was found.
      entry: Sequence of the entry concerned.
      hospital: Whose verdict it changes; empty if nobody's alone.
    """

    level: Level
    subject: str
    reason: str
    entry: int | None = None
    hospital: str = ""

    def __str__(self) -> str:
        place = f"entry {self.entry}: " if self.entry is not None else ""
        line = printable(f"{self.level}: {self.subject}: {place}{self.reason}")
        return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


@dataclass(frozen=True)
class Flow:
    """What hospitals sent, in bytes.

    Attributes:
      messages: Outbound messages.
      sealed: Bytes that are sealed forms of planned releases.
      public: Bytes of releases that are said to depend on no patient.
      clear: Bytes of fields in clear, each of a known type and length.
      unaccounted: All other bytes.
    """

    messages: int = 0
    sealed: int = 0
    public: int = 0
    clear: int = 0
    unaccounted: int = 0

    @property
    def accounted(self) -> int:
        """All bytes that something accounts for."""
        return self.sealed + self.public + self.clear

    def __add__(self, other: "Flow") -> "Flow":
        mine, theirs = astuple(self), astuple(other)
        return Flow(*(a + b for a, b in zip(mine, theirs, strict=True)))


@dataclass(frozen=True)
class Verdict:
    """What verification found.

    Attributes:
      findings: All lines, in order.
      readings: What each ledger says.
      flow: Outbound bytes; None without a manifest.
      anchored: Whether trusted keys were given.
    """

    findings: tuple[Finding, ...]
    readings: tuple[Reading, ...]
    flow: Flow | None
    anchored: bool

    @property
    def ok(self) -> bool:
        """Whether nothing failed; without trusted keys that alone proves little."""
        return all(finding.level != "FAIL" for finding in self.findings)

    def blames(self, hospital: str) -> bool:
        """Whether anything failed that is this hospital's own, whatever others did."""
        return any(f.level == "FAIL" and f.hospital == hospital for f in self.findings)

    @property
    def status(self) -> int:
        """Exit status: 0 verified, 1 failed, 3 nothing failed but nothing anchors it."""
        if not self.ok:
            return 1
        return 0 if self.anchored else 3

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "ok": self.ok,
            "anchored": self.anchored,
            "status": self.status,
            "findings": [asdict(finding) for finding in self.findings],
            "flow": asdict(self.flow) | {"accounted": self.flow.accounted} if self.flow else None,
            "hospitals": {r.hospital: [_spent(spent) for spent in r.spent] for r in self.readings},
            "public": {r.hospital: _public(r) for r in self.readings},
        }


def _spent(spent: Spent) -> Mapping[str, Any]:
    return {
        "budget": spent.budget.to_json(),
        "interval": spent.interval.to_json() if spent.interval else None,
        "second_upper": number(infinite=True).write(spent.second),
        "rule": spent.rule,
        "releases": spent.releases,
        "planned_left": spent.left,
    }


def _public(reading: Reading) -> Mapping[str, Any]:
    return {"releases": dict(reading.public), "bytes": reading.public_bytes}
