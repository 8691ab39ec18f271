"""Heads of one ledger that others hold: where they contradict it, or each other, it lied.

Only heads that the ledger's own hospital signed are held against it. So nobody can make up a
witness, and two heads that cannot both be of one ledger convict the hospital without its file.
"""

from collections.abc import Iterable, Sequence

from privacy.ledger.audit.reading import Claim, Problem, Reading, roots_at

__all__ = ["contradictions", "hold_against"]


def hold_against(reading: Reading, claims: Iterable[Claim], others: Iterable[str]) -> None:
    """Hold a ledger against every head that others have of it, all signed by its hospital.

    Args:
      reading: The ledger's; problems and notes are added to it.
      claims: Heads that its hospital signed, and who holds them.
      others: Who could have counter-signed: those that did not are named.
    """
    mine = [claim for claim in claims if claim.head.hospital == reading.hospital]
    roots = roots_at(reading.leaves, (claim.head.size for claim in mine))
    wrong: dict[str, list[str]] = {}
    signed: set[str] = set()
    covered = 0
    for claim in mine:
        head = claim.head
        if head.ledger != reading.identity:
            reason = f"{claim.by} saw another ledger of {reading.hospital}"
            wrong.setdefault("other", []).append(reason)
        elif head.size > reading.size:
            reason = f"it is cut off: {claim.by} saw {head.size} entries, {reading.size} are left"
            wrong.setdefault("cut", []).append(reason)
        elif roots[head.size] != head.root:
            reason = (
                f"it was rewritten: its first {head.size} entries are not those that {claim.by} saw"
            )
            wrong.setdefault("rewritten", []).append(reason)
        else:
            covered = max(covered, head.size)
            if head.size > reading.last_release:
                signed.add(claim.by)
    if reading.problems:  # what follows the first wrong entry was not read, so it is not missing
        wrong.pop("cut", None)
    for reasons in wrong.values():
        more = f" (and {len(reasons) - 1} more heads say so)" if len(reasons) > 1 else ""
        reading.problems.append(Problem(None, reasons[0] + more))
    missing = sorted(set(others) - signed - {reading.hospital})
    if missing and not reading.problems:
        reading.notes.append(f"its newest releases are not counter-signed by {', '.join(missing)}")
    if reading.last_release >= covered:
        reading.notes.append(
            f"the entries from {covered} on are beyond the last witnessed head: cutting them off "
            "could not be noticed"
        )


def contradictions(claims: Sequence[Claim]) -> dict[str, str]:
    """Hospitals that signed two heads which no one ledger has, and what shows it.

    Args:
      claims: Heads, each signed by the hospital that it is of.
    """
    ledgers: dict[str, Claim] = {}
    roots: dict[tuple[str, int], Claim] = {}
    evidence: dict[str, str] = {}
    for claim in claims:
        head = claim.head
        first = ledgers.setdefault(head.hospital, claim)
        same = roots.setdefault((head.hospital, head.size), claim)
        if first.head.ledger != head.ledger:
            evidence[head.hospital] = (
                f"it signed heads of two ledgers: {first.by} and {claim.by} hold one each"
            )
        elif same.head.root != head.root:
            evidence[head.hospital] = (
                f"it forked its ledger: {same.by} and {claim.by} hold different heads of "
                f"{head.size} entries, both signed by it"
            )
    return evidence
