r"""A10: a logistic model's full batches, round after round: the records span what is seen.

The gradient of a linear or logistic model is :math:`G_t = \sum_i \delta_{it} (x_i, 1)`: whatever
the model, it lies in the span of the hospital's records. T rounds at moving models span all of it,
if the hospital has fewer patients than there are columns. A record is then known to lie in that
subspace *and* on the grid of the schema: for each combination of categories the numbers follow by
least squares, and few combinations leave nothing over.

The other closed forms of A10 live where they are used: a lone patient in
``attacks.exact.closed_form``, all but one known, at an optimum or anywhere, in
``attacks.informed.known_others.InformedExact``.

**Certificate**: the records found, with outcomes, reproduce every integer of every round.

Cost: one least squares a combination of categories, as one matrix product; milliseconds.
"""

from dataclasses import dataclass, replace
from itertools import combinations, islice, product
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from aggregation.plan import Plan
from attacks.exact.closed_form import distinguishable, readable
from attacks.knowledge.features import Feature, project
from attacks.knowledge.priors import Prior
from attacks.knowledge.replay import integer_rows
from attacks.reconstructed import Reconstruction, guesses, join
from attacks.views import Gradient, GradientView, Observation, require
from privacy._validate import natural
from privacy.errors import RefusedError
from privacy.unit import Unit

__all__ = ["RowSpace"]

_MOST = 24  # candidates that subsets are formed of
_SUBSETS = 20_000


@dataclass(frozen=True)
class RowSpace:
    """Read small hospitals off the repeated full-batch gradients of a logistic model.

    Guarantees (each is a test in ``tests/attacks/exact/test_row_space.py``):
      - a hospital of fewer patients than columns is recovered, and certified by replay;
      - a certified record is a patient; with noise nothing is certified;
      - noise is allowed for by its public law: a little leaves the records, much the guesses.

    Attributes:
      combinations: Most combinations of categories that are tried.
    """

    name: ClassVar[str] = "row_space"
    needs: ClassVar[type[GradientView]] = GradientView

    combinations: int = 200_000

    def __post_init__(self) -> None:
        natural(combinations=self.combinations, least=1)

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Attack each set of contributors over all of its rounds.

        Raises:
          RefusedError: The adversary sees no gradient; a model with hidden units, sampled rounds,
            or more combinations of categories than ``combinations``.
        """
        view = require(observation, GradientView, self.name)
        plan = view.plan
        if plan.model.dim != plan.model.features + 1 or plan.draws_patients:
            raise RefusedError(
                "The row space needs a logistic model and the same patients in every round; this "
                f"plan has model {plan.model.kind!r} and draws_patients={plan.draws_patients}."
            )
        grid = _combinations(prior.features, plan.model.features, self.combinations)
        parts = [guesses(prior, 0)]
        for hospitals in sorted({g.hospitals for g in view.gradients}):
            rounds = tuple(g for g in view.gradients if g.hospitals == hospitals)
            sizes = dict(zip(plan.hospitals, plan.declared_sizes, strict=True))
            size = sum(sizes[name] for name in hospitals)
            reconstruction = guesses(prior, 0)
            if plan.local_steps == 1 and plan.unit == Unit.PATIENT:
                reconstruction = _attack(replace(view, gradients=rounds), prior, grid, size)
            parts += [reconstruction, guesses(prior, max(0, size - len(reconstruction)))]
        return join(*parts)


def _combinations(features: tuple[Feature, ...], columns: int, most: int) -> NDArray[np.float64]:
    """All combinations of categories, as rows whose numbers are 0."""
    categories = [f for f in features if not f.numeric]
    count = int(np.prod([len(f.columns) + 1 for f in categories]))
    if count > most:
        raise RefusedError(
            f"The schema has {count} combinations of categories, more than combinations={most}."
        )
    rows = np.zeros((count, columns))
    codes = np.array(list(product(*(range(len(f.columns) + 1) for f in categories))), np.int64)
    for k, f in enumerate(categories):
        f.write(rows, codes.reshape(count, -1)[:, k])
    return rows


def _attack(
    view: GradientView, prior: Prior, grid: NDArray[np.float64], size: int
) -> Reconstruction:
    plan = view.plan
    stack = np.stack([g.integers for g in view.gradients]).astype(np.float64)
    _, singular, right = np.linalg.svd(stack)
    rounding = (0.5 if plan.clip_norm is None else 1.0) * size
    noise = max(g.noise_std for g in view.gradients)
    # Rounding adds up to this in the norm of all rounds, and noise to this in its largest singular
    # value: what is not four times as loud is not there.
    off = rounding * np.sqrt(stack.size) + noise * np.sqrt(stack.shape).sum()
    rank = int((singular > 4 * off).sum())
    numbers = [f.columns[0] for f in prior.features if f.numeric]
    if rank == 0 or right.shape[0] - rank <= len(numbers):
        return guesses(prior, 0)  # any combination has numbers that fit
    null = right[rank:]  # rows a with a . (x, 1) = 0 for every record x
    rest = -(grid @ null[:, :-1].T + null[:, -1])
    solution, *_ = np.linalg.lstsq(null[:, numbers], rest.T, rcond=None)
    records = grid.copy()
    records[:, numbers] = solution.T
    snapped = project(records, prior.features)
    # How far the null space itself is off: that over the weakest direction that was seen.
    slack = 8 * off / singular[rank - 1]
    slack *= 1 + np.linalg.norm(snapped, axis=1)
    misfit = np.abs(snapped @ null[:, :-1].T + null[:, -1]).max(axis=1)
    best = np.flatnonzero(misfit <= slack)
    best = best[np.argsort(misfit[best] / slack[best], kind="stable")]
    best = best[:_MOST]
    # a - b + c of three records is on the grid as well, and in the span: try who fits together.
    first = guesses(prior, 0)
    for chosen in islice(combinations(best, min(rank, len(best))), _SUBSETS):
        reconstruction = _explained(plan, view.gradients, snapped[list(chosen)], prior.features)
        if reconstruction.certified.any():
            return reconstruction
        first = first if len(first) else reconstruction
    return first


def _explained(
    plan: Plan,
    gradients: tuple[Gradient, ...],
    candidates: NDArray[np.float64],
    features: tuple[Feature, ...],
) -> Reconstruction:
    """Outcomes by the sign of each record's part; certified if all integers are replayed."""
    extended = np.column_stack([candidates, np.ones(len(candidates))])
    unsure = Reconstruction(
        candidates, np.full(len(candidates), 0.5), np.zeros(len(candidates), np.bool_)
    )
    if len(candidates) == 0:
        return unsure
    parts, *_ = np.linalg.lstsq(extended.T, gradients[0].integers.astype(np.float64), rcond=None)
    labels = (parts < 0).astype(np.int64)  # p - y
    predicted = integer_rows(plan, gradients[0].params, candidates, labels)[:, -1]
    if np.abs(parts - predicted).max() > 0.01 * np.abs(predicted).max():
        return unsure  # not what these patients send
    certified = np.full(len(candidates), readable(plan))
    for g in gradients:
        rows = integer_rows(plan, g.params, candidates, labels)
        certified &= np.array_equal(rows.sum(axis=0), g.integers)
        certified &= distinguishable(plan, rows, features)
    return replace(unsure, confidence=np.where(certified, 1.0, 0.5), certified=certified)
