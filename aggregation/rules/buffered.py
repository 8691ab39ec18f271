r"""What the server does with a sum of early, late and repeated updates.

The hospital applies its weight :math:`a \le 1`
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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.rules.rule import Contract, ContractUnit, Opened, Rule, State, Vector
from privacy._validate import fraction, natural, positive
from privacy.errors import InvalidInputError

__all__ = ["Buffered", "FedAsync", "Memory", "corrected", "fedbuff"]


@dataclass(frozen=True)
class Buffered(Rule):
    """FedBuff and its correction: a weighted mean of the buffer.

    Attributes:
      rate: Server step size.
      shares: Weight of each hospital before the noise, in [0, 1]; None: 1 for all.
      discount: Whether staleness discounts it by ``(1 + staleness) ** -0.5``.
      oldest: Staleness above which a contribution is sent with weight 0, as pure noise; None: no
        limit.
      scale: What brings the shares back, public; the server multiplies by it.
    """

    contract = Contract(
        "buffered",
        "Nguyen et al. (2022), arXiv 2106.06639v4, Algorithm 1, with weights before the noise",
        ContractUnit.PATIENT,
        "the weighted sum of clipped gradients",
    )
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

    def weight(self, public: State, hospital: str, staleness: int) -> float:
        """Return the hospital's share, discounted where staleness counts."""
        if self.oldest is not None and staleness > self.oldest:
            return 0.0
        share = 1.0 if self.shares is None else self.shares[hospital]
        return share * (1 + staleness) ** -0.5 if self.discount else share

    def advance(self, public: State, params: Vector, opening: Opened) -> tuple[Vector, State]:
        """Step by the mean of the buffer."""
        return params + self.rate * self.scale / len(opening.arrivals) * opening.moved, public


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


@dataclass(frozen=True)
class FedAsync(Rule):
    """Every update alone: the model moves part of the way to the hospital's own.

    The public state is all models so far: an update counts from the one that it was computed at.

    Attributes:
      mixing: a at no staleness; it falls as ``mixing * (1 + staleness) ** -0.5``.
    """

    contract = Contract(
        "fedasync",
        "Xie et al. (2020), arXiv 1903.03934v5, Algorithm 1 and section 5.2",
        ContractUnit.PATIENT,
        "the sum of clipped gradients, opened alone",
        opens_each=True,
    )
    mixing: float = 0.6

    def __post_init__(self) -> None:
        fraction(mixing=self.mixing)

    def begin(self, params: Vector, hospitals: Sequence[str]) -> State:
        """Return the first model."""
        return (params,)

    def advance(self, public: State, params: Vector, opening: Opened) -> tuple[Vector, State]:
        """Move part of the way to the hospital's own model."""
        if len(opening.arrivals) != 1:
            raise InvalidInputError(
                f"FedAsync opens updates one by one, got {len(opening.arrivals)} in one sum; use "
                "Trigger(count=1, distinct=1)."
            )
        (arrival,) = opening.arrivals
        part = self.mixing * (1 + arrival.staleness) ** -0.5
        base = public[arrival.base_version]
        after = params + part * (base + opening.moved - params)
        return after, (*public, after)


@dataclass(frozen=True)
class Memory(Rule):
    """The last update of every hospital counts until its next one; hospitals hold their own.

    Attributes:
      rate: Server step size.
      shares: p_k, each hospital's public share of the patients, at most 1; None makes it CA2FL,
        where hospitals count alike.
      hospitals: Number of hospitals (CA2FL averages over all of them).
    """

    contract = Contract(
        "memory",
        "Gu et al. (2021), arXiv 2106.04159v2, Algorithm 1; Wang et al. (2024), ICLR, Algorithm 1",
        ContractUnit.PATIENT,
        "the noised sum of clipped gradients less the one that was opened last",
        memory=True,
    )
    rate: float = 1.0
    shares: Mapping[str, float] | None = None
    hospitals: int = 1

    def __post_init__(self) -> None:
        positive(rate=self.rate)
        natural(hospitals=self.hospitals, least=1)

    def begin(self, params: Vector, hospitals: Sequence[str]) -> State:
        """Return what the server holds of all hospitals together: nothing."""
        return (np.zeros(len(params)),)

    def start(self, dim: int) -> State:
        """Return what a hospital holds: nothing."""
        return (np.zeros(dim, dtype=np.int64),)

    def weight(self, public: State, hospital: str, staleness: int) -> float:
        """Return the hospital's share."""
        return 1.0 if self.shares is None else self.shares[hospital]

    def send(self, state: State, noised: NDArray[Any]) -> tuple[NDArray[Any], State]:
        """Return the noised update less the one that is held, and hold it once it is opened."""
        return noised - state[0], (noised,)

    def advance(self, public: State, params: Vector, opening: Opened) -> tuple[Vector, State]:
        """Step along what is held of all hospitals."""
        if self.shares is not None:
            held = public[0] + opening.moved
            return params + self.rate * held, (held,)
        held = public[0] + opening.moved / self.hospitals
        after = params + self.rate * (public[0] + opening.moved / len(opening.arrivals))
        return after, (held,)
