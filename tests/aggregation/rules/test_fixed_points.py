"""Where the rules end: on quadratics whose optimum is known, and on hospitals that are alike."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from aggregation.engines.clear import follow
from aggregation.rules import Agnostic, FedAvg, FedDyn, FedNova, FedProx, Rule, Scaffold
from aggregation.timing import Rounds

Vector = NDArray[np.float64]
RATE, STEPS = 0.05, 8
NAMES = ("a", "b", "c")
WEIGHTS = {"a": 0.5, "b": 0.3, "c": 0.2}
UNEQUAL = {"a": 1, "b": 4, "c": 8}


class Quadratics:
    """Three hospitals with F_k(w) = (w - m_k)' A_k (w - m_k) / 2 and weights p_k."""

    def __init__(self, *, alike: bool = False) -> None:
        rng = np.random.default_rng(11)
        self.curvatures, self.optima = {}, {}
        for name in NAMES:
            root = rng.normal(size=(4, 4))
            self.curvatures[name] = root @ root.T / 4 + 0.5 * np.eye(4)
            self.optima[name] = 2 * rng.normal(size=4)
        if alike:
            self.curvatures = dict.fromkeys(NAMES, self.curvatures["a"])
            self.optima = dict.fromkeys(NAMES, self.optima["a"])
        left = sum(p * self.curvatures[n] for n, p in WEIGHTS.items())
        right = sum(p * self.curvatures[n] @ self.optima[n] for n, p in WEIGHTS.items())
        self.best = np.linalg.solve(np.asarray(left), np.asarray(right))

    def slope(self, name: str, w: Vector) -> Vector:
        return np.asarray(self.curvatures[name] @ (w - self.optima[name]))

    def gap(self, rule: Rule, rounds: int, *, rate: float = RATE, steps: int = STEPS) -> float:
        made = Rounds(NAMES, rounds)
        run = follow(rule, made, np.zeros(4), gradient=self.slope, rate=rate, steps=steps)
        return float(np.linalg.norm(run.models[-1] - self.best))


def feddyn() -> tuple[Rule, int]:
    return FedDyn(WEIGHTS, alpha=1.0), 30


def scaffold() -> tuple[Rule, int]:
    return Scaffold(WEIGHTS), STEPS


@pytest.mark.parametrize("made", [scaffold, feddyn])
def test_drift_correctors_reach_the_optimum(made: Callable[[], tuple[Rule, int]]) -> None:
    rule, steps = made()
    assert Quadratics().gap(rule, 300, steps=steps) < 1e-7


@pytest.mark.parametrize("rule", [FedAvg(WEIGHTS), FedProx(WEIGHTS, proximal=1.0)])
def test_fedavg_and_fedprox_stop_elsewhere(rule: Rule) -> None:
    problem = Quadratics()
    settled = problem.gap(rule, 400)
    assert settled == pytest.approx(problem.gap(rule, 401), abs=1e-9)
    assert settled > 0.05


def test_fedprox_stops_nearer_than_fedavg() -> None:
    problem = Quadratics()
    assert problem.gap(FedProx(WEIGHTS, proximal=1.0), 400) < problem.gap(FedAvg(WEIGHTS), 400)


class UnequalFedAvg(FedAvg, register=False):
    def steps_of(self, hospital: str, planned: int) -> int:
        return UNEQUAL[hospital]


def test_fednova_removes_the_bias_of_unequal_steps_as_the_step_shrinks() -> None:
    problem, rule = Quadratics(), FedNova(WEIGHTS, steps=UNEQUAL)
    gaps = [problem.gap(rule, 600, rate=rate) for rate in (0.04, 0.01)]
    assert gaps[1] < gaps[0] / 3
    assert gaps[1] < 0.06
    assert problem.gap(UnequalFedAvg(WEIGHTS), 600, rate=0.01) > 0.3


@pytest.mark.parametrize(
    ("rule", "steps"),
    [
        (FedAvg(WEIGHTS), STEPS),
        (FedProx(WEIGHTS, proximal=1.0), STEPS),
        scaffold(),
        feddyn(),
        (FedNova(WEIGHTS, steps=UNEQUAL), STEPS),
    ],
)
def test_hospitals_that_are_alike_agree_with_pooled_training(rule: Rule, steps: int) -> None:
    assert Quadratics(alike=True).gap(rule, 300, steps=steps) < 1e-7


def test_agnostic_training_evens_out_the_losses() -> None:
    # (w - 1)^2 / 2 and (w + 1)^2 / 2 + 1: the worst loss is least where both are equal, w = -1/2.
    optima = {"a": 1.0, "b": -1.0}

    def losses(w: Vector) -> dict[str, Vector]:
        return {"loss": np.array([(w[0] - 1) ** 2 / 2, (w[0] + 1) ** 2 / 2 + 1])}

    run = follow(
        Agnostic({"a": 1, "b": 1}, ascent=0.02),
        Rounds(("a", "b"), 2_000),
        np.zeros(1),
        gradient=lambda name, w: w - optima[name],
        alone=losses,
        rate=0.02,
    )
    assert float(run.models[1:].mean()) == pytest.approx(-0.5, abs=0.02)
