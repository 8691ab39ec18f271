r"""What the sums of all rounds say of yes and no: who took part, or which of two values each has.

The adversary holds people's records, as LiRA's does, and asks one coin of each. At a model that it
was shown, person i adds :math:`c_{ti}` to the sum of round t if the coin fell one way and
:math:`a_{ti}` if it fell the other (nothing, for who took no part): every full-batch sum is
*linear* in the coins,

.. math:: S_t = \sum_i a_{ti} + b_i\,(c_{ti} - a_{ti}) + \text{noise}_t,

with the very integers that hospitals add. ``Coins`` returns the best linear estimate of b from all
rounds together (Gauss and Markov; Kay 1993, *Estimation Theory*, theorem 12.1), whose knowledge is
the plan's noise law and what was thought of each coin before. Without noise it reads the coins of
as many people as there are independent coordinates, which no attack on the final model does.

``FedMia`` is the published attack over rounds (Zhu et al. 2024, *FedMIA: An Effective Membership
Inference Attack Exploiting the "All for One" Principle in Federated Learning*, section 4, with the
cosine): in each round the other hospitals' updates say what a stranger's gradient looks like beside
an update, and the rounds' one-sided tail probabilities are averaged. It needs clear updates.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.special import ndtr

from aggregation.data.patients import Patients
from aggregation.update import LARGEST_INTEGER
from attacks.knowledge.replay import integer_rows
from attacks.views import Gradient, GradientView, Observation, require
from privacy._validate import finite_array
from privacy.errors import InvalidInputError, RefusedError
from privacy.unit import Unit

__all__ = ["Coins", "FedMia"]

_LEAST_STD = 1e-5  # of a sum's coordinate, in largest rows: more would ask more of floats
_LEAST_SPREAD = 1e-3  # of cosines


@dataclass(frozen=True)
class Coins:
    """Judge a coin of everybody from the sums of all rounds.

    Guarantees (each is a test in ``tests/attacks/inference/test_over_rounds.py``):
      - without noise, the coins of fewer people than coordinates are read without an error;
      - on simulated coins the estimate's mean squared error is the one that it states;
      - at a small epsilon it tells nothing.
    """

    name: ClassVar[str] = "coins"
    needs: ClassVar[type[GradientView]] = GradientView

    def estimate(
        self,
        observation: Observation,
        heads: Mapping[str, Patients],
        tails: Mapping[str, Patients] | None,
        prior: Mapping[str, Float[np.ndarray, "people"]],
    ) -> dict[str, tuple[Float[np.ndarray, "people"], Float[np.ndarray, "people"]]]:
        """Return each person's expected coin, and the variance that is left, by hospital.

        The estimate is linear: it may lie beyond 0 and 1.

        Args:
          observation: Sums of any rounds: of single hospitals, or of several.
          heads: Whose patient each would be, as the record is if the coin is 1.
          tails: The same people as they are if it is 0; None: then they took no part.
          prior: What is thought of each coin beforehand, in (0, 1).

        Raises:
          RefusedError: The adversary sees no gradient; sampled rounds, several local steps, or
            whole updates clipped: sums that are not linear in the coins.
          InvalidInputError: Hospitals or numbers of people that do not fit.
        """
        view = require(observation, GradientView, self.name)
        _linear(view)
        _same_people(view, heads, tails, prior)
        estimates: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        for names in _apart(view):
            p = np.concatenate([prior[name] for name in names])
            mean, variance = _solved(view, names, heads, tails, p)
            cuts = np.cumsum([len(prior[name]) for name in names])[:-1]
            parts = zip(names, np.split(mean, cuts), np.split(variance, cuts), strict=True)
            estimates |= {name: (m, v) for name, m, v in parts}
        return estimates


@dataclass(frozen=True)
class FedMia:
    """Score people by how much nearer their gradient is to their hospital's update than to others'.

    Guarantees (each is a test in ``tests/attacks/inference/test_over_rounds.py``):
      - on clear updates members outscore strangers;
      - at a small epsilon it tells nothing;
      - sums of several hospitals are refused: nobody's update is seen beside the others'.
    """

    name: ClassVar[str] = "fedmia"
    needs: ClassVar[type[GradientView]] = GradientView

    def scores(
        self, observation: Observation, people: Mapping[str, Patients]
    ) -> dict[str, Float[np.ndarray, "people"]]:
        """Return each person's mean tail probability over the rounds, by hospital.

        Args:
          observation: Clear updates of at least three hospitals.
          people: Whose patient each would be.

        Raises:
          RefusedError: The adversary sees no gradient, or none of single hospitals; sums that are
            not of one step over all patients.
          InvalidInputError: Fewer than three hospitals: a spread of the others needs two.
        """
        view = require(observation, GradientView, self.name)
        _linear(view)
        if any(len(g.hospitals) != 1 for g in view.gradients):
            raise RefusedError(
                "FedMIA compares single hospitals' updates; this view holds sums of several."
            )
        rounds: dict[int, dict[str, Gradient]] = {}
        for g in view.gradients:
            rounds.setdefault(g.round, {})[g.hospitals[0]] = g
        if any(len(updates) < 3 for updates in rounds.values()):
            raise InvalidInputError("Expected updates of at least three hospitals in every round.")
        scores = {}
        for name, group in people.items():
            tails = [_tail(view, updates, name, group) for updates in rounds.values()]
            scores[name] = np.asarray(np.mean(tails, axis=0))
        return scores


def _tail(
    view: GradientView, updates: Mapping[str, Gradient], name: str, people: Patients
) -> NDArray[np.float64]:
    """How far in the upper tail of the other hospitals' cosines the own one's lies, for each."""
    cosines = {}
    for hospital, g in updates.items():
        rows = integer_rows(
            view.plan, g.params, people.features, people.outcomes, hospital=hospital
        )
        sent = g.integers.astype(np.float64)
        norms = np.linalg.norm(rows, axis=1) * max(float(np.linalg.norm(sent)), 1e-12)
        cosines[hospital] = rows @ sent / np.maximum(norms, 1e-12)
    others = np.stack([c for hospital, c in cosines.items() if hospital != name])
    spread = np.maximum(others.std(axis=0, ddof=1), _LEAST_SPREAD)
    return np.asarray(ndtr((cosines[name] - others.mean(axis=0)) / spread))


def _linear(view: GradientView) -> None:
    plan = view.plan
    if plan.draws_patients or plan.local_steps > 1 or plan.unit != Unit.PATIENT:
        raise RefusedError(
            "Only sums of one step over all patients are linear in who took part; this plan "
            "samples, walks several steps, or clips whole updates."
        )


def _same_people(
    view: GradientView,
    heads: Mapping[str, Patients],
    tails: Mapping[str, Patients] | None,
    prior: Mapping[str, NDArray[np.float64]],
) -> None:
    seen = {name for g in view.gradients for name in g.hospitals}
    for name in seen:
        counts = {len(part[name]) for part in (heads, tails, prior) if part and name in part}
        if name not in heads or name not in prior or len(counts) != 1:
            raise InvalidInputError(
                f"Expected as many records as prior probabilities of {name}'s people, got "
                f"{sorted(counts)}."
            )
        p = finite_array(prior=prior[name])
        if ((p <= 0) | (p >= 1)).any():
            raise InvalidInputError(f"Expected prior probabilities of {name}'s people in (0, 1).")


def _apart(view: GradientView) -> list[tuple[str, ...]]:
    """Groups of hospitals that no sum joins: each group is judged by itself."""
    groups: list[set[str]] = []
    for g in view.gradients:
        joined = set(g.hospitals).union(*(one for one in groups if one & set(g.hospitals)))
        groups = [one for one in groups if not one & joined] + [joined]
    order = view.plan.hospitals
    return [tuple(name for name in order if name in one) for one in groups]


def _solved(
    view: GradientView,
    names: tuple[str, ...],
    heads: Mapping[str, Patients],
    tails: Mapping[str, Patients] | None,
    prior: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of the coins of some hospitals' people, given all sums of theirs."""
    precision = np.diag(1 / (prior * (1 - prior)))
    pull = np.zeros(len(prior))
    offsets = np.cumsum([0] + [len(heads[name]) for name in names])
    place = {name: slice(offsets[k], offsets[k + 1]) for k, name in enumerate(names)}
    for g in view.gradients:
        if not set(g.hospitals) <= set(names) or np.abs(g.integers).max() >= LARGEST_INTEGER:
            continue  # the article's noise feeds on itself until sums are cut off
        moves = np.zeros((len(prior), view.plan.model.dim))
        residual = g.integers.astype(np.float64)
        for part in g.contributions:
            yes = _rows(view, part.hospital, part.params, part.weight, heads)
            if tails is not None:
                no = _rows(view, part.hospital, part.params, part.weight, tails)
                yes, residual = yes - no, residual - no.sum(axis=0)
            moves[place[part.hospital]] += yes
        longest = float(np.sqrt((moves**2).sum(axis=1).max(initial=0.0)))
        variance = g.noise_std**2 + max(1.0, _LEAST_STD * longest) ** 2
        precision += moves @ moves.T / variance
        pull += moves @ (residual - prior @ moves) / variance
    inverse = solve(precision, np.eye(len(prior)), assume_a="pos")
    return prior + inverse @ pull, np.diag(inverse).copy()


def _rows(
    view: GradientView,
    hospital: str,
    params: NDArray[np.float64],
    weight: float,
    people: Mapping[str, Patients],
) -> NDArray[np.float64]:
    group, radius = people[hospital], view.plan.applied_radius(weight)
    rows = integer_rows(
        view.plan, params, group.features, group.outcomes, hospital=hospital, radius=radius
    )
    return rows.astype(np.float64)
