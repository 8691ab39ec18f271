"""What the ledger's tests share: events as plain JSON, a clock, and a ledger in a folder."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from privacy.ledger import Budget, Ledger, SigningKey
from privacy.ledger.accountant import RenyiOnly

KEY = SigningKey.generate()


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
