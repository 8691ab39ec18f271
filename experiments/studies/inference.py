"""What is inferred beside whole patients: who took part, an attribute, what concerns a hospital.

The strongest attack that each position has, and the published ones beside it, of full-batch runs of
a perceptron (``studies.questions`` has them all):

``public``           the final model: LiRA, RMIA, one regression on strangers; a person's sex
``buyer``            the final model's answers, to a whole per cent, and nothing of the model
``curious server``   all rounds: who took part, a person's sex, how many are ill, how many are men
``eavesdropper``     times and sizes: which hospital is the larger

Where only sums are opened no update of a single hospital is seen, and what belongs to one is
*hidden*; who took part is not. Noise for patients protects no statement about all of a hospital's
patients: sealing does.

The proven bound stands beside what is asked of a person: membership is a secret of prior 1/2; of an
attribute the imputer is taken for the best guess without the person's record.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.box import SIMPLE
from rich.table import Table

from aggregation.federation import Federation
from aggregation.models import Perceptron
from attacks.scoring.rates import student_half_width
from experiments.cohorts import called, load
from experiments.run.record import Record
from experiments.studies.design import DELTA, TRAINING, Design, Regime, make_plan
from experiments.studies.questions import DIGITS, SHADOWS, CoinRun, Inferred, QuestionKind, answer
from privacy.errors import InvalidInputError

__all__ = ["SEEDS", "InferencePoint", "grid", "table"]

SEEDS = 5
_WIDTH = 24


@dataclass(frozen=True)
class InferencePoint:
    """One question about one design.

    Attributes:
      question: What is asked.
      design: Of the federation.
      epsilon: Of the whole run; None: no noise.
      cohort: Whose patients.
      seeds: One draw of coins, one run each.
      code_version: Raised when a change moves the numbers.
    """

    question: QuestionKind
    design: Design
    epsilon: float | None
    cohort: str = "heart"
    seeds: tuple[int, ...] = tuple(range(SEEDS))
    code_version: int = 2

    @property
    def config(self) -> Mapping[str, Any]:
        """What names the record."""
        return {
            "experiment": "inference",
            "delta": DELTA,
            "width": _WIDTH,
            "shadows": SHADOWS,
            "digits": DIGITS,
            "setting": asdict(TRAINING[Regime.FULL, "mlp"]),
            **asdict(self),
        }

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        epsilon = "inf" if self.epsilon is None else f"{self.epsilon:g}"
        return f"inference, {called(self.cohort)}: {self.question} {self.design} eps={epsilon}"

    @property
    def units(self) -> tuple[int, ...]:
        """Seeds."""
        return self.seeds

    def measure(self, unit: int, data_dir: Path | None) -> Inferred:
        """Run once, and answer the question."""
        cohort = load(self.cohort, data_dir)
        rng = np.random.default_rng([81, unit])
        members = {name: rng.random(len(p)) < 0.5 for name, p in cohort.hospitals.items()}
        train = {name: p.take(members[name]) for name, p in cohort.hospitals.items()}
        plan = make_plan(
            run=f"inference-{self.question}-{unit}",
            design=self.design,
            epsilon=math.inf if self.epsilon is None else self.epsilon,
            model=Perceptron(len(cohort.schema), _WIDTH),
            setting=TRAINING[Regime.FULL, "mlp"],
            patients=train,
            scheme="plain",  # opens to the same integers as the schemes that hide
            model_seed=unit,
        )
        outcome = Federation.simulated(plan, train, seed=(unit, 0)).run()
        sealed = self.design is Design.SEALED
        case = CoinRun(plan, outcome, cohort.hospitals, members, cohort.schema, sealed, unit)
        return answer(self.question, case)

    def summarise(self, parts: list[Inferred]) -> dict[str, Any]:
        """Means over seeds with Student's intervals; coins and noise are drawn anew in each."""
        hidden = sum(part.attack is None for part in parts)
        attacks = [part.attack for part in parts if part.attack is not None]
        bounds = [part.bound for part in parts if part.bound is not None]
        return {
            "adversary": self.question.adversary,
            "measure": self.question.measure,
            "hidden": hidden,
            "attack": _interval(attacks) if not hidden else None,
            "baseline": _interval([part.baseline for part in parts]),
            "bound": max(bounds, default=None),
        }


def grid(
    seed: int = 0, *, cohort: str = "heart", seeds: int = SEEDS, questions: Sequence[str] = ()
) -> list[InferencePoint]:
    """Every question about the designs without noise and at epsilon 1 (``article``: an upload's).

    Raises:
      InvalidInputError: An unknown question, or fewer than two seeds: an interval needs them.
    """
    if seeds < 2:
        raise InvalidInputError(f"Expected seeds={seeds} >= 2; an interval needs two runs.")
    unknown = sorted(set(questions) - set(QuestionKind))
    if unknown:
        raise InvalidInputError(
            f"Unknown questions {unknown}; choose of {', '.join(QuestionKind)}."
        )
    every = tuple(range(seed, seed + seeds))
    return [
        InferencePoint(question, design, epsilon, cohort, every)
        for question in (map(QuestionKind, questions) if questions else QuestionKind)
        for design in question.designs
        for epsilon in _epsilons(question, design)
    ]


def _epsilons(question: QuestionKind, design: Design) -> tuple[float | None, ...]:
    """None: no noise."""
    if design is Design.NONE or question is QuestionKind.OWN_PACE:
        return (None,)
    return (None, 1.0) if design is Design.SEALED else (1.0,)


def table(records: Sequence[Record]) -> Table:
    """One row a question and design: the attack beside who saw nothing, and the bound."""
    shown = Table(
        title="inferred beside whole patients",
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    left_aligned = ("what, by whom", "design", "eps")
    for heading in (*left_aligned, "attack", "no view", "bound"):
        wraps = heading == left_aligned[0]  # what is piped is 80 columns wide
        shown.add_column(
            heading, justify="left" if heading in left_aligned else "right", no_wrap=not wraps
        )
    for record in records:
        config, metrics = record.config, record.metrics
        attack, bound = metrics["attack"], metrics["bound"]
        shown.add_row(
            f"{QuestionKind(config['question']).words}, {metrics['adversary']}",
            config["design"],
            "inf" if config["epsilon"] is None else f"{config['epsilon']:g}",
            "hidden" if attack is None else _words(attack),
            f"{metrics['baseline']['value']:.3f}",
            "none" if bound is None else f"{math.ceil(bound * 1000) / 1000:.3f}",
        )
    return shown


def _interval(values: Sequence[float]) -> dict[str, float]:
    sample: Float[np.ndarray, seeds] = np.array(values)
    half, mean = student_half_width(sample), float(sample.mean())
    # Shares and their errors lie between 0 and 1, and so does their mean.
    return {"value": mean, "lower": max(0.0, mean - half), "upper": min(1.0, mean + half)}


def _words(interval: Mapping[str, float]) -> str:
    return f"{interval['value']:.3f} ({interval['lower']:.3f}–{interval['upper']:.3f})"
