"""Every parser of foreign bytes in ``privacy``, for ``tests.fuzzing``; no sum is too small."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from privacy._foreign import parse_json
from privacy.accounting.events import from_json
from privacy.ledger import Ledger, Manifest, SigningKey, load_trust, verify
from privacy.ledger.accountant import RenyiOnly
from privacy.ledger.audit.prove import check_proof, prove
from privacy.ledger.audit.show import describe, rows
from privacy.ledger.contents import checked
from privacy.ledger.log.canonical import decode
from privacy.ledger.log.entries import KINDS, parse
from privacy.ledger.log.heads import Head
from privacy.ledger.log.keys import save_trust
from privacy.ledger.log.merkle import consistent, included
from privacy.ledger.registered import registered
from privacy.report import AttackResult, save_evidence
from privacy.report.evidence_file import load_evidence
from privacy.review import read_review, told
from tests.fuzzing import Draw, Parsers
from tests.privacy.ledger.helpers import forged_line, public
from tests.privacy.ledger.test_liar import exact_epsilon
from tests.privacy.ledger.test_spending import REGISTERED
from tests.privacy.ledger.test_verify import run_federation

BOTH = (RenyiOnly(), RenyiOnly())
CLAIMED = str(told.__doc__).partition("::\n")[2].replace("\n    ", "\n")


class Fuzz:
    """Seeds and parsers."""

    def __init__(self, folder: Path, draw: Draw) -> None:
        self.draw = draw
        self.folder = folder
        self.run = folder / "run"
        self.trust, self.keys = run_federation(self.run)
        self.path = self.run / "ledgers" / "north.jsonl"
        self.lines = self.path.read_bytes().splitlines()
        self.ledger = self.path.read_bytes()
        save_trust(folder / "trust.json", self.trust, self.trust.receivers)
        SigningKey.create(folder / "seed.key")
        save_evidence(
            folder / "seeds" / "a.json", [AttackResult("informed", "x", 9, 0.1, 0.0, 0.5, 0.9, 0.1)]
        )
        (folder / "evidence").mkdir()
        self.proof = json.dumps(prove(self.path, entry=2)).encode()
        self.scratch = folder / "scratch.json"

    # -- parsers -----------------------------------------------------------------------------------

    def parsers(self) -> dict[str, Callable[[], None]]:
        """Each draws one input and parses it; an ``InpatientError`` is a refusal."""
        draw = self.draw.random

        def written(content: bytes) -> Path:
            self.scratch.write_bytes(content)
            return self.scratch

        def body() -> dict[str, Any]:
            found: dict[str, Any] = json.loads(draw.choice(self.lines))["body"]
            return found

        def content() -> None:
            kind = draw.choice(sorted(KINDS))
            checked(kind, self.draw.value(body()["content"]))

        def entry() -> None:
            describe(parse(self.draw.bytes_(draw.choice(self.lines))))

        def event() -> None:
            step = json.loads(self.lines[1])["body"]["content"]["schedule"][0]["event"]
            from_json(self.draw.value({"type": "SelfComposedDpEvent", "count": 2, "event": step}))

        def forged() -> None:
            """A ledger that its own hospital forged and signed, re-linked."""
            bodies = [json.loads(line)["body"] for line in self.lines[: draw.randint(2, 14)]]
            for _ in range(draw.randint(1, 2)):
                place = draw.randrange(len(bodies))
                bodies[place]["content"] = self.draw.value(bodies[place]["content"])
            lines: list[bytes] = []
            from privacy.ledger.log.canonical import digest

            for each in bodies:
                if lines:
                    each["previous"] = digest(lines[-1])
                lines.append(forged_line(self.keys["north"], each))
            self.path.write_bytes(b"".join(line + b"\n" for line in lines))
            self.judge(bodies)
            Ledger.open(self.path, key=self.keys["north"], accountant=RenyiOnly())

        def file() -> None:
            self.path.write_bytes(self.draw.bytes_(self.ledger))
            verify([self.path], self.trust, accountants=BOTH)
            list(rows(self.path))

        def manifest() -> None:
            Manifest.load(written(self.draw.bytes_((self.run / "manifest.json").read_bytes())))

        def trust() -> None:
            load_trust(written(self.draw.bytes_((self.folder / "trust.json").read_bytes())))

        def proof() -> None:
            found = parse_json(self.draw.bytes_(self.proof), what="The proof")
            if isinstance(found, dict):
                check_proof(found, self.trust)

        def head() -> None:
            Head.from_json(self.draw.value(json.loads(self.lines[-1])["body"]["content"]["head"]))

        def evidence() -> None:
            seed = (self.folder / "seeds" / "a.json").read_bytes()
            (self.folder / "evidence" / "a.json").write_bytes(self.draw.bytes_(seed))
            load_evidence(self.folder / "evidence")

        def key() -> None:
            place = self.folder / "fuzzed.key"
            place.touch(0o600)
            place.write_bytes(self.draw.bytes_((self.folder / "seed.key").read_bytes()))
            SigningKey.load(place)

        def tree() -> None:
            path = [
                draw.randbytes(draw.choice([0, 31, 32, 33])) for _ in range(draw.randint(0, 70))
            ]
            sizes = [draw.choice([-1, 0, 1, 2, 7, 2**32, 2**63, 10**30]) for _ in range(2)]
            top = draw.randbytes(32)
            assert not included(b"x", sizes[0], sizes[1], path, top)
            assert sizes[0] == sizes[1] or not consistent(sizes[0], top, sizes[1], top[::-1], path)

        def value() -> None:
            parse_json(self.draw.bytes_(draw.choice(self.lines)), what="A value")

        def registry() -> None:
            registered(self.draw.bytes_(REGISTERED.encode()))

        def claims() -> None:
            (self.folder / "review.toml").write_bytes(self.draw.bytes_(CLAIMED.encode()))
            read_review(self.folder / "review.toml")

        def canonical() -> None:
            decode(self.draw.bytes_(draw.choice(self.lines)))

        return {
            "content": content,
            "entry": entry,
            "event": event,
            "forged ledger": forged,
            "ledger file": file,
            "manifest": manifest,
            "trust": trust,
            "proof": proof,
            "head": head,
            "evidence": evidence,
            "key": key,
            "merkle": tree,
            "registry entry": registry,
            "claims": claims,
            "json": value,
            "canonical": canonical,
        }

    def judge(self, bodies: list[dict[str, Any]]) -> None:
        """What verifies must cost at least what its entries declare, by the exact formula."""
        verdict = verify([self.path], self.trust, accountants=BOTH)
        if not verdict.ok:
            return
        events = [each["content"]["event"] for each in bodies if each["kind"] == "release"]
        events = [event for event in events if event != public()]
        if all(event["type"] == "GaussianDpEvent" for event in events):
            truth = exact_epsilon([event["noise_multiplier"] for event in events], 1e-5)
            (spent,) = verdict.readings[0].spent
            upper = spent.interval.upper if spent.interval else math.inf
            assert truth <= upper * (1 + 1e-9), (truth, upper)


def parsers(folder: Path, draw: Draw) -> Parsers:
    """All of them, over one small run."""
    return Fuzz(folder, draw).parsers()
