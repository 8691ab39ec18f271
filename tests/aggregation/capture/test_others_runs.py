"""Runs of Flower, NVFLARE and Opacus, really made, read without any of the three."""

import json
import sys
from pathlib import Path
from shutil import copytree
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aggregation.capture import (
    CapturedRun,
    RunLog,
    Sgd,
    from_flower,
    from_nvflare,
    from_opacus,
    record_flower,
)
from aggregation.capture.nvflare_job import keep_result
from aggregation.capture.update_folder import UpdateFolder, read_updates
from aggregation.capture.weight_files import read_weights
from aggregation.data.patients import Patients
from aggregation.models import Perceptron
from aggregation.noise_kind import NoiseKind
from attacks.exact.closed_form import ClosedForm
from attacks.knowledge.priors import Prior
from attacks.views import GradientView, observe, require
from experiments.cohorts import load
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.ledger.opacus_history import history
from tests.aggregation.capture.clients import exact_sum
from tests.captures.clients import HOSPITALS, RATE, batch

KEPT = Path("tests/captures")
SCHEMA = load("heart").schema
MODEL = Perceptron(len(SCHEMA), 64)
REACH = [
    1.0 if c.binary or c.group else max(abs(c.low - c.mean), abs(c.high - c.mean)) / c.sd
    for c in SCHEMA.columns
]
HOW: dict[str, Any] = {"model": MODEL, "learning_rate": RATE, "reach": REACH}


def runs() -> dict[str, CapturedRun]:
    return {
        "flower": from_flower(KEPT / "flower", **HOW),
        "nvflare": from_nvflare(KEPT / "nvflare", **HOW),
    }


def view(run: RunLog) -> GradientView:
    return require(observe(run, "server_plain"), GradientView, "test")


def off(people: Patients, params: NDArray[np.float64], seen: NDArray[np.float64]) -> Any:
    return np.abs(exact_sum(MODEL, params, people) - seen)


@pytest.mark.parametrize("program", ["flower", "nvflare"])
def test_a_real_run_is_read_and_its_patients_are_too(program: str) -> None:
    run = runs()[program]
    assert isinstance(run, RunLog) and len(run.public.hospitals) == 2 and run.public.rounds == 2
    assert len(run.messages.select(kind="update")) == 4
    seen = view(run)
    people = {name: batch(name) for name in HOSPITALS}
    prior, read, whose = Prior.from_schema(SCHEMA), 0, []
    for gradient in seen.gradients:
        (part,) = gradient.contributions
        assert gradient.error is not None
        step = run.public.step
        fits = [
            name
            for name, group in people.items()
            if (off(group, part.params, gradient.integers * step) <= gradient.error * step).all()
        ]
        assert len(fits) == 1  # the sum of one hospital's gradients lies within the error
        whose += fits
    assert sorted(whose) == sorted(2 * HOSPITALS)
    found = ClosedForm().reconstruct(seen, prior)
    everyone = np.concatenate([group.features for group in people.values()])
    for record in found.records[found.certified]:
        assert (np.abs(everyone - record).max(axis=1) < 1e-9).any()
        read += 1
    assert read >= 24  # of 32


def test_updates_that_are_not_one_size_or_not_told_are_refused(tmp_path: Path) -> None:
    copytree(KEPT / "flower", tmp_path / "run")
    index = tmp_path / "run" / "updates.json"
    told = json.loads(index.read_text())
    told["updates"][2]["patients"] = 9
    index.write_text(json.dumps(told))
    with pytest.raises(InvalidInputError, match="on 8 patients and on 9"):
        from_flower(tmp_path / "run", **HOW)
    for update in told["updates"]:
        update["patients"] = None
    index.write_text(json.dumps(told))
    with pytest.raises(InvalidInputError, match="batch_size"):
        from_flower(tmp_path / "run", **HOW)
    run = from_flower(tmp_path / "run", batch_size=8, **HOW)
    assert run.public.declared_sizes == (8, 8) and run.public.sampling_size is None


def test_batches_of_a_larger_table_are_steps_of_one_pass(tmp_path: Path) -> None:
    run = from_flower(KEPT / "flower", batch_size=4, steps=2, **HOW)
    assert run.public.sampling_size == 4 and run.public.local_steps == 2
    assert run.public.batch_sizes == (4.0, 4.0)
    with pytest.raises(InvalidInputError, match="one pass"):
        from_flower(KEPT / "flower", batch_size=3, steps=2, **HOW)


def test_a_run_says_what_made_its_clients_steps() -> None:
    """An epoch of Flower's quickstart: momentum, and a last layer of two rows."""
    told = HOW | {"batch_size": 8, "steps": 3, "optimizer": Sgd(0.9)}
    run = from_flower(KEPT / "flower_epoch", **told)
    assert run.optimizer == Sgd(0.9, twice=MODEL.width + 1)
    assert {gradient.optimizer for gradient in view(run).gradients} == {run.optimizer}
    assert run.public.sampling_size == 8 and run.public.declared_sizes == (24, 24)
    assert runs()["flower"].optimizer == Sgd()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"before": "../r1-before.npz"}, CorruptMessageError),
        ({"after": "/etc/passwd"}, CorruptMessageError),
        ({"after": "r1-0.pt"}, CorruptMessageError),
        ({"after": "missing.npz"}, CorruptMessageError),
        ({"patients": 0}, CorruptMessageError),
        ({"client": "aggregator"}, InvalidInputError),
        ({"client": "../.."}, CorruptMessageError),
    ],
)
def test_an_index_is_read_as_an_adversarys(
    tmp_path: Path, change: dict[str, Any], error: type[Exception]
) -> None:
    copytree(KEPT / "flower", tmp_path / "run")
    index = tmp_path / "run" / "updates.json"
    told = json.loads(index.read_text())
    told["updates"][0] |= change
    index.write_text(json.dumps(told))
    with pytest.raises(error):
        from_flower(tmp_path / "run", **HOW)


def test_each_programs_updates_go_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="flwr"):
        from_flower(KEPT / "nvflare", **HOW)
    with pytest.raises(InvalidInputError, match="nvflare"):
        from_nvflare(KEPT / "flower", **HOW)
    with pytest.raises(InvalidInputError, match="found 3"):
        from_nvflare(KEPT, **HOW)
    with pytest.raises(InvalidInputError, match="found 0"):
        from_nvflare(tmp_path, **HOW)
    (tmp_path / "updates.json").write_text(
        '{"kind": "inpatient updates", "version": 1, "program": "flwr 1", "updates": []}'
    )
    with pytest.raises(InvalidInputError, match="no updates"):
        from_flower(tmp_path, **HOW)


# Recorders


class _Array:
    def __init__(self, value: Any) -> None:
        self._value = np.asarray(value, dtype=np.float32)

    def numpy(self) -> NDArray[Any]:
        return np.asarray(self._value)


class _Answer:
    def __init__(self, node: int, value: Any, patients: int | None, failed: bool = False) -> None:
        self.metadata = SimpleNamespace(src_node_id=node)
        metrics = {} if patients is None else {"m": {"num-examples": float(patients)}}
        self.content = SimpleNamespace(
            array_records={"arrays": {"w": _Array(value)}}, metric_records=metrics
        )
        self._failed = failed

    def has_error(self) -> bool:
        return self._failed


class _Strategy:
    weighted_by_key = "num-examples"

    def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
        return [server_round, config, grid]

    def aggregate_train(self, server_round: int, replies: Any) -> Any:
        return server_round, list(replies)


def test_flowers_strategy_does_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregation.capture.flower_history.version", lambda _: "1.41.0")
    strategy = record_flower(_Strategy(), tmp_path / "kept")
    assert strategy.configure_train(3, {"w": _Array([1.0])}, "c", grid="g") == [3, "c", "g"]
    answers = [_Answer(7, [2.0], 5), _Answer(8, [0.0], 1, failed=True), _Answer(9, [4.0], None)]
    assert strategy.aggregate_train(3, iter(answers)) == (3, answers)
    one, other = read_updates(tmp_path / "kept", program="flwr 1.41")
    assert (one.round, one.client, one.patients) == (3, "client-7", 5)
    assert (other.client, other.patients) == ("client-9", None)
    assert read_weights(tmp_path / "kept" / one.before).tensors["w"] == [1.0]
    assert read_weights(tmp_path / "kept" / other.after).tensors["w"] == [4.0]
    with pytest.raises(InvalidInputError, match="another run"):
        record_flower(_Strategy(), tmp_path / "kept")


def model(values: Any, kind: str = "FULL", **meta: Any) -> Any:
    params = {"w": np.array(values, dtype=np.float32)}
    return SimpleNamespace(params=params, params_type=kind, meta=meta, current_round=4)


def test_nvflares_controller_does_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    class FedAvg:
        fl_ctx = SimpleNamespace(
            get_job_id=lambda: "job",
            get_workspace=lambda: SimpleNamespace(get_run_dir=lambda job: str(tmp_path / job)),
        )

        def send_model(self, **told: Any) -> None:
            sent.append(told)

    stub = ModuleType("fedavg")
    stub.FedAvg = FedAvg  # type: ignore[attr-defined]
    for name in ("nvflare", "nvflare.app_common", "nvflare.app_common.workflows"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "nvflare.app_common.workflows.fedavg", stub)
    monkeypatch.delitem(sys.modules, "aggregation.capture.nvflare_controller", raising=False)
    monkeypatch.setattr("aggregation.capture.nvflare_job.version", lambda _: "2.9.0")
    from aggregation.capture.nvflare_controller import RecordingFedAvg

    controller: Any = RecordingFedAvg()
    got: list[Any] = []
    controller.send_model(data=model([1.0]), callback=got.append, targets=["site-1"])
    assert sent[0]["targets"] == ["site-1"]
    answer = model([3.0], client_name="site-1", patients=6)
    sent[0]["callback"](answer)
    empty = SimpleNamespace(params={}, params_type="FULL", meta={"client_name": "site-2"})
    sent[0]["callback"](empty)
    assert got == [answer, empty]
    (update,) = read_updates(tmp_path / "job" / "updates", program="nvflare 2")
    assert (update.round, update.client, update.patients) == (4, "site-1", 6)
    monkeypatch.delitem(sys.modules, "aggregation.capture.nvflare_controller")


def test_a_difference_is_added_to_what_was_sent(tmp_path: Path) -> None:
    kept = UpdateFolder(tmp_path / "kept", "nvflare 2.9.0")
    kept.sent(4, model([1.0]).params)
    keep_result(kept, model([1.0]), model([0.5], "ParamsType.DIFF", client_name="site-1"))
    keep_result(kept, model([1.0]), model([0.5], "ParamsType.FULL", client_name="site-2"))
    one, other = read_updates(tmp_path / "kept", program="nvflare")
    assert read_weights(tmp_path / "kept" / one.after).tensors["w"] == [1.5]
    assert read_weights(tmp_path / "kept" / other.after).tensors["w"] == [0.5]
    assert one.patients is None


# Opacus


def opacus(folder: str, **changes: Any) -> Any:
    path = KEPT / "opacus" / folder
    told = {
        "history": history((path / "checkpoint.pt").read_bytes()),
        "clip_norm": 1.0,
        "batch_size": 28,
        "patients": 280,
        "sampler": folder,
    }
    before, after = read_weights(path / "before.npz"), read_weights(path / "after.npz")
    return from_opacus(before, after, **(HOW | told | changes))


def test_a_training_by_opacus_is_a_noisy_step_with_its_whole_cost() -> None:
    run = opacus("poisson")
    plan = run.public
    assert plan.noise == NoiseKind.LOCAL and plan.noise_multiplier == 1.0
    assert plan.batch_sizes == (28.0,) and plan.declared_sizes == (280,)
    (event,) = run.events.values()
    assert (event.count, event.event.sampling_probability) == (50, 0.1)
    # 1,281 coordinates of noise of deviation 1, and a sum of 28 clipped rows under it
    size = np.linalg.norm(run.update * plan.step)
    assert 0.9 * np.sqrt(MODEL.dim) < size < np.sqrt(MODEL.dim) + 28
    assert (run.error * plan.step < 0.1).all()  # much finer than the noise
    seen = view(run)
    assert seen.gradients[0].noise_std * plan.step == pytest.approx(1.0)
    found = ClosedForm().reconstruct(seen, Prior.from_schema(SCHEMA))
    assert not found.certified.any()


def test_shuffled_batches_are_passes_and_no_patient_comes_or_goes() -> None:
    (event,) = opacus("shuffled").events.values()
    assert event.count == 5 and event.event.batches == 10


def test_a_clipped_step_without_noise_is_the_clipped_sum() -> None:
    """What is read is the sum, in units of the clip norm's own grid."""
    rng = np.random.default_rng(5)
    params = MODEL.initial(rng).astype(np.float32).astype(np.float64)
    people = batch("va")
    rows = MODEL.per_patient_gradients(params, people.features, people.outcomes)
    rows *= np.minimum(1.0, 0.3 / np.linalg.norm(rows, axis=1))[:, None]
    after = (params - RATE * rows.sum(axis=0) / 8).astype(np.float32)
    run = from_opacus(
        params.astype(np.float32),
        after,
        history=[(0.0, 1.0, 1)],
        clip_norm=0.3,
        batch_size=8,
        patients=8,
        **HOW,
    )
    step = run.public.step
    assert (np.abs(run.update * step - rows.sum(axis=0)) <= run.error * step).all()
    assert run.public.noise == NoiseKind.NONE and run.public.sampling_size is None
    assert run.public.clip_norm == 0.3


@pytest.mark.parametrize("clip_norm", [1.0, 0.3, 1e-11, 2.4e-12])
def test_what_is_read_does_not_follow_the_grid_that_the_clip_norm_makes(clip_norm: float) -> None:
    """However coarse the plan's integers are: a tiny clip norm is a few steps of them."""
    rng = np.random.default_rng(6)
    params = MODEL.initial(rng)
    total = clip_norm * rng.normal(size=MODEL.dim)
    told = {"history": [(0.0, 1.0, 1)], "batch_size": 8, "patients": 8, **HOW}
    run = from_opacus(params, params - RATE * total / 8, clip_norm=clip_norm, **told)
    step = run.public.step
    assert step == clip_norm / run.public.radius
    gap = np.abs(run.update * step - total)
    grids = step / 2 + 2.0**-39  # it is rounded to either
    assert (gap <= grids + 8e-15 / RATE).all() and (gap <= run.error * step).all()


@pytest.mark.parametrize(
    "wrong",
    [{"history": []}, {"clip_norm": 0.0}, {"batch_size": 300}, {"history": [(1.0, 2.0, 1)]}],
)
def test_what_opacus_can_not_have_done_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((InvalidInputError, RefusedError)):
        opacus("poisson", **wrong)
