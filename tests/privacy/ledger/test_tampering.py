"""Thousands of tamperings: every byte, order, splice, double and cut of a ledger is detected."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.ledger import verify as verify_
from privacy.ledger.accountant import RenyiOnly
from tests.privacy.ledger.test_verify import run_federation

BOTH = (RenyiOnly(), RenyiOnly())
COVERED = 8  # entries of each ledger before its counter-signed checkpoint


@dataclass(frozen=True)
class Run:
    """A run's folder and what its files held."""

    out: Path
    trust: dict[str, str]
    original: bytes

    @property
    def path(self) -> Path:
        return self.out / "ledgers" / "south.jsonl"

    def detects(self, content: bytes) -> bool:
        """Whether a verdict over this ledger and one witness's fails."""
        self.path.write_bytes(content)
        try:
            paths = [self.path, self.path.with_name("north.jsonl")]
            return not verify_(paths, self.trust, accountants=BOTH).ok
        finally:
            self.path.write_bytes(self.original)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("run")
    trust, _ = run_federation(out)
    return Run(out, trust, (out / "ledgers" / "south.jsonl").read_bytes())


def test_the_untouched_run_is_verified(run: Run) -> None:
    assert not run.detects(run.original)


@given(st.data())
@settings(max_examples=1_000)
def test_every_single_byte_change_is_detected(run: Run, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(run.original) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda v: v != run.original[place]))
    assert run.detects(run.original[:place] + bytes([value]) + run.original[place + 1 :])


@given(st.data())
@settings(max_examples=500)
def test_every_removed_or_added_byte_is_detected(run: Run, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(run.original) - 1))
    added = data.draw(st.binary(max_size=3))
    rest = run.original[place + (not added) :]
    assert run.detects(run.original[:place] + added + rest)


@given(st.data())
@settings(max_examples=500)
def test_every_reorder_splice_and_double_is_detected(run: Run, data: st.DataObject) -> None:
    lines = run.original.splitlines(keepends=True)
    other = (run.out / "ledgers" / "north.jsonl").read_bytes().splitlines(keepends=True)
    kind = data.draw(st.sampled_from(["swap", "double", "drop", "splice", "rotate"]))
    i = data.draw(st.integers(0, COVERED - 1))
    j = data.draw(st.integers(0, len(lines) - 1).filter(lambda v: v != i))
    changed = list(lines)
    match kind:
        case "swap":
            changed[i], changed[j] = changed[j], changed[i]
        case "double":
            changed.insert(j, lines[i])
        case "drop":
            del changed[i]
        case "splice":
            changed[i] = other[i]
        case "rotate":
            changed = changed[i + 1 :] + changed[: i + 1]
    assert run.detects(b"".join(changed))


@given(st.data())
@settings(max_examples=500)
def test_every_cut_before_the_witnessed_head_is_detected(run: Run, data: st.DataObject) -> None:
    end = sum(len(line) for line in run.original.splitlines(keepends=True)[:COVERED])
    assert run.detects(run.original[: data.draw(st.integers(0, end - 1))])


def test_a_cut_after_the_witnessed_head_is_what_the_page_calls_undetectable(run: Run) -> None:
    lines = run.original.splitlines(keepends=True)
    assert not run.detects(b"".join(lines[:COVERED]))


@pytest.mark.nightly
def test_every_bit_of_a_ledger(run: Run) -> None:
    missed = [
        (place, bit)
        for place in range(len(run.original))
        for bit in range(8)
        if not run.detects(
            run.original[:place]
            + bytes([run.original[place] ^ (1 << bit)])
            + run.original[place + 1 :]
        )
    ]
    assert missed == []
