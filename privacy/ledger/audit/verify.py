"""Did every hospital keep its budget? Answered offline, from the files and the public keys.

    OK: ledgers/north.jsonl: 64 entries ...
    FAIL: ledgers/south.jsonl: entry 12: its signature is not that of south's key
    NOTE: what is true and worth knowing, and no failure

Without trusted keys, obtained apart from the files, a forger could have signed everything: the
verdict is then ``UNANCHORED``.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger.accountant import Accountant, Certified, RenyiOnly
from privacy.ledger.audit.manifest import Manifest
from privacy.ledger.audit.prove import check_proof
from privacy.ledger.audit.read import Claim, Problem, Reading, Spent, read, roots_at
from privacy.ledger.audit.show import describe
from privacy.ledger.log.canonical import from_number
from privacy.ledger.rounding import up

__all__ = ["Finding", "Flow", "Verdict", "verify"]

_SHOWN = 8  # leaks named one by one; the rest are counted
Level = Literal["OK", "FAIL", "NOTE", "UNANCHORED"]


@dataclass(frozen=True)
class Finding:
    """One line of a verdict.

    Attributes:
      level: ``OK``, ``FAIL``, ``NOTE`` or ``UNANCHORED``.
      subject: The file, or what the line is about.
      reason: What was found.
      entry: Sequence of the entry concerned.
    """

    level: Level
    subject: str
    reason: str
    entry: int | None = None

    def __str__(self) -> str:
        place = f"entry {self.entry}: " if self.entry is not None else ""
        return f"{self.level}: {self.subject}: {place}{self.reason}"


@dataclass(frozen=True)
class Flow:
    """What the manifest's hospitals sent, in bytes.

    Attributes:
      messages: Outbound messages.
      accounted: Bytes that are sealed forms of releases in the ledger, or accounted fields.
      unaccounted: All other bytes.
    """

    messages: int
    accounted: int
    unaccounted: int


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
            "findings": [
                {"level": f.level, "subject": f.subject, "entry": f.entry, "reason": f.reason}
                for f in self.findings
            ],
            "flow": vars(self.flow) if self.flow else None,
            "hospitals": {
                r.hospital: [_spent_json(spent) for spent in r.spent] for r in self.readings
            },
        }


def _spent_json(spent: Spent) -> dict[str, Any]:
    return {
        "budget": spent.budget.to_json(),
        "interval": spent.interval.to_json() if spent.interval else None,
        "second_upper": from_number(spent.second),
        "rule": spent.rule,
        "releases": spent.releases,
        "planned_left": spent.left,
    }


@dataclass
class _Case:
    """Everything that was brought to the verifier."""

    ledgers: list[tuple[str, Path]] = field(default_factory=list)
    manifests: list[tuple[str, Path]] = field(default_factory=list)
    proofs: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)


def verify(
    paths: Sequence[Path],
    trust: Mapping[str, str] | None = None,
    *,
    accountants: tuple[Accountant, Accountant] | None = None,
) -> Verdict:
    """Check ledgers alone and against each other, and what left against what they hold.

    Args:
      paths: Ledgers (``*.jsonl``), manifests and proofs (``*.json``), or folders of runs.
      trust: Public keys by hospital, obtained apart from the files.
      accountants: The one whose upper bound counts, and a second that must not contradict it.

    Raises:
      InvalidInputError: Nothing to verify at a path.
    """
    case = _gather(paths)
    findings: list[Finding] = []
    manifests: list[tuple[str, Manifest]] = []
    for name, path in case.manifests:
        try:
            manifests.append((name, Manifest.load(path)))
        except CorruptMessageError as error:
            findings.append(Finding("FAIL", name, str(error)))
    wanted = frozenset(m.digest for _, manifest in manifests for m in manifest.messages)
    readings = [
        read(
            path,
            trusted=trust,
            wanted=wanted,
            accountants=accountants or (Certified(), RenyiOnly()),
        )
        for _, path in case.ledgers
    ]
    subjects = [name for name, _ in case.ledgers]
    claims = [claim for reading in readings for claim in reading.vouched]
    for _, manifest in manifests:
        claims += [
            Claim(m.head, f"the receiver of message {m.sequence}")
            for m in manifest.messages
            if m.head is not None and m.head.hospital == m.sender
        ]
    for subject, reading in zip(subjects, readings, strict=True):
        keys = trust if trust is not None else {reading.hospital: reading.public_key}
        _against_claims(reading, claims, keys)
        findings += _report(subject, reading)
    findings += _doubles(subjects, readings)
    flows = [_flow(name, manifest, readings, findings) for name, manifest in manifests]
    flow = (
        Flow(
            sum(f.messages for f in flows),
            sum(f.accounted for f in flows),
            sum(f.unaccounted for f in flows),
        )
        if flows
        else None
    )
    for name, proof in case.proofs:
        findings.append(_proved(name, proof, trust or {}))
    if case.ledgers and not case.manifests:
        findings.append(
            Finding("NOTE", "manifest", "none was given: outbound bytes are not measured")
        )
    if trust is None:
        findings.append(
            Finding(
                "UNANCHORED",
                "keys",
                "no trusted keys were given, so whoever made these files may have made the keys "
                "too; get them from the hospitals and pass --trust keys.json",
            )
        )
    return Verdict(tuple(findings), tuple(readings), flow, trust is not None)


def _gather(paths: Sequence[Path]) -> _Case:
    case = _Case()
    for path in paths:
        if path.is_dir():
            inner = path / "ledgers" if (path / "ledgers").is_dir() else path
            ledgers = sorted(inner.glob("*.jsonl"))
            if not ledgers:
                raise InvalidInputError(
                    f"{path} holds no ledger: expected ledgers/<hospital>.jsonl in a run's folder."
                )
            case.ledgers += [(str(p.relative_to(path)), p) for p in ledgers]
            if (path / "manifest.json").is_file():
                case.manifests.append(("manifest.json", path / "manifest.json"))
        elif not path.is_file():
            raise InvalidInputError(f"There is nothing at {path}.")
        elif (proof := _proof(path)) is not None:
            case.proofs.append((path.name, proof))
        elif path.suffix == ".json":
            case.manifests.append((path.name, path))
        else:
            case.ledgers.append((path.name, path))
    if not case.ledgers and not case.proofs:
        raise InvalidInputError("A manifest alone proves nothing; give the ledgers with it.")
    return case


def _proof(path: Path) -> Mapping[str, Any] | None:
    """The proof in a file; None if it holds something else."""
    if path.suffix != ".json":
        return None
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return None
    return content if isinstance(content, dict) and "proof" in content else None


def _proved(name: str, proof: Mapping[str, Any], trust: Mapping[str, str]) -> Finding:
    try:
        head, signers, entry = check_proof(proof, trust)
    except CorruptMessageError as error:
        return Finding("FAIL", name, str(error))
    by = ", ".join(sorted(signers))
    state = f"the ledger of {head.hospital} at {head.size} entries, counter-signed by {by}"
    if entry is None:
        return Finding("OK", name, f"{state}, begins with the {proof['since']} entries of before")
    return Finding("OK", name, f"stands in {state}: {describe(entry)}", entry.sequence)


def _against_claims(reading: Reading, claims: Iterable[Claim], keys: Mapping[str, str]) -> None:
    """Hold a ledger against every head that somebody saw of it."""
    if not reading.hospital:
        return
    mine = [claim for claim in claims if claim.head.hospital == reading.hospital]
    roots = roots_at(reading.leaves, (claim.head.size for claim in mine))
    wrong: dict[str, list[str]] = {}
    covered = 0
    for claim in mine:
        head = claim.head
        if not head.signed_by(keys.get(reading.hospital, "")):
            wrong.setdefault("unsigned", []).append(
                f"{claim.by} holds a head that is not signed by its key"
            )
        elif head.ledger != reading.identity:
            wrong.setdefault("other", []).append(
                f"{claim.by} saw another ledger of {reading.hospital}"
            )
        elif head.size > reading.size:
            wrong.setdefault("cut", []).append(
                f"it is cut off: {claim.by} saw {head.size} entries, {reading.size} are left"
            )
        elif roots[head.size] != head.root:
            wrong.setdefault("rewritten", []).append(
                f"it was rewritten: its first {head.size} entries are not those that {claim.by} saw"
            )
        else:
            covered = max(covered, head.size)
    if reading.problems:  # what follows the first wrong entry was not read, so it is not missing
        wrong.pop("cut", None)
    for reasons in wrong.values():
        more = f" (and {len(reasons) - 1} more heads say so)" if len(reasons) > 1 else ""
        reading.problems.append(Problem(None, reasons[0] + more))
    if reading.last_release >= covered:
        reading.notes.append(
            f"the entries from {covered} on are beyond the last witnessed head: cutting them off "
            "could not be noticed"
        )


def _report(subject: str, reading: Reading) -> list[Finding]:
    notes = [Finding("NOTE", subject, note) for note in reading.notes]
    if reading.problems:
        fails = [Finding("FAIL", subject, p.reason, p.entry) for p in reading.problems]
        return list(dict.fromkeys(fails)) + notes
    told = "; ".join(_told(spent) for spent in reading.spent)
    witnesses = sorted({c.by for c in reading.vouched if c.head.hospital == reading.hospital})
    seen = f"counter-signed by {', '.join(witnesses)}" if witnesses else "not counter-signed"
    reason = f"{reading.size} entries of {reading.hospital}, all signed and linked, {seen}; {told}"
    return [Finding("OK", subject, reason), *notes]


def _told(spent: Spent) -> str:
    budget = spent.budget
    if spent.interval is None:
        return f"{spent.releases} releases for each {budget.unit} without any promise"
    second = f"; second accountant: at most {up(spent.second)}" if spent.second < math.inf else ""
    return (
        f"epsilon {up(spent.interval.upper)} of {budget.epsilon:g} for each {budget.unit} at "
        f"delta {budget.delta:g} ({spent.rule}; {spent.interval.method}{second}); "
        f"{spent.releases} releases, {spent.left} planned and not made"
    )


def _doubles(subjects: Sequence[str], readings: Sequence[Reading]) -> list[Finding]:
    first: dict[str, str] = {}
    found = []
    for subject, reading in zip(subjects, readings, strict=True):
        if reading.hospital and reading.hospital in first:
            reason = f"{reading.hospital} has a second ledger, beside {first[reading.hospital]}"
            found.append(Finding("FAIL", subject, reason))
        first.setdefault(reading.hospital, subject)
    return found


def _why(reading: Reading | None) -> str:
    if reading is None:
        return "no ledger of that hospital was given"
    return "its ledger fails" if reading.problems else "no entry has it"


def _flow(
    name: str, manifest: Manifest, readings: Sequence[Reading], findings: list[Finding]
) -> Flow:
    """Match every outbound byte to an entry; what does not match is a leak."""
    ledgers = {reading.hospital: reading for reading in readings}
    accounted = unaccounted = 0
    leaks: list[Finding] = []
    for m in manifest.messages:
        reading = ledgers.get(m.sender)
        entry = reading.sealed.get(m.digest) if reading else None
        if m.bytes and (entry is None or entry[1] != m.bytes):
            unaccounted += m.bytes
            why = _why(reading)
            leaks.append(
                Finding(
                    "FAIL",
                    name,
                    f"message {m.sequence} of {m.sender} ({m.kind}, round {m.round}, {m.bytes} "
                    f"bytes) is not accounted for: {why}",
                )
            )
        else:
            accounted += m.bytes
        for field_, size in m.unaccounted_fields.items():
            leaks.append(
                Finding(
                    "FAIL",
                    name,
                    f"message {m.sequence} of {m.sender} carries {field_!r} in clear ({size} "
                    "bytes), which nothing accounts for",
                )
            )
        extra = sum(m.unaccounted_fields.values())
        unaccounted += extra
        accounted += sum(m.fields.values()) - extra
    findings += leaks[:_SHOWN]
    if len(leaks) > _SHOWN:
        findings.append(Finding("FAIL", name, f"and {len(leaks) - _SHOWN} more of the kind"))
    for reading in readings:
        unsent = reading.payloads - len(reading.sealed)
        if unsent and not reading.problems:
            told = f"{unsent} sealed releases of {reading.hospital} are not among its messages"
            findings.append(Finding("NOTE", name, told))
    if not unaccounted:
        findings.append(
            Finding(
                "OK",
                name,
                f"0 bytes of raw data left the hospitals: {len(manifest.messages)} messages, "
                f"{accounted} bytes accounted, 0 unaccounted",
            )
        )
    else:
        findings.append(
            Finding("FAIL", name, f"{accounted} bytes accounted, {unaccounted} unaccounted")
        )
    return Flow(len(manifest.messages), accounted, unaccounted)
