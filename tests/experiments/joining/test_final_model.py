"""The fastest engine gives the bits of the federation of roles."""

import math

import numpy as np
import pytest

from aggregation.federation import Federation
from aggregation.models import Logistic
from aggregation.rules import FedSGD
from experiments.studies.design import Design, TrainingSetting, make_plan
from experiments.studies.final_model import final_model
from tests.aggregation.parts import patients


@pytest.mark.parametrize(
    ("design", "epsilon", "sampled"),
    [
        (Design.SEALED, 1.0, None),
        (Design.SEALED, math.inf, None),
        (Design.LOCAL, 1.0, None),
        (Design.NONE, math.inf, None),
        (Design.ARTICLE, 1.0, None),
        (Design.SEALED, 1.0, 4),
    ],
)
@pytest.mark.parametrize("scheme", ["plain", "shares"])
def test_every_design_ends_with_the_federations_bits(
    design: Design, epsilon: float, sampled: int | None, scheme: str
) -> None:
    if scheme == "shares" and design is not Design.SEALED:
        scheme = "plain"
    cohort = {f"h{k}": patients(k, 6 + k) for k in range(5)}
    features = next(iter(cohort.values())).features.shape[1]
    plan = make_plan(
        run="bits", design=design, epsilon=epsilon, model=Logistic(features),
        setting=TrainingSetting(4, 1.0, 0.5, 2, sampled), patients=cohort, scheme=scheme,
    )  # fmt: skip
    assert isinstance(plan.used_rule, FedSGD)
    mine = final_model(plan, cohort, seed=(3, 1))
    theirs = Federation.simulated(plan, cohort, seed=(3, 1)).run().params
    assert mine.tobytes() == theirs.tobytes() and np.abs(mine).max() > 0
