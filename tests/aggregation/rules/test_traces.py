"""Every rule against a trace worked out by hand: three rounds, two hospitals, one parameter.

Hospital a has F(w) = (w - 2)^2 / 2 and b has F(w) = 3 (w + 2)^2 / 2, weights 1/2 each; the optimum
of the mean is -1. Local steps of 1/4, two of them unless said otherwise, from w = 0. One local step
multiplies a's distance to its own optimum by 3/4 and b's by 1/4, so two steps move them by
7/16 (2 - w) and 15/16 (-2 - w).
"""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aggregation.engines.clear import Followed, follow
from aggregation.rules import (
    QFFL,
    Agnostic,
    Article,
    Call,
    FedAvg,
    FedDyn,
    FedNova,
    FedProx,
    FedSGD,
    Importance,
    LogitAdjustment,
    Opened,
    Rule,
    Scaffold,
    ServerOptimizer,
    importance,
)
from aggregation.rules.agnostic import project_to_simplex
from aggregation.rules.rule import Gradient, State
from aggregation.timing import Rounds
from privacy.errors import InvalidInputError
from privacy.mechanisms import clip

Vector = NDArray[np.float64]
HOSPITALS = {"a": (1.0, 2.0), "b": (3.0, -2.0)}  # curvature and own optimum
HALF = {"a": 0.5, "b": 0.5}


def slope(name: str, w: Vector) -> Vector:
    curvature, optimum = HOSPITALS[name]
    return curvature * (w - optimum)


def loss(name: str, w: Vector) -> float:
    curvature, optimum = HOSPITALS[name]
    return curvature * float(w[0] - optimum) ** 2 / 2


def run(rule: Rule, rounds: int = 3) -> Followed:
    made = Rounds(("a", "b"), rounds)
    return follow(rule, made, np.zeros(1), gradient=slope, loss=loss, rate=0.25, steps=2)


def same(found: Vector, *expected: Fraction) -> None:
    assert found.ravel().tolist() == pytest.approx([float(e) for e in expected], abs=1e-12)


def opened(total: list[float], **fields: Any) -> Opened:
    values = np.array(total)
    return Opened(values, fields.pop("moved", values), rate=1.0, steps=1, arrivals=(), **fields)


def test_fedavg() -> None:
    # w <- w + (7/16 (2 - w) + 15/16 (-2 - w)) / 2 = 5/16 w - 1/2
    trace = run(FedAvg(HALF)).models[1:]
    same(trace, Fraction(-1, 2), Fraction(-21, 32), Fraction(-361, 512))


def test_fedsgd() -> None:
    # Gradients of two patients at each of two hospitals, clip norm 5: (3, 4) has norm 5 and stays,
    # (6, 8) is halved. Sum (3, 4) + (3, 4) = (6, 8); the server divides by n = 2, times 1/2.
    rows = np.array([[3.0, 4.0], [6.0, 8.0]])

    def update(_: Call) -> Vector:
        return np.asarray(clip(rows, clip_norm=5.0).values.sum(axis=0))

    made = follow(FedSGD(), Rounds(("a",), 3), np.zeros(2), update=update, scale=-0.25)
    assert made.models[1:].tolist() == [[-1.5, -2.0], [-3.0, -4.0], [-4.5, -6.0]]


def test_fedprox() -> None:
    # With mu = 1: a moves by -3/8 (w - 2), b by -3/4 (w + 2); w <- 7/16 w - 3/8
    trace = run(FedProx(HALF, proximal=1.0)).models[1:]
    same(trace, Fraction(-3, 8), Fraction(-69, 128), Fraction(-1251, 2048))


def test_scaffold() -> None:
    # Round 1 is FedAvg's; then c_a = -7/4, c_b = 15/4, c = 1, and so on.
    shared = []
    for rounds in (1, 2, 3):
        made = run(Scaffold(HALF), rounds)
        own_mean = (made.states["a"][0] + made.states["b"][0]) / 2
        for state in made.states.values():
            np.testing.assert_allclose(state[1], own_mean, atol=1e-12)  # never sent
        shared.append(made.states["a"][1])
    same(made.models[1:], Fraction(-1, 2), Fraction(-53, 64), Fraction(-981, 1024))
    same(np.array(shared[:2]), Fraction(1), Fraction(21, 32))


class Reversed(Scaffold, register=False):
    def correction(self, state: State, call: Call) -> Gradient:
        return lambda _: state[0] - state[1]


def test_scaffold_with_the_sign_reversed_is_another_and_a_worse_rule() -> None:
    right, wrong = (
        abs(float(run(rule(HALF), 4).models[-1, 0]) + 1) for rule in (Scaffold, Reversed)
    )
    assert right < 0.01
    assert wrong > 0.1


def test_fednova() -> None:
    # a takes 2 steps, b 1: (2/2 + 1/2) (7/32 (2 - w) + 24/32 (-2 - w)) / 2; w <- (35 w - 102) / 128
    trace = run(FedNova(HALF, steps={"a": 2, "b": 1}, steps_scale=0.1)).models[1:]
    same(trace, Fraction(-51, 64), Fraction(-8313, 8192), Fraction(-1126539, 1048576))


def test_feddyn() -> None:
    # alpha = 1; round 1: moves 3/4 and -3/2, h_a = -3/4, h_b = 3/2, h = 3/8, w = -3/8 - 3/8
    made = run(FedDyn(HALF, alpha=1.0))
    same(made.models[1:], Fraction(-3, 4), Fraction(-15, 16), Fraction(-123, 128))
    first = run(FedDyn(HALF, alpha=1.0), 1).states
    same(np.array([first["a"][0], first["b"][0]]), Fraction(-3, 4), Fraction(3, 2))


def test_qffl() -> None:
    # q = 1, L = 4; round 1: losses 2 and 6, L (w - w_k) = -7/2 and 15/2: 38 over 402/4
    same(
        run(QFFL(HALF, q=1.0, lipschitz=4.0)).models[1:],
        Fraction(-76, 201),
        Fraction(-698547464, 1322122725),
        Fraction(-202642880001755349399992453764, 350418410113726004596569933525),
    )


def test_qffl_with_q_zero_is_fedavg() -> None:
    np.testing.assert_allclose(run(QFFL(HALF, q=0.0)).models, run(FedAvg(HALF)).models)


def test_hospitals_count_alike_where_no_weights_are_given() -> None:
    for alike, halves in (
        (FedAvg(), FedAvg(HALF)),
        (FedDyn(alpha=1.0), FedDyn(HALF, alpha=1.0)),
        (QFFL(), QFFL(HALF)),
        (FedNova(), FedNova(HALF)),
    ):
        made = Rounds(("a", "b"), 3)
        options: Any = {"gradient": slope, "loss": loss, "rate": 0.25, "steps": 2, "scale": -0.125}
        one, two = (follow(r, made, np.zeros(1), **options).models for r in (alike, halves))
        np.testing.assert_allclose(one, two, atol=1e-12)


def test_agnostic() -> None:
    # Losses 2 and 6 from (1/2, 1/2) at rate 1/8: (3/4, 5/4) projects to (1/4, 3/4); then (2, 2)
    # moves both alike and changes nothing; then (9, 1): (11/8, 7/8) projects to (3/4, 1/4).
    rule = Agnostic({"a": 1, "b": 1}, ascent=1 / 8)
    public, trace = rule.begin(np.zeros(1), ("a", "b")), []
    for losses in ([2.0, 6.0], [2.0, 2.0], [9.0, 1.0]):
        weighted = opened([1.0], alone={"loss": np.array(losses)})
        _, public = rule.advance(public, np.zeros(1), weighted)
        trace.append(public[0].tolist())
    assert trace == [[0.25, 0.75], [0.25, 0.75], [0.75, 0.25]]
    assert [rule.weight(public, name, 0) for name in ("a", "b")] == [0.75, 0.25]


def test_agnostic_weighs_a_patient_of_a_large_hospital_less_and_never_above_one() -> None:
    # Sums of 30 and 10 patients: mixture (3/4, 1/4) over sizes, times the smallest.
    rule = Agnostic({"a": 30, "b": 10})
    public = rule.begin(np.zeros(1), ("a", "b"))
    assert [rule.weight(public, name, 0) for name in ("a", "b")] == [0.25, 0.25]
    after, _ = rule.advance(public, np.zeros(1), opened([20.0], alone={"loss": np.zeros(2)}))
    assert after.tolist() == [-2.0]


def test_the_projection_drops_what_falls_below_zero() -> None:
    assert project_to_simplex(np.array([1.5, 0.0, -3.0])).tolist() == [1.0, 0.0, 0.0]
    assert project_to_simplex(np.array([0.6, 0.6])).tolist() == [0.5, 0.5]


def test_importance_weights() -> None:
    outcomes = np.array([1, 0])
    # 80 % ill where the target has 20 %: the ill count 1/4, the well 4 (cut at 3 when asked)
    assert importance.label_weights(outcomes, prevalence=0.8, target=0.2).tolist() == [0.25, 4.0]
    cut = importance.label_weights(outcomes, prevalence=0.8, target=0.2, ceiling=3.0)
    assert cut.tolist() == [0.25, 3.0]
    odds = importance.covariate_weights(np.log(np.array([0.5, 2.0, 50.0])))
    np.testing.assert_allclose(odds, [0.5, 2.0, 4.0])
    # By a classifier with slope log 2 and intercept 0: x = 1 doubles, x = -1 halves.
    rule = Importance({"a": [np.log(2.0), 0.0]})
    features = np.array([[1.0], [-1.0]])
    rows = rule.rows("a", np.array([[3.0, 4.0], [6.0, 8.0]]), features, outcomes)
    np.testing.assert_allclose(rows, [[6.0, 8.0], [3.0, 4.0]])
    with pytest.raises(InvalidInputError, match="give one of the two"):
        Importance()


def test_server_optimisers() -> None:
    # Totals 1, 1, -2; beta1 = beta2 = 1/2, tau = 1, rate 1, from m = 0, v = 1.
    # m: 1/2, 3/4, -5/8.  Adam's v: 1, 1, 5/2.  Yogi's v: 1, 1, 3.
    for square, last in (("adam", 2.5), ("yogi", 3.0)):
        rule = ServerOptimizer(square=square, rate=1.0, beta1=0.5, beta2=0.5, adaptivity=1.0)
        w, public, trace = np.zeros(1), rule.begin(np.zeros(1), ()), []
        for total in (1.0, 1.0, -2.0):
            w, public = rule.advance(public, w, opened([total]))
            trace.append(float(w[0]))
        assert trace == pytest.approx([0.25, 0.625, 0.625 - 0.625 / (np.sqrt(last) + 1)])
        assert float(public[1][0]) == pytest.approx(last)


def test_a_server_optimisers_rate_falls_to_nothing_when_asked() -> None:
    rule = ServerOptimizer(rate=1.0, decay=2, beta1=0.0, beta2=0.0, adaptivity=1e-9)
    w, public = np.zeros(1), rule.begin(np.zeros(1), ())
    moved = []
    for _ in range(4):
        after, public = rule.advance(public, w, opened([5.0]))
        moved.append(float((after - w)[0]))
        w = after
    assert moved == pytest.approx([1.0, 0.5, 0.0, 0.0])


def test_logit_adjustment() -> None:
    rule = LogitAdjustment({"a": 0.75, "b": 0.5}, strength=2.0)
    assert rule.offset("a") == pytest.approx(2 * np.log(3.0))
    assert rule.offset("b") == 0.0


def test_the_articles_weights() -> None:
    # Means 0 and 3, sizes 2 and 1: the centre is 1, distances 1 and 2; 2/2 to 1/3 is 3 to 1.
    rule = Article.of(("a", "b"), np.array([2, 1]), np.array([[0.0], [3.0]]))
    assert rule.weights == {"a": 0.75, "b": 0.25}
    moves = {"a": np.array([-4.0]), "b": np.array([4.0])}
    made = follow(rule, Rounds(("a", "b"), 1), np.zeros(1), gradient=lambda name, _: moves[name])
    assert made.models[-1].tolist() == [2.0]


def test_a_rule_is_rebuilt_from_what_it_says_of_itself() -> None:
    for rule in (
        FedNova(HALF, steps={"a": 1, "b": 2}),
        Importance({"a": [0.5, 1.0]}, ceiling=2.0),
        ServerOptimizer(FedAvg(HALF), square="yogi", decay=9),
    ):
        assert Rule.from_spec(rule.spec) == rule
    for spec, said in (
        ({"kind": "unheard of"}, "Unknown rule"),
        ("fedavg", "Unknown rule"),
        ({"kind": "fedavg", "speed": 3}, "these constants"),
        ({"kind": "fedavg", "weights": {"a": "0.5"}}, "weights: Input should be a valid number"),
        ({"kind": "fedavg", "weights": {"a": 2.0}}, r"weight=2\.0"),
        ({"kind": "server optimisers", "base": {"kind": "none"}}, "Unknown rule"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            Rule.from_spec(spec)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="noise drowned"):
        QFFL().advance((), np.zeros(1), opened([1.0, -0.5]))
    with pytest.raises(InvalidInputError, match=r"prevalence=1\.0"):
        LogitAdjustment({"a": 1.0})
    with pytest.raises(InvalidInputError, match=r"beta2=1\.0"):
        ServerOptimizer(beta2=1.0)
    with pytest.raises(InvalidInputError, match="steps=0"):
        FedNova(steps={"a": 0})
    with pytest.raises(InvalidInputError, match=r"weight=1\.5"):
        FedAvg({"a": 1.5})


def test_a_hospital_without_loss_has_nothing_to_weigh_by_and_sends_zeros() -> None:
    call = Call("a", np.ones(2), 0, 0, 1, 0.1, lambda w: w, lambda _: 0.0)
    sent, _ = QFFL().local((), call)
    assert sent.tolist() == [0.0, 0.0, 0.0]
