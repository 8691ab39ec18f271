r"""Patients as free real numbers: what an optimiser moves, and back.

A number is :math:`l + (u - l)\,\mathrm{sigmoid}(z)` within its plausible range; a categorical
feature is a softmax over its levels, the reference included (Vero et al. 2023, section 4.1).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.knowledge.features import features_of
from attacks.knowledge.priors import Prior
from attacks.searching.device import PROCESSOR

__all__ = ["Relaxation"]


@dataclass(frozen=True)
class Relaxation:
    """The map from free numbers ``[..., size]`` to soft patients ``[..., features]``.

    Attributes:
      width: Columns of a patient.
      numeric: Column of each number.
      low: Its lower bound, standardised.
      high: Its upper bound.
      centre: The prior's median.
      spread: The prior's half middle 68 %.
      levels: Column of each level of each categorical feature, padded with ``width``; the
        reference's column is ``width`` too (it is dropped).
      log_prior: Log-probability of each level; minus infinity pads.
    """

    width: int
    numeric: Tensor
    low: Tensor
    high: Tensor
    centre: Tensor
    spread: Tensor
    levels: Tensor
    log_prior: Tensor

    @classmethod
    def of(cls, prior: Prior, dtype: torch.dtype, device: str = PROCESSOR) -> "Relaxation":
        """Take ranges and marginals from a prior, onto a device."""
        features = features_of(prior.schema)
        numbers = [f for f in features if f.numeric]
        categories = [f for f in features if not f.numeric]
        width = len(prior.schema)
        most = max((len(f.columns) + 1 for f in categories), default=1)
        levels = np.full((len(categories), most), width)
        log_prior = np.full((len(categories), most), -np.inf)
        for row, f in enumerate(categories):
            levels[row, 1 : len(f.columns) + 1] = f.columns
            log_prior[row, : len(f.columns) + 1] = np.log(prior.levels[f.name])
        scales = [prior.scale(f) for f in numbers]
        return cls(
            width=width,
            numeric=torch.tensor([f.columns[0] for f in numbers], dtype=torch.long, device=device),
            low=torch.tensor([f.low for f in numbers], dtype=dtype, device=device),
            high=torch.tensor([f.high for f in numbers], dtype=dtype, device=device),
            centre=torch.tensor([c for c, _ in scales], dtype=dtype, device=device),
            spread=torch.tensor([s for _, s in scales], dtype=dtype, device=device),
            levels=torch.tensor(levels, dtype=torch.long, device=device),
            log_prior=torch.tensor(log_prior, dtype=dtype, device=device),
        )

    def start(
        self, restarts: int, patients: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw first numbers from the prior, and first logits near its log-probabilities."""
        shape = (restarts, patients)
        normal = self.low.new_tensor(rng.normal(size=(*shape, len(self.numeric))))
        value = self.centre + self.spread * normal
        share = ((value - self.low) / (self.high - self.low)).clamp(0.02, 0.98)
        uniform = self.low.new_tensor(rng.uniform(-1, 1, (*shape, *self.levels.shape)))
        logits = self.log_prior.clamp(min=-1e9) * 0.5 + uniform
        return torch.logit(share), logits.movedim(-1, 0).contiguous()

    def soften(self, numbers: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return soft patients ``[..., features]`` and the levels' probabilities.

        Logits are ``[levels, ..., groups]``: a softmax over the first axis runs along vectors, over
        a last axis of few levels it is twenty times slower.
        Padded levels start so low that their share is 0, and no gradient ever lifts them.
        """
        values = self.low + (self.high - self.low) * torch.sigmoid(numbers)
        shares = torch.softmax(logits, dim=0).movedim(0, -1)
        x = numbers.new_zeros((*numbers.shape[:-1], self.width + 1))
        x = x.index_copy(-1, self.numeric, values)
        x = x.index_add(-1, self.levels.flatten(), shares.flatten(-2))
        return x[..., : self.width], shares

    def negative_log_prior(self, x: Tensor, shares: Tensor) -> Tensor:
        """Return minus the log-prior of soft patients, up to a constant: ``[...]``.

        A softmax is held against the marginals by its Kullback-Leibler divergence, so that with no
        evidence the levels settle at the marginals and their mode wins.
        """
        z = (x[..., self.numeric] - self.centre) / self.spread
        pads = torch.isinf(self.log_prior)
        ratio = torch.log(shares + 1e-12) - self.log_prior.masked_fill(pads, 0.0)
        divergence = (shares * ratio).masked_fill(pads, 0.0).sum((-1, -2))
        return 0.5 * z.square().sum(-1) + divergence

    def to_numpy(self, x: Tensor) -> NDArray[np.float64]:
        """Detach soft patients as float64, on the processor."""
        return np.asarray(x.detach().to(PROCESSOR, torch.float64).numpy())
