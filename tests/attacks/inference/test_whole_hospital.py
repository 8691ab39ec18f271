from typing import Any

import numpy as np
import pytest

from aggregation.noise_kind import NoiseKind
from attacks.inference.whole_hospital import prevalence, traffic
from attacks.knowledge.priors import Prior
from attacks.views import TrafficView, observe
from privacy.errors import RefusedError
from tests.attacks.runs import PRIOR, SCHEMA, cohort, run


def test_full_batches_give_the_prevalence_away() -> None:
    people = cohort(0, size=200)
    done = run(patients=people, sampling_size=None)
    answers = prevalence(done.view("server_plain"), PRIOR, np.random.default_rng(0))
    shares = {name: p.outcomes.mean() for name, p in people.items()}
    assert {a.hospital for a in answers} == set(shares)
    for a in answers:
        assert abs(a.estimate - shares[a.hospital]) < 3 * a.std
        assert abs(a.estimate - shares[a.hospital]) < 0.1
        assert a.std < 0.2


def test_noise_for_patients_hardly_hides_a_hospital() -> None:
    people = cohort(0, size=200)
    fields: dict[str, Any] = {"noise": NoiseKind.LOCAL, "clip_norm": 1.0, "radius": 4096}
    clear = run(patients=people, sampling_size=None, clip_norm=1.0, radius=4096)
    noised = run(patients=people, sampling_size=None, noise_multiplier=4.0, **fields)
    prior = Prior.from_table(SCHEMA, cohort(9, size=400)["north"])
    before, after = (
        {a.hospital: a for a in prevalence(d.view("server_plain"), prior, np.random.default_rng(0))}
        for d in (clear, noised)
    )
    for name, p in people.items():
        assert after[name].std > before[name].std
        assert abs(after[name].estimate - p.outcomes.mean()) < 3 * after[name].std


def test_sealed_sums_hide_whose_it_is() -> None:
    done = run(scheme="bfv", clip_norm=1.0, radius=4096, sampling_size=None)
    with pytest.raises(RefusedError, match="single hospital"):
        prevalence(done.view("server_sealed"), PRIOR, np.random.default_rng(0))


@pytest.mark.parametrize("scheme", ["plain", "bfv"])
def test_sizes_say_nothing_about_patients(scheme: str) -> None:
    people = cohort(1)
    uneven = {n: p.take(np.arange(10 + 15 * i)) for i, (n, p) in enumerate(people.items())}
    done = run(
        patients=uneven, scheme=scheme, clip_norm=1.0, radius=4096, rounds=3, sampling_size=None
    )
    view = observe(done.transcript, "eavesdropper")
    assert isinstance(view, TrafficView)
    seen = {t.sender: t for t in traffic(view)}
    sizes = {seen[name].sizes for name in uneven}
    assert len(sizes) == 1, "hospitals of 10 and 55 patients send the same number of bytes"
    assert all(len(seen[name].sizes) == 1 for name in uneven)
    assert all(seen[name].messages == 3 for name in uneven)
