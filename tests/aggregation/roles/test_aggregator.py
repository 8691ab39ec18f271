"""The promises of ``aggregation.roles.aggregator``."""

from dataclasses import replace

import numpy as np
import pytest

from aggregation.plan import Plan
from aggregation.roles.aggregator import Aggregator
from aggregation.roles.evidence import Judge
from aggregation.roles.messages import AGGREGATOR, Message, MessageKind, Timer, TimerKind
from aggregation.roles.opener import OpeningAsked
from aggregation.roles.opening import ByOpener
from aggregation.sealing import Contribution, Roster, Scheme, make_scheme
from privacy.errors import CorruptMessageError, RefusedError
from privacy.ledger import SigningKey
from tests.aggregation.parts import HOSPITALS, plan
from tests.aggregation.roles.parts import Witness

KEYS = {hospital: SigningKey.generate() for hospital in HOSPITALS}
ROSTER = Roster("test", {hospital: key.public for hospital, key in KEYS.items()})


def aggregator_of(made: Plan, used: Scheme) -> Aggregator:
    return Aggregator(made, used.adder(), ROSTER, ByOpener(Judge(ROSTER, used.parameters)))


def scheme(made: Plan) -> Scheme:
    return make_scheme("plain", dim=made.model.dim, contributors=3, bound=2**40)


def contribution(
    made: Plan, used: Scheme, hospital: str, value: int, base: int = 0
) -> Contribution:
    values = np.full(made.model.dim, value, dtype=np.int64)
    return Contribution.sign(
        KEYS[hospital],
        used.sealer(hospital).seal(values),
        run=made.run,
        hospital=hospital,
        base_version=base,
        parameters=used.digest,
    )


def test_what_belongs_elsewhere_leaves_the_sum_as_it_was() -> None:
    made = plan()
    used = scheme(made)
    aggregator = aggregator_of(made, used)
    aggregator.receive(contribution(made, used, "north", 1))
    good = contribution(made, used, "east", 10)
    for bad, said in [
        (contribution(made, used, "north", 1), "already"),
        (replace(good, run="another"), "another"),
        (replace(good, base_version=1), "round 1"),
        (replace(good, hospital="nowhere"), "not a hospital"),
    ]:
        with pytest.raises(RefusedError, match=said):
            aggregator.receive(bad)
    with pytest.raises(CorruptMessageError):
        aggregator.receive(replace(good, sealed=good.sealed[:-1]))
    forged = contribution(made, used, "south", 100)
    for bad in (replace(forged, hospital="east"), replace(good, weight=0.5)):
        with pytest.raises(CorruptMessageError, match="signature of 'east' does not fit"):
            aggregator.receive(bad)
    with pytest.raises(RefusedError, match="another run"):
        aggregator.receive(replace(good, parameters="0" * 64))
    assert not aggregator.ready
    elsewhere = replace(good, model="ab" * 32)
    elsewhere = replace(elsewhere, signature=KEYS["east"].sign(elsewhere.statement))
    with pytest.raises(RefusedError, match="on another model than that of round 0"):
        aggregator.receive(elsewhere)
    light = replace(good, weight=0.5)
    light = replace(light, signature=KEYS["east"].sign(light.statement))
    with pytest.raises(RefusedError, match=r"weighed its update by 0\.5; the rule gives it 1\."):
        aggregator.receive(light)
    aggregator.receive(good)
    aggregator.receive(contribution(made, used, "south", 100))
    assert aggregator.ready
    total, parts = aggregator.total()
    again = used.adder()
    for part in parts:
        again.add(part.sealed)
    assert again.total() == total
    assert [p.hospital for p in parts] == ["north", "east", "south"]


def test_the_next_model_depends_on_the_opened_sum_alone() -> None:
    made = plan()
    used = scheme(made)
    opened = np.arange(made.model.dim, dtype=np.int64)
    models = []
    for value in (1, 2):
        aggregator = aggregator_of(made, used)
        for hospital in made.hospitals:
            aggregator.receive(contribution(made, used, hospital, value))
        aggregator.step(opened)
        models.append(aggregator.params)
        assert aggregator.round == 1 and not aggregator.ready
    assert np.array_equal(models[0], models[1])
    assert np.array_equal(models[0], made.advance(made.first_model(), opened))


def test_woken_anew_it_tells_the_last_sum_and_asks_for_what_is_not_there() -> None:
    made = plan()
    used = scheme(made)
    witness = Witness(made, used.parameters)
    members = {hospital: key.public for hospital, key in KEYS.items()}
    roster = Roster("test", members, opener=witness.key.public)
    zeros = np.zeros(made.model.dim, dtype=np.int64)
    told = witness.says(zeros, {})

    def anew(*updates: Message) -> list[Message]:
        judge = Judge(roster, used.parameters)
        aggregator = Aggregator(made, used.adder(), roster, ByOpener(judge))
        aggregator.resume(*(message.payload for message in told))
        aggregator.receive_again(updates)
        said = aggregator.handle(Timer(TimerKind.START))
        assert aggregator.round == 1
        return [message for message in said if isinstance(message, Message)]

    updates = []
    for name in HOSPITALS:
        for base in (0, 1):
            sent = contribution(made, used, name, 1, base)
            updates.append(
                Message(name, AGGREGATOR, MessageKind.UPDATE, base, sent.sealed, sent.public)
            )
    for count, awaited in ((0, HOSPITALS), (2, HOSPITALS[1:]), (4, HOSPITALS[2:])):
        said = anew(*updates[:count], *updates[:count])
        models = [m for m in said if m.kind is MessageKind.MODEL]
        assert [m.receiver for m in models] == list(awaited)
        assert {m.round for m in models} == {1}
        again = [(m.receiver, m.payload) for m in said if m.kind is MessageKind.OPENED]
        assert again == [(name, told[1].payload) for name in HOSPITALS]
        words = [m.payload for m in said if m.kind is MessageKind.EVIDENCE]
        assert words == [told[0].payload] * len(HOSPITALS)
    said = anew(*updates)
    assert said[-1].kind is MessageKind.TOTAL
    assert not any(m.kind is MessageKind.MODEL for m in said)
    number = OpeningAsked.from_bytes(said[-1].payload, contributors=3).place.number
    assert number == 1


def test_an_opened_sum_of_another_shape_is_refused() -> None:
    made = plan()
    used = scheme(made)
    with pytest.raises(CorruptMessageError, match="opened sum"):
        aggregator_of(made, used).step(np.zeros(1, dtype=np.int64))
