r"""A1: patients read off the first layer, in closed form, and certified by replay.

A hidden unit :math:`j` that is active for one patient :math:`x` alone receives
:math:`\partial W_j = g x` and :math:`\partial b_j = g`, so that the ratio is the patient
(Phong et al. 2018 [1], Eq. 6). A ratio is a candidate if it lies on the grid that the schema makes
public, and if the candidate, sent through the model as the hospital does it, gives back what the
unit shows. What is explained is subtracted, which uncovers further units, until nothing new fits.

An update that was captured in numbers of few bits has an error of known size, coordinate by
coordinate (``aggregation.capture``): every comparison allows it. Noise of a known law widens every
comparison by ``_BEYOND`` of its standard deviations, and a record that still fits is read again
from all units at which its patient is alone, each weighed by its strength, as least squares would.
Noise that is louder than the units leaves nothing to read.

**Certificates.** A record is certified by one of two rules, and only without noise:

1. *Whole replay*: the records found reproduce every integer of the update, or come within its known
   error in every coordinate, and no neighbouring grid value of any of them would.
2. *Coincidence*: a mixture of several patients could imitate the record only if a chance of at most
   :math:`2^{-24}` had happened. A unit's ratio depends on *which* patients are active there, not on
   the unit; so the same ratio at many units proves nothing by itself. A mixture has, however, to
   hit the grid in every number in which its patients differ, and its :math:`\sum_i (p_i - y_i)`
   has to equal :math:`p(x) - y` of the very record that it imitates. Counted is this last equation,
   and the *one* number that tells least, as if the mixed patients were alike in all others. An
   update that was read in several ways (``Gradient.readings``) has to show as many bits more.

Cost: a few matrix products a peeling step; milliseconds.

[1] Phong, Aono, Hayashi, Wang, Moriai (2018), *Privacy-Preserving Deep Learning via Additively
Homomorphic Encryption*, IEEE TIFS 13(5). Peeling goes back to Marchand et al. (2023), *SRATTA*.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from aggregation.models import LinearInput
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from attacks.exact.legible import hidden_by_rounding, tells_apart
from attacks.knowledge.capabilities import linear_input
from attacks.knowledge.features import Feature, project
from attacks.knowledge.priors import Prior
from attacks.knowledge.replay import integer_rows
from attacks.reconstructed import Reconstruction, guesses, join
from attacks.views import Gradient, GradientView, Observation, require
from privacy._validate import finite_array
from privacy.unit import Unit

__all__ = [
    "BITS",
    "MOST_COPIES",
    "ClosedForm",
    "Found",
    "distinguishable",
    "expected_patients",
    "first_layer",
    "nothing_found",
    "on_grid",
    "once",
    "outer_weights",
    "peel",
    "readable",
    "rounding",
]

MOST_COPIES = 64  # of one patient in one batch
BITS = 24.0  # of coincidence that a certificate by rule 2 needs
_PEEL_BITS = 6.0  # a weaker candidate is not subtracted: it would poison what follows
_LIKELIER = 1.0  # under noise, where nothing is sure: more likely a patient than a mixture
_BEYOND = 4.0  # deviations of noise that a comparison allows: it is missed once in 16,000


@dataclass(frozen=True)
class Found:
    """Records read off one gradient.

    Attributes:
      records: ``[found, features]``, standardised, on the grid.
      labels: Outcome of each.
      bits: Minus log2 of the chance that a mixture imitates the record.
      certified: Which are proved.
      residual: The gradient less what the records explain, in integer steps.
      complete: Whether nothing is left to explain.
    """

    records: NDArray[np.float64]
    labels: NDArray[np.int64]
    bits: NDArray[np.float64]
    certified: NDArray[np.bool_]
    residual: NDArray[np.int64]
    complete: bool

    @property
    def confidence(self) -> NDArray[np.float64]:
        """1 of what is proved; else the probability that no mixture imitates the record."""
        return np.where(self.certified, 1.0, 1 - 2.0**-self.bits)


@dataclass(frozen=True)
class _Blur:
    """How far what is seen may be from what is there, beyond rounding to whole steps.

    Attributes:
      quiet: Of each unit's bias ``[units]``: noise, and the error that is known.
      wider: By how much more an entry of the weights ``[units, features]`` may be off.
      noise: Of the noise alone.
      rounding: To whole steps, of one patient.
      known: Whether there is an error beside the noise.
    """

    quiet: NDArray[np.float64]
    wider: NDArray[np.float64]
    noise: float
    rounding: float
    known: bool

    @classmethod
    def of(cls, plan: Plan, gradient: Gradient, noise: float) -> "_Blur":
        has_error = gradient.error is not None
        error = gradient.error if gradient.error is not None else np.zeros(plan.model.dim)
        weights, biases = first_layer(plan, error)
        return cls(noise + biases, weights - biases[:, None], noise, rounding(plan), has_error)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Of each weight, as ``quiet`` is of each bias."""
        return self.quiet[:, None] + self.wider

    def around(self, records: NDArray[np.float64], units: NDArray[Any]) -> NDArray[np.float64]:
        """How far ``dW - x db`` may be from 0 at units that show a record alone."""
        # dW = g x + e, db = g + e' with |e|, |e'| <= blur: |dW - x db| <= blur (1 + |x|)
        blur = self.rounding + self.quiet[units]
        return np.asarray(blur[:, None] * (1 + np.abs(records)) + self.wider[units])


@dataclass(frozen=True)
class ClosedForm:
    """The attack A1 on every sum of gradients in a view.

    Guarantees (each is a test in ``tests/attacks/exact/test_closed_form.py``):
      - a certified record is a patient of the batch: no false certificate in 10,000 batches;
      - a view with noise certifies nothing, nor does one of several local steps;
      - a lone patient is recovered exactly; right in all features under noise whose deviation is
        .001 of the gradient's norm;
      - under noise, of the records that it claims at least the claimed share is right in all
        features; noise that is louder than the units leaves the prior's best guesses;
      - of an update captured in float32 or float64 it reads what it reads of the exact one less one
        record at most, and certifies no false one; where rounding hides numbers, it says which;
      - for each sum there are at least as many records as its expected number of patients; those
        that were not found are the prior's best guess.
    """

    name: ClassVar[str] = "closed_form"
    needs: ClassVar[type[GradientView]] = GradientView

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Attack each gradient of the view by itself, and put the records together.

        Raises:
          RefusedError: The adversary sees no gradient.
        """
        view = require(observation, GradientView, self.name)
        parts = [guesses(prior, 0)]
        for gradient in view.gradients:
            reading = peel(view.plan, gradient, prior)
            missing = max(0, expected_patients(view.plan, gradient) - len(reading.records))
            said = hidden_by_rounding(view.plan, gradient, prior.features)
            parts += [
                Reconstruction(reading.records, reading.confidence, reading.certified, notes=said),
                guesses(prior, 0 if reading.complete else missing),
            ]
        return join(*parts)


def expected_patients(plan: Plan, gradient: Gradient) -> int:
    """Return the expected number of patients behind a gradient: public, by the sampling size."""
    sizes = dict(zip(plan.hospitals, plan.batch_sizes, strict=True))
    return round(sum(sizes[name] for name in gradient.hospitals))


def first_layer(
    plan: Plan, vector: NDArray[np.int64] | NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split off the first layer's weights ``[units, features]`` and biases ``[units]``."""
    return linear_input(plan.model).first_layer(vector)


def peel(plan: Plan, gradient: Gradient, prior: Prior, *, copies: bool = False) -> Found:
    """Read records off one gradient, subtracting each as it is found.

    Args:
      plan: What all parties agreed on.
      gradient: What was seen.
      prior: Says what the columns are.
      copies: Whether a patient may be there several times; each time is a record.

    Raises:
      InvalidInputError: The gradient or the model holds NaN or infinity.
    """
    params = finite_array(params=gradient.params)
    records = np.zeros((0, plan.model.features))
    labels = np.zeros(0, dtype=np.int64)
    bits = np.zeros(0)
    residual = gradient.integers.copy()
    if plan.local_steps > 1 or plan.unit != Unit.PATIENT:
        return nothing_found(plan, residual)
    noise = _BEYOND * gradient.noise_std
    blur = _Blur.of(plan, gradient, noise)
    copies = copies and gradient.error is None
    needed = BITS + float(np.log2(gradient.readings))  # a union bound over the readings
    while not gradient.explains(residual):
        x, y, m, b, rows = _candidates(plan, params, residual, prior.features, blur, copies)
        good = np.flatnonzero(b >= (_LIKELIER if noise > 0 else _PEEL_BITS))
        if len(good) == 0:
            break
        # Up to a known error a candidate's neighbours were all refuted: each is taken.
        sure = good if blur.known else good[b[good] >= needed]
        taken = sure if len(sure) else good[[int(np.argmax(b[good]))]]
        remainder = residual - rows[taken].sum(axis=0)
        if _unexplained(gradient, remainder) >= _unexplained(gradient, residual):
            break  # explains nothing: subtracting it would only move the puzzle
        residual = remainder
        again = np.repeat(taken, m[taken])
        records = np.concatenate([records, x[again]])
        labels = np.concatenate([labels, y[again]])
        bits = np.concatenate([bits, b[again]])
    complete = readable(plan) and gradient.explains(residual) and len(records) > 0
    certified = (bits >= needed) & readable(plan)
    if complete:
        rows = integer_rows(plan, params, records, labels)
        certified |= distinguishable(plan, rows, prior.features, gradient.error)
    if copies:
        certified &= once(records)
    return Found(records, labels, bits, certified, residual, complete)


def _unexplained(gradient: Gradient, residual: NDArray[np.int64]) -> float:
    """How much is left: in steps, or, up to a known error, in how many coordinates."""
    if gradient.error is None:
        return float(np.abs(residual).sum())
    return float((np.abs(residual) > gradient.error).sum())


def once(records: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which records are there once.

    Two patients who are alike in all that the model sees, one on either side of a record in one
    number, add what two of the record do: a record that is found twice is read, and not proved.
    """
    _, which, times = np.unique(records, axis=0, return_inverse=True, return_counts=True)
    return np.asarray(times[which.ravel()] == 1)


def readable(plan: Plan) -> bool:
    """Whether a gradient is an exact sum of per-patient integers: no noise, one step."""
    return plan.noise == NoiseKind.NONE and plan.local_steps == 1 and plan.unit == Unit.PATIENT


def nothing_found(plan: Plan, residual: NDArray[np.int64]) -> Found:
    """Return that everything is left to explain."""
    none = np.zeros(0)
    records = np.zeros((0, plan.model.features))
    return Found(records, none.astype(np.int64), none, none.astype(np.bool_), residual, False)


def on_grid(
    plan: Plan, gradient: Gradient, features: tuple[Feature, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Units whose ratio lies on the grid, and the record that each of them shows.

    Args:
      plan: What all parties agreed on.
      gradient: What was seen.
      features: What the columns are.
    """
    return _shown(plan, gradient.integers, features, _Blur.of(plan, gradient, 0.0))


def _shown(
    plan: Plan, residual: NDArray[np.int64], features: tuple[Feature, ...], blur: _Blur
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    weights, biases = first_layer(plan, residual)
    units = np.flatnonzero(np.abs(biases) > 4 * blur.rounding + blur.quiet)
    snapped = project(weights[units] / biases[units, None], features)
    slack = blur.around(snapped, units) + 1e-6
    fits = (np.abs(weights[units] - snapped * biases[units, None]) <= slack).all(axis=1)
    return units[fits], snapped[fits]


def _candidates(
    plan: Plan,
    params: NDArray[np.float64],
    residual: NDArray[np.int64],
    features: tuple[Feature, ...],
    blur: _Blur,
    copies: bool,
) -> tuple[
    NDArray[np.float64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.float64],
    NDArray[np.int64],
]:
    """Distinct records that some unit shows alone, with label, copies, bits and integer row."""
    units, shown = _shown(plan, residual, features, blur)
    x, whose = np.unique(shown, axis=0, return_inverse=True)
    count = len(x)
    x, y = np.repeat(x, 2, axis=0), np.tile(np.array([0, 1], dtype=np.int64), count)
    once = np.ones(2 * count, dtype=np.int64)
    if count == 0:
        return x, y, once, np.zeros(0), np.zeros((0, plan.model.dim), dtype=np.int64)
    rows = integer_rows(plan, params, x, y)
    if blur.noise > 0:
        x = _read_again(plan, rows, x, residual, features, blur)
        rows = integer_rows(plan, params, x, y)
    if copies:
        once = _times(plan, rows, residual, units, whose)
        rows = rows * once[:, None]
    bits = np.array(
        [
            _bits(plan, params, row, z, residual, features, blur)
            for row, z in zip(rows, x, strict=True)
        ]
    ) - np.log2(MOST_COPIES) * (once > 1)
    return x, y, once, bits, rows


def _times(
    plan: Plan,
    rows: NDArray[np.int64],
    residual: NDArray[np.int64],
    units: NDArray[np.int64],
    whose: NDArray[np.int64],
) -> NDArray[np.int64]:
    """How often each record's row is in what the units that show it show, at least once."""
    _, seen = first_layer(plan, residual)
    times = np.ones(len(rows), dtype=np.int64)
    for i, row in enumerate(rows):
        showing = units[whose.ravel() == i // 2]
        want = first_layer(plan, row)[1][showing]
        loud = np.flatnonzero(want != 0)
        if len(loud):
            times[i] = np.clip(np.rint(np.median(seen[showing][loud] / want[loud])), 1, MOST_COPIES)
    return times


def _read_again(
    plan: Plan,
    rows: NDArray[np.int64],
    records: NDArray[np.float64],
    residual: NDArray[np.int64],
    features: tuple[Feature, ...],
    blur: _Blur,
) -> NDArray[np.float64]:
    r"""Each record read from all units at which its patient is alone, each by its own strength.

    Where :math:`dW_j = s g_j x + e` and :math:`db_j = s g_j + e'`, with the record's own
    :math:`g_j` and a scale s that clipping makes of the true numbers, x is
    :math:`\sum_j g_j dW_j / \sum_j g_j db_j`.
    """
    seen_w, seen_b = first_layer(plan, residual)
    result = records.copy()
    for i, row in enumerate(rows):
        alone, strengths = _alone(plan, row, residual, blur)
        scale = float(strengths[alone] @ seen_b[alone])
        if scale > 0:
            result[i] = strengths[alone] @ seen_w[alone] / scale
    return project(result, features)


def _alone(
    plan: Plan, row: NDArray[np.int64], residual: NDArray[np.int64], blur: _Blur
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """At which units a record's row is all that is seen, and how strong it is at each."""
    want_w, want_b = first_layer(plan, row)
    seen_w, seen_b = first_layer(plan, residual)
    alike = np.abs(want_b - seen_b) <= blur.quiet
    alike &= (np.abs(want_w - seen_w) <= blur.weights).all(axis=1)
    return alike & (np.abs(want_b) > blur.quiet), want_b


def _bits(
    plan: Plan,
    params: NDArray[np.float64],
    row: NDArray[np.int64],
    record: NDArray[np.float64],
    residual: NDArray[np.int64],
    features: tuple[Feature, ...],
    blur: _Blur,
) -> float:
    """Minus log2 of the chance that a mixture passes for the record; 0 if it is refuted."""
    seen_w, seen_b = first_layer(plan, residual)
    alone, want_b = _alone(plan, row, residual, blur)
    silent = (np.abs(seen_b) <= blur.quiet) & (np.abs(seen_w) <= blur.weights).all(axis=1)
    if not alone.any() or (silent & (np.abs(want_b) > 2 + 2 * blur.quiet)).any():
        return 0.0
    units = np.flatnonzero(alone)
    # p - y lies anywhere in (-1, 1): so many integers could have stood where one of two had to.
    reach = np.abs(outer_weights(plan, params)[units]) / plan.step
    spots = np.minimum(reach, plan.radius) / 2 / np.maximum(1.0, blur.quiet[units])
    equation = np.log2(max(1.0, spots.max()))
    strength, around = np.abs(seen_b[units]), 2 * blur.around(record[None, :], units)
    spread = [
        float((f.step / f.sd * strength / around[:, c]).max())
        for f in features
        if f.numeric
        for c in f.columns
    ]
    least = min(spread, default=1.0)
    if blur.known and least < 1:  # where it seems alone, its neighbours on the grid would as well
        return 0.0
    return float(equation + np.log2(max(1.0, least)))


def rounding(plan: Plan) -> float:
    """How far rounding moves one patient's coordinate at most, in steps."""
    return 0.5 if plan.clip_norm is None else 1.0


def outer_weights(plan: Plan, params: NDArray[np.float64]) -> NDArray[np.float64]:
    """What multiplies p - y in each unit's bias gradient: the second layer's weights."""
    return linear_input(plan.model).outer_weights(params)


def distinguishable(
    plan: Plan,
    rows: NDArray[np.int64],
    features: tuple[Feature, ...],
    error: NDArray[np.float64] | None = None,
) -> NDArray[np.bool_]:
    """Which records' integers would change if any number moved to the next grid value.

    Where they are known up to an error, they have to change by more than twice that, at a change of
    any level as well. Told by the first layer alone: of a model that has none that is linear,
    nothing is certified.
    """
    if not isinstance(plan.model, LinearInput):
        return np.zeros(len(rows), dtype=np.bool_)
    if error is not None:
        strengths = np.array([np.abs(first_layer(plan, row)[1]) for row in rows])
        return np.asarray(tells_apart(plan, strengths, features, error).all(axis=1))
    finest = min((f.step / f.sd for f in features if f.numeric), default=1.0)
    loudest = np.array([np.abs(first_layer(plan, row)[1]).max() for row in rows])
    return np.asarray(loudest * finest >= 2)
