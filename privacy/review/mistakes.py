r"""The usual mistakes of private trainings, each looked for in what is told of one.

Costs are intervals of the certified accountant. A claim is wrong where it lies below the lower end:
then no proof can save it.

A mean over the batch that was drawn: whoever comes replaces part of everybody's share, so that the
mean moves by up to :math:`2C / (n + 1)` where :math:`C / n` was accounted for: the noise counts
half. Noise of deviation :math:`s` at each of :math:`K` hospitals, weighted by :math:`w_k` after:
the sum's noise is :math:`s \sqrt{\sum w_k^2}` and a patient of hospital k moves it by
:math:`w_k C`; accounted for were equal weights. So the multiplier shrinks by
:math:`\sqrt{\sum_k w_k^2 / K} / \max_k w_k`.
"""

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from privacy.errors import InpatientError
from privacy.ledger.accountant import Accountant, Certified, Cost, Guarded, composed, mentions
from privacy.ledger.requests import Budget
from privacy.ledger.rounding import down, up
from privacy.review.told import ClaimedGuarantee, ToldTraining

__all__ = ["CHECKS", "Check", "Judgement", "Part", "examine"]

CHECKS = ("cost", "scope", "sampler", "denominator", "weights", "relation", "accountant")
Part = tuple[Mapping[str, Any], int]

_CHANCE = 1e-9  # of equal batches under Poisson sampling, below which it is refuted
_LOOSE = 1.05


class Judgement(enum.StrEnum):
    """``HOLDS``, ``WRONG``, ``LOOSE`` (more was claimed than is true), ``UNKNOWN``."""

    HOLDS = "holds"
    WRONG = "wrong"
    LOOSE = "loose"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Check:
    """One finding, without a language.

    Attributes:
      name: One of ``CHECKS``, or of what a caller adds.
      judgement: What was found.
      words: Key of the sentence that says it.
      values: What stands in the sentence.
    """

    name: str
    judgement: Judgement
    words: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class _Case:
    """What is looked at; costs are asked for here alone."""

    claim: ClaimedGuarantee | None
    training: ToldTraining
    parts: tuple[Part, ...]
    accountant: Accountant

    def cost(self, parts: Sequence[Part], relation: str) -> Cost:
        """Interval at the claim's delta; of what the accountant can't price, nothing is known."""
        delta = self.claim.delta if self.claim else 1e-5
        try:
            event = composed(parts)
            return self.accountant.epsilon(event, Budget(1.0, delta, relation=relation))
        except InpatientError:
            return Cost(0.0, math.inf, math.inf, "none", "")

    @property
    def relation(self) -> str:
        """The claim's."""
        return self.claim.relation if self.claim else "ADD_OR_REMOVE_ONE"

    @property
    def shuffled(self) -> bool:
        """Whether batches were shuffled though the account took them for drawn."""
        return self.drawn_as == "shuffled" and _poisson(self.parts)

    @property
    def drawn_as(self) -> str | None:
        """How patients were drawn, where the sizes of batches do not say otherwise."""
        return "shuffled" if self.chance < _CHANCE else self.training.sampler

    @property
    def chance(self) -> float:
        """Of batches as alike as these, had each patient been drawn by itself; 1: not known."""
        sizes, patients = self.training.batch_sizes, self.training.patients
        rates = {e["sampling_probability"] for e, _ in self.parts if _poisson([(e, 1)])}
        if len(set(sizes)) != 1 or patients is None or len(rates) != 1:
            return 1.0
        (q,) = rates
        mode = min(patients, math.floor((patients + 1) * q))
        return _binomial(mode, patients, q) ** (len(sizes) - 1)

    @property
    def actual(self) -> tuple[tuple[Part, ...], str]:
        """What was done, as far as it is told, and the relation that it can be priced under."""
        parts, relation = self.parts, self.relation
        if self.shuffled:
            parts = tuple(_as_passes(event, count) for event, count in parts)
            relation = relation if relation != "ADD_OR_REMOVE_ONE" else "REPLACE_SPECIAL"
        factor = _factor(self.training.weights) if self.training.noise == "hospital" else 1.0
        factor *= 0.5 if self.training.divided_by == "drawn" else 1.0
        return tuple((_scaled(event, factor), count) for event, count in parts), relation


def examine(
    claim: ClaimedGuarantee | None,
    training: ToldTraining,
    parts: Sequence[Part],
    *,
    accountant: Accountant | None = None,
) -> tuple[Check, ...]:
    """Look for each of the usual mistakes, in the order of ``CHECKS``.

    Args:
      claim: What is claimed; None: nothing.
      training: How it is said to have run.
      parts: Events as they were accounted for, as plain JSON, and how often; empty: not known.
      accountant: Prices them; the project's own by default.
    """
    events = tuple(parts)
    if not events and training.noise_multiplier is not None and training.steps is not None:
        events = ((_event(training), training.steps),)
    case = _Case(claim, training, events, Guarded(accountant or Certified()))
    looked = (_cost, _scope, _sampler, _denominator, _weights, _relation, _accountant)
    return tuple(Check(name, *look(case)) for name, look in zip(CHECKS, looked, strict=True))


_Found = tuple[Judgement, str, Mapping[str, str]]


def _unknown(name: str, **values: str) -> _Found:
    return Judgement.UNKNOWN, f"{name}_unknown", values


def _range(cost: Cost) -> dict[str, str]:
    return {"lower": down(cost.lower), "upper": up(cost.upper)}


def _cost(case: _Case) -> _Found:
    if not case.parts:
        return _unknown("cost")
    parts, relation = case.actual
    cost = case.cost(parts, relation)
    if case.claim is None and math.isinf(cost.lower):
        return Judgement.UNKNOWN, "cost_unprotected", {}
    if case.claim is None:
        return Judgement.UNKNOWN, "cost_alone", _range(cost) | {"relation": relation}
    values = _range(cost) | {"claimed": down(case.claim.epsilon), "relation": relation}
    if case.claim.epsilon < cost.lower:
        return Judgement.WRONG, "cost_wrong", values
    if case.claim.epsilon >= cost.upper:
        return Judgement.HOLDS, "cost_holds", values
    return Judgement.UNKNOWN, "cost_between", values


def _scope(case: _Case) -> _Found:
    if not case.parts or case.claim is None:
        return _unknown("scope")
    steps = sum(count for _, count in case.parts)
    whole, one = (
        case.cost(parts, case.relation) for parts in (case.parts, [(case.parts[-1][0], 1)])
    )
    values = {
        "claimed": down(case.claim.epsilon),
        "steps": str(steps),
        "one": up(one.upper),
        "lower": down(whole.lower),
    }
    if steps > 1 and one.lower <= case.claim.epsilon < whole.lower:
        return Judgement.WRONG, "scope_wrong", values
    return Judgement.HOLDS, "scope_holds", values


def _sampler(case: _Case) -> _Found:
    if case.parts and not _poisson(case.parts):
        return Judgement.HOLDS, "sampler_none", {}
    if not case.parts or case.drawn_as is None:
        return _unknown("sampler")
    if not case.shuffled:
        return Judgement.HOLDS, "sampler_holds", {}
    passes = [_as_passes(event, count) for event, count in case.parts]
    cost = case.cost(passes, "REPLACE_SPECIAL")
    values = _range(cost) | {"told": up(case.cost(case.parts, "ADD_OR_REMOVE_ONE").upper)}
    if case.training.sampler != "shuffled":
        sizes = case.training.batch_sizes
        seen = {"count": str(len(sizes)), "size": str(sizes[0]), "chance": f"{case.chance:.0e}"}
        return Judgement.WRONG, "sampler_seen", values | seen
    return Judgement.WRONG, "sampler_wrong", values


def _denominator(case: _Case) -> _Found:
    how = case.training.divided_by
    if how is None:
        return _unknown("denominator")
    if how == "expected":
        return Judgement.HOLDS, "denominator_holds", {}
    half = [(_scaled(event, 0.5), count) for event, count in case.parts]
    cost = case.cost(half, case.relation) if half else Cost(0.0, math.inf, math.inf, "none", "")
    return Judgement.WRONG, "denominator_wrong", _range(cost)


def _weights(case: _Case) -> _Found:
    training = case.training
    if training.noise is None or (training.noise == "hospital" and not training.weights):
        return _unknown("weights")
    factor = _factor(training.weights) if training.noise == "hospital" else 1.0
    if factor > 1 - 1e-9:
        return Judgement.HOLDS, "weights_holds", {}
    less = [(_scaled(event, factor), count) for event, count in case.parts]
    cost = case.cost(less, case.relation) if less else Cost(0.0, math.inf, math.inf, "none", "")
    return Judgement.WRONG, "weights_wrong", _range(cost) | {"factor": down(factor)}


def _relation(case: _Case) -> _Found:
    claim = case.claim
    if claim is None or not case.parts:
        return _unknown("relation")
    if claim.relation == "ADD_OR_REMOVE_ONE":
        return Judgement.HOLDS, "relation_holds", {}
    added, replaced = (
        case.cost(case.parts, name) for name in ("ADD_OR_REMOVE_ONE", claim.relation)
    )
    if added.lower <= claim.epsilon < replaced.lower:
        values = _range(replaced) | {"relation": claim.relation, "added": up(added.upper)}
        return Judgement.WRONG, "relation_wrong", values | {"claimed": down(claim.epsilon)}
    return Judgement.HOLDS, "relation_holds", {}


def _accountant(case: _Case) -> _Found:
    claim = case.claim
    if claim is None or claim.accountant is None:
        return _unknown("accountant")
    if claim.accountant in ("gdp", "formula"):
        return Judgement.WRONG, f"accountant_{claim.accountant}", {}
    if claim.accountant == "rdp" and case.parts:
        cost = case.cost(case.parts, case.relation)
        if claim.epsilon > _LOOSE * cost.upper:
            values = {"claimed": down(claim.epsilon), "upper": up(cost.upper)}
            return Judgement.LOOSE, "accountant_loose", values
    return Judgement.HOLDS, "accountant_holds", {"name": claim.accountant}


def _poisson(parts: Sequence[Part]) -> bool:
    return any(mentions(event, "PoissonSampledDpEvent") for event, _ in parts)


def _event(training: ToldTraining) -> dict[str, Any]:
    noise, rate = training.noise_multiplier or 0.0, training.sampling_prob
    event: dict[str, Any] = {"type": "NonPrivateDpEvent"}
    if noise > 0:
        event = {"type": "GaussianDpEvent", "noise_multiplier": noise}
    if rate is None or rate == 1 or noise == 0:
        return event
    return {"type": "PoissonSampledDpEvent", "sampling_probability": rate, "event": event}


def _as_passes(event: Mapping[str, Any], count: int) -> Part:
    """The same steps as shuffled passes: a patient is in one of every ``1 / q`` batches."""
    if event["type"] != "PoissonSampledDpEvent":
        return event, count
    batches = math.floor(1 / event["sampling_probability"] * (1 + 1e-9))
    inner = {"type": "ShuffledBatchesDpEvent", "batches": batches, "event": event["event"]}
    return inner, max(1, count // batches)  # whole passes alone: no more than was done


def _scaled(event: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """The event with all its noise so many times as large."""
    scaled = dict(event)
    if "noise_multiplier" in scaled:
        scaled["noise_multiplier"] = scaled["noise_multiplier"] * factor
    if "event" in scaled:
        scaled["event"] = _scaled(scaled["event"], factor)
    if "events" in scaled:
        scaled["events"] = [_scaled(inner, factor) for inner in scaled["events"]]
    return scaled


def _factor(weights: Sequence[float]) -> float:
    if not weights:
        return 1.0
    return math.sqrt(math.fsum(w * w for w in weights) / len(weights)) / max(weights)


def _binomial(k: int, n: int, q: float) -> float:
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    if 0 < q < 1:
        log += k * math.log(q) + (n - k) * math.log1p(-q)
    return min(1.0, math.exp(log)) if 0 < q < 1 else 1.0
