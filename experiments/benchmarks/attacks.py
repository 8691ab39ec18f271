"""How fast patients are recovered: our attacks beside plain loops over restarts, in one run.

The loops are written here after the published settings, and nothing else of ours is slowed down
for them: one restart after the other, the network's gradient by torch's automatic differentiation
twice, as tableak and breaching do it.

- ``tableak_loop``: 30 restarts of 1500 steps of signed Adam .06 on one minus the cosine, softmax
  and sigmoid relaxations, Hungarian alignment and median (Vero et al. 2023, section 5).
- ``breaching_loop``: free vectors, signed Adam .1 that falls to a tenth at 3/8, 5/8 and 7/8 of the
  steps, one minus the cosine, one restart kept by its loss (Geiping et al. 2020, section 5;
  the authors' default for tables of no image size has no total variation).

Ours do the same work (``tableak``: the same restarts and steps, side by side in one tensor), or the
exact steps first (``cascade``). Ratios are of seconds to ``tableak_loop``'s: below 1 is faster.
"""

import resource
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aggregation.models import Perceptron
from aggregation.models.differentiable import differentiable
from attacks.knowledge.features import project
from attacks.knowledge.priors import Prior
from attacks.scoring import matched_accuracies
from attacks.scoring.rates import student_half_width
from attacks.searching.cascade import Cascade
from attacks.searching.device import PROCESSOR
from attacks.searching.relaxation import Relaxation
from attacks.searching.search import align, median
from attacks.searching.tableak import TabLeak
from attacks.views import GradientView, Knowledge
from experiments.cohorts import load
from experiments.replicate.undefended import undefended_plan, undefended_update
from privacy._validate import natural

__all__ = ["AttacksBenchmark", "AttacksRow", "measure"]

WIDTH = 100
_BASE = "tableak_loop"


@dataclass(frozen=True)
class AttacksRow:
    """One attack at one batch size.

    Attributes:
      name: Of the attack.
      size: Patients of a batch.
      seconds: Of one batch, the mean.
      bytes: None: nothing is sent.
      accuracy: Share of mixed features right, the mean over the batches.
      gain: Accuracy less the loop's on the same batches, the mean.
      gain_half: Half of Student's 95 % interval of the gain over the batches; None: of one batch.
      ratio_to: The plain loop.
      ratio: Seconds over the loop's.
    """

    name: str
    size: int
    seconds: float
    bytes: int | None
    accuracy: float
    gain: float
    gain_half: float | None
    ratio_to: str
    ratio: float


@dataclass(frozen=True)
class AttacksBenchmark:
    """All rows of one run.

    Attributes:
      rows: By batch size and attack.
      restarts: Of every attack that searches, but for breaching's own.
      iterations: Steps of each.
      peak_bytes: Largest memory of the process.
    """

    rows: tuple[AttacksRow, ...]
    restarts: int
    iterations: int
    peak_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _Batch:
    """A batch of public patients, and what a server sees of it; outcomes are known to all."""

    view: GradientView
    truth: NDArray[np.float64]
    labels: NDArray[np.int64]
    prior: Prior


Attack = Callable[[_Batch], NDArray[np.float64]]


def measure(
    sizes: Sequence[int],
    *,
    batches: int = 1,
    restarts: int = 30,
    iterations: int = 1500,
    seed: int = 0,
    device: str = PROCESSOR,
    progress: Callable[[str], None] = lambda _: None,
) -> AttacksBenchmark:
    """Time every attack on the same batches of public heart patients, on one thread.

    Ours run a second time on a device that is not the processor.

    Raises:
      InvalidInputError: A count below 1.
    """
    for size in sizes:
        natural(size=size, least=1)
    natural(batches=batches, least=1)
    natural(restarts=restarts, least=1)
    natural(iterations=iterations, least=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [
            row
            for size in sizes
            for row in _at(size, batches, restarts, iterations, seed, device, progress)
        ]
    finally:
        torch.set_num_threads(threads)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return AttacksBenchmark(tuple(rows), restarts, iterations, peak)


def _at(
    size: int,
    batches: int,
    restarts: int,
    iterations: int,
    seed: int,
    device: str,
    progress: Callable[[str], None],
) -> Iterator[AttacksRow]:
    cases = [_batch(size, [seed, size, k]) for k in range(batches)]
    contenders: dict[str, Attack] = {
        _BASE: lambda b: _tableak_loop(b, restarts, iterations, seed),
        "breaching_loop": lambda b: _breaching_loop(b, iterations, seed),
        **_ours(restarts, iterations, seed, PROCESSOR),
        **({} if device == PROCESSOR else _ours(restarts, iterations, seed, device)),
    }
    base, right = 1.0, np.zeros(batches)
    for name, attack in contenders.items():
        progress(f"{name}, batches of {size}")
        started = perf_counter()
        reconstructions = [attack(case) for case in cases]
        seconds = (perf_counter() - started) / batches
        base = seconds if name == _BASE else base
        accuracy = np.array(
            [
                matched_accuracies(rows, case.truth, case.prior.features).mean()
                for rows, case in zip(reconstructions, cases, strict=True)
            ]
        )
        right = accuracy if name == _BASE else right
        gains = accuracy - right
        half = student_half_width(gains) if batches > 1 else None
        yield AttacksRow(
            name, size, seconds, None, float(accuracy.mean()), float(gains.mean()), half,
            _BASE, seconds / base,
        )  # fmt: skip


def _ours(restarts: int, iterations: int, seed: int, device: str) -> dict[str, Attack]:
    search = TabLeak(restarts, iterations, seed=seed, device=device)
    where = "" if device == PROCESSOR else f" on {device}"
    return {
        f"tableak{where}": lambda b: _records(search, b),
        f"cascade{where}": lambda b: _records(Cascade(search), b),
    }


def _batch(size: int, seed: list[int]) -> _Batch:
    rng = np.random.default_rng(seed)
    cohort = load("heart")
    people = cohort.hospitals["cleveland"]
    batch = people.take(rng.choice(len(people), size, replace=False))
    batch = batch.take(np.argsort(batch.outcomes, kind="stable"))
    plan = undefended_plan("bench", Perceptron(len(cohort.schema), WIDTH), size)
    params = plan.model.initial(rng)
    update = undefended_update(plan, params, batch, outcomes_known=True)
    knowledge = Knowledge(labels={(0, "one"): batch.outcomes})
    view = GradientView(plan, "server_plain", knowledge, (update,))
    return _Batch(view, batch.features, batch.outcomes, Prior.from_schema(cohort.schema))


def _records(attack: TabLeak | Cascade, batch: _Batch) -> NDArray[np.float64]:
    return attack.reconstruct(batch.view, batch.prior).records


def _network_gradient(batch: _Batch) -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor]:
    """The flat gradient of a batch's loss by autograd, and the one that was seen."""
    plan, gradient = batch.view.plan, batch.view.gradients[0]
    params = torch.tensor(gradient.params, dtype=torch.float32)
    parts = [p.clone().requires_grad_(True) for p in differentiable(plan.model).split(params)]

    def flat(x: Tensor, y: Tensor) -> Tensor:
        w1, b1, w2, b2 = parts
        logits = torch.relu(x @ w1.T + b1) @ w2[0] + b2
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="sum")
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parts, create_graph=True)])

    return flat, torch.tensor(gradient.integers * plan.step, dtype=torch.float32)


def _tableak_loop(batch: _Batch, restarts: int, iterations: int, seed: int) -> NDArray[np.float64]:
    flat, target = _network_gradient(batch)
    relaxation = Relaxation.of(batch.prior, torch.float32)
    y = torch.tensor(batch.labels, dtype=torch.float32)
    rng = np.random.default_rng(seed)
    candidates = []
    for _ in range(restarts):
        numbers, logits = relaxation.start(1, len(y), rng)
        free = [numbers.requires_grad_(True), logits.requires_grad_(True)]
        optimiser = torch.optim.Adam(free, lr=0.06)
        for _ in range(iterations):
            _signed_step(optimiser, free, _gap(flat(relaxation.soften(*free)[0][0], y), target))
        with torch.no_grad():
            soft = relaxation.to_numpy(relaxation.soften(*free)[0])[0]
        valid = project(soft, batch.prior.features)
        loss = _gap(flat(torch.tensor(valid, dtype=torch.float32), y), target)
        candidates.append((float(loss.detach()), valid))
    candidates.sort(key=lambda pair: pair[0])
    aligned = align([rows for _, rows in candidates], batch.labels, batch.prior.features)
    return median(aligned, batch.prior.features)


def _breaching_loop(batch: _Batch, iterations: int, seed: int) -> NDArray[np.float64]:
    flat, target = _network_gradient(batch)
    y = torch.tensor(batch.labels, dtype=torch.float32)
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.normal(size=batch.truth.shape), dtype=torch.float32, requires_grad=True)
    optimiser = torch.optim.Adam([x], lr=0.1)
    falls = [iterations * k // 8 for k in (3, 5, 7)]
    decay = torch.optim.lr_scheduler.MultiStepLR(optimiser, falls, gamma=0.1)
    for _ in range(iterations):
        _signed_step(optimiser, [x], _gap(flat(x, y), target))
        decay.step()
    return project(x.detach().to(torch.float64).numpy(), batch.prior.features)


def _gap(seen: Tensor, target: Tensor) -> Tensor:
    return torch.rsub(torch.cosine_similarity(seen, target, dim=0), 1)


def _signed_step(optimiser: torch.optim.Optimizer, free: list[Tensor], loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    for tensor, slope in zip(free, torch.autograd.grad(loss, free), strict=True):
        tensor.grad = slope.sign()
    optimiser.step()
