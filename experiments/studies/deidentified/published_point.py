"""One way to publish the tables of a cohort, at several k: what they are worth, who is named.

The folds, hospitals and blocks of ten are the frontier's. Of the training patients each hospital
publishes its own table; or a curator who reads all of them publishes one, without the hospital.
Whoever has the published tables puts their rows together and fits one ridge regression, as pooled
training does with the patients themselves. It is tested on held-out patients as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from aggregation.models import Logistic
from aggregation.rules import LocalForm, fit_locally
from attacks.scoring.rates import cluster_bootstrap
from experiments.cohorts import Cohort, called, load
from experiments.evaluation import (
    Estimate,
    Scored,
    bootstrap_auc,
    bootstrap_difference,
    by_patient,
)
from experiments.studies.deidentified import naming
from experiments.studies.deidentified.hierarchy import encoded, fields_of, recorded, top
from experiments.studies.deidentified.linkage import linked
from experiments.studies.deidentified.published import LIMIT, Published, publish
from experiments.studies.design import DELTA, TRAINING, Design, Regime, make_plan
from experiments.studies.final_model import final_model
from experiments.studies.lineups import INFORMED, Trial, risk, trials_of, worst_risk
from experiments.studies.people import LINEUP, LineUp, LineUpFold, with_line_ups
from experiments.studies.problem import LogisticProblem, scores
from privacy.errors import InvalidInputError

__all__ = ["KS", "DeidentifiedPoint", "FoldOfTables", "TablesAtK", "which"]

KS = (1, 2, 5, 10, 20, 25)
"""Least sizes of classes; of 1 the table is as recorded."""
_EPSILON = 1.0  # of the sealed federation beside
_RIDGE = 1.0  # of pooled training, in patients
_ALL = "all hospitals"
_RAW, _SEALED, _OWN = "pooled", "sealed", "own"


@dataclass(frozen=True)
class DeidentifiedPoint:
    """One way to publish; its fields are the record's key. A unit is a seed and a fold.

    Attributes:
      quasi: Fields that are taken for known to an intruder and made coarser; empty: all.
      curator: Whether one table is made of all hospitals, by who reads all patients.
      cohort: As ``experiments.cohorts.load`` takes it.
      ks: Least sizes of classes, each a table of its own; 1: as recorded.
      seeds: Cross-validations.
      folds: Of each.
      code_version: Raised when a change moves the numbers.
    """

    quasi: tuple[str, ...] = ()
    curator: bool = False
    cohort: str = "heart"
    ks: tuple[int, ...] = KS
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    folds: int = 5
    code_version: int = 1

    @property
    def config(self) -> dict[str, Any]:
        """What names the record."""
        setting = asdict(TRAINING[Regime.FULL, "logistic"])
        return {
            "experiment": "deidentified",
            "delta": DELTA,
            "limit": LIMIT,
            "lineup": LINEUP,
            "setting": setting,
            **asdict(self),
        }

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        by = "a curator" if self.curator else "each hospital"
        return (
            f"de-identified {called(self.cohort)} by {by}: {', '.join(self.quasi) or 'all fields'}"
        )

    @property
    def units(self) -> list[tuple[int, int]]:
        """Seed and fold."""
        return list(product(self.seeds, range(self.folds)))

    def measure(self, unit: tuple[int, int], data_dir: Path | None) -> "FoldOfTables":
        """Publish one fold's training patients at every k; fit, name, link."""
        seed, number = unit
        cohort = load(self.cohort, data_dir)
        fold = with_line_ups(cohort, count=self.folds, seed=seed)[number]
        fields = fields_of(cohort.schema)
        quasi = which(self.quasi, cohort)
        groups = {_ALL: tuple(fold.train)} if self.curator else {n: (n,) for n in fold.train}
        people = [
            Patients.together(fold.train[n] for n in hospitals) for hospitals in groups.values()
        ]
        raw_tables = [(recorded(cohort.schema, p.features), p.outcomes) for p in people]
        tables = publish(fields, quasi, raw_tables, self.ks)
        by_k = [
            _of_tables(cohort, fold, unit, dict(zip(groups, at_k, strict=True)), groups)
            for at_k in zip(*tables, strict=True)
        ]
        return FoldOfTables(unit, self._beside(fold, unit), fold.test, tuple(by_k))

    def summarise(self, parts: list["FoldOfTables"]) -> dict[str, Any]:
        """AUCs, and of every k its losses, risks and links."""
        beside = {
            name: self._repeats([p.beside[name] for p in parts], parts)
            for name in (_RAW, _SEALED, _OWN)
        }
        return {
            "beside": {name: asdict(bootstrap_auc(*repeats)) for name, repeats in beside.items()},
            "epsilon": _EPSILON,
            "tables": [self._told(k, parts, beside) for k in range(len(self.ks))],
        }

    def _beside(self, fold: LineUpFold, unit: tuple[int, int]) -> "dict[str, Sites]":
        """Pooled training, a sealed federation and each hospital's own model on the same fold."""
        model = Logistic(next(iter(fold.train.values())).features.shape[1])
        plan = make_plan(
            run=f"beside tables seed={unit[0]} fold={unit[1]}",
            design=Design.SEALED,
            epsilon=_EPSILON,
            model=model,
            setting=TRAINING[Regime.FULL, "logistic"],
            patients=fold.train,
            scheme="plain",
        )
        sealed = final_model(plan, fold.train, seed=unit)
        pooled = LogisticProblem(fold.train, _RIDGE).optimum
        return {
            _RAW: {n: Scored(scores(pooled, p.features), p.outcomes) for n, p in fold.test.items()},
            _SEALED: {
                n: Scored(model.scores(sealed, p.features), p.outcomes)
                for n, p in fold.test.items()
            },
            _OWN: {n: _own(fold.train[n], p) for n, p in fold.test.items()},
        }

    def _repeats(
        self, folds: "Sequence[Sites]", parts: "Sequence[FoldOfTables]"
    ) -> "list[dict[str, Scored]]":
        repeats = []
        for seed in self.seeds:
            at = [i for i, part in enumerate(parts) if part.unit[0] == seed]
            repeats.append(by_patient([folds[i] for i in at], [parts[i] for i in at]))
        return repeats

    def _told(
        self,
        place: int,
        parts: "Sequence[FoldOfTables]",
        beside: "Mapping[str, list[dict[str, Scored]]]",
    ) -> dict[str, Any]:
        at_k = [part.tables[place] for part in parts]
        repeats = self._repeats([one.sites for one in at_k], parts)
        trials = [trial for one in at_k for trial in one.trials]
        public = [trial for trial in trials if trial.attack != INFORMED]
        return {
            "k": self.ks[place],
            "auc": asdict(bootstrap_auc(*repeats)),
            **{
                f"less_{name}": asdict(bootstrap_difference(repeats, theirs))
                for name, theirs in beside.items()
            },
            "left_out": float(np.mean([one.left_out for one in at_k])),
            "said": float(np.mean([one.said for one in at_k])),
            "risk": worst_risk(public),
            "risks": {
                name: risk(trials, name) for name in (naming.CLASSES, naming.DENSITY, INFORMED)
            },
            "linked": _over([one.found for one in at_k]),
            "linked_most": float(max(one.found.max() for one in at_k)),
            "alone": _over([(one.found == 1).astype(float) for one in at_k]),
            "outcome_known": _over([one.right - one.blind for one in at_k]),
            "outcome_of_strangers": _over([one.strangers for one in at_k]),
        }


def which(quasi: Sequence[str], cohort: Cohort) -> Bool[np.ndarray, "fields"]:
    """Say which fields of a cohort are quasi-identifiers.

    Args:
      quasi: Their names; empty: all.
      cohort: Whose fields.

    Raises:
      InvalidInputError: One is no field of the cohort.
    """
    names = [field.name for field in fields_of(cohort.schema)]
    unknown = sorted(set(quasi) - set(names))
    if unknown:
        raise InvalidInputError(
            f"Quasi-identifiers {', '.join(unknown)} are no fields of {cohort.name}, which has "
            f"{', '.join(names)}; name some of these (--quasi)."
        )
    return np.array([not quasi or name in quasi for name in names])


Sites = Mapping[str, Scored]


@dataclass(frozen=True)
class TablesAtK:
    """What one fold's tables at one k gave.

    Attributes:
      sites: The test patients as a model of the published rows scores them.
      trials: Every line-up before every adversary.
      left_out: Share of the rows that were not published.
      said: Share of the quasi-identifiers that still say something.
      found: As of ``Linked``, of all training patients; so are the next two.
      right: Likewise.
      blind: Likewise.
      strangers: ``right`` less ``blind`` of the test patients, who are in no table.
    """

    sites: Sites
    trials: tuple[Trial, ...]
    left_out: float
    said: float
    found: NDArray[np.float64]
    right: NDArray[np.float64]
    blind: NDArray[np.float64]
    strangers: NDArray[np.float64]


@dataclass(frozen=True)
class FoldOfTables:
    """What one fold of one seed gave.

    Attributes:
      unit: Seed and fold.
      beside: The test patients as what is compared scores them.
      test: The test patients, by hospital.
      tables: One a k.
    """

    unit: tuple[int, int]
    beside: Mapping[str, Sites]
    test: Mapping[str, Patients]
    tables: tuple[TablesAtK, ...]


def _of_tables(
    cohort: Cohort,
    fold: LineUpFold,
    unit: tuple[int, int],
    tables: Mapping[str, Published],
    groups: Mapping[str, Sequence[str]],
) -> TablesAtK:
    rows = {
        name: Patients(encoded(table.fields, table.values), table.outcomes)
        for name, table in tables.items()
        if len(table.values)
    }
    width = len(cohort.schema.columns) + 1
    params = LogisticProblem(rows, _RIDGE).optimum if rows else np.zeros(width)
    table_of = {n: tables[name] for name, hospitals in groups.items() for n in hospitals}
    inside = [_linked(cohort, table_of[n], p) for n, p in fold.train.items()]
    outside = [_linked(cohort, table_of[n], p) for n, p in fold.test.items()]
    reidentified, right, blind = (np.concatenate(part) for part in zip(*inside, strict=True))
    _, inferred, guessed = (np.concatenate(part) for part in zip(*outside, strict=True))
    return TablesAtK(
        {n: Scored(scores(params, p.features), p.outcomes) for n, p in fold.test.items()},
        _trials(cohort, fold, unit, tables, groups),
        sum(t.left_out for t in tables.values()) / sum(len(t.kept) for t in tables.values()),
        float(np.mean([_said(t) for t in tables.values()])),
        reidentified,
        right,
        blind,
        inferred - guessed,
    )


def _linked(cohort: Cohort, table: Published, who: Patients) -> tuple[NDArray[np.float64], ...]:
    one = linked(table, recorded(cohort.schema, who.features), who.outcomes)
    return one.found, one.right, one.blind


def _said(table: Published) -> float:
    tops = np.array([top(field) for field in table.fields])
    return float((np.array(table.levels) < tops)[table.quasi].mean())


def _trials(
    cohort: Cohort,
    fold: LineUpFold,
    unit: tuple[int, int],
    tables: Mapping[str, Published],
    groups: Mapping[str, Sequence[str]],
) -> tuple[Trial, ...]:
    ks = {table.k for table in tables.values()}
    rng = np.random.default_rng([*unit, *ks, *b"tables"])
    trials: list[Trial] = []
    for name, hospitals in groups.items():
        lineups = [one for one in fold.lineups if one.hospital in hospitals]
        if not lineups:
            continue
        people = np.stack([recorded(cohort.schema, one.people) for one in lineups])
        logs = dict(naming.of_public(tables[name], people, lineups))
        others = [_others(cohort, fold, hospitals, one) for one in lineups]
        logs[INFORMED] = naming.of_known_others(tables[name], people, lineups, others)
        for attack, log_likelihoods in logs.items():
            trials += trials_of(attack, lineups, log_likelihoods, f"{unit[0]}/{unit[1]}", rng)
    return tuple(trials)


def _others(
    cohort: Cohort, fold: LineUpFold, hospitals: Sequence[str], one: LineUp
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The patients of a table but the target."""
    others = [
        p.take(p.ids != one.patient) if n == one.hospital else p
        for n, p in fold.train.items()
        if n in hospitals
    ]
    together = Patients.together(others)
    return recorded(cohort.schema, together.features), together.outcomes


def _own(train: Patients, test: Patients) -> Scored:
    """A hospital's own ridge regression, its strength chosen inside it."""
    nothing, forms = np.zeros(len(train)), (LocalForm.OWN,)
    fit = fit_locally(nothing, train.features, train.outcomes, forms=forms, sparing=False)[1]
    return Scored(fit.scores(np.zeros(len(test)), test.features), test.outcomes)


def _over(folds: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
    """The mean over patients, with folds drawn."""
    values = np.concatenate(folds)
    clusters = np.repeat(np.arange(len(folds)), [len(one) for one in folds])
    lower, upper = cluster_bootstrap(values, clusters, np.random.default_rng([0, 47]))
    return asdict(Estimate(float(values.mean()), lower, upper, "folds drawn"))
