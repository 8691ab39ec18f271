"""Every rule against a trace worked out by hand: three rounds, two hospitals, one parameter.

Hospital a has F(w) = (w - 2)^2 / 2 and b has F(w) = 3 (w + 2)^2 / 2, weights 1/2 each; the optimum
of the mean is -1. Local steps of 1/4, two of them unless said otherwise, from w = 0. One local step
multiplies a's distance to its own optimum by 3/4 and b's by 1/4, so two steps move them by
7/16 (2 - w) and 15/16 (-2 - w).
"""

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from aggregation.correction import (
    agnostic,
    article,
    fedavg,
    feddyn,
    fednova,
    fedprox,
    importance,
    logit_adjustment,
    qffl,
    scaffold,
    server_optimizers,
)
from aggregation.correction.contract import Gradient
from privacy.errors import InvalidInputError

HOSPITALS = ((1.0, 2.0), (3.0, -2.0))  # curvature and own optimum


def slope_of(hospital: tuple[float, float]) -> Gradient:
    curvature, optimum = hospital
    return lambda w: curvature * (w - optimum)


def same(found: list[NDArray[np.float64]], *expected: Fraction) -> None:
    values = [float(w[0]) for w in found]
    assert values == pytest.approx([float(e) for e in expected], abs=1e-12)


def test_fedavg() -> None:
    # w <- w + (7/16 (2 - w) + 15/16 (-2 - w)) / 2 = 5/16 w - 1/2
    w, trace = np.zeros(1), []
    for _ in range(3):
        total = sum(
            fedavg.emit(w, slope_of(h), weight=0.5, steps=2, learning_rate=0.25) for h in HOSPITALS
        )
        w = fedavg.step(w, np.asarray(total))
        trace.append(w)
    same(trace, Fraction(-1, 2), Fraction(-21, 32), Fraction(-361, 512))


def test_fedsgd() -> None:
    # Gradients of two patients at each of two hospitals, clip norm 5: (3, 4) has norm 5 and stays,
    # (6, 8) is halved. Sum (3, 4) + (3, 4) = (6, 8); the server divides by n = 2.
    w = np.zeros(2)
    trace = []
    for _ in range(3):
        total = -fedavg.clipped_sum(np.array([[3.0, 4.0], [6.0, 8.0]]), clip_norm=5.0)
        w = fedavg.step(w, total / 2, server_rate=0.5)
        trace.append(w.tolist())
    assert trace == [[-1.5, -2.0], [-3.0, -4.0], [-4.5, -6.0]]


def test_fedprox() -> None:
    # With mu = 1: a moves by -3/8 (w - 2), b by -3/4 (w + 2); w <- 7/16 w - 3/8
    w, trace = np.zeros(1), []
    for _ in range(3):
        total = sum(
            fedprox.emit(w, slope_of(h), weight=0.5, steps=2, learning_rate=0.25, proximal=1.0)
            for h in HOSPITALS
        )
        w = fedavg.step(w, np.asarray(total))
        trace.append(w)
    same(trace, Fraction(-3, 8), Fraction(-69, 128), Fraction(-1251, 2048))


def test_scaffold() -> None:
    # Round 1 is FedAvg's; then c_a = -7/4, c_b = 15/4, c = 1, and so on.
    w, trace, shared = np.zeros(1), [], []
    controls = [scaffold.Controls(np.zeros(1), np.zeros(1)) for _ in HOSPITALS]
    for _ in range(3):
        emitted = [
            scaffold.emit(w, slope_of(h), c, weight=0.5, steps=2, learning_rate=0.25)
            for h, c in zip(HOSPITALS, controls, strict=True)
        ]
        after = fedavg.step(w, emitted[0][0] + emitted[1][0])
        controls = [scaffold.learn(c, w, after, steps=2, learning_rate=0.25) for _, c in emitted]
        own_mean = (controls[0].own + controls[1].own) / 2
        np.testing.assert_allclose(controls[0].shared, own_mean, atol=1e-12)  # never sent
        w = after
        trace.append(w)
        shared.append(controls[0].shared)
    same(trace, Fraction(-1, 2), Fraction(-53, 64), Fraction(-981, 1024))
    same(shared[:2], Fraction(1), Fraction(21, 32))


def test_scaffold_with_the_sign_reversed_is_another_and_a_worse_rule() -> None:
    reached = {}
    for sign in (1, -1):
        w = np.zeros(1)
        own = [np.zeros(1), np.zeros(1)]
        shared = np.zeros(1)
        for _ in range(4):
            ends = []
            for k, h in enumerate(HOSPITALS):
                controls = scaffold.Controls(sign * own[k], sign * shared)
                total, _ = scaffold.emit(
                    w, slope_of(h), controls, weight=1.0, steps=2, learning_rate=0.25
                )
                own[k] = own[k] - shared - total / 0.5
                ends.append(total)
            shared = (own[0] + own[1]) / 2
            w = w + (ends[0] + ends[1]) / 2
        reached[sign] = abs(float(w[0]) + 1)
    assert reached[1] < 0.01
    assert reached[-1] > 0.1


def test_fednova() -> None:
    # a takes 2 steps, b 1: (2/2 + 1/2) (7/32 (2 - w) + 24/32 (-2 - w)) / 2; w <- (35 w - 102) / 128
    w, trace = np.zeros(1), []
    for _ in range(3):
        total = sum(
            fednova.emit(w, slope_of(h), weight=0.5, steps=tau, learning_rate=0.25, steps_scale=0.1)
            for h, tau in zip(HOSPITALS, (2, 1), strict=True)
        )
        w = fednova.step(w, np.asarray(total), steps_scale=0.1)
        trace.append(w)
    same(trace, Fraction(-51, 64), Fraction(-8313, 8192), Fraction(-1126539, 1048576))


def test_feddyn() -> None:
    # alpha = 1; round 1: moves 3/4 and -3/2, h_a = -3/4, h_b = 3/2, h = 3/8, w = -3/8 - 3/8
    w, trace, server = np.zeros(1), [], np.zeros(1)
    memories = [np.zeros(1), np.zeros(1)]
    for _ in range(3):
        emitted = [
            feddyn.emit(w, slope_of(h), m, weight=0.5, steps=2, learning_rate=0.25, alpha=1.0)
            for h, m in zip(HOSPITALS, memories, strict=True)
        ]
        memories = [m for _, m in emitted]
        w, server = feddyn.step(w, emitted[0][0] + emitted[1][0], server, alpha=1.0)
        np.testing.assert_allclose(server, (memories[0] + memories[1]) / 2, atol=1e-12)
        trace.append(w)
    same(trace, Fraction(-3, 4), Fraction(-15, 16), Fraction(-123, 128))


def test_qffl() -> None:
    # q = 1, L = 4; round 1: losses 2 and 6, L (w - w_k) = -7/2 and 15/2: 38 over 402/4
    w, trace = np.zeros(1), []
    for _ in range(3):
        emitted = []
        for (curvature, optimum), pull in zip(HOSPITALS, (7 / 16, 15 / 16), strict=True):
            loss = curvature * float(w[0] - optimum) ** 2 / 2
            end = w + pull * (optimum - w)
            emitted.append(qffl.emit(w, end, loss, weight=0.5, q=1.0, lipschitz=4.0))
        w = qffl.step(w, emitted[0] + emitted[1])
        trace.append(w)
    same(
        trace,
        Fraction(-76, 201),
        Fraction(-698547464, 1322122725),
        Fraction(-202642880001755349399992453764, 350418410113726004596569933525),
    )


def test_qffl_with_q_zero_is_fedavg() -> None:
    w = np.array([0.3])
    ends = [w + 7 / 16 * (2 - w), w + 15 / 16 * (-2 - w)]
    total = sum(qffl.emit(w, end, 1.7, weight=0.5, q=0.0, lipschitz=4.0) for end in ends)
    np.testing.assert_allclose(qffl.step(w, np.asarray(total)), (ends[0] + ends[1]) / 2)


def test_agnostic() -> None:
    # Losses 2 and 6 from (1/2, 1/2) at rate 1/8: (3/4, 5/4) projects to (1/4, 3/4); then (2, 2)
    # moves both alike and changes nothing; then (9, 1): (11/8, 7/8) projects to (3/4, 1/4).
    mixture, trace = np.array([0.5, 0.5]), []
    for losses in ([2.0, 6.0], [2.0, 2.0], [9.0, 1.0]):
        mixture = agnostic.ascend(mixture, np.array(losses), rate=1 / 8)
        trace.append(mixture.tolist())
    assert trace == [[0.25, 0.75], [0.25, 0.75], [0.75, 0.25]]


def test_the_projection_drops_what_falls_below_zero() -> None:
    assert agnostic.project_to_simplex(np.array([1.5, 0.0, -3.0])).tolist() == [1.0, 0.0, 0.0]
    assert agnostic.project_to_simplex(np.array([0.6, 0.6])).tolist() == [0.5, 0.5]


def test_importance_weights() -> None:
    outcomes = np.array([1, 0])
    # 80 % ill where the target has 20 %: the ill count 1/4, the well 4 (cut at 3 when asked)
    assert importance.label_weights(outcomes, prevalence=0.8, target=0.2).tolist() == [0.25, 4.0]
    cut = importance.label_weights(outcomes, prevalence=0.8, target=0.2, ceiling=3.0)
    assert cut.tolist() == [0.25, 3.0]
    odds = importance.covariate_weights(np.log(np.array([0.5, 2.0, 50.0])))
    np.testing.assert_allclose(odds, [0.5, 2.0, 4.0])
    # Weigh, then clip at 5: 2 (3, 4) = (6, 8) is halved; 1/2 (6, 8) = (3, 4) stays.
    rows = np.array([[3.0, 4.0], [6.0, 8.0]])
    total = importance.weighted_clipped_sum(rows, np.array([2.0, 0.5]), clip_norm=5.0)
    np.testing.assert_allclose(total, [6.0, 8.0])


def test_server_optimisers() -> None:
    # Totals 1, 1, -2; beta1 = beta2 = 1/2, tau = 1, rate 1, from m = 0, v = 1.
    # m: 1/2, 3/4, -5/8.  Adam's v: 1, 1, 5/2.  Yogi's v: 1, 1, 3.
    for rule, last in ((server_optimizers.adam, 2.5), (server_optimizers.yogi, 3.0)):
        w, moments, trace = np.zeros(1), server_optimizers.first_moments(1, adaptivity=1.0), []
        for total in (1.0, 1.0, -2.0):
            w, moments = rule(
                w, np.array([total]), moments, rate=1.0, beta1=0.5, beta2=0.5, adaptivity=1.0
            )
            trace.append(float(w[0]))
        assert trace == pytest.approx([0.25, 0.625, 0.625 - 0.625 / (np.sqrt(last) + 1)])
        assert float(moments.square[0]) == last


def test_logit_adjustment() -> None:
    scores = np.array([0.0, 1.0])
    found = logit_adjustment.adjusted(scores, prevalence=0.75, strength=2.0)
    np.testing.assert_allclose(found, scores + 2 * np.log(3.0))
    assert logit_adjustment.adjusted(scores, prevalence=0.5).tolist() == scores.tolist()


def test_the_articles_weights() -> None:
    # Means 0 and 3, sizes 2 and 1: the centre is 1, distances 1 and 2; 2/2 to 1/3 is 3 to 1.
    weights = article.weights(np.array([2, 1]), np.array([[0.0], [3.0]]))
    assert weights.tolist() == [0.75, 0.25]
    stepped = article.step(np.zeros(1), np.array([[4.0], [-4.0]]), weights)
    assert stepped.tolist() == [2.0]


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="noise drowned"):
        qffl.step(np.zeros(1), np.array([1.0, -0.5]))
    with pytest.raises(InvalidInputError, match=r"loss=0\.0"):
        qffl.emit(np.zeros(1), np.ones(1), 0.0, weight=1.0, q=1.0, lipschitz=1.0)
    with pytest.raises(InvalidInputError, match=r"prevalence=1\.0"):
        logit_adjustment.adjusted(np.zeros(1), prevalence=1.0)
    with pytest.raises(InvalidInputError, match=r"beta2=1\.0"):
        server_optimizers.adam(
            np.zeros(1), np.zeros(1), server_optimizers.first_moments(1), rate=1.0, beta2=1.0
        )
    with pytest.raises(InvalidInputError, match="steps=0"):
        fednova.emit(np.zeros(1), slope_of((1.0, 0.0)), weight=1.0, steps=0, learning_rate=0.1)
