"""Attacks on torch modules: each shipped one is read without a defence, and not with one."""

import numpy as np
import pytest

from aggregation.data.patients import Patients
from aggregation.models import Inputs, TorchModel
from aggregation.noise_kind import NoiseKind
from attacks.exact.closed_form import ClosedForm
from attacks.informed.known_others import InformedPool, InformedSearch
from attacks.scoring import score
from attacks.searching.tableak import TabLeak
from attacks.views import Adversary, InformedView, Knowledge, observe, require
from privacy.errors import InvalidInputError
from tests.attacks.runs import PRIOR, SCHEMA, Run, cohort, run

SHIPPED = ("deep", "embedded", "transformer")
MODELS = {name: TorchModel.of(name, Inputs.of(SCHEMA)) for name in SHIPPED}
ONE = {"clip_norm": 1.0, "radius": 2**16, "sampling_size": None}
NOISE = {"noise": NoiseKind.LOCAL, "noise_multiplier": 20.0}


def informed(done: Run) -> tuple[InformedView, Patients]:
    """Everybody of the north is known but the first."""
    north = done.drawn["north"][0][0]
    knowledge = Knowledge(patients={"north": north.take(np.arange(len(north)) > 0)})
    view = require(observe(done.transcript, Adversary("informed", knowledge)), InformedView, "test")
    return view.only(hospital="north"), north.take(np.arange(len(north)) == 0)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_likelihood_names_one_of_ten_and_noise_hides_it(name: str) -> None:
    named = {}
    for label, noise in (("clear", {}), ("noised", NOISE)):
        right = []
        for seed in range(10):
            patients = cohort(seed, size=8)
            done = run(seed, patients=patients, model=MODELS[name], **ONE, **noise)
            view, target = informed(done)
            strangers = cohort(seed + 100, size=9)["east"]
            pool = Patients(
                np.vstack([target.features, strangers.features]),
                np.append(target.outcomes, strangers.outcomes),
            )
            right.append(int(np.argmax(InformedPool(pool).posterior(view))) == 0)
        named[label] = sum(right)
    assert named["clear"] == 10
    assert named["noised"] <= 5  # by chance 1 of 10; 6 and more with probability 2e-4


@pytest.mark.parametrize("name", SHIPPED)
def test_the_informed_search_reads_a_patient_and_noise_stops_it(name: str) -> None:
    found = {}
    for label, noise in (("clear", {}), ("noised", NOISE)):
        done = run(1, patients=cohort(1, size=6), model=MODELS[name], **ONE, **noise)
        view, target = informed(done)
        made = InformedSearch(restarts=6, iterations=300).reconstruct(view, PRIOR)
        scored = score(made, target.features, PRIOR, np.random.default_rng(0))
        found[label] = float(scored.accuracy.mean())
        assert scored.certified == 0
    assert found["clear"] >= 0.85 and found["noised"] <= found["clear"] - 0.2


@pytest.mark.parametrize("name", SHIPPED)
def test_tableak_reads_two_patients_and_noise_stops_it(name: str) -> None:
    found = {}
    for label, noise in (("clear", {}), ("noised", NOISE)):
        patients = {n: p.take(np.arange(2)) for n, p in cohort(2, size=8).items()}
        done = run(2, patients=patients, model=MODELS[name], **ONE, **noise)
        knowledge = Knowledge(labels={(0, n): p.outcomes for n, p in patients.items()})
        view = done.view(Adversary("server_plain", knowledge)).only(hospital="north")
        made = TabLeak(restarts=8, iterations=300, double=True).reconstruct(view, PRIOR)
        scored = score(made, patients["north"].features, PRIOR, np.random.default_rng(0))
        found[label] = float(scored.accuracy.mean())
        assert scored.false_certificates == 0
    assert found["clear"] >= found["noised"] + 0.1


def test_labels_are_guessed_where_they_are_not_known() -> None:
    done = run(3, patients=cohort(3, size=4), model=MODELS["embedded"], **ONE)
    made = TabLeak(restarts=2, iterations=5).reconstruct(
        done.view("server_plain").only(hospital="north"), PRIOR
    )
    assert len(made) == 4 and not made.certified.any()


def test_an_exact_attack_says_that_no_first_layer_is_known() -> None:
    done = run(3, patients=cohort(3, size=4), model=MODELS["deep"], **ONE)
    with pytest.raises(InvalidInputError, match="'torch' says of none: it has no first_layer"):
        ClosedForm().reconstruct(done.view("server_plain"), PRIOR)
