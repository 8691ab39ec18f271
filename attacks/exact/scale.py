r"""The factor between a gradient and a sum of patients' gradients, found from the gradient itself.

A client may scale its loss: by one half, as some write it, by one over its batch, by its share of
all patients. What it then sends is :math:`s \sum_i g_i`, s unknown to whom it is sent to. Ratios of
the first layer don't feel s, so that records come out as before; what each of them *adds* is then
known up to s, :math:`c_i = s\,m_i` with a number of copies m (1 but for duplicated patients), and s
is what most records agree on. It is put on the simplest fraction that its rounding allows, so that
it can be held against every integer. Clipping comes after the scale; who is clipped says nothing of
it.

**Certificates.** With s unknown, a mixture of patients whose units are on and off alike passes for
*one* record: their sum is that record's own gradient, at another scale. So a record is certified
only if the records found reproduce every integer, none of their grid neighbours would
(``closed_form``, rule 1), and the records *beside the first* hit its scale by a coincidence of at
most :math:`2^{-24}`. Twins that differ in little agree on a scale of two by nature, to a few
thousandths; so the first ten bits of each agreement count for nothing. What is read of a lone
patient is likely, and not proved; nor is, at any scale, what is there twice. (What is certified
without a search of the scale takes the plan's word that losses are not scaled. Of captured updates,
which have a known error beside their rounding, no scale is searched: not tried.)
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.models import Model, Perceptron
from aggregation.plan import Plan
from attacks.exact.closed_form import (
    BITS,
    Found,
    distinguishable,
    expected_patients,
    first_layer,
    on_grid,
    once,
    peel,
    readable,
    rounding,
)
from attacks.exact.spear import Unmixed, unmix, unmixed
from attacks.knowledge.priors import Prior
from attacks.knowledge.replay import integer_rows
from attacks.views import Gradient

__all__ = ["ScaledLoss", "read_at_a_scale", "scales"]

_ALIKE = 1e-3  # factors within this of each other, relative to their size, are one
_DENOMINATOR = 4096  # of a share of all patients, say
_BY_NATURE = 10.0  # bits to which mixtures of near-twins agree on a scale
_TRIED = 4  # scales, the best supported first


@dataclass(frozen=True)
class ScaledLoss(Model):
    """A perceptron whose every loss is multiplied by a number; no plan names it.

    Attributes:
      inner: The perceptron.
      factor: The number.
    """

    inner: Perceptron
    factor: float

    @property
    def features(self) -> int:  # type: ignore[override]  # the inner one's, never set
        """Columns of a patient's row."""
        return self.inner.features

    @property
    def width(self) -> int:
        """Hidden units."""
        return self.inner.width

    @property
    def spec(self) -> dict[str, Any]:
        """Of the perceptron, with the factor."""
        return {**self.inner.spec, "factor": self.factor}

    @property
    def dim(self) -> int:
        """Length of the flat parameter vector."""
        return self.inner.dim

    def initial(self, rng: np.random.Generator) -> Float[np.ndarray, "dim"]:
        """Return the perceptron's first parameters."""
        return self.inner.initial(rng)

    def per_patient_gradients(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
    ) -> Float[np.ndarray, "patients dim"]:
        """Return the perceptron's rows, each times the factor."""
        rows = self.inner.per_patient_gradients(params, features, outcomes, slots=slots)
        return np.asarray(self.factor * rows)

    def scores(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
    ) -> Float[np.ndarray, "patients"]:
        """Return the perceptron's: the loss is scaled, not the score."""
        return self.inner.scores(params, features, slots=slots)

    def hidden(
        self, params: Float[np.ndarray, "dim"], features: Float[np.ndarray, "patients features"]
    ) -> Float[np.ndarray, "patients units"]:
        """Return what the units give."""
        return self.inner.hidden(params, features)

    def first_layer(
        self, vector: np.ndarray
    ) -> tuple[Float[np.ndarray, "units features"], Float[np.ndarray, "units"]]:
        """Split off the first layer."""
        return self.inner.first_layer(vector)

    def outer_weights(self, params: Float[np.ndarray, "dim"]) -> Float[np.ndarray, "units"]:
        """Return what multiplies p - y in each unit's bias gradient."""
        return np.asarray(self.factor * self.inner.outer_weights(params))


def scales(plan: Plan, gradient: Gradient, prior: Prior) -> tuple[float, ...]:
    """Return factors that the records read off the first layer agree on, the likeliest first.

    Guarantees (each is a test in ``tests/attacks/exact/test_scale.py``):
      - the true factor is the first, on batches that can be read at a known one;
      - a fraction of small terms is returned as that very fraction;
      - nothing where nothing is read.

    Raises:
      InvalidInputError: The model holds NaN or infinity.
    """
    factors = _factors(plan, gradient, prior)
    votes: list[tuple[int, int, float]] = []
    rest = np.argsort(-factors.factors, kind="stable")
    while len(rest):
        middle = factors.factors[rest[0]]
        same = rest[factors.factors[rest] >= (1 - _ALIKE) * middle]
        rest = rest[len(same) :]
        weights = factors.blurs[same] ** -2.0
        mean = float(weights @ factors.factors[same] / weights.sum())
        supporters = len(np.unique(factors.records[same], axis=0))
        votes.append((supporters, len(same), _simplest(mean, 4 * float(weights.sum() ** -0.5))))
    votes.sort(key=lambda one: (-one[0], -one[1]))
    return tuple(dict.fromkeys(scale for _, _, scale in votes))


def read_at_a_scale(plan: Plan, gradient: Gradient, prior: Prior) -> tuple[Found, float] | None:
    """Read a gradient's records at the scale that explains most of it; None if none does.

    Raises:
      InvalidInputError: The model holds NaN or infinity.
    """
    best: tuple[Found, float] | None = None
    unmixed_last = list(unmixed(plan, gradient, gradient.integers, prior))[-1:]
    for rough in scales(plan, gradient, prior)[:_TRIED]:
        fitted = _fitted(plan, gradient, rough, unmixed_last[0]) if unmixed_last else None
        scale = rough if fitted is None else fitted
        scaled = _scaled(plan, scale)
        reading = unmix(scaled, gradient, gradient.integers, prior)
        if not reading.complete:
            reading = peel(scaled, gradient, prior, copies=True)
        if fitted is not None and len(reading.records) < len(unmixed_last[0].records):
            reading = _unproved(scaled, gradient, unmixed_last[0])
        if len(reading.records) == 0:
            continue
        reading = replace(reading, certified=_certified(scaled, gradient, reading, prior))
        if best is None or _rank(reading) > _rank(best[0]):
            best = reading, scale
        if reading.complete:
            break
    return best


def _fitted(plan: Plan, gradient: Gradient, rough: float, patients: Unmixed) -> float | None:
    """The scale at which the unmixed records explain every coordinate; None if they do not."""
    rows = plan.model.per_patient_gradients(gradient.params, patients.records, patients.labels)
    if not patients.valid.all() or plan.clip_norm is not None:
        return None
    copies = np.maximum(1.0, np.rint(patients.pulls / (rough * rows[:, -1])))
    seen, total = gradient.integers * plan.step, copies @ rows
    scale = float(seen @ total / (total @ total))
    people = float(copies.sum())
    if np.abs(seen - scale * total).max() > (rounding(plan) * people + 1) * plan.step:
        return None
    # Each coordinate is off by so many roundings: so is their projection on the total.
    error = plan.step * (people / 12) ** 0.5 / float(np.linalg.norm(total))
    return _simplest(scale, 5 * error)


def _unproved(plan: Plan, gradient: Gradient, patients: Unmixed) -> Found:
    """Records that explain the gradient up to the rounding of a scale that is no fraction."""
    count = len(patients.records)
    rows = integer_rows(plan, gradient.params, patients.records, patients.labels)
    residual = gradient.integers - rows.sum(axis=0)
    none = np.zeros(count, dtype=np.bool_)
    return Found(patients.records, patients.labels, np.full(count, BITS), none, residual, False)


def _rank(reading: Found) -> tuple[bool, int]:
    return reading.complete, len(reading.records)


def _scaled(plan: Plan, scale: float) -> Plan:
    model = plan.model
    if not isinstance(model, Perceptron):
        raise TypeError(model)
    return replace(plan, model=ScaledLoss(model, scale))


@dataclass(frozen=True)
class _Factors:
    """Factors of single records, one a reading.

    Attributes:
      factors: What was seen of a record over what it would add unscaled.
      blurs: Standard deviation of what rounding does to each.
      records: Of which record.
    """

    factors: NDArray[np.float64]
    blurs: NDArray[np.float64]
    records: NDArray[np.float64]


def _factors(plan: Plan, gradient: Gradient, prior: Prior) -> _Factors:
    """Of all records that units show alone, and of all that can be unmixed."""
    none = np.zeros(0)
    captured = gradient.error is not None  # an error beside rounding: not tried
    if captured or not readable(plan) or not isinstance(plan.model, Perceptron):
        return _Factors(none, none, np.zeros((0, plan.model.features)))
    params = gradient.params
    units, records = on_grid(plan, gradient, prior.features)
    outer = plan.model.outer_weights(params)
    _, biases = first_layer(plan, gradient.integers)
    pulls = biases[units] * plan.step / outer[units]
    loud = np.abs(outer[units])
    for last in list(unmixed(plan, gradient, gradient.integers, prior))[-1:]:
        records = np.concatenate([records, last.records[last.valid]])
        pulls = np.concatenate([pulls, last.pulls[last.valid]])
        loud = np.concatenate([loud, np.full(int(last.valid.sum()), np.abs(outer).max())])
    if len(records) == 0:
        return _Factors(none, none, records)
    labels = (pulls < 0).astype(np.int64)
    rows = plan.model.per_patient_gradients(params, records, labels)
    factors = pulls / rows[:, -1]
    clipped = np.zeros(len(rows), dtype=np.bool_)
    if plan.clip_norm is not None:
        clipped = factors * np.linalg.norm(rows, axis=1) >= (1 - _ALIKE) * plan.clip_norm
    off = 2 * rounding(plan) * (max(1, expected_patients(plan, gradient)) / 12) ** 0.5 * plan.step
    blurs = off / loud / np.abs(rows[:, -1])
    kept = np.isfinite(factors) & (factors > 0) & ~clipped
    return _Factors(factors[kept], blurs[kept], records[kept])


def _simplest(value: float, blur: float) -> float:
    """The fraction of the smallest denominator within the blur; the value itself if none is."""
    under = np.arange(1, _DENOMINATOR + 1)
    over = np.rint(value * under)
    near = np.flatnonzero((over >= 1) & (np.abs(over / under - value) <= blur))
    return float(over[near[0]] / under[near[0]]) if len(near) else value


def _certified(plan: Plan, gradient: Gradient, reading: Found, prior: Prior) -> NDArray[np.bool_]:
    """Whole replay, and enough records beside the first that hit its scale."""
    none = np.zeros(len(reading.records), dtype=np.bool_)
    if not reading.complete:
        return none
    rows = integer_rows(plan, gradient.params, reading.records, reading.labels)
    _, at, times = np.unique(reading.records, axis=0, return_index=True, return_counts=True)
    loudest = np.abs(rows[at]).max(axis=1)
    off = 2 * rounding(plan) * max(1, len(reading.records))
    bits = np.log2(np.maximum(1.0, loudest / off)) - _BY_NATURE
    alone = bits[times == 1]
    if np.sort(np.maximum(alone, 0.0))[:-1].sum() < BITS:
        return none
    return distinguishable(plan, rows, prior.features) & once(reading.records)
