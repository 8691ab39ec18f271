"""What a public model gives away: a feature of a patient, and membership in one run."""

from functools import cache

import numpy as np
import pytest

from aggregation.data.patients import Patients
from aggregation.noise_kind import NoiseKind
from attacks.inference.attributes import AttributeInference, impute
from attacks.inference.membership import auc
from attacks.inference.strangers import OneRun
from attacks.views import observe
from privacy.errors import InvalidInputError, RefusedError
from tests.attacks.inference.test_membership import OVERFIT
from tests.attacks.runs import PRIOR, Run, cohort, run

NOISED = OVERFIT | {
    "rounds": 20,
    "noise": NoiseKind.LOCAL,
    "clip_norm": 1.0,
    "radius": 4096,
    "noise_multiplier": 20.0,
}
ATTACK = AttributeInference("sex")
SEX = next(f for f in PRIOR.features if f.name == "sex")
SEEDS = range(4)


@cache
def trained(seed: int, noised: bool) -> tuple[Run, Patients, np.ndarray]:
    everybody = cohort(seed, size=120)["north"]
    members = np.arange(120) < 30
    chosen = np.random.default_rng(seed).permutation(members)
    fields = NOISED if noised else OVERFIT
    return run(seed, patients={"north": everybody.take(chosen)}, **fields), everybody, chosen


def inferred(seed: int, noised: bool) -> tuple[np.ndarray, np.ndarray]:
    """Whether the attack, and whether the imputer, has each member's feature right."""
    done, everybody, members = trained(seed, noised)
    targets, public = everybody.take(members), everybody.take(~members)
    blank = targets.features.copy()
    blank[:, list(SEX.columns)] = np.pi  # the attack may not look
    asked = Patients(blank, targets.outcomes)
    found = ATTACK.infer(observe(done.transcript, "public"), asked, public, PRIOR)
    truth = SEX.codes(targets.features)
    return found == truth, impute(SEX, asked, public).argmax(axis=1) == truth


def test_a_feature_is_given_away_by_an_overfitted_model_and_not_at_a_small_epsilon() -> None:
    for noised in (False, True):
        pairs = [inferred(seed, noised) for seed in SEEDS]
        attack, baseline = (np.concatenate(part).astype(float) for part in zip(*pairs, strict=True))
        gain = attack - baseline
        error = gain.std() / np.sqrt(len(gain))
        if noised:
            assert abs(gain.mean()) < 2.5 * error + 0.02
        else:
            assert gain.mean() > 1.645 * error  # one-sided


def judged(seed: int, noised: bool) -> tuple[np.ndarray, np.ndarray]:
    done, everybody, members = trained(seed, noised)
    outside = np.flatnonzero(~members)
    people = np.concatenate([np.flatnonzero(members), outside[:30]])
    scores = OneRun().scores(
        observe(done.transcript, "public"), everybody.take(people), everybody.take(outside[30:])
    )
    return scores, members[people]


def test_membership_in_one_run_wins_and_loses() -> None:
    won = [auc(*judged(seed, False)) for seed in SEEDS]
    lost = [auc(*judged(seed, True)) for seed in SEEDS]
    assert np.mean(won) - 1.645 * np.std(won) / np.sqrt(len(won)) > 0.52
    assert abs(np.mean(lost) - 0.5) < 0.08
    scores, members = judged(0, True)
    assert OneRun().audit(scores, members, guesses=20, delta=1e-5) < 0.5


def test_what_the_attacks_lack_is_refused() -> None:
    people = cohort(0)["north"]
    seen = observe(run().transcript, "server_plain")
    with pytest.raises(RefusedError, match="one_run"):
        OneRun().scores(seen, people, people)
    with pytest.raises(RefusedError, match="attributes"):
        ATTACK.infer(seen, people, people, PRIOR)
    public = observe(trained(0, True)[0].transcript, "public")
    with pytest.raises(InvalidInputError, match="more strangers"):
        OneRun().scores(public, people, people.take(np.arange(3)))
    with pytest.raises(InvalidInputError, match="'age'"):
        AttributeInference("age").infer(public, people, people, PRIOR)
    with pytest.raises(InvalidInputError, match="at least one"):
        impute(SEX, people, people.take(np.arange(0)))
