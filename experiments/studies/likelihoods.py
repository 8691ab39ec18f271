r"""The strongest adversary before a line-up: it knows everybody but the target, and who was drawn.

Of a run it sees what its position sees, in *all* rounds; it knows every other training patient, who
of them was drawn when, and that the target was drawn in the first round (later: with the plan's
probability); where sums are sealed it colludes with as many hospitals as the plan allows for. The
ten people of the line-up are its prior. Its answer is the maximum of the exact posterior
(``attacks.informed.candidates``), so that no attack on this view names the target more often, and
the proven bound is for it in particular: what lies between the two is the geometry of the ten
gradients.

Nothing that the line-up rests on is given away: of each block of ten one trains, drawn apart from
all else (``studies.people``), so that given all other training patients each of the ten is equally
likely to be the one who took part.

``of_public`` is the same question put by who knows nobody (``attacks.informed.likelihood_ratio``):
the curious server's, whose view has no more than its position sees.

A likelihood is the same thing for every run, the release less what is known, and is computed as the
run was made:

- ``of_rounds``: rounds, with sampled patients, in clear or sealed; in passes, where each takes part
  in one round of each; with noise that is correlated over them;
- ``of_walks``: several local steps without noise, replayed with each candidate in its place;
- ``of_schedule``: a run at everybody's own pace, over all openings together. The coalition is the
  one that is worst for the target's hospital. Under *Memory* a sum holds differences, so that one
  upload's noise is in two openings and no opening may be judged by itself: the likelihood is the
  matrix mechanism's, whose cost is what the ledger pays (``privacy.accounting.linear``). Weights
  are applied before the noise, so that a candidate's gradient is weighed, rounded and repaired as
  the hospital would have done it;
- ``of_fleet``: one round of thousands of hospitals at once. How many others take part changes
  nothing but the shares of the colluders.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.agreement import Agreement
from aggregation.data.patients import Patients
from aggregation.federation import Outcome
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.sealing.plain import read_update
from aggregation.sized import sealing_for
from aggregation.timing.leverage import leverage, opening_matrix
from aggregation.transcript import AGGREGATOR
from attacks import Prior
from attacks.informed.candidates import (
    article_log_ratios,
    correlated_log_ratios,
    log_ratios,
    matrix_log_ratios,
    passes_log_ratios,
)
from attacks.informed.likelihood_ratio import LikelihoodRatio
from attacks.informed.seen_sums import ROUNDING, Openings, Upload
from attacks.informed.walks import walked
from attacks.knowledge.replay import integer_rows
from attacks.views import Gradient, GradientView, observe, require
from experiments.studies.people import LineUp, targets_of
from privacy.errors import RefusedError
from privacy.unit import Unit

__all__ = [
    "name_targets",
    "of_fleet",
    "of_public",
    "of_public_schedule",
    "of_rounds",
    "of_schedule",
    "of_walks",
    "released_noise",
    "worst_coalition",
]


def name_targets(
    logs: Float[np.ndarray, "lineups people"], rng: np.random.Generator
) -> Int[np.ndarray, "lineups"]:
    """Return the place of the likeliest person of each line-up; ties are broken at random."""
    best = logs >= logs.max(axis=1, keepdims=True) - 1e-9
    return np.array([int(rng.choice(np.flatnonzero(row))) for row in best], dtype=np.int64)


def of_rounds(
    view: GradientView, outcome: Outcome, lineups: Sequence[LineUp]
) -> Float[np.ndarray, "lineups people"]:
    """Return the log-likelihood of every candidate of every line-up, over all rounds.

    It equals ``attacks.informed.known_others.InformedPool`` with each target's own knowledge, one
    by one (a test holds it against that); here what all targets share is subtracted once a round.

    Args:
      view: Single updates, or sums, of all rounds.
      outcome: The run: who was drawn, and what colluding hospitals sent.
      lineups: All of one number of people.

    Raises:
      RefusedError: Several local steps, or the hospital as the unit.
    """
    plan = view.plan
    if plan.local_steps > 1 or plan.unit != Unit.PATIENT:
        raise RefusedError("The informed adversary reads one-step sums of patients' gradients.")
    if plan.correlated is not None:
        return _of_correlated(view, outcome, lineups)
    ratios = np.zeros((plan.rounds, len(lineups), len(lineups[0].people)))
    for gradient in view.gradients:
        places = [i for i, one in enumerate(lineups) if one.hospital in gradient.hospitals]
        if places:
            there = [lineups[i] for i in places]
            ratios[gradient.round, places] += _of_round(plan, gradient, outcome, there)
    if plan.pass_rounds is None:
        return np.asarray(ratios.sum(axis=0))
    return passes_log_ratios(ratios, range(plan.rounds), steps=plan.pass_rounds)


def _of_correlated(
    view: GradientView, outcome: Outcome, lineups: Sequence[LineUp]
) -> NDArray[np.float64]:
    """Of a hospital's line-ups in all of its sums together."""
    plan, logs = view.plan, np.zeros((len(lineups), len(lineups[0].people)))
    for hospital in dict.fromkeys(one.hospital for one in lineups):
        at = [i for i, one in enumerate(lineups) if one.hospital == hospital]
        hospital_lineups = [lineups[i] for i in at]
        sums = [g for g in view.gradients if hospital in g.hospitals]
        parts = [part for g in sums for _, part in _less_known(plan, g, outcome, hospital_lineups)]
        logs[at] = correlated_log_ratios(
            plan,
            np.stack([part.left for part in parts], axis=1),
            np.stack([part.rows for part in parts], axis=2),
            rounds=[g.round for g in sums],
            contributors=[part.unknown for part in parts],
        )
    return logs


def of_walks(
    view: GradientView, outcome: Outcome, lineups: Sequence[LineUp]
) -> Float[np.ndarray, "lineups people"]:
    """Return the same of the first round of several local steps without noise.

    All batches are known but for one patient of them; the walk is replayed with each candidate in
    its place, and held against what was seen, less the other hospitals' walks.

    Args:
      view: Single updates, or sums.
      outcome: The run: who was drawn in each step.
      lineups: All of one number of people; the targets are in their hospitals' first batches.

    Raises:
      RefusedError: The steps have noise: it moves the walk, and is not known.
    """
    plan = view.plan
    if plan.noise != NoiseKind.NONE or plan.unit != Unit.PATIENT:
        raise RefusedError(
            "A walk is replayed exactly or not at all: its steps have noise, or the hospital is "
            "the unit. Let the informed adversary try where there is none."
        )
    logs = np.zeros((len(lineups), len(lineups[0].people)))
    for i, one in enumerate(lineups):
        gradient = next(g for g in view.gradients if one.hospital in g.hospitals)
        seen = gradient.integers.astype(np.float64)
        for name in gradient.hospitals:
            if name != one.hospital:
                drawn = outcome.drawn[name][gradient.round]
                seen = seen - walked(plan, name, gradient.params, drawn).sent
        batches = outcome.drawn[one.hospital][gradient.round]
        for k, person in enumerate(one.people):
            there = [_in_place(batch, one, person) for batch in batches]
            gap = seen - walked(plan, one.hospital, gradient.params, there).sent
            logs[i, k] = -0.5 * float(gap @ gap) / ROUNDING
    return logs


def _in_place(batch: Patients, lineup: LineUp, person: NDArray[np.float64]) -> Patients:
    """A batch with another person in the target's place, where the target is in it."""
    features = np.where((batch.ids == lineup.patient)[:, None], person, batch.features)
    return Patients(features, batch.outcomes, batch.ids)


def of_public(
    view: GradientView, prior: Prior, lineups: Sequence[LineUp]
) -> Float[np.ndarray, "lineups people"]:
    """Return the log-likelihood of every candidate by who knows a public prior alone.

    Args:
      view: Single updates, or sums, of all rounds.
      prior: What is public of patients.
      lineups: All of one number of people.
    """
    return _by_hospital(lineups, LikelihoodRatio().by_hospital(view, prior))


def of_public_schedule(
    agreement: Agreement, run: Outcome, prior: Prior, lineups: Sequence[LineUp]
) -> Float[np.ndarray, "lineups people"]:
    """Return the same of all openings of a run at everybody's own pace, with their covariance.

    Args:
      agreement: Plan, schedule and rule, all public.
      run: What was seen.
      prior: What is public of patients.
      lineups: All of one number of people.
    """
    view = _sums_of(run)
    matrix, places = _openings(agreement)
    uploads = []
    for t, name in places:
        part = next(c for c in view.gradients[t].contributions if c.hospital == name)
        uploads.append(Upload(name, part.params, part.weight))
    seen = np.stack([g.integers for g in view.gradients]).astype(np.float64)
    noise = view.plan.share_std**2 * matrix @ matrix.T
    openings = Openings(view.plan, tuple(uploads), matrix, seen, noise)
    return _by_hospital(lineups, LikelihoodRatio().of_openings(openings, prior))


def _by_hospital(
    lineups: Sequence[LineUp],
    logs_of: Callable[[str, NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Judge each hospital's line-ups together: hospital, people and outcomes to log-likelihoods."""
    logs = np.zeros((len(lineups), len(lineups[0].people)))
    for hospital in dict.fromkeys(one.hospital for one in lineups):
        at = [i for i, one in enumerate(lineups) if one.hospital == hospital]
        people = np.stack([lineups[i].people for i in at])
        outcomes = np.repeat([[lineups[i].outcome] for i in at], people.shape[1], axis=1)
        logs[at] = logs_of(hospital, people, outcomes)
    return logs


def _of_round(
    plan: Plan, gradient: Gradient, outcome: Outcome, lineups: Sequence[LineUp]
) -> NDArray[np.float64]:
    logs = np.zeros((len(lineups), len(lineups[0].people)))
    for at, part in _less_known(plan, gradient, outcome, lineups):
        prob = 1.0
        if gradient.round > 0 and plan.pass_rounds is None:  # of a pass, steps are weighed later
            prob = plan.sampling_probs[plan.hospitals.index(lineups[at[0]].hospital)]
        if plan.noise == NoiseKind.ARTICLE:
            logs[at] = article_log_ratios(plan, gradient.integers, part.left, part.rows, prob=prob)
            continue
        std = plan.share_std * len(part.unknown) ** 0.5
        logs[at] = log_ratios(part.left, part.rows, std=std, prob=prob)
    return logs


@dataclass(frozen=True)
class _LessKnown:
    """A sum without what is known of it, for the line-ups of one hospital.

    Attributes:
      left: Of each line-up; with the article's noise, the others' gradients instead.
      rows: What each of its people would add.
      unknown: Hospitals whose noise is in it and not known.
    """

    left: Float[np.ndarray, "lineups dim"]
    rows: Float[np.ndarray, "lineups people dim"]
    unknown: tuple[str, ...]


def _less_known(
    plan: Plan, gradient: Gradient, outcome: Outcome, lineups: Sequence[LineUp]
) -> Iterator[tuple[NDArray[np.int64], _LessKnown]]:
    """Yield the places of each hospital's line-ups, and its sum less what is known."""
    round_, params = gradient.round, gradient.params
    article = plan.noise == NoiseKind.ARTICLE

    def rows_of(who: Patients) -> NDArray[np.float64]:
        if article:
            return plan.model.per_patient_gradients(params, who.features, who.outcomes)
        return integer_rows(plan, params, who.features, who.outcomes).astype(np.float64)

    rows = rows_of(_candidates(lineups)).reshape(len(lineups), len(lineups[0].people), -1)
    present = np.array([_was_drawn(one, outcome, round_) for one in lineups])
    target_rows = rows[np.arange(len(lineups)), targets_of(lineups)]
    hidden = target_rows * present[:, None]  # the one patient whom the adversary doesn't know
    sums = {
        name: rows_of(outcome.drawn[name][round_][0]).sum(axis=0) for name in gradient.hospitals
    }
    for hospital in dict.fromkeys(one.hospital for one in lineups):
        at = np.array([i for i, one in enumerate(lineups) if one.hospital == hospital])
        if article:
            yield at, _LessKnown(sums[hospital] - hidden[at], rows[at], (hospital,))
            continue
        # As many colluders as the plan's noise allows for, the target's hospital not among them.
        colluders = [name for name in gradient.hospitals if name != hospital][: plan.colluders]
        residual = gradient.integers.astype(np.float64)
        for name in gradient.hospitals:
            residual = residual - (outcome.sent[name][round_] if name in colluders else sums[name])
        unknown = tuple(name for name in gradient.hospitals if name not in colluders)
        yield at, _LessKnown(residual + hidden[at], rows[at], unknown)


def _candidates(lineups: Sequence[LineUp]) -> Patients:
    """Everybody of every line-up, one after the other."""
    people = np.concatenate([one.people for one in lineups])
    outcomes = np.repeat([one.outcome for one in lineups], len(lineups[0].people))
    return Patients(people, outcomes.astype(np.int64))


def _was_drawn(lineup: LineUp, outcome: Outcome, round_: int) -> bool:
    return bool((outcome.drawn[lineup.hospital][round_][0].ids == lineup.patient).any())


def worst_coalition(agreement: Agreement, hospital: str) -> tuple[str, ...]:
    """Return the colluders, as many as the plan allows for, that hide a hospital least."""
    memory = agreement.plan.used_rule.contract.memory
    others = [name for name in sorted(agreement.timing.uploads) if name != hospital]
    return max(
        combinations(others, min(agreement.plan.colluders, len(others))),
        key=lambda some: leverage(agreement.timing, colluders=some, memory=memory)[hospital],
    )


def of_schedule(
    agreement: Agreement, run: Outcome, patients: Mapping[str, Patients], lineups: Sequence[LineUp]
) -> Float[np.ndarray, "lineups people"]:
    """Return the log-likelihood of every candidate of every line-up, over all openings.

    The target takes part in every upload of its hospital: all patients do.

    Args:
      agreement: Plan, schedule and rule, all public.
      run: What was seen; its updates are read only for what colluders know of themselves.
      patients: All training patients; the adversary of a target knows the others.
      lineups: All of one number of people.
    """
    plan, view = agreement.plan, _sums_of(run)
    matrix, places = _openings(agreement)
    logs = np.zeros((len(lineups), len(lineups[0].people)))
    for hospital in dict.fromkeys(one.hospital for one in lineups):
        at = [i for i, one in enumerate(lineups) if one.hospital == hospital]
        noise, openings = released_noise(
            agreement, run, patients, worst_coalition(agreement, hospital)
        )
        columns = [j for j, (_, name) in enumerate(places) if name == hospital]
        who = _candidates([lineups[i] for i in at])
        rows = np.stack([_rows(plan, view.gradients[places[j][0]], hospital, who) for j in columns])
        added = np.einsum("tj,jpd->ptd", matrix[:, columns], rows)  # by each candidate, opened
        moves = added.reshape(len(at), -1, *added.shape[1:])
        target_moves = moves[np.arange(len(at)), targets_of([lineups[i] for i in at])]
        logs[at] = matrix_log_ratios(
            noise + target_moves, moves, openings=openings, std=plan.share_std
        )
    return logs


def released_noise(
    agreement: Agreement, run: Outcome, patients: Mapping[str, Patients], coalition: Sequence[str]
) -> tuple[Float[np.ndarray, "openings dim"], Float[np.ndarray, "openings uploads"]]:
    """Return the openings less what colluders sent and all others' patients: the matrix's noise.

    Its second part is the matrix of what remains, A without the colluders' columns.
    """
    plan, view = agreement.plan, _sums_of(run)
    matrix, places = _openings(agreement)
    sent = _sent(agreement, run)
    residual = np.stack([g.integers for g in view.gradients]).astype(np.float64)
    for t, name in places:
        if name in coalition:
            residual[t] -= sent[t, name]
    honest = [j for j, (_, name) in enumerate(places) if name not in coalition]
    sums = [
        _rows(plan, view.gradients[t], name, patients[name]).sum(axis=0)
        for t, name in (places[j] for j in honest)
    ]
    return residual - matrix[:, honest] @ np.stack(sums), matrix[:, honest]


def _sums_of(run: Outcome) -> GradientView:
    return require(
        observe(run.transcript, "server_sealed"), GradientView, "informed", together=True
    )


def _openings(agreement: Agreement) -> tuple[NDArray[np.float64], list[tuple[int, str]]]:
    """A, and for each of its columns the opening and the hospital of the upload."""
    matrix, _ = opening_matrix(agreement.timing, memory=agreement.plan.used_rule.contract.memory)
    places = [
        (t, arrival.hospital)
        for t in range(agreement.timing.sums)
        for arrival in agreement.timing.arrivals(t)
    ]
    return matrix, places


def _rows(plan: Plan, gradient: Gradient, hospital: str, who: Patients) -> NDArray[np.float64]:
    """Each patient's integers at the model that the hospital answered, weighed as it signed."""
    part = next(c for c in gradient.contributions if c.hospital == hospital)
    radius = plan.applied_radius(part.weight)
    rows = integer_rows(plan, part.params, who.features, who.outcomes, radius=radius)
    return rows.astype(np.float64)


def _sent(agreement: Agreement, run: Outcome) -> dict[tuple[int, str], NDArray[np.int64]]:
    """What went into each opening, by its place and hospital; a colluder knows its own part."""
    parameters = sealing_for(agreement.plan, agreement.timing).parameters
    sent: dict[tuple[int, str], NDArray[np.int64]] = {}
    waiting: list[tuple[str, NDArray[np.int64]]] = []
    opened = 0
    for m in run.transcript:
        if m.receiver == AGGREGATOR and m.kind == "update":
            waiting.append((m.sender, read_update(parameters, m.payload)))
        elif waiting and m.kind == "opened":
            sent.update({(opened, name): integers for name, integers in waiting})
            waiting, opened = [], opened + 1
    return sent


def of_fleet(
    plan: Plan,
    lineups: Sequence[LineUp],
    params: NDArray[np.float64],
    sent: Int[np.ndarray, "hospitals dim"],
    clear: Int[np.ndarray, "hospitals dim"],
) -> Float[np.ndarray, "lineups people"]:
    """Return one round's log-likelihood of every candidate.

    Args:
      plan: Full batch; noise shared or local. The last hospitals collude.
      lineups: All of one number of people.
      params: The model of the round.
      sent: What every hospital sent. Where the noise is shared only its sum is read, and the
        colluders' rows.
      clear: Every hospital's sum without noise: what the adversary knows, and the target.
    """
    who = _candidates(lineups)
    rows = integer_rows(plan, params, who.features, who.outcomes)
    rows = rows.reshape(len(lineups), len(lineups[0].people), -1)
    target_rows = rows[np.arange(len(lineups)), targets_of(lineups)]
    if plan.noise == NoiseKind.SHARED:
        honest = len(sent) - plan.colluders
        residual = sent.sum(axis=0) - sent[honest:].sum(axis=0) - clear[:honest].sum(axis=0)
        std = plan.share_std * honest**0.5
        return log_ratios(residual + target_rows, rows, std=std, prob=1.0)
    place = {name: k for k, name in enumerate(plan.hospitals)}
    at = np.array([place[one.hospital] for one in lineups])
    return log_ratios(sent[at] - clear[at] + target_rows, rows, std=plan.share_std, prob=1.0)
