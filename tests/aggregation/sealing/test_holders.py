"""Holders commit before they answer, so that no two quorums open overlapping sums."""

from dataclasses import replace

import pytest

from aggregation.sealing import make_scheme
from aggregation.sealing.answers import Answer, Commitment, Witnessed
from aggregation.sealing.holders import Holder
from aggregation.sealing.quorum import HolderSecret, Quorum, require_vouched
from aggregation.sealing.shares import Shares
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.ledger.log import canonical
from tests.aggregation.sealing.parties import Parties


def four() -> tuple[Parties, list[Holder]]:
    scheme = make_scheme("shares", dim=2, contributors=6, bound=1000)
    assert isinstance(scheme, Shares)
    parties = Parties(scheme)
    policy = parties.policy(min_honest=2, c_assumed=1)
    return parties, [scheme.holder(f"holder {i}", policy.fork(f"{i}")) for i in (1, 2, 3, 4)]


def test_no_holder_answers_before_the_threshold_has_committed() -> None:
    parties, holders = four()
    mine = [parties.contribute(n, [1, 2]) for n in parties.names]
    total = parties.total(mine)
    two = [h.commit(total, mine) for h in holders[:2]]
    with pytest.raises(RefusedError, match="2 holders committed to this opening; 3 of 4"):
        holders[0].answer(total, mine, two)
    with pytest.raises(RefusedError, match="2 holders committed"):  # the same one twice
        holders[0].answer(total, mine, [*two, two[0]])
    three = [*two, holders[2].commit(total, mine)]
    assert holders[0].answer(total, mine, three)


def test_a_holder_has_a_plain_name() -> None:
    with pytest.raises(InvalidInputError, match="plain name"):
        Quorum(("a", "b", "../c"), threshold=2, corrupt=0)
    with pytest.raises(InvalidInputError, match="share one file"):
        Quorum(("a", "b", "B"), threshold=2, corrupt=0)


def test_a_forged_commitment_does_not_count() -> None:
    parties, holders = four()
    mine = [parties.contribute(n, [1, 2]) for n in parties.names]
    total = parties.total(mine)
    two = [h.commit(total, mine) for h in holders[:2]]
    stranger = HolderSecret.generate().key
    for forged in (
        replace(two[0], holder="holder 3"),
        Commitment("holder 3", two[0].opening, stranger.sign(b"anything")),
        Commitment("holder 9", two[0].opening, two[0].signature),
    ):
        with pytest.raises(RefusedError, match="2 holders committed"):
            holders[0].answer(total, mine, [*two, forged])


def test_a_holder_answers_only_for_what_it_committed_to() -> None:
    parties, holders = four()
    mine = [parties.contribute(n, [1, 2]) for n in parties.names]
    total = parties.total(mine)
    three = [h.commit(total, mine) for h in holders[:3]]
    with pytest.raises(RefusedError, match="'holder 4' did not commit"):
        holders[3].answer(total, mine, three)
    with pytest.raises(RefusedError, match="'holder 1' did not commit"):
        holders[0].answer(parties.total(mine[:3]), mine[:3], three)


def test_two_quorums_with_overlapping_sets_are_not_given_answers() -> None:
    # A corrupt holder ("holder 4") signs whatever the server likes. The server gives one set to
    # holders 1 and 2 and an overlapping one to holder 3.
    parties, holders = four()
    first = [parties.contribute(n, [1, 2]) for n in parties.names]
    second = [*first[:2], parties.contribute("zurich", [3, 4])]
    totals = parties.total(first), parties.total(second)
    first_commitments = [h.commit(totals[0], first) for h in (holders[0], holders[1])]
    second_commitments = [holders[2].commit(totals[1], second)]
    corrupt = holders[3]
    first_commitments.append(corrupt.commit(totals[0], first))
    corrupt.policy = parties.policy(min_honest=1)  # it forgets what it opened
    second_commitments.append(corrupt.commit(totals[1], second))
    assert holders[0].answer(totals[0], first, first_commitments)
    with pytest.raises(RefusedError, match="2 holders committed"):
        holders[2].answer(totals[1], second, second_commitments)
    for honest in holders[:2]:
        with pytest.raises(RefusedError, match="in a sum opened before"):
            honest.commit(totals[1], second)


def test_what_could_not_be_added_leaves_nothing_of_the_others_behind() -> None:
    parties, holders = four()
    mine = [parties.contribute(n, [1, 2]) for n in parties.names]
    torn = parties.contribute(parties.names[3], [], sealed=mine[0].sealed[:-1])
    with pytest.raises(CorruptMessageError):
        holders[0].try_(parties.total(mine), [*mine[:3], torn])
    assert holders[0].try_(parties.total(mine), mine) == ()


def test_every_kind_of_word_is_signed_in_a_domain_of_its_own() -> None:
    words = (
        Commitment("holder 1", "0" * 64),
        Answer("holder 1", "0" * 64, ("holder 1",), {"0": "0" * 64}),
        Witnessed("holder 1", "run", "zurich", "0" * 32),
    )
    domains = {canonical.decode(word.statement)["domain"] for word in words}
    assert domains == {f"inpatient {kind} v2" for kind in ("commitment", "answer", "witnessed")}


def test_a_second_sum_under_a_number_is_refused_when_it_is_tried() -> None:
    parties, holders = four()
    first, second = ([parties.contribute(n, [1, 2]) for n in parties.names] for _ in range(2))
    holders[0].commit(parties.total(first), first)
    with pytest.raises(RefusedError, match="two sums can't both be that"):
        holders[0].try_(parties.total(second), second)


def test_commitments_to_another_sum_do_not_count() -> None:
    parties, holders = four()
    first, second = ([parties.contribute(n, [1, 2]) for n in parties.names] for _ in range(2))
    totals = parties.total(first), parties.total(second)
    own = holders[0].commit(totals[0], first)
    others = [holder.commit(totals[1], second) for holder in holders[1:]]
    with pytest.raises(RefusedError, match="1 holders committed to this opening"):
        holders[0].answer(totals[0], first, [own, *others])


def test_each_holder_checks_the_sum_itself() -> None:
    parties, holders = four()
    mine = [parties.contribute(n, [1, 2]) for n in parties.names]
    with pytest.raises(RefusedError, match="not the sum"):
        holders[0].commit(parties.total(mine[:1]), mine)
    with pytest.raises(RefusedError, match="distinct hospitals"):
        holders[0].commit(parties.total(mine[:1]), mine[:1])


@pytest.mark.parametrize(
    ("holders", "threshold", "corrupt", "safe"),
    [
        (4, 3, 1, True),
        (3, 2, 0, True),
        (3, 3, 2, True),
        (1, 1, 0, True),
        (3, 2, 1, False),  # two quorums share one holder, and it is corrupt
        (4, 2, 0, False),  # two disjoint quorums
        (3, 1, 1, False),  # one corrupt holder opens alone
        (2, 3, 0, False),
    ],
)
def test_an_unsafe_quorum_is_refused(
    holders: int, threshold: int, corrupt: int, safe: bool
) -> None:
    names = tuple(f"k{i}" for i in range(holders))
    if safe:
        assert Quorum(names, threshold, corrupt).threshold == threshold
    else:
        with pytest.raises(InvalidInputError):
            Quorum(names, threshold, corrupt)
    with pytest.raises(InvalidInputError, match="distinct"):
        Quorum((*names, "k0"), threshold, corrupt)


@pytest.mark.parametrize("copies", [1, 2])
def test_each_piece_is_answered_for_by_those_present_who_have_it(copies: int) -> None:
    quorum = Quorum(("a", "b", "c", "d", "e"), 4, 1)
    for present in (("a", "b", "c", "d"), ("e", "c", "b", "a"), quorum.names):
        for piece, names in enumerate(quorum.answered_by(present, copies)):
            have = [n for n in quorum.names if n in present and piece in quorum.held_by(n)]
            assert names == tuple(have[:copies]) and names
    whole = quorum.answered_by(quorum.names, 2)
    assert all(len(names) == 2 for names in whole)  # of each piece: a lie of one is seen


def test_a_voucher_is_for_one_run_one_holder_and_both_of_its_keys() -> None:
    scheme = make_scheme("shares", dim=2, contributors=4, bound=100)
    assert isinstance(scheme, Shares)
    members = {name: HolderSecret.generate().key for name in "abcd"}
    known = {name: key.public for name, key in members.items()}
    made = scheme.vouched("run", members).parameters
    require_vouched(made, scheme.label, "run", known)
    keys, vouched = made.settings["keys"], made.settings["vouched"]
    one, two = keys["holder 1"], keys["holder 2"]
    swapped = {**vouched, "holder 1": vouched["holder 2"], "holder 2": vouched["holder 1"]}
    for run, changes in [
        ("another", {}),
        ("run", {"keys": {**keys, "holder 1": {**one, "box": two["box"]}}}),
        ("run", {"keys": {**keys, "holder 1": {**one, "sign": two["sign"]}}}),
        ("run", {"keys": {**keys, "holder 1": two, "holder 2": one}, "vouched": swapped}),
    ]:
        other = replace(made, settings={**made.settings, **changes})
        with pytest.raises(RefusedError, match="No member of the roster of its own vouches"):
            require_vouched(other, scheme.label, run, known)
