"""Every byte that left a hospital, against the entries of its ledger.

A row counts against a hospital only if that hospital signed it. Rows that nobody signed, statements
that are missing, receipts for what is not there: they fail the manifest, and blame nobody.
"""

from collections.abc import Iterable, Iterator, Mapping

from privacy.ledger.audit.findings import Finding, Flow
from privacy.ledger.audit.manifest import Manifest, Outbound, Sent
from privacy.ledger.audit.reading import Claim, Reading

__all__ = ["heads", "trace"]

_SHOWN = 8  # leaks named one by one; the rest are counted


def heads(manifest: Manifest, keys: Mapping[str, str]) -> Iterator[Claim]:
    """Ledger heads that travelled with messages, each signed by the hospital that it is of."""
    for row in manifest.messages:
        head = row.head
        if head is not None and head.signed_by(keys.get(head.hospital, "")):
            yield Claim(head, f"the receiver of message {row.sequence}")


def trace(
    name: str,
    manifest: Manifest,
    readings: Mapping[str, Reading],
    keys: Mapping[str, str],
    receivers: Mapping[str, str],
    expected: Iterable[str],
) -> tuple[Flow, list[Finding]]:
    """Match every outbound byte to an entry; what does not match is a leak.

    Args:
      name: The manifest's file.
      manifest: What it says.
      readings: Ledgers by hospital.
      keys: Public keys of hospitals.
      receivers: Public keys of those that must have signed for what they got.
      expected: Hospitals of the run: each has to say what it sent.
    """
    flow = Flow()
    leaks: list[Finding] = []
    for row in manifest.messages:
        part, why, hospital = _row(row, manifest.run, readings.get(row.sender), keys)
        flow += part
        if why:
            reason = (
                f"message {row.sequence} of {row.sender} ({row.kind}, round {row.round}, "
                f"{row.bytes} bytes) {why}"
            )
            leaks.append(Finding("FAIL", name, reason, hospital=hospital))
    findings = leaks[:_SHOWN]
    if len(leaks) > _SHOWN:
        blamed = dict.fromkeys(leak.hospital for leak in leaks[_SHOWN:])
        more = f"and {len(leaks) - _SHOWN} more of the kind"
        findings += [Finding("FAIL", name, more, hospital=hospital) for hospital in blamed]
    findings += _statements(name, manifest, keys, expected)
    findings += _receipts(name, manifest, keys, receivers)
    totals = (
        f"{flow.messages} messages, {flow.sealed} bytes sealed, {flow.public} bytes public, "
        f"{flow.clear} bytes in clear fields of known length, {flow.unaccounted} unaccounted"
    )
    if flow.unaccounted:
        findings.append(Finding("FAIL", name, totals))
    elif not any(finding.level == "FAIL" for finding in findings):
        findings.append(Finding("OK", name, f"0 bytes of raw data left the hospitals: {totals}"))
    return flow, findings


def _row(
    row: Outbound, run: str, reading: Reading | None, keys: Mapping[str, str]
) -> tuple[Flow, str, str]:
    """The bytes of one message by kind, what is wrong with it, and whose fault that is."""
    other = sum(row.other.values())
    lost = Flow(1, unaccounted=row.bytes + row.clear_bytes + other)
    if not row.signed_by(run, keys.get(row.sender, "")):
        return lost, "is not signed by its sender's trusted key, so anybody may have put it in", ""
    if row.objection:
        return lost, f"contradicts itself: {row.objection}", row.sender
    if row.head is not None and not row.head.signed_by(keys[row.sender]):
        return lost, "carries a ledger head that its key did not sign", row.sender
    flow, why = _payload(row, run, reading)
    flow += Flow(1, clear=row.clear_bytes, unaccounted=other)
    if other and not why:
        names = ", ".join(f"{field!r} ({size} bytes)" for field, size in row.other.items())
        why = f"carries {names} in clear, which nothing accounts for"
    return flow, why, row.sender


def _payload(row: Outbound, run: str, reading: Reading | None) -> tuple[Flow, str]:
    if not row.bytes:
        return Flow(), ""
    lost = Flow(unaccounted=row.bytes)
    kept = reading.sealed.get(row.digest) if reading else None
    if kept is None or kept.bytes != row.bytes:
        why = (
            "no ledger of that hospital was given"
            if reading is None
            else "its ledger fails"
            if reading.problems
            else "no entry has it"
        )
        return lost, f"is not accounted for: {why}"
    if kept.rule == "public":
        return Flow(public=row.bytes), ""
    if kept.run != run:
        plan = f"the plan of the run {kept.run!r}" if kept.run else "no plan that others know of"
        return lost, f"is not accounted for: its release {kept.release} follows {plan}"
    weight = row.clear.get("weight", kept.weight)
    if weight != kept.weight:
        # Else a number that follows a patient could travel in it.
        return Flow(sealed=row.bytes), (
            f"has the weight {weight:g} in clear beside it, and its release {kept.release} was "
            f"entered with {kept.weight}"
        )
    return Flow(sealed=row.bytes), ""


def _statements(
    name: str, manifest: Manifest, keys: Mapping[str, str], expected: Iterable[str]
) -> Iterator[Finding]:
    """Each hospital's word on what it sent: there, signed, and about the rows that are there."""
    words: dict[str, Sent] = {}
    for word in manifest.sent:
        if word.hospital in words:
            yield Finding("FAIL", name, f"{word.hospital} says twice what it sent")
        words[word.hospital] = word
    for hospital in sorted({*expected, *words, *(row.sender for row in manifest.messages)}):
        sent = words.get(hospital)
        rows = [row for row in manifest.messages if row.sender == hospital]
        if sent is None:
            why = f"{hospital} does not say what it sent"
        elif not sent.signed_by(manifest.run, keys.get(hospital, "")):
            why = f"what {hospital} is made to say that it sent is not signed by its trusted key"
        elif not sent.covers(rows):
            why = (
                f"{hospital} signed for {sent.messages} messages, and the {len(rows)} here are not "
                "they: some were cut out, put in, moved or changed"
            )
        else:
            continue
        yield Finding("FAIL", name, why)


def _receipts(
    name: str, manifest: Manifest, keys: Mapping[str, str], receivers: Mapping[str, str]
) -> Iterator[Finding]:
    """What receivers signed for, and what they did not."""
    rows = {row.name: row for row in manifest.messages}
    signed: set[str] = set()
    for receipt in manifest.receipts:
        who = receipt.receiver
        key = receivers.get(who) or keys.get(who, "")
        if not key:
            yield Finding("NOTE", name, f"the receipt of {who} can't be checked: no key is known")
        elif not receipt.signed_by(manifest.run, key):
            yield Finding("FAIL", name, f"the receipt of {who} is not signed by its trusted key")
        elif who in signed:
            yield Finding("FAIL", name, f"{who} has two receipts")
        else:
            signed.add(who)
            yield from _compare(name, who, {g.row: g.sender for g in receipt.received}, rows)
    for who in sorted(set(receivers) - signed):
        yield Finding("FAIL", name, f"{who} does not say what it received")
    if not signed:
        reason = "no receiver signed for what it got: what a hospital leaves out shows nowhere else"
        yield Finding("NOTE", name, reason)


def _compare(
    name: str, who: str, got: Mapping[str, str], rows: Mapping[str, Outbound]
) -> Iterator[Finding]:
    senders = sorted({sender for row, sender in got.items() if row not in rows})
    for sender in senders:
        reason = f"{who} received messages of {sender} that are not in this manifest"
        yield Finding("FAIL", name, reason)
    unseen = sum(row.receiver == who and row.name not in got for row in rows.values())
    if unseen:
        yield Finding("NOTE", name, f"{who} did not receive {unseen} messages that were sent to it")
