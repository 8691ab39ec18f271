"""RFC 6962 Merkle trees: one short root commits to every line of a ledger, in order.

>>> tree = Frontier()
>>> for line in (b"one", b"two", b"three"):
...     tree.append(line)
>>> leaves = [leaf(line) for line in (b"one", b"two", b"three")]
>>> tree.root() == root(leaves)
True
>>> included(b"two", 1, 3, inclusion(leaves, 1), root(leaves))
True
"""

import hashlib
from collections.abc import Sequence

from privacy.errors import InvalidInputError

__all__ = ["Frontier", "consistency", "consistent", "included", "inclusion", "leaf", "root"]


def leaf(content: bytes) -> bytes:
    """Hash of one entry (RFC 6962, section 2.1)."""
    return hashlib.sha256(b"\x00" + content).digest()


def _node(left_child: bytes, right_child: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left_child + right_child).digest()


class Frontier:
    """The roots of the full subtrees of a growing tree: all that appending needs.

    Guarantees (tests in ``tests/privacy/ledger/test_merkle.py``):
      - after any number of appends ``root()`` is ``root`` of all leaves;
      - it holds at most log2(size) + 1 hashes.
    """

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[tuple[int, bytes]] = []

    def append(self, content: bytes) -> None:
        """Add one entry."""
        self.append_leaf(leaf(content))

    def append_leaf(self, value: bytes) -> None:
        """Add one entry by its leaf hash."""
        height = 0
        while self._subtrees and self._subtrees[-1][0] == height:
            value = _node(self._subtrees.pop()[1], value)
            height += 1
        self._subtrees.append((height, value))
        self.size += 1

    def root(self) -> bytes:
        """Root of the tree so far."""
        if not self._subtrees:
            return hashlib.sha256().digest()
        value = self._subtrees[-1][1]
        for _, subtree in reversed(self._subtrees[:-1]):
            value = _node(subtree, value)
        return value


def root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, over leaf hashes."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return _node(root(leaves[:split]), root(leaves[split:]))


def inclusion(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """PATH of RFC 6962, section 2.1.1: proof that a leaf stands at ``index``."""
    if not 0 <= index < len(leaves):
        raise InvalidInputError(f"Expected index={index} in [0, {len(leaves) - 1}].")
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*inclusion(leaves[:split], index), root(leaves[split:])]
    return [*inclusion(leaves[split:], index - split), root(leaves[:split])]


def included(content: bytes, index: int, size: int, proof: Sequence[bytes], top: bytes) -> bool:
    """Whether ``proof`` shows ``content`` at ``index`` of the tree of ``size`` with root ``top``.

    RFC 9162, section 2.1.3.2 (the same tree, with the verifier's algorithm spelled out).
    """
    if not 0 <= index < size:
        return False
    first, second, value = index, size - 1, leaf(content)
    for sibling in proof:
        if second == 0:
            return False
        if first & 1 or first == second:
            value = _node(sibling, value)
            while not first & 1 and first:
                first, second = first >> 1, second >> 1
        else:
            value = _node(value, sibling)
        first, second = first >> 1, second >> 1
    return second == 0 and value == top


def consistency(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """PROOF of RFC 6962, section 2.1.2: the first ``old_size`` leaves are still the same."""
    if not 0 < old_size <= len(leaves):
        raise InvalidInputError(f"Expected old_size={old_size} in [1, {len(leaves)}].")
    return _subproof(leaves, old_size, True)


def _subproof(leaves: Sequence[bytes], old_size: int, whole: bool) -> list[bytes]:
    if old_size == len(leaves):
        return [] if whole else [root(leaves)]
    split = _split(len(leaves))
    if old_size <= split:
        return [*_subproof(leaves[:split], old_size, whole), root(leaves[split:])]
    return [*_subproof(leaves[split:], old_size - split, False), root(leaves[:split])]


def consistent(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether ``proof`` shows that the new tree extends the old one (RFC 9162, 2.1.4.2)."""
    if not 0 < old_size <= new_size:
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    first, second = old_size - 1, new_size - 1
    while first & 1:
        first, second = first >> 1, second >> 1
    old_value = new_value = path[0]
    for sibling in path[1:]:
        if second == 0:
            return False
        if first & 1 or first == second:
            old_value, new_value = _node(sibling, old_value), _node(sibling, new_value)
            while not first & 1 and first:
                first, second = first >> 1, second >> 1
        else:
            new_value = _node(new_value, sibling)
        first, second = first >> 1, second >> 1
    return second == 0 and old_value == old_root and new_value == new_root


def _split(size: int) -> int:
    """Largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1
