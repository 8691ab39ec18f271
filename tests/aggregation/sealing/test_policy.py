"""What an opener refuses, each with its reason, and what it writes down."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregation.sealing import (
    Contribution,
    OpeningLog,
    Policy,
    Roster,
    make_scheme,
)
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.ledger.log.canonical import digest, encode
from privacy.ledger.log.heads import Head
from tests.aggregation.sealing.parties import (
    RUN,
    Parties,
    contributions,
    head_of,
    key_of,
    opener,
    opener_of,
)

OTHER = head_of("cleveland", 9)


def test_a_sum_of_enough_hospitals_is_opened_and_recorded(parties: Parties) -> None:
    mine = contributions(parties)
    policy = parties.policy(min_honest=3, c_assumed=1)
    opened = opener_of(parties.scheme, policy).open(parties.total(mine), mine)
    assert opened.tolist() == [4, 8, 12]
    (entry,) = policy.log.openings
    assert entry.hospitals == parties.names
    assert entry.nonces == tuple(c.nonce for c in mine)
    assert entry.ciphertexts == tuple(c.ciphertext for c in mine)
    assert entry.parameters == parties.scheme.digest


def test_a_single_ciphertext_passed_off_as_a_sum_is_refused(parties: Parties) -> None:
    # Valid signatures of all four are attached; the "total" is one hospital's update alone.
    mine = contributions(parties)
    alone = parties.total(mine[:1])
    role = opener(parties)
    with pytest.raises(RefusedError, match="not the sum of the signed contributions"):
        role.open(alone, mine)
    assert len(role.policy.log) == 0
    torn = parties.contribute(parties.names[3], [], sealed=mine[3].sealed[:-1])
    with pytest.raises(CorruptMessageError):
        role.open(parties.total(mine), [*mine[:3], torn])
    assert role.open(parties.total(mine), mine).tolist() == [4, 8, 12]  # nothing is left of it


def test_too_few_distinct_hospitals_are_refused(parties: Parties) -> None:
    three = contributions(parties, parties.names[:3])
    twice = [*three, parties.contribute(parties.names[0], [1, 2, 3])]
    for few in (three, twice, three[:1], []):
        with pytest.raises(RefusedError, match="distinct hospitals; 4 are needed"):
            opener(parties, repeats=2).open(parties.total(few or three), few)


def test_a_hospital_twice_in_one_sum_is_refused_unless_the_noise_was_sized_for_it(
    parties: Parties,
) -> None:
    mine = [*contributions(parties), parties.contribute(parties.names[0], [1, 2, 3])]
    total = parties.total(mine)
    role = opener(parties)
    with pytest.raises(RefusedError, match="is in this sum 2 times; its noise was sized for 1"):
        role.open(total, mine)
    assert len(role.policy.log) == 0
    assert opener(parties, repeats=2).open(total, mine).tolist() == [5, 10, 15]
    thrice = [*mine, parties.contribute(parties.names[0], [1, 2, 3])]
    with pytest.raises(RefusedError, match="3 times; its noise was sized for 2"):
        opener(parties, repeats=2).open(parties.total(thrice), thrice)
    with pytest.raises(InvalidInputError, match="repeats=0"):
        parties.policy(repeats=0)


def test_each_holder_keeps_the_bound_on_repeats() -> None:
    shared = Parties(make_scheme("shares", dim=3, contributors=6, bound=1000))
    mine = [*contributions(shared), shared.contribute(shared.names[0], [1, 2, 3])]
    allowing = shared.opener(repeats=2)
    assert allowing.open(shared.total(mine), mine).tolist() == [5, 10, 15]
    assert shared.policy(repeats=2).fork("holder 1").repeats == 2
    with pytest.raises(RefusedError, match="2 times"):
        shared.policy().fork("holder 1").check(mine, shared.scheme.parameters)


def test_one_contribution_in_two_sums_is_refused(parties: Parties) -> None:
    role = opener(parties, min_honest=2)
    first = contributions(parties)
    role.open(parties.total(first[:3]), first[:3])
    overlapping = [first[0], *contributions(parties, parties.names[1:])]
    with pytest.raises(RefusedError, match="in a sum opened before"):
        role.open(parties.total(overlapping), overlapping)


def test_a_replayed_sum_is_refused(parties: Parties) -> None:
    role = opener(parties)
    mine = contributions(parties)
    total = parties.total(mine)
    role.open(total, mine)
    with pytest.raises(RefusedError, match="in a sum opened before"):
        role.open(total, mine)


def test_who_repeats_anothers_nonce_shuts_nobody_out(parties: Parties) -> None:
    mine = contributions(parties)
    used = parties.contribute(parties.names[0], [9, 9, 9], nonce=mine[1].nonce)
    who_opens = opener(parties)
    assert who_opens.open(parties.total([used, *mine[1:]]), [used, *mine[1:]]).shape == (3,)
    other = [parties.contribute(n, [1, 2, 3]) for n in parties.names]
    other[1] = parties.contribute(parties.names[1], [1, 2, 3], nonce=other[0].nonce)
    assert who_opens.open(parties.total(other), other).tolist() == [4, 8, 12]
    again = parties.contribute(parties.names[1], [1, 2, 3], nonce=other[0].nonce)
    with pytest.raises(RefusedError, match="in a sum opened before"):
        who_opens.open(parties.total([again, *mine[2:]]), [again, *mine[2:]])


def test_a_contribution_twice_in_one_sum_is_refused(parties: Parties) -> None:
    mine = contributions(parties)
    doubled = [*mine, mine[0]]
    with pytest.raises(RefusedError, match="more than once"):
        opener(parties).open(parties.total(doubled), doubled)


def test_a_weight_at_the_server_is_refused_at_the_adder_and_at_the_opener(
    parties: Parties,
) -> None:
    mine = contributions(parties)
    adder = parties.scheme.adder()
    with pytest.raises(RefusedError, match="only 1 is accepted"):
        adder.add(mine[0].sealed, weight=4.0)
    for contribution in [mine[0], *mine]:  # weight 2 by adding twice
        adder.add(contribution.sealed)
    with pytest.raises(RefusedError, match="weight 1"):
        opener(parties).open(adder.total(), mine)


@pytest.mark.parametrize(
    "change",
    [
        {"weight": 4.0},
        {"base_version": 7},
        {"nonce": "00" * 16},
        {"hospital": "zurich"},
        {"head": OTHER.to_json(), "ledger_head": digest(OTHER.note)},
        {"sealed": "of another hospital"},
    ],
)
def test_a_changed_contribution_is_refused(parties: Parties, change: dict[str, Any]) -> None:
    mine = [parties.contribute(n, [i, 2, 3]) for i, n in enumerate(parties.names)]
    public = {**mine[0].public, **{k: v for k, v in change.items() if k != "sealed"}}
    if "head" in change:
        public["head"] = encode(change["head"]).decode()
    sealed = mine[1].sealed if "sealed" in change else mine[0].sealed
    forged = [Contribution.from_message(sealed, public), *mine[1:]]
    with pytest.raises(CorruptMessageError, match="does not fit its contribution"):
        opener(parties).open(parties.total(forged), forged)


def test_a_contribution_of_another_run_is_refused(parties: Parties) -> None:
    mine = contributions(parties)
    mine[0] = parties.contribute(parties.names[0], [1, 2, 3], run="another")
    with pytest.raises(RefusedError, match="signed for run 'another'"):
        opener(parties).open(parties.total(mine), mine)


def test_a_contribution_under_another_key_is_refused(parties: Parties) -> None:
    other = Parties(make_scheme(parties.scheme.parameters.scheme, dim=3, contributors=5, bound=99))
    mine = contributions(parties)
    foreign = [other.contribute(parties.names[0], [1, 2, 3]), *mine[1:]]
    with pytest.raises(RefusedError, match="parameters or a key of another run"):
        opener(parties).open(parties.total(mine), foreign)
    with pytest.raises(CorruptMessageError, match="parameters or a key of another run"):
        parties.total(foreign)
    mislabelled = [
        parties.contribute(parties.names[0], [], sealed=foreign[0].sealed),
        *mine[1:],
    ]
    with pytest.raises(CorruptMessageError, match="parameters or a key of another run"):
        opener(parties).open(parties.total(mine), mislabelled)


def test_more_contributions_than_the_parameters_hold_are_refused(parties: Parties) -> None:
    mine = [parties.contribute(parties.names[i % 4], [1, 2, 3]) for i in range(7)]
    with pytest.raises(RefusedError, match="at most 6"):
        opener(parties).open(b"", mine)
    with pytest.raises(RefusedError, match="6 updates are in this sum"):
        parties.total(mine)


def test_a_refused_sum_can_be_opened_once_it_is_right(parties: Parties) -> None:
    role = opener(parties)
    mine = contributions(parties)
    with pytest.raises(RefusedError):
        role.open(parties.total(mine[:1]), mine)
    assert role.open(parties.total(mine), mine).tolist() == [4, 8, 12]


def test_a_key_is_rotated_after_its_openings(parties: Parties) -> None:
    role = opener(parties, openings_per_key=1)
    mine = contributions(parties)
    role.open(parties.total(mine), mine)
    again = contributions(parties)
    with pytest.raises(RefusedError, match="Make a new key"):
        role.open(parties.total(again), again)
    with pytest.raises(RefusedError, match="Make a new key"):  # said before anybody commits
        role.policy.check(again, parties.scheme.parameters)
    fresh = Parties(make_scheme(parties.scheme.parameters.scheme, dim=3, contributors=7, bound=9))
    fresh._versions = parties._versions
    anew = contributions(fresh)
    rotated = opener_of(fresh.scheme, role.policy)  # the same policy: what it opened stays opened
    assert rotated.open(fresh.total(anew), anew).tolist() == [4, 8, 12]


def test_a_ledger_head_can_be_demanded(parties: Parties) -> None:
    mine = contributions(parties)
    with pytest.raises(RefusedError, match="names no ledger head"):
        opener(parties, require_ledger_head=True).open(parties.total(mine), mine)
    paid = [parties.contribute(n, [1, 2, 3], head=head_of(n, 5)) for n in parties.names]
    role = opener(parties, require_ledger_head=True)
    assert role.open(parties.total(paid), paid).tolist() == [4, 8, 12]
    other = head_of(parties.names[1], 5)
    # Under another's name it would shut that one out: what was seen of it is kept by name.
    under = Head.sign(key_of(parties.names[0]), parties.names[1], "ab" * 32, 900, "cd" * 32)
    wrongs = (other, replace(head_of(parties.names[0], 5), signature=other.signature), under)
    for wrong in wrongs:
        foreign = [parties.contribute(parties.names[0], [1, 2, 3], head=wrong), *paid[1:]]
        with pytest.raises(CorruptMessageError, match="comes with a ledger head that"):
            opener(parties).open(parties.total(foreign), foreign)


def test_updates_on_different_models_are_not_summed(parties: Parties) -> None:
    mine = [
        parties.contribute(n, [1, 2, 3], base_version=7, model=model * 32)
        for n, model in zip(parties.names, ("ab", "ab", "cd", "ab"), strict=True)
    ]
    with pytest.raises(RefusedError, match=r"'cleveland' and 'zurich' have computed .* version 7"):
        opener(parties).open(parties.total(mine), mine)
    apart = [*mine[:2], parties.contribute("zurich", [1, 2, 3], base_version=8, model="cd" * 32)]
    assert opener(parties, min_honest=2).open(parties.total(apart), apart).tolist() == [3, 6, 9]


def test_two_copies_in_one_sum_are_refused_and_a_holder_keeps_every_rule(parties: Parties) -> None:
    policy = parties.policy(openings_per_key=7, c_assumed=1)
    mine = contributions(parties)
    mine[1] = parties.contribute(parties.names[1], [1, 2, 3], sealed=mine[0].sealed)
    with pytest.raises(RefusedError, match="a copy of another"):
        policy.check(mine, parties.scheme.parameters)
    assert policy.fork("zurich").openings_per_key == 7
    assert policy.fork("zurich").c_assumed == 1


def test_one_upload_of_a_version_is_opened_under_whatever_nonce(parties: Parties) -> None:
    role = opener(parties)
    mine = contributions(parties)
    role.open(parties.total(mine), mine)
    first = mine[0]
    twin = parties.contribute(first.hospital, [1, 2, 3], base_version=first.base_version)
    other = [twin, *contributions(parties)[1:]]
    with pytest.raises(RefusedError, match="Another upload of cleveland on version"):
        role.open(parties.total(other), other)


@pytest.mark.parametrize("name", ["../evil", "a/b", "a\0b", ".."])
def test_a_holders_log_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    log = OpeningLog(tmp_path / "run" / "openings.jsonl")
    for forked in (log, OpeningLog()):
        with pytest.raises(InvalidInputError, match="plain name"):
            forked.fork(name)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


# The record


def test_the_log_survives_a_restart_and_still_refuses_replays(
    parties: Parties, tmp_path: Path
) -> None:
    path = tmp_path / "openings.jsonl"
    mine = contributions(parties)
    total = parties.total(mine)
    opener(parties, log=OpeningLog(path)).open(total, mine)
    restarted = OpeningLog(path)
    assert len(restarted) == 1
    with pytest.raises(RefusedError, match="in a sum opened before"):
        opener(parties, log=restarted).open(total, mine)
    again = contributions(parties)
    opener(parties, log=restarted).open(parties.total(again), again)
    assert [o.number for o in OpeningLog(path).openings] == [0, 1]


@pytest.mark.parametrize("damage", ["remove", "change", "garble", "number"])
def test_a_log_that_was_changed_is_refused(parties: Parties, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "openings.jsonl"
    role = opener(parties, log=OpeningLog(path))
    for _ in range(2):
        mine = contributions(parties)
        role.open(parties.total(mine), mine)
    first, second = path.read_bytes().splitlines()
    path.write_bytes(
        {
            "remove": second,
            "change": first.replace(b"zurich", b"vienna") + b"\n" + second,
            "garble": first[:-5] + b"\n" + second,
            "number": b'{"number":0}\n' + second,
        }[damage]
        + b"\n"
    )
    with pytest.raises(CorruptMessageError, match="opening log"):
        OpeningLog(path)


class _CrashError(Exception):
    pass


def test_an_opening_is_written_before_the_secret_is_used(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = opener(parties)
    mine = contributions(parties)

    def crash(*_: object) -> np.ndarray:
        raise _CrashError

    monkeypatch.setattr(role, "_open", crash)
    with pytest.raises(_CrashError):
        role.open(parties.total(mine), mine)
    monkeypatch.undo()
    with pytest.raises(RefusedError, match="in a sum opened before"):
        role.open(parties.total(mine), mine)


def test_a_policy_needs_sensible_rules(parties: Parties) -> None:
    roster = Roster(RUN, {"a": key_of("a").public})
    with pytest.raises(InvalidInputError, match="min_honest=0"):
        Policy(roster, min_honest=0, c_assumed=0)
    with pytest.raises(InvalidInputError, match="c_assumed=-1"):
        Policy(roster, min_honest=1, c_assumed=-1)
