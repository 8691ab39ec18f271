r"""Training by each correction rule, on patients that are neither clipped nor noised.

A trainer takes a ``Problem`` and ``Steps`` and returns the parameters that each hospital ends with:
the same for all, except where the rule keeps hospitals apart. What is compared is what the rules
converge to; ``sealed`` is the one trained as hospitals would: clipped, noised, sealed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregation.correction import article, fedavg, feddyn, fednova, fedprox, qffl, scaffold
from aggregation.correction import server_optimizers as servers
from aggregation.correction.agnostic import ascend, loss_release
from aggregation.correction.contract import Gradient
from aggregation.correction.importance import covariate_weights
from aggregation.patients import Patients
from experiments.logistic import Problem, scores

__all__ = ["TRAINERS", "Steps", "Trained"]

Vector = NDArray[np.float64]
Trained = dict[str, Vector]


@dataclass(frozen=True)
class Steps:
    """How long and how fast.

    Attributes:
      rounds: Rounds of the federation.
      local: Local steps of the rules that walk, all patients in each.
      learning_rate: Step on the mean gradient.
    """

    rounds: int = 200
    local: int = 5
    learning_rate: float = 0.3


def _slopes(problem: Problem) -> dict[str, Gradient]:
    def of(name: str) -> Gradient:
        return lambda params: problem.gradient(name, params)

    return {name: of(name) for name in problem.names}


def _same(problem: Problem, params: Vector) -> Trained:
    return dict.fromkeys(problem.names, params)


def _local(problem: Problem, steps: Steps) -> Trained:
    return {name: problem.alone(name).optimum for name in problem.names}


def _pooled(problem: Problem, steps: Steps) -> Trained:
    return _same(problem, problem.optimum)


def _fedsgd(problem: Problem, steps: Steps) -> Trained:
    """One step a round, as many steps in all as the others walk."""
    params = np.zeros(problem.dim)
    for _ in range(steps.rounds * steps.local):
        total = sum(p * -problem.gradient(name, params) for name, p in problem.shares.items())
        params = fedavg.step(params, np.asarray(total), server_rate=steps.learning_rate)
    return _same(problem, params)


def _fedavg(problem: Problem, steps: Steps) -> Trained:
    params, slopes = np.zeros(problem.dim), _slopes(problem)
    for _ in range(steps.rounds):
        total = np.zeros(problem.dim)
        for name, p in problem.shares.items():
            total = total + fedavg.emit(
                params, slopes[name], weight=p, steps=steps.local, learning_rate=steps.learning_rate
            )
        params = fedavg.step(params, total)
    return _same(problem, params)


def _fedprox(problem: Problem, steps: Steps) -> Trained:
    params, slopes = np.zeros(problem.dim), _slopes(problem)
    for _ in range(steps.rounds):
        total = np.zeros(problem.dim)
        for name, p in problem.shares.items():
            total = total + fedprox.emit(
                params,
                slopes[name],
                weight=p,
                steps=steps.local,
                learning_rate=steps.learning_rate,
                proximal=0.1,
            )
        params = fedavg.step(params, total)
    return _same(problem, params)


def _scaffold(problem: Problem, steps: Steps) -> Trained:
    params, slopes = np.zeros(problem.dim), _slopes(problem)
    zero = scaffold.Controls(np.zeros(problem.dim), np.zeros(problem.dim))
    controls = dict.fromkeys(problem.names, zero)
    for _ in range(steps.rounds):
        total = np.zeros(problem.dim)
        for name, p in problem.shares.items():
            sent, controls[name] = scaffold.emit(
                params,
                slopes[name],
                controls[name],
                weight=p,
                steps=steps.local,
                learning_rate=steps.learning_rate,
            )
            total = total + sent
        after = fedavg.step(params, total)
        for name in problem.names:
            controls[name] = scaffold.learn(
                controls[name], params, after, steps=steps.local, learning_rate=steps.learning_rate
            )
        params = after
    return _same(problem, params)


def _fednova(problem: Problem, steps: Steps) -> Trained:
    """Hospitals walk as many steps as they like: here 1, 2, 3, ... up to twice the local steps."""
    params, slopes = np.zeros(problem.dim), _slopes(problem)
    for _ in range(steps.rounds):
        total = np.zeros(problem.dim + 1)
        for k, (name, p) in enumerate(problem.shares.items()):
            total = total + fednova.emit(
                params,
                slopes[name],
                weight=p,
                steps=1 + k % (2 * steps.local),
                learning_rate=steps.learning_rate,
            )
        params = fednova.step(params, total)
    return _same(problem, params)


def _feddyn(problem: Problem, steps: Steps) -> Trained:
    params, slopes, alpha = np.zeros(problem.dim), _slopes(problem), 0.3
    memory = np.zeros(problem.dim)
    held = {name: np.zeros(problem.dim) for name in problem.names}
    for _ in range(steps.rounds):
        total = np.zeros(problem.dim)
        for name, p in problem.shares.items():
            sent, held[name] = feddyn.emit(
                params,
                slopes[name],
                held[name],
                weight=p,
                steps=steps.local,
                learning_rate=steps.learning_rate,
                alpha=alpha,
            )
            total = total + sent
        params, memory = feddyn.step(params, total, memory, alpha=alpha)
    return _same(problem, params)


def _qffl(problem: Problem, steps: Steps) -> Trained:
    params, slopes = np.zeros(problem.dim), _slopes(problem)
    for _ in range(steps.rounds):
        total = np.zeros(problem.dim + 1)
        for name, p in problem.shares.items():
            walked = fedavg.emit(
                params,
                slopes[name],
                weight=1.0,
                steps=steps.local,
                learning_rate=steps.learning_rate,
            )
            loss = float(problem.losses(name, params).mean())
            lipschitz = 1 / (steps.local * steps.learning_rate)
            total = total + qffl.emit(
                params, params + walked, loss, weight=p, q=1.0, lipschitz=lipschitz
            )
        params = qffl.step(params, total)
    return _same(problem, params)


def _own_intercepts(problem: Problem, steps: Steps) -> Trained:
    """FedAvg on the slopes; each hospital walks an intercept of its own and keeps it.

    For comparison alone: a kept intercept is un-noised state in every patient's gradient, so no
    patient-level sensitivity holds (``aggregation.correction.local_intercept``).
    """
    slopes, own = _slopes(problem), dict.fromkeys(problem.names, 0.0)
    shared = np.zeros(problem.dim - 1)
    for _ in range(steps.rounds):
        total = np.zeros(problem.dim)
        for name, p in problem.shares.items():
            walked = fedavg.emit(
                np.append(shared, own[name]),
                slopes[name],
                weight=1.0,
                steps=steps.local,
                learning_rate=steps.learning_rate,
            )
            own[name] += float(walked[-1])
            total = total + p * walked
        shared = fedavg.step(shared, total[:-1])
    return {name: np.append(shared, own[name]) for name in problem.names}


def _agnostic(problem: Problem, steps: Steps) -> Trained:
    """The mean of all models on the way, as Algorithm 1 returns it; its losses have no noise here.

    The last one alone follows the mixture to the hospital that is hardest to predict.
    """
    params, passed = np.zeros(problem.dim), np.zeros(problem.dim)
    mixture = np.array(list(problem.shares.values()))
    for _ in range(steps.rounds * steps.local):
        slope = sum(
            m * problem.gradient(name, params)
            for m, name in zip(mixture, problem.names, strict=True)
        )
        losses = np.array(
            [
                loss_release(problem.losses(name, params), bound=4.0) / len(problem.patients[name])
                for name in problem.names
            ]
        )
        mixture = ascend(mixture, losses, rate=0.01)
        params = params - steps.learning_rate * np.asarray(slope)
        passed = passed + params
    return _same(problem, passed / (steps.rounds * steps.local))


def _importance(problem: Problem, steps: Steps) -> Trained:
    """Each hospital's patients weighed to stand for those of all: covariate shift."""
    weights = {}
    for name, own in problem.patients.items():
        features = np.concatenate([p.features for p in problem.patients.values()])
        domain = Patients(
            np.concatenate([own.features, features]),
            np.repeat([0, 1], [len(own), len(features)]).astype(np.int64),
        )
        classifier = Problem({name: domain}).optimum
        odds = scores(classifier, own.features) + np.log(len(own) / len(features))
        weights[name] = covariate_weights(odds)
    params = np.zeros(problem.dim)
    for _ in range(steps.rounds * steps.local):
        params = params - steps.learning_rate * problem.weighted_gradient(weights, params)
    return _same(problem, params)


def _fedadam(problem: Problem, steps: Steps) -> Trained:
    params, slopes = np.zeros(problem.dim), _slopes(problem)
    moments = servers.first_moments(problem.dim)
    for k in range(steps.rounds):
        total = np.zeros(problem.dim)
        for name, p in problem.shares.items():
            total = total + fedavg.emit(
                params, slopes[name], weight=p, steps=steps.local, learning_rate=steps.learning_rate
            )
        rate = 0.1 * (1 - k / steps.rounds)  # a constant rate never settles
        params, moments = servers.adam(params, total, moments, rate=rate)
    return _same(problem, params)


def _article(problem: Problem, steps: Steps) -> Trained:
    params, slopes = np.zeros(problem.dim), _slopes(problem)
    sizes = np.array([len(p) for p in problem.patients.values()])
    means = np.stack([p.features.mean(axis=0) for p in problem.patients.values()])
    chosen = article.weights(sizes, means)
    for _ in range(steps.rounds):
        updates = [
            fedavg.emit(
                params,
                slopes[name],
                weight=1.0,
                steps=steps.local,
                learning_rate=steps.learning_rate,
            )
            for name in problem.names
        ]
        params = article.step(params, np.stack(updates), chosen)
    return _same(problem, params)


Trainer = Callable[[Problem, Steps], Trained]
TRAINERS: Mapping[str, Trainer] = {
    "local": _local,
    "pooled": _pooled,
    "fedsgd": _fedsgd,
    "fedavg": _fedavg,
    "fedprox": _fedprox,
    "scaffold": _scaffold,
    "fednova": _fednova,
    "feddyn": _feddyn,
    "qffl": _qffl,
    "agnostic": _agnostic,
    "importance": _importance,
    "fedadam": _fedadam,
    "article": _article,
    "own intercepts": _own_intercepts,
}
