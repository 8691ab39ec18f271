"""Feed every parser of foreign bytes in ``privacy`` what an adversary would; run in a child.

``python -m tests.privacy.fuzzing COUNT SEED`` prints one line of JSON: how many inputs each parser
saw, how many it took, and what went wrong: an exception that is not the project's own, two seconds
of work for one input, or a sum that is too small. A crash or a memory beyond the limit ends the
child.
"""

import json
import math
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from privacy._foreign import parse_json
from privacy.accounting.events import from_json
from privacy.errors import InpatientError
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
from privacy.report import AttackResult, save_evidence
from privacy.report.evidence import load_evidence
from tests.privacy.ledger.helpers import forged_line, public
from tests.privacy.ledger.test_liar import exact_epsilon
from tests.privacy.ledger.test_verify import run_federation

MEMORY = 6 * 2**30  # bytes of address space
SECONDS = 2.0  # of work for one input
BOTH = (RenyiOnly(), RenyiOnly())

EVIL: list[bytes] = [
    b"null", b"true", b"-1", b"0", b"-0", b"0.1", b"1e999", b"-1e999", b"1e-400", b"NaN",
    b"Infinity", b"1" + b"0" * 30, b"1" + b"0" * 5000, b"9007199254740993", b"-10", b'"inf"',
    b'"10"', b'""', b'"\\ud800"', b'"\\u0000"', b'"\\u202e"', b'"\xff"',
    b'"' + b"x" * 70_000 + b'"', b"[]", b"{}", b"[" * 40 + b"]" * 40, b"[" * 5000,
    b'{"a":' * 3000 + b"1" + b"}" * 3000,
    b"[" + b"0," * 30_000 + b"0]", b'{"type":"NoOpDpEvent"}', b'{"a":1,"a":2}',
    (
        b'{"count":9007199254740992,"event":{"noise_multiplier":1e-200,"type":"GaussianDpEvent"},'
        b'"type":"SelfComposedDpEvent"}'
    ),
    (
        b'{"contributors":1000000000000,"dim":1000000000,"noise_multiplier":1e-3,"radius":1,'
        b'"type":"DistributedDiscreteGaussianDpEvent"}'
    ),
    b'{"event":' * 12 + b'{"noise_multiplier":1,"type":"GaussianDpEvent"}'
    + b',"sampling_probability":0.5,"type":"PoissonSampledDpEvent"}' * 12,
    b'{"noise_multiplier":1e300,"type":"GaussianDpEvent"}',
]  # fmt: skip


class Fuzz:
    """Seeds, mutations and parsers."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
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

    # -- mutations ---------------------------------------------------------------------------------

    def bytes_(self, content: bytes) -> bytes:
        """Change some bytes, or put something evil where a JSON value was."""
        draw = self.random
        for _ in range(draw.randint(1, 3)):
            place = draw.randint(0, len(content))
            match draw.randint(0, 5):
                case 0:
                    content = content[:place] + draw.randbytes(draw.randint(1, 4)) + content[place:]
                case 1:
                    content = content[:place] + content[place + draw.randint(1, 40) :]
                case 2:
                    other = draw.randint(0, len(content))
                    content = content[:place] + content[other : other + 60] + content[place:]
                case 3:
                    content = content[:place]
                case _:
                    content = self.planted(content)
        return content

    def planted(self, content: bytes) -> bytes:
        starts = [n for n in range(1, len(content)) if content[n - 1 : n] in b":,["]
        if not starts:
            return self.random.choice(EVIL)
        start = self.random.choice(starts)
        end = start
        while end < len(content) and content[end : end + 1] not in b",]}":
            end += 1
        return content[:start] + self.random.choice(EVIL) + content[end:]

    def value(self, node: Any) -> Any:
        """Replace one node of a plain value by something evil that JSON can spell."""
        draw = self.random
        if isinstance(node, dict) and node and draw.random() < 0.8:
            key = draw.choice(sorted(node))
            return node | {key: self.value(node[key])}
        if isinstance(node, list) and node and draw.random() < 0.8:
            place = draw.randrange(len(node))
            return [*node[:place], self.value(node[place]), *node[place + 1 :]]
        if isinstance(node, dict) and draw.random() < 0.3:
            return node | {draw.choice(["x", "filter", "type", "count"]): draw.choice([1, -1, "x"])}
        while True:
            try:
                return parse_json(draw.choice(EVIL), what="evil")
            except InpatientError:
                continue

    # -- parsers -----------------------------------------------------------------------------------

    def parsers(self) -> dict[str, Callable[[], None]]:
        """Each draws one input and parses it; an ``InpatientError`` is a refusal."""
        draw = self.random

        def written(content: bytes) -> Path:
            self.scratch.write_bytes(content)
            return self.scratch

        def body() -> dict[str, Any]:
            found: dict[str, Any] = json.loads(draw.choice(self.lines))["body"]
            return found

        def content() -> None:
            kind = draw.choice(sorted(KINDS))
            checked(kind, self.value(body()["content"]))

        def entry() -> None:
            describe(parse(self.bytes_(draw.choice(self.lines))))

        def event() -> None:
            step = json.loads(self.lines[1])["body"]["content"]["schedule"][0]["event"]
            from_json(self.value({"type": "SelfComposedDpEvent", "count": 2, "event": step}))

        def forged() -> None:
            """A ledger that its own hospital forged and signed, re-linked."""
            bodies = [json.loads(line)["body"] for line in self.lines[: draw.randint(2, 14)]]
            for _ in range(draw.randint(1, 2)):
                place = draw.randrange(len(bodies))
                bodies[place]["content"] = self.value(bodies[place]["content"])
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
            self.path.write_bytes(self.bytes_(self.ledger))
            verify([self.path], self.trust, accountants=BOTH)
            list(rows(self.path))

        def manifest() -> None:
            Manifest.load(written(self.bytes_((self.run / "manifest.json").read_bytes())))

        def trust() -> None:
            load_trust(written(self.bytes_((self.folder / "trust.json").read_bytes())))

        def proof() -> None:
            found = parse_json(self.bytes_(self.proof), what="The proof")
            if isinstance(found, dict):
                check_proof(found, self.trust)

        def head() -> None:
            Head.from_json(self.value(json.loads(self.lines[-1])["body"]["content"]["head"]))

        def evidence() -> None:
            seed = (self.folder / "seeds" / "a.json").read_bytes()
            (self.folder / "evidence" / "a.json").write_bytes(self.bytes_(seed))
            load_evidence(self.folder / "evidence")

        def key() -> None:
            place = self.folder / "fuzzed.key"
            place.touch(0o600)
            place.write_bytes(self.bytes_((self.folder / "seed.key").read_bytes()))
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
            parse_json(self.bytes_(draw.choice(self.lines)), what="A value")

        def canonical() -> None:
            decode(self.bytes_(draw.choice(self.lines)))

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


def main(count: int, seed: int) -> None:
    """Run ``count`` inputs over all parsers in turn and print what was found."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    seen: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    faults: list[str] = []
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(Path(folder), seed)
        parsers = fuzz.parsers()
        names = sorted(parsers)
        for number in range(count):
            name = names[number % len(names)]
            began = time.process_time()
            seen[name] += 1
            try:
                parsers[name]()
                taken[name] += 1
            except InpatientError as error:
                if not str(error):
                    faults.append(f"{name} {number}: an error without a word")
            except Exception as error:  # noqa: BLE001  # whatever it is, it is the finding
                faults.append(f"{name} {number}: {type(error).__name__}: {error}"[:500])
            took = time.process_time() - began
            slowest = max(slowest, took)
            if took > SECONDS:
                faults.append(f"{name} {number}: {took:.1f} s")
    told = {"seen": seen, "taken": taken, "faults": faults[:20], "slowest": round(slowest, 3)}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
