"""Short proofs about a long ledger: this entry stands in it; it still begins as it did.

A proof holds one entry at most, and none of the others; it is checked against a head that the
hospital signed and others counter-signed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger.audit.show import read_entries
from privacy.ledger.contents import MOST_ENTRIES, Countersigned
from privacy.ledger.forms import Form, constant, hexadecimal, listed, one_of, ruled, text, whole
from privacy.ledger.log.entries import Entry, parse
from privacy.ledger.log.heads import Head
from privacy.ledger.log.merkle import consistency, consistent, included, inclusion, leaf, root
from privacy.ledger.log.store import LONGEST_LINE
from privacy.ledger.witness import countersignature_holds

__all__ = ["LARGEST_PROOF", "check_proof", "prove"]

VERSION = 1
LARGEST_PROOF = 2**22  # bytes
_LONGEST_PATH = 128  # hashes; a tree of 2^63 leaves has shorter ones


_COMMON = {"version", "proof", "path", "head", "countersignatures"}


@dataclass(frozen=True)
class _Proof(Form):
    """What every proof has."""

    version: int = ruled(constant(VERSION))
    proof: str = ruled(one_of("inclusion", "consistency"))
    path: tuple[str, ...] = ruled(listed(hexadecimal(64), least=0, most=_LONGEST_PATH))


@dataclass(frozen=True)
class _Inclusion(Form):
    """An entry and its place."""

    entry: int = ruled(whole(0, MOST_ENTRIES))
    line: str = ruled(text(LONGEST_LINE))


@dataclass(frozen=True)
class _Consistency(Form):
    """An earlier state."""

    since: int = ruled(whole(1, MOST_ENTRIES))
    since_root: str = ruled(hexadecimal(64))


def prove(
    path: Path, *, entry: int | None = None, since: int | None = None, size: int | None = None
) -> dict[str, Any]:
    """Return a proof as plain JSON.

    Args:
      path: The ledger's file.
      entry: Number of the entry whose standing is proved (RFC 6962 inclusion).
      since: Size of an earlier state that the ledger is proved to extend (RFC 6962 consistency).
      size: Size of the counter-signed state that the proof is for; the newest by default.

    Raises:
      InvalidInputError: Not exactly one of ``entry`` and ``since``, or no counter-signed state
        covers it.
    """
    if (entry is None) == (since is None):
        raise InvalidInputError("Give either --entry or --since: a proof is about one of them.")
    entries = list(read_entries(path))
    signed = [e.content for e in entries if e.kind == "countersigned"]
    heads = [c for c in signed if size is None or c["head"]["size"] == size]
    if not heads:
        wanted = "" if size is None else f" of {size} entries"
        raise InvalidInputError(
            f"{path} has no counter-signed state{wanted}: a proof would hang in the air. Let other "
            "hospitals counter-sign a checkpoint first."
        )
    head = heads[-1]["head"]
    leaves = [leaf(e.line) for e in entries[: head["size"]]]
    common = {
        "version": VERSION,
        "head": head,
        "countersignatures": heads[-1]["signatures"],
    }
    if entry is not None:
        if not 0 <= entry < len(leaves):
            raise InvalidInputError(
                f"Expected entry={entry} in [0, {len(leaves) - 1}]: later entries are not "
                "counter-signed yet."
            )
        steps = [step.hex() for step in inclusion(leaves, entry)]
        line = entries[entry].line.decode()
        return common | {"proof": "inclusion", "entry": entry, "line": line, "path": steps}
    steps = [step.hex() for step in consistency(leaves, since or 0)]
    old = root(leaves[:since]).hex()
    return common | {"proof": "consistency", "since": since, "since_root": old, "path": steps}


def check_proof(
    proof: Mapping[str, Any], trust: Mapping[str, str]
) -> tuple[Head, tuple[str, ...], Entry | None]:
    """Check a proof against trusted keys.

    Returns:
      The head that it is for, who counter-signed that head, and the entry if there is one.

    Raises:
      CorruptMessageError: It proves nothing, and why.
    """
    try:
        stated = _Proof.from_json({n: proof.get(n) for n in ("version", "proof", "path")})
        signed = Countersigned.from_json(
            {"head": proof.get("head"), "signatures": proof.get("countersignatures")}
        )
        form = _Inclusion if stated.proof == "inclusion" else _Consistency
        shown = form.from_json({n: v for n, v in proof.items() if n not in _COMMON})
    except InvalidInputError as error:
        raise CorruptMessageError(f"it is not a proof: {error}") from error
    head, signers = signed.head, signed.signatures
    if not head.signed_by(trust.get(head.hospital, "")):
        raise CorruptMessageError(f"the head is not signed by {head.hospital!r}'s trusted key")
    for name, signature in signers.items():
        other = name != head.hospital
        if not other or not countersignature_holds(trust.get(name, ""), signature, head):
            raise CorruptMessageError(f"the counter-signature of {name!r} does not hold")
    path, top = [bytes.fromhex(step) for step in stated.path], bytes.fromhex(head.root)
    if isinstance(shown, _Consistency):
        old = bytes.fromhex(shown.since_root)
        if not consistent(shown.since, old, head.size, top, path):
            raise CorruptMessageError("the later ledger does not extend the earlier one")
        return head, tuple(signers), None
    line = shown.line.encode()
    if not included(line, shown.entry, head.size, path, top):
        raise CorruptMessageError("the path does not lead from the entry to the root")
    entry = parse(line)
    if entry.sequence != shown.entry or entry.hospital != head.hospital:
        raise CorruptMessageError("the entry is not the one that is named")
    return head, tuple(signers), entry
