"""Where the rules end: on quadratics whose optimum is known, and on hospitals that are alike."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from aggregation.correction import agnostic, fedavg, feddyn, fednova, fedprox, scaffold

Vector = NDArray[np.float64]
RATE, STEPS = 0.05, 8


class Quadratics:
    """Three hospitals with F_k(w) = (w - m_k)' A_k (w - m_k) / 2 and weights p_k."""

    def __init__(self, *, alike: bool = False) -> None:
        rng = np.random.default_rng(11)
        self.weights = np.array([0.5, 0.3, 0.2])
        self.curvatures, self.optima = [], []
        for _ in range(3):
            root = rng.normal(size=(4, 4))
            self.curvatures.append(root @ root.T / 4 + 0.5 * np.eye(4))
            self.optima.append(2 * rng.normal(size=4))
        if alike:
            self.curvatures, self.optima = self.curvatures[:1] * 3, self.optima[:1] * 3
        left = sum(p * a for p, a in zip(self.weights, self.curvatures, strict=True))
        right = sum(
            p * a @ m for p, a, m in zip(self.weights, self.curvatures, self.optima, strict=True)
        )
        self.best = np.linalg.solve(np.asarray(left), np.asarray(right))

    def slope(self, k: int) -> Callable[[Vector], Vector]:
        return lambda w: np.asarray(self.curvatures[k] @ (w - self.optima[k]))


def run_fedavg(problem: Quadratics, rounds: int) -> Vector:
    w = np.zeros(4)
    for _ in range(rounds):
        total = sum(
            fedavg.emit(w, problem.slope(k), weight=float(p), steps=STEPS, learning_rate=RATE)
            for k, p in enumerate(problem.weights)
        )
        w = fedavg.step(w, np.asarray(total))
    return w


def run_fedprox(problem: Quadratics, rounds: int) -> Vector:
    w = np.zeros(4)
    for _ in range(rounds):
        total = sum(
            fedprox.emit(
                w, problem.slope(k), weight=float(p), steps=STEPS, learning_rate=RATE, proximal=1.0
            )
            for k, p in enumerate(problem.weights)
        )
        w = fedavg.step(w, np.asarray(total))
    return w


def run_scaffold(problem: Quadratics, rounds: int) -> Vector:
    w = np.zeros(4)
    controls = [scaffold.Controls(np.zeros(4), np.zeros(4)) for _ in range(3)]
    for _ in range(rounds):
        emitted = [
            scaffold.emit(w, problem.slope(k), c, weight=float(p), steps=STEPS, learning_rate=RATE)
            for k, (p, c) in enumerate(zip(problem.weights, controls, strict=True))
        ]
        after = fedavg.step(w, np.asarray(sum(e for e, _ in emitted)))
        controls = [
            scaffold.learn(c, w, after, steps=STEPS, learning_rate=RATE) for _, c in emitted
        ]
        w = after
    return w


def run_feddyn(problem: Quadratics, rounds: int) -> Vector:
    w, server = np.zeros(4), np.zeros(4)
    memories = [np.zeros(4) for _ in range(3)]
    for _ in range(rounds):
        emitted = [
            feddyn.emit(
                w, problem.slope(k), m, weight=float(p), steps=30, learning_rate=RATE, alpha=1.0
            )
            for k, (p, m) in enumerate(zip(problem.weights, memories, strict=True))
        ]
        memories = [m for _, m in emitted]
        w, server = feddyn.step(w, np.asarray(sum(e for e, _ in emitted)), server, alpha=1.0)
    return w


def run_fednova(problem: Quadratics, rounds: int, *, rate: float = RATE) -> Vector:
    w = np.zeros(4)
    for _ in range(rounds):
        total = sum(
            fednova.emit(w, problem.slope(k), weight=float(p), steps=tau, learning_rate=rate)
            for k, (p, tau) in enumerate(zip(problem.weights, (1, 4, 8), strict=True))
        )
        w = fednova.step(w, np.asarray(total))
    return w


def run_unequal_fedavg(problem: Quadratics, rounds: int, *, rate: float) -> Vector:
    w = np.zeros(4)
    for _ in range(rounds):
        total = sum(
            fedavg.emit(w, problem.slope(k), weight=float(p), steps=tau, learning_rate=rate)
            for k, (p, tau) in enumerate(zip(problem.weights, (1, 4, 8), strict=True))
        )
        w = fedavg.step(w, np.asarray(total))
    return w


def gap(found: Vector, problem: Quadratics) -> float:
    return float(np.linalg.norm(found - problem.best))


@pytest.mark.parametrize("run", [run_scaffold, run_feddyn])
def test_drift_correctors_reach_the_optimum(run: Callable[[Quadratics, int], Vector]) -> None:
    problem = Quadratics()
    assert gap(run(problem, 300), problem) < 1e-7


@pytest.mark.parametrize("run", [run_fedavg, run_fedprox])
def test_fedavg_and_fedprox_stop_elsewhere(run: Callable[[Quadratics, int], Vector]) -> None:
    problem = Quadratics()
    settled = run(problem, 400)
    np.testing.assert_allclose(settled, run(problem, 401), atol=1e-9)
    assert gap(settled, problem) > 0.05


def test_fedprox_stops_nearer_than_fedavg() -> None:
    problem = Quadratics()
    assert gap(run_fedprox(problem, 400), problem) < gap(run_fedavg(problem, 400), problem)


def test_fednova_removes_the_bias_of_unequal_steps_as_the_step_shrinks() -> None:
    problem = Quadratics()
    gaps = [gap(run_fednova(problem, 600, rate=rate), problem) for rate in (0.04, 0.01)]
    assert gaps[1] < gaps[0] / 3
    assert gaps[1] < 0.06
    assert gap(run_unequal_fedavg(problem, 600, rate=0.01), problem) > 0.3


@pytest.mark.parametrize("run", [run_fedavg, run_fedprox, run_scaffold, run_feddyn, run_fednova])
def test_hospitals_that_are_alike_agree_with_pooled_training(
    run: Callable[[Quadratics, int], Vector],
) -> None:
    problem = Quadratics(alike=True)
    assert gap(run(problem, 300), problem) < 1e-7


def test_agnostic_training_evens_out_the_losses() -> None:
    # (w - 1)^2 / 2 and (w + 1)^2 / 2 + 1: the worst loss is least where both are equal, w = -1/2.
    w, mixture = np.zeros(1), np.array([0.5, 0.5])
    mean = np.zeros(1)
    for t in range(2_000):
        losses = np.array([float((w[0] - 1) ** 2) / 2, float((w[0] + 1) ** 2) / 2 + 1])
        mixture = agnostic.ascend(mixture, losses, rate=0.02)
        w = w - 0.02 * (mixture[0] * (w - 1) + mixture[1] * (w + 1))
        mean = mean + (w - mean) / (t + 1)
    assert float(mean[0]) == pytest.approx(-0.5, abs=0.02)
