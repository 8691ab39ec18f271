"""The promises of ``aggregation.roles.aggregator``."""

from dataclasses import replace

import numpy as np
import pytest

from aggregation.plan import Plan
from aggregation.roles.aggregator import Aggregator
from aggregation.roles.evidence import Judge
from aggregation.roles.opening import ByOpener
from aggregation.sealing import Contribution, Roster, Scheme, make_scheme
from privacy.errors import CorruptMessageError, RefusedError
from privacy.ledger import SigningKey
from tests.aggregation.parts import HOSPITALS, plan

KEYS = {hospital: SigningKey.generate() for hospital in HOSPITALS}
ROSTER = Roster("test", {hospital: key.public for hospital, key in KEYS.items()})


def aggregator_of(made: Plan, used: Scheme) -> Aggregator:
    return Aggregator(made, used.adder(), ROSTER, ByOpener(Judge(ROSTER, used.parameters)))


def scheme(made: Plan) -> Scheme:
    return make_scheme("plain", dim=made.model.dim, contributors=3, bound=2**40)


def contribution(made: Plan, used: Scheme, hospital: str, value: int) -> Contribution:
    values = np.full(made.model.dim, value, dtype=np.int64)
    return Contribution.sign(
        KEYS[hospital],
        used.sealer(hospital).seal(values),
        run=made.run,
        hospital=hospital,
        base_version=0,
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


def test_an_opened_sum_of_another_shape_is_refused() -> None:
    made = plan()
    used = scheme(made)
    with pytest.raises(CorruptMessageError, match="opened sum"):
        aggregator_of(made, used).step(np.zeros(1, dtype=np.int64))
