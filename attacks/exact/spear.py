r"""A2: a whole batch unmixed from a ReLU layer, exactly (after SPEAR, Dimitrov et al. 2024).

The first layer's gradient is :math:`\partial W = Z^\top X`, a product of rank b, the number of
patients, and :math:`Z` is sparse because ReLUs are off for about half of the patients. SPEAR finds
:math:`Z`'s columns as the sparse vectors of the column space, by sampling rows.

A model with *one* output says more: :math:`Z_{ij} = \delta_i w_j a_{ij}` with a single
:math:`\delta_i = p_i - y_i` a patient, a known outer weight :math:`w_j` a unit, and activations
:math:`a_{ij} \in \{0, 1\}`. Divided by :math:`w_j`, the columns are *bits*: choose b units whose
rows are independent, and each patient is one of the :math:`2^b` bit vectors there. Every one is
tried, by matrix products; it is a patient if the other units come out as bits as well. What
sampling finds with luck is so found for certain, up to about 18 patients. The limit is stated
before an attack starts (``foretell``): a narrow table's layer has no higher rank than its columns,
a wide one's, of many one-hot levels, has the rank of its batch, and each patient more doubles the
time. Sampling that scales further (SPEAR++, arXiv 2510.24200) is *not tried* here.

Sums of patients with disjoint activations are bits too, so that vectors are taken sparsest first,
as long as they are independent (on tabular data, where activations are alike, a plain threshold
admits such sums). The least-squares solution is put on the grid, and **certified by replay alone**:
it has to reproduce every integer of the gradient.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from aggregation.plan import Plan
from attacks.exact.closed_form import (
    MOST_COPIES,
    Found,
    distinguishable,
    expected_patients,
    first_layer,
    nothing_found,
    outer_weights,
    readable,
)
from attacks.exact.legible import hidden_by_rounding
from attacks.knowledge.capabilities import hidden_layer, linear_input
from attacks.knowledge.features import project
from attacks.knowledge.priors import Prior
from attacks.knowledge.replay import integer_rows
from attacks.reconstructed import Reconstruction, guesses, join
from attacks.views import Gradient, GradientView, Observation, require
from privacy._validate import finite_array, natural

__all__ = ["MOST", "Spear", "Unmixed", "foretold", "unmix", "unmixed"]

MOST = 18  # rank: a quarter of a second on one core; twice that for each more
_SECONDS = 5e-7  # for a bit vector, on one core of 2020s
_CHUNK = 2**15
_REFINEMENTS = 10
_ON_GRID = 0.01  # how far from valid values a record may come out, in deviations
_LOUD = 0.25  # units with less of the largest outer weight drown in their rounding
_OFF_BITS = 0.2  # how far from a bit an entry may come out, by rounding


@dataclass(frozen=True)
class Spear:
    """The attack A2 on every sum of gradients in a view.

    Guarantees (each is a test in ``tests/attacks/exact/test_spear.py``):
      - batches of 8 and of 12 without defence are recovered whole, with few exceptions;
      - a certified record is a patient of the batch; with noise nothing is certified;
      - a gradient that it can't unmix gives the prior's best guesses.

    Attributes:
      most: Largest rank that is tried: cost and memory grow as 2 to this power.
    """

    name: ClassVar[str] = "spear"
    needs: ClassVar[type[GradientView]] = GradientView

    most: int = MOST

    def __post_init__(self) -> None:
        natural(most=self.most, least=1)

    def foretell(self, observation: Observation) -> str:
        """Say what the attack will cost, and what it will not try, before it starts.

        Raises:
          RefusedError: The adversary sees no gradient.
        """
        view = require(observation, GradientView, self.name)
        return " ".join(foretold(view, most=self.most))

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Attack each gradient of the view by itself, and put the records together.

        Raises:
          RefusedError: The adversary sees no gradient.
          InvalidInputError: The model says of no first layer.
        """
        view = require(observation, GradientView, self.name)
        linear_input(view.plan.model)
        parts = [guesses(prior, 0)]
        for gradient in view.gradients:
            reading = unmix(view.plan, gradient, gradient.integers, prior, most=self.most)
            if reading.complete:
                parts.append(
                    Reconstruction(
                        reading.records, reading.certified.astype(float), reading.certified
                    )
                )
            else:
                said = hidden_by_rounding(view.plan, gradient, prior.features)
                guessed = guesses(prior, expected_patients(view.plan, gradient))
                parts.append(replace(guessed, notes=said))
        return join(*parts)


def foretold(view: GradientView, *, most: int = MOST) -> list[str]:
    """Return a sentence for each gradient that can be unmixed, or that is not tried for its rank.

    A layer's rank is the number of patients behind it, unless the table is narrower than that; the
    bit vectors of a rank are two to its power, whatever machine counts them.
    """
    lines = []
    for g in view.gradients:
        plan = view.plan
        if not readable(plan) or hidden_layer(plan.model) is None or not g.integers.any():
            continue
        rows, units = _per_unit(plan, g.params, g.integers)
        rank = _rank(rows, plan, g, g.params, units)
        whose = f"round {g.round}, {', '.join(g.hospitals)}"
        vectors = f"rank {rank}, 2^{rank} = {2**rank:,} bit vectors, about {_time(rank)} on a core"
        if rank > len(rows) - 1 or rank >= plan.model.features + 1:
            lines.append(f"{whose}: rank {rank} is all that the layer has; nothing is unmixed.")
        elif rank > most:
            lines.append(
                f"{whose}: {vectors}: not tried, as ranks above {most} are not unless "
                f"Spear(most={rank}) says so."
            )
        else:
            lines.append(f"{whose}: {vectors}.")
    return lines


def _time(rank: int) -> str:
    seconds = _SECONDS * 2.0**rank
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.1g} seconds"


@dataclass(frozen=True)
class Unmixed:
    """Distinct patients as the column space tells them, whatever their loss was scaled by.

    Attributes:
      records: ``[patients, features]``, standardised, on the grid.
      labels: Outcome of each, by the sign of what it adds.
      pulls: What each adds to the output's bias, in units of the parameters: p - y, times copies
        and scale, less what was clipped.
      valid: Whose record came out on the grid by itself.
    """

    records: NDArray[np.float64]
    labels: NDArray[np.int64]
    pulls: NDArray[np.float64]
    valid: NDArray[np.bool_]


def unmix(
    plan: Plan,
    gradient: Gradient,
    residual: NDArray[np.int64],
    prior: Prior,
    *,
    most: int = MOST,
) -> Found:
    """Unmix what is left of a gradient; complete or nothing.

    A patient who is there several times is found once by the column space, and as often as it
    pulls: the records say it again for each copy.

    Args:
      plan: What all parties agreed on.
      gradient: Whose model it is.
      residual: The gradient, or what is left of it, in integer steps.
      prior: Says what the columns are.
      most: Largest rank that is tried.

    Raises:
      InvalidInputError: The model holds NaN or infinity.
    """
    for patients in unmixed(plan, gradient, residual, prior, most=most):
        records, labels = patients.records, patients.labels
        integers = integer_rows(plan, gradient.params, records, labels)
        copies = _copies(plan, gradient.params, patients.pulls, integers)
        if gradient.error is not None:  # up to a known error copies are not tried
            copies = np.ones_like(copies)
        remainder = residual - (copies[:, None] * integers).sum(axis=0)
        if gradient.explains(remainder):
            again = np.repeat(np.arange(len(records)), copies)
            # Two patients around a record add what two of it do: what is there twice is no proof.
            certified = distinguishable(plan, integers, prior.features, gradient.error)
            certified &= copies == 1
            bits = np.full(len(again), 64.0)
            return Found(records[again], labels[again], bits, certified[again], remainder, True)
    return nothing_found(plan, residual)


def _copies(
    plan: Plan,
    params: NDArray[np.float64],
    pulls: NDArray[np.float64],
    integers: NDArray[np.int64],
) -> NDArray[np.int64]:
    """How often each patient is there: what it pulls, in what one of them would."""
    outer = outer_weights(plan, params)
    biases = np.stack([first_layer(plan, row)[1] for row in integers])
    loudest = np.abs(biases).argmax(axis=1)
    single_pulls = biases[np.arange(len(biases)), loudest] * plan.step / outer[loudest]
    times = np.divide(pulls, single_pulls, out=np.ones_like(pulls), where=single_pulls != 0)
    return np.asarray(np.clip(np.rint(times), 1, MOST_COPIES), dtype=np.int64)


def unmixed(
    plan: Plan,
    gradient: Gradient,
    residual: NDArray[np.int64],
    prior: Prior,
    *,
    most: int = MOST,
) -> Iterator[Unmixed]:
    """Yield what the column space tells, better and better; nothing where it tells nothing.

    Arguments and errors are those of ``unmix``.
    """
    params = finite_array(params=gradient.params)
    if not readable(plan) or hidden_layer(plan.model) is None or gradient.explains(residual):
        return
    rows, units = _per_unit(plan, params, residual)
    rank = _rank(rows, plan, gradient, params, units)
    if not 1 <= rank <= min(most, len(rows) - 1):
        return
    bits = _bit_columns(rows, rank)
    if bits is None:
        return
    weights, biases = first_layer(plan, params)
    for _ in range(_REFINEMENTS):
        solution, *_ = np.linalg.lstsq(bits, rows, rcond=None)  # rows of delta (x, 1)
        delta = solution[:, -1]
        if (np.abs(delta) < 1e-12).any():
            return
        raw = solution[:, :-1] / delta[:, None]
        records = project(raw, prior.features)
        # Bits can be a combination of patients' bits. If a_k is replaced by a_k + a_1 - a_2, then
        # x_k still comes out right (and x_1, x_2 wrong): a record on the grid says its own bits.
        valid = np.abs(raw - records).max(axis=1) <= _ON_GRID
        labels = (delta < 0).astype(np.int64)  # p - y
        yield Unmixed(records, labels, np.asarray(delta, dtype=np.float64), valid)
        active = (records @ weights[units].T + biases[units] > 0).T.astype(np.float64)
        better = np.where(valid, active, bits)
        if np.array_equal(better, bits):
            return
        bits = better


def _per_unit(
    plan: Plan, params: NDArray[np.float64], residual: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows ``sum_i delta_i a_ij (x_i, 1)`` of the units with a loud outer weight, and which."""
    weights, biases = first_layer(plan, residual)
    outer = outer_weights(plan, params)
    units = np.flatnonzero(np.abs(outer) > _LOUD * np.abs(outer).max())
    rows = np.column_stack([weights, biases])[units] * plan.step / outer[units, None]
    return rows, units


def _rank(
    rows: NDArray[np.float64],
    plan: Plan,
    gradient: Gradient,
    params: NDArray[np.float64],
    units: NDArray[np.int64],
) -> int:
    """Directions that stand out of the rounding."""
    outer = np.abs(outer_weights(plan, params)[units])
    patients = max(expected_patients(plan, gradient), 1)
    rounding = plan.step * np.sqrt(patients / 12) / outer  # of each row's entries
    if gradient.error is not None:  # a bound: errors themselves are of a third of it, or less
        weights, biases = first_layer(plan, gradient.error)
        wrong = np.column_stack([weights, biases])[units].mean(axis=1) * plan.step / outer
        rounding = np.hypot(rounding, wrong / 3)
    singular = np.linalg.svd(rows, compute_uv=False)
    floor = 2 * np.sqrt((rounding**2).sum() * 1.0) + rounding.max() * np.sqrt(rows.shape[1])
    return int((singular > floor).sum())


def _bit_columns(rows: NDArray[np.float64], rank: int) -> NDArray[np.float64] | None:
    """Return ``[units, rank]`` bits that span the column space, sparsest first; None if none do."""
    from scipy.linalg import qr

    space = np.linalg.svd(rows, full_matrices=False)[0][:, :rank]
    order = qr(space.T, pivoting=True, mode="economic")[2]
    basis, others = order[:rank], order[rank:]
    extend = space[others] @ np.linalg.inv(space[basis])  # bits on the basis -> the other units
    loud = np.argsort(np.abs(extend).sum(axis=1), kind="stable")[: min(2 * rank + 8, len(others))]
    survivors = []
    for start in range(1, 2**rank, _CHUNK):
        numbers = np.arange(start, min(start + _CHUNK, 2**rank))
        bits = ((numbers[:, None] >> np.arange(rank)) & 1).astype(np.float64)
        for block in (loud[:8], loud[8:], np.arange(len(others))):
            values = bits @ extend[block].T
            off = np.minimum(np.abs(values), np.abs(values - 1))
            bits = bits[(off <= _OFF_BITS).all(axis=1)]
        survivors.append(bits)
    candidates = np.concatenate(survivors)
    if len(candidates) < rank:
        return None
    whole = np.zeros((len(candidates), len(rows)))
    whole[:, basis] = candidates
    whole[:, others] = np.rint(np.clip(candidates @ extend.T, 0, 1))
    return _sparsest_independent(whole, rank)


def _sparsest_independent(vectors: NDArray[np.float64], rank: int) -> NDArray[np.float64] | None:
    chosen: list[NDArray[np.float64]] = []
    span = np.zeros((vectors.shape[1], 0))
    for i in np.argsort(vectors.sum(axis=1), kind="stable"):
        v = vectors[i]
        rest = v - span @ (span.T @ v)
        norm = np.linalg.norm(rest)
        if norm > 1e-6 * max(1.0, float(np.linalg.norm(v))):
            chosen.append(v)
            span = np.column_stack([span, rest / norm])
            if len(chosen) == rank:
                return np.column_stack(chosen)
    return None
