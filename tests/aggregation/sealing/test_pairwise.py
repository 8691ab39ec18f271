"""Masks that cancel: whoever drops out, and within one round only."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.sealing import load_adder, load_holder, load_opener, load_sealer, make_scheme
from aggregation.sealing.pairwise import Pairwise
from aggregation.sealing.proposal import Place
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from tests.aggregation.sealing.parties import Parties


def made(dim: int = 3, contributors: int = 4, bound: int = 1000) -> Pairwise:
    scheme = make_scheme("pairwise", dim=dim, contributors=contributors, bound=bound)
    assert isinstance(scheme, Pairwise)
    return scheme


@settings(max_examples=15)
@given(
    contributors=st.integers(1, 6),
    dropped=st.integers(0, 5),
    bits=st.sampled_from([8, 31, 32, 60]),
    seed=st.integers(0, 2**32 - 1),
)
def test_whoever_drops_out_before_sending_the_rest_is_summed(
    contributors: int, dropped: int, bits: int, seed: int
) -> None:
    names = tuple(f"h{i}" for i in range(contributors))
    parties = Parties(made(7, contributors, 2**bits - 1), names)
    for name in names:  # seats in order, whoever sends first
        parties._sealers[name] = parties.scheme.sealer(name)
    rng = np.random.default_rng(seed)
    opener = parties.opener()
    for round_ in range(2):
        present = [
            names[i] for i in rng.permutation(contributors)[min(dropped, contributors - 1) :]
        ]
        vectors = rng.integers(-(2 ** (bits - 3)), 2 ** (bits - 3), (len(present), 7))
        mine = []
        for name, vector in zip(present, vectors, strict=True):
            parties._sealers[name].round = round_
            mine.append(parties.contribute(name, vector))
        opened = opener.open(parties.total(mine), mine)
        assert np.array_equal(opened, vectors.sum(axis=0))


def test_updates_of_two_rounds_are_not_summed() -> None:
    parties = Parties(made())
    first = [parties.contribute(n, [1, 2, 3]) for n in parties.names]
    second = [parties.contribute(n, [1, 2, 3]) for n in parties.names]
    with pytest.raises(RefusedError, match="round 1 was to be added to a sum of round 0"):
        parties.total([*first[:2], *second[2:]])


def test_masks_are_revealed_in_their_own_round_alone() -> None:
    parties = Parties(made())
    for name in parties.names:
        parties._sealers[name] = parties.scheme.sealer(name)
        parties._sealers[name].round = 1
    mine = [parties.contribute(n, [1, 2, 3]) for n in parties.names]
    holder = parties.opener().holders["0"]
    assert holder.try_(parties.total(mine), mine, Place()) == parties.names
    assert holder.try_(parties.total(mine), mine, Place(number=1)) == ()


def test_seeds_that_are_too_few_or_too_many_are_refused() -> None:
    parties = Parties(made(contributors=3), ("a", "b", "c"))
    mine = [parties.contribute(n, [1, 2, 3]) for n in ("a", "b")]  # "c" has dropped out
    total, parameters = parties.total(mine), parties.scheme.parameters
    for seeds in (0, 1, 3):
        with pytest.raises(CorruptMessageError, match=f"revealed {32 * seeds} bytes of seeds"):
            Pairwise.combine(parameters, total, {"0": bytes(64), "1": bytes(32 * seeds)})


def test_no_round_is_sealed_twice() -> None:
    sealer = made().sealer("zurich")
    sealer.seal(np.array([1, 2, 3]))
    sealer.round = 0
    with pytest.raises(RefusedError, match="could show their difference"):
        sealer.seal(np.array([1, 2, 4]))


def test_neither_a_second_nor_a_copied_sealer_uses_masks_again() -> None:
    scheme = made()
    sealer = scheme.sealer("zurich")
    sealer.seal(np.array([1, 2, 3]))
    again = scheme.sealer("zurich")  # as a hospital that is set up once more
    with pytest.raises(RefusedError, match="could show their difference"):
        again.seal(np.array([1, 2, 4]), round_=0)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(InvalidInputError, match="neither copied nor pickled"):
            duplicate(sealer)
    loaded = load_sealer(sealer.to_bytes(), "zurich")
    loaded.seal(np.array([1, 2, 4]))
    with pytest.raises(RefusedError, match="this sealer no more"):
        sealer.seal(np.array([1, 2, 5]))
    with pytest.raises(RefusedError, match="could show their difference"):
        loaded.seal(np.array([1, 2, 5]), round_=1)


def test_two_updates_of_one_round_from_a_restored_machine_hide_their_difference() -> None:
    """Its pairs' masks are the same, its own are not; also for whom one of the two was opened."""
    dim = 200_000
    parties = Parties(made(dim, 2, 2**31 - 1), ("a", "b"))
    material = parties.scheme.sealer("a").to_bytes()
    zeros = np.zeros(dim, dtype=np.int64)
    sums = []
    for _ in range(2):
        parties._sealers["a"] = load_sealer(material, "a")
        update = parties.contribute("a", zeros)
        content = parties.scheme.adder().open_frame(update.sealed)
        sums.append(parties.scheme.parameters.from_words(content[-4 * dim :]))
    # uniform on [0, 2^32), so that its mean is within 5 standard errors; the same masks: all zero
    difference = ((sums[1] - sums[0]) & np.uint64(2**32 - 1)) / 2**32
    assert abs(difference.mean() - 0.5) < 5 * np.sqrt(1 / 12 / dim)
    assert abs(np.mean(difference**2) - 1 / 3) < 5 * np.sqrt(4 / 45 / dim)
    mine = [update, parties.contribute("b", zeros + 3)]
    assert (parties.opener().open(parties.total(mine), mine) == 3).all()


def test_a_restored_machine_that_alone_is_in_two_majorities_reveals_both_of_its_masks() -> None:
    """The leak that is said: of three hospitals two are a majority, and two of them share one."""
    parties = Parties(made(contributors=3), ("a", "b", "c"))
    material = parties.scheme.sealer("a").to_bytes()
    others = [parties.contribute(name, [1, 2, 3]) for name in ("b", "c")]
    stories = []
    for values in ([5, 6, 7], [9, 9, 9]):
        parties._sealers["a"] = load_sealer(material, "a")
        stories.append([parties.contribute("a", values), *others])
    told = []
    for story, name in zip(stories, ("1", "2"), strict=True):
        holders = parties.opener().holders  # the log of "0" was put back in between
        total = parties.total(story)
        commitments = [holders[seat].commit(total, story) for seat in ("0", name)]
        _, parts = holders["0"].answer(total, story, commitments)
        told.append(parts["0"])
    assert len(told[0]) == len(told[1]) == 32 and told[0] != told[1]


def test_a_server_that_tells_two_stories_gets_one_set_of_answers() -> None:
    # It wants "zurich"'s own mask (as a contributor) and its pairs' masks (as a dropout).
    scheme = made()
    parties = Parties(scheme)
    mine = [parties.contribute(n, [1, 2, 3]) for n in parties.names]
    opener = parties.opener()
    with_zurich, without = mine, [c for c in mine if c.hospital != "zurich"]
    totals = parties.total(with_zurich), parties.total(without)
    holders = list(opener.holders.values())
    truth = [h.commit(totals[0], with_zurich) for h in holders[:2]]
    lie = [h.commit(totals[1], without) for h in holders[2:]]
    for holder, commitments in ((holders[0], truth), (holders[2], lie)):
        total, story = (totals[0], with_zurich) if holder is holders[0] else (totals[1], without)
        with pytest.raises(RefusedError, match="2 holders committed to this opening; 3 of 4"):
            holder.answer(total, story, commitments)


def test_a_hospital_that_is_not_in_the_sum_reveals_nothing() -> None:
    scheme = made()
    parties = Parties(scheme)
    late = parties.contribute("cleveland", [1, 2, 3])
    mine = [parties.contribute(n, [1, 2, 3]) for n in parties.names[1:]]
    total = parties.total(mine)
    holders = parties.opener().holders
    commitments = [h.commit(total, mine) for h in holders.values()]
    with pytest.raises(RefusedError, match="Seat 0 is not in this sum"):
        holders["0"].answer(total, mine, commitments)
    assert holders["1"].answer(total, mine, commitments)
    with pytest.raises(RefusedError, match="did not commit"):
        holders["1"].answer(parties.total([late, *mine]), [late, *mine], commitments)


def test_a_masked_update_looks_random() -> None:
    dim = 200_000
    scheme = made(dim, 2, 2**31 - 1)
    content = scheme.adder().open_frame(scheme.sealer("a").seal(np.zeros(dim, dtype=np.int64)))
    uniform = scheme.parameters.from_words(content[38:]) / 2**32
    assert abs(uniform.mean() - 0.5) < 5 * np.sqrt(1 / 12 / dim)


def test_seats_are_bounded_and_an_update_names_a_true_one() -> None:
    scheme = made(contributors=2)
    parties = Parties(scheme, ("a", "b"))
    one = parties.contribute("a", [1, 2, 3])
    parties.contribute("b", [1, 2, 3])
    with pytest.raises(InvalidInputError, match="All 2 seats are taken"):
        scheme.sealer("c")
    with pytest.raises(CorruptMessageError, match="Seat 0 has sent two updates"):
        parties.total([one, one])


def test_roles_survive_serialising_and_an_adder_is_no_opener() -> None:
    scheme = made(contributors=2)
    parties = Parties(scheme, ("a", "b"))
    for name in parties.names:
        parties._sealers[name] = load_sealer(scheme.sealer(name).to_bytes(), name)
    mine = [parties.contribute(n, [5, -6, 7]) for n in parties.names]
    adder = load_adder(scheme.adder().to_bytes())
    for contribution in mine:
        adder.add(contribution.sealed)
    opener = parties.opener()
    for name, holder in scheme.holders(parties.policy()).items():
        opener.replace(name, load_holder(holder.to_bytes(), parties.policy()))
    assert opener.open(adder.total(), mine).tolist() == [10, -12, 14]
    for load in (load_holder, load_opener):
        with pytest.raises(CorruptMessageError, match="expected"):
            load(adder.to_bytes(), parties.policy())
    with pytest.raises(CorruptMessageError, match="not the material"):
        Pairwise.load_sealer(scheme.parameters, b"short", "a")
