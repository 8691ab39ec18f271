"""SRATTA's setting in shape (Marchand et al. 2023), on Adult: who is read off the sums.

Five centres of 100 people, a hidden layer of 1,000, rounds of five updates on batches of eight,
step 1; the server sees sums alone. A person is read where a unit moved for nobody else, one of two
hundred draws a round: that takes units which training has put to sleep, and so large steps. The
authors' inputs are many and positive (60 of DNA's 180 indicators at most, images of up to 3,072), a
step of 1 moves a unit by step times squared norm; on Adult, of squared norm 12, the like of DNA's
45 is a step of 4. They also train 20 times from new weights and pool what they recover. Both are
settings here.
"""

from dataclasses import dataclass

import numpy as np

from aggregation.data.patients import Patients, Schema
from aggregation.models import Perceptron
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.update import draw_batches, noised_update
from attacks.exact.sratta import Sratta
from attacks.knowledge.priors import Prior
from attacks.views import Gradient, GradientView, Knowledge, SumPart
from privacy.mechanisms import Seeded

__all__ = ["Recovered", "recover"]

_CENTRES, _PEOPLE = 5, 100
_TOLERANCE = 0.01


@dataclass(frozen=True)
class Recovered:
    """What was read off the sums of some trainings.

    Attributes:
      right: People recovered to .01 in every column (the authors' tolerance), as a share of all.
      wrong: Records that are nobody's.
      together: Pairs that were said to be of one centre.
      correct: Share of these that are; None without pairs.
    """

    right: float
    wrong: int
    together: int
    correct: float | None


def recover(
    people: Patients,
    schema: Schema,
    *,
    trainings: int,
    seed: int,
    learning_rate: float = 1.0,
    width: int = 1000,
    rounds: int = 20,
) -> Recovered:
    """Train some times on the same centres, pool the sums, and attack them."""
    rng = np.random.default_rng([seed, trainings])
    chosen = people.take(rng.choice(len(people), _CENTRES * _PEOPLE, replace=False))
    names = tuple(f"centre {k + 1}" for k in range(_CENTRES))
    plan = Plan(
        run="sratta",
        model=Perceptron(len(schema), width),
        hospitals=names,
        declared_sizes=(_PEOPLE,) * _CENTRES,
        rounds=rounds,
        learning_rate=learning_rate,
        noise=NoiseKind.NONE,
        scheme="plain",
        clip_norm=None,
        radius=2**24,
        sampling_size=8,
        local_steps=5,
    )
    source, sums = Seeded(seed), []
    for _ in range(trainings):
        params = plan.model.initial(rng)
        for round_ in range(rounds):
            total = np.zeros(plan.model.dim, dtype=np.int64)
            for k, name in enumerate(names):
                centre = chosen.take(np.arange(k * _PEOPLE, (k + 1) * _PEOPLE))
                batches = draw_batches(plan, name, centre, source)
                total += noised_update(plan, name, batches, params, source)
            parts = tuple(SumPart(name, params) for name in names)
            sums.append(Gradient(round_, parts, total, 0.0))
            params = plan.advance(params, total)
    view = GradientView(plan, "server_sealed", Knowledge(), tuple(sums))
    grouped = Sratta().group(view, Prior.from_schema(schema))
    same = np.abs(grouped.records[:, None] - chosen.features[None]).max(axis=2) < _TOLERANCE
    owner = np.where(same.any(axis=1), same.argmax(axis=1) // _PEOPLE, -1)
    first, second = np.triu_indices(len(owner), 1)
    pair = grouped.groups[first] == grouped.groups[second]
    right = owner[first[pair]] == owner[second[pair]]
    return Recovered(
        float(same.any(axis=0).mean()),
        int((owner < 0).sum()),
        int(pair.sum()),
        float(right.mean()) if pair.any() else None,
    )
