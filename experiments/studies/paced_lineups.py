r"""Line-ups before the strongest adversary of a run at everybody's own pace.

It sees every opened sum, knows the declared schedule, all training patients but the target, and
what the colluding hospitals sent; the coalition is the one that is worst for the target's hospital.
Under *Memory* a sum holds differences, so that one upload's noise is in two openings and no opening
may be judged by itself: the likelihood is the matrix mechanism's (``attacks.pool``), whose cost is
what the ledger pays (``privacy.accounting.linear``). Weights are applied before the noise, so that
a candidate's gradient is weighed, rounded and repaired as the hospital would have done it.

The target takes part in every upload of its hospital: all patients do.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aggregation.agreement import Agreement
from aggregation.federation import Outcome, sealing_for
from aggregation.patients import Patients
from aggregation.plan import Plan
from aggregation.sealing.plain import read_update
from aggregation.timing.leverage import leverage, opening_matrix
from aggregation.transcript import AGGREGATOR
from attacks.pool import matrix_log_ratios
from attacks.replay import integer_rows
from attacks.views import Gradient, GradientView, observe, require
from experiments.studies.informed import Group

__all__ = ["left_over", "log_likelihoods", "name_targets", "worst_coalition"]


def name_targets(
    agreement: Agreement,
    run: Outcome,
    patients: Mapping[str, Patients],
    groups: Sequence[Group],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the place that the adversary names in each line-up; ties are broken at random."""
    logs = log_likelihoods(agreement, run, patients, groups)
    best = logs >= logs.max(axis=1, keepdims=True) - 1e-9
    return np.array([int(rng.choice(np.flatnonzero(row))) for row in best], dtype=np.int64)


def worst_coalition(agreement: Agreement, hospital: str) -> tuple[str, ...]:
    """Return the colluders, as many as the plan allows for, that hide a hospital least."""
    memory = agreement.plan.used_rule.contract.memory
    others = [name for name in sorted(agreement.timing.uploads) if name != hospital]
    return max(
        combinations(others, min(agreement.plan.colluders, len(others))),
        key=lambda some: leverage(agreement.timing, colluders=some, memory=memory)[hospital],
    )


def log_likelihoods(
    agreement: Agreement, run: Outcome, patients: Mapping[str, Patients], groups: Sequence[Group]
) -> Float[np.ndarray, "groups people"]:
    """Return the log-likelihood of every candidate of every line-up, over all openings.

    Args:
      agreement: Plan, schedule and rule, all public.
      run: What was seen; its updates are read only for what colluders know of themselves.
      patients: All training patients; the adversary of a target knows the others.
      groups: The line-ups, all of one number of people.
    """
    plan = agreement.plan
    view = _view(run)
    matrix, places = _openings(agreement)
    logs = np.zeros((len(groups), len(groups[0].people)))
    for hospital in dict.fromkeys(g.hospital for g in groups):
        at = [i for i, g in enumerate(groups) if g.hospital == hospital]
        left, kept = left_over(agreement, run, patients, worst_coalition(agreement, hospital))
        own = [j for j, (_, name) in enumerate(places) if name == hospital]
        moves = _moves(plan, view, matrix[:, own], [places[j] for j in own], groups, at)
        logs[at] = matrix_log_ratios(left + moves[:, 0], moves, openings=kept, std=plan.share_std)
    return logs


def left_over(
    agreement: Agreement, run: Outcome, patients: Mapping[str, Patients], coalition: Sequence[str]
) -> tuple[Float[np.ndarray, "openings dim"], Float[np.ndarray, "openings uploads"]]:
    """Return the openings less what colluders sent and all others' patients: the matrix's noise.

    Its second part is the matrix of what is left, A without the colluders' columns.
    """
    plan, view = agreement.plan, _view(run)
    matrix, places = _openings(agreement)
    sent = _sent(agreement, run)
    left = np.stack([g.integers for g in view.gradients]).astype(np.float64)
    for t, name in places:
        if name in coalition:
            left[t] -= sent[t, name]
    kept = [j for j, (_, name) in enumerate(places) if name not in coalition]
    sums = [
        _rows(plan, view.gradients[t], name, patients[name]).sum(axis=0)
        for t, name in (places[j] for j in kept)
    ]
    return left - matrix[:, kept] @ np.stack(sums), matrix[:, kept]


def _view(run: Outcome) -> GradientView:
    return require(observe(run.transcript, "server_sealed"), GradientView, "informed")


def _openings(agreement: Agreement) -> tuple[NDArray[np.float64], list[tuple[int, str]]]:
    """A, and for each of its columns the opening and the hospital of the upload."""
    matrix, _ = opening_matrix(agreement.timing, memory=agreement.plan.used_rule.contract.memory)
    places = [
        (t, arrival.hospital)
        for t in range(agreement.timing.sums)
        for arrival in agreement.timing.arrivals(t)
    ]
    return matrix, places


def _moves(
    plan: Plan,
    view: GradientView,
    matrix: NDArray[np.float64],
    places: Sequence[tuple[int, str]],
    groups: Sequence[Group],
    at: Sequence[int],
) -> NDArray[np.float64]:
    """What each candidate adds to all openings: ``[groups, people, openings, dim]``."""
    people = np.concatenate([groups[i].people for i in at])
    labels = np.repeat([groups[i].outcome for i in at], len(groups[at[0]].people)).astype(np.int64)
    everybody = Patients(people, labels)
    rows = np.stack([_rows(plan, view.gradients[t], name, everybody) for t, name in places])
    moved = np.einsum("tj,jpd->ptd", matrix, rows)
    return np.asarray(moved.reshape(len(at), -1, *moved.shape[1:]))


def _rows(plan: Plan, gradient: Gradient, hospital: str, who: Patients) -> NDArray[np.float64]:
    """Each patient's integers at the model that the hospital answered, weighed as it signed."""
    part = next(c for c in gradient.contributions if c.hospital == hospital)
    radius = round(part.weight * plan.radius)
    rows = integer_rows(plan, part.params, who.features, who.outcomes, radius=radius)
    return rows.astype(np.float64)


def _sent(agreement: Agreement, run: Outcome) -> dict[tuple[int, str], NDArray[np.int64]]:
    """What went into each opening, by its place and hospital; a colluder knows its own part."""
    parameters = sealing_for(agreement.plan, agreement.timing).parameters
    found: dict[tuple[int, str], NDArray[np.int64]] = {}
    waiting: list[tuple[str, NDArray[np.int64]]] = []
    opened = 0
    for m in run.transcript:
        if m.receiver == AGGREGATOR and m.kind == "update":
            waiting.append((m.sender, read_update(parameters, m.payload)))
        elif waiting and m.kind == "opened":
            found.update({(opened, name): integers for name, integers in waiting})
            waiting, opened = [], opened + 1
    return found
