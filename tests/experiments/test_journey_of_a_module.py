"""One torch module goes all the way: trained sealed, accounted, attacked, verified, handed out.

By the commands that a hospital types, on three tables of strangers; what they leave is compared
with what the run's own parameters score.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dp_accounting import NeighboringRelation
from scipy.special import expit
from scipy.stats import binomtest

from aggregation.data.patients import Patients
from aggregation.data.tables import read_table
from aggregation.federation import Federation
from aggregation.models import TorchModel
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import run_event
from aggregation.trained import FILE, SOURCE, Trained
from aggregation.transcript import Transcript
from attacks import Prior
from attacks.informed.known_others import InformedPool
from attacks.views import Adversary, Knowledge, PublicView, observe, require
from experiments import federate
from experiments.cli import main
from experiments.cohorts import load
from experiments.studies.design import TRAINING, Regime
from privacy.ledger import load_trust, verify
from privacy.reconstruction import success_bound
from tests.test_own_data import FILES, write_ward

NAMES, PEOPLE, LEVEL = ("north", "south", "west"), 10, 1e-3
MINE = """
from torch import nn


def make(inputs):
    return nn.Sequential(
        nn.Linear(inputs.features, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 1)
    )
"""
WANTED = federate.Wanted(1.0, evaluate=0.3, held_out=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Schema, mappings and tables, the module's file, and what one command left in ``run``."""
    made = tmp_path_factory.mktemp("journey")
    for name, text in FILES.items():
        (made / name).write_text(text)
    for seed, name in enumerate(NAMES):
        write_ward(made / f"{name}.csv", seed)
        (made / f"{name}.toml").write_text(FILES["north.toml"].replace("north", name))
    (made / "mine.py").write_text(MINE)
    brief = replace(TRAINING[Regime.FULL, "mlp"], rounds=3, average_last=2)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("INPATIENT_HOME", str(made / "home"))
        patched.setattr(federate, "training_of", lambda *_: brief)
        words = ["--model", f"{made / 'mine.py'}:make", "--cohort", str(made / "cohort.toml"),
                 "--evaluate", "0.3", "--held-out", "0.3"]  # fmt: skip
        assert run("train", *words, "--out", str(made / "run")) == 0
        yield made


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert isinstance(left.value.code, int)
    return left.value.code


def run_of(folder: Path) -> tuple[Plan, Transcript, dict[str, Patients]]:
    """The run's plan and transcript, and who took part in its training."""
    transcript = Transcript.load(folder / "run" / "transcript")
    plan = observe(transcript, "public").plan
    hospitals = load(folder / "cohort.toml").hospitals
    return plan, transcript, federate._parted(hospitals, WANTED, plan.run)[0]


def test_it_is_sealed_and_accounted_within_one_budget_and_verified(folder: Path) -> None:
    plan, transcript, _ = run_of(folder)
    assert (
        plan.scheme != "plain"
        and plan.noise == NoiseKind.SHARED
        and isinstance(plan.model, TorchModel)
    )
    trust = folder / "run" / "trust.json"
    assert run("ledger", "verify", str(folder / "run"), "--trust", str(trust)) == 0
    verdict = verify([folder / "run"], load_trust(trust))
    for reading in verdict.readings:
        (spent,) = reading.spent
        assert spent.releases == plan.rounds + 1 and spent.interval is not None
        assert spent.interval.upper <= 1.0
        assert "torch threads" in str(reading.stated(plan.run))
    assert len(transcript.select(kind="update")) == plan.rounds * len(NAMES)


def named(transcript: Transcript, people: dict[str, Patients], prior: Prior) -> int:
    """How many of ten targets are named of ten by the strongest: all patients but one are known."""
    rng, right = np.random.default_rng(0), 0
    for target in range(10):
        own = people["north"]
        known = {**people, "north": own.take(np.arange(len(own)) != target)}
        view = observe(transcript, Adversary("informed", Knowledge(patients=known)))
        shown = np.vstack([own.features[target], prior.draw(PEOPLE - 1, rng)])
        pool = Patients(shown, np.repeat(own.outcomes[target], PEOPLE))
        right += int(InformedPool(pool).posterior(view).argmax() == 0)
    return right


def test_the_attack_on_this_very_run_stays_below_its_bound_and_wins_without_noise(
    folder: Path,
) -> None:
    plan, transcript, people = run_of(folder)
    prior = Prior.from_schema(load(folder / "cohort.toml").schema)
    relation = NeighboringRelation.ADD_OR_REMOVE_ONE
    bound = success_bound(run_event(plan, "north"), prior_success=1 / PEOPLE, relation=relation)
    hits = named(transcript, people, prior)
    assert bound < 0.25
    assert binomtest(hits, 10, bound, alternative="greater").pvalue > LEVEL, (hits, bound)
    bare = replace(
        plan, noise=NoiseKind.NONE, noise_multiplier=0.0, colluders=0, sealing=None, roster=None
    )
    clear = Federation.simulated(bare, people, seed=0).run().transcript
    assert named(clear, people, prior) >= 9


def test_onnx_safetensors_and_predict_agree_with_the_runs_scores(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnxruntime
    from safetensors.numpy import load_file

    model, table = folder / "run" / "model", folder / "north.toml"
    files = [tmp_path / name for name in ("m.onnx", "m.safetensors", "risks.csv")]
    read = ["--module", str(model / SOURCE)]
    exported = ["--onnx", str(files[0]), "--safetensors", str(files[1])]
    assert run("export", str(model), *exported, *read) == 0
    assert run("predict", str(model), str(table), "--risks", str(files[2]), *read, "--json") == 0
    said = capsys.readouterr()
    assert '"patients": 100' in said.out
    assert "torchvision" not in said.err and "nms" not in said.err  # torch's own insides
    plan, transcript, _ = run_of(folder)
    view = require(observe(transcript, "public"), PublicView, "test")
    params = view.params  # what the run itself ended with
    patients = read_table(table, load(folder / "cohort.toml").schema)
    scores = plan.model.scores(params, patients.features, slots=patients.slots)
    session = onnxruntime.InferenceSession(files[0], providers=["CPUExecutionProvider"])
    log_odds, risks = session.run(["log_odds", "risk"], {"features": patients.features})
    np.testing.assert_allclose(log_odds, scores, rtol=0, atol=1e-6)
    np.testing.assert_allclose(risks, expit(scores), rtol=0, atol=1e-6)
    rows = [line.split(",") for line in files[2].read_text().splitlines()[1:]]
    assert [int(row[0]) for row in rows] == patients.ids.tolist()
    np.testing.assert_allclose([float(r[1]) for r in rows], expit(scores), rtol=0, atol=1e-6)
    tensors = load_file(files[1])
    assert isinstance(plan.model, TorchModel)
    flat = np.concatenate([tensors[name].reshape(-1) for name, _ in plan.model.parameters])
    assert flat.tobytes() == Trained.read(model).params.tobytes() == params.tobytes()
    told = json.loads((model / FILE).read_text())
    assert told["plan"] == plan.digest and told["model"]["source"] == plan.model.source
