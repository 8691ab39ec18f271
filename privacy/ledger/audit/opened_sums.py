"""Were only sums opened, each update once, and none that the hospitals did not send?

Whoever opens writes each sum down before a secret is used (``privacy.ledger.log.opened``). The
logs are unsigned: they show what an honest opener or holder did, and convict no hospital.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from privacy.errors import CorruptMessageError
from privacy.ledger.audit.findings import Finding
from privacy.ledger.audit.manifest import Manifest
from privacy.ledger.log.entries import read_lines
from privacy.ledger.log.opened import GENESIS, Opening

__all__ = ["check_openings", "read_openings"]


def read_openings(path: Path) -> tuple[Opening, ...]:
    """Read a log of opened sums that anybody may have written.

    Raises:
      CorruptMessageError: It is no plain file, torn, or its chain is broken; the message names the
        place.
    """
    openings: list[Opening] = []
    previous = GENESIS
    for line in read_lines(path):
        try:
            opening = Opening.from_bytes(line)
        except CorruptMessageError as error:
            raise CorruptMessageError(f"opening {len(openings)}: {error}") from error
        if opening.number != len(openings) or opening.previous != previous:
            raise CorruptMessageError(
                f"opening {len(openings)}: a line was changed or removed before it"
            )
        openings.append(opening)
        previous = opening.digest
    return tuple(openings)


def check_openings(
    logs: Sequence[tuple[str, Path]],
    manifests: Sequence[tuple[str, Manifest]],
    whole: Collection[str] = (),
) -> list[Finding]:
    """Hold logs of opened sums against what the hospitals sent.

    Guarantees (each is a test in ``tests/privacy/ledger/test_opened_sums.py``):
      - a log that is damaged, cut within, or spliced fails;
      - an update in two sums of one log fails, and so does one that no manifest of its run holds;
      - a run in ``whole`` whose messages stand in no log fails.

    Args:
      logs: Name and file of each log.
      manifests: Name and content of each manifest; runs without one are not compared.
      whole: Names of the manifests whose runs are there whole, with their logs.
    """
    sent = {
        manifest.run: {(row.sender, row.digest) for row in manifest.messages}
        for _, manifest in manifests
    }
    findings = []
    opened: set[str] = set()
    for name, path in logs:
        try:
            openings = read_openings(path)
        except CorruptMessageError as error:
            findings.append(Finding("FAIL", name, f"which sums were opened can't be read: {error}"))
            continue
        opened |= {opening.run for opening in openings}
        whys = [*_twice(openings), *_unsent(openings, sent)]
        findings += [Finding("FAIL", name, why) for why in whys[:1]]
    for name, manifest in manifests:
        if name in whole and manifest.messages and manifest.run not in opened:
            reason = (
                f"no log (openings*.jsonl) says which sums of the run {manifest.run!r} were opened"
            )
            findings.append(Finding("FAIL", name, reason))
    return findings


def _twice(openings: Sequence[Opening]) -> list[str]:
    first: dict[str, int] = {}
    whys = []
    for opening in openings:
        for hospital, body in zip(opening.hospitals, opening.ciphertexts, strict=True):
            if body in first:
                whys.append(
                    f"an update of {hospital} stands in the sums {first[body]} and "
                    f"{opening.number}: their difference shows it"
                )
            first.setdefault(body, opening.number)
    return whys


def _unsent(openings: Sequence[Opening], sent: dict[str, set[tuple[str, str]]]) -> list[str]:
    return [
        f"sum {opening.number} holds an update of {hospital} that the manifest of run "
        f"{opening.run!r} does not"
        for opening in openings
        if opening.run in sent
        for hospital, body in zip(opening.hospitals, opening.ciphertexts, strict=True)
        if (hospital, body) not in sent[opening.run]
    ]
