r"""A3: the classical gradient inversions, as their papers have them: DLG, iDLG and IG.

Patients are free real vectors, moved until their gradient matches the one that was seen; they are
made valid patients at the very end only. What the papers take for granted is declared instead: the
number of patients and their outcomes are inferred from the view unless the adversary knows them.

- ``dlg``: squared distance, Zhu, Liu, Han (2019), Algorithm 1; the outcomes are guessed jointly in
  the paper, here they are the most probable make-up.
- ``idlg``: the same with the outcome of a lone patient read off the last bias's sign, Zhao, Mopuri,
  Bilen (2020), Eq. 6; for batches it is DLG with the inferred make-up.
- ``ig``: one minus the cosine, signed Adam, Geiping et al. (2020), Eq. 4. Total variation is for
  images and left out.

They are here to be beaten: ``attacks.searching.tableak`` and ``attacks.searching.cascade`` recover
more in less time.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aggregation.plan import Plan
from attacks.knowledge.batches import Batch, infer_batches
from attacks.knowledge.features import project
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Reconstruction, guesses, join
from attacks.searching.descent import descend
from attacks.searching.device import PROCESSOR
from attacks.searching.search_settings import SearchSettings
from attacks.searching.surrogate import BatchGradient
from attacks.views import Gradient, GradientView, Observation, require
from privacy.errors import InvalidInputError

__all__ = ["Inversion"]


@dataclass(frozen=True)
class Inversion(SearchSettings):
    """One of the classical attacks on every sum of gradients in a view.

    Guarantees (each is a test in ``tests/attacks/searching/test_classical.py``):
      - undefended, each recovers more of small batches than guessing does;
      - nothing is ever certified;
      - the same seed gives the same records.

    Attributes:
      name: ``dlg``, ``idlg`` or ``ig``.
      restarts: Starts, uniform in [-1, 1] (TabLeak's setting for all three).
      rate: Step of Adam, in standardised units; it does not fall.
    """

    needs: ClassVar[type[GradientView]] = GradientView

    restarts: int = 1
    name: Literal["dlg", "idlg", "ig"] = "ig"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name not in ("dlg", "idlg", "ig"):
            raise InvalidInputError(f"Unknown inversion {self.name!r}; choose dlg, idlg or ig.")

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Attack each gradient of the view by itself, and put the records together.

        Raises:
          RefusedError: The adversary sees no gradient, or sums at different models.
        """
        view = require(observation, GradientView, self.name)
        parts = [guesses(prior, 0)]
        for i, gradient in enumerate(view.gradients):
            rng = np.random.default_rng([self.seed, i])
            makeup = infer_batches(view.plan, gradient, prior, rng, most=1)[0]
            records = project(self._search(view.plan, gradient, makeup, rng), prior.features)
            none = np.zeros(len(records))
            parts.append(Reconstruction(records, none, none.astype(np.bool_)))
        return join(*parts)

    def _search(
        self, plan: Plan, gradient: Gradient, makeup: Batch, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        forward = BatchGradient.at(
            plan.model, gradient.params, plan.clip_norm, torch.float32, self.device
        )
        target = forward.params.new_tensor(gradient.integers * plan.step)
        shape = (self.restarts, makeup.size, plan.model.features)
        x = target.new_tensor(rng.uniform(-1, 1, shape))
        y = target.new_tensor(makeup.labels).expand(shape[:2])
        present = torch.ones_like(y)

        def losses() -> Tensor:
            return self._loss(forward(x, y, present), target)

        # Signs are a departure for DLG, whose L-BFGS diverges on ReLU layers.
        loss = descend([x], losses, iterations=self.iterations, rate=self.rate, last=1.0)
        best = int(loss.argmin())
        return np.asarray(x.detach()[best].to(PROCESSOR, torch.float64).numpy())

    def _loss(self, seen: Tensor, target: Tensor) -> Tensor:
        if self.name == "ig":
            return torch.rsub(torch.cosine_similarity(seen, target[None], dim=1), 1)
        return (seen - target).square().sum(1) / (target.square().sum() + 1e-30)
