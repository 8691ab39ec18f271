r"""What concerns a hospital as a whole: its prevalence, and what sizes and times give away.

The last bias receives :math:`\sum_i (p_i - y_i)`: with the number of patients public, one round
tells how many are ill, to within the spread of :math:`p`. Noise for patients does not hide it: it
is a statement about all of them. (Property inference: Ateniese et al. 2015; label counts from the
last bias: Wainakh et al. 2022.)
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from attacks.knowledge.batches import last_bias_moments
from attacks.knowledge.priors import Prior
from attacks.views import Gradient, GradientView, TrafficView
from privacy.errors import RefusedError
from privacy.unit import Unit

__all__ = ["Prevalence", "Traffic", "prevalence", "traffic"]


@dataclass(frozen=True)
class Prevalence:
    """A hospital's share of ill patients, as inferred.

    Attributes:
      hospital: Whose.
      estimate: Share of patients with the outcome, in [0, 1].
      std: Its standard error: the spread of public patients' predictions, and the noise.
    """

    hospital: str
    estimate: float
    std: float


def prevalence(
    view: GradientView, prior: Prior, rng: np.random.Generator
) -> tuple[Prevalence, ...]:
    """Infer each hospital's prevalence from sums that hold its patients alone.

    Guarantees (each is a test in ``tests/attacks/inference/test_whole_hospital.py``):
      - in full batches without noise the truth lies within three standard errors;
      - patient-level noise widens the standard error, by as much as the plan says.

    Raises:
      RefusedError: Several local steps, or no sum of a single hospital.
    """
    plan = view.plan
    if plan.local_steps > 1 or plan.unit != Unit.PATIENT:
        raise RefusedError("Prevalence is read from one-step sums; this plan walks several steps.")
    sizes = dict(zip(plan.hospitals, plan.batch_sizes, strict=True))
    seen: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for g in view.gradients:
        if len(g.hospitals) == 1:
            seen[g.hospitals[0]].append(_ill_share(view, g, prior, sizes[g.hospitals[0]], rng))
    if not seen:
        raise RefusedError(
            "The view holds no sum of a single hospital: what belongs to whom is hidden."
        )
    answers = []
    for hospital, readings in seen.items():
        estimates, variances = np.array(readings).T
        # The public patients' mismatch is the same in every round: only noise averages out, so
        # the best single round's error is kept.
        weights = (1 / variances) / (1 / variances).sum()
        estimate = float(np.clip(weights @ estimates, 0, 1))
        answers.append(Prevalence(hospital, estimate, float(np.sqrt(variances.min()))))
    return tuple(answers)


def _ill_share(
    view: GradientView, gradient: Gradient, prior: Prior, size: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Estimate and variance of the share of ill patients, from one sum's last bias."""
    (m0, v0), (m1, v1) = last_bias_moments(view.plan, gradient, prior, rng)
    share = (gradient.integers[-1] / size - m0) / (m1 - m0)
    # Patients of one hospital are alike: their predictions are off together, by up to one spread.
    variance = (max(v0, v1) + gradient.noise_std**2 / size**2) / (m1 - m0) ** 2
    return float(share), float(variance)


@dataclass(frozen=True)
class Traffic:
    """What the network shows of one sender.

    Attributes:
      sender: Who.
      messages: How many it sent.
      sizes: The distinct sizes, in bytes. More than one a kind of message would say something.
      first: When the first left.
      mean_gap: Mean time between two, 0 for one: hospitals of different speed are told apart by it.
    """

    sender: str
    messages: int
    sizes: tuple[int, ...]
    first: float
    mean_gap: float


def traffic(view: TrafficView) -> tuple[Traffic, ...]:
    """Summarise what an eavesdropper sees, by sender."""
    by_sender = defaultdict(list)
    for e in view.envelopes:
        by_sender[e.sender].append(e)
    return tuple(
        Traffic(
            sender,
            len(sent),
            tuple(sorted({e.size for e in sent})),
            sent[0].time,
            float(np.mean(np.diff([e.time for e in sent]))) if len(sent) > 1 else 0.0,
        )
        for sender, sent in sorted(by_sender.items())
    )
