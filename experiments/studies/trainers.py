r"""Training by each correction rule, on patients that are neither clipped nor noised.

A trainer takes a ``LogisticProblem`` and ``Steps`` and returns the parameters that each hospital
ends with: the same for all, except where the rule keeps hospitals apart. What is compared is what
the rules converge to; ``sealed`` is the one trained as hospitals would: clipped, noised, sealed.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from aggregation.engines.clear import Followed, follow
from aggregation.rules import (
    QFFL,
    RULES,
    Agnostic,
    Article,
    Call,
    Contract,
    ContractUnit,
    FedAvg,
    FedDyn,
    FedNova,
    FedProx,
    FedSGD,
    Importance,
    LocalTraining,
    Opened,
    Rule,
    Scaffold,
    ServerOptimizer,
)
from aggregation.rules.agnostic import loss_release
from aggregation.rules.rule import State
from aggregation.timing import Rounds
from experiments.studies.problem import LogisticProblem
from privacy.errors import InvalidInputError

__all__ = ["TRAINERS", "Steps", "Trained", "run_rule", "trainer_of"]

Vector = NDArray[np.float64]
Trained = dict[str, Vector]
_CUT = 4.0  # nats: where AFL cuts a patient's loss


@dataclass(frozen=True)
class Steps:
    """How long and how fast.

    Attributes:
      rounds: Rounds of the federation.
      local: Local steps of the rules that walk, all patients in each.
      learning_rate: Step on the mean gradient.
    """

    rounds: int = 200
    local: int = 5
    learning_rate: float = 0.3


def run_rule(problem: LogisticProblem, steps: Steps, rule: Rule, **options: Any) -> Followed:
    """Follow a rule on a problem; where patients are summed, as many rounds as others walk steps.

    Args:
      problem: Hospitals and what they minimise.
      steps: How long and how fast.
      rule: Any.
      options: Of ``engines.clear.follow``, in place of what is chosen here.
    """
    by_hospital = rule.contract.unit in (ContractUnit.HOSPITAL, ContractUnit.UNPROTECTED)
    chosen: dict[str, Any] = {
        "gradient": problem.gradient,
        "update": lambda call: len(problem.patients[call.hospital]) * call.gradient(call.params),
        "loss": lambda name, params: float(problem.losses(name, params).mean()),
        "rate": steps.learning_rate,
        "steps": steps.local if by_hospital else 1,
        "scale": -steps.learning_rate / (len(problem.names) if by_hospital else problem.total),
    }
    rounds = Rounds(problem.names, steps.rounds * (1 if by_hospital else steps.local))
    return follow(rule, rounds, np.zeros(problem.dim), **(chosen | options))


Made = Callable[[LogisticProblem, Steps], Rule]
Trainer = Callable[[LogisticProblem, Steps], Trained]


def _by(made: Made) -> Trainer:
    """All hospitals end with the last model of a rule."""

    def train(problem: LogisticProblem, steps: Steps) -> Trained:
        last = run_rule(problem, steps, made(problem, steps)).models[-1]
        return dict.fromkeys(problem.names, last)

    return train


def _fednova(problem: LogisticProblem, steps: Steps) -> Rule:
    """Hospitals walk as many steps as they like: here 1, 2, 3, ... up to twice the local steps."""
    steps_of = {name: 1 + k % (2 * steps.local) for k, name in enumerate(problem.names)}
    return FedNova(problem.shares, steps=steps_of)


def _fedadam(problem: LogisticProblem, steps: Steps) -> Rule:
    """A constant rate never settles."""
    return ServerOptimizer(FedAvg(problem.shares), rate=0.1, decay=steps.rounds)


def _article(problem: LogisticProblem, steps: Steps) -> Rule:
    sizes = np.array([len(p) for p in problem.patients.values()])
    means = np.stack([p.features.mean(axis=0) for p in problem.patients.values()])
    return Article.of(problem.names, sizes, means)


def _agnostic(problem: LogisticProblem, steps: Steps) -> Trained:
    """The mean of all models on the way, as Algorithm 1 returns it; its losses have no noise."""

    def losses(params: Vector) -> dict[str, Vector]:
        cut = [loss_release(problem.losses(name, params), bound=_CUT) for name in problem.names]
        return {"loss": np.array(cut)}

    rule = Agnostic({name: len(p) for name, p in problem.patients.items()})
    models = run_rule(problem, steps, rule, alone=losses).models
    return dict.fromkeys(problem.names, models[1:].mean(axis=0))


def _importance(problem: LogisticProblem, steps: Steps) -> Trained:
    """Each hospital's patients weighed to stand for those of all: covariate shift."""
    classifiers = {}
    features = np.concatenate([p.features for p in problem.patients.values()])
    for name, local in problem.patients.items():
        domain = Patients(
            np.concatenate([local.features, features]),
            np.repeat([0, 1], [len(local), len(features)]).astype(np.int64),
        )
        classifier = LogisticProblem({name: domain}).optimum
        classifier[-1] += np.log(len(local) / len(features))
        classifiers[name] = classifier.tolist()
    rule = Importance(classifiers)
    weights = {
        name: rule.record_weights(name, p.features, p.outcomes, np.zeros(len(p)))
        for name, p in problem.patients.items()
    }
    total = sum(float(w.sum()) for w in weights.values())

    def update(call: Call) -> Vector:
        return problem.weighted_gradient(call.hospital, call.params, weights[call.hospital], total)

    scale = -steps.learning_rate / total
    last = run_rule(problem, steps, rule, update=update, scale=scale).models[-1]
    return dict.fromkeys(problem.names, last)


@dataclass(frozen=True)
class OwnIntercepts(LocalTraining, register=False):
    """FedAvg on the slopes; each hospital walks an intercept of its own and keeps it.

    For comparison alone: a kept intercept is un-noised state in every patient's gradient, so no
    patient-level sensitivity holds (``aggregation.rules.local_intercept``).
    """

    contract = Contract(
        "own intercepts",
        "for comparison",
        ContractUnit.UNPROTECTED,
        "the displacement of the slopes",
    )

    def start(self, dim: int) -> State:
        """Return the own intercept: 0."""
        return (np.zeros(1),)

    def local(self, state: State, call: Call) -> tuple[Vector, State]:
        """Walk from the shared slopes and the own intercept."""
        begun = replace(call, params=np.append(call.params[:-1], state[0]))
        walked = self.walked(state, begun)
        intercept = state[0] - call.rate * walked[-1:]
        return np.append(walked[:-1], 0.0), (intercept,)

    def advance(self, public: State, params: Vector, opening: Opened) -> tuple[Vector, State]:
        """Move the slopes."""
        return params - opening.rate * opening.total, public


def _own_intercepts(problem: LogisticProblem, steps: Steps) -> Trained:
    run = run_rule(problem, steps, OwnIntercepts(problem.shares))
    return {n: np.append(run.models[-1][:-1], s[0]) for n, s in run.states.items()}


TRAINERS: Mapping[str, Trainer] = {
    "local": lambda problem, _: {name: problem.alone(name).optimum for name in problem.names},
    "pooled": lambda problem, _: dict.fromkeys(problem.names, problem.optimum),
    "fedsgd": _by(lambda problem, _: FedSGD()),
    "fedavg": _by(lambda problem, _: FedAvg(problem.shares)),
    "fedprox": _by(lambda problem, _: FedProx(problem.shares)),
    "scaffold": _by(lambda problem, _: Scaffold(problem.shares)),
    "fednova": _by(_fednova),
    "feddyn": _by(lambda problem, _: FedDyn(problem.shares)),
    "qffl": _by(lambda problem, _: QFFL(problem.shares)),
    "agnostic": _agnostic,
    "importance": _importance,
    "fedadam": _by(_fedadam),
    "article": _by(_article),
    "own intercepts": _own_intercepts,
}


def trainer_of(name: str) -> Trainer:
    """Return how a rule is trained; one of another file with its own constants.

    Raises:
      InvalidInputError: No such rule, or one that needs constants that only its author knows.
    """
    if name in TRAINERS:
        return TRAINERS[name]
    kind = RULES.find(name)
    if any(each.default is MISSING and each.default_factory is MISSING for each in fields(kind)):  # type: ignore[arg-type]  # every rule is a dataclass
        raise InvalidInputError(
            f"The rule {name!r} has constants without a value, so it can't be compared by its name "
            "alone. Give each of them a default."
        )
    return _by(lambda problem, steps: kind())
