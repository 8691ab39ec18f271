"""One point of the frontier: train, evaluate and attack the very same runs.

A point is a design at an epsilon in a regime. It is cross-validated (a simulated network is tested
on the next draw of its patients); every fold is one federation whose transcript gives both numbers:
the AUC of its final model on the fold's test patients, and the risk of its training patients
(``studies.lineups``). ``studies.frontier.metrics`` turns the folds into the record's metrics.

Two designs are no federation and are attacked by nobody: ``pooled`` puts all patients in one place,
where whoever keeps them reads them (the ceiling of the AUC), and under ``local only`` each hospital
trains alone and nothing leaves it (the floor of the risk).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from aggregation.correlation import Correlation
from aggregation.data.patients import Patients
from aggregation.federation import Federation, Outcome
from aggregation.models import Inputs, named_model
from aggregation.plan import Plan
from aggregation.rules.local_intercept import fit_intercept
from attacks.views import Name
from experiments.cohorts import Cohort, Network, called, folds_by_hospital, load
from experiments.studies.design import (
    DELTA,
    WIDTH,
    Design,
    Regime,
    TrainingSetting,
    make_plan,
    training_of,
)
from experiments.studies.lineups import AttackSuite, Trial, attack_round
from experiments.studies.named_models import called_model, identity
from experiments.studies.people import (
    LINEUP,
    LineUp,
    LineUpFold,
    of_next_draw,
    seated,
    with_line_ups,
)
from privacy.errors import InvalidInputError
from privacy.ledger.log.canonical import digest
from privacy.names import LONGEST_NAME

__all__ = ["KEY_HOLDER", "NETWORK", "FoldResult", "FrontierPoint", "measure", "network_of"]

KEY_HOLDER = "key_holder"
NETWORK = "network-"
_TIER3 = 0.25  # of a network's hospitals
_ALL = "all patients"  # the one place of pooled training
_DESCENDING = frozenset({"fedavg", "tableak"})
_DESCENT_VERSION = 2  # raised when a descent's numbers move; points of other attacks keep names
_RUNS_VERSION = 2  # likewise of what is told of several cross-validations


def network_of(cohort: str, seed: int) -> Network:
    """Return the simulated network that a cohort ``network-N`` names."""
    return Network(int(cohort.removeprefix(NETWORK)), 1.0, seed, tier3_fraction=_TIER3)


@dataclass(frozen=True)
class FrontierPoint:
    """One point; its fields are the record's key.

    Attributes:
      design: Who adds which noise, and who opens.
      epsilon: Of the whole run (``article``: of each upload; ``pooled``: of what the pool's keeper
        publishes); None: no noise.
      regime: ``full`` (all patients in every round) or ``small`` (about 8 a hospital).
      model: As in ``named_model``; of a module's file the record keeps a short name and a digest.
      attacks: The attacks, each tried on every fold.
      seeds: One cross-validation each; of a network, one network each.
      folds: Folds of a cross-validation; 1 for a network.
      colluders: Hospitals whose share of the noise does not count.
      width: Hidden units of the perceptron.
      scheme: How sums are sealed; ``plain`` opens to the same integers.
      cohort: ``network-N`` with N simulated hospitals, or what ``experiments.cohorts.load`` takes;
        an own cohort's is ``NAME@KEY``, so that changed patients never meet old numbers.
      local_steps: Of a hospital in a round; more than 1 is FedAvg, at the same steps in all.
      sees: ``key_holder``: who could open single updates did; None: the curious server.
      setting: How it is trained; None: as ``studies.design`` has it.
      ablation: What is varied, where this is a point of an ablation.
      unseen: Whether hospitals are folded instead of patients: each is tested by models that never
        saw it. Not in the key where it is False, as the published points have it.
      pass_rounds: As in ``Plan``; neither this nor the next is in the key where it is None.
      correlated: As in ``Plan``.
      code_version: Raised when a change moves the numbers.
    """

    design: Design
    epsilon: float | None
    regime: Regime
    model: str
    attacks: AttackSuite
    seeds: tuple[int, ...] = (0,)
    folds: int = 5
    colluders: int = 1
    width: int = WIDTH
    scheme: str = "shares"
    cohort: str = "heart"
    local_steps: int = 1
    sees: str | None = None
    setting: TrainingSetting | None = None
    ablation: str | None = None
    unseen: bool = False
    pass_rounds: int | None = None
    correlated: Correlation | None = None
    code_version: int = 4

    @property
    def config(self) -> dict[str, Any]:
        """The record's config: the fields, how the model is trained, and which descent attacks."""
        descends = _DESCENDING.intersection(self.attacks.attacks)
        fields = asdict(self)
        for name in ("unseen", "pass_rounds", "correlated"):
            if not fields[name]:
                del fields[name]
        return {
            **fields,
            **identity(self.model),
            "experiment": "frontier",
            "delta": DELTA,
            "lineup": LINEUP,
            "setting": asdict(self.training),
            **({"descent_version": _DESCENT_VERSION} if descends else {}),
            **({"runs_version": _RUNS_VERSION} if len(self.seeds) > 1 else {}),
        }

    @property
    def training(self) -> TrainingSetting:
        """How it is trained: walks of several steps take fewer rounds."""
        chosen = self.setting or training_of(self.regime, self.model)
        if self.pass_rounds is not None:
            chosen = chosen.in_passes(self.pass_rounds)
        return replace(
            chosen,
            rounds=max(1, chosen.rounds // self.local_steps),
            average_last=max(1, chosen.average_last // self.local_steps),
        )

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        epsilon = "inf" if self.epsilon is None else f"{self.epsilon:g}"
        walks = "" if self.local_steps == 1 else f" steps={self.local_steps}"
        varied = "" if self.ablation is None else f" ({self.ablation})"
        varied += " (unseen)" if self.unseen else ""
        varied += self.rounds_together
        whose = f"{called(self.cohort)} {self.regime} {called_model(self.model)}{walks}"
        return f"{whose} {self.design} eps={epsilon}{varied}"

    @property
    def rounds_together(self) -> str:
        """What belongs together over rounds, in short; empty where nothing does."""
        passes = "" if self.pass_rounds is None else f" passes={self.pass_rounds}"
        return passes + ("" if self.correlated is None else f" {self.correlated.told}")

    @property
    def adversary(self) -> Name:
        """Whose view is attacked: the curious server's, who sees updates or sums by the design."""
        single = self.sees == KEY_HOLDER or self.design is not Design.SEALED
        return "server_plain" if single else "server_sealed"

    @property
    def units(self) -> list[tuple[int, int]]:
        """Seed and fold of each federation."""
        return list(product(self.seeds, range(self.folds)))

    def split(
        self, seed: int, fold: int, data_dir: Path | None = None
    ) -> tuple[Cohort, LineUpFold]:
        """Return the cohort and one of its splits, with its line-ups."""
        if self.cohort.startswith(NETWORK):
            network = network_of(self.cohort, seed)
            cohort = network.cohort(self.cohort)
            return cohort, of_next_draw(cohort, network.fold(), seed=seed)
        cohort = load(self.cohort, data_dir)
        if self.unseen:
            whole = folds_by_hospital(cohort, count=self.folds, seed=seed)[fold]
            return cohort, LineUpFold(whole.train, whole.test, whole.pooled)
        return cohort, with_line_ups(cohort, count=self.folds, seed=seed)[fold]

    def seated(
        self, plan: Plan, split: LineUpFold, seed: int, fold: int
    ) -> tuple[dict[str, Patients], tuple[LineUp, ...]]:
        """Return who trains, in the order of the tables, and the line-ups that are shown."""
        return seated(plan, split.train, split.lineups, seed=(seed, fold))

    def measure(self, unit: tuple[int, int], data_dir: Path | None = None) -> "FoldResult":
        """Run one fold of one seed."""
        return measure(self, *unit, data_dir)

    def summarise(self, parts: list["FoldResult"]) -> dict[str, Any]:
        """The record's metrics."""
        from experiments.studies.frontier.metrics import summarise

        return summarise(self, parts)

    def plan(
        self,
        patients: Mapping[str, Patients],
        *,
        seed: int,
        fold: int,
        hospitals: int = 1,
        inputs: Inputs | None = None,
    ) -> Plan:
        """The plan of one fold.

        Args:
          patients: Who is trained on, by hospital.
          seed: Of the cross-validation.
          fold: Its number.
          hospitals: Whose patients lie in one pool (``pooled``): a round draws as many as theirs.
          inputs: The columns, as a torch module is told them; None: no groups.
        """
        inputs = inputs or Inputs(next(iter(patients.values())).features.shape[1])
        first = seed * 1_000 + fold
        setting = self.training
        design = Design.NONE if self.design is Design.LOCAL_ONLY else self.design
        if self.design is Design.POOLED:
            design = Design.NONE if self.epsilon is None else Design.LOCAL
            if setting.sampling_size is not None:
                setting = replace(setting, sampling_size=setting.sampling_size * hospitals)
        return make_plan(
            run=_run_name(self.label, seed, fold),
            design=design,
            epsilon=math.inf if self.epsilon is None else self.epsilon,
            model=named_model(self.model, inputs, width=self.width, seed=first),
            setting=setting,
            patients=patients,
            colluders=self.colluders,
            scheme=self.scheme,
            local_steps=self.local_steps,
            model_seed=first,
            pass_rounds=self.pass_rounds,
            correlated=self.correlated,
        )


@dataclass(frozen=True)
class FoldResult:
    """What one fold of one seed gave.

    Attributes:
      seed: Of the cross-validation.
      fold: Its number.
      plan: What was run; of hospitals that train alone, the first one's.
      scores: The test patients' log-odds, by hospital.
      test: The test patients, by hospital.
      intercepts: What each hospital fitted to its own training patients and kept.
      trials: Every line-up before every attack.
      pooled: Tested hospitals that are too small to be ranked apart.
      unmeasured: Strata too small for a line-up (``studies.people``).
      published: The test patients' published scores, by hospital; empty where the cohort has none.
    """

    seed: int
    fold: int
    plan: Plan
    scores: Mapping[str, Float[np.ndarray, "patients"]]
    test: Mapping[str, Patients]
    intercepts: Mapping[str, float]
    trials: tuple[Trial, ...]
    pooled: tuple[str, ...] = field(default=(), kw_only=True)
    unmeasured: tuple[str, ...] = field(default=(), kw_only=True)
    published: Mapping[str, Float[np.ndarray, "patients"]] = field(
        default_factory=dict, kw_only=True
    )


def measure(point: FrontierPoint, seed: int, fold: int, data_dir: Path | None = None) -> FoldResult:
    """Run one fold of one seed: one federation, its scores, its attacks."""
    cohort, split = point.split(seed, fold, data_dir)
    inputs = Inputs.of(cohort.schema)
    trials: tuple[Trial, ...] = ()
    if point.design is Design.LOCAL_ONLY:
        if point.unseen:
            raise InvalidInputError(
                f"The design {point.design.value!r} has no model for a hospital that it never saw; "
                "fold by patient, or leave it out."
            )
        # A hospital of which nobody is tested would train for nothing.
        alone = {n: _run(point, {n: split.train[n]}, inputs, seed, fold) for n in split.test}
        plan = next(iter(alone.values()))[0]
        params = {name: outcome.params for name, (_, outcome) in alone.items()}
    elif point.design is Design.POOLED:
        pool = {_ALL: Patients.together(split.train.values())}
        plan, outcome = _run(point, pool, inputs, seed, fold, hospitals=len(split.train))
        params = dict.fromkeys((*split.train, *split.test), outcome.params)
    else:
        plan = point.plan(split.train, seed=seed, fold=fold, inputs=inputs)
        patients, lineups = point.seated(plan, split, seed, fold)
        outcome = Federation.simulated(plan, patients, seed=(seed, fold)).run()
        params = dict.fromkeys((*split.train, *split.test), outcome.params)
        trials = attack_round(
            point.attacks,
            outcome,
            lineups,
            cohort.schema,
            adversary=point.adversary,
            seed=(seed, fold),
        )
    return FoldResult(
        seed=seed,
        fold=fold,
        plan=plan,
        scores={n: plan.model.scores(params[n], t.features) for n, t in split.test.items()},
        test=split.test,
        intercepts={
            name: fit_intercept(plan.model.scores(params[name], p.features), p.outcomes)
            for name, p in split.train.items()
            if name in params
        },
        trials=trials,
        pooled=split.pooled,
        unmeasured=split.unmeasured,
        published={
            n: cohort.schema.scores(t.features)
            for n, t in split.test.items()
            if cohort.schema.score
        },
    )


def _run(
    point: FrontierPoint,
    patients: Mapping[str, Patients],
    inputs: Inputs,
    seed: int,
    fold: int,
    hospitals: int = 1,
) -> tuple[Plan, Outcome]:
    plan = point.plan(patients, seed=seed, fold=fold, hospitals=hospitals, inputs=inputs)
    return plan, Federation.simulated(plan, patients, seed=(seed, fold)).run()


def _run_name(label: str, seed: int, fold: int) -> str:
    """The label with its seed and fold; of one too long for a name, the beginning of its digest."""
    full = f"{label} seed={seed} fold={fold}"
    if len(full) <= LONGEST_NAME:
        return full
    return f"point {digest(label.encode())[:16]} seed={seed} fold={fold}"
