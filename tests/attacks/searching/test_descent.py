import numpy as np
import pytest
import torch
from torch import Tensor

from attacks.searching.descent import descend


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("last", [0.1, 1.0])
def test_steps_are_adams_on_signs_bit_for_bit(dtype: torch.dtype, last: float) -> None:
    rng = np.random.default_rng(0)
    starts = [torch.tensor(rng.normal(size=(4, n)), dtype=dtype) for n in (3, 5)]
    pull = torch.tensor(rng.normal(size=(3, 5)), dtype=dtype)

    def losses(a: Tensor, b: Tensor) -> Tensor:
        return (a @ pull - b).square().sum(1) + a.cos().sum(1)

    ours = [s.clone() for s in starts]
    final = descend(ours, lambda: losses(*ours), iterations=60, rate=0.06, last=last)

    theirs = [s.clone().requires_grad_(True) for s in starts]
    optimiser = torch.optim.Adam(theirs, lr=0.06)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, last, total_iters=60)
    loss = torch.zeros(4)
    for _ in range(60):
        optimiser.zero_grad()
        loss = losses(*theirs)
        torch.autograd.backward(loss.sum())
        for tensor in theirs:
            assert tensor.grad is not None
            tensor.grad.sign_()
        optimiser.step()
        decay.step()
    for our, their in zip(ours, theirs, strict=True):
        assert torch.equal(our.detach(), their.detach())
    assert torch.equal(final, loss.detach())


def test_restarts_do_not_touch_each_other() -> None:
    starts = torch.tensor(np.random.default_rng(1).normal(size=(3, 4)))
    together = starts.clone()
    descend([together], lambda: together.square().sum(1), iterations=20, rate=0.06)
    alone = starts[1:2].clone()
    descend([alone], lambda: alone.square().sum(1), iterations=20, rate=0.06)
    assert torch.equal(together[1:2].detach(), alone.detach())
