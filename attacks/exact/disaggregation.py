r"""A8: whose gradient is whose, from sums that do not say who took part (Lam et al. 2021).

Over T rounds the sums of K hospitals' gradients are :math:`S = P G`, with an unknown 0/1 matrix P.
Its columns lie in the column space of S, so that for the left null space N of S each column solves

.. math:: N^\top p = 0,\quad \sum_t p_t = n_k,\quad p \in \{0, 1\}^T

(Lam, Wei, Cao, Raskar 2021, *Gradient Disaggregation*, Eq. 4), where :math:`n_k`, how often a
hospital took part, is what fleets log about their members. Each column is one mixed integer program
for HiGHS; with noise the sum of :math:`|N^\top p|` is made least instead. The hospitals' own
gradients follow by least squares and can be given to any other attack.

Where the transcript shows who took part, ``attacks.exact.differencing`` needs no search.

Cost: K programs of T binary variables; under a second for T = 24.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from attacks.exact.closed_form import ClosedForm
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Reconstruction
from attacks.views import Gradient, GradientView, Observation, SumPart, require
from privacy.errors import RefusedError

__all__ = ["Disaggregation", "participation"]


@dataclass(frozen=True)
class Disaggregation:
    """The attack on sums at one model, of full batches.

    Guarantees (each is a test in ``tests/attacks/exact/test_disaggregation.py``):
      - without noise the hospitals' gradients come out to the last integer, up to the names of
        hospitals that took part equally often;
      - who took part is never read from the view;
      - with noise the stated standard deviation is that of the least squares.

    Attributes:
      counts: How often each hospital took part; None: as often as the view says, and no more of
        what it says.
      seconds: Time limit of each program.
    """

    name: ClassVar[str] = "disaggregation"
    needs: ClassVar[type[GradientView]] = GradientView

    counts: Mapping[str, int] | None = None
    seconds: float = 10.0

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Disaggregate, then read each hospital's own gradient in closed form.

        Raises:
          RefusedError: As ``disaggregate``.
        """
        return ClosedForm().reconstruct(self.disaggregate(observation), prior)

    def disaggregate(self, observation: Observation) -> GradientView:
        """Return each hospital's own gradient as a view.

        Raises:
          RefusedError: The adversary sees no gradient; rounds were sampled or at different models;
            no more rounds than hospitals; or the sums fit no such P.
        """
        view = require(observation, GradientView, self.name)
        params = view.gradients[0].params
        if view.plan.draws_patients or any(
            not np.array_equal(g.params, params) for g in view.gradients
        ):
            raise RefusedError(
                "Disaggregation needs the same gradients in every sum: all patients, at one model. "
                "Attack the rounds one by one."
            )
        counts = self.counts or {
            name: sum(name in g.hospitals for g in view.gradients)
            for name in sorted({name for g in view.gradients for name in g.hospitals})
        }
        sums = np.stack([g.integers for g in view.gradients]).astype(np.float64)
        matrix = participation(sums, tuple(counts.values()), seconds=self.seconds)
        weights = np.linalg.pinv(matrix.astype(np.float64))
        parts = np.rint(weights @ sums).astype(np.int64)
        stds = np.array([g.noise_std for g in view.gradients])
        gradients = tuple(
            Gradient(
                0, (SumPart(name, params),), parts[k], float(np.linalg.norm(weights[k] * stds))
            )
            for k, name in enumerate(counts)
        )
        return replace(view, gradients=gradients)


def participation(
    sums: Float[np.ndarray, "rounds dim"], counts: tuple[int, ...], *, seconds: float = 10.0
) -> Int[np.ndarray, "rounds hospitals"]:
    """Return who took part in which round, one column a hospital in the order of ``counts``.

    Raises:
      RefusedError: No more rounds than hospitals, or no independent columns with these counts.
    """
    rounds, hospitals = len(sums), len(counts)
    if rounds <= hospitals:
        raise RefusedError(
            f"{rounds} sums of {hospitals} hospitals determine nothing: any P fits. Watch more "
            "rounds than there are hospitals."
        )
    null = np.linalg.svd(sums, full_matrices=True)[0][:, hospitals:]
    columns: list[NDArray[np.int64]] = []
    for count in counts:
        column = _column(null, count, columns, seconds)
        if column is None or np.linalg.matrix_rank(np.array([*columns, column])) <= len(columns):
            raise RefusedError(
                f"No participation in {count} of {rounds} rounds fits the sums. Check the counts."
            )
        columns.append(column)
    return np.column_stack(columns)


def _column(
    null: NDArray[np.float64], count: int, taken: list[NDArray[np.int64]], seconds: float
) -> NDArray[np.int64] | None:
    """The binary vector of ``count`` ones nearest (in L1) to orthogonal to ``null``, and new."""
    rounds, equations = null.shape
    identity = np.eye(equations)
    cost = np.concatenate([np.zeros(rounds), np.ones(equations)])
    above = LinearConstraint(np.hstack([null.T, -identity]), -np.inf, 0)
    below = LinearConstraint(np.hstack([null.T, identity]), 0, np.inf)
    ones = LinearConstraint(np.append(np.ones(rounds), np.zeros(equations))[None], count, count)
    others = [  # at least one entry differs from a column that is taken
        LinearConstraint(
            np.append(1.0 - 2.0 * p, np.zeros(equations))[None], 1 - float(p.sum()), np.inf
        )
        for p in taken
    ]
    answer = milp(
        cost,
        integrality=np.append(np.ones(rounds), np.zeros(equations)),
        bounds=Bounds(0, np.append(np.ones(rounds), np.full(equations, np.inf))),
        constraints=[above, below, ones, *others],
        options={"time_limit": seconds},
    )
    if answer.x is None:
        return None
    return np.rint(answer.x[:rounds]).astype(np.int64)
