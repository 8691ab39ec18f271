"""Rules on plain floats: no integers, clipping, noise, ledgers or messages.

What a rule converges to is seen here, in microseconds a round; what it protects, in a
``Federation``. Hospitals are functions, so that anything with a gradient will do.

>>> from aggregation.rules import FedAvg
>>> from aggregation.timing import Rounds
>>> rule, rounds = FedAvg({"a": 0.5, "b": 0.5}), Rounds(("a", "b"), 200)
>>> slopes = {"a": lambda w: w - 2, "b": lambda w: 3 * (w + 2)}
>>> run = follow(rule, rounds, np.zeros(1), gradient=lambda k, w: slopes[k](w), rate=0.1)
>>> run.models[-1].round(6).tolist()
[-1.0]
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float

from aggregation.rules import Rule
from aggregation.rules.rule import Call, ContractUnit, Opened, State, Vector
from aggregation.timing import Arrival, Timing
from privacy.errors import RefusedError

__all__ = ["Followed", "follow"]


@dataclass(frozen=True)
class Followed:
    """What a run in clear leaves.

    Attributes:
      models: All models, the first one included.
      states: What the rule kept at each hospital.
    """

    models: Float[np.ndarray, "versions dim"]
    states: Mapping[str, State]


def follow(
    rule: Rule,
    timing: Timing,
    first: Float[np.ndarray, "dim"],
    *,
    update: Callable[[Call], Vector] = lambda call: call.gradient(call.params),
    gradient: Callable[[str, Vector], Vector] = lambda _, params: np.zeros_like(params),
    loss: Callable[[str, Vector], float] = lambda *_: 0.0,
    alone: Callable[[Vector], Mapping[str, Vector]] = lambda _: {},
    noise: Callable[[Arrival], Vector] | None = None,
    rate: float = 1.0,
    steps: int = 1,
    scale: float = 1.0,
) -> Followed:
    """Return all models that a rule makes of hospitals' updates.

    A lost upload leaves what the hospital keeps as it was; one that waits at the end counts
    nowhere.

    Args:
      rule: What hospitals send and what follows.
      timing: Rounds, or a schedule of who arrives when.
      first: Version 0.
      update: A hospital's update at a model, of a rule that sums over patients.
      gradient: Of a hospital's mean loss, by its name, at any parameters.
      loss: A hospital's mean loss, in nats.
      alone: Statistics that are opened hospital by hospital, ``[hospitals]`` each, at a model.
      noise: The noise of an upload; None: no noise.
      rate: Local step size, and the server's on what hospitals walk.
      steps: Local steps.
      scale: What makes a displacement of a sum of updates: ``-rate`` over the number of patients,
        say; 1 where updates are displacements.

    Raises:
      RefusedError: An update of a version that did not exist yet, or one that comes twice.
    """
    whole = rule.contract.unit in (ContractUnit.HOSPITAL, ContractUnit.UNPROTECTED)
    names, dim = tuple(timing.uploads), len(first) + rule.contract.extra
    states = {name: rule.start(dim) for name in names}
    public, models, seen = rule.begin(first, names), [first], set[tuple[str, int]]()
    for version in range(timing.sums):
        arrivals, params, total = timing.arrivals(version), models[-1], np.zeros(dim)
        for arrival in arrivals:
            if not timing.synchronous:
                _check(arrival, seen, version)
            name, base, staleness = arrival.hospital, arrival.base_version, arrival.staleness
            call = Call(
                name, models[base], base, staleness, rule.steps_of(name, steps), rate,
                partial(gradient, name), partial(loss, name),
            )  # fmt: skip
            state = states[name]
            made, state = rule.local(state, call) if whole else (update(call), state)
            noised = rule.weight(public, name, staleness) * made
            if noise is not None:
                noised = noised + noise(arrival)
            leaves, states[name] = rule.send(state, noised)
            total = total + leaves
        opening = Opened(total, scale * total, rate, steps, arrivals, alone(params))
        after, public = rule.advance(public, params, opening)
        states = {n: rule.opened(s, opening, params, after) for n, s in states.items()}
        models.append(after)
    return Followed(np.stack(models), states)


def _check(arrival: Arrival, seen: set[tuple[str, int]], newest: int) -> None:
    if (arrival.hospital, arrival.number) in seen:
        raise RefusedError(
            f"Upload {arrival.number} of {arrival.hospital!r} comes twice; each enters at most one "
            "opened sum."
        )
    if not 0 <= arrival.base_version <= arrival.sealed_version <= newest:
        raise RefusedError(
            f"Upload {arrival.number} of {arrival.hospital!r} says version {arrival.base_version}, "
            f"sealed at {arrival.sealed_version}; the newest is {newest}."
        )
    seen.add((arrival.hospital, arrival.number))
