"""Kill a process that spends, again and again, at random moments; write what was lost.

Run as ``python -m tests.privacy.ledger.killed FOLDER TRIALS SEED``. A child opens the ledger, first
resends what the last one left, then spends and attaches without end; it says what it was promised
through a pipe. The parent kills it with SIGKILL, opens the ledger itself and compares.
"""

import json
import os
import random
import select
import signal
import sys
import time
from pathlib import Path

from privacy.ledger import Budget, Ledger, Planned, Release, SigningKey
from privacy.ledger.accountant import RenyiOnly

PLAN = "ab" * 32
EVENT = {"type": "GaussianDpEvent", "noise_multiplier": 1e6}


def child(path: Path, key: SigningKey, pipe: int) -> None:
    """Spend and attach until killed."""
    ledger = Ledger.open(path, key=key, accountant=RenyiOnly())
    round_ = ledger.size
    while True:
        round_ += 1
        entry = ledger.spend(Release("update", EVENT, round=round_, plan=PLAN))
        os.write(pipe, f"spent {entry.sequence} {entry.digest}\n".encode())
        noise = os.urandom(200)
        ledger.attach(entry, noise)
        os.write(pipe, f"sent {entry.sequence} {noise.hex()}\n".encode())


def one_life(path: Path, key: SigningKey, delay: float) -> list[str]:
    """Let a child live for ``delay`` seconds after its first word; return all that it said."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        child(path, key, writing)
    os.close(writing)
    select.select([reading], [], [], 5.0)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as said:
        return [line for line in said.read().split("\n") if line]


def main(folder: Path, trials: int, seed: int) -> dict[str, int]:
    """Return how often a promise was broken, and how much happened."""
    rng = random.Random(seed)
    key = SigningKey.create(folder / "north.key")
    path = folder / "north.jsonl"
    ledger = Ledger.create(
        path, hospital="north", key=key, budget=Budget(1.0), accountant=RenyiOnly()
    )
    ledger.declare([Planned("update", EVENT, 1_000_000)], plan=PLAN)
    promised: dict[int, str] = {}
    sent: dict[int, str] = {}
    found = {"trials": trials, "spent": 0, "lost": 0, "changed": 0, "orphans": 0, "interrupted": 0}
    for _ in range(trials):
        for line in one_life(path, key, rng.uniform(0, 0.01)):
            word, sequence, value = line.split()
            (promised if word == "spent" else sent)[int(sequence)] = value
        again = Ledger.open(path, key=key, accountant=RenyiOnly())
        found["interrupted"] += len(again.pending())
    entries = {entry.sequence: entry for entry in again.entries()}
    releases = {s for s, entry in entries.items() if entry.kind == "release"}
    found["spent"] = len(promised)
    for place, digest in promised.items():
        found["lost"] += place not in entries or entries[place].digest != digest
    for place, noise in sent.items():
        kept = again.payload(entries[place])
        found["changed"] += kept is None or kept.hex() != noise
        found["orphans"] += place not in releases
    found["uncounted"] = len(releases) - again.state().releases
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
