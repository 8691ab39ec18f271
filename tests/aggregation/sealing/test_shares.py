"""Seeds and holders: exact for every quorum, cheap, and blind below the threshold."""

from hashlib import sha256
from itertools import combinations

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.sealing import (
    Contribution,
    load_adder,
    load_holder,
    load_opener,
    load_sealer,
    make_scheme,
)
from aggregation.sealing.envelope import Kind
from aggregation.sealing.material import split
from aggregation.sealing.proposal import Place
from aggregation.sealing.quorum import Quorum
from aggregation.sealing.shares import ShareHolder, Shares
from aggregation.sealing.streams import stream
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from tests.aggregation.sealing.parties import Parties, key_of


def made(dim: int = 3, bound: int = 1000, **options: object) -> Shares:
    scheme = make_scheme("shares", dim=dim, contributors=6, bound=bound, **options)
    assert isinstance(scheme, Shares)
    return scheme


@settings(max_examples=15)
@given(
    holders=st.integers(1, 5),
    lost=st.integers(0, 4),
    bits=st.sampled_from([8, 30, 32, 33, 60]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_quorum_opens_the_same_sum(holders: int, lost: int, bits: int, seed: int) -> None:
    threshold = holders // 2 + 1
    scheme = made(
        dim=7,
        bound=2**bits - 1,
        holders=[f"k{i}" for i in range(holders)],
        threshold=threshold,
        corrupt=0,
    )
    parties = Parties(scheme)
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-(2 ** (bits - 2)), 2 ** (bits - 2), (4, 7))
    contributions = [parties.contribute(n, v) for n, v in zip(parties.names, vectors, strict=True)]
    opener = parties.opener()
    for name in [f"k{i}" for i in rng.permutation(holders)[:lost]]:
        opener.holders.pop(name)
    total = parties.total(contributions)
    if len(opener.holders) < threshold:
        with pytest.raises(RefusedError, match="holders are there"):
            opener.open(total, contributions)
        logs = [len(holder.policy.log) for holder in opener.holders.values()]
        assert not any(logs)  # they can come back
    else:
        assert np.array_equal(opener.open(total, contributions), vectors.sum(axis=0))


def test_the_stream_is_aes_in_counter_mode() -> None:
    # NIST SP 800-38A, F.5.5 gives the block cipher; here: the keystream from counter 0.
    seed = bytes(range(32))
    block = Cipher(algorithms.AES(seed), modes.ECB()).encryptor()
    counters = b"".join(i.to_bytes(16, "big") for i in range(2))
    keystream = block.update(counters)
    assert stream(seed, 8, 32).tobytes() == keystream
    assert stream(seed, 4, 60).tobytes() == keystream


@pytest.mark.parametrize("dim", [10_000, 100_000])
def test_an_update_has_the_size_of_the_integers_in_clear(dim: int) -> None:
    for bits in (20, 31, 39):
        bound = 2**bits - 1
        masked = made(dim, bound).sealer("zurich").seal(np.zeros(dim, dtype=np.int64))
        clear = make_scheme("plain", dim=dim, contributors=6, bound=bound).sealer("zurich")
        assert len(masked) <= 1.1 * len(clear.seal(np.zeros(dim, dtype=np.int64)))


def test_fewer_than_the_threshold_lack_a_piece() -> None:
    for holders in range(1, 6):
        names = tuple(f"k{i}" for i in range(holders))
        quorum = Quorum(names, holders // 2 + 1, 0)
        everything = set(range(len(quorum.pieces)))
        for size in range(holders + 1):
            for some in combinations(names, size):
                known = {i for n in some for i in quorum.held_by(n)}
                assert (known == everything) == (size >= quorum.threshold)


def test_without_one_piece_a_masked_vector_looks_random() -> None:
    # All pieces but one are known to the colluders; what is left of a vector of zeros is that
    # piece's stream, uniform on [0, 2^32): its mean over 200,000 words within 5 standard errors.
    dim = 200_000
    scheme = made(dim, 2**31 - 1)
    parties = Parties(scheme)
    contribution = parties.contribute("zurich", np.zeros(dim, dtype=np.int64))
    holders = [scheme.holder(n, parties.policy()) for n in ("holder 1", "holder 2")]
    known: dict[int, bytes] = {}
    content = scheme.adder().open_frame(contribution.sealed)
    for holder in holders:
        assert isinstance(holder, ShareHolder)
        pieces = holder.quorum.held_by(holder.name)
        known.update(zip(pieces, holder._open_piece(contribution, content, Place()), strict=True))
    assert len(known) == 5 < len(holders[0].quorum.pieces) == 6
    left = scheme.parameters.from_words(content[-dim * scheme.parameters.word :])
    for seed in known.values():
        left = left + stream(seed, dim, 32)
    uniform = (left & np.uint64(2**32 - 1)) / 2**32
    assert abs(uniform.mean() - 0.5) < 5 * np.sqrt(1 / 12 / dim)
    assert abs(np.mean(uniform**2) - 1 / 3) < 5 * np.sqrt(4 / 45 / dim)


def test_a_copy_of_anothers_update_under_ones_own_name_is_refused() -> None:
    scheme = made()
    parties = Parties(scheme)
    mine = [parties.contribute(n, [1, 2, 3]) for n in parties.names]
    copied = [*mine[:3], parties.contribute("long beach", [], sealed=mine[0].sealed)]
    with pytest.raises(RefusedError, match="is a copy of another"):
        parties.opener().open(parties.total(copied), copied)
    without = copied[1:]  # even with the original left out: the box is bound to its hospital
    opened = parties.opener().open(parties.total(without), without)
    assert opened.tolist() == [2, 4, 6]  # it is left out, before anything is written down
    strict = parties.opener(min_honest=3)
    with pytest.raises(RefusedError, match="2 distinct hospitals; 3 are needed"):
        strict.open(parties.total(without), without)
    assert not any(len(holder.policy.log) for holder in strict.holders.values())


def test_roles_survive_serialising() -> None:
    scheme = made()
    parties = Parties(scheme)
    sealer = load_sealer(scheme.sealer("zurich").to_bytes(), "zurich")
    contribution = Contribution.sign(
        key_of("zurich"),
        sealer.seal(np.array([5, 6, 7])),
        run=parties.run,
        hospital="zurich",
        base_version=0,
        parameters=scheme.digest,
    )
    adder = load_adder(scheme.adder().to_bytes())
    adder.add(contribution.sealed)
    opener = parties.opener()
    for name, holder in scheme.holders(parties.policy()).items():
        opener.replace(name, load_holder(holder.to_bytes(), parties.policy()))
    assert opener.open(adder.total(), [contribution]).tolist() == [5, 6, 7]
    with pytest.raises(CorruptMessageError, match="expected"):
        load_holder(scheme.adder().to_bytes(), parties.policy())
    with pytest.raises(InvalidInputError, match="use load_holder"):
        load_opener(holder.to_bytes(), parties.policy())
    (_, content) = split(holder.to_bytes(), Kind.OPENER, scheme.label)
    for other in (content, b"short", b'["holder 1","zz",3]\n'):
        with pytest.raises(CorruptMessageError, match=r"not a holder's secret|canonical JSON"):
            Shares.load_holder(made().parameters, other, parties.policy())


def test_a_sealer_agrees_once_and_uses_no_key_and_no_seed_twice() -> None:
    """The nonce of a box is constant: what keeps its key single is the salt, drawn each time."""
    scheme = made()
    sealer, adder = scheme.sealer("h0"), scheme.adder()
    contents = [adder.open_frame(sealer.seal(np.array([1, 2, 3]))) for _ in range(40)]
    agreed, salts = {c[:32] for c in contents}, {c[32:64] for c in contents}
    assert len(agreed) == 1
    assert len(salts) == len(contents)
    head = len(contents[0]) - len(scheme.parameters.to_words(np.zeros(3, dtype=np.uint64)))
    blocks = [c[i : i + 32] for c in contents for i in range(64, head - 31, 32)]
    assert len(set(blocks)) == len(blocks)  # the same seed, or the same key, would repeat one
    assert len({c[head:] for c in contents}) == len(contents)  # equal updates look unalike
    again = scheme.sealer("h0")  # a restart, or the next run, agrees anew
    assert adder.open_frame(again.seal(np.array([1, 2, 3])))[:32] not in agreed


def test_every_piece_of_every_update_has_a_seed_of_its_own() -> None:
    """With one for all pieces, any holder and the server would open everything."""
    scheme = made()
    parties = Parties(scheme)
    seeds: list[bytes] = []
    for update in (parties.contribute("zurich", [1, 2, 3]) for _ in range(2)):
        own: dict[int, bytes] = {}
        for name, holder in scheme.holders(parties.policy()).items():
            assert isinstance(holder, ShareHolder)
            content = scheme.adder().open_frame(update.sealed)
            opened = holder._open_piece(update, content, Place())
            own.update(zip(holder.quorum.held_by(name), opened, strict=True))
        seeds += own.values()
    assert len(set(seeds)) == len(seeds) == 2 * 6


def test_a_box_is_bound_to_run_sender_receiver_and_hospital() -> None:
    """Opened by the format's own words, with nothing of the module: whatever is left out is seen.

    X25519, then HKDF-SHA256 with the message's salt and both public keys, then ChaCha20-Poly1305
    over the run's parameters and the hospital's name; each seed's hash names its piece.
    """
    scheme = made()
    parties = Parties(scheme)
    content = scheme.adder().open_frame(parties.contribute("zurich", [1, 2, 3]).sealed)
    ephemeral, salt = content[:32], content[32:64]
    holders = scheme.holders(parties.policy())
    quorum = next(iter(holders.values())).quorum
    place = 64 + 32 * len(quorum.pieces)
    for name in quorum.names:
        holder = holders[name]
        assert isinstance(holder, ShareHolder)
        theirs = holder._private.public_key().public_bytes_raw()
        shared = holder._private.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        info = b"inpatient shares box v2" + ephemeral + theirs
        key = HKDF(SHA256(), 32, salt=salt, info=info).derive(shared)
        bound = bytes.fromhex(scheme.digest) + b"zurich"
        size = 32 * len(quorum.held_by(name)) + 16
        box, place = content[place : place + size], place + size
        seeds = ChaCha20Poly1305(key).decrypt(bytes(12), box, bound)
        for number, piece in enumerate(quorum.held_by(name)):
            words = b"inpatient seed v1" + piece.to_bytes(4, "little")
            signed = content[64 + 32 * piece : 96 + 32 * piece]
            assert sha256(words + seeds[32 * number : 32 * number + 32]).digest() == signed
