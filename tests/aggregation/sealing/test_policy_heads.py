"""Rolled back and doubled ledgers: what an opener refuses of the heads that it is shown."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aggregation.sealing import (
    Contribution,
    OpeningLog,
)
from privacy.errors import RefusedError
from privacy.ledger.log.heads import Extension
from privacy.ledger.log.merkle import leaf, root
from tests.aggregation.sealing.parties import (
    Parties,
    head_of,
    key_of,
    opener,
)

LINES = [leaf(bytes([number])) for number in range(40)]
FORK = [*LINES[:4], *(leaf(b"fork" + bytes([number])) for number in range(36))]


@pytest.mark.parametrize(
    "change",
    [{"hospital": "zurich"}, {"ledger": "cd" * 32}, {"size": 4}, {"root": "ab" * 32}],
    ids=str,
)
def test_the_signature_of_a_head_covers_every_field(change: dict[str, Any]) -> None:
    head, key = head_of("cleveland", 3), key_of("cleveland").public
    assert head.signed_by(key) and not replace(head, **change).signed_by(key)


def grown(
    parties: Parties, size: int, since: int | None, *, lines: list[bytes] = LINES, **fields: Any
) -> list[Contribution]:
    """Contributions of all hospitals whose ledgers have grown from one size to another."""
    extends = None
    if since is not None:
        extends = Extension.of(lines[:size], since, root(lines[:since]).hex())
    top = root(lines[:size]).hex()
    return [
        parties.contribute(n, [1, 2, 3], head=head_of(n, size, top, **fields), extends=extends)
        for n in parties.names
    ]


def test_a_ledger_head_extends_the_last_one_that_was_opened(parties: Parties) -> None:
    role = opener(parties)
    for size, since in ((5, None), (9, 5), (17, 9)):
        mine = grown(parties, size, since)
        assert role.open(parties.total(mine), mine).tolist() == [4, 8, 12]
    forked = grown(parties, 20, 17, lines=FORK)
    for wrong in (
        grown(parties, 20, None),  # as if nothing had been opened yet
        grown(parties, 20, 9),  # from an older one: the opened sum is not in its past
        grown(parties, 17, 17),  # nothing was spent since
        grown(parties, 20, 17, ledger="cd" * 32),
        forked,
        [replace(c, extends=grown(parties, 21, 17)[0].extends) for c in grown(parties, 20, 17)],
    ):
        mine = [resigned(c) for c in wrong]
        with pytest.raises(RefusedError, match=r"cleveland.* does not extend the last one that"):
            role.open(parties.total(mine), mine)
        with pytest.raises(RefusedError, match="does not extend the last one"):
            role.policy.record(mine, "cd" * 32)
    assert len(role.policy.log) == 3
    later = grown(parties, 30, 20)  # a log that missed an opening leaves it to those that did not
    assert role.open(parties.total(later), later).tolist() == [4, 8, 12]


def resigned(c: Contribution) -> Contribution:
    return replace(c, signature=key_of(c.hospital).sign(c.statement))


def test_a_proof_has_to_hold_also_where_nothing_was_seen(parties: Parties) -> None:
    mine = grown(parties, 9, 5)
    bad = [resigned(replace(c, extends=grown(parties, 10, 5)[0].extends)) for c in mine]
    with pytest.raises(RefusedError, match="does not extend"):
        opener(parties).open(parties.total(bad), bad)


def test_heads_are_found_again_and_taken_over_from_earlier_runs(
    parties: Parties, tmp_path: Path
) -> None:
    log = OpeningLog(tmp_path / "log.jsonl")
    role = opener(parties, log=log)
    mine = grown(parties, 9, None)
    role.open(parties.total(mine), mine)
    again = OpeningLog(tmp_path / "log.jsonl")
    assert again.seen("zurich") == mine[2].head and again.seen("nowhere") is None
    newer, older = head_of("zurich", 12), head_of("zurich", 3)
    again.take_heads([newer])
    again.take_heads([older])
    assert again.seen("zurich") == newer
