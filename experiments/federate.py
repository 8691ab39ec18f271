"""One real federation: sealed sums, noise of the operating system, ledgers that last, a model.

What ``inpatient train`` does, and the second half of ``inpatient demo``. With an evaluation round,
some patients of each hospital are held out of the training, and counted after it.
"""

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from aggregation.card import LANGUAGES, card
from aggregation.correlation import Correlation
from aggregation.data.patients import Patients
from aggregation.evaluation import (
    Evaluated,
    binned,
    evaluation_plan,
    opened_counts,
    part,
    score_edges,
)
from aggregation.federation import Federation
from aggregation.models import Counts, Inputs, named_model
from aggregation.plan import Plan
from aggregation.releases import run_event
from aggregation.trained import Trained
from experiments.cohorts import Cohort
from experiments.run.record import stamp
from experiments.studies.design import (
    WIDTH,
    Design,
    Regime,
    TrainingSetting,
    make_plan,
    training_of,
)
from privacy._validate import natural
from privacy.errors import InvalidInputError, RefusedError
from privacy.report import EvaluationResult, save_evidence

__all__ = ["Wanted", "deploy", "settle"]


@dataclass(frozen=True)
class Wanted:
    """What is to be trained.

    Attributes:
      epsilon: Of all that the run releases, the evaluation included.
      model: As in ``named_model``.
      regime: Of ``Regime``: how many patients take part in a round.
      evaluate: Epsilon of an evaluation round, below ``epsilon``; None: there is none.
      held_out: Fraction of patients held out for it.
      bins: Score bins of the round.
      pass_rounds: Rounds of a pass in which each patient takes part once; None: as ``regime`` says.
      correlated: How each hospital's own noise is correlated over rounds; None: it is shared, and
        independent.
    """

    epsilon: float
    model: str = "logistic"
    regime: Regime = Regime.FULL
    evaluate: float | None = None
    held_out: float = 0.2
    bins: int = 8
    pass_rounds: int | None = None
    correlated: Correlation | None = None

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < float("inf"):
            raise InvalidInputError(
                f"Expected a finite epsilon={self.epsilon} > 0: a real run protects patients."
            )
        if self.evaluate is not None and not 0 < self.evaluate < self.epsilon:
            raise InvalidInputError(
                f"Expected evaluate={self.evaluate} above 0 and below the whole epsilon "
                f"{self.epsilon:g}, of which it is a part."
            )
        if not 0 < self.held_out < 1:
            raise InvalidInputError(f"Expected held_out={self.held_out} between 0 and 1.")
        if self.pass_rounds is not None:
            natural(pass_rounds=self.pass_rounds, least=2)
        elif self.correlated is not None and self.regime is Regime.SMALL:
            raise InvalidInputError(
                f"Expected no correlated={self.correlated.told} noise where patients are drawn "
                f"anew for every round (regime={self.regime}): for that no cost is proved. Choose "
                "the regime full, or give pass_rounds: one fixed round of each pass."
            )

    @property
    def training(self) -> TrainingSetting:
        """How it is trained."""
        setting = training_of(self.regime, self.model)
        return setting if self.pass_rounds is None else setting.in_passes(self.pass_rounds)


def settle(out: Path, console: Console) -> None:
    """Make room for a federation: one that was cut short is set aside whole, and never deleted.

    What its ledgers released stays spent, so it can be neither overwritten nor believed. What is
    left of one that had ended is moved to its place.
    """
    running = out / _RUNNING
    if (running / _LAST).exists():
        _publish(out)
    elif running.exists():
        number = next(n for n in itertools.count(1) if not (out / f"cut-short-{n}").exists())
        aside = running.rename(out / f"cut-short-{number}")
        console.print(
            f"An earlier federation was cut short. It is kept in {aside}: what it released stays "
            "spent, so a new one adds to it."
        )
    elif (out / "ledgers").exists() and not (out / _LAST).exists():
        raise InvalidInputError(
            f"{out} holds the ledgers of a run that was cut short. What they spent stays spent, so "
            "they are never overwritten; move them elsewhere, or choose another folder with --out."
        )


def deploy(
    out: Path, cohort: Cohort, console: Console, wanted: Wanted, ledgers: Path | None = None
) -> None:
    """Run one federation on all patients, or leave the one that ``out`` holds as it is.

    It grows in a folder of its own, whose content gets its place when all of it is there: an
    interrupted federation never looks like a whole one.
    """
    if (out / _LAST).exists():
        console.print("The federation of an earlier run is there already; it is verified again.")
        return
    run = f"{cohort.name[:30]}-{secrets.token_hex(4)}"  # two runs on one ledger differ
    _check_hospitals(cohort, wanted)
    train, held = _parted(cohort.hospitals, wanted, run)
    plan = _planned(run, cohort, wanted, train, held)
    earlier = len([*out.glob("cut-short-*")])
    context = {
        "cohort": f"{cohort.name} (UCI heart disease)" if cohort.name == "heart" else cohort.name,
        "patients": _sizes(cohort.hospitals, held),
        **_repeats(cohort),
        "model": f"{plan.model.kind}, {plan.model.dim} parameters",
        "commit": _commit(),
        **({"cut short before": str(earlier)} if earlier else {}),
    }
    running = out / _RUNNING
    federation = Federation.real(
        plan, train, out=running, ledgers=ledgers, target_epsilon=wanted.epsilon, context=context
    )
    round_ = None
    if held is not None:
        round_ = _Evaluation.agreed(federation, held, wanted, running, ledgers, context)
    with console.status("training") as status:
        outcome = federation.run(lambda done: status.update(f"round {done} of {plan.rounds}"))
    trained = Trained.of(federation.plan, outcome.params, cohort.schema)
    evaluated = None
    if round_ is not None:
        with console.status("evaluating"):
            evaluated = round_.run(trained)
    _hand_out(running, federation.plan, trained, evaluated, cohort.repeats.records)
    federation.save(running)
    _publish(out)
    wraps = federation.wrap_probability()
    if evaluated is not None and round_ is not None:
        wraps += round_.federation.wrap_probability()
        auc = evaluated.figures["AUC"]
        value = "drowned by the noise" if auc.value is None else f"{auc.value:.3f}"
        console.print(
            f"Evaluation round at epsilon {wanted.evaluate:g} on "
            f"{sum(evaluated.plan.declared_sizes)} held-out patients: AUC {value} "
            f"(95 % interval {auc.lower:.3f} to {auc.upper:.3f}, noise included)."
        )
    else:
        console.print("AUC and calibration: not measured (no evaluation round).")
    console.print(
        f"{plan.rounds} rounds; an opened sum wrapped with probability at most "
        f"{max(wraps, 1e-300):.0e}."
    )


def _check_hospitals(cohort: Cohort, wanted: Wanted) -> None:
    most = cohort.repeats.hospitals
    if most > 1 and (wanted.pass_rounds is not None or wanted.correlated is not None):
        correlation = None if wanted.correlated is None else wanted.correlated.told
        raise RefusedError(
            f"A patient of {cohort.name} may stand in {most} hospitals, and what is proved of "
            "passes and of correlated noise is of patients of one (pass_rounds="
            f"{wanted.pass_rounds}, correlated={correlation}). Leave them out."
        )


def _parted(
    hospitals: Mapping[str, Patients], wanted: Wanted, run: str
) -> tuple[dict[str, Patients], dict[str, Patients] | None]:
    """Who trains, and who is held out; None: there is no evaluation, all train."""
    if wanted.evaluate is None:
        return dict(hospitals), None
    parts = {
        name: part(patients, wanted.held_out, run=run, hospital=name)
        for name, patients in hospitals.items()
    }
    train = {name: one for name, (one, _) in parts.items()}
    if empty := [name for name, one in train.items() if len(one) == 0]:
        raise InvalidInputError(
            f"All patients of {', '.join(empty)} would be held out. Lower --held-out, or leave "
            "these hospitals out."
        )
    return train, {name: other for name, (_, other) in parts.items()}


def _planned(
    run: str,
    cohort: Cohort,
    wanted: Wanted,
    train: Mapping[str, Patients],
    held: Mapping[str, Patients] | None,
) -> Plan:
    """The training's plan: with its evaluation it costs ``wanted.epsilon`` and no more."""
    made = partial(
        make_plan,
        run=run,
        design=Design.SEALED,
        epsilon=wanted.epsilon,
        model=named_model(wanted.model, Inputs.of(cohort.schema), width=WIDTH),
        setting=wanted.training,
        patients=train,
        patient_hospitals=cohort.repeats.hospitals,
        pass_rounds=wanted.pass_rounds,
        correlated=wanted.correlated,
    )
    plan = made()
    if held is None or wanted.evaluate is None:
        return plan
    counting = evaluation_plan(plan, _declared(held), epsilon=wanted.evaluate, bins=wanted.bins)
    return made(beside=run_event(counting, plan.hospitals[0]))


def _declared(held: Mapping[str, Patients]) -> tuple[int, ...]:
    return tuple(max(1, patients.count) for patients in held.values())


@dataclass(frozen=True)
class _Evaluation:
    """An evaluation round that is declared in every ledger, and waits for the model."""

    federation: Federation
    held: Mapping[str, Patients]
    out: Path

    @classmethod
    def agreed(
        cls,
        training: Federation,
        held: Mapping[str, Patients],
        wanted: Wanted,
        running: Path,
        ledgers: Path | None,
        context: Mapping[str, str],
    ) -> "_Evaluation":
        """Declare both plans before the first release: together they cost what was calibrated."""
        plan = evaluation_plan(
            training.plan, _declared(held), epsilon=wanted.evaluate or 0.0, bins=wanted.bins
        )
        nobody = Patients(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))
        out = running / "evaluation"
        federation = Federation.real(
            plan,
            dict.fromkeys(plan.hospitals, nobody),
            out=out,
            ledgers=ledgers or running,
            target_epsilon=wanted.epsilon,
            context={**context, "evaluates": training.plan.run},
        )
        training.join()
        federation.join()
        return cls(federation, held, out)

    def run(self, trained: Trained) -> Evaluated:
        """Score, count, seal and open: each hospital's scores stay where they are."""
        plan, counts = self.federation.plan, self.federation.plan.model
        if not isinstance(counts, Counts):
            raise InvalidInputError("An evaluation's plan counts; this one does not.")
        edges = score_edges(trained.model, trained.params, trained.schema, counts.bins)
        self.federation.admit(
            {
                name: binned(
                    patients,
                    trained.model.scores(trained.params, patients.features, slots=patients.slots),
                    edges,
                    counts,
                    name,
                )
                for name, patients in self.held.items()
            }
        )
        outcome = self.federation.run()
        self.federation.save(self.out)
        # Who is held out at one hospital may train at another.
        disjoint = plan.patient_hospitals == 1
        return Evaluated(plan, opened_counts(plan, outcome.opened[0], edges), disjoint)


def _hand_out(
    out: Path, plan: Plan, trained: Trained, evaluated: Evaluated | None, records: int
) -> None:
    """Write ``model/`` with its cards, and what was measured for the auditor's page."""
    folder = trained.save(out / "model")
    for language in LANGUAGES:
        text = card(plan, trained.schema, language, evaluated, records=records)
        (folder / f"card.{language}.md").write_text(text, encoding="utf-8")
    if evaluated is None:
        return
    evaluated.save(folder)
    (out / "evidence").mkdir(exist_ok=True)
    held_out, cost = sum(evaluated.plan.declared_sizes), evaluated.epsilon
    figures = [
        EvaluationResult(
            name, one.value, one.lower, one.upper, one.confidence, held_out,
            cost, evaluated.plan.delta, evaluated.disjoint,
        )
        for name, one in evaluated.figures.items()
        if name in ("AUC", "observed less predicted")
    ]  # fmt: skip
    save_evidence(out / "evidence" / "evaluation.json", figures)


_RUNNING = "running"
_LAST = "manifest.json"  # written last, moved last: where it is, all is


def _publish(out: Path) -> None:
    """Move a whole federation to its place; may be cut short anywhere, and called again."""
    running = out / _RUNNING
    for one in sorted(running.iterdir(), key=lambda path: path.name == _LAST):
        one.rename(out / one.name)
    running.rmdir()


def _sizes(hospitals: Mapping[str, Patients], held: Mapping[str, Patients] | None) -> str:
    sizes = {name: patients.count for name, patients in hospitals.items()}
    summary = f"{sum(sizes.values())}: " + ", ".join(f"{name} {n}" for name, n in sizes.items())
    return (
        summary
        if held is None
        else f"{summary}; {sum(p.count for p in held.values())} of them held out"
    )


def _repeats(cohort: Cohort) -> dict[str, str]:
    """What the auditor is told of patients that stand more than once."""
    if not cohort.repeats.any:
        return {}
    return {"a patient's records": f"at most {cohort.repeats.records}"}


def _commit() -> str:
    code_stamp = stamp()
    return f"{code_stamp['commit']}{'-dirty' if code_stamp['dirty'] else ''}"
