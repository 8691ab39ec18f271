"""Feed parsers of foreign bytes what an adversary would; run in a child.

``python -m tests.fuzzing MODULE COUNT SEED`` asks the module (``tests.privacy.fuzzed``, say) for
``parsers(folder, draw)``, and prints one line of JSON: how many inputs each parser saw, how many it
took, and what went wrong: an exception that is not the project's own, two seconds of work for one
input, or what a parser's own check finds. A crash or a memory beyond the limit ends the child.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from privacy._foreign import parse_json
from privacy.errors import InpatientError

MEMORY = 6 * 2**30  # bytes of address space
SECONDS = 2.0  # of work for one input
ROOT = Path(__file__).resolve().parents[1]

Parsers = Mapping[str, Callable[[], None]]
"""Each draws one input and parses it; an ``InpatientError`` is a refusal."""

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


class Draw:
    """Random bytes and values, and mutations of right ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

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


def fuzz(module: str, count: int, seed: int) -> dict[str, Any]:
    """Run a child and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzzing", module, str(count), str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120 + count,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(module: str, count: int, seed: int) -> None:
    """Run ``count`` inputs over all of a module's parsers in turn and print what was found."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    seen: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    faults: list[str] = []
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        parsers: Parsers = import_module(module).parsers(Path(folder), Draw(seed))
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
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
