"""The bytes that a release became, kept beside its entry: a crash never makes a second noise."""

from privacy.errors import RefusedError
from privacy.ledger.chain import Chain
from privacy.ledger.log.canonical import digest
from privacy.ledger.log.entries import Entry
from privacy.ledger.requests import PUBLIC_BYTES

__all__ = ["attach", "seal_left_over"]


def attach(chain: Chain, entry: Entry, payload: bytes) -> Entry:
    """Keep the bytes of a release and record them (``Ledger.attach``).

    Raises:
      RefusedError: Other bytes were attached before, the entry is no release of this ledger, or
        the disk refuses; the bytes must not be sent.
    """
    if entry.content.get("filter") == "public" and len(payload) > PUBLIC_BYTES:
        raise RefusedError(
            f"{len(payload)} bytes were to go out as the release {entry.content['kind']!r}, "
            f"which is said to depend on no patient; more than {PUBLIC_BYTES} are not believed."
        )
    with chain.lock() as state:
        kept = chain.store.payload(entry.sequence)
        if state.pending.get(entry.sequence) == entry.digest and kept in (None, payload):
            if kept is None:
                chain.store.keep_payload(entry.sequence, payload)
            return _seal(chain, entry.sequence, entry.digest, payload)
        for other in chain.entries():
            if other.kind == "sealed" and other.content["entry"] == entry.digest:
                if other.content["digest"] == digest(payload):
                    return other
                break
        raise RefusedError(
            f"Entry {entry.sequence} of {state.hospital}'s ledger is not a release that waits for "
            "these bytes: it has its own, and a second noise would be a second release. Send what "
            "payload() returns."
        )


def seal_left_over(chain: Chain) -> None:
    """Record bytes that were kept whole before a crash cut off their entry; the lock is held."""
    for sequence, of in list(chain.state.pending.items()):
        payload = chain.store.payload(sequence)
        if payload is not None:
            _seal(chain, sequence, of, payload)


def _seal(chain: Chain, sequence: int, of: str, payload: bytes) -> Entry:
    sealed = {"bytes": len(payload), "digest": digest(payload)}
    return chain.append("sealed", {"release": sequence, "entry": of} | sealed)
