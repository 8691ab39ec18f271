"""Each forged sum bares a hospital's update to a careless opener, and is refused by ours."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aggregation.sealing import Adder, Contribution, Opener, make_scheme
from privacy.errors import InvalidInputError, RefusedError
from privacy.ledger import SigningKey
from tests.aggregation.sealing.forged_sums import (
    Open,
    difference_of_two_sums,
    lattice_of_weights,
    lone_update,
    replay,
    sybils,
)
from tests.aggregation.sealing.parties import RUN, Parties, opener_of

VICTIM = 2
SECRET = [3, -7, 5]


@pytest.fixture(params=["plain", "bfv"])
def parties(request: pytest.FixtureRequest) -> Parties:
    return Parties(make_scheme(request.param, dim=3, contributors=64, bound=100_000))


def contributions(parties: Parties) -> list[Contribution]:
    vectors = [[10, 20, 30], [1, 1, 1], SECRET, [-40, 8, 2]]
    return [parties.contribute(n, v) for n, v in zip(parties.names, vectors, strict=True)]


def careless(role: Opener) -> Open:
    """A key holder that decrypts whatever it is handed."""

    def open_(total: bytes, said: Sequence[Contribution]) -> NDArray[np.int64]:
        return role.parameters.centre(role._open(total, said))

    return open_


def invent(parties: Parties) -> Callable[[str], Contribution]:
    def made_up(name: str) -> Contribution:
        sealed = parties.scheme.sealer(name).seal(np.zeros(3, dtype=np.int64))
        return Contribution.sign(
            SigningKey.generate(),
            sealed,
            run=RUN,
            hospital=name,
            base_version=0,
            parameters=parties.scheme.digest,
        )

    return made_up


ATTACKS: dict[str, tuple[Callable[[Open, Adder, Parties], Any], str]] = {
    "lone": (
        lambda o, a, p: lone_update(o, a, contributions(p), victim=VICTIM),
        "not the sum of the signed contributions",
    ),
    "difference": (
        lambda o, a, p: difference_of_two_sums(o, a, contributions(p), victim=VICTIM),
        "in a sum opened before",
    ),
    "lattice": (
        lambda o, a, p: lattice_of_weights(o, a, contributions(p), victim=VICTIM, weight=16),
        "not the sum of the signed contributions, each with weight 1",
    ),
    "sybils": (
        lambda o, a, p: sybils(o, a, contributions(p)[VICTIM], invent(p), hospitals=4),
        "'sybil 0' is not enrolled",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_it_wins_against_a_careless_opener_and_is_refused_by_ours(
    parties: Parties, name: str
) -> None:
    attack, reason = ATTACKS[name]
    adder = parties.scheme.adder()
    role = opener_of(parties.scheme, parties.policy(min_honest=2, c_assumed=1))
    assert attack(careless(role), adder, parties).tolist() == SECRET
    with pytest.raises(RefusedError, match=reason):
        attack(role.open, adder, parties)


def test_a_replay_is_answered_by_a_careless_opener_and_refused_by_ours(parties: Parties) -> None:
    adder, mine = parties.scheme.adder(), contributions(parties)
    role = opener_of(parties.scheme, parties.policy(min_honest=3, c_assumed=1))
    first, second = replay(careless(role), adder, mine)
    assert first.tolist() == second.tolist() == [-26, 22, 38]
    with pytest.raises(RefusedError, match="in a sum opened before"):
        replay(role.open, adder, mine)


def test_a_weight_of_one_is_no_lattice(parties: Parties) -> None:
    role = parties.opener()
    with pytest.raises(InvalidInputError, match="weight=1 >= 2"):
        lattice_of_weights(
            role.open, parties.scheme.adder(), contributions(parties), victim=0, weight=1
        )
