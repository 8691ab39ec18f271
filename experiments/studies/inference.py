"""What is inferred beside whole patients: who took part, an attribute, what concerns a hospital.

Fair coins say which patients of each hospital train; those who don't are the adversary's public
patients. Full batches of a perceptron, the same run for each question's own adversary:

``membership``   the public model: who trained? Half of all would be right by guessing
``attribute``    the public model: a person's sex, all else known; beside what an imputer knows
``prevalence``   the curious server: which share of a hospital's patients is ill
``property``     the curious server: which share of them are men

Where only sums are opened no update of a single hospital is seen, and the last two are *hidden*.
Noise for patients protects no statement about all of a hospital's patients: sealing does.

The proven bound stands beside membership: each person's coin is a secret of prior 1/2.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.box import SIMPLE
from rich.table import Table

from aggregation.data.patients import Patients, Schema
from aggregation.federation import Federation, Outcome
from aggregation.models import Perceptron
from aggregation.plan import Plan
from aggregation.releases import run_event
from attacks.inference.attributes import AttributeInference, impute
from attacks.inference.membership import Lira
from attacks.inference.property import property_share
from attacks.inference.whole_hospital import prevalence
from attacks.knowledge.features import features_of
from attacks.knowledge.priors import Prior
from attacks.scoring.rates import student_half_width
from attacks.views import GradientView, Name, observe, require
from experiments.cohorts import called, load
from experiments.run.record import Record
from experiments.studies.design import DELTA, RELATION, TRAINING, Design, Regime, make_plan
from privacy.errors import InvalidInputError, RefusedError
from privacy.reconstruction import success_bound

__all__ = ["SEEDS", "Answer", "InferencePoint", "Question", "grid", "table"]

SEEDS = 5
_WIDTH = 24
_SHADOWS = 32
_FEATURE = "sex"


class Question(StrEnum):
    """What is asked; the value is the name in records."""

    MEMBERSHIP = "membership"
    ATTRIBUTE = "attribute"
    PREVALENCE = "prevalence"
    PROPERTY = "property"

    @property
    def adversary(self) -> str:
        """Whose view answers."""
        return "public" if self in (Question.MEMBERSHIP, Question.ATTRIBUTE) else "curious server"

    @property
    def measure(self) -> str:
        """What the two numbers of an answer are."""
        people = self in (Question.MEMBERSHIP, Question.ATTRIBUTE)
        return "share of people named rightly" if people else "mean error of a hospital's share"


@dataclass(frozen=True)
class Answer:
    """One run's answer.

    Attributes:
      attack: What ``Question.measure`` says, of the attack; None where the view hides it.
      baseline: The same of who saw nothing of the run.
      bound: What is proven of any adversary; None where nothing is.
    """

    attack: float | None
    baseline: float
    bound: float | None = None


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

    question: Question
    design: Design
    epsilon: float | None
    cohort: str = "heart"
    seeds: tuple[int, ...] = tuple(range(SEEDS))
    code_version: int = 1

    @property
    def config(self) -> Mapping[str, Any]:
        """What names the record."""
        return {
            "experiment": "inference",
            "delta": DELTA,
            "width": _WIDTH,
            "shadows": _SHADOWS,
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

    def measure(self, unit: int, data_dir: Path | None) -> Answer:
        """Run once, and answer the question."""
        cohort = load(self.cohort, data_dir)
        rng = np.random.default_rng([81, unit])
        members = {name: rng.random(len(p)) < 0.5 for name, p in cohort.hospitals.items()}
        train = {name: p.take(members[name]) for name, p in cohort.hospitals.items()}
        public = Patients.together(p.take(~members[name]) for name, p in cohort.hospitals.items())
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
        if self.question is Question.MEMBERSHIP:
            everybody = Patients.together(cohort.hospitals.values())
            told = Lira(_SHADOWS, unit).scores(observe(outcome.transcript, "public"), everybody)
            right = (told > 0) == np.concatenate(list(members.values()))
            return Answer(float(right.mean()), 0.5, _bound(plan, train))
        if self.question is Question.ATTRIBUTE:
            return _attribute(
                outcome, Patients.together(train.values()), public, cohort.schema, unit
            )
        return self._of_hospitals(outcome, train, public, cohort.schema, rng)

    def _of_hospitals(
        self,
        outcome: Outcome,
        train: Mapping[str, Patients],
        public: Patients,
        schema: Schema,
        rng: np.random.Generator,
    ) -> Answer:
        """How far the curious server is off, and who takes the public patients' share."""
        if self.question is Question.PREVALENCE:
            truth = {name: float(p.outcomes.mean()) for name, p in train.items()}
            blind = float(public.outcomes.mean())
        else:
            feature = next(f for f in features_of(schema) if f.name == _FEATURE)
            has = {name: feature.codes(p.features) == 1 for name, p in train.items()}
            truth = {name: float(h.mean()) for name, h in has.items()}
            blind = float((feature.codes(public.features) == 1).mean())
        baseline = float(np.mean([abs(blind - share) for share in truth.values()]))
        position: Name = "server_sealed" if self.design is Design.SEALED else "server_plain"
        view = require(observe(outcome.transcript, position), GradientView, self.question)
        try:
            if self.question is Question.PREVALENCE:
                shares = prevalence(view, Prior.from_schema(schema), rng)
                told = {one.hospital: one.estimate for one in shares}
            else:
                answers = property_share(view.only(round_=0), feature, 1, public, rng)
                told = {one.hospital: one.estimate for one in answers}
        except RefusedError:  # no sum of a single hospital: what belongs to whom is hidden
            return Answer(None, baseline)
        return Answer(float(np.mean([abs(told[n] - truth[n]) for n in told])), baseline)

    def summarise(self, parts: list[Answer]) -> dict[str, Any]:
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
    """Every question about the designs without noise and at epsilon 1.

    Raises:
      InvalidInputError: An unknown question, or fewer than two seeds: an interval needs them.
    """
    if seeds < 2:
        raise InvalidInputError(f"Expected seeds={seeds} >= 2; an interval needs two runs.")
    unknown = sorted(set(questions) - set(Question))
    if unknown:
        raise InvalidInputError(f"Unknown questions {unknown}; choose of {', '.join(Question)}.")
    every = tuple(range(seed, seed + seeds))
    designs = (
        (Design.NONE, None),
        (Design.LOCAL, 1.0),
        (Design.SEALED, None),
        (Design.SEALED, 1.0),
    )
    return [
        InferencePoint(question, design, epsilon, cohort, every)
        for question in (map(Question, questions) if questions else Question)
        for design, epsilon in designs
    ]


def table(records: Sequence[Record]) -> Table:
    """One row a question and design: the attack beside who saw nothing, and the bound."""
    shown = Table(title="inferred beside whole patients", title_justify="left", box=SIMPLE)
    for heading in ("what", "by", "design", "epsilon", "attack", "seeing nothing", "bound"):
        shown.add_column(
            heading, justify="left" if heading in ("what", "by", "design") else "right"
        )
    for record in records:
        config, metrics = record.config, record.metrics
        attack = metrics["attack"]
        shown.add_row(
            config["question"],
            metrics["adversary"],
            config["design"],
            "inf" if config["epsilon"] is None else f"{config['epsilon']:g}",
            "hidden" if attack is None else _words(attack),
            _words(metrics["baseline"]),
            "" if metrics["bound"] is None else f"{math.ceil(metrics['bound'] * 1000) / 1000:.3f}",
        )
    return shown


def _attribute(
    outcome: Outcome, members: Patients, public: Patients, schema: Schema, seed: int
) -> Answer:
    prior = Prior.from_schema(schema)
    feature = next(f for f in prior.features if f.name == _FEATURE)
    truth = feature.codes(members.features)
    attack = AttributeInference(_FEATURE, Lira(_SHADOWS, seed))
    told = attack.infer(observe(outcome.transcript, "public"), members, public, prior)
    imputed = impute(feature, members, public).argmax(axis=1)
    return Answer(float((told == truth).mean()), float((imputed == truth).mean()))


def _bound(plan: Plan, train: Mapping[str, Patients]) -> float | None:
    """How often any adversary names a fair coin rightly; None without noise."""
    if plan.noise not in ("local", "shared"):
        return None
    smallest = min(train, key=lambda name: len(train[name]))
    return success_bound(run_event(plan, smallest), prior_success=0.5, relation=RELATION)


def _interval(values: Sequence[float]) -> dict[str, float]:
    sample: Float[np.ndarray, seeds] = np.array(values)
    half, mean = student_half_width(sample), float(sample.mean())
    # Shares and their errors lie between 0 and 1, and so does their mean.
    return {"value": mean, "lower": max(0.0, mean - half), "upper": min(1.0, mean + half)}


def _words(interval: Mapping[str, float]) -> str:
    return f"{interval['value']:.3f} ({interval['lower']:.3f}–{interval['upper']:.3f})"
