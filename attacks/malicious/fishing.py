r"""A9: fishing with a sliding hyperplane: an active server isolates patients, and proves it.

All hidden units but one look along one direction and differ in their threshold, as in
``attacks.malicious.active``; the differences of neighbours belong to the patients of one slab. A
crowded slab is cut again in the next round, where the crowd is, so that few rounds isolate nearly
everybody however large the batch (VGIA, arXiv 2604.15063: the hyperplane slides instead of growing
in number).

**The subspace test.** The last unit is always on and adds :math:`u_r^\top x` to the model's output,
with another :math:`u_r` each time that the same slabs are asked for. A slab then shows
:math:`D_r = \sum_i \delta_{ir} (x_i, 1)` with :math:`\delta_{ir} = p_r(x_i) - y_i` of other
proportions each time: the :math:`D_r` span as many dimensions as the slab has patients. One
dimension means one patient. It is **certified** if the patient on the grid, sent through each
model, gives every integer of its slab, each time.

It works on a sealed sum as on an update: encryption does nothing here. Hospitals that recompute the
model refuse the very first question (``aggregation.roles.hospital``).

Cost: a few rounds; milliseconds each.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.special import ndtri

from aggregation.models import HiddenLayer, Model
from aggregation.plan import Plan
from attacks.exact.closed_form import distinguishable, expected_patients, first_layer, readable
from attacks.knowledge.capabilities import hidden_layer
from attacks.knowledge.features import Feature, project
from attacks.knowledge.priors import Prior
from attacks.knowledge.replay import integer_rows
from attacks.reconstructed import Reconstruction, guesses, join
from attacks.views import Gradient, GradientView, Observation, require
from privacy._validate import finite_array, natural
from privacy.errors import RefusedError

__all__ = ["Fishing"]

_OUTER = 0.01  # of the hyperplanes: the output is the last unit's
_ALWAYS_ON = 100.0  # bias of the last unit, taken off again at the output


@dataclass(frozen=True)
class Fishing:
    """The attack: choose models, ask, and read the answers.

    Guarantees (each is a test in ``tests/attacks/malicious/test_fishing.py``):
      - undefended, most patients of a large sealed sum are isolated and certified;
      - a certified record is a patient; with noise nothing is certified;
      - two patients in one slab fail the subspace test;
      - hospitals that recompute the model refuse it.

    Attributes:
      stages: How often the crowded slabs are cut anew.
      repeats: How often each stage is asked, each with another :math:`u_r`; at least 2.
      seed: Draws the directions.
    """

    name: ClassVar[str] = "fishing"
    needs: ClassVar[type[GradientView]] = GradientView

    stages: int = 4
    repeats: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        natural(stages=self.stages, least=1)
        natural(repeats=self.repeats, least=2)

    def fish(
        self, plan: Plan, prior: Prior, ask: Callable[[Float[np.ndarray, "dim"]], Gradient]
    ) -> tuple[Gradient, ...]:
        """Ask the hospitals, each stage where the last one left crowds; return the answers.

        Args:
          plan: What all parties agreed on.
          prior: Says where patients lie, for the first cut.
          ask: Sends a model, returns the opened sum: a round.

        Raises:
          RefusedError: A model of fewer than three hidden units; or what ``ask`` raises.
        """
        hidden = _check(plan.model)
        rng = np.random.default_rng(self.seed)
        direction = rng.normal(size=plan.model.features)
        direction /= np.linalg.norm(direction)
        along = prior.draw(4096, rng) @ direction
        count = hidden.width - 1
        cuts = along.mean() + along.std() * ndtri((np.arange(count) + 0.5) / count)
        answers: list[Gradient] = []
        patients = _Known.nobody(plan.model)
        for _ in range(self.stages):
            stage_answers = []
            for _ in range(self.repeats):
                u = rng.normal(size=plan.model.features) / np.sqrt(plan.model.features)
                stage_answers.append(ask(_model(plan.model, direction, cuts, u)))
            answers += stage_answers
            if readable(plan):  # who is known is taken out, so that no crowd is theirs
                patients = patients.with_more(
                    _certified(plan, patients.left(plan, stage_answers), prior.features)
                )
            cuts = _recut(plan, patients.left(plan, stage_answers), cuts)
        return tuple(answers)

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Read the answers: certified patients, each once, and guesses for the rest.

        Raises:
          RefusedError: The adversary sees no gradient, or models that no hyperplane slides in.
        """
        view = require(observation, GradientView, self.name)
        _check(view.plan.model)
        answers = list(view.gradients)
        if any(_cuts(view.plan, g) is None for g in answers):
            raise RefusedError(
                "Fishing reads answers to its own models: hyperplanes along one direction. Ask "
                "with Fishing.fish."
            )
        everybody = max(expected_patients(view.plan, g) for g in answers)
        if not readable(view.plan):
            return guesses(prior, everybody)
        patients = _Known.nobody(view.plan.model)
        while answers:
            same = [g for g in answers if _same_cuts(view.plan, g, answers[0])]
            answers = [g for g in answers if not _same_cuts(view.plan, g, same[0])]
            if len(same) >= self.repeats:
                residuals = patients.left(view.plan, same)
                patients = patients.with_more(_certified(view.plan, residuals, prior.features))
        sure = np.ones(len(patients.records))
        reconstruction = Reconstruction(patients.records, sure, sure > 0)
        return join(reconstruction, guesses(prior, max(0, everybody - len(sure))))


@dataclass(frozen=True)
class _Known:
    """Certified patients so far; two patients alike in all columns are two."""

    records: NDArray[np.float64]
    labels: NDArray[np.int64]

    @classmethod
    def nobody(cls, model: Model) -> "_Known":
        return cls(np.zeros((0, model.features)), np.zeros(0, dtype=np.int64))

    def with_more(self, more: "_Known") -> "_Known":
        return _Known(
            np.concatenate([self.records, more.records]), np.concatenate([self.labels, more.labels])
        )

    def left(self, plan: Plan, answers: list[Gradient]) -> list[Gradient]:
        """The answers less what the known patients sent."""
        if len(self.records) == 0:
            return answers
        return [
            replace(
                g,
                integers=g.integers
                - integer_rows(plan, g.params, self.records, self.labels).sum(axis=0),
            )
            for g in answers
        ]


def _check(model: Model) -> HiddenLayer:
    hidden = hidden_layer(model)
    if hidden is None or hidden.width < 3:
        raise RefusedError(
            f"Fishing needs at least 3 hidden units; the model {model.kind!r} has "
            f"{0 if hidden is None else hidden.width}."
        )
    return hidden


def _model(
    model: Model, direction: NDArray[np.float64], cuts: NDArray[np.float64], u: NDArray[np.float64]
) -> NDArray[np.float64]:
    weights = np.vstack([np.tile(direction, (len(cuts), 1)), u])
    outer = np.append(np.full(len(cuts), _OUTER), 1.0)
    return np.concatenate([weights.ravel(), -cuts, [_ALWAYS_ON], outer, [-_ALWAYS_ON]])


def _cuts(plan: Plan, gradient: Gradient) -> NDArray[np.float64] | None:
    """The thresholds, ascending, of a model that slides hyperplanes; else None."""
    weights, biases = first_layer(plan, finite_array(params=gradient.params))
    alike = (weights[:-1] == weights[0]).all() and (np.diff(-biases[:-1]) >= 0).all()
    return -biases[:-1] if alike and biases[-1] == _ALWAYS_ON else None


def _same_cuts(plan: Plan, one: Gradient, other: Gradient) -> bool:
    a, b = _cuts(plan, one), _cuts(plan, other)
    return a is not None and b is not None and bool(np.array_equal(a, b))


def _slabs(plan: Plan, vector: NDArray[np.int64]) -> NDArray[np.float64]:
    """What each slab shows, ``[slabs, features + 1]``: the patients from one cut to the next."""
    weights, biases = first_layer(plan, vector)
    rows = np.column_stack([weights, biases])[:-1]
    return np.asarray(rows - np.concatenate([rows[1:], np.zeros((1, rows.shape[1]))]))


def _rounding(plan: Plan) -> float:
    return 0.5 if plan.clip_norm is None else 1.0


def _single(plan: Plan, shown: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The subspace test: which slabs ``[repeats, slabs, features + 1]`` span one dimension."""
    singular = np.linalg.svd(shown.transpose(1, 0, 2), compute_uv=False)
    floor = 4 * _rounding(plan) * np.sqrt(shown.shape[0] * shown.shape[2])
    return np.asarray((singular[:, 0] > floor) & (singular[:, 1] <= floor))


def _crowded(plan: Plan, shown: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which slabs hold somebody and fail the test."""
    loud = np.abs(shown).max(axis=(0, 2)) > 8 * _rounding(plan)
    return np.asarray(loud & ~_single(plan, shown))


def _recut(plan: Plan, answers: list[Gradient], cuts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spread all hyperplanes over the crowded slabs; the outermost slab is as wide as its peers."""
    shown = np.stack([_slabs(plan, g.integers) for g in answers])
    crowded = np.flatnonzero(_crowded(plan, shown))
    if len(crowded) == 0:
        return cuts
    ends = np.append(cuts[1:], cuts[-1] + (cuts[-1] - cuts[0]))
    crowded = crowded[: len(cuts) // 3]  # what is left over waits for a later stage
    edges = np.unique(np.concatenate([cuts[crowded], ends[crowded]]))
    share, extra = divmod(len(cuts) - len(edges), len(crowded))
    inner = [
        np.linspace(cuts[k], ends[k], share + (i < extra) + 2)[1:-1] for i, k in enumerate(crowded)
    ]
    return np.sort(np.concatenate([edges, *inner]))


def _certified(plan: Plan, answers: list[Gradient], features: tuple[Feature, ...]) -> _Known:
    """Patients alone in their slab, on the grid, whose replay is every integer that it shows."""
    shown = np.stack([_slabs(plan, g.integers) for g in answers])
    patients = _Known.nobody(plan.model)
    slabs = np.flatnonzero(_single(plan, shown))
    loudest = shown[np.abs(shown[:, slabs, -1]).argmax(axis=0), slabs]
    heard = np.abs(loudest[:, -1]) > 4 * _rounding(plan)
    slabs, loudest = slabs[heard], loudest[heard]
    if len(slabs) == 0:
        return patients
    records = project(loudest[:, :-1] / loudest[:, -1:], features)
    for label in (0, 1):
        labels = np.full(len(records), label, dtype=np.int64)
        fits = np.ones(len(records), dtype=np.bool_)
        for g, answer in zip(answers, shown, strict=True):
            rows = integer_rows(plan, g.params, records, labels)
            fits &= distinguishable(plan, rows, features)
            replay = np.stack([_slabs(plan, row)[k] for row, k in zip(rows, slabs, strict=True)])
            fits &= (replay == answer[slabs]).all(axis=1)
        patients = patients.with_more(_Known(records[fits], labels[fits]))
    return patients
