"""The replications' code on small synthetic tables; the published runs need UCI Adult."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from aggregation.data.patients import Patients
from attacks.knowledge.features import features_of
from experiments.replicate.adult import load_adult
from experiments.replicate.spear_on_adult import solve_batch
from experiments.replicate.sratta_on_adult import recover
from experiments.replicate.tableak_on_adult import OneHot, TwoLayer, attack_batch
from privacy.errors import InvalidInputError
from tests.attacks.runs import SCHEMA, cohort

PEOPLE = cohort(0, size=300)["north"]


def test_the_networks_gradient_is_torchs_own() -> None:
    inputs = OneHot.of(SCHEMA, PEOPLE)
    net = TwoLayer.untrained(len(inputs.constant), np.random.default_rng(0))
    batch = PEOPLE.take(np.arange(5))
    x = inputs(torch.tensor(batch.features, dtype=torch.float32))
    y = torch.tensor(batch.outcomes)
    tensors = [t.clone().requires_grad_(True) for t in (*net.weights, *net.biases)]
    hidden = x
    for i in range(3):
        hidden = hidden @ tensors[i].T + tensors[3 + i]
        hidden = torch.relu(hidden) if i < 2 else hidden
    loss = torch.nn.functional.cross_entropy(hidden, y)
    w1, w2, w3, b1, b2, b3 = torch.autograd.grad(loss, tensors)
    expected = torch.cat([t.flatten() for t in (w1, b1, w2, b2, w3, b3)])
    got = net(x[None], y[None].float(), torch.ones((1, 5)))[0]
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-4)


def test_inputs_are_standardised_one_hot_columns() -> None:
    inputs = OneHot.of(SCHEMA, PEOPLE)
    z = inputs(torch.tensor(PEOPLE.features)).numpy()
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=1e-5)
    columns = (1 if f.numeric else len(f.columns) + 1 for f in features_of(SCHEMA))
    assert z.shape[1] == sum(columns)


def test_a_small_batch_is_recovered_far_above_guessing() -> None:
    inputs = OneHot.of(SCHEMA, PEOPLE)
    results = [
        attack_batch(PEOPLE, SCHEMA, inputs, size=4, seed=s, restarts=4, iterations=200)
        for s in range(3)
    ]
    assert np.mean([r.accuracy - r.guess for r in results]) > 0.2
    assert all(0 <= r.exact <= 1 for r in results)


def test_a_batch_of_eight_is_solved() -> None:
    solved = [solve_batch(PEOPLE, SCHEMA, size=8, width=128, seed=s) for s in range(5)]
    assert sum(s.exact for s in solved) >= 4
    assert all(s.seconds > 0 for s in solved)


def test_people_are_read_off_sums_where_steps_are_large() -> None:
    people = Patients(
        np.concatenate([p.features for p in cohort(0, size=150).values()]),
        np.concatenate([p.outcomes for p in cohort(0, size=150).values()]),
    )
    small, large = (
        recover(people, SCHEMA, trainings=1, seed=1, learning_rate=rate, width=300, rounds=6)
        for rate in (0.01, 8.0)
    )
    assert small.right < large.right
    assert large.right > 0.01
    assert large.wrong < 0.2 * 500 * large.right


def test_a_missing_or_truncated_table_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="not shipped"):
        load_adult(None)
    with pytest.raises(InvalidInputError, match=r"archive\.ics\.uci\.edu"):
        load_adult(tmp_path)
    (tmp_path / "adult.data").write_text("39, State-gov, 77516\n")
    with pytest.raises(InvalidInputError, match="1 rows, expected 32561"):
        load_adult(tmp_path)
    (tmp_path / "adult.data").unlink()
    (tmp_path / "adult.data.gz").write_bytes(gzip.compress(b"1, 2")[:-4])
    with pytest.raises(InvalidInputError, match="Can't read"):
        load_adult(tmp_path)


def test_the_command_ends_in_one_paragraph(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.replicate", "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("replicate: ")
