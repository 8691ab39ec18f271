r"""What a hospital computes from its patients: one noised vector of integers.

    per-patient gradients -> clip -> integers (norm at most D) -> sum -> + share of discrete noise

The order is the proof: clipping and rounding act on each patient alone, so that adding or removing
one patient moves the integer sum by at most :math:`D` in L2 norm, exactly; the noise is discrete
and is added to integers, so that what is sent is what was proved (DESIGN decision 1).

One-step uploads may share their noise between hospitals. After a local step one patient changes
every other's gradient, so several steps pay the full noise at each step (the patient as the unit)
or are clipped as a whole (the hospital as the unit).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.rules.rule import Call, State
from aggregation.statistics import STATISTICS
from privacy.errors import InvalidInputError, RefusedError
from privacy.mechanisms import BoundedIntegers, NoiseSource, article_noise, clip, to_integers
from privacy.unit import Unit

__all__ = [
    "bounded_rows",
    "draw_batches",
    "local_update",
    "noised_scalars",
    "noised_update",
    "patient_gradients",
    "unit_gradients",
]

LARGEST_INTEGER = 2.0**52  # a sum of a thousand such integers stays inside int64


def draw_batches(
    plan: Plan, hospital: str, patients: Patients, source: NoiseSource
) -> tuple[Patients, ...]:
    """Draw the patients of each local step of a round: all of them, or a Poisson sample.

    A patient is drawn with all of their records, or not at all.

    Raises:
      RefusedError: Rounds are steps of passes; ``aggregation.roles.draws`` remembers who was where.
    """
    if plan.pass_rounds is not None:
        raise RefusedError(
            f"A round of a plan with pass_rounds={plan.pass_rounds} is drawn with its whole pass: "
            "use aggregation.roles.draws.Draws."
        )
    prob = plan.sampling_probs[plan.hospitals.index(hospital)]
    steps = plan.used_rule.steps_of(hospital, plan.local_steps)
    if prob >= 1:
        return (patients,) * steps
    return tuple(_poisson(patients, prob, source) for _ in range(steps))


def _poisson(patients: Patients, prob: float, source: NoiseSource) -> Patients:
    return patients.take_patients(source.poisson_sample(prob, patients.count))


def noised_update(
    plan: Plan,
    hospital: str,
    batches: Sequence[Patients],
    params: Float[np.ndarray, "dim"],
    source: NoiseSource,
    *,
    weight: float = 1.0,
) -> Int[np.ndarray, "sent"]:
    """Return the hospital's update of one round, in integer steps of ``plan.step``.

    Guarantees (each is a test in ``tests/aggregation/test_update.py``):
      - with one step and the patient as the unit, the un-noised updates of two cohorts that differ
        by one added patient, with all their records, differ by at most ``plan.radius`` in L2 norm;
      - with the hospital as the unit, any two updates differ by at most ``2 plan.radius``, and each
        has norm at most ``plan.radius``;
      - a weight lowers that to ``plan.radius_of(weight)`` and leaves the noise as it is;
      - a hospital without patients sends pure noise, by the same law;
      - with noise ``none``, all patients and one step, the update is the sum of all gradients to
        within half an integer step a patient and coordinate.

    Args:
      plan: What was agreed.
      hospital: Name of the hospital, as in the plan.
      batches: The patients of each local step, from ``draw_batches``.
      params: The model of the round.
      source: Where the noise comes from.
      weight: In (0, 1], of every patient, before the noise.
    """
    return local_update(plan, hospital, batches, params, source, weight=weight)[0]


def local_update(
    plan: Plan,
    hospital: str,
    batches: Sequence[Patients],
    params: Float[np.ndarray, "dim"],
    source: NoiseSource,
    *,
    weight: float = 1.0,
    state: State | None = None,
    version: int = 0,
    staleness: int = 0,
) -> tuple[Int[np.ndarray, "sent"], State]:
    """Return ``noised_update``, and the rule's state once a sum that holds it was opened.

    Args:
      plan: What was agreed.
      hospital: Name of the hospital, as in the plan.
      batches: The patients of each local step, from ``draw_batches``.
      params: The model of the round.
      source: Where the noise comes from.
      weight: In [0, 1], of every patient, before the noise; with 0 it is noise alone.
      state: What the rule keeps at this hospital; None: nothing yet.
      version: Sums opened before the model.
      staleness: Sums opened since.
    """
    radius, rule = plan.radius_of(weight), plan.used_rule
    state = rule.start(plan.update_dim) if state is None else state
    batch_size = plan.batch_sizes[plan.hospitals.index(hospital)]
    if plan.unit == Unit.HOSPITAL:
        drawn = iter(batches)

        def gradient(here: NDArray[np.float64]) -> NDArray[np.float64]:
            rows = unit_gradients(plan, hospital, here, next(drawn))
            return np.asarray(rows.sum(axis=0) / batch_size)

        def loss(here: NDArray[np.float64]) -> float:
            losses = STATISTICS["loss"](plan.model, here, batches[0])
            return float(losses.mean()) if len(losses) else 0.0

        call = Call(hospital, params, version, staleness, len(batches), plan.learning_rate,
                    gradient, loss)  # fmt: skip
        sent, state = rule.local(state, call)
        total = _bounded_sum(plan, sent[None, :], radius) * (weight > 0)
        if plan.share_std > 0:
            total = total + source.discrete_gaussian(plan.share_std, plan.update_dim)
        return total, state
    total = np.zeros(plan.model.dim, dtype=np.int64)
    for batch in batches:
        gradients = unit_gradients(plan, hospital, params, batch)
        if plan.noise == NoiseKind.ARTICLE and plan.epsilon is not None:
            noisy = article_noise(
                gradients.sum(axis=0), epsilon=plan.epsilon, delta=plan.delta, source=source
            )
            step = _saturated(noisy / plan.step)
        else:
            step = _bounded_sum(plan, gradients, radius) * (weight > 0)
            if plan.share_std > 0:
                step = step + source.discrete_gaussian(plan.share_std, plan.model.dim)
        total += step
        params = params - plan.learning_rate * plan.step / batch_size * step
    return total, state


def unit_gradients(
    plan: Plan, hospital: str, params: Float[np.ndarray, "dim"], patients: Patients
) -> Float[np.ndarray, "patients dim"]:
    """Return the gradients that are clipped: one a patient, the mean of their records'."""
    return patients.per_patient(
        patient_gradients(
            plan, hospital, params, patients.features, patients.outcomes, patients.slots
        )
    )


def patient_gradients(
    plan: Plan,
    hospital: str,
    params: Float[np.ndarray, "dim"],
    features: Float[np.ndarray, "patients features"],
    outcomes: Int[np.ndarray, "patients"],
    slots: Int[np.ndarray, "patients"],
) -> Float[np.ndarray, "patients dim"]:
    """Return the gradients of patients' rows, one each, as the plan's rule weighs them."""
    rule, model = plan.used_rule, plan.model
    rows, residuals = model.gradients_and_residuals(
        params, features, outcomes, slots=slots, offset=rule.offset(hospital)
    )
    weights = rule.record_weights(hospital, features, outcomes, residuals)
    return rows if weights is None else rows * weights[:, None]


def noised_scalars(
    plan: Plan,
    hospital: str,
    patients: Patients,
    params: Float[np.ndarray, "dim"],
    source: NoiseSource,
) -> Int[np.ndarray, "scalars"]:
    """Return the hospital's share of the plan's scalars in one round, in integer steps of each.

    Guarantees (each is a test in ``tests/aggregation/test_scalars.py``):
      - adding or removing one patient moves each scalar by at most its ``radius``;
      - each scalar has noise of its own and, under Poisson sampling, a sample of its own, so that
        its event is composed with the update's.

    Args:
      plan: What was agreed.
      hospital: Name of the hospital, as in the plan.
      patients: All of the hospital's patients.
      params: The model of the round.
      source: Where samples and noise come from.
    """
    prob = plan.sampling_probs[plan.hospitals.index(hospital)]
    shares = []
    for group in plan.scalars:
        drawn = patients
        if prob < 1:
            drawn = _poisson(patients, prob, source)
        rows = drawn.per_patient(STATISTICS[group.name](plan.model, params, drawn)[:, None])
        if plan.unit == Unit.HOSPITAL:
            rows = rows.mean(axis=0, keepdims=True) if len(rows) else np.zeros((1, 1))
        integers = group.integers(rows, honest=plan.shares_of(group), source=source)
        slots = np.zeros(plan.slots_of(group), dtype=np.int64)
        slots[plan.hospitals.index(hospital) if plan.is_alone(group) else 0] = integers[0]
        shares.append(slots)
    return np.concatenate(shares) if shares else np.zeros(0, dtype=np.int64)


def _saturated(steps: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round what is noised already; the article's noise feeds on itself and may leave int64."""
    return np.rint(np.clip(steps, -LARGEST_INTEGER, LARGEST_INTEGER)).astype(np.int64)


def _bounded_sum(plan: Plan, rows: NDArray[np.float64], radius: int) -> NDArray[Any]:
    """Clip each row, weigh it, round it to integers of norm at most ``radius``, and add them."""
    if plan.clip_norm is None:
        whole = np.rint(rows * (radius / plan.radius) / plan.step).astype(np.int64)
        return np.asarray(whole.sum(axis=0))
    return bounded_rows(plan, rows, radius).sum()


def bounded_rows(
    plan: Plan, rows: Float[np.ndarray, "patients dim"], radius: int
) -> BoundedIntegers:
    """Clip each row, weigh it, and round it to integers of norm at most ``radius``.

    Args:
      plan: With a clip norm.
      rows: One gradient a patient, in units of the parameters.
      radius: ``plan.radius_of`` the weight.
    """
    if plan.clip_norm is None:
        raise InvalidInputError("Rows are bounded by the plan's clip norm; this plan has none.")
    clipped = clip(rows, clip_norm=plan.clip_norm)
    if radius < plan.radius:
        shorter = plan.step * radius
        clipped = clip(clipped.values * (radius / plan.radius), clip_norm=shorter)
    return to_integers(clipped, radius=radius)
