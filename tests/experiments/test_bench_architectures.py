"""Ours beside tabular-GIA: a made-up repository of the same shape stands for the checkout."""

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aggregation.data.patients import Column, Schema
from attacks.scoring import matched_accuracies
from experiments.benchmarks.architectures import Attacked, Layout, measure_architecture
from experiments.benchmarks.module_gradient import ModuleGradient
from experiments.cli import main
from experiments.commands.bench_authors import BenchAuthors
from experiments.replicate.adult import load_adult
from privacy.errors import InvalidInputError

SCHEMA = Schema(
    (
        Column("sex=Male", group="sex"),
        Column("age", 40.0, 10.0, 0.0, 90.0, 1.0, binary=False),
        Column("country=B", group="country"),
        Column("country=C", group="country"),
        Column("hours", 38.0, 12.0, 1.0, 99.0, 1.0, binary=False),
    ),
    "income",
)
CODE = {
    "leakpro/attacks/gia_attacks/invertinggradients.py": """
        from dataclasses import dataclass
        import torch
        from torch.utils.data import DataLoader, TensorDataset
        from torchvision.models.convnext import LayerNorm2d  # for images alone
        from torchvision.utils import save_image
        @dataclass
        class InvertingConfig:
            criterion: object
            data_extension: object
            attack_lr: float = 0.1
            at_iterations: int = 8000
            optimizer: object = None
            epochs: int = 1
        class InvertingGradients:
            def __init__(self, model, loader, mean, sd, train_fn, configs):
                self.model, self.loader, self.configs = model, loader, configs
                self.train_fn = train_fn
            def prepare_attack(self):
                assert not self.model.training and self.configs.attack_lr == 0.06
                self.client_gradient = [g.detach() for g in self.train_fn(
                    self.model, self.loader, None, self.configs.criterion, 1)]
                self.original, labels = next(iter(self.loader))
                self.reconstruction_labels = list(labels)
            def run_attack(self):
                x = self.original.clone()
                if hasattr(self.model, "to_gia_space"):
                    x = self.model.to_gia_space(x)
                x[:, :6] += 10  # no number is right any more, and every level is
                self.best_reconstruction = DataLoader(
                    TensorDataset(x, torch.stack(self.reconstruction_labels)), batch_size=len(x))
                for step in range(0, self.configs.at_iterations, 250):
                    yield step, 0.0, None
                yield STOPS(self.configs.at_iterations - 1), 0.0, object()
        def STOPS(step):
            return step
    """,
    "leakpro/fl_utils/gia_train.py": """
        import torch
        def train_nostep(model, data, optimizer, criterion, epochs):
            for x, y in data:
                loss = criterion(model(x), y).sum()
            return torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    """,
    "leakpro/fl_utils/data_utils.py": "class GiaTabularExtension: pass",
    "tabular_gia/configs/model/model.py": """
        class ModelConfig:
            def __init__(self, preset):
                self.preset = preset
    """,
    "tabular_gia/model/model_wrapper.py": """
        import torch
        from torch import nn
        class Plain(nn.Module):
            def __init__(self, schema):
                super().__init__()
                self.criterion = nn.BCEWithLogitsLoss()
                self.layers = nn.Sequential(
                    nn.Linear(schema["num_features"], 8), nn.LayerNorm(8), nn.Dropout(0.5),
                    nn.GELU(), nn.Linear(8, 1))
            def forward(self, x):
                return self.layers(x)
        class Coded(Plain):
            def __init__(self, schema):
                super().__init__(schema)
                self.counts, self.numbers = schema["cat_cardinalities"], schema["n_num_features"]
                self.gia_forward_mode = "logits"
            def to_gia_space(self, x):
                parts = [x[:, : self.numbers]]
                for k, count in enumerate(self.counts, start=self.numbers):
                    parts.append(nn.functional.one_hot(x[:, k].long(), count) * 10.0 - 5)
                return torch.cat(parts, dim=1)
            def from_gia_space(self, x):
                parts, start = [x[:, : self.numbers]], self.numbers
                for count in self.counts:
                    parts.append(x[:, start : start + count].argmax(1, keepdim=True))
                    start += count
                return torch.cat(parts, dim=1)
            def forward(self, x):
                if x.shape[1] == self.numbers + len(self.counts):
                    x = self.to_gia_space(x)
                    x = torch.cat([x[:, : self.numbers], (x[:, self.numbers :] + 5) / 10], dim=1)
                else:
                    assert self.gia_forward_mode == "probabilities"
                return self.layers(x)
        class ModelWrapper:
            @classmethod
            def infer_encoding_mode(cls, config):
                return "ordinal" if config.preset == "fttransformer" else "onehot"
            @classmethod
            def from_config(cls, config, schema):
                return (Coded if config.preset == "fttransformer" else Plain)(schema)
    """,
    "tabular_gia/metrics/tabular_metrics.py": """
        import torch
        def prepare_tensors_for_metrics(original, best, labels, model, schema, client):
            rows = torch.cat([x for x, _ in best])
            if rows.shape != original.shape:
                rows = model.from_gia_space(rows)
            assert schema["client_num_std"] == [[1.0] * 6] and len(labels) == len(original)
            return original, rows, labels
        def compute_reconstruction_metrics(truth, rows, schema, client, seed):
            return {"aggregate_metrics": {"tableak_acc": 0.5}}
    """,
}
NAMES = {0: range(17, 91), 2: range(10_000, 90_000, 7), 4: range(1, 17), 10: range(0, 9000, 500),
         11: range(0, 900, 100), 12: range(1, 99)}  # fmt: skip
LEVELS = {1: 4, 3: 5, 5: 3, 6: 6, 7: 4, 8: 3, 9: 2, 13: 5}


@pytest.fixture(scope="module")
def adult(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many rows as the table has, at random."""
    rng, count = np.random.default_rng(3), 32_561
    columns = [
        rng.choice(list(NAMES[k]), count).astype(str) if k in NAMES
        else rng.choice([f"level{j}" for j in range(LEVELS[k])], count) if k in LEVELS
        else rng.choice(["<=50K", ">50K"], count)
        for k in range(15)
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("adult")
    lines = (", ".join(row) for row in zip(*columns, strict=True))
    (folder / "adult.data").write_text("\n".join(lines))
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in CODE.items():
        path = tmp_path / "repo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return tmp_path / "repo"


def test_both_attack_one_gradient_of_each_architecture_and_are_scored_alike(
    checkout: Path, adult: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gradient of their columns is ours to the digit, or the measurement would have stopped."""
    with pytest.raises(SystemExit) as ended:
        main([
            "bench", "authors", "--tabular-gia", str(checkout), "--adult", str(adult),
            "--architectures", "mlp", "fttransformer", "--sizes", "3", "--batches", "1",
            "--restarts", "2", "--iterations", "20", "--out", str(tmp_path / "out"),
        ])  # fmt: skip
    assert ended.value.code == 0 and "ours: right" in capsys.readouterr().out
    weights = set()
    for name in ("mlp", "fttransformer"):
        found = json.loads((tmp_path / "out" / f"tabular_gia_{name}.json").read_text())
        assert found["published_steps"] == 10_000 and found["torch"] == torch.__version__
        (row,) = found["rows"]
        weights.add(row["weights"])
        assert row["architecture"] == name
        assert row["accuracy"] == pytest.approx(8 / 14)  # all levels and no number
        assert (row["steps"], row["restarts"], row["iterations"]) == (40, 2, 20)
        assert (row["counted"], row["size"], row["seed"]) == (0.5, 3, 0)
        assert 0 < row["guess"] <= 1 and 0 < row["our_accuracy"] <= 1
        assert 0 < row["schema_accuracy"] <= 1 and row["our_seconds"] > 0
    assert weights == {8 * (6 + sum(LEVELS.values())) + 8 + 16 + 8 + 1}
    assert not (checkout / "leakpro_output").exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("model/model_wrapper", "x = self.to_gia_space(x)", "x = self.to_gia_space(x) + 1",
         "do not give the authors' gradient"),
        ("../leakpro/attacks/gia_attacks/invertinggradients", "return step", "return 7",
         "stopped after 7 of 4 steps"),
        ("configs/model/model", "self.preset = preset", "raise RuntimeError('another torch')",
         "another torch"),
    ],
)  # fmt: skip
def test_other_columns_and_code_that_fails_are_told(
    checkout: Path, adult: Path, file: str, old: str, new: str, said: str
) -> None:
    path = checkout / "tabular_gia" / f"{file}.py"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(InvalidInputError, match=said) as refused:
        run(checkout, adult)
    assert "--python" in str(refused.value)


def run(checkout: Path, adult: Path) -> dict[str, list[object]]:
    return measure_architecture(
        "fttransformer", checkout, adult, sizes=(2,), batches=1, restarts=2, iterations=2
    )


def test_wrong_folders_and_nothing_to_do_are_refused(
    checkout: Path, adult: Path, tmp_path: Path
) -> None:
    BenchAuthors(adult=adult, tabular_gia=checkout).check()
    for wrong, said in (
        (BenchAuthors(adult=adult), "--tableak, --tabular-gia or both"),
        (BenchAuthors(adult=adult, tabular_gia=tmp_path), "no checkout of scaleoutsystems"),
        (BenchAuthors(adult=tmp_path, tabular_gia=checkout), "There is no adult"),
        (BenchAuthors(adult=adult, tabular_gia=checkout, architectures=()), "--architectures"),
        (BenchAuthors(adult=adult, tabular_gia=checkout, python=tmp_path / "no"), "--python"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            wrong.check()


def test_people_in_their_columns_and_back() -> None:
    rng, layout = np.random.default_rng(0), Layout.of(SCHEMA)
    sex, land = rng.integers(0, 2, 30), rng.integers(0, 3, 30)
    rows = np.column_stack([sex, rng.normal(size=30), land == 1, land == 2, rng.normal(size=30)])
    features = layout.numbers + layout.categories
    assert [f.name for f in features] == ["age", "hours", "sex", "country"]
    assert layout.cardinalities == [2, 3]
    coded = layout.coded(rows)
    assert (coded == np.column_stack([rows[:, 1], rows[:, 4], sex, land])).all()
    assert (layout.rows(coded) == rows).all()
    inputs = layout.inputs(torch.tensor(rows)).numpy()
    assert (inputs == np.column_stack([coded[:, :2], np.eye(2)[sex], np.eye(3)[land]])).all()
    assert (layout.largest(inputs) == coded).all()
    assert (layout.largest(inputs + rng.uniform(0, 0.4, inputs.shape))[:, 2:] == coded[:, 2:]).all()
    assert matched_accuracies(layout.rows(layout.largest(inputs)), rows, features).min() == 1


def test_who_is_attacked_is_in_nobodys_marginals(adult: Path) -> None:
    people, schema = load_adult(adult)
    few = people.take(np.arange(9))
    drawn = Attacked.drawn(few, schema, 8, 1)
    (left,) = [row for row in few.features if not (row == drawn.truth).all(axis=1).any()]
    age = next(k for k, c in enumerate(schema.columns) if c.name == "age")
    assert set(drawn.marginals.quantiles["age"]) == {left[age]}
    assert len(drawn.labels) == 8
    again = Attacked.drawn(few, schema, 8, 1)
    assert (again.truth == drawn.truth).all()
    assert not (Attacked.drawn(people, schema, 8, 2).truth == drawn.truth).all()


class Attending(nn.Module):
    """Tokens, attention, norms of both kinds: what the three architectures are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Linear(5, 12)
        self.heads = nn.Linear(4, 12)
        self.norm, self.batch = nn.LayerNorm(4), nn.BatchNorm1d(4)
        self.last = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.tokens(x).reshape(len(x), 3, 4))
        q, k, v = self.heads(tokens).chunk(3, dim=-1)
        mixed = torch.softmax(q @ k.transpose(1, 2) / 2, dim=-1) @ v
        scores: Tensor = self.last(nn.functional.gelu(self.batch(mixed.mean(1))))
        return scores


def test_batched_gradients_are_autograds_one_by_one_and_so_are_their_slopes() -> None:
    torch.manual_seed(0)
    module = Attending().double().eval()
    for norm in (module.norm, module.batch):
        nn.init.normal_(norm.weight)
    x = torch.randn((3, 4, 5), dtype=torch.float64, requires_grad=True)
    y = torch.randint(0, 2, (3, 4)).double()
    present = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 1], [1, 0, 0, 0]]).double()
    found = ModuleGradient(module)(x, y, present)
    assert found.shape == (3, sum(p.numel() for p in module.parameters()))
    rows = []
    for xs, ys, there in zip(x, y, present.bool(), strict=True):
        loss = nn.functional.binary_cross_entropy_with_logits(module(xs[there])[:, 0], ys[there])
        parts = torch.autograd.grad(loss, list(module.parameters()), create_graph=True)
        rows.append(torch.cat([part.flatten() for part in parts]))
    one_by_one = torch.stack(rows)
    assert torch.allclose(found, one_by_one, rtol=1e-9, atol=1e-12)
    direction = torch.randn_like(one_by_one)
    ours, one = (torch.autograd.grad((g * direction).sum(), x)[0] for g in (found, one_by_one))
    assert torch.allclose(ours, one, rtol=1e-8, atol=1e-11)
    with torch.no_grad():
        assert not ModuleGradient(module)(x, y, present).requires_grad
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
