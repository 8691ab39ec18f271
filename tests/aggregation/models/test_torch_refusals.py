"""What is no model: refused where it is made, and by every hospital that is sent it in a plan."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from aggregation.data.patients import Patients
from aggregation.federation import Federation
from aggregation.models import Inputs, Model, TorchModel, torch_model
from aggregation.models.torch_source import SOURCES, approve
from aggregation.plan import Plan
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from tests.aggregation.models.made import INPUTS, NORMED, made, written
from tests.aggregation.models.test_torch_sums import cohort, plan_of

SEQUENTIAL = "def make(inputs):\n    return nn.Sequential({inner})\n"
LINEAR = "nn.Linear(inputs.features, 8), {inner}, nn.Linear(8, 1)"


def layers(inner: str) -> str:
    return SEQUENTIAL.replace("{inner}", LINEAR.replace("{inner}", inner))


def module(forward: str, init: str = "pass", more: str = "") -> str:
    return f"""
class Own(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.out = nn.Linear(inputs.features, 1)
        {init}

    def forward(self, x):
        {forward}

    {more}

def make(inputs):
    return Own(inputs)
"""


HIDING = """
def make(inputs):
    try:
        open("/etc/hostname")
    except Exception:
        pass
    return nn.Linear(inputs.features, 1)
"""

WRONG = {
    "no parameters": (SEQUENTIAL.replace("{inner}", "nn.ReLU()"), "has no parameters"),
    "batch norm": (layers("nn.BatchNorm1d(8)"), "keeps buffers .*running_mean.*LayerNorm"),
    "batch norm without statistics": (
        layers("nn.BatchNorm1d(8, track_running_stats=False)"),
        "can't be run a record at a time.*batch norm",
    ),
    "dropout": (layers("nn.Dropout(0.1)"), "can't be run a record at a time.*dropout"),
    "a buffer": (
        module("return self.out(x) + self.shift", "self.register_buffer('shift', torch.ones(1))"),
        r"keeps buffers \(shift\).*constants in forward",
    ),
    "neighbours' mean": (
        module("return self.out(x - x.mean(0, keepdim=True))"),
        "scores of a batch are not those of its records one by one",
    ),
    "neighbours' attention": (
        module("return self.out(torch.softmax(x @ x.T, dim=-1) @ x)"),
        "scores of a batch are not those of its records",
    ),
    "tied modules": (
        module("return self.out(x) + self.same(x)", "self.same = self.out"),
        r"ties parameters \(same.weight, same.bias\)",
    ),
    "tied storage": (
        module(
            "return self.out(x) + self.same.sum()",
            "self.same = nn.Parameter(self.out.weight.detach())",
        ),
        "ties parameters",
    ),
    "half": (
        layers("nn.Identity()").replace("nn.Linear(8, 1)", "nn.Linear(8, 1).half()"),
        "is torch.float16; expected float32",
    ),
    "complex": (
        module(
            "return self.out(x) + self.z.real.sum()",
            "self.z = nn.Parameter(torch.zeros(2, dtype=torch.complex64))",
        ),
        "z is torch.complex64",
    ),
    "frozen": (
        module("return self.out(x)", "self.out.bias.requires_grad_(False)"),
        "freezes the parameter out.bias",
    ),
    "not finite": (
        module("return self.out(x)", "nn.init.constant_(self.out.bias, float('nan'))"),
        "out.bias is not finite",
    ),
    "10^8 parameters": (
        module("return self.out(x)", "self.big = nn.Parameter(torch.empty(10**8))"),
        "has 100,000,010 parameters; expected at most 1,000,000",
    ),
    "loss that is averaged": (
        module("return self.out(x)", more="def loss(self, s, y): return ((s - y) ** 2).mean()"),
        r"loss of .* gives \(\) for 64 records",
    ),
    "loss that looks across records": (
        module("return self.out(x)", more="def loss(self, s, y): return (s - y) ** 2 - s.mean()"),
        "losses of a batch are not those of its records",
    ),
    "three scores": (
        SEQUENTIAL.replace("{inner}", "nn.Linear(inputs.features, 3)"),
        r"gives \(64, 3\) for 64 records",
    ),
    "no tensor": (module("return 1.0"), "gives float for 64 records"),
    "rounds": (module("return self.out(x).float()"), "gives torch.float32 for float64"),
    "branches on values": (
        module("return self.out(x) if x.sum() > 0 else -self.out(x)"),
        "can't be run a record at a time.*branching",
    ),
    "draws in forward": (
        module("import random; return self.out(x) * random.random()"),
        "not the same twice|not those of its records",
    ),
    "counts its calls": (
        module("self.n += 1; return self.out(x) * self.n", "self.n = 0"),
        "not the same twice",
    ),
    "looks across records once it has learnt": (
        module(
            "return self.out(x)[:, 0] + self.gate * x.mean()",
            "self.gate = nn.Parameter(torch.zeros(1))",
        ),
        "scores of a batch are not those of its records",
    ),
    "draws elsewhere": (
        module(
            "return self.out(x)", "import random; nn.init.constant_(self.out.bias, random.random())"
        ),
        "draws from elsewhere than torch's generator",
    ),
    "reads a file": (
        module("return self.out(x)", "open('/etc/hostname').read()"),
        "asks for the file '/etc/hostname'.*first.npy",
    ),
    "reads a file and hides it": (
        HIDING,
        "asks for the file",
    ),
    "reads a file as it is loaded": (
        "TEXT = open('/etc/hostname').read()\ndef make(inputs):\n    pass\n",
        "asks for the file",
    ),
    "reads a file in forward": (
        module("open('/etc/hostname').close(); return self.out(x)"),
        "asks for the file",
    ),
    "asks the network": (
        module("return self.out(x)", "import socket; socket.create_connection(('127.0.0.1', 9))"),
        "asks for the network",
    ),
    "starts a process": (
        module("return self.out(x)", "import subprocess; subprocess.run(['true'])"),
        "asks for (a process|the file)",
    ),
    "no module": ("def make(inputs):\n    return 3\n", "returns int; expected a torch.nn.Module"),
    "no factory": ("def other(inputs):\n    pass\n", "has no function 'make'"),
    "fails": ("def make(inputs):\n    return 1 / 0\n", "fails: ZeroDivisionError.*one argument"),
    "fails as it is loaded": ("1 / 0\n", "fails: ZeroDivisionError.*Run it by itself"),
    "no Python": ("def make(:\n", "is no Python"),
    "a file beside it": (
        "import tests.fuzzing\ndef make(inputs):\n    pass\n",
        "imports 'tests', which is not an installed package",
    ),
    "a relative import": ("from . import x\n", "imports '.*digest of this one"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_model_is_refused_in_words(name: str, tmp_path: Path) -> None:
    body, said = WRONG[name]
    with pytest.raises(InvalidInputError, match=f"(?s){said}"):
        TorchModel.of(written(tmp_path, body), INPUTS)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine.py", "Expected FILE:FACTORY or one of deep, embedded, transformer, got 'mine.py'"),
        (":make", "Expected FILE:FACTORY"),
        ("mine.py:", "Expected FILE:FACTORY"),
        ("/nowhere/mine.py:make", "Can't read the model file /nowhere/mine.py"),
    ],
)
def test_a_name_that_is_none_is_refused(name: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        TorchModel.of(name, INPUTS)


def test_dropout_in_evaluation_is_no_dropout(tmp_path: Path) -> None:
    body = layers("nn.Dropout(0.1)").replace("nn.Linear(8, 1))", "nn.Linear(8, 1)).eval()")
    assert made(tmp_path, body).dim == 9 * 8 + 8 + 8 + 1


def test_a_file_that_is_no_ones_to_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    path.write_text("#" * (1 << 20) + "\n")
    with pytest.raises(InvalidInputError, match="1,048,577 bytes; expected at most 1,048,576"):
        approve(path)


def test_files_may_be_read_again_once_a_factory_has_run(tmp_path: Path) -> None:
    made(tmp_path, NORMED, width=5)
    assert (tmp_path / "mine.py").read_text()
    with pytest.raises(InvalidInputError, match="asks for the file"):
        made(tmp_path / "..", WRONG["reads a file"][0])
    assert (tmp_path / "mine.py").read_bytes()


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """Another site: it has approved nothing yet."""
    torch_model.program_of.cache_clear()
    before = dict(SOURCES)
    SOURCES.clear()
    yield
    SOURCES.update(before)
    torch_model.program_of.cache_clear()


def test_a_plan_names_the_model_and_is_read_without_torch(tmp_path: Path) -> None:
    plan = plan_of(made(tmp_path, NORMED, width=6))
    told = json.loads(plan.to_bytes())["model"]
    assert told["kind"] == "torch" and told["factory"] == "make"
    assert [name for name, _ in told["parameters"]][:2] == ["0.weight", "0.bias"]
    assert len(told["source"]) == len(told["first"]) == 64
    assert str(tmp_path) not in str(told)  # where it stands is nobody's business
    again = Plan.from_bytes(plan.to_bytes())
    assert again == plan and again.digest == plan.digest
    code = (
        "import sys\nfrom aggregation.plan import Plan\n"
        "plan = Plan.from_bytes(sys.stdin.buffer.read())\n"
        "print(plan.model.dim, plan.digest, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=plan.to_bytes(), capture_output=True, check=True
    )
    assert done.stdout.decode().split() == [str(plan.model.dim), plan.digest, "False"]


def test_another_file_another_seed_or_other_columns_are_another_plan(tmp_path: Path) -> None:
    first = made(tmp_path, NORMED, width=6)
    others = [
        made(tmp_path, NORMED + "# a comment\n", width=6),
        TorchModel.of(written(tmp_path, NORMED, width=6), INPUTS, seed=1),
        made(tmp_path, NORMED, Inputs(9), width=6),
    ]
    assert len({plan_of(model).digest for model in (first, *others)}) == 4
    assert first.first == others[0].first != others[1].first


@pytest.mark.usefixtures("elsewhere")
def test_a_site_runs_no_file_that_it_has_not_approved(tmp_path: Path) -> None:
    name = written(tmp_path, NORMED, width=6)
    model = TorchModel.of(name, INPUTS)
    first = model.initial(np.random.default_rng(0))
    torch_model.program_of.cache_clear()
    SOURCES.clear()
    groups = {"h0": cohort(20, 9), "h1": cohort(20, 9)}
    plan = plan_of(Model.from_spec(model.spec), (20, 20))
    with pytest.raises(RefusedError, match=f"{model.source}, which this site has not approved"):
        Federation.simulated(plan, groups, seed=0)
    changed = Path(written(tmp_path, NORMED + "\n", width=6).rpartition(":")[0])
    approve(changed)
    with pytest.raises(RefusedError, match="has not approved"):
        model.initial(np.random.default_rng(0))
    approve(Path(written(tmp_path, NORMED, width=6).rpartition(":")[0]))
    assert np.array_equal(model.initial(np.random.default_rng(7)), first)


@pytest.mark.usefixtures("elsewhere")
def test_shipped_models_need_no_approval(tmp_path: Path) -> None:
    model = TorchModel.of("embedded", INPUTS)
    torch_model.program_of.cache_clear()
    SOURCES.clear()
    assert model.initial(np.random.default_rng(0)).shape == (model.dim,)


def test_what_a_plan_says_of_the_file_is_compared_with_it(tmp_path: Path) -> None:
    model = made(tmp_path, NORMED, width=6)
    renamed = (("0.weigh", (6, 9)), *model.parameters[1:])
    with pytest.raises(RefusedError, match=r"other parameters here.*0.weight .6, 9."):
        replace(model, parameters=renamed).initial(np.random.default_rng(0))
    with pytest.raises(RefusedError, match="draws other first parameters here than the plan's"):
        replace(model, first="0" * 64).initial(np.random.default_rng(0))
    with pytest.raises(InvalidInputError, match="has no function 'other'"):
        replace(model, factory="other").initial(np.random.default_rng(0))


def test_first_parameters_may_stand_beside_the_file(tmp_path: Path) -> None:
    drawn = made(tmp_path, NORMED, width=6)
    given = np.random.default_rng(1).normal(size=drawn.dim)
    np.save(tmp_path / "mine.first.npy", given)
    model = made(tmp_path, NORMED, width=6)
    assert model.first != drawn.first
    assert np.array_equal(model.initial(np.random.default_rng(0)), given)
    torch_model.program_of.cache_clear()
    assert np.array_equal(
        drawn.initial(np.random.default_rng(0)), drawn.initial(np.random.default_rng(1))
    )
    np.save(tmp_path / "mine.first.npy", given + 1)  # as good, and not the plan's
    approve(tmp_path / "mine.py")
    torch_model.program_of.cache_clear()
    with pytest.raises(RefusedError, match="draws other first parameters here than the plan's"):
        model.initial(np.random.default_rng(0))
    for wrong in (given[1:], given.astype(np.float32), np.full(drawn.dim, np.nan)):
        np.save(tmp_path / "mine.first.npy", wrong)
        with pytest.raises(InvalidInputError, match="finite float64 numbers"):
            made(tmp_path, NORMED, width=6)
    (tmp_path / "mine.first.npy").write_bytes(b"no array")
    with pytest.raises(InvalidInputError, match="is no array of numpy's"):
        made(tmp_path, NORMED, width=6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": "abc"}, "Expected source as 64 hex digits"),
        ({"first": "Z" * 64}, "Expected first as 64 hex digits"),
        ({"factory": "os.system"}, "Expected a function's name"),
        ({"parameters": []}, "has 0 parameters"),
        ({"parameters": [["a", [1000, 1001]]]}, "has 1,001,000 parameters"),
        ({"parameters": [["a", [2]], ["a", [2]]]}, "distinct names"),
        ({"parameters": [["a\n", [2]]]}, "distinct names"),
        ({"parameters": [["a", [0, 5]]]}, "size=0"),
        ({"parameters": [["a", [-2, -5]]]}, "size=-2"),
        ({"features": 0}, "features=0"),
        ({"groups": [[1, 99]]}, "groups of columns below 9"),
        ({"groups": [[1, 2], [2]]}, "each column in one group"),
        ({"groups": [[]]}, "no group empty"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_a_strangers_specification_is_checked_before_torch(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    plan = plan_of(made(tmp_path, NORMED, width=6))
    content = json.loads(plan.to_bytes())
    content["model"] |= changes
    with pytest.raises(CorruptMessageError, match=said):
        Plan.from_bytes(json.dumps(content, sort_keys=True).encode())


def test_torchs_generator_and_default_dtype_are_left_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    model = made(tmp_path, NORMED, width=6)
    group = Patients(np.ones((2, 9)), np.array([0, 1]))
    params = model.initial(np.random.default_rng(0))
    model.per_patient_gradients(params, group.features, group.outcomes)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_default_dtype() == torch.float32
