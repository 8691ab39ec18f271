"""The joint key is a sum of pieces that nobody chose after seeing another's."""

from dataclasses import replace

import numpy as np
import pytest

from aggregation.sealing.boxes import OVERHEAD, open_box, seal_box
from aggregation.sealing.joint_key import JointKey
from aggregation.sealing.quorum import HolderSecret, Quorum
from aggregation.sealing.rlwe import LARGEST_NOISE, ternary
from privacy.errors import CorruptMessageError, RefusedError

FOUR = Quorum(("a", "b", "c", "d"), 3, 1)
KEY = JointKey(3, 6, 1000, FOUR, 10, "ab" * 32)


def test_each_piece_is_drawn_by_one_of_its_holders_and_given_to_the_others() -> None:
    for quorum in (FOUR, Quorum(("a", "b", "c"), 3, 1), Quorum(tuple("abcdefg"), 5, 2)):
        key = replace(KEY, quorum=quorum)
        led = [piece for name in quorum.names for piece in key.led_by(name)]
        assert sorted(led) == [*range(len(quorum.pieces))]
        for name in quorum.names:
            got = {p for leader in quorum.names for p in key.given(leader, name)}
            assert got == set(quorum.held_by(name))


def test_a_rogue_key_is_refused() -> None:
    """The last one waits for the others' pieces and publishes one that cancels them."""
    ring, size = KEY.layout.ring, KEY.piece_size
    published = {name: KEY.draw(name)[1] for name in FOUR.names}
    said = {name: KEY.commitment(name, content) for name, content in published.items()}
    pieces = [
        ring.from_bytes(content[start : start + size], (ring.degree,))
        for content in published.values()
        for start in range(0, len(content), size)
    ]
    total = pieces[0]
    for piece in pieces[1:]:
        total = ring.add(total, piece)
    assert KEY.joined(published, said) == ring.to_bytes(total)
    others = total
    for piece in pieces[-len(KEY.led_by("c")) :]:
        others = ring.subtract(others, piece)
    own = ring.from_bytes(KEY.draw("c")[1], (ring.degree,))
    rogue = {**published, "c": ring.to_bytes(ring.subtract(own, others))}
    with pytest.raises(RefusedError, match="'c' published of the joint key is not what it commit"):
        KEY.joined(rogue, said)
    assert KEY.joined(rogue, {**said, "c": KEY.commitment("c", rogue["c"])}) == ring.to_bytes(own)
    for missing in (dict(list(published.items())[1:]), {}):
        with pytest.raises(RefusedError):
            KEY.joined(missing, said)
    with pytest.raises(RefusedError):
        KEY.joined(published, {})
    longer = {**published, "a": published["a"] + published["b"][:size]}
    with pytest.raises(CorruptMessageError, match="bytes of polynomials"):
        KEY.joined(longer, {**said, "a": KEY.commitment("a", longer["a"])})


def test_a_commitment_is_its_makers_alone_and_for_one_key() -> None:
    _, content = KEY.draw("a")
    other = replace(KEY, context="cd" * 32)
    said = {KEY.commitment("a", content), KEY.commitment("b", content),
            other.commitment("a", content), KEY.commitment("a", KEY.draw("a")[1])}  # fmt: skip
    assert len(said) == 4


def test_nobody_chooses_the_common_polynomial() -> None:
    seeds = {
        KEY.seed,
        replace(KEY, context="cd" * 32).seed,
        replace(KEY, openings=2**20).seed,
        replace(KEY, quorum=Quorum(("a", "b", "c", "e"), 3, 1)).seed,
    }
    assert len(seeds) == 4 and replace(KEY).seed == KEY.seed
    public = {name: HolderSecret.generate().public for name in FOUR.names}
    assert KEY.parameters(public, b"key").settings["seed"] == KEY.seed


def test_what_fits_is_the_secret_of_that_piece_with_noise_as_it_is_drawn() -> None:
    secrets, content = KEY.draw("a")
    ring, led = KEY.layout.ring, KEY.led_by("a")
    assert len(led) > 1 and set(np.unique(secrets)) == {-1, 0, 1}
    for piece, secret in zip(led, secrets, strict=True):
        assert KEY.fits("a", piece, secret, content)
        wrong = secret.copy()
        wrong[7] = (wrong[7] + 2) % 3 - 1
        assert not KEY.fits("a", piece, wrong, content)
    assert not KEY.fits("a", led[0], secrets[1], content)
    assert not KEY.fits("a", led[0], KEY.draw("a")[0][0], content)
    with pytest.raises(CorruptMessageError):
        KEY.fits("a", led[0], secrets[0], content[:-4])

    def published(secret: np.ndarray, error: np.ndarray) -> bytes:
        masked = ring.multiply(KEY._common, ring.to_values(ring.residues(secret)))
        first = ring.to_bytes(ring.subtract(ring.to_values(ring.residues(error)), masked))
        return first + content[len(first) :]

    zeros, ones = np.zeros(ring.degree, dtype=np.int64), np.ones(ring.degree, dtype=np.int64)
    secret = secrets[0]
    edge = zeros.copy()
    edge[0] = -LARGEST_NOISE
    assert KEY.fits("a", led[0], secret, published(secret, edge))
    edge[0] -= 1
    two = secret.copy()
    two[0] = 2
    for other, error in (
        (secret, edge),  # a coefficient that is never drawn
        (secret, 4 * ones),  # longer than noise is
        (ones, zeros),  # a secret longer than one is
        (two, zeros),
        (secret, ones * ring.primes[0]),  # nothing in the first residue
    ):
        assert not KEY.fits("a", led[0], other, published(other, error))


def test_two_secrets_do_not_fit_one_piece() -> None:
    secrets, content = KEY.draw("c")
    (piece,) = KEY.led_by("c")
    for place in range(0, KEY.layout.ring.degree, 512):
        other = secrets[0].copy()
        other[place] = (other[place] + 2) % 3 - 1
        assert not KEY.fits("c", piece, other, content)
    assert not KEY.fits("c", piece, ternary((KEY.layout.ring.degree,)), content)


def test_a_box_opens_for_its_receiver_and_where_it_belongs_alone() -> None:
    ours, theirs = HolderSecret.generate(), HolderSecret.generate()
    box = seal_box(b"piece", ours.public.box, use=b"key", bound=b"a to b")
    assert len(box) == len(b"piece") + OVERHEAD
    assert open_box(box, ours.box, use=b"key", bound=b"a to b") == b"piece"
    again = seal_box(b"piece", ours.public.box, use=b"key", bound=b"a to b")
    assert again[:32] != box[:32] and again[32:] != box[32:]
    for wrong in (
        (box, theirs.box, b"key", b"a to b"),
        (box, ours.box, b"another", b"a to b"),
        (box, ours.box, b"key", b"c to b"),
        (box[:-1] + bytes([box[-1] ^ 1]), ours.box, b"key", b"a to b"),
        (box[:40], ours.box, b"key", b"a to b"),
        (box[:9], ours.box, b"key", b"a to b"),
        (bytes(len(box)), ours.box, b"key", b"a to b"),
    ):
        with pytest.raises(CorruptMessageError, match="does not open"):
            open_box(wrong[0], wrong[1], use=wrong[2], bound=wrong[3])
    with pytest.raises(CorruptMessageError, match="no key"):
        seal_box(b"piece", "00" * 32, use=b"key", bound=b"")
