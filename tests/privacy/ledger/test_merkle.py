"""The tree against RFC 6962's published roots, and its proofs against every wrong claim."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import InvalidInputError
from privacy.ledger.log.merkle import (
    Frontier,
    consistency,
    consistent,
    included,
    inclusion,
    leaf,
    root,
)

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "merkle.json").read_text())
ENTRIES = [bytes.fromhex(text) for text in GOLDEN["leaves"]]


def test_published_roots() -> None:
    leaves = [leaf(entry) for entry in ENTRIES]
    assert root([]).hex() == GOLDEN["empty"]
    for size, expected in enumerate(GOLDEN["roots"], start=1):
        assert root(leaves[:size]).hex() == expected


@given(st.lists(st.binary(max_size=4), max_size=70))
def test_frontier_is_the_root_of_all_leaves(entries: list[bytes]) -> None:
    tree = Frontier()
    for entry in entries:
        tree.append(entry)
    assert tree.root() == root([leaf(entry) for entry in entries])
    assert tree.size == len(entries)
    assert len(tree._subtrees) <= max(1, len(entries)).bit_length()


@given(st.data())
def test_inclusion_proves_this_entry_at_this_place_and_nothing_else(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 40))
    entries = [b"%d" % number for number in range(size)]
    leaves = [leaf(entry) for entry in entries]
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(-1, size))
    proof, top = inclusion(leaves, index), root(leaves)
    assert included(entries[index], index, size, proof, top)
    assert not included(b"forged", index, size, proof, top)
    if other != index:
        assert not included(entries[index], other, size, proof, top)
    assert not included(entries[index], index, size, [*proof, top], top)
    if proof:
        assert not included(entries[index], index, size, proof[:-1], top)
        flipped = [hashlib.sha256(proof[0]).digest(), *proof[1:]]
        assert not included(entries[index], index, size, flipped, top)


@given(st.data())
def test_consistency_proves_an_extension_and_nothing_else(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 40))
    old = data.draw(st.integers(1, size))
    leaves = [leaf(b"%d" % number) for number in range(size)]
    proof = consistency(leaves, old)
    assert consistent(old, root(leaves[:old]), size, root(leaves), proof)
    assert not consistent(old, leaf(b"forged"), size, root(leaves), proof)
    assert not consistent(old, root(leaves[:old]), size, leaf(b"forged"), proof)
    changed = data.draw(st.integers(0, old - 1))
    rewritten = [*leaves[:changed], leaf(b"rewritten"), *leaves[changed + 1 :]]
    assert not consistent(old, root(leaves[:old]), size, root(rewritten), proof)
    forged = consistency(rewritten, old)
    assert not consistent(old, root(leaves[:old]), size, root(rewritten), forged)


def test_places_outside_the_tree_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="index=3"):
        inclusion([leaf(b"1")] * 3, 3)
    with pytest.raises(InvalidInputError, match="old_size=0"):
        consistency([leaf(b"1")] * 3, 0)
    assert not consistent(3, leaf(b""), 2, leaf(b""), [])
