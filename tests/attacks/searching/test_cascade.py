import numpy as np
import pytest

from aggregation.models import Inputs, TorchModel
from aggregation.noise_kind import NoiseKind
from attacks.exact.closed_form import ClosedForm
from attacks.scoring import score
from attacks.searching.cascade import Cascade
from attacks.searching.tableak import TabLeak
from attacks.suite import ATTACKS, make_attack
from privacy.errors import InvalidInputError
from tests.attacks.runs import PRIOR, SCHEMA, cohort, run

QUICK = Cascade(search=TabLeak(restarts=2, iterations=40))


def test_undefended_it_is_at_least_as_good_as_the_closed_form() -> None:
    ours, theirs = [], []
    for seed in range(4):
        done = run(seed, sampling_size=10)
        for name in done.plan.hospitals:
            view = done.view("server_plain").only(hospital=name)
            truth = done.truth(round_=0, hospitals=(name,)).features
            rng = np.random.default_rng(0)
            cascade = score(QUICK.reconstruct(view, PRIOR), truth, PRIOR, rng, draws=1)
            assert cascade.false_certificates == 0
            ours.append(cascade.exact().mean())
            plain = score(ClosedForm().reconstruct(view, PRIOR), truth, PRIOR, rng, draws=1)
            theirs.append(plain.exact().mean())
    assert np.mean(ours) >= np.mean(theirs)
    assert np.mean(ours) > 0.9


def test_nothing_is_searched_where_all_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(0, sampling_size=4)
    calls = []
    monkeypatch.setattr(TabLeak, "attack", lambda *_: calls.append(1))
    for name in done.plan.hospitals:
        if len(done.truth(round_=0, hospitals=(name,))) in (1, 2, 3, 4, 5):
            found = QUICK.reconstruct(done.view("server_plain").only(hospital=name), PRIOR)
            assert found.certified.all()
    assert not calls


def test_where_no_first_layer_is_told_everything_is_searched() -> None:
    model = TorchModel.of("embedded", Inputs.of(SCHEMA))
    done = run(4, patients=cohort(4, size=2), model=model, sampling_size=None)
    view = done.view("server_plain").only(hospital="north")
    found, plain = QUICK.reconstruct(view, PRIOR), QUICK.search.reconstruct(view, PRIOR)
    assert found.records.tobytes() == plain.records.tobytes()
    assert len(found.steps) == len(found) > 0 and set(found.steps) <= {"searched", "guessed"}
    assert QUICK.foretell(view) == ""


def test_with_noise_nothing_is_certified() -> None:
    done = run(noise=NoiseKind.LOCAL, clip_norm=1.0, radius=4096, noise_multiplier=5.0)
    found = QUICK.reconstruct(done.view("server_plain"), PRIOR)
    assert not found.certified.any()
    assert len(found) >= 4


def test_attacks_are_found_by_name() -> None:
    for name in ATTACKS:
        assert make_attack(name).name == name
    with pytest.raises(InvalidInputError, match="choose one of"):
        make_attack("nothing")


def test_every_record_says_which_step_it_comes_from() -> None:
    done = run(2, sampling_size=14)
    seen: set[str] = set()
    for name in done.plan.hospitals:
        found = QUICK.reconstruct(done.view("server_plain").only(hospital=name), PRIOR)
        assert len(found.steps) == len(found)
        proved = {s for s, c in zip(found.steps, found.certified, strict=True) if c}
        assert proved <= {"read", "unmixed", "searched"}
        seen |= set(found.steps)
    assert seen & {"read", "unmixed"}
    noised = run(noise=NoiseKind.LOCAL, clip_norm=1.0, radius=4096, noise_multiplier=5.0)
    found = QUICK.reconstruct(noised.view("server_plain"), PRIOR)
    assert set(found.steps) <= {"searched", "guessed"}
