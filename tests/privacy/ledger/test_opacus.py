"""Trainings by Opacus that spend from a ledger: before the weights move, and as claims."""

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from dp_accounting import NeighboringRelation
from opacus import PrivacyEngine
from opacus.accountants import PRVAccountant, create_accountant
from opacus.optimizers import DPOptimizer
from opacus.utils.batch_memory_manager import BatchMemoryManager
from torch.utils.data import DataLoader, TensorDataset

from privacy.accounting import epsilon
from privacy.accounting.events import from_json
from privacy.errors import BudgetExceededError, InvalidInputError, RefusedError
from privacy.ledger import Budget, Ledger, SigningKey, close, verify
from privacy.ledger.accountant import Accountant, Certified, RenyiOnly, composed
from privacy.ledger.log.entries import Entry
from privacy.ledger.opacus import LedgerAccountant, Sampling, register
from privacy.unit import Unit
from tests.privacy.ledger.helpers import gaussian
from tests.privacy.ledger.test_verify import BOTH

KEY = SigningKey.generate()
PATIENTS, BATCH = 40, 10


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # Opacus warns of its generator, which the ledger's entries say; and its hooks, of inputs
        # that need no gradient.
        warnings.filterwarnings("ignore", message="Secure RNG turned off")
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        yield


def opened(
    folder: Path,
    allowed: float = 50.0,
    relation: str = "ADD_OR_REMOVE_ONE",
    accountant: Accountant | None = None,
) -> Ledger:
    return Ledger.create(
        folder / "north.jsonl",
        hospital="north",
        key=KEY,
        budget=Budget(epsilon=allowed, relation=relation),
        foreign="Opacus",
        accountant=accountant or RenyiOnly(),
    )


def replaced(folder: Path) -> Ledger:
    return opened(folder, relation="REPLACE_SPECIAL")


class Training:
    """What a user of Opacus writes."""

    def __init__(self, name: str, *, noise: float = 2.0, **told: Any) -> None:
        torch.manual_seed(3)
        people = torch.randn(PATIENTS, 3), torch.randint(0, 2, (PATIENTS,)).float()
        loader = DataLoader(TensorDataset(*people), batch_size=BATCH, shuffle=True)
        net = torch.nn.Linear(3, 1)
        self.criterion: Any = lambda z, y: torch.nn.functional.binary_cross_entropy_with_logits(
            z.squeeze(-1), y
        )
        self.engine = PrivacyEngine(accountant=name)
        common = {
            "module": net,
            "optimizer": torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9),
            "data_loader": loader,
            "max_grad_norm": 1.0,
        }
        if told.get("grad_sample_mode") == "ghost":
            criterion = torch.nn.BCEWithLogitsLoss()
            made = self.engine.make_private(
                noise_multiplier=noise, criterion=criterion, **common, **told
            )
            self.net, self.optimizer, ghost, self.loader = made
            self.criterion = lambda z, y: ghost(z, y[:, None])
        elif "target_epsilon" in told:
            made = self.engine.make_private_with_epsilon(target_delta=1e-5, **common, **told)
            self.net, self.optimizer, self.loader = made
        else:
            made = self.engine.make_private(noise_multiplier=noise, **common, **told)
            self.net, self.optimizer, self.loader = made

    def weights(self) -> list[float]:
        return [float(v) for p in self.net.parameters() for v in p.detach().ravel()]

    def run(self, passes: int, loader: Any = None) -> int:
        taken = 0
        for _ in range(passes):
            for x, y in self.loader if loader is None else loader:
                self.optimizer.zero_grad()
                self.criterion(self.net(x), y).backward()
                self.optimizer.step()
                taken += 1
        return taken


def entries(ledger: Ledger, kind: str) -> list[Entry]:
    return [entry for entry in ledger.entries() if entry.kind == kind]


def test_each_step_is_entered_in_the_plan_and_the_ledger_verifies(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    training = Training(register(ledger, steps=8))
    assert ledger.size == 1  # nothing is written before a step is taken
    assert training.run(2) == 8
    (plan,) = entries(ledger, "plan")
    assert plan.content["schedule"][0]["count"] == 8
    releases = entries(ledger, "release")
    assert [entry.content["filter"] for entry in releases] == ["planned"] * 8
    assert [entry.content["round"] for entry in releases] == list(range(8))
    said = releases[0].content
    assert said["event"] == {
        "type": "PoissonSampledDpEvent",
        "sampling_probability": 0.25,
        "event": {"type": "GaussianDpEvent", "noise_multiplier": 2.0},
    }
    assert said["noise_source"] == "torch generator" and said["clip_norm"] == 1.0
    assert "records were read" in said["details"]["order"]
    close([ledger])
    verdict = verify([tmp_path / "north.jsonl"], {"north": KEY.public}, accountants=BOTH)
    assert verdict.status == 0
    assert any("claims of Opacus" in note for note in verdict.readings[0].notes)


def test_opacus_own_epsilon_lies_in_the_interval(tmp_path: Path) -> None:
    ledger = opened(tmp_path, accountant=Certified())
    training = Training(register(ledger, steps=8))
    training.run(2)
    parts = [(e.content["event"], 1) for e in entries(ledger, "release")]
    ours = epsilon(
        from_json(composed(parts)), delta=1e-5, relation=NeighboringRelation.ADD_OR_REMOVE_ONE
    )
    theirs = PRVAccountant()
    theirs.history = training.engine.accountant.history
    assert ours.lower <= theirs.get_epsilon(1e-5) <= ours.upper + 0.011  # it adds .01 to its own
    assert training.engine.get_epsilon(1e-5) == pytest.approx(ours.upper, rel=1e-6)


def test_a_plan_that_does_not_fit_is_refused_before_a_weight_moves(tmp_path: Path) -> None:
    ledger = opened(tmp_path, 1.0)
    training = Training(register(ledger, steps=10_000), noise=0.6)
    before = training.weights()
    with pytest.raises(BudgetExceededError, match="no result may be used"):
        training.run(1)
    assert training.weights() == before
    assert not training.optimizer.original_optimizer.state  # nor did momentum
    assert all(p.grad is None and p.summed_grad is None for p in training.optimizer.params)
    training.optimizer.original_optimizer.step()
    assert training.weights() == before
    (refusal,) = entries(ledger, "refusal")
    assert refusal.content["what"] == "plan" and not entries(ledger, "release")


def test_without_a_schedule_each_step_counts_by_itself_until_one_is_refused(tmp_path: Path) -> None:
    ledger = opened(tmp_path, 4.0)
    training = Training(register(ledger))
    with pytest.raises(BudgetExceededError):
        for _ in range(50):
            before = training.weights()
            training.run(1)
    releases, (refusal,) = entries(ledger, "release"), entries(ledger, "refusal")
    assert releases and all(entry.content["filter"] == "adaptive" for entry in releases)
    assert "records were read" in refusal.content["request"]["details"]["order"]
    assert len(training.engine.accountant) == len(releases)
    taken = len(releases) % 4
    assert (training.weights() == before) == (taken == 0)
    assert verify([tmp_path / "north.jsonl"], {"north": KEY.public}, accountants=BOTH).status == 0


def test_only_the_attached_accountant_writes_while_calibrating(tmp_path: Path) -> None:
    ledger = opened(tmp_path, accountant=Certified())
    name = register(ledger, steps=8)
    training = Training(name, target_epsilon=3.0, epochs=2)
    assert ledger.size == 1
    assert training.run(2) == 8
    assert len(entries(ledger, "release")) == 8
    found = training.engine.get_epsilon(1e-5)
    assert 2.9 < found <= 3.0
    stray = create_accountant(name)
    with pytest.raises(RefusedError, match="by hand"):
        stray.step(noise_multiplier=1.0, sample_rate=0.1)
    assert len(entries(ledger, "release")) == 8 and len(stray) == 0
    assert stray.get_epsilon(1e-5) == 0.0


def test_shuffled_passes_are_one_release_each(tmp_path: Path) -> None:
    ledger = opened(tmp_path, relation="REPLACE_SPECIAL", accountant=Certified())
    training = Training(register(ledger, steps=12, sampling="shuffled"), poisson_sampling=False)
    training.engine.accountant.check_loader(training.loader)
    assert training.run(3) == 12
    releases = entries(ledger, "release")
    assert [entry.content["filter"] for entry in releases] == ["planned"] * 3
    assert releases[0].content["kind"] == "pass"
    assert releases[0].content["actual_sampler"] == {"sampler": "shuffled", "batches": 4}
    assert len(training.engine.accountant) == 12
    assert training.run(1) == 4  # past what was declared: counted by itself
    assert entries(ledger, "release")[-1].content["filter"] == "adaptive"
    assert verify([tmp_path / "north.jsonl"], {"north": KEY.public}, accountants=BOTH).status == 0
    four = epsilon(
        from_json(gaussian(2.0 / 2)), delta=1e-5, relation=NeighboringRelation.REPLACE_SPECIAL
    )
    assert training.engine.get_epsilon(1e-5) == pytest.approx(four.upper, rel=1e-6)


def test_shuffled_passes_have_no_bound_where_patients_come_and_go(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    training = Training(register(ledger, sampling="shuffled"), poisson_sampling=False)
    with pytest.raises(RefusedError):
        training.run(1)
    assert entries(ledger, "refusal") and not entries(ledger, "release")


def test_the_loader_is_held_against_what_was_declared(tmp_path: Path) -> None:
    training = Training(register(opened(tmp_path)), poisson_sampling=False)
    with pytest.raises(RefusedError, match="poisson was declared"):
        training.engine.accountant.check_loader(training.loader)
    drawn = Training(register(opened(tmp_path / "other")))
    drawn.engine.accountant.check_loader(drawn.loader)


def test_accumulated_batches_make_one_step_of_a_pass(tmp_path: Path) -> None:
    ledger = replaced(tmp_path)
    training = Training(register(ledger, steps=4, sampling="shuffled"), poisson_sampling=False)
    for _ in range(2):
        for number, (x, y) in enumerate(training.loader):
            training.criterion(training.net(x), y).backward()
            if number % 2:
                training.optimizer.step()
                training.optimizer.zero_grad()
    releases = entries(ledger, "release")
    assert len(releases) == 2 and releases[0].content["event"]["batches"] == 2
    assert training.engine.accountant.history == [(2.0, 0.5, 4)]


class Told(DPOptimizer):  # type: ignore[misc]
    """An optimiser that says what it is told."""

    accumulated_iterations = 1


def told(batches: int = 1, **more: Any) -> Told:
    inner = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    fields = {"noise_multiplier": 2.0, "max_grad_norm": 1.0, "expected_batch_size": 1}
    optimizer = Told(inner, **(fields | more))
    optimizer.accumulated_iterations = batches
    return optimizer


def hooked(ledger: Ledger, rate: float, **how: Any) -> Callable[..., None]:
    """The attached hook, called with such an optimiser."""
    accountant: LedgerAccountant = create_accountant(register(ledger, **how))
    hook = accountant.get_optimizer_hook_fn(rate)

    def step(batches: int = 1, **more: Any) -> None:
        hook(told(batches, **more))

    return step


def test_batches_that_may_hold_a_patient_twice_are_refused(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    with pytest.raises(RefusedError, match="more than once"):
        hooked(ledger, 0.25)(2)
    with pytest.raises(RefusedError, match="of two passes"):
        hooked(ledger, 0.25, sampling="shuffled")(3)
    assert ledger.size == 1


def test_noise_that_changes_leaves_the_plan(tmp_path: Path) -> None:
    """A scheduler's steps are not the declared ones: each counts by itself."""
    ledger = opened(tmp_path)
    step = hooked(ledger, 0.25, steps=4)
    step()
    step(noise_multiplier=3.0)
    step()
    rules = [entry.content["filter"] for entry in entries(ledger, "release")]
    assert rules == ["planned", "adaptive", "planned"]


def test_noise_of_the_system_is_called_so(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    hooked(ledger, 0.25)(secure_mode=True)
    (entry,) = entries(ledger, "release")
    assert entry.content["noise_source"] == "operating system"


def test_without_noise_it_is_said_and_refused(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    with pytest.raises(RefusedError):
        hooked(ledger, 0.25)(noise_multiplier=0.0)
    (refusal,) = entries(ledger, "refusal")
    assert refusal.content["request"]["noise_source"] == "none"


def test_a_pass_is_paid_when_it_begins_and_counted_from_its_first_step(tmp_path: Path) -> None:
    ledger = replaced(tmp_path)
    step = hooked(ledger, 0.25, sampling="shuffled")
    for taken in range(1, 10):
        step()
        assert len(entries(ledger, "release")) == -(-taken // 4)


def test_after_a_checkpoint_a_pass_is_begun_anew(tmp_path: Path) -> None:
    """Nobody knows which batches of the broken pass were seen: the next one is paid in full."""
    ledger = replaced(tmp_path)
    step = hooked(ledger, 0.25, sampling="shuffled")
    step()
    accountant = create_accountant(register(ledger, sampling="shuffled"))
    state = {"history": [(2.0, 0.25, 1)], "mechanism": accountant.mechanism()}
    accountant.load_state_dict(state)
    hook = accountant.get_optimizer_hook_fn(0.25)
    hook(told())
    assert len(entries(ledger, "release")) == 2
    assert accountant.history == [(2.0, 0.25, 5)]  # the broken pass counts whole


def test_ghost_clipping_and_split_batches_enter_each_step_once(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    ghost = Training(register(ledger, training="ghost"), grad_sample_mode="ghost")
    assert ghost.run(1) == len(entries(ledger, "release")) == 4
    flat = Training(register(ledger, training="flat"))
    with BatchMemoryManager(
        data_loader=flat.loader, max_physical_batch_size=3, optimizer=flat.optimizer
    ) as loader:
        assert flat.run(1, loader) > 4
    own = [e for e in entries(ledger, "release") if e.content["details"]["training"] == "flat"]
    assert len(own) == 4


def test_a_clip_norm_that_follows_patients_is_refused(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    training = Training(
        register(ledger),
        clipping="adaptive",
        target_unclipped_quantile=0.5,
        clipbound_learning_rate=0.2,
        max_clipbound=10.0,
        min_clipbound=0.1,
        unclipped_num_std=2.0,
    )
    with pytest.raises(RefusedError, match="only a constant"):
        training.run(1)


def test_a_checkpoint_goes_on_in_the_plan_that_was_declared(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    training = Training(register(ledger, steps=8))
    training.run(1)
    training.engine.save_checkpoint(
        path=tmp_path / "run.pt", module=training.net, optimizer=training.optimizer
    )
    training.run(1)  # then the machine dies, and two of the passes are spent
    found = Ledger.open(tmp_path / "north.jsonl", key=KEY, accountant=RenyiOnly())
    again = Training(register(found, steps=12))
    again.engine.load_checkpoint(
        path=tmp_path / "run.pt", module=again.net, optimizer=again.optimizer
    )
    assert again.engine.accountant.history == [(2.0, 0.25, 8)]
    same = Training(register(found, steps=8))
    same.engine.load_checkpoint(path=tmp_path / "run.pt", module=same.net, optimizer=same.optimizer)
    same.run(1)
    assert len(entries(found, "plan")) == 1
    assert entries(found, "release")[-1].content["filter"] == "adaptive"  # all eight are gone


def test_a_checkpoint_of_more_than_the_ledger_holds_is_refused(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    accountant = Training(register(ledger)).engine.accountant
    state = {"history": [(2.0, 0.25, 1)], "mechanism": accountant.mechanism()}
    with pytest.raises(RefusedError, match="ledger enter"):
        accountant.load_state_dict(state)
    assert accountant.history == []
    with pytest.raises(ValueError, match="mechanism"):
        accountant.load_state_dict(state | {"mechanism": "rdp"})


def test_who_may_be_registered(tmp_path: Path) -> None:
    own = Ledger.in_memory(budget=Budget(epsilon=1.0))
    with pytest.raises(InvalidInputError, match="foreign"):
        register(own)
    hospital = Ledger.in_memory(budget=Budget(epsilon=1.0, unit=Unit.HOSPITAL), foreign="Opacus")
    with pytest.raises(InvalidInputError, match="patient"):
        register(hospital)
    ledger = opened(tmp_path)
    for wrong in ({"steps": 0}, {"sampling": "random"}):
        with pytest.raises(InvalidInputError):
            register(ledger, **wrong)
    assert register(ledger) == register(Ledger.open(tmp_path / "north.jsonl", key=KEY))
    assert register(ledger) != register(opened(tmp_path / "other"))
    assert Sampling("poisson") is Sampling.POISSON


def test_the_ledger_itself_imports_no_opacus() -> None:
    code = "import sys, privacy.ledger, privacy.ledger.spending; assert 'opacus' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
