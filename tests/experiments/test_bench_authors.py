"""Ours beside authors' code: a made-up repository of the same shape stands for the checkout."""

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from aggregation.data.patients import Column, Patients, Schema
from attacks.knowledge.priors import Prior
from experiments.benchmarks import authors
from experiments.cli import main
from experiments.commands.bench_authors import BenchAuthors
from privacy.errors import InvalidInputError

SCHEMA = Schema(
    (
        Column("age", 40.0, 10.0, 0.0, 90.0, 1.0, binary=False),
        Column("sex=Male", group="sex"),
        Column("country=B", group="country"),
        Column("country=C", group="country"),
    ),
    "income",
)
CODE = {
    "attacks/__init__.py": "",
    "attacks/gradient_inversion_attack.py": """
        def continuous_sigmoid_bound(x, dataset):
            x[:, 0] = x[:, 0]  # refused of a leaf that wants a gradient
            return x
        def invert_grad(*, true_data, dataset, post_selection, max_iterations, true_grad, **named):
            guess = true_data.clone()
            guess.requires_grad_()
            continuous_sigmoid_bound(guess, dataset)
            assert (post_selection, max_iterations, len(true_grad)) == (2, 30, 6)
            found = true_data.clone()
            found[:, 1:3] = found[:, [2, 1]]  # everybody's sex is the other one
            return found
    """,
    "models.py": """
        from torch import nn
        class FullyConnected(nn.Module):
            def __init__(self, size, layout):
                super().__init__()
                self.layers = nn.Sequential(
                    nn.Linear(size, layout[0]), nn.ReLU(), nn.Linear(layout[0], layout[1]),
                    nn.ReLU(), nn.Linear(layout[1], layout[2]))
            def forward(self, x):
                return self.layers(x)
    """,
    "utils.py": """
        import numpy as np
        def match_reconstruction_ground_truth(truth, rows, tolerance):
            return None, (truth != rows).mean(axis=1)
    """,
    "datasets.py": """
        import numpy as np, torch
        class ADULT:
            train_features = {"age": None, "sex": ["Female", "Male"],
                              "native-country": ["C", "B", "A"]}
            train_feature_index_map = {"age": ("cont", [0]), "sex": ("cat", [1, 2]),
                                       "native-country": ("cat", [3, 4, 5])}
            def __init__(self):
                rng = np.random.default_rng(1)
                age = rng.integers(20, 80, 60)
                sex, land = rng.integers(0, 2, 60), rng.integers(0, 3, 60)
                raw = np.column_stack([age, np.eye(2)[sex], np.eye(3)[land]])
                self.raw = torch.tensor(raw, dtype=torch.float32)
                self.mean, self.std = self.raw.mean(0), self.raw.std(0)
                self.y = torch.tensor(rng.integers(0, 2, 60))
            def standardize(self):
                self.x = (self.raw - self.mean) / self.std
            def get_Xtrain(self):
                return self.x
            def get_ytrain(self):
                return self.y
            def create_tolerance_map(self):
                return None
            def decode_batch(self, batch, standardized):
                raw = (batch * self.std + self.mean).numpy()
                names = self.train_features
                return np.array([[f"{r[0]:.4f}", names["sex"][r[1:3].argmax()],
                                  names["native-country"][r[3:].argmax()]] for r in raw])
    """,
}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in CODE.items():
        path = tmp_path / "repo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    rng = np.random.default_rng(2)
    x = np.column_stack([rng.normal(size=80), *rng.integers(0, 2, (2, 80)), np.zeros(80)])
    (tmp_path / "adult.data").write_text("")
    people = Patients(x, rng.integers(0, 2, 80))
    monkeypatch.setattr(authors, "load_adult", lambda folder, complete: (people, SCHEMA))
    return tmp_path / "repo"


def test_both_attack_one_gradient_and_both_are_scored_alike(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gradient of their columns is ours to the digit, or the measurement would have stopped."""
    with pytest.raises(SystemExit) as ended:
        main([
            "bench", "authors", "--tableak", str(checkout), "--adult", str(tmp_path),
            "--sizes", "4", "--batches", "2", "--restarts", "2", "--iterations", "30",
            "--out", str(tmp_path),
        ])  # fmt: skip
    assert ended.value.code == 0 and "ours: right" in capsys.readouterr().out
    found = json.loads((tmp_path / "authors.json").read_text())
    first, second = found["rows"]
    assert (first["seed"], second["seed"]) == (0, 1) and first["size"] == 4
    for row in found["rows"]:
        assert row["counted"] == pytest.approx(row["accuracy"])  # their count, and ours of theirs
        assert row["accuracy"] == pytest.approx(2 / 3) and 0 < row["our_accuracy"] <= 1
        assert row["seconds"] >= 0 and row["our_seconds"] > 0


def test_who_is_attacked_is_not_in_the_public_law(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours holds the attacked batch of theirs among its people: it is left out of the prior."""
    people, _ = authors.load_adult(checkout, complete=True)  # type: ignore[attr-defined]
    plain, seen = authors._coded, list[int]()

    def law(schema: Schema, others: Patients) -> Prior:
        seen.append(len(others))
        return Prior.from_schema(schema)

    monkeypatch.setattr(authors, "_coded", lambda rows, schema: _first(plain(rows, schema), people))
    monkeypatch.setattr(Prior, "from_table", law)
    with pytest.raises(InvalidInputError, match="do not give"):
        run(checkout)
    monkeypatch.setattr(torch, "allclose", lambda *args, **named: True)
    run(checkout)
    assert seen == [len(people) - 1]


def _first(rows: np.ndarray, people: Patients) -> np.ndarray:
    rows[0] = people.features[0]
    return rows


def test_columns_that_do_not_give_their_gradient_stop_the_measurement(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authors, "_OURS", {"native-country": "country", "sex": "gender"})
    with pytest.raises((InvalidInputError, KeyError)):
        run(checkout)
    monkeypatch.setattr(authors, "_OURS", {"native-country": "country"})
    run(checkout)
    plain = authors._references

    def swapped(schema: Schema, names: list[str]) -> set[str]:
        return plain(schema, names) ^ {"sex=Female"}

    monkeypatch.setattr(authors, "_references", swapped)
    with pytest.raises(InvalidInputError, match="do not give the authors' gradient"):
        run(checkout)


def test_no_checkout_and_code_that_fails_are_told(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "adult.data").write_text("")
    BenchAuthors(tableak=checkout, adult=tmp_path).check()
    with pytest.raises(InvalidInputError, match="no checkout of eth-sri/tableak"):
        BenchAuthors(tableak=tmp_path, adult=tmp_path).check()
    with pytest.raises(InvalidInputError, match="There is no adult"):
        BenchAuthors(tableak=checkout, adult=checkout).check()
    (checkout / "models.py").write_text("raise RuntimeError('of another torch')")
    with pytest.raises(InvalidInputError, match="of another torch"):
        run(checkout)


def run(folder: Path) -> None:
    authors.measure(folder, folder, sizes=(4,), batches=1, restarts=2, iterations=30)
