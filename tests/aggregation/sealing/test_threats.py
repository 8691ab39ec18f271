"""Each row of the threat-model page names a test that exists; these are the ones of its own."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tenseal as ts
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

import aggregation.sealing
from aggregation.sealing import SCHEMES, Scheme, bfv, make_scheme, shares
from aggregation.sealing.bfv import Bfv
from aggregation.sealing.boxes import box_cipher
from aggregation.sealing.envelope import Kind, wrap
from aggregation.sealing.pairwise import Pairwise
from aggregation.sealing.proposal import Place
from aggregation.sealing.quorum import Quorum
from aggregation.sealing.shares import ShareHolder, Shares
from aggregation.sealing.streams import stream
from aggregation.sealing.tenseal_io import pad
from privacy.errors import CorruptMessageError, RefusedError
from tests.aggregation.sealing.parties import Parties, opener_of

PAGE = Path(aggregation.sealing.__file__).parent / "THREATS.md"
TESTS = Path(__file__).parents[2]


def test_every_row_of_the_page_names_tests_that_exist() -> None:
    rows = [
        line
        for line in PAGE.read_text().splitlines()
        if line.startswith("| ") and not line.startswith(("| coalition", "|---"))
    ]
    assert len(rows) > 25
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            (path,) = TESTS.rglob(file)
            assert f"def {test}(" in path.read_text(), f"{file}::{test}"


def test_every_scheme_says_who_must_be_trusted() -> None:
    page = PAGE.read_text()
    for name in SCHEMES:
        scheme = made(name)
        assert len(scheme.trust) > 40
        assert scheme.label.startswith(name)
        assert f"`{name}`" in page


def made(name: str, contributors: int = 4) -> Scheme:
    return make_scheme(name, dim=3, contributors=contributors, bound=1000)


@pytest.mark.parametrize("name", SCHEMES)
def test_the_size_of_an_update_says_nothing(name: str) -> None:
    sealer = made(name).sealer("zurich")
    vectors = ([0, 0, 0], [1000, -1000, 1000], [1, 2, 3], [0, 0, 0])
    assert len({len(sealer.seal(np.array(v))) for v in vectors}) == 1


@pytest.mark.parametrize("name", SCHEMES)
def test_colluders_learn_the_sum_of_the_others(name: str) -> None:
    parties = Parties(made(name))
    mine = [parties.contribute(n, [i, 10 * i, 7]) for i, n in enumerate(parties.names)]
    opened = parties.opener().open(parties.total(mine), mine)
    others = opened - np.array([0, 0, 7]) - np.array([1, 10, 7])  # of the first two, who collude
    assert others.tolist() == [5, 50, 14]


@pytest.mark.parametrize("name", SCHEMES)
def test_a_copy_is_refused_under_every_scheme(name: str) -> None:
    parties = Parties(made(name))
    mine = [parties.contribute(n, [1, 2, 3]) for n in parties.names[:3]]
    copied = [*mine, parties.contribute("long beach", [], sealed=mine[0].sealed)]
    with pytest.raises(RefusedError, match="is a copy of another"):
        parties.opener().open(b"", copied)


def test_the_key_holder_could_open_a_single_update() -> None:
    # Bypassing its own policy, as only the key holder itself can.
    scheme = made("bfv")
    parties = Parties(scheme)
    opener = opener_of(scheme, parties.policy(min_honest=3, c_assumed=1))
    alone = parties.contribute("zurich", [1, -2, 3])
    total = parties.total([alone])
    with pytest.raises(RefusedError, match="distinct hospitals"):
        opener.open(total, [alone])
    assert scheme.parameters.centre(opener._open(total, [alone])).tolist() == [1, -2, 3]


def test_a_homomorphic_ciphertext_can_be_multiplied_under_ones_own_name() -> None:
    # The server gives "long beach" the update of "zurich"; it sends 4 times that, re-randomised by
    # an encryption of zero, signed as its own: nothing in it says who knows what is inside. (How
    # large a multiple the margin leaves room for depends on the run.)
    scheme = made("bfv")
    assert isinstance(scheme, Bfv)
    parties = Parties(scheme)
    mine = [parties.contribute(n, [1, 2, 3]) for n in parties.names[:2]]
    victim = parties.contribute("zurich", [4, 5, 6])
    adder = scheme.adder()
    assert isinstance(adder, bfv._Adder)
    (ciphertext,) = adder.parse(adder.open_frame(victim.sealed))
    multiple = ciphertext.mul([4] * ciphertext.size())
    context = ts.context_from(scheme._public, n_threads=1)
    multiple.add_(ts.bfv_vector(context, [0] * ciphertext.size()))
    content = pad(multiple.serialize(), scheme.parameters.settings["stored"])
    forged = wrap(Kind.UPDATE, scheme.label, scheme.digest, content)
    mine += [victim, parties.contribute("long beach", [], sealed=forged)]
    opened = parties.opener().open(parties.total(mine), mine)
    assert (opened - np.array([2, 4, 6])).tolist() == [5 * 4, 5 * 5, 5 * 6]


def test_a_quorum_that_colludes_with_the_server_opens_an_update() -> None:
    scheme = made("shares")
    assert isinstance(scheme, Shares)
    parties = Parties(scheme)
    update = parties.contribute("zurich", [1, -2, 3])
    content = scheme.adder().open_frame(update.sealed)
    seeds: dict[int, bytes] = {}
    for name in ("holder 1", "holder 2", "holder 3"):
        holder = scheme.holder(name, parties.policy())
        assert isinstance(holder, ShareHolder)
        own = holder._open_piece(update, content, Place())
        seeds.update(zip(holder.quorum.held_by(name), own, strict=True))
    bits = scheme.parameters.bits
    words = content[-3 * scheme.parameters.word :]
    sums = scheme.parameters.from_words(words)
    for seed in seeds.values():
        sums = sums + stream(seed, 3, bits)
    assert scheme.parameters.centre(sums).tolist() == [1, -2, 3]


def test_unequal_seeds_are_seen_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    # "long beach" gives the same piece to two holders under two seeds: one of them does not have
    # the hash that it signed. That holder stands back, and the others open the sum.
    scheme = made("shares")
    assert isinstance(scheme, Shares)
    parties = Parties(scheme)
    sealer = scheme.sealer("long beach")
    parties._sealers["long beach"] = sealer
    quorum = Quorum(("holder 1", "holder 2", "holder 3", "holder 4"), 3, 1)
    (first, *_), whole = quorum.held_by("holder 2"), box_cipher
    encrypt = ChaCha20Poly1305.encrypt

    class Other:
        """The box for one holder, with another first seed than the one whose hash was signed."""

        def __init__(self, cipher: ChaCha20Poly1305) -> None:
            self.cipher = cipher

        def encrypt(self, nonce: bytes, content: bytes, bound: bytes) -> bytes:
            return encrypt(self.cipher, nonce, bytes(32) + content[32:], bound)

    theirs = bytes.fromhex(scheme.parameters.settings["keys"]["holder 2"]["box"])

    def box(shared: bytes, sender: bytes, receiver: bytes, **bound: bytes) -> Any:
        cipher = whole(shared, sender, receiver, **bound)
        return Other(cipher) if receiver == theirs else cipher

    with monkeypatch.context() as patched:
        patched.setattr(shares, "box_cipher", box)
        mine = [parties.contribute("long beach", [1, 2, 3])]
    mine += [parties.contribute(n, [1, 2, 3]) for n in parties.names[:3]]
    opener = parties.opener()
    with pytest.raises(CorruptMessageError, match=f"another seed of piece {first}"):
        content = scheme.adder().open_frame(mine[0].sealed)
        opener.holders["holder 2"]._open_piece(mine[0], content, Place())
    assert opener.open(parties.total(mine), mine).tolist() == [4, 8, 12]
    logs = {name: len(holder.policy.log) for name, holder in opener.holders.items()}
    assert logs == {"holder 1": 1, "holder 2": 0, "holder 3": 1, "holder 4": 1}


def test_a_hospital_that_leaves_after_sending_stops_a_pairwise_opening() -> None:
    scheme = made("pairwise")
    assert isinstance(scheme, Pairwise)
    parties = Parties(scheme)
    mine = [parties.contribute(n, [1, 2, 3]) for n in parties.names]
    opener = parties.opener()
    opener.holders.pop("2")
    with pytest.raises(RefusedError, match="Seats 2 have sent and are gone"):
        opener.open(parties.total(mine), mine)
    assert not any(len(holder.policy.log) for holder in opener.holders.values())


def test_an_adder_has_no_way_to_open() -> None:
    for name in SCHEMES:
        adder = made(name).adder()
        assert not hasattr(adder, "open")
        assert not isinstance(adder, aggregation.sealing.Opener)
    with pytest.raises(CorruptMessageError):
        aggregation.sealing.load_opener(adder.to_bytes(), Parties(made(name)).policy())
