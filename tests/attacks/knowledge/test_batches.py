import numpy as np

from aggregation.noise_kind import NoiseKind
from attacks.knowledge.batches import infer_batches, rank_of_first_layer
from attacks.views import Adversary, Knowledge
from tests.attacks.runs import PRIOR, run


def test_true_counts_are_among_the_answers() -> None:
    found = total = 0
    for seed in range(4):
        done = run(seed)
        for g in done.view("server_plain").gradients:
            truth = done.truth(round_=0, hospitals=g.hospitals).outcomes
            answers = infer_batches(done.plan, g, PRIOR, np.random.default_rng(0))
            ill = int(truth.sum())
            found += (len(truth) - ill, ill) in [(a.well, a.ill) for a in answers]
            total += 1
            assert all(len(a.labels) == a.size and a.labels.sum() == a.ill for a in answers)
    assert found / total >= 0.75


def test_rank_counts_patients() -> None:
    done = run(1)
    for g in done.view("server_plain").gradients:
        truth = done.truth(round_=0, hospitals=g.hospitals).features
        independent = np.linalg.matrix_rank(np.column_stack([truth, np.ones(len(truth))]))
        assert rank_of_first_layer(done.plan, g) <= independent


def test_declared_labels_are_taken_as_they_are() -> None:
    done = run()
    labels = done.truth(round_=0, hospitals=("north",)).outcomes
    view = done.view(Adversary("server_plain", Knowledge(labels={(0, "north"): labels})))
    (only,) = infer_batches(done.plan, view.gradients[0], PRIOR, np.random.default_rng(0))
    assert (only.size, only.ill, only.probability) == (len(labels), labels.sum(), 1.0)


def test_drowned_in_noise_the_expected_size_is_all_there_is() -> None:
    done = run(noise=NoiseKind.LOCAL, clip_norm=1.0, radius=4096, noise_multiplier=50.0)
    g = done.view("server_plain").gradients[0]
    best = infer_batches(done.plan, g, PRIOR, np.random.default_rng(0))[0]
    assert best.size in (7, 8)
    assert abs(best.well - best.ill) <= 1


def test_full_batches_have_their_declared_size() -> None:
    done = run(sampling_size=None)
    g = done.view("server_plain").gradients[0]
    answers = infer_batches(done.plan, g, PRIOR, np.random.default_rng(0))
    assert {a.size for a in answers} == {60}
