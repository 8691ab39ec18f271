"""The joint key: exact, answered once, and broken by one made-up ciphertext, as its page says."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregation.sealing import OpeningLog, load_adder, load_holder, load_sealer, make_scheme
from aggregation.sealing.envelope import Kind, unwrap, wrap
from aggregation.sealing.holders import Holder
from aggregation.sealing.joint_key import common_polynomial
from aggregation.sealing.material import split
from aggregation.sealing.quorum import Quorum
from aggregation.sealing.rlwe import NOISE_STD, Ring
from aggregation.sealing.threshold import Threshold, _Adder
from aggregation.sealing.threshold_layout import LEAST_MARGIN, ThresholdLayout, read_layout
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from tests.aggregation.sealing.parties import Parties

# Albrecht et al. 2018, Homomorphic Encryption Security Standard, Table 1 (ternary, 128 bits).
STANDARD_128 = {4096: 109, 8192: 218}
FOUR = Quorum(("a", "b", "c", "d"), 3, 1)


def made(dim: int = 3, bound: int = 1000, **options: Any) -> Threshold:
    scheme = make_scheme("threshold", dim=dim, contributors=6, bound=bound, **options)
    assert isinstance(scheme, Threshold)
    return scheme


@pytest.mark.parametrize("bits", [2, 20, 31, 42, 55])
@pytest.mark.parametrize("contributors", [2, 50])
@pytest.mark.parametrize("dim", [19, 100_000])
def test_layouts_have_128_bits_room_and_smudging(bits: int, contributors: int, dim: int) -> None:
    openings = 500
    layout = ThresholdLayout.smallest(
        dim=dim, bits=bits, contributors=contributors, quorum=FOUR, openings=openings
    )
    ring, lanes = layout.ring, layout.lanes
    assert ring.log_q <= STANDARD_128[ring.degree]
    assert lanes.per_slot * lanes.width <= math.log2(ring.t)
    # The noise of a sum, its own formula written out: e u + e0 + e1 s with P ternary pieces.
    pieces, n = len(FOUR.pieces), ring.degree
    variance = contributors * NOISE_STD**2 * (1 + 2 * (2 * pieces * n / 3))
    largest = len(FOUR.names) * 2**layout.smudge_bits + LEAST_MARGIN * math.sqrt(variance)
    assert largest < ring.noise_modulus / 2
    distance = math.sqrt(variance) * n * layout.ciphertexts * openings
    assert distance / 2 ** (layout.smudge_bits + 1) <= 2**-40


def test_the_noise_of_a_sum_is_what_the_formula_says() -> None:
    scheme = made(dim=3000)
    parties = Parties(scheme)
    total = parties.total(
        [parties.contribute(n, np.zeros(3000, dtype=np.int64)) for n in parties.names]
    )
    layout, quorum = read_layout(scheme.parameters)
    ring = layout.ring
    first, second = _Adder(scheme.parameters).parse(total[-2 * layout.half :])
    secret = ring.to_values(ring.residues(np.sum(scheme._pieces, axis=0)))
    phase = ring.to_coefficients(ring.add(first, ring.multiply(second, secret[:, None])))
    modulus, rest = ring.primes[-1], phase[-1].astype(np.int64).ravel()
    noise = np.where(rest > modulus // 2, rest - modulus, rest)
    formula = NOISE_STD * math.sqrt(4 * (1 + 4 * len(quorum.pieces) * ring.degree / 3))
    assert noise.std() == pytest.approx(formula, rel=0.15)


def test_lost_holders_do_not_stop_it_until_too_few_are_left() -> None:
    scheme = made()
    parties = Parties(scheme)
    opener = parties.opener()
    opener.holders.pop("holder 2")
    mine = [parties.contribute(n, [1, 2, 3]) for n in parties.names]
    assert opener.open(parties.total(mine), mine).tolist() == [4, 8, 12]
    opener.holders.pop("holder 1")
    again = [parties.contribute(n, [1, 2, 3]) for n in parties.names]
    with pytest.raises(RefusedError, match="2 of 4 holders are there; 3 are needed"):
        opener.open(parties.total(again), again)


def test_a_holder_makes_one_answer_and_sends_it_again(tmp_path: Path) -> None:
    scheme = made()
    parties = Parties(scheme)
    mine = [parties.contribute(n, [1, 2, 3]) for n in parties.names]
    total = parties.total(mine)
    names = [f"holder {i}" for i in (1, 2, 3, 4)]
    holders = [
        scheme.holder(name, parties.policy(log=OpeningLog(tmp_path / name))) for name in names
    ]
    commitments = [h.commit(total, mine) for h in holders]
    first = holders[0].answer(total, mine, commitments[:3])
    again = scheme.holder(names[0], parties.policy(log=OpeningLog(tmp_path / names[0])))
    for holder in (holders[0], again):  # the average of two would show more than one
        assert holder.commit(total, mine) == commitments[0]
        assert holder.answer(total, mine, commitments) == first
    assert len(again.policy.log) == 1


def test_a_holder_that_died_before_it_answered_answers_after_it(tmp_path: Path) -> None:
    scheme = made(openings=1)
    parties = Parties(scheme)
    mine = [parties.contribute(n, [1, 2, 3]) for n in parties.names]
    total = parties.total(mine)
    names = [f"holder {i}" for i in (1, 2, 3)]

    def holder(name: str) -> Holder:
        return scheme.holder(name, parties.policy(log=OpeningLog(tmp_path / name)))

    commitments = [holder(name).commit(total, mine) for name in names]
    said = [holder(name).answer(total, mine, commitments) for name in names]
    assert [answer.holder for answer, _ in said] == names
    parts = {part: content for _, own in said for part, content in own.items()}
    sums = scheme.combine(scheme.parameters, total, parts)
    assert scheme.parameters.centre(sums).tolist() == [4, 8, 12]


def test_a_key_serves_as_many_openings_as_its_smudging_was_sized_for() -> None:
    scheme = made(openings=1)
    parties = Parties(scheme)
    opener = parties.opener()
    for expected in ("opened", "refused"):
        mine = [parties.contribute(n, [1, 2, 3]) for n in parties.names]
        total = parties.total(mine)
        if expected == "opened":
            opener.open(total, mine)
        else:
            with pytest.raises(RefusedError, match="Generate a new key"):
                opener.open(total, mine)


def test_a_made_up_ciphertext_reads_the_joint_secret_off_the_opened_sum() -> None:
    # The limit that the module states: (0, Q K) is a ciphertext of K s. The hospital that sends
    # it needs nothing but its own place in the run, and "shares" gives it no such handle.
    scheme = made(dim=4096, bound=2**20)
    parties = Parties(scheme)
    layout, _ = read_layout(scheme.parameters)
    ring, k = layout.ring, 1 << 14
    pieces = len(scheme._pieces)
    multiple = np.zeros((layout.ciphertexts, ring.degree), dtype=np.uint64)
    multiple[:, 0] = k
    positive = np.full_like(multiple, k * pieces)  # K (s + P) is nowhere negative
    content = b"".join(ring.to_bytes(ring.to_values(ring.lift(m))) for m in (positive, multiple))
    made_up = wrap(Kind.UPDATE, scheme.label, scheme.digest, content)
    honest = np.random.default_rng(0).integers(-2000, 2000, (3, 4096))
    mine = [parties.contribute(n, v) for n, v in zip(parties.names[:3], honest, strict=True)]
    mine.append(parties.contribute("long beach", [], sealed=made_up))
    opened = parties.opener().open(parties.total(mine), mine)
    guessed = np.rint(opened / k).astype(np.int64) - pieces
    assert layout.lanes.per_slot == 1
    assert np.array_equal(guessed, np.sum(scheme._pieces, axis=0)[:4096])


def test_roles_survive_serialising_and_an_adder_is_no_opener() -> None:
    scheme = made()
    parties = Parties(scheme)
    sealer = load_sealer(scheme.sealer("zurich").to_bytes(), "zurich")
    contribution = parties.contribute("zurich", [], sealed=sealer.seal(np.array([5, 6, 7])))
    adder = load_adder(scheme.adder().to_bytes())
    adder.add(contribution.sealed)
    opener = parties.opener()
    for name, holder in scheme.holders(parties.policy()).items():
        opener.replace(name, load_holder(holder.to_bytes(), parties.policy()))
    assert opener.open(adder.total(), [contribution]).tolist() == [5, 6, 7]
    for role in (scheme.adder(), scheme.sealer("zurich")):
        with pytest.raises(CorruptMessageError, match="expected"):
            load_holder(role.to_bytes(), parties.policy())
    with pytest.raises(CorruptMessageError, match="joint public key is not the one"):
        Threshold.load_sealer(made().parameters, scheme._public, "zurich")
    (_, content) = split(holder.to_bytes(), Kind.OPENER, scheme.label)
    for harmed in (content[:-1], content[:-1] + b"\x02", content[:-1] + b"\xfe"):
        with pytest.raises(CorruptMessageError, match="pieces of the joint secret"):
            Threshold.load_holder(scheme.parameters, harmed, parties.policy())


def test_the_common_polynomial_is_hashed_out_of_the_parameters() -> None:
    scheme = made()
    ring = read_layout(scheme.parameters)[0].ring
    seed = scheme.parameters.settings["seed"]
    common = common_polynomial(ring, seed)
    assert np.array_equal(common, common_polynomial(ring, seed))
    assert not np.array_equal(common, common_polynomial(ring, "00" * 32))
    for row, prime in zip(common, ring.primes, strict=True):
        assert row.max() < prime
        assert abs(row.mean() / prime - 0.5) < 5 * math.sqrt(1 / 12 / ring.degree)


def test_edited_parameters_and_residues_out_of_range_are_refused() -> None:
    scheme = made()
    weaker = {**scheme.parameters.settings, "smudge_bits": 10}
    with pytest.raises(CorruptMessageError, match="do not follow"):
        Threshold.load_adder(replace(scheme.parameters, settings=weaker), b"")
    ring = Ring(16, (20,), (31,))
    primes = np.repeat(np.array(ring.primes, dtype=np.uint64)[:, None], 16, axis=1)
    for wrong in (np.full((2, 16), 2**32 - 1, dtype=np.uint64), primes):
        with pytest.raises(CorruptMessageError, match="not below its prime"):
            ring.from_bytes(ring.to_bytes(wrong), (16,))
    assert np.array_equal(ring.from_bytes(ring.to_bytes(primes - 1), (16,)), primes - 1)
    with pytest.raises(InvalidInputError, match="No threshold parameters"):
        ThresholdLayout.smallest(dim=3, bits=60, contributors=9, quorum=FOUR, openings=2**200)


def test_an_answer_is_smudged_as_far_as_the_layout_says() -> None:
    scheme = made()
    parties = Parties(scheme)
    mine = [parties.contribute(n, [1, 2, 3]) for n in parties.names]
    total = parties.total(mine)
    layout, quorum = read_layout(scheme.parameters)
    ring = layout.ring
    holders = [scheme.holder(name, parties.policy()) for name in quorum.names[:3]]
    commitments = [h.commit(total, mine) for h in holders]
    answer, parts = holders[0].answer(total, mine, commitments)
    adder = scheme.adder()
    assert isinstance(adder, _Adder)
    content = unwrap(total, Kind.TOTAL, scheme.label, scheme.digest, largest=len(total))
    _, second = adder.parse(content)
    pieces = quorum.answered_by(answer.present)
    share = sum(
        (scheme._pieces[i] for i, names in enumerate(pieces) if names == (holders[0].name,)),
        start=np.zeros(ring.degree, dtype=np.int64),
    )
    exact = ring.multiply(second, ring.to_values(ring.residues(share))[:, None])
    said = ring.from_bytes(parts[holders[0].name], second.shape[1:])
    smudge = ring.to_coefficients(ring.subtract(said, exact)).reshape(len(ring.primes), -1)
    modulus = math.prod(ring.primes)
    largest = 0
    for column in smudge.T[:200]:  # the Chinese remainder theorem, centred
        value = sum(
            int(r) * (modulus // p) * pow(modulus // p, -1, p)
            for r, p in zip(column, ring.primes, strict=True)
        )
        value %= modulus
        largest = max(largest, min(value, modulus - value))
    # Uniform: none of 200 in the outer half with probability 2^-200.
    assert 2 ** (layout.smudge_bits - 1) < largest <= 2**layout.smudge_bits
