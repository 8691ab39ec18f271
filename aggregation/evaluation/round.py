"""The plan of an evaluation, agreed before training, and what is read from its opened sum."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from dp_accounting import NeighboringRelation, NonPrivateDpEvent
from jaxtyping import Float, Int

from aggregation.evaluation.counted_figures import CountedFigure, HeldOut, figures
from aggregation.models import Counts
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import run_event
from privacy.accounting import epsilon as epsilon_of
from privacy.calibration import noise_multiplier
from privacy.errors import RefusedError
from privacy.files import write_durably
from privacy.unit import Unit

__all__ = ["FILE", "Evaluated", "evaluation_plan", "opened_counts"]

FILE = "evaluation.json"

_RADIUS = 64  # integer steps of one patient: a share of noise is then wide in them
_RELATION = NeighboringRelation.ADD_OR_REMOVE_ONE


def evaluation_plan(
    trained: Plan,
    sizes: tuple[int, ...],
    *,
    epsilon: float,
    bins: int = 8,
    sites: tuple[tuple[str, tuple[str, ...]], ...] = (),
) -> Plan:
    """Return the plan of one round that counts held-out patients of what ``trained`` trains.

    It names the training's digest, not its result: so both are declared before the first release.

    Args:
      trained: The training's plan, as it is run (with its digests).
      sizes: Declared numbers of held-out patients, in the order of the plan's hospitals; at least
        1, as a hospital that has none sends noise alone.
      epsilon: Of the evaluation alone, at the plan's delta; with noise ``none``, it is not noised.
      bins: Score bins. More tell the ranking within a bin, and let more noise in.
      sites: As in ``Counts``.

    Raises:
      RefusedError: The training's unit is the hospital, or its noise the article's.
      InvalidInputError: No noise reaches ``epsilon``, or a hospital is in no class of sites.
    """
    if trained.unit != Unit.PATIENT or trained.noise == NoiseKind.ARTICLE:
        raise RefusedError(
            "An evaluation counts patients, each protected; the plan has "
            f"unit={trained.unit.value!r} and noise={trained.noise.value!r}. Train with "
            "unit='patient' and noise local or shared."
        )
    counts = Counts(bins, trained.digest, sites)
    for name in trained.hospitals:
        counts.class_of(name)

    def at(multiplier: float) -> Plan:
        return replace(
            trained,
            run=f"{trained.run}-evaluation",
            model=counts,
            declared_sizes=sizes,
            rounds=1,
            learning_rate=1.0,
            clip_norm=1.0,
            radius=_RADIUS,
            noise_multiplier=multiplier,
            sampling_size=None,
            pass_rounds=None,
            correlated=None,
            local_steps=1,
            average_last=1,
            scalars=(),
            rule=None,
            sealing=None,
            roster=None,
        )

    if trained.noise == NoiseKind.NONE:
        return at(0.0)
    first = trained.hospitals[0]  # nobody is sampled: the event is the same for all
    return at(
        noise_multiplier(
            lambda multiplier: run_event(at(multiplier), first),
            target_epsilon=epsilon,
            delta=trained.delta,
            relation=_RELATION,
        )
    )


def opened_counts(
    plan: Plan, opened: Int[np.ndarray, "slots"], edges: Float[np.ndarray, "edges"]
) -> HeldOut:
    """Read the opened sum of an evaluation.

    Args:
      plan: Of the evaluation.
      opened: The one opened sum.
      edges: ``score_edges`` of the trained model.
    """
    counts = plan.model
    if not isinstance(counts, Counts):
        raise RefusedError(f"The plan of the run {plan.run!r} evaluates nothing.")
    shape = (len(counts.classes), 2, counts.bins)
    std = plan.share_std * plan.step * math.sqrt(len(plan.hospitals))
    return HeldOut(plan.step * opened.reshape(shape), std, edges, counts.classes)


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found, and what it cost.

    Attributes:
      plan: Of the evaluation.
      held_out: The opened counts.
      disjoint: Whether no held-out patient took part in training.
    """

    plan: Plan
    held_out: HeldOut
    disjoint: bool = True

    @property
    def figures(self) -> Mapping[str, CountedFigure]:
        """``aggregation.evaluation.counted_figures``."""
        return figures(self.held_out)

    @property
    def epsilon(self) -> float:
        """Upper bound of what the evaluation alone spends, at the plan's delta."""
        event = run_event(self.plan, self.plan.hospitals[0])
        if isinstance(event, NonPrivateDpEvent):
            return math.inf
        return float(epsilon_of(event, delta=self.plan.delta, relation=_RELATION).upper)

    def save(self, folder: Path) -> Path:
        """Write ``evaluation.json``: the opened counts, their noise, and the figures."""
        held_out = self.held_out
        content = {
            "version": 1,
            "run": self.plan.run,
            "plan": self.plan.digest,
            "epsilon": self.epsilon if math.isfinite(self.epsilon) else None,
            "delta": self.plan.delta,
            "disjoint": self.disjoint,
            "sites": list(held_out.sites),
            "edges": held_out.edges.tolist(),
            "noise_std": held_out.noise_std,
            "counts": held_out.counts.tolist(),
            "figures": {name: asdict(one) for name, one in self.figures.items()},
        }
        path = folder / FILE
        write_durably(path, json.dumps(content, sort_keys=True, indent=1).encode())
        return path
