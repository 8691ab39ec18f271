"""A replay is what hospitals send, bit for bit, under every rule; or it is refused."""

import numpy as np
import pytest

from aggregation.models import Logistic
from aggregation.rules import FedSGD, Importance, LogitAdjustment, Rule
from attacks.knowledge.replay import integer_rows
from privacy.errors import RefusedError
from tests.attacks.runs import SCHEMA, cohort, run

PREVALENCES = {"north": 0.2, "east": 0.4, "south": 0.6, "west": 0.8}
WEIGHING = (Importance(prevalences=PREVALENCES, target=0.5), LogitAdjustment(PREVALENCES))


@pytest.mark.parametrize("rule", [FedSGD(), *WEIGHING], ids=lambda rule: rule.kind)
@pytest.mark.parametrize("clip_norm", [None, 3.0])
def test_a_replay_gives_what_each_hospital_sent(rule: Rule, clip_norm: float | None) -> None:
    made = run(3, model=Logistic(len(SCHEMA)), clip_norm=clip_norm, rule=rule)
    (first, *_) = made.view("server_plain").gradients
    for hospital in made.plan.hospitals:
        (batch,) = made.drawn[hospital][0]
        people = (made.plan, first.params, batch.features, batch.outcomes)
        rows = integer_rows(*people, hospital=hospital)
        assert rows.sum(axis=0).tolist() == made.sent[hospital][0].tolist()
        if not rule.weighs_records:
            assert integer_rows(*people).tolist() == rows.tolist()
    if rule.weighs_records:
        with pytest.raises(RefusedError, match="without knowing for which hospital"):
            integer_rows(*people)
        one = cohort(3)["north"]
        north, west = (
            integer_rows(made.plan, first.params, one.features, one.outcomes, hospital=name)
            for name in ("north", "west")
        )
        assert not np.array_equal(north, west)
