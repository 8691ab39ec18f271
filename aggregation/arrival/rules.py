r"""What the server does with a sum of early, late and repeated updates.

Every rule obeys the contract of ``correction``: the hospital applies its weight :math:`a \le 1`
*before* the noise, :math:`u = a D_k + z`, so that the weight scales no noise and the sensitivity
stays the clip norm; the server sees sums of what was sent. :math:`D_k` is a hospital's update as a
displacement of the model, B the number of contributions in the sum, :math:`h_k` what the hospital
holds (zero at first).

===========  =============================  ======================  =========================
rule         weight a                       sends                   server
===========  =============================  ======================  =========================
FedBuff      :math:`(1 + \tau)^{-1/2}`      u                       w + eta S / B
corrected    :math:`(p_k / f_k) / c`        u                       w + eta c S / B
FedAsync     1                              u, opened alone         w + a (base + S - w)
CA2FL        1                              u - h_k, then h_k = u   w + eta (mean h + S / B)
Memory       :math:`p_k`                    u - h_k, then h_k = u   H + S, then w + eta H
===========  =============================  ======================  =========================

*Corrected* undoes that fast hospitals arrive more often: :math:`f_k` is the
hospital's planned fraction of all arrivals, and :math:`c = \max_k p_k / f_k` brings the weights to
at most 1. Without that FedBuff converges to the model of the fast.

What an update is decides what a share :math:`p_k` is: of *mean* displacements, the hospital's part
of all patients; of *sums* over patients (the one-step uploads whose sensitivity is the clip norm),
1 for every hospital, as the sum has its patients in it already.

*Memory* is the default. CA2FL and Memory open each noised update twice, under different masks:
``privacy.accounting.linear`` proves what that costs over a schedule declared beforehand. Upload by
upload it can't be told, as others' later uploads add to it; where nothing can be declared, use
*corrected*. FedAsync opens every update alone: no sealing can help, each carries all of its noise.

Sources: FedBuff, Nguyen et al. (2022), arXiv 2106.06639v4, Algorithm 1; FedAsync, Xie et al.
(2020), arXiv 1903.03934v5, Algorithm 1 and section 5.2; CA2FL, Wang et al. (2024), ICLR, Algorithm
1; Memory, Gu et al. (2021, MIFA), arXiv 2106.04159v2, Algorithm 1, with weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aggregation.arrival.schedule import Arrival, Opening, Schedule
from privacy._validate import positive
from privacy.errors import InvalidInputError, RefusedError

__all__ = ["Buffered", "FedAsync", "Memory", "Rule", "corrected", "fedbuff", "replay"]

Vector = NDArray[np.float64]
Update = Callable[[Arrival, Vector], Vector]
"""A hospital's clipped update, before weight and noise, as a displacement of the given model."""
Noise = Callable[[Arrival], Vector]
"""The share of noise that one upload carries."""


@dataclass
class Buffered:
    """FedBuff and its correction: a weighted mean of the buffer.

    Attributes:
      rate: Server step size.
      shares: Weight of each hospital before the noise, in [0, 1]; None: 1 for all.
      discount: Whether staleness discounts it by ``(1 + staleness) ** -0.5``.
      oldest: Staleness above which a contribution is sent with weight 0, as pure noise; None: no
        limit.
      scale: What brings the shares back, public; the server multiplies by it.
    """

    rate: float = 1.0
    shares: Mapping[str, float] | None = None
    discount: bool = True
    oldest: int | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        positive(rate=self.rate)
        positive(scale=self.scale)
        for name, share in (self.shares or {}).items():
            if not 0 <= share <= 1:
                raise InvalidInputError(
                    f"Expected the weight {share} of {name!r} in [0, 1]: a larger one would raise "
                    "the sensitivity. Divide all by the largest and give that as scale."
                )

    def weight(self, hospital: str, staleness: int) -> float:
        """Return the hospital's weight before the noise."""
        if self.oldest is not None and staleness > self.oldest:
            return 0.0
        share = 1.0 if self.shares is None else self.shares[hospital]
        return share * (1 + staleness) ** -0.5 if self.discount else share

    def send(self, arrival: Arrival, noised: Vector) -> Vector:
        """Return what leaves the hospital."""
        return noised

    def step(self, params: Vector, total: Vector, opening: Opening, base: Vector) -> Vector:
        """Return the next model."""
        return np.asarray(params + self.rate * self.scale / len(opening.arrivals) * total)


def fedbuff(*, rate: float = 1.0, oldest: int | None = None) -> Buffered:
    """Return plain FedBuff; it converges elsewhere when hospitals differ in pace and patients."""
    return Buffered(rate=rate, oldest=oldest)


def corrected(
    shares: Mapping[str, float], rates: Mapping[str, float], *, rate: float = 1.0
) -> Buffered:
    """Return FedBuff times share of the patients over share of the arrivals.

    Args:
      shares: p_k, each hospital's public share of the patients.
      rates: f_k, its planned share of the arrivals (``planned_rates``).
      rate: Server step size.

    Raises:
      InvalidInputError: The names differ, or a rate is not positive.
    """
    if shares.keys() != rates.keys():
        raise InvalidInputError(f"Shares of {set(shares)} but rates of {set(rates)}.")
    for name, planned in rates.items():
        positive(planned_rate=planned, hint=f"{name!r} would never arrive; leave it out.")
    ratios = {name: shares[name] / rates[name] for name in shares}
    largest = max(ratios.values())
    weights = {name: ratio / largest for name, ratio in ratios.items()}
    return Buffered(rate=rate, shares=weights, discount=False, scale=largest)


@dataclass
class FedAsync:
    """Every update alone: the model moves part of the way to the hospital's own.

    Attributes:
      mixing: a at no staleness; it falls as ``mixing * (1 + staleness) ** -0.5``.
    """

    mixing: float = 0.6

    def weight(self, hospital: str, staleness: int) -> float:
        """Return the hospital's weight before the noise."""
        return 1.0

    def send(self, arrival: Arrival, noised: Vector) -> Vector:
        """Return what leaves the hospital."""
        return noised

    def step(self, params: Vector, total: Vector, opening: Opening, base: Vector) -> Vector:
        """Return the next model; ``base`` is the one that the update was computed at."""
        if len(opening.arrivals) != 1:
            raise InvalidInputError(
                f"FedAsync opens updates one by one, got {len(opening.arrivals)} in one sum; use "
                "Trigger(count=1, distinct=1)."
            )
        part = self.mixing * (1 + opening.arrivals[0].staleness) ** -0.5
        return np.asarray(params + part * (base + total - params))


@dataclass
class Memory:
    """The last update of every hospital counts until its next one; hospitals hold their own.

    Attributes:
      rate: Server step size.
      shares: p_k, each hospital's public share of the patients, at most 1; None makes it CA2FL,
        where hospitals count alike.
      hospitals: Number of hospitals (CA2FL averages over all of them).
    """

    rate: float = 1.0
    shares: Mapping[str, float] | None = None
    hospitals: int = 1
    held: dict[str, Vector] = field(default_factory=dict)
    calibration: Vector | None = None

    def weight(self, hospital: str, staleness: int) -> float:
        """Return the hospital's weight before the noise."""
        return 1.0 if self.shares is None else self.shares[hospital]

    def send(self, arrival: Arrival, noised: Vector) -> Vector:
        """Return what leaves the hospital: the noised update less the one that it held."""
        before = self.held.get(arrival.hospital, np.zeros_like(noised))
        self.held[arrival.hospital] = noised
        return noised - before

    def step(self, params: Vector, total: Vector, opening: Opening, base: Vector) -> Vector:
        """Return the next model."""
        held = np.zeros_like(total) if self.calibration is None else self.calibration
        if self.shares is not None:
            self.calibration = held + total
            return params + self.rate * self.calibration
        self.calibration = held + total / self.hospitals
        return params + self.rate * (held + total / len(opening.arrivals))


Rule = Buffered | FedAsync | Memory


def replay(
    schedule: Schedule,
    first: Float[np.ndarray, "dim"],
    update: Update,
    rule: Rule,
    *,
    noise: Noise | None = None,
) -> Float[np.ndarray, "versions dim"]:
    """Return all models that a rule makes along a schedule, the first one included.

    A lost upload leaves the hospital's memory as it was; one that waits at the end counts nowhere.

    Args:
      schedule: Who arrives when.
      first: Version 0.
      update: A hospital's update at a model.
      rule: A fresh one; Memory holds state.
      noise: The noise of an upload; None: no noise.

    Raises:
      RefusedError: An update of a version that did not exist yet, or one that comes twice.
    """
    models = [first]
    seen: set[tuple[str, int]] = set()
    for opening in schedule.openings:
        total = np.zeros_like(first)
        for arrival in opening.arrivals:
            if (arrival.hospital, arrival.number) in seen:
                raise RefusedError(
                    f"Upload {arrival.number} of {arrival.hospital!r} comes twice; each enters at "
                    "most one opened sum."
                )
            if not 0 <= arrival.base_version <= arrival.sealed_version < len(models):
                raise RefusedError(
                    f"Upload {arrival.number} of {arrival.hospital!r} says version "
                    f"{arrival.base_version}, sealed at {arrival.sealed_version}; the newest is "
                    f"{len(models) - 1}."
                )
            seen.add((arrival.hospital, arrival.number))
            weight = rule.weight(arrival.hospital, arrival.staleness)
            noised = weight * update(arrival, models[arrival.base_version])
            if noise is not None:
                noised = noised + noise(arrival)
            total = total + rule.send(arrival, noised)
        base = models[opening.arrivals[0].base_version]
        models.append(rule.step(models[-1], total, opening, base))
    return np.stack(models)
