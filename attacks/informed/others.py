"""The law of everybody but the target, from public people, and what each candidate makes of it.

Ratios are log-likelihoods of each person's having taken part, against nobody's in that place.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from aggregation.data.patients import Patients
from aggregation.plan import Plan
from attacks.informed.seen_sums import ROUNDING, Openings

__all__ = ["NormalOthers", "article_ratios", "normal_ratio", "scaled_density"]

_BATCHES = 512  # drawn batches that the article's law is averaged over
_SMALLEST = 1e-15  # of the largest eigenvalue: what float64 leaves of the least ones


class NormalOthers:
    """The normal law of everybody but the target in some sums, for any hospital's people.

    What hospitals share is made once: of hundreds in one sum, all but the target's count are alike.
    """

    def __init__(self, openings: Openings, drawn: Patients) -> None:
        """Send public people through the hospitals' steps.

        Args:
          openings: One-step sums, read together.
          drawn: Public people, whose moments the others are taken to have.
        """
        self._openings, self._drawn = openings, drawn
        self._crowds: dict[tuple[bytes, ...], _Crowd] = {}
        for name in openings.hospitals:
            key, labels = openings.pattern(name), openings.labels(name)
            if labels is not None:
                key = (*key, name.encode())
            if key not in self._crowds:
                cloud = self._white(openings.rows(name, drawn.features, drawn.outcomes))
                self._crowds[key] = _Crowd(cloud, labels)
            self._crowds[key].hospitals.append(name)
        self._last: tuple[list[tuple[float, float]], _Law] | None = None

    def ratios(self, hospital: str, people: Patients) -> Float[np.ndarray, "people"]:
        """Return each person's log-ratio, as a patient of a hospital."""
        counts = [crowd.counts(self._openings, hospital) for crowd in self._crowds.values()]
        if self._last is None or self._last[0] != counts:
            self._last = counts, self._law(counts)
        law = self._last[1]
        rows = self._white(self._openings.rows(hospital, people.features, people.outcomes))
        return normal_ratio(law.left, rows[:, law.kept] @ law.axes, law.variances)

    def _white(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Noise and rounding of variance 1, independent: ``[people, sums x dim]``."""
        lower = self._openings.lower
        flat = np.moveaxis(values, -2, 0).reshape(len(lower), -1)
        solved = solve_triangular(lower, flat, lower=True)
        shape = (len(lower), *values.shape[:-2], values.shape[-1])
        return np.moveaxis(solved.reshape(shape), 0, -2).reshape(*values.shape[:-2], -1)

    def _law(self, counts: Sequence[tuple[float, float]]) -> "_Law":
        crowds = [(crowd, *pair) for crowd, pair in zip(self._crowds.values(), counts, strict=True)]
        spread = sum(count * crowd.cloud.var(axis=0) for crowd, count, _ in crowds)
        kept = np.sort(np.argsort(-spread, kind="stable")[: len(self._drawn) // 2])
        mean, cov = np.zeros(len(kept)), np.eye(len(kept))
        for crowd, count, chance in crowds:
            centre, scatter = _moments(crowd.cloud[:, kept], self._drawn, crowd.labels)
            mean += count * centre
            cov += count * scatter + chance * np.outer(centre, centre)
        variances, axes = np.linalg.eigh(cov)
        centred = self._white(self._openings.seen)[kept] - mean
        return _Law(centred @ axes, kept, axes, variances)


def normal_ratio(
    centred: Float[np.ndarray, "axes"],
    moved: Float[np.ndarray, "people axes"],
    variances: Float[np.ndarray, "axes"],
) -> Float[np.ndarray, "people"]:
    """Return log N(centred - moved) - log N(centred), along independent axes.

    Args:
      centred: What was seen, less the mean of the others.
      moved: What each person adds.
      variances: Along each axis, rising.
    """
    variances = np.maximum(variances, variances[-1] * _SMALLEST)
    return np.asarray(((centred - moved / 2) * moved / variances).sum(axis=1))


@dataclass(frozen=True)
class _Crowd:
    """Hospitals whose patients enter alike, and what public people would send from there."""

    cloud: NDArray[np.float64]
    labels: NDArray[np.int64] | None
    hospitals: list[str] = field(default_factory=list)

    def counts(self, openings: Openings, hospital: str) -> tuple[float, float]:
        """How many others of them are expected, and the chance in their number, by the target's."""
        count = chance = 0.0
        for name in self.hospitals:
            others = _others(openings, name, hospital)
            count += others
            chance += others * (1 - openings.prob(name))  # variance of a Poisson sample's size
        return count, chance


@dataclass(frozen=True)
class _Law:
    """Along its axes, what was seen less the mean of the others, and its variances, rising."""

    left: Float[np.ndarray, "axes"]
    kept: Int[np.ndarray, "axes"]
    axes: Float[np.ndarray, "axes axes"]
    variances: Float[np.ndarray, "axes"]


def _others(openings: Openings, name: str, hospital: str) -> float:
    """How many of a hospital's patients are in an upload beside the target, as expected."""
    count = openings.expected(name)
    return max(0.0, count - openings.prob(name)) if name == hospital else count


def _moments(
    cloud: NDArray[np.float64], drawn: Patients, labels: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance of one person; where outcomes are declared, within them."""
    if labels is None:
        centre = cloud.mean(axis=0)
        apart = cloud - centre
        return centre, apart.T @ apart / len(cloud)
    centre, scatter = np.zeros(cloud.shape[1]), np.zeros((cloud.shape[1],) * 2)
    for outcome in (0, 1):
        share, some = float(np.mean(labels == outcome)), cloud[drawn.outcomes == outcome]
        if share > 0 and len(some):
            mean = some.mean(axis=0)
            centre += share * mean
            scatter += share * (some - mean).T @ (some - mean) / len(some)
    return centre, scatter


def article_ratios(
    openings: Openings,
    hospital: str,
    people: Patients,
    drawn: Patients,
    rng: np.random.Generator,
) -> Float[np.ndarray, "people"]:
    r"""Return each person's log-ratio under noise whose scale depends on the patients.

    Its deviation is :math:`c \lVert u \rVert`, u the upload without it.

    The mean over drawn batches of others is the law itself, to within the number of batches: this
    much noise says little of u, so that no few of them carry the whole weight.

    Args:
      openings: One hospital's one-step uploads, read together.
      hospital: Whose patients the people would be.
      people: Candidates.
      drawn: Public people.
      rng: Draws batches of them.
    """
    count = _others(openings, hospital, hospital)
    sizes = np.full(_BATCHES, round(count))
    if openings.plan.draws_patients:
        sizes = rng.poisson(count, _BATCHES)
    cloud = openings.rows(hospital, drawn.features, drawn.outcomes)
    batches = np.stack([cloud[rng.integers(len(cloud), size=n)].sum(axis=0) for n in sizes])
    added = openings.rows(hospital, people.features, people.outcomes)
    seen = np.broadcast_to(openings.seen, batches.shape)

    def law(moved: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-density of what was seen, by person."""
        parts = [
            scaled_density(openings.plan, seen[:, t], [batches[:, t]], [moved[:, t]])
            for t in range(seen.shape[1])
        ]
        return np.asarray(logsumexp(np.sum(parts, axis=0), axis=0))

    return law(added) - law(np.zeros_like(added[:1]))


def scaled_density(
    plan: Plan,
    seen: Float[np.ndarray, "batches dim"],
    steps: Sequence[Float[np.ndarray, "batches dim"]],
    moved: Sequence[Float[np.ndarray, "people dim"]],
) -> Float[np.ndarray, "batches people"]:
    """Return the log-density of a sum of steps, each with the article's noise, up to a constant.

    Args:
      plan: With the article's noise.
      seen: The sum, beside each batch.
      steps: Each batch's gradient at every step.
      moved: What each person adds there.
    """
    factor = math.sqrt(2 * math.log(1.25 / plan.delta)) / (plan.epsilon or math.inf)
    norms = np.sum([_squares(s, -m) for s, m in zip(steps, moved, strict=True)], axis=0)
    variance = factor**2 * norms + len(steps) * ROUNDING
    gaps = _squares(seen - np.sum(steps, axis=0), np.sum(moved, axis=0))
    return np.asarray(-0.5 * (gaps / variance + seen.shape[-1] * np.log(variance)))


def _squares(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances of all pairs."""
    a_squares, b_squares = (a**2).sum(axis=1)[:, None], (b**2).sum(axis=1)[None]
    return np.asarray(np.maximum(a_squares - 2 * a @ b.T + b_squares, 0.0))
