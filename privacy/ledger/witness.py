"""Counter-signed checkpoints: no hospital can rewrite its past alone.

A checkpoint is a signed head. Another hospital counter-signs it if it extends the last head that
it saw of that ledger, and writes what it signed into its own ledger: a cut or rewritten ledger then
contradicts the others'.

What lies beyond the last witnessed head can be cut off without a trace; a run therefore ends with
``close``.
"""

from collections.abc import Mapping, Sequence

from privacy.errors import InvalidInputError, RefusedError
from privacy.ledger.ledger import Ledger
from privacy.ledger.log.entries import Entry
from privacy.ledger.log.heads import Head
from privacy.ledger.log.keys import SigningKey, verifies
from privacy.ledger.log.merkle import consistency, consistent

__all__ = [
    "checkpoint",
    "close",
    "collect",
    "countersign",
    "countersignature_holds",
    "prove_extension",
    "witness",
]

_DOMAIN = b"inpatient ledger counter-signature 1\x00"


def checkpoint(ledger: Ledger, head: Head | None = None) -> Head:
    """Record the root of all entries so far, and return the head for others to counter-sign.

    Args:
      ledger: Whose.
      head: Its head, where it was taken before; None: as it stands now.
    """
    head = ledger.head() if head is None else head
    ledger.note("checkpoint", {"size": head.size, "root": head.root})
    return head


def prove_extension(ledger: Ledger, old_size: int, new_size: int) -> tuple[str, ...]:
    """Proof (RFC 6962) that the first ``new_size`` entries begin with the first ``old_size``."""
    leaves = ledger.leaves()[:new_size]
    return tuple(step.hex() for step in consistency(leaves, old_size))


def witness(ledger: Ledger, head: Head, proof: Sequence[str] = ()) -> str:
    """Counter-sign another hospital's head, and record it in ``ledger``.

    Args:
      ledger: The witness's own ledger.
      head: The other hospital's.
      proof: Shows that the head extends the last one of that ledger witnessed here.

    Returns:
      The counter-signature, in hex.

    Raises:
      RefusedError: The hospital is not enrolled, the signature is not its key's, the head is of
        another ledger than before, or it does not extend the last head seen.
    """
    key = ledger.enrolled.get(head.hospital)
    if head.hospital == ledger.hospital or key is None or not head.signed_by(key):
        raise RefusedError(
            f"{ledger.hospital} does not counter-sign this head: it is not signed by an enrolled "
            f"hospital's key (hospital {head.hospital!r})."
        )
    seen = ledger.witnessed.get(head.hospital)
    if seen is not None:
        extends = consistent(
            seen.size,
            bytes.fromhex(seen.root),
            head.size,
            bytes.fromhex(head.root),
            [bytes.fromhex(step) for step in proof],
        )
        if head.ledger != seen.ledger or not extends:
            raise RefusedError(
                f"{ledger.hospital} does not counter-sign: the ledger of {head.hospital} with "
                f"{head.size} entries does not extend the one with {seen.size} that it saw before. "
                "Its past was cut off or rewritten."
            )
    ledger.note("witness", {"head": head.to_json()})
    return countersign(ledger.key, head)


def countersign(key: SigningKey, head: Head) -> str:
    """Return a key's counter-signature of a head, in hex; of one head it is always the same.

    For a head that the signer's ledger holds (``witness``), and nothing else.
    """
    return key.sign(_DOMAIN + head.note)


def countersignature_holds(public: str, signature: str, head: Head) -> bool:
    """Whether a counter-signature of a head is that key's."""
    return verifies(public, signature, _DOMAIN + head.note)


def collect(ledger: Ledger, head: Head, signatures: Mapping[str, str]) -> Entry:
    """Record the counter-signatures of a checkpoint in its own ledger.

    Raises:
      InvalidInputError: One is not an enrolled hospital's over this head.
    """
    for name, signature in signatures.items():
        key = ledger.enrolled.get(name, "")
        if name == ledger.hospital or not countersignature_holds(key, signature, head):
            raise InvalidInputError(
                f"The counter-signature of {name!r} over the ledger of {head.hospital} at "
                f"{head.size} entries is not that of an enrolled hospital."
            )
    return ledger.note("countersigned", {"head": head.to_json(), "signatures": dict(signatures)})


def close(ledgers: Sequence[Ledger]) -> tuple[Head, ...]:
    """End a run: every ledger's checkpoint is counter-signed by every other hospital.

    A lone hospital's checkpoint stands alone: nobody else signs for it, as a verifier will say.

    For hospitals in one process; between machines the same three steps are messages.
    """
    heads = tuple(checkpoint(ledger) for ledger in ledgers)
    signatures: dict[str, dict[str, str]] = {head.hospital: {} for head in heads}
    for other in ledgers:
        # One wait for the disk, not one a head: no counter-signature is used before the end of it.
        with other.together():
            for ledger, head in zip(ledgers, heads, strict=True):
                if other is ledger:
                    continue
                seen = other.witnessed.get(ledger.hospital)
                proof = prove_extension(ledger, seen.size, head.size) if seen else ()
                signatures[head.hospital][other.hospital] = witness(other, head, proof)
    for ledger, head in zip(ledgers, heads, strict=True):
        if signatures[head.hospital]:
            collect(ledger, head, signatures[head.hospital])
    return heads
