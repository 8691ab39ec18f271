r"""Line-ups in a network of any size: the informed adversary on sums of thousands of hospitals.

It knows every patient but the target and sees all rounds, so what it is left with is the target's
own gradient and the noise that it can't subtract: one hospital's where updates are in clear, the
sum of all honest shares where only sums are opened. How many others take part changes nothing but
the shares of the colluders, who tell what they sent. The ten of a line-up are the target and nine
of the next draw of the same hospital's patients, of its outcome, so that before the run each of the
ten is as likely as any other (``studies.lineups``); where one population was divided at random,
nine of anywhere.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.engines.fleet import HospitalBlock
from aggregation.plan import Plan
from attacks.pool import log_ratios
from attacks.replay import integer_rows
from experiments.studies.lineups import LINEUP

__all__ = ["Targets", "named", "round_log_ratios"]


@dataclass(frozen=True)
class Targets:
    """The line-ups of one network.

    Attributes:
      hospitals: Number of each target's hospital; never one of the last, who collude.
      people: ``[targets, people, features]``, the target first.
      outcomes: That of all ten.
    """

    hospitals: Int[np.ndarray, "targets"]
    people: Float[np.ndarray, "targets people features"]
    outcomes: Int[np.ndarray, "targets"]

    @classmethod
    def draw(
        cls,
        train: HospitalBlock,
        later: HospitalBlock,
        *,
        count: int,
        colluders: int,
        alike: bool,
        rng: np.random.Generator,
    ) -> "Targets":
        """Draw targets among all patients; one beside whom no nine can stand has no line-up.

        Args:
          train: Who took part.
          later: The next draw of the same hospitals, who did not.
          count: Targets that are looked at.
          colluders: Hospitals, the last ones, without targets.
          alike: Whether all hospitals draw from one population, so that anybody may stand there.
          rng: Draws targets and the nine.
        """
        home = np.repeat(np.arange(len(train.offsets) - 1), np.diff(train.offsets))
        candidates = np.flatnonzero(home < len(train.offsets) - 1 - colluders)
        rows = rng.choice(candidates, size=min(count, len(candidates)), replace=False)
        kept, people = [], []
        for row in rows:
            low, high = (0, len(later.outcomes)) if alike else later.offsets[home[row] :][:2]
            fitting = low + np.flatnonzero(later.outcomes[low:high] == train.outcomes[row])
            if len(fitting) >= LINEUP - 1:
                others = rng.choice(fitting, LINEUP - 1, replace=False)
                people.append(np.vstack([train.features[row], later.features[others]]))
                kept.append(row)
        return cls(home[kept], np.stack(people), train.outcomes[kept])


def round_log_ratios(
    plan: Plan,
    targets: Targets,
    params: NDArray[np.float64],
    sent: Int[np.ndarray, "hospitals dim"],
    clear: Int[np.ndarray, "hospitals dim"],
) -> Float[np.ndarray, "targets people"]:
    """Return one round's log-likelihood of every candidate.

    Args:
      plan: Full batch; noise shared or local.
      targets: The line-ups.
      params: The model of the round.
      sent: What every hospital sent. Where the noise is shared only its sum is read, and the
        colluders' rows.
      clear: Every hospital's sum without noise: what the adversary knows, and the target.
    """
    count, k, features = targets.people.shape
    labels = np.repeat(targets.outcomes, k)
    rows = integer_rows(plan, params, targets.people.reshape(-1, features), labels)
    rows = rows.reshape(count, k, -1)
    if plan.noise == "shared":
        honest = len(sent) - plan.colluders
        opened = sent.sum(axis=0)
        left = opened - sent[honest:].sum(axis=0) - clear[:honest].sum(axis=0)
        std = plan.share_std * honest**0.5
        return log_ratios(left + rows[:, 0], rows, std=std, prob=1.0)
    left = sent[targets.hospitals] - clear[targets.hospitals]
    return log_ratios(left + rows[:, 0], rows, std=plan.share_std, prob=1.0)


def named(
    logs: Float[np.ndarray, "targets people"], rng: np.random.Generator
) -> Float[np.ndarray, "targets"]:
    """Say whether each target was named: 1 or 0; ties are broken at random."""
    best = logs >= logs.max(axis=1, keepdims=True) - 1e-9
    places = np.array([rng.choice(np.flatnonzero(row)) for row in best])
    return np.asarray(places == 0, dtype=np.float64)
