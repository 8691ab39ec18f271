"""The exact attacks on updates that others' clients computed and stored in few bits."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from aggregation.capture import Precision
from aggregation.data.patients import Patients
from aggregation.models import Logistic, Perceptron
from attacks.exact.closed_form import BITS, ClosedForm, outer_weights, peel
from attacks.exact.legible import hidden_by_rounding
from attacks.exact.spear import Spear
from attacks.knowledge.replay import integer_rows
from attacks.reconstructed import Reconstruction
from attacks.searching.cascade import Cascade
from attacks.searching.tableak import TabLeak
from attacks.views import GradientView, observe, require
from experiments.replicate.certificates import with_twins
from privacy.errors import RefusedError
from tests.aggregation.capture.clients import capture
from tests.attacks.exact.test_closed_form import batch_view
from tests.attacks.runs import PRIOR, SCHEMA, cohort

MLP = Perceptron(len(SCHEMA), 64)


def drawn(seed: int, size: int = 8) -> Patients:
    people = cohort(seed)["north"]
    return people.take(np.random.default_rng(seed).choice(len(people), size, replace=False))


def seen(run: Any) -> GradientView:
    return require(observe(run, "server_plain"), GradientView, "test")


def exact(view: GradientView, people: Patients) -> GradientView:
    """The same batch at the same weights, sent as integers without any error."""
    (gradient,) = view.gradients
    rows = integer_rows(view.plan, gradient.params, people.features, people.outcomes)
    gradient = dataclasses.replace(gradient, integers=rows.sum(axis=0), error=None)
    return dataclasses.replace(view, gradients=(gradient,))


def right(found: Reconstruction, people: Patients) -> int:
    """Patients of whom a record with any confidence gives every number, to the last digit."""
    claimed = found.records[found.confidence > 0]
    gaps = np.abs(claimed[:, None] - people.features[None]).max(axis=2)
    return int((gaps < 1e-9).any(axis=0).sum()) if len(claimed) else 0


@pytest.mark.parametrize("rate", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.FLOAT64])
def test_a_capture_gives_what_exact_integers_give_less_one(
    precision: Precision, rate: float
) -> None:
    total = 0
    for seed in range(5):
        people = drawn(seed)
        view = seen(capture(MLP, people, rate=rate, precision=precision, seed=seed)[0])
        found = ClosedForm().reconstruct(view, PRIOR)
        of_exact = right(ClosedForm().reconstruct(exact(view, people), PRIOR), people)
        assert right(found, people) >= of_exact - 1
        assert not found.notes
        total += int(found.certified.sum())
    assert total >= 30


def test_a_search_is_charged_to_certificates_by_coincidence() -> None:
    """Read in many ways, an update has to show as many bits more; a whole replay stays proof."""
    partly, charged = 0, 0
    for seed in range(6):
        people = drawn(seed)
        narrow = Perceptron(len(SCHEMA), 16)
        view = seen(capture(narrow, people, precision=Precision.FLOAT64, seed=seed)[0])
        (gradient,) = view.gradients
        once = peel(view.plan, gradient, PRIOR)
        if once.complete:
            continue
        partly += int(once.certified.sum())
        for bits in (1, 6, 32):
            often = peel(view.plan, dataclasses.replace(gradient, readings=2**bits), PRIOR)
            assert (often.bits[often.certified] >= BITS + bits).all()
            charged += int((often.bits >= BITS).sum() > often.certified.sum())
    assert partly > 0 and charged > 0


def test_taken_for_exact_it_gives_nothing() -> None:
    """Why the error has to travel with the update: without it a safe-looking zero."""
    people = drawn(0)
    view = seen(capture(MLP, people)[0])
    (gradient,) = view.gradients
    bare = dataclasses.replace(view, gradients=(dataclasses.replace(gradient, error=None),))
    assert right(ClosedForm().reconstruct(bare, PRIOR), people) == 0
    assert right(ClosedForm().reconstruct(view, PRIOR), people) == 8


@pytest.mark.parametrize("attack", [ClosedForm(), Spear(), Cascade(TabLeak(1, 1))])
@pytest.mark.parametrize("precision", [Precision.FLOAT16, Precision.BFLOAT16])
def test_where_rounding_hides_it_says_so(precision: Precision, attack: Any) -> None:
    view = seen(capture(MLP, drawn(1), rate=0.01, precision=precision)[0])
    found = attack.reconstruct(view, PRIOR)
    assert not found.certified.any()
    assert any("Rounding hides everything" in note for note in found.notes)


def test_where_rounding_hides_one_number_it_is_named() -> None:
    view = seen(capture(MLP, drawn(1), rate=2e-4)[0])
    (note,) = ClosedForm().reconstruct(view, PRIOR).notes
    assert "chol" in note and "sex" not in note


def test_two_numbers_that_different_units_hide_are_both_named() -> None:
    """More than half of the units tell either, few tell both: nobody is read whole."""
    (gradient,) = batch_view(cohort(1)["north"].take(np.arange(4))).gradients
    plan = batch_view(cohort(1)["north"].take(np.arange(4))).plan
    numbers = [f for f in PRIOR.features if f.numeric][:2]
    weights, biases = np.zeros((100, len(SCHEMA))), np.zeros(100)
    strong = np.argsort(np.abs(outer_weights(plan, gradient.params)))  # no unit is weak alone
    for feature, units in zip(numbers, (strong[:44], strong[-44:]), strict=True):
        weights[units, feature.columns[0]] = 1e9
    rest = np.zeros(plan.model.dim - weights.size - biases.size)
    error = np.concatenate([weights.ravel(), biases, rest])
    (said,) = hidden_by_rounding(plan, dataclasses.replace(gradient, error=error), PRIOR.features)
    assert f"hides {numbers[0].name}, {numbers[1].name} of a patient" in said


def test_it_says_nothing_only_if_it_reads() -> None:
    """Whatever the rate: what reads two fewer than of exact integers has said why."""
    for seed in range(12):
        people = drawn(seed)
        view = seen(capture(MLP, people, rate=10.0 ** -(seed % 6), seed=seed)[0])
        found = ClosedForm().reconstruct(view, PRIOR)
        of_exact = right(ClosedForm().reconstruct(exact(view, people), PRIOR), people)
        assert right(found, people) >= of_exact - 1 or found.notes


def test_spear_and_the_cascade_read_captures_too() -> None:
    solved = 0
    for seed in range(4):
        people = drawn(seed)
        view = seen(capture(MLP, people, seed=seed)[0])
        found = Spear().reconstruct(view, PRIOR)
        solved += int(found.certified.all() and right(found, people) == 8)
        whole = Cascade(TabLeak(1, 1)).reconstruct(view, PRIOR)
        assert right(whole, people) >= 7 and whole.certified.sum() >= 7
    assert solved >= 2


@pytest.mark.parametrize("seeds", [range(100)], ids=["100"])
def test_no_certificate_is_false(seeds: range) -> None:
    hunt(seeds)


@pytest.mark.nightly
def test_no_certificate_is_false_in_two_thousand_captures() -> None:
    hunt(range(1000, 3000))


def hunt(seeds: range) -> None:
    """Captures of every format and rate, twins among the patients; none may be invented."""
    pool, certified, hidden = cohort(31, size=300)["north"], 0, 0
    for seed in seeds:
        rng = np.random.default_rng([9, seed])
        people = pool.take(rng.choice(300, int(rng.integers(1, 10)), replace=False))
        if seed % 3 == 0:
            people = with_twins(people, SCHEMA, rng)
        width = int(rng.choice([0, 4, 20, 64]))
        model = Perceptron(len(SCHEMA), width) if width else Logistic(len(SCHEMA))
        precision = Precision(rng.choice(["float16", "bfloat16", "float32", "float32", "float64"]))
        rate, scale = 10 ** rng.uniform(-4, 1), float(rng.choice([1, 3]))
        run, _ = capture(model, people, rate=rate, precision=precision, seed=seed, scale=scale)
        if not any(part.any() for part in model.first_layer(run.update)):
            hidden += 1  # the step was too small to change a weight
            with pytest.raises(RefusedError, match="too few bits"):
                seen(run)
            continue
        attack: Any = Spear() if seed % 10 == 9 and len(people) < 8 else ClosedForm()
        found = attack.reconstruct(seen(run), PRIOR)
        proved = found.records[found.certified]
        gaps = np.abs(proved[:, None] - people.features[None]).max(axis=2)
        assert (gaps < 1e-9).any(axis=1).all(), (seed, precision, rate, width)
        certified += len(proved)
    assert certified > len(seeds) // 4 and hidden < len(seeds) // 20


@pytest.mark.nightly
def test_two_thousand_captures_give_what_exact_integers_give_less_one() -> None:
    """Float32 and float64, rates from .01 to 1; what reads two fewer has said why, here at once."""
    pool = cohort(77, size=600)["north"]
    for seed in range(2000):
        rng = np.random.default_rng([20, seed])
        people = pool.take(rng.choice(600, 8, replace=False))
        precision = Precision.FLOAT32 if seed % 2 else Precision.FLOAT64
        rate = float(10 ** rng.uniform(-2, 0))
        view = seen(capture(MLP, people, rate=rate, precision=precision, seed=seed)[0])
        found = ClosedForm().reconstruct(view, PRIOR)
        of_exact = right(ClosedForm().reconstruct(exact(view, people), PRIOR), people)
        assert right(found, people) >= of_exact - 1, (seed, precision, rate)
        proved = found.records[found.certified]
        gaps = np.abs(proved[:, None] - people.features[None]).max(axis=2)
        assert (gaps < 1e-9).any(axis=1).all(), (seed, precision, rate)
