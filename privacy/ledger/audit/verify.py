"""The verdict over a run: each ledger alone, all against each other, and what left against both.

What is absent fails: in a run's folder every hospital that is trusted, enrolled, named by a message
or heard of by another needs its ledger; every release its bytes; every run its manifest.

Without trusted keys, obtained apart from the files, a forger could have signed everything: the
verdict is then ``UNANCHORED``.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from privacy._foreign import parse_json, quoted, read_file
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger.accountant import Accountant, Certified, RenyiOnly
from privacy.ledger.audit.contradictions import contradictions, hold_against
from privacy.ledger.audit.findings import Finding, Flow, Level, Verdict
from privacy.ledger.audit.manifest import Manifest
from privacy.ledger.audit.opened_sums import check_openings
from privacy.ledger.audit.payloads import heads, trace
from privacy.ledger.audit.plans import compare_plans
from privacy.ledger.audit.prove import LARGEST_PROOF, check_proof
from privacy.ledger.audit.read import read
from privacy.ledger.audit.reading import Reading, Spent
from privacy.ledger.audit.show import describe
from privacy.ledger.log.keys import Trust
from privacy.ledger.rounding import up

__all__ = ["Finding", "Flow", "Verdict", "run_folders", "verify"]

_MOST_FILES = 20_000  # in a folder
EVALUATION = "evaluation"
"""Folder, within a run's, of the run that evaluates its model."""


@dataclass
class _Case:
    """Everything that was brought to the verifier.

    Attributes:
      runs: Of which manifests, by their file's name, the whole folder was given.
      whole: Whether it is to be a whole run, of which nothing may be missing.
    """

    ledgers: list[tuple[str, Path]] = field(default_factory=list)
    manifests: list[tuple[str, Path]] = field(default_factory=list)
    proofs: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    openings: list[tuple[str, Path]] = field(default_factory=list)
    runs: set[str] = field(default_factory=set)
    whole: bool = False


def verify(
    paths: Sequence[Path],
    trust: Mapping[str, str] | None = None,
    *,
    accountants: tuple[Accountant, Accountant] | None = None,
) -> Verdict:
    """Check ledgers alone and against each other, and what left against what they hold.

    Guarantees (``tests/privacy/ledger/test_liar.py`` plays one hospital that forges, signs anew,
    omits, refunds, splices, rolls back and forks its own files):
      - it passes only if every byte that a hospital signed as sent, and every byte that a trusted
        receiver signed for, is the sealed form of a release in its ledger;
      - and if the recomputed cost of what the ledgers' entries declare, each equal to what the plan
        that the hospitals hold each other to has them release, is within the budget;
      - and if the logs of opened sums in a run's folder hold each update that was sent once at most
        (``privacy.ledger.audit.opened_sums``), and a folder with a manifest holds such a log;
      - what one hospital does to its own files changes no other's part of the verdict
        (``Verdict.blames``).

    Not covered: noise, clipping, samplers or patients that are not as declared; bytes that no
    honest party received; a ledger under a key outside ``trust``.

    Args:
      paths: Ledgers (``*.jsonl``), manifests and proofs (``*.json``), or folders of runs, of
        sites, or with the sites' folders in them; where runs spent from ledgers that stand
        elsewhere, that folder too. In folders nothing may be missing; a ledger given by name is
        checked alone.
      trust: Public keys by hospital, obtained apart from the files; ``Trust`` names receivers too.
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
    manifests = _joined(case, manifests)
    wanted = frozenset(row.digest for _, manifest in manifests for row in manifest.messages)
    both = accountants or (Certified(), RenyiOnly())
    readings = [
        read(path, trusted=trust, wanted=wanted, accountants=both) for _, path in case.ledgers
    ]
    ledgers = {reading.hospital: reading for reading in reversed(readings) if reading.hospital}
    keys = {n: r.public_key for n, r in ledgers.items()} if trust is None else trust
    expected = _expected(readings, manifests, trust)
    claims = [claim for reading in readings for claim in reading.vouched]
    claims += [claim for _, manifest in manifests for claim in heads(manifest, keys)]
    forks = contradictions(claims)
    for (subject, _), reading in zip(case.ledgers, readings, strict=True):
        hold_against(reading, claims, expected)
        findings += _report(subject, reading, whole=case.whole)
    findings += [
        Finding("FAIL", hospital, why, hospital=hospital) for hospital, why in forks.items()
    ]
    findings += _doubles(case, readings)
    findings += _absent(case, readings, manifests, expected)
    receivers = trust.receivers if isinstance(trust, Trust) else {}
    flow: Flow | None = None
    for name, manifest in manifests:
        members = _members(readings, manifest.run) or expected
        part, manifest_findings = trace(name, manifest, ledgers, keys, receivers, members)
        flow = part if flow is None else flow + part
        findings += manifest_findings
        findings += _unsent(name, ledgers.values(), manifest.run)
    for run in sorted({run for reading in readings for run in reading.plans}):
        findings += compare_plans(run, ledgers)
    findings += check_openings(case.openings, manifests, case.runs)
    for name, proof in case.proofs:
        findings.append(_proved(name, proof, trust or {}))
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
    paths = [one for path in paths for one in run_folders(path)]
    for path in paths:
        if path.is_dir():
            case.whole = True
            _folder(case, path, path.name if len(paths) > 1 else "")
        elif not os.path.lexists(path):
            raise InvalidInputError(f"There is nothing at {quoted(path)}.")
        elif path.suffix != ".json":
            case.ledgers.append((path.name, path))
        elif (proof := _proof(path)) is not None:
            case.proofs.append((path.name, proof))
        else:
            case.manifests.append((path.name, path))
    if not case.ledgers and not case.proofs:
        raise InvalidInputError(
            f"There is no ledger at {' or '.join(map(quoted, paths))}, and nothing else proves "
            "anything: expected ledgers/<hospital>.jsonl in a run's folder. If the run spent from "
            "ledgers that stand elsewhere (--ledgers), name their folder too."
        )
    return case


def run_folders(path: Path) -> tuple[Path, ...]:
    """Return the folders of sites that lie in one which is no run's itself; else the path alone."""
    if not path.is_dir() or _is_run(path) or _files(path, ".jsonl"):
        return (path,)
    inside = (one for one in _files(path, "") if not one.is_symlink() and _is_run(one))
    return tuple(inside) or (path,)


def _is_run(path: Path) -> bool:
    return (path / "ledgers").is_dir() or os.path.lexists(path / "manifest.json")


def _folder(case: _Case, path: Path, name: str) -> None:
    """Take in what a folder holds; with ``name`` in front of it where there are several."""

    def named(file: Path) -> str:
        return str(Path(name) / file.relative_to(path))

    ledgers = _files(path / "ledgers", ".jsonl") if (path / "ledgers").is_dir() else []
    lines = _files(path, ".jsonl")
    logs = [file for file in lines if file.name.startswith("openings")]
    if not ledgers and not logs:  # a folder of ledgers alone
        ledgers = lines
    case.ledgers += [(named(file), file) for file in ledgers]
    case.openings += [(named(file), file) for file in logs]
    manifest = path / "manifest.json"
    if os.path.lexists(manifest):
        case.manifests.append((named(manifest), manifest))
        case.runs.add(named(manifest))
        inner = path / EVALUATION
        if inner.is_dir() and not inner.is_symlink() and path.name != EVALUATION:
            _folder(case, inner, str(Path(name) / EVALUATION))  # of the same ledgers


def _joined(case: _Case, manifests: list[tuple[str, Manifest]]) -> list[tuple[str, Manifest]]:
    """One manifest a run: between machines each party keeps its part in its own folder."""
    by_run: dict[str, list[tuple[str, Manifest]]] = {}
    for name, manifest in manifests:
        by_run.setdefault(manifest.run, []).append((name, manifest))
    joined = []
    for parts in by_run.values():
        name, manifest = parts[0]
        if len(parts) > 1:
            whole = any(part in case.runs for part, _ in parts)
            name = f"{name} and {len(parts) - 1} more"
            manifest = Manifest.joined([part for _, part in parts])
            case.runs |= {name} if whole else set()
        joined.append((name, manifest))
    return joined


def _files(folder: Path, suffix: str) -> list[Path]:
    files = []
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number >= _MOST_FILES:
                raise InvalidInputError(
                    f"{quoted(folder)} holds over {_MOST_FILES} files: it is no run's folder."
                )
            if entry.name.endswith(suffix):
                files.append(folder / entry.name)
    return sorted(files)


def _proof(path: Path) -> Mapping[str, Any] | None:
    """The proof in a file; None if it holds something else, which is then read as a manifest."""
    try:
        content = parse_json(read_file(path, most=LARGEST_PROOF), what="The proof")
    except CorruptMessageError:
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


def _expected(
    readings: Sequence[Reading],
    manifests: Sequence[tuple[str, Manifest]],
    trust: Mapping[str, str] | None,
) -> frozenset[str]:
    """Every hospital that somebody speaks of."""
    names = set(trust or {}) | {reading.hospital for reading in readings}
    for reading in readings:
        names |= {*reading.enrolled, *(claim.by for claim in reading.vouched)}
    for _, manifest in manifests:
        names |= {row.sender for row in manifest.messages} | {s.hospital for s in manifest.sent}
    return frozenset(names - {""})


def _members(readings: Sequence[Reading], run: str) -> frozenset[str]:
    """Who takes part in a run, by the ledgers' word: who declared it, and whom they name."""
    words = [(r.hospital, word) for r in readings for word in r.plans.get(run, ())]
    names = {name for _, word in words for name in word.others}
    return frozenset(names | {hospital for hospital, _ in words})


def _absent(
    case: _Case,
    readings: Sequence[Reading],
    manifests: Sequence[tuple[str, Manifest]],
    expected: frozenset[str],
) -> Iterator[Finding]:
    """What should be there and is not: a failure in a run's folder, a note beside one file."""
    if not case.ledgers:
        return
    level: Level = "FAIL" if case.whole or case.manifests else "NOTE"
    for name in sorted(expected - {reading.hospital for reading in readings}):
        reason = f"no ledger of {name} was given, and it belongs to the run"
        yield Finding(level, name, reason, hospital=name)
    runs = {manifest.run for _, manifest in manifests}
    for reading in readings:
        for run in sorted(set(reading.runs) - runs):
            reason = (
                f"no manifest of the run {run!r} says where its {reading.runs[run]} releases went"
            )
            dead = all(run in other.dead for other in readings if run in other.runs)
            if dead:  # its end never came, by the word of all who took part
                reason += "; all its hospitals gave it up"
            # whoever took it away: nobody is blamed
            yield Finding("NOTE" if dead else level, reading.hospital, reason)
    if not case.manifests:
        reason = "none was given: outbound bytes are not measured"
        yield Finding(level, "manifest", reason)


def _report(subject: str, reading: Reading, *, whole: bool) -> Iterator[Finding]:
    hospital = reading.hospital
    if reading.lost and not reading.problems:
        reason = (
            f"the bytes of {len(reading.lost)} sealed releases are not there (the first: "
            f"{reading.lost[0]}), so nobody can hash them again"
        )
        level: Level = "FAIL" if whole else "NOTE"
        yield Finding(level, subject, reason, hospital=hospital)
    if reading.problems:
        fails = [Finding("FAIL", subject, p.reason, p.entry, hospital) for p in reading.problems]
        yield from dict.fromkeys(fails)
    elif not (reading.lost and whole):
        yield Finding("OK", subject, _account(reading), hospital=hospital)
    for note in reading.notes:
        yield Finding("NOTE", subject, note, hospital=hospital)


def _account(reading: Reading) -> str:
    spending = "; ".join(_told(spent) for spent in reading.spent)
    witnesses = sorted({c.by for c in reading.vouched if c.head.hospital == reading.hospital})
    seen = f"counter-signed by {', '.join(witnesses)}" if witnesses else "not counter-signed"
    reason = (
        f"{reading.size} entries of {reading.hospital}, all signed and linked, {seen}; {spending}"
    )
    if reading.public:
        kinds = ", ".join(f"{count} x {kind!r}" for kind, count in sorted(reading.public.items()))
        reason += f"; said to depend on no patient: {kinds}, {reading.public_bytes} bytes"
    return reason


def _told(spent: Spent) -> str:
    budget = spent.budget
    if spent.interval is None:
        return f"{spent.releases} releases for each {budget.unit} without any promise"
    finite = spent.second < float("inf")
    second = f"; second accountant: at most {up(spent.second)}" if finite else ""
    return (
        f"epsilon {up(spent.interval.upper)} of {budget.epsilon:g} for each {budget.unit} at "
        f"delta {budget.delta:g} ({spent.rule}; {spent.interval.method}{second}); "
        f"{spent.releases} releases, {spent.left} planned and not made"
    )


def _doubles(case: _Case, readings: Sequence[Reading]) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for (subject, _), reading in zip(case.ledgers, readings, strict=True):
        hospital = reading.hospital
        if hospital and hospital in first:
            # whoever laid a second file there may be anybody: no ledger is blamed for it
            yield Finding(
                "FAIL", subject, f"{hospital} has a second ledger, beside {first[hospital]}"
            )
        first.setdefault(hospital, subject)


def _unsent(name: str, readings: Any, run: str) -> Iterator[Finding]:
    for reading in readings:
        unsent = reading.runs[run] - reading.matched
        if unsent > 0 and not reading.problems:
            reason = f"{unsent} sealed releases of {reading.hospital} are not among its messages"
            yield Finding("NOTE", name, reason, hospital=reading.hospital)
