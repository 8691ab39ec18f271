"""What the ledger's tests share: events as plain JSON, a clock, and a ledger in a folder."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from privacy.ledger import Budget, Ledger, SigningKey
from privacy.ledger.accountant import RenyiOnly
from privacy.ledger.log import entries
from privacy.ledger.log.canonical import digest, encode

KEY = SigningKey.generate()
PLAN = "ab" * 32  # digest of a plan


def gaussian(noise_multiplier: float) -> dict[str, Any]:
    return {"type": "GaussianDpEvent", "noise_multiplier": noise_multiplier}


def public() -> dict[str, Any]:
    return {"type": "NoOpDpEvent"}


def ticking(seconds: float = 1.0) -> Callable[[], datetime]:
    """A clock that moves by ``seconds`` at each look; backwards if negative."""
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def look() -> datetime:
        nonlocal now
        now += timedelta(seconds=seconds)
        return now

    return look


def make(folder: Path, *, epsilon: float = 1.0, name: str = "north") -> Ledger:
    return Ledger.create(
        folder / f"{name}.jsonl",
        hospital=name,
        key=KEY,
        budget=Budget(epsilon=epsilon),
        accountant=RenyiOnly(),
        clock=ticking(),
    )


def reopen(folder: Path, name: str = "north") -> Ledger:
    return Ledger.open(folder / f"{name}.jsonl", key=KEY, accountant=RenyiOnly(), clock=ticking())


def state(ledger: Ledger) -> tuple[object, ...]:
    """Everything that decides what may still be spent."""
    book = ledger.state()
    positions = tuple(plan.position for plan in book.plans)
    waiting = tuple(entry.sequence for entry in ledger.pending())
    return (
        ledger.size,
        ledger.head().root,
        book.committed,
        book.divergence,
        book.releases,
        book.adaptive,
        positions,
        waiting,
    )


def forged_line(key: SigningKey, body: dict[str, Any]) -> bytes:
    """A line that its hospital signed and no writer of ours would write."""
    spelt = encode(body)
    signature = key.sign(entries._DOMAIN + spelt)
    return b'{"body":' + spelt + b',"signature":"' + signature.encode() + b'"}'


def forge(path: Path, key: SigningKey, sequence: int, **changes: Any) -> None:
    """Rewrite one entry and re-sign everything after it, as only the hospital itself could."""
    bodies = [json.loads(line)["body"] for line in path.read_bytes().splitlines()]
    old = [digest(line) for line in path.read_bytes().splitlines()]
    written = path.read_bytes().splitlines()[:sequence]
    renamed: dict[str, str] = {}
    for body in bodies[sequence:]:
        number = body["sequence"]
        if body["content"].get("entry") in renamed:
            body["content"]["entry"] = renamed[body["content"]["entry"]]
        if number == sequence:
            body["content"] |= changes
        if written:
            body["previous"] = digest(written[-1])
        written.append(forged_line(key, body))
        renamed[old[number]] = digest(written[-1])
    path.write_bytes(b"".join(line + b"\n" for line in written))
