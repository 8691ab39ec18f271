"""Who is in a roster, who may join it, and under which key."""

from dataclasses import replace

import pytest

from aggregation.sealing import (
    Contribution,
    Enrolment,
    Roster,
)
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.ledger.log.keys import SigningKey
from tests.aggregation.sealing.parties import (
    RUN,
    Parties,
    contributions,
    key_of,
    opener,
    opener_of,
)


def test_a_hospital_that_the_server_invented_is_refused(parties: Parties) -> None:
    invented = [parties.contribute(f"sybil {i}", [0, 0, 0]) for i in range(3)]
    mine = [parties.contribute(parties.names[0], [1, 2, 3]), *invented]
    with pytest.raises(RefusedError, match="'sybil 0' is not enrolled"):
        opener(parties).open(parties.total(mine), mine)


def test_a_newcomer_needs_the_signatures_of_most_members(parties: Parties) -> None:
    roster = parties.policy().roster
    key = SigningKey.generate()
    members = {n: key_of(n) for n in parties.names[:2]}
    with pytest.raises(RefusedError, match="has 2 valid signatures of members; 3 of 4"):
        roster.enrol(Enrolment.vouched(RUN, "lausanne", key.public, members))
    imposters = {n: SigningKey.generate() for n in parties.names}
    with pytest.raises(RefusedError, match="has 0 valid signatures"):
        roster.enrol(Enrolment.vouched(RUN, "lausanne", key.public, imposters))
    members = {n: key_of(n) for n in parties.names[:3]}
    with pytest.raises(RefusedError, match="for run 'other'"):
        roster.enrol(Enrolment.vouched("other", "lausanne", key.public, members))
    roster.enrol(Enrolment.vouched(RUN, "lausanne", key.public, members))
    assert roster.keys["lausanne"] == key.public


def test_a_voucher_is_for_one_run_one_hospital_and_one_key_and_from_a_member(
    parties: Parties,
) -> None:
    roster, key = parties.policy().roster, SigningKey.generate()
    members = {n: key_of(n) for n in parties.names}
    right = Enrolment.vouched(RUN, "lausanne", key.public, members)
    for wrong in (
        replace(Enrolment.vouched("other", "lausanne", key.public, members), run=RUN),
        replace(right, hospital="geneva"),
        replace(right, public_key=SigningKey.generate().public),
        Enrolment.vouched(RUN, "lausanne", key.public, {f"{n} 2": key for n in parties.names}),
    ):
        with pytest.raises(RefusedError, match="has 0 valid signatures of members"):
            roster.enrol(wrong)
    roster.enrol(right)


def test_newcomers_do_not_vouch_a_majority_into_being() -> None:
    # Two colluding members of four can't enrol anybody; the threshold grows with the roster.
    names = ("a", "b", "c", "d")
    roster = Roster(RUN, {n: key_of(n).public for n in names})
    colluders = {n: key_of(n) for n in names[:2]}
    with pytest.raises(RefusedError):
        roster.enrol(Enrolment.vouched(RUN, "e", SigningKey.generate().public, colluders))
    assert roster.vouchers == 3


def test_a_rotated_key_counts_and_the_old_one_no_more(parties: Parties) -> None:
    policy = parties.policy(min_honest=3, c_assumed=1)
    name, new = parties.names[0], SigningKey.generate()
    others = {n: key_of(n) for n in parties.names[1:]}
    with pytest.raises(RefusedError, match="present key has not signed"):
        policy.roster.enrol(Enrolment.vouched(RUN, name, new.public, others))
    everyone = {n: key_of(n) for n in parties.names}
    policy.roster.enrol(Enrolment.vouched(RUN, name, new.public, everyone))
    role = opener_of(parties.scheme, policy)
    old = contributions(parties)
    with pytest.raises(CorruptMessageError, match=f"signature of '{name}'"):
        role.open(parties.total(old), old)
    sealed = parties.seal(name, [1, 2, 3])
    fresh = Contribution.sign(
        new, sealed, run=RUN, hospital=name, base_version=0, parameters=parties.scheme.digest
    )
    mine = [fresh, *old[1:]]
    assert role.open(parties.total(mine), mine).tolist() == [4, 8, 12]


def test_two_hospitals_may_not_share_a_key(parties: Parties) -> None:
    roster = parties.policy().roster
    taken = key_of(parties.names[0]).public
    everyone = {n: key_of(n) for n in parties.names}
    with pytest.raises(RefusedError, match="is in use"):
        roster.enrol(Enrolment.vouched(RUN, "lausanne", taken, everyone))
    with pytest.raises(InvalidInputError, match="Two founding hospitals"):
        Roster(RUN, {"a": taken, "b": taken})
    with pytest.raises(InvalidInputError, match="at least one"):
        Roster(RUN, {})


@pytest.mark.parametrize("name", ["../../evil", "Cleveland", "a\nb", ""])
def test_a_newcomer_has_a_name_of_its_own_that_can_be_a_file(parties: Parties, name: str) -> None:
    roster = parties.policy().roster
    everyone = {n: key_of(n) for n in parties.names}
    with pytest.raises(InvalidInputError):
        roster.enrol(Enrolment.vouched(RUN, name, SigningKey.generate().public, everyone))
    assert set(roster.keys) == set(parties.names)
    with pytest.raises(InvalidInputError):
        Roster(RUN, {"cleveland": key_of("a").public, name: key_of("b").public})


def test_an_old_key_is_no_voucher_of_its_own_successor() -> None:
    keys = {name: SigningKey.generate() for name in ("a", "b", "c")}
    roster = Roster("run", {name: key.public for name, key in keys.items()})
    new = SigningKey.generate().public
    assert roster.vouchers == 2
    one = Enrolment.vouched("run", "a", new, {name: keys[name] for name in ("a", "b")})
    with pytest.raises(RefusedError, match="1 valid signatures of members; 2 of 3"):
        roster.enrol(one)
    roster.enrol(Enrolment.vouched("run", "a", new, keys))
    assert roster.keys["a"] == new
