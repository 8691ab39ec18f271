"""Which points are run: the demo's, and the published grid, group by group.

Every federation is attacked by a curious server and by the informed adversary, in the demo too. The
server's suite is the likelihood ratio by a public law and the closed form; where there is no noise,
TabLeak too, with as many restarts and steps as published; the search along FedAvg's walks is cut
short, and tables say so. The informed adversary's answer is the maximum of the exact posterior
given more than any other adversary has: no attack on these views does better. Several local steps
it can replay where they have no noise; where they have, it is not tried.

The core varies designs and epsilons, for a perceptron on small batches and for logistic regression
on full ones and on small ones. Every other factor is varied alone from there, at epsilon 1 and
without noise; so are the ablations, whose points say so. Sums are added in clear (``plain``): they
are the same integers as the sealed ones, bit for bit (a test re-runs a sample sealed).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from aggregation.correlation import Correlation
from aggregation.models import check_name, sized_kinds
from attacks.suite import ATTACKS, Arena
from experiments.run.record import config_hash
from experiments.studies.design import TRAINING, Design, Regime, TrainingSetting
from experiments.studies.frontier.own_pace import ARRIVALS, AsynchronousPoint, AttackedPoint
from experiments.studies.frontier.point import KEY_HOLDER, FrontierPoint
from experiments.studies.lineups import AttackSuite
from experiments.studies.named_models import called_model
from privacy._validate import natural
from privacy.errors import InvalidInputError

__all__ = [
    "EPSILONS",
    "GROUPS",
    "OTHER_COHORTS",
    "cells",
    "chosen_grid",
    "full_grid",
    "group",
    "on_cohort",
    "quick_grid",
    "trained_by",
    "with_added_attacks",
]


EPSILONS = (0.1, 0.3, 1.0, 3.0, 10.0, None)
_FINITE = tuple(e for e in EPSILONS if e is not None)
_SEEDS = 5  # cross-validations of the core; one of everything else
_CHEAP = AttackSuite(("closed_form", "likelihood_ratio", "informed"))
_ALL = ("closed_form", "tableak", "likelihood_ratio", "informed")
_SUITE = AttackSuite(_ALL)
_WALKS = AttackSuite(("fedavg", "likelihood_ratio"), restarts=15)  # as published
# Its effort counts for nothing, and stays what the names of published records say.
_UNSEARCHED = AttackSuite(("likelihood_ratio",), restarts=2, iterations=60)
_DEMO = AttackSuite(_ALL, restarts=6, iterations=300)
_DEMO_CHEAP = AttackSuite(("closed_form", "likelihood_ratio", "informed"))
_DEMO_MODULE = AttackSuite(("likelihood_ratio", "informed"))


def quick_grid(seed: int = 0) -> list[FrontierPoint]:
    """The demo's points, sealed for real; TabLeak, reduced, only where it tells most.

    Three cross-validations where a round is cheap (all patients, logistic), one elsewhere.
    """
    small = [
        (Design.NONE, None, _DEMO),
        (Design.ARTICLE, 1.0, _DEMO_CHEAP),
        (Design.LOCAL, None, _DEMO_CHEAP),
        (Design.LOCAL, 1.0, _DEMO_CHEAP),
        (Design.SEALED, None, _DEMO),
        (Design.SEALED, 1.0, _DEMO),
    ]
    full = [(Design.NONE, None), (Design.ARTICLE, 1.0), (Design.LOCAL, 1.0), (Design.SEALED, 1.0)]
    thrice = tuple(range(seed, seed + 3))
    return [
        *(FrontierPoint(d, e, Regime.FULL, "logistic", _DEMO_CHEAP, thrice) for d, e in full),
        *(
            FrontierPoint(d, e, Regime.SMALL, "mlp", attacks, seeds=(seed,))
            for d, e, attacks in small
        ),
    ]


def _core(regime: Regime, model: str, seed: int) -> list[FrontierPoint]:
    """All designs at every epsilon, some cross-validations."""
    cells: list[tuple[Design, float | None]] = [(Design.NONE, None), (Design.LOCAL_ONLY, None)]
    cells += [(Design.ARTICLE, e) for e in _FINITE]
    cells += [
        (design, e) for design in (Design.SEALED, Design.LOCAL, Design.POOLED) for e in EPSILONS
    ]
    seeds = tuple(range(seed, seed + _SEEDS))

    def suite(design: Design, epsilon: float | None) -> AttackSuite:
        if not design.federated:
            return AttackSuite(())
        return _SUITE if (epsilon, model) == (None, "mlp") else _CHEAP

    return [
        FrontierPoint(d, e, regime, model, suite(d, e), seeds=seeds, scheme="plain")
        for d, e in cells
    ]


_FACTOR_CELLS = (
    (Design.NONE, None),
    (Design.ARTICLE, 1.0),
    (Design.LOCAL, 1.0),
    (Design.SEALED, None),
    (Design.SEALED, 1.0),
    (Design.LOCAL_ONLY, None),
)


def _factor(
    seed: int, cells: Sequence[tuple[Design, float | None]] = _FACTOR_CELLS, **changed: Any
) -> list[FrontierPoint]:
    """The core's designs at epsilon 1 and without noise, with one thing changed."""
    common: dict[str, Any] = {
        "regime": Regime.SMALL,
        "model": "mlp",
        "attacks": _CHEAP,
        "seeds": (seed,),
        "scheme": "plain",
    }
    return [FrontierPoint(d, e, **{**common, **changed}) for d, e in cells]


def _walks(seed: int) -> list[FrontierPoint]:
    """FedAvg; no search reads a sum of several hospitals' walks."""
    return [_walking(p) for p in _factor(seed, local_steps=5, attacks=_WALKS)]


def _walking(point: FrontierPoint) -> FrontierPoint:
    """The point with what can read its walks: the informed replay those without noise."""
    suite = _UNSEARCHED if point.design is Design.SEALED else point.attacks
    if point.epsilon is None:
        suite = replace(suite, attacks=(*suite.attacks, "informed"))
    return replace(point, attacks=suite)


def _adversaries(seed: int) -> list[FrontierPoint]:
    """Who could open single updates, where hospitals rely on each other's noise."""
    return _factor(seed, [(Design.SEALED, None), (Design.SEALED, 1.0)], sees=KEY_HOLDER)


def _networks(seed: int) -> list[FrontierPoint]:
    """Simulated hospitals; where only sums are seen a network is one batch: hence several."""
    points: list[FrontierPoint] = []
    for hospitals, networks in ((4, 5), (40, 3)):
        points += _factor(
            seed,
            cohort=f"network-{hospitals}",
            model="logistic",
            attacks=_INFORMED,
            seeds=tuple(range(seed, seed + networks)),
            folds=1,
            setting=OTHER_COHORTS[f"network-{hospitals}"],
        )
    return points


OTHER_COHORTS: Mapping[str, TrainingSetting] = MappingProxyType(
    {
        "framingham": TrainingSetting(100, 2.0, 0.5, 50, 8),
        "network-4": TrainingSetting(200, 0.125, 2.0, 100, 8),
        "network-40": TrainingSetting(200, 2.0, 2.0, 100, 8),
    }
)
"""How small batches are trained at other cohorts than heart: each the best of ``inpatient tune
--cohort COHORT --regimes small`` (``--models mlp --rounds 100 --studies 4`` of framingham, else
``--models logistic --rounds 200`` and ``--studies 4`` or, of 40 hospitals, 3)."""
_INFORMED = AttackSuite(("likelihood_ratio", "informed"))
_SMALL = TRAINING[Regime.SMALL, "mlp"]
_BARE_AND_SEALED = ((Design.NONE, None), (Design.SEALED, 1.0))
_SEALED = ((Design.SEALED, 1.0),)


def _ablation(seed: int) -> list[FrontierPoint]:
    """One thing at a time, around the core's sealed point at epsilon 1."""

    def setting(**changed: Any) -> TrainingSetting:
        return replace(_SMALL, **changed)

    def rounds(count: int) -> TrainingSetting:
        return setting(rounds=count, average_last=count // 2)

    points: list[FrontierPoint] = []
    for size in (4, 32):
        points += _factor(
            seed, _BARE_AND_SEALED, setting=setting(sampling_size=size), ablation="batch size"
        )
    for width in (16, 256):
        points += _factor(seed, _BARE_AND_SEALED, width=width, ablation="width")
    for steps in (2, 10):
        cells = ((Design.NONE, None), (Design.LOCAL, 1.0))
        walks = _factor(seed, cells, local_steps=steps, attacks=_WALKS, ablation="local steps")
        points += [_walking(p) for p in walks]
    for norm in (0.1, 2.0):
        points += _factor(seed, _SEALED, setting=setting(clip_norm=norm), ablation="clip norm")
    for colluders in (2, 3):
        points += _factor(seed, _SEALED, colluders=colluders, ablation="colluders")
    for count in (25, 200):
        points += _factor(seed, _SEALED, setting=rounds(count), ablation="rounds")
    return points


def _effort(seed: int) -> list[FrontierPoint]:
    """Searches alone where there is no noise, with fewer and more restarts and steps."""
    whole = AttackSuite(("tableak",))
    tried = [
        *(("restarts", replace(whole, restarts=count)) for count in (1, 3, 10, 30, 60)),
        *(("search steps", replace(whole, iterations=count)) for count in (200, 600, 3000)),
    ]
    cells = ((Design.NONE, None), (Design.SEALED, None))
    walks = (
        AttackSuite(("fedavg",), restarts=2, iterations=60),
        AttackSuite(("fedavg",), restarts=30),
    )
    return [
        *(
            point
            for name, suite in tried
            for point in _factor(seed, cells, attacks=suite, ablation=name)
        ),
        *(
            point
            for suite in walks
            for point in _factor(seed, cells[:1], local_steps=5, attacks=suite, ablation="restarts")
        ),
    ]


def _own_pace(seed: int) -> list[AsynchronousPoint]:
    """Who waits for whom: all for all, FedBuff corrected for pace, Memory; one-step uploads."""
    seeds = tuple(range(seed, seed + _SEEDS))
    return [AsynchronousPoint(arrival, e, seeds=seeds) for arrival in ARRIVALS for e in (1.0, None)]


def _buffers(seed: int) -> list[AsynchronousPoint]:
    """Other numbers of hospitals in a sum, around the points of ``_own_pace``."""
    seeds = tuple(range(seed, seed + _SEEDS))
    return [
        AsynchronousPoint(arrival, 1.0, buffer=buffer, seeds=seeds, ablation="buffer size")
        for arrival in ARRIVALS[1:]
        for buffer in (2, 4)
    ]


def group(name: str, seed: int = 0) -> list[AttackedPoint]:
    """Return the points of one group of the published grid.

    Raises:
      InvalidInputError: No such group.
    """
    if name not in GROUPS:
        raise InvalidInputError(f"Unknown group {name!r}; choose one of {', '.join(GROUPS)}.")
    return list(GROUPS[name](seed))


GROUPS: Mapping[str, Callable[[int], Sequence[AttackedPoint]]] = MappingProxyType(
    {
        "small": lambda seed: _core(Regime.SMALL, "mlp", seed),
        "full": lambda seed: _core(Regime.FULL, "logistic", seed),
        "small-logistic": lambda seed: _core(Regime.SMALL, "logistic", seed),
        "adversary": _adversaries,
        "ablation": _ablation,
        "effort": _effort,
        "regime": lambda seed: _factor(seed, regime=Regime.FULL),
        "fedavg": _walks,
        "framingham": lambda seed: _factor(
            seed, cohort="framingham", setting=OTHER_COHORTS["framingham"]
        ),
        "network": _networks,
        "memory": _own_pace,
        "buffer": _buffers,
    }
)
"""The published grid, by what is varied."""


def full_grid(seed: int = 0) -> list[AttackedPoint]:
    """All groups, in order."""
    return [point for name in GROUPS for point in group(name, seed)]


def chosen_grid(
    designs: Sequence[str],
    epsilons: Sequence[float],
    regime: str,
    model: str,
    seed: int = 0,
    *,
    pass_rounds: int | None = None,
    correlated: Correlation | None = None,
) -> list[FrontierPoint]:
    """The points of some designs at some epsilons (``inf``: no noise), with the demo's attacks.

    In passes, or with correlated noise, attacks that compare likelihoods alone read all rounds.

    Raises:
      InvalidInputError: An unknown design, regime or model, an epsilon that is not above 0, or
        correlated noise where hospitals add none of their own, or draw patients anew each round.
    """
    for name, value, choices in (
        *(("design", design, tuple(Design)) for design in designs),
        ("regime", regime, tuple(Regime)),
    ):
        if value not in choices:
            raise InvalidInputError(
                f"Unknown {name} {value!r}; choose one of {', '.join(choices)}."
            )
    check_name(model)
    for epsilon in epsilons:
        if not epsilon > 0:
            raise InvalidInputError(f"Expected epsilon={epsilon} > 0. Use inf for no noise.")
    if pass_rounds is not None:
        natural(pass_rounds=pass_rounds, least=2)
    if correlated is not None and not {*designs} <= {Design.SEALED, Design.LOCAL}:
        raise InvalidInputError(
            f"Expected designs={', '.join(designs)} whose hospitals add noise, for it to be "
            f"correlated={correlated.told} over rounds. Choose sealed, local, or both."
        )
    if correlated is not None and math.inf in epsilons:
        raise InvalidInputError(
            f"Expected finite epsilons={', '.join(f'{e:g}' for e in epsilons)} for noise that is "
            f"correlated={correlated.told}: inf is no noise. Give --epsilons 1, say."
        )
    if correlated is not None and pass_rounds is None and regime != Regime.FULL:
        raise InvalidInputError(
            f"Expected regime={regime} full, or pass_rounds, for noise that is correlated="
            f"{correlated.told}: where patients are drawn anew each round no cost is proved."
        )
    attacks = _DEMO if (regime, model) == ("small", "mlp") else _DEMO_CHEAP
    if model not in sized_kinds():  # whose first layer nobody is told
        attacks = _DEMO_MODULE
    points = [
        FrontierPoint(
            design,
            None if epsilon == math.inf else epsilon,
            Regime(regime),
            model,
            attacks if design.federated else AttackSuite(()),
            (seed,),
            pass_rounds=pass_rounds,
            correlated=correlated,
        )
        for design in map(Design, designs)
        for epsilon in ((math.inf,) if design in (Design.NONE, Design.LOCAL_ONLY) else epsilons)
    ]
    return list(dict.fromkeys(points))


def cells(names: Sequence[str], seed: int = 0) -> list[AttackedPoint]:
    """Return points of the published grid by their records' names.

    Raises:
      InvalidInputError: A name that no point of the grid has.
    """
    published = {config_hash(point.config): point for point in full_grid(seed)}
    for name in names:
        if name not in published:
            raise InvalidInputError(
                f"No cell {name!r} in the grid of seed {seed}; `inpatient results` lists what was "
                "published."
            )
    return [published[name] for name in names]


def with_added_attacks(points: Sequence[AttackedPoint]) -> list[AttackedPoint]:
    """The same points, attacked by what other files registered too, where it is made for them.

    Attacks of one step on one-step points, attacks of several local steps on the others; points
    that are no federation, and those of hospitals at their own pace, stay as they are.
    """
    return [
        replace(point, attacks=replace(point.attacks, attacks=(*point.attacks.attacks, *added)))
        if isinstance(point, FrontierPoint) and (added := _added(point))
        else point
        for point in points
    ]


def _added(point: FrontierPoint) -> tuple[str, ...]:
    arena = Arena.SINGLE if point.local_steps == 1 else Arena.LOCAL_STEPS
    if not point.design.federated:
        return ()
    return tuple(name for name in ATTACKS.added if ATTACKS[name].arena is arena)


def on_cohort(
    points: Sequence[AttackedPoint], cohort: str, *, by_hospital: int | None = None
) -> list[FrontierPoint]:
    """The same points on the patients of another cohort.

    Args:
      points: Of the frontier.
      cohort: As ``experiments.cohorts.resolve`` names it.
      by_hospital: The cohort's number of hospitals, where these are folded instead of patients
        (in fewer folds than else where they are few).
    """
    kinds = [p for p in points if isinstance(p, FrontierPoint)]
    if by_hospital is None:
        return [replace(p, cohort=cohort) for p in kinds]
    return [replace(p, cohort=cohort, unseen=True, folds=min(p.folds, by_hospital)) for p in kinds]


def trained_by(
    points: Sequence[AttackedPoint], best: Mapping[tuple[Regime, str], TrainingSetting]
) -> list[FrontierPoint]:
    """The same points with these settings, by regime and model; others as they are."""
    kinds = [p for p in points if isinstance(p, FrontierPoint)]
    return [
        replace(p, setting=best.get((p.regime, called_model(p.model)), p.setting)) for p in kinds
    ]
