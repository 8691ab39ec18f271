r"""Who stands in a line-up, drawn before anybody trains: blocks of ten, of whom one takes part.

A hospital's patients of one outcome (a stratum) are dealt into disjoint blocks of ten, once and for
all: in every fold, seed and round that is ever shown together a person stands in the same block. In
each cross-validation a block is shown in one fold. There one of the ten, uniform and independent of
all else, trains; the other nine are tested; everybody else is dealt to folds by a rule that does
not look at these draws. The ten are shuffled. So without the release no attack, not even one that
reads all line-ups together, expects more than m / 10 of m. With it, successes within a fold hang
together: intervals cluster by fold.

A fold tests a K-th of a stratum, so it holds as many blocks as nine go into that, and a stratum of
fewer than 9 K has none: its risk is not measurable. The same holds where patients are not folded
within their hospital.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from aggregation.engines.fleet import HospitalBlock
from aggregation.plan import Plan
from experiments.cohorts import Cohort, Fold, folds
from privacy.mechanisms import Seeded

__all__ = [
    "LINEUP",
    "LineUp",
    "LineUpFold",
    "in_network",
    "of_next_draw",
    "seated",
    "targets_of",
    "traits_of",
    "with_line_ups",
]

LINEUP = 10
TARGETS = 8  # of a simulated hospital: it has more patients than line-ups are needed
_RARE = 0.05  # of a hospital's patients
_BLOCKS = 83  # tells the stream that deals blocks; no seed of an experiment enters it


@dataclass(frozen=True)
class LineUp:
    """Ten people, one of whom took part.

    Attributes:
      hospital: Where all ten were treated.
      people: ``[people, features]``, standardised, in random order.
      outcome: That of all ten.
      target: The place of the one who trained, for scoring alone.
      patient: Its number among the hospital's patients (``Patients.ids``), for scoring alone.
      traits: What may put the target at more risk than others (``traits_of``), for scoring alone.
    """

    hospital: str
    people: Float[np.ndarray, "people features"]
    outcome: int
    target: int
    patient: int
    traits: tuple[str, ...] = ()


@dataclass(frozen=True)
class LineUpFold(Fold):
    """A fold, and who stands before an attack of its run.

    Attributes:
      lineups: Disjoint.
      unmeasured: Strata that are too small for a line-up: hospital, and whether with the outcome.
    """

    lineups: tuple[LineUp, ...] = ()
    unmeasured: tuple[str, ...] = ()


def with_line_ups(
    cohort: Cohort, *, count: int, seed: int, alone: bool = False
) -> tuple[LineUpFold, ...]:
    """Split a cohort as ``folds`` does, around blocks of ten.

    Guarantees (each is a test in ``tests/experiments/test_people.py``):
      - those of ``folds``: everybody of a scored hospital is tested once, folds are as large;
      - of each line-up the target alone trains, and the other nine are tested;
      - nobody stands in two blocks, in whatever fold or seed;
      - attacks that guess, read the order, or pool all line-ups name one in ten.

    Args:
      cohort: What to split.
      count: Number of folds.
      seed: Of the cross-validation: who trains of each block, and who is tested where.
      alone: As in ``folds``.

    Raises:
      InvalidInputError: As ``folds``.
    """
    split = folds(cohort, count=count, seed=seed, alone=alone)
    scored = [n for n in cohort.hospitals if n in split[0].test and n not in split[0].pooled]
    places, shown = {}, list[_Shown]()
    for name in scored:
        patients = cohort.hospitals[name]
        places[name] = np.full(len(patients), -1, dtype=np.int64)
        for k, fold in enumerate(split):
            places[name][np.isin(patients.ids, fold.test[name].ids)] = k
        for outcome in (0, 1):
            stratum = np.flatnonzero(patients.outcomes == outcome)
            rng = np.random.default_rng([seed, outcome, *name.encode()])
            dealt = _dealt(stratum, places[name], _blocks(name, outcome, stratum), count, rng)
            shown += [_Shown(name, outcome, *one) for one in dealt]
    dealt_folds = []
    for k, fold in enumerate(split):
        train = {
            n: p.take(places[n] != k) if n in places else fold.train[n]
            for n, p in cohort.hospitals.items()
            if n in fold.train
        }
        test = {
            n: cohort.hospitals[n].take(places[n] == k) if n in places else p
            for n, p in fold.test.items()
        }
        dealt_fold = LineUpFold(train, test, fold.pooled)
        blocks = [one for one in shown if one.fold == k]
        lineups = tuple(one.line_up(cohort.hospitals[one.hospital], dealt_fold) for one in blocks)
        dealt_folds.append(
            replace(dealt_fold, lineups=lineups, unmeasured=_unmeasured(cohort, shown))
        )
    return tuple(dealt_folds)


@dataclass(frozen=True)
class _Shown:
    """A block that is shown: its rows in random order, and the place of who trains."""

    hospital: str
    outcome: int
    fold: int
    rows: NDArray[np.int64]
    target: int

    def line_up(self, patients: Patients, fold: Fold) -> LineUp:
        row = int(self.rows[self.target])
        traits = traits_of(patients.features[[row]], self.hospital, fold)[0]
        return LineUp(
            self.hospital,
            patients.features[self.rows],
            self.outcome,
            self.target,
            int(patients.ids[row]),
            traits,
        )


def _blocks(name: str, outcome: int, stratum: NDArray[np.int64]) -> NDArray[np.int64]:
    """Deal a stratum into blocks of ten, the same ones for every seed; a rest is left."""
    rng = np.random.default_rng([_BLOCKS, outcome, *name.encode()])
    count = len(stratum) // LINEUP
    return rng.permutation(stratum)[: count * LINEUP].reshape(count, LINEUP)


def _dealt(
    stratum: NDArray[np.int64],
    places: NDArray[np.int64],
    blocks: NDArray[np.int64],
    count: int,
    rng: np.random.Generator,
) -> list[tuple[int, NDArray[np.int64], int]]:
    """Deal a stratum to the folds anew, in place, as many to each: fold, rows and target a block.

    Who trains of a block is tested in another fold than the nine, like everybody who is left.
    """
    quotas = np.bincount(places[stratum], minlength=count)
    room = rng.permutation(np.repeat(np.arange(count), quotas // (LINEUP - 1)))
    chosen = [rng.permutation(block) for block in rng.permutation(blocks)[: len(room)]]
    targets = [int(rng.integers(LINEUP)) for _ in chosen]
    tested = {int(row) for block, t in zip(chosen, targets, strict=True)
              for row in np.delete(block, t)}  # fmt: skip
    home = {int(block[t]): int(k) for block, t, k in zip(chosen, targets, room, strict=False)}
    for block, t, k in zip(chosen, targets, room, strict=False):
        places[np.delete(block, t)] = k
        quotas[k] -= LINEUP - 1
    remaining = np.array([row for row in stratum if int(row) not in tested], dtype=np.int64)
    barred = np.array([home.get(int(row), -1) for row in remaining], dtype=np.int64)
    dealt = rng.permutation(np.repeat(np.arange(count), quotas))
    for i in np.flatnonzero(dealt == barred):
        if dealt[i] == barred[i]:
            free = np.flatnonzero((dealt != barred[i]) & (barred != dealt[i]))
            if len(free):
                j = rng.choice(free)
                dealt[i], dealt[j] = dealt[j], dealt[i]
    places[remaining] = dealt
    stays = {int(row) for row in remaining[dealt == barred]}  # tested with the nine: nobody trains
    return [
        (int(k), block, t)
        for block, t, k in zip(chosen, targets, room, strict=False)
        if int(block[t]) not in stays
    ]


def _unmeasured(cohort: Cohort, shown: Sequence[_Shown]) -> tuple[str, ...]:
    measured = {(one.hospital, one.outcome) for one in shown}
    return tuple(
        f"{name} {'with' if outcome else 'without'} the outcome"
        for name in cohort.hospitals
        for outcome in (0, 1)
        if (name, outcome) not in measured
    )


def of_next_draw(cohort: Cohort, fold: Fold, *, seed: int) -> LineUpFold:
    """Line up trained patients with people of the next draw of their hospital and outcome.

    Both draws are of one law, so that each of the ten is as likely to have been trained. At most
    ``TARGETS`` a hospital; nobody stands in two line-ups.

    Args:
      cohort: Who trains.
      fold: Trained, and the next draw of each hospital's patients.
      seed: Of the line-ups.
    """
    rng = np.random.default_rng([seed, _BLOCKS])
    lineups = []
    for name, train in fold.train.items():
        rows: list[tuple[int, NDArray[np.int64]]] = []
        for outcome in (0, 1):
            theirs = rng.permutation(np.flatnonzero(train.outcomes == outcome))
            later = rng.permutation(np.flatnonzero(fold.test[name].outcomes == outcome))
            nines = len(later) // (LINEUP - 1)
            groups = later[: nines * (LINEUP - 1)].reshape(nines, LINEUP - 1)
            rows += [(int(row), nine) for row, nine in zip(theirs, groups, strict=False)]
        for place in rng.permutation(len(rows))[:TARGETS]:
            row, nine = rows[place]
            traits = traits_of(train.features[[row]], name, fold)[0]
            beside = fold.test[name].features[nine]
            lineups.append(_shuffled(name, train, row, beside, rng, traits))
    shown = {(one.hospital, one.outcome) for one in lineups}
    lacking = [
        f"{n} {'with' if y else 'without'} the outcome"
        for n in cohort.hospitals
        for y in (0, 1)
        if (n, y) not in shown
    ]
    return LineUpFold(fold.train, fold.test, fold.pooled, tuple(lineups), tuple(lacking))


def _shuffled(
    hospital: str,
    train: Patients,
    row: int,
    beside: NDArray[np.float64],
    rng: np.random.Generator,
    traits: tuple[str, ...] = (),
) -> LineUp:
    order = rng.permutation(LINEUP)
    people = np.vstack([train.features[row], beside])[order]
    target = int(np.flatnonzero(order == 0)[0])
    outcome, patient = int(train.outcomes[row]), int(train.ids[row])
    return LineUp(hospital, people, outcome, target, patient, traits)


def seated(
    plan: Plan,
    patients: Mapping[str, Patients],
    lineups: Sequence[LineUp],
    *,
    seed: tuple[int, ...],
) -> tuple[dict[str, Patients], tuple[LineUp, ...]]:
    """Give targets the places in their hospitals' tables that the first round will draw.

    A risk is that of patients who took part in the attacked round. A coin is thrown for each place
    of the table, whoever has it; so placing a target where it falls right is the law of patients
    given that they were drawn, and says nothing of who the target is. Line-ups beyond the drawn
    places are left out, by chance.

    Args:
      plan: Of the run.
      patients: Who trains, by hospital.
      lineups: Of this run.
      seed: Of the run (``Federation.simulated``).

    Where rounds are passes nobody is moved: everybody takes part in each of them.
    """
    if plan.sampling_size is None:
        return dict(patients), tuple(lineups)
    arranged, kept = {}, list[LineUp]()
    for k, (name, prob) in enumerate(zip(plan.hospitals, plan.sampling_probs, strict=True)):
        group, rng = patients[name], np.random.default_rng([*seed, k, _BLOCKS])
        drawn = np.flatnonzero(Seeded((*seed, k)).poisson_sample(prob, len(group)))
        hospital_lineups = [one for one in lineups if one.hospital == name]
        shown = [hospital_lineups[i] for i in rng.permutation(len(hospital_lineups))[: len(drawn)]]
        rows = np.array([int(np.flatnonzero(group.ids == o.patient)[0]) for o in shown], dtype=int)
        order = np.full(len(group), -1, dtype=np.int64)
        order[rng.permutation(drawn)[: len(rows)]] = rows
        order[order < 0] = np.setdiff1d(np.arange(len(group)), rows)
        arranged[name] = group.take(order)
        kept += shown
    return arranged, tuple(kept)


def in_network(
    train: HospitalBlock,
    later: HospitalBlock,
    *,
    count: int,
    colluders: int,
    alike: bool,
    rng: np.random.Generator,
) -> list[LineUp]:
    """Draw targets among all patients, each beside nine of the next draw; nobody stands twice.

    Hospitals are named by their numbers, five digits each.

    Args:
      train: Who took part.
      later: The next draw of the same hospitals, who did not.
      count: Targets that are looked at.
      colluders: Hospitals, the last ones, without targets.
      alike: Whether all hospitals draw from one population, so that anybody may stand there.
      rng: Draws targets and the nine.
    """
    home = np.repeat(np.arange(len(train.offsets) - 1), np.diff(train.offsets))
    candidates = np.flatnonzero(home < len(train.offsets) - 1 - colluders)
    rows = rng.choice(candidates, size=min(count, len(candidates)), replace=False)
    lineups = []
    unused = np.ones(len(later.outcomes), dtype=np.bool_)
    for row in rows:
        low, high = (0, len(later.outcomes)) if alike else later.offsets[home[row] :][:2]
        fitting = low + np.flatnonzero(
            unused[low:high] & (later.outcomes[low:high] == train.outcomes[row])
        )
        if len(fitting) >= LINEUP - 1:
            others = rng.choice(fitting, LINEUP - 1, replace=False)
            unused[others] = False
            start, end = train.offsets[home[row] :][:2]
            patients = Patients(train.features[start:end], train.outcomes[start:end])
            name, place = f"{home[row]:05d}", int(row - start)
            lineups.append(_shuffled(name, patients, place, later.features[others], rng))
    return lineups


def targets_of(lineups: Sequence[LineUp]) -> Int[np.ndarray, "lineups"]:
    """Return the places of all targets."""
    return np.array([one.target for one in lineups], dtype=np.int64)


def traits_of(features: NDArray[np.float64], hospital: str, split: Fold) -> list[tuple[str, ...]]:
    """Say of each patient what may put it at more risk than others.

    - ``rare``: has a binary feature of a value that fewer than 5 % of the hospital's patients have;
    - ``outlying``: farther from the hospital's mean than 80 % of its patients, columns in units of
      their standard deviation;
    - ``small hospital``: treated where the fewest are.
    """
    everybody = split.train[hospital].features
    centre, spread = everybody.mean(axis=0), np.maximum(everybody.std(axis=0), 1e-9)
    limit = np.quantile((((everybody - centre) / spread) ** 2).sum(axis=1), 0.8)
    far = (((features - centre) / spread) ** 2).sum(axis=1) > limit
    binary = np.isin(everybody, (0.0, 1.0)).all(axis=0)
    share = np.where(features == 1.0, centre, 1 - centre)
    rare = ((share < _RARE) & binary).any(axis=1)
    small = len(everybody) == min(len(p) for p in split.train.values())
    return [
        tuple(
            name for name, held in (("rare", r), ("outlying", f), ("small hospital", small)) if held
        )
        for r, f in zip(rare, far, strict=True)
    ]
