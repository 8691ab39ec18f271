"""A hunt for false certificates: batches that are hard in different ways, and who was in them.

A third of the batches holds near-twins, alike but for one number by a grid step or two and,
perhaps, the outcome; half are clipped and rounded coarsely; a tenth walked several local steps,
after which nothing may be certified at all. Networks are untrained and of several widths. On
demand the clients scale their losses, and a third of the batches holds the same patient twice.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aggregation.data.patients import Patients, Schema
from aggregation.models import Perceptron
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.update import noised_update
from attacks.exact.scale import ScaledLoss
from attacks.knowledge.priors import Prior
from attacks.scoring import score
from attacks.suite import Attack
from attacks.views import Gradient, GradientView, Knowledge, SumPart
from privacy.mechanisms import Seeded

__all__ = ["Hunt", "hunt", "with_twins"]

_WIDTHS = (20, 64, 100)


@dataclass(frozen=True)
class Hunt:
    """What a hunt found.

    Attributes:
      batches: How many were attacked.
      certified: Certificates, in all.
      false: Certificates of records that nobody in the batch has.
      spoilt: Batches with a false certificate, or of several steps with any.
    """

    batches: int
    certified: int
    false: int
    spoilt: int


def hunt(
    attack: Attack,
    pool: Patients,
    schema: Schema,
    *,
    batches: int,
    largest: int,
    seed: int,
    scaled: bool = False,
) -> Hunt:
    """Attack batches of up to ``largest`` patients, and half as many twins.

    Args:
      attack: Whose certificates are judged.
      pool: Patients to draw from.
      schema: Theirs.
      batches: How many.
      largest: Patients of a batch, before twins.
      seed: Of all draws.
      scaled: Whether losses are scaled, by a factor that the attack is not told, and some patients
        are there twice.
    """
    rng = np.random.default_rng(seed)
    prior = Prior.from_schema(schema)
    certified = false = spoilt = 0
    for batch in range(batches):
        people = pool.take(rng.choice(len(pool), int(rng.integers(1, largest + 1)), replace=False))
        if batch % 3 == 0:
            people = with_twins(people, schema, rng)
        if scaled and batch % 3 == 1:
            people = people.take(np.concatenate([np.arange(len(people)), [0]]))
        walked = batch % 10 == 9
        scale = _scale(len(people), rng) if scaled else 1.0
        view = _view(people, schema, rng, walked=walked, seed=batch, scale=scale)
        scored = score(attack.reconstruct(view, prior), people.features, prior, rng, draws=1)
        certified += scored.certified
        false += scored.false_certificates
        spoilt += bool(scored.false_certificates or (walked and scored.certified))
    return Hunt(batches, certified, false, spoilt)


def _scale(people: int, rng: np.random.Generator) -> float:
    """One half, one over the batch, a share of many, or any number."""
    share = rng.integers(1, 300) / rng.integers(300, 2000)
    return float(rng.choice([0.5, 1 / people, share, rng.uniform(0.01, 2.0)]))


def with_twins(people: Patients, schema: Schema, rng: np.random.Generator) -> Patients:
    """Add twins of half of the patients, alike but for one number by a grid step or two."""
    twins = people.features[: len(people) // 2 + 1].copy()
    numeric = [i for i, c in enumerate(schema.columns) if not c.binary and c.group is None]
    column = int(rng.choice(numeric))
    grid = schema.columns[column].step / schema.columns[column].sd
    twins[:, column] += rng.choice([-2, -1, 1, 2]) * grid
    return Patients(
        np.concatenate([people.features, twins]),
        np.concatenate([people.outcomes, rng.integers(0, 2, len(twins))]),
    )


def _view(
    people: Patients,
    schema: Schema,
    rng: np.random.Generator,
    *,
    walked: bool,
    seed: int,
    scale: float,
) -> GradientView:
    coarse = bool(rng.random() < 0.5)
    plan = Plan(
        run="hunt",
        model=Perceptron(len(schema), int(rng.choice(_WIDTHS))),
        hospitals=("one",),
        declared_sizes=(len(people),),
        rounds=1,
        learning_rate=1.0,
        noise=NoiseKind.NONE,
        scheme="plain",
        clip_norm=1.0 if coarse else None,
        radius=int(2 ** rng.integers(9, 14)) if coarse else 2**24,
        local_steps=int(rng.integers(2, 4)) if walked else 1,
    )
    params: NDArray[np.float64] = plan.model.initial(np.random.default_rng(seed))
    sent = plan
    if scale != 1 and isinstance(plan.model, Perceptron):
        sent = replace(plan, model=ScaledLoss(plan.model, scale))
    update = noised_update(sent, "one", (people,) * plan.local_steps, params, Seeded(seed))
    return GradientView(
        plan,
        "server_plain",
        Knowledge(),
        (Gradient(0, (SumPart("one", params),), update, 0.0),),
    )
