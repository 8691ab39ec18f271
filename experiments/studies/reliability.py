r"""Whether the likelihood ratio is right as often as it says: reliability, and a temper for it.

The ratio is calibrated where the public law is the patients' own; on real tables it is not, and
says more than it knows. Here is told how often it names the one who trained, by how sure it was,
with intervals by fold.

**Tempered.** An adversary who wants to be right about how sure it is divides its log-likelihoods by
one number, T. It may fit T on *simulated* hospitals alone (``cohorts.network``), whose schema is
public and whose patients are not drawn from the prior either, by the likelihood of who trained (Guo
et al. 2017, *On Calibration of Modern Neural Networks*, section 4.2). A temper changes no answer,
only how sure it is; so no risk of the frontier moves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.table import Table

from aggregation.federation import Federation
from attacks import Prior, observe
from attacks.informed.candidates import posterior
from attacks.scoring.rates import success_rate
from attacks.views import GradientView, require
from experiments.run.record import Record
from experiments.studies import likelihoods
from experiments.studies.design import TRAINING, Design, Regime
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.lineups import AttackSuite
from experiments.studies.people import targets_of
from privacy._validate import natural
from privacy.errors import InvalidInputError

__all__ = ["EDGES", "ReliabilityPoint", "fitted_temper", "grid", "reliability", "table"]

EDGES = (0.0, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0)
"""How sure the ratio was: probability of the one it named, by what it says is parted here."""
_TEMPERS = tuple(float(t) for t in np.geomspace(1, 1000, 61))
_SIMULATED = "network-4"


@dataclass(frozen=True)
class JudgedFold:
    """Line-ups before the ratio, of one fold.

    Attributes:
      logs: Its log-likelihoods ``[lineups, people]``.
      targets: The places of those who trained.
      batch: The fold.
    """

    logs: Float[np.ndarray, "lineups people"]
    targets: NDArray[np.int64]
    batch: str


@dataclass(frozen=True)
class ReliabilityPoint:
    """One design whose line-ups are judged.

    Attributes:
      design: Of the federation.
      epsilon: Of the whole run; None: no noise.
      regime: Full or small batches.
      model: ``logistic`` or ``mlp``.
      seeds: One cross-validation each.
      cohort: Whose patients are judged.
      code_version: Raised when a change moves the numbers.
    """

    design: Design
    epsilon: float | None
    regime: Regime
    model: str
    seeds: tuple[int, ...] = (0,)
    cohort: str = "heart"
    code_version: int = 1

    @property
    def config(self) -> Mapping[str, Any]:
        """What names the record."""
        setting = asdict(TRAINING[self.regime, self.model])
        return {"experiment": "reliability", "simulated": _SIMULATED, "setting": setting,
                **asdict(self)}  # fmt: skip

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        return f"reliability: {self._point(self.cohort).label}"

    @property
    def units(self) -> list[tuple[str, int, int]]:
        """Cohort, seed and fold: those that are judged, and those the temper is fitted on."""
        real = [(self.cohort, *unit) for unit in self._point(self.cohort).units]
        return real + [(_SIMULATED, *unit) for unit in self._point(_SIMULATED).units]

    def _point(self, cohort: str) -> FrontierPoint:
        made = FrontierPoint(
            self.design, self.epsilon, self.regime, self.model, AttackSuite(()), self.seeds,
            scheme="plain", cohort=cohort,
        )  # fmt: skip
        if cohort != _SIMULATED:
            return made
        return replace(made, folds=1, seeds=tuple(range(100, 103)))  # networks of no other study

    def measure(self, unit: tuple[str, int, int], data_dir: Path | None) -> JudgedFold:
        """Run one fold, and let the ratio judge its line-ups."""
        cohort_name, seed, fold = unit
        point = self._point(cohort_name)
        cohort, split = point.split(seed, fold, data_dir)
        plan = point.plan(split.train, seed=seed, fold=fold)
        people, lineups = point.seated(plan, split, seed, fold)
        outcome = Federation.simulated(plan, people, seed=(seed, fold)).run()
        view = require(observe(outcome.transcript, point.adversary), GradientView, "reliability")
        logs = likelihoods.of_public(view, Prior.from_schema(cohort.schema), lineups)
        return JudgedFold(logs, targets_of(lineups), f"{cohort_name}/{seed}/{fold}")

    def summarise(self, parts: list[JudgedFold]) -> dict[str, Any]:
        """The reliability as it stands, and with the temper that simulated hospitals tell."""
        simulated = [one for one in parts if one.batch.startswith(_SIMULATED)]
        real = [one for one in parts if not one.batch.startswith(_SIMULATED)]
        temper = fitted_temper(simulated)
        return {
            "temper": temper,
            "as it is": reliability(real, 1.0),
            "tempered": reliability(real, temper),
            "simulated": reliability(simulated, 1.0),
        }


def fitted_temper(judged: Sequence[JudgedFold]) -> float:
    """Return the number, at least 1, that log-likelihoods are divided by to be likeliest right.

    Raises:
      InvalidInputError: No line-up.
    """
    if not any(len(one.targets) for one in judged):
        raise InvalidInputError("A temper is fitted on line-ups; there is none.")

    def mean_log(temper: float) -> float:
        logs = [
            np.log(_posteriors(one, temper)[np.arange(len(one.targets)), one.targets] + 1e-300)
            for one in judged
        ]
        return float(np.concatenate(logs).mean())

    return max(_TEMPERS, key=mean_log)


def reliability(judged: Sequence[JudgedFold], temper: float) -> list[dict[str, Any]]:
    """Return, for each span of ``EDGES`` that holds line-ups, what was said and what was so.

    Keys: ``from`` and ``to``, ``said`` (mean probability of the one who was named), ``value``,
    ``lower`` and ``upper`` (how often that was right, by folds at 95 %), ``lineups``, ``folds``.
    """
    said, right, folds = [], [], []
    for k, one in enumerate(judged):
        chances = _posteriors(one, temper)
        named = chances.argmax(axis=1)
        said.append(chances.max(axis=1, initial=0.0))
        right.append(named == one.targets)
        folds.append(np.full(len(named), k, dtype=np.int64))
    confidence, hit, fold = (np.concatenate(part) for part in (said, right, folds))
    spans = np.clip(np.searchsorted(EDGES, confidence, side="right") - 1, 0, len(EDGES) - 2)
    return [
        {"from": EDGES[k], "to": EDGES[k + 1], **_span(confidence[spans == k], hit[spans == k],
                                                       fold[spans == k])}
        for k in np.unique(spans).tolist()
    ]  # fmt: skip


def _span(
    said: NDArray[np.float64], right: Bool[np.ndarray, "lineups"], fold: NDArray[np.int64]
) -> dict[str, Any]:
    names, number = np.unique(fold, return_inverse=True)
    lower, upper = 0.0, 1.0  # of one fold alone nothing is known
    if len(names) > 1:
        rate = success_rate(right, number, np.random.default_rng([0, 2]))
        lower, upper = rate.lower, rate.upper
    return {
        "said": float(said.mean()),
        "value": float(right.mean()),
        "lower": lower,
        "upper": upper,
        "lineups": len(right),
        "folds": len(names),
    }


def _posteriors(judged: JudgedFold, temper: float) -> NDArray[np.float64]:
    return np.stack([posterior(row / temper) for row in judged.logs])


def grid(seed: int = 0, *, cohort: str = "heart", seeds: int = 1) -> list[ReliabilityPoint]:
    """Where the ratio is sure of something, and one point with noise.

    Raises:
      InvalidInputError: No cross-validation.
    """
    natural(seeds=seeds, least=1)
    every = tuple(range(seed, seed + seeds))
    cells: tuple[tuple[Design, float | None, Regime, str], ...] = (
        (Design.NONE, None, Regime.SMALL, "mlp"),
        (Design.SEALED, None, Regime.SMALL, "mlp"),
        (Design.NONE, None, Regime.FULL, "logistic"),
        (Design.SEALED, 1.0, Regime.SMALL, "mlp"),
    )
    return [ReliabilityPoint(*cell, every, cohort) for cell in cells]


def table(records: Sequence[Record]) -> Table:
    """A row a span: what the ratio said, and what was so, as it is and tempered."""
    shown = Table(title="the likelihood ratio: said and so", title_justify="left", box=SIMPLE)
    for heading in ("design", "epsilon", "regime", "model", "which", "said", "so", "line-ups"):
        right = heading in ("said", "so", "line-ups")
        shown.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for record in records:
        config, metrics = record.config, record.metrics
        epsilon = "inf" if config["epsilon"] is None else f"{config['epsilon']:g}"
        tempered = f"tempered by {metrics['temper']:.2g}"
        for key, name in (("as it is",) * 2, ("tempered", tempered), ("simulated",) * 2):
            for span in metrics[key]:
                shown.add_row(
                    config["design"],
                    epsilon,
                    config["regime"],
                    config["model"],
                    name,
                    f"{span['said']:.2f}",
                    f"{span['value']:.2f} ({span['lower']:.2f}–{span['upper']:.2f})",
                    str(span["lineups"]),
                )
    return shown
