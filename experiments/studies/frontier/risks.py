"""The frontier's records as they are read, and a point's risk by who attacks it.

One axis, one adversary: ``curious`` sees what its position sees and knows the schema, the server
that gets each update, or the opened sums where they are sealed; ``informed`` knows all other
patients beside that. A low risk under one says nothing of the other, so no figure joins the two and
no table puts one for both. What was not tried is said.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from experiments.evaluation import Estimate
from experiments.run.record import Record
from experiments.run.text import interval, nearest
from experiments.run.typed import TypedRecord, point_of, read
from experiments.studies.design import TrainingSetting
from experiments.studies.frontier.own_pace import AsynchronousPoint, AttackedPoint
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.lineups import INFORMED

__all__ = [
    "ABLATIONS",
    "ADVERSARIES",
    "BY_DEFINITION",
    "NOT_MEASURABLE",
    "NOT_TRIED",
    "FrontierMetrics",
    "FrontierResult",
    "Risk",
    "frontier_point",
    "line_of",
    "read_frontier",
    "risk_of",
    "told",
    "varied",
]

ADVERSARIES = {"curious": "a curious server", INFORMED: "who knows all other patients"}
"""Names of figures' axes and of tables' columns."""
NOT_TRIED = "not tried"
NOT_MEASURABLE = "not measurable"
BY_DEFINITION = "by definition"


@dataclass(frozen=True)
class Risk(Estimate):
    """How often an attack named its target out of ten.

    Attributes:
      attack: Which.
      targets: Line-ups.
      batches: That they came from.
      exact: Of the targets that were reconstructed in every feature.
    """

    attack: str = ""
    targets: int = 0
    batches: int = 0
    exact: float = 0.0


@dataclass(frozen=True)
class SiteAuc(Estimate):
    """One hospital's AUC, with its patients who have the outcome and who lack it."""

    negatives: int = 0
    positives: int = 0


@dataclass(frozen=True)
class SpentEpsilon:
    """A certified interval of what a run spent."""

    lower: float
    estimate: float
    upper: float


@dataclass(frozen=True)
class FrontierMetrics:
    """What a point's record holds (``frontier.metrics``).

    Attributes:
      auc_within: Over pairs within a hospital; its interval holds patients, splits and noise, of
        a single cross-validation patients alone.
      risk: Of the worst attack; None: every stratum is too small for a line-up.
      risks: Of each attack, by its name.
      bound: What is proven of any attack; None: nothing.
      prior_success: Of guessing.
      adversary: Whose view was attacked.
      epsilon: Spent by a hospital; None: nothing is protected.
      upload_bytes: One hospital's of a round.
      noise_multiplier: 0: no noise.
      radius: Of a patient's integers.
      dim: Of the model.
      brier: Mean squared error of the risks.
      brier_local_intercept: The same with each hospital's own intercept.
      risks_by_trait: By trait and attack: of those ``with`` it, and of those ``without``.
      auc_sites: Each hospital's; None: they are too many.
      auc_within_published_score: Of a published score on the same patients; None: there is none.
      not_measurable: Strata of hospital and outcome too small for a line-up: no risk is of them.
      auc_runs: The same of each cross-validation, or network; empty: a single one.
      wrap_probability: That any opened sum wraps; not told of runs at hospitals' own pace.
    """

    auc_within: Estimate
    risk: Risk | None
    risks: Mapping[str, Risk]
    bound: float | None
    prior_success: float
    adversary: str
    epsilon: SpentEpsilon | None
    upload_bytes: float
    noise_multiplier: float
    radius: int
    dim: int
    brier: float
    brier_local_intercept: float
    risks_by_trait: Mapping[str, Mapping[str, Mapping[str, Risk]]]
    auc_sites: Mapping[str, SiteAuc] | None
    auc_within_published_score: Estimate | None = None
    auc_runs: tuple[float, ...] = ()
    wrap_probability: float = 0.0
    not_measurable: tuple[str, ...] = ()


FrontierResult = TypedRecord[AttackedPoint, FrontierMetrics]


@dataclass(frozen=True)
class _Recorded(FrontierPoint):
    """A point as its record has it: its setting is how it was trained."""

    @property
    def training(self) -> TrainingSetting:
        """How it was trained."""
        return self.setting or super().training


_KINDS: Mapping[str, type[AttackedPoint]] = {"frontier": _Recorded, "own pace": AsynchronousPoint}


def read_frontier(records: Sequence[Record]) -> list[FrontierResult]:
    """Read points of the frontier and of hospitals at their own pace, in order."""
    return [read(r, _KINDS[r.config["experiment"]], FrontierMetrics) for r in records]


def frontier_point(record: Record) -> AttackedPoint:
    """Return the point of such a record, whatever was measured."""
    return point_of(record, _KINDS[record.config["experiment"]])


_VARIED: Mapping[str, Callable[[FrontierPoint], float]] = MappingProxyType(
    {
        "batch size": lambda p: p.training.sampling_size or 0,
        "width": lambda p: p.width,
        "local steps": lambda p: p.local_steps,
        "clip norm": lambda p: p.training.clip_norm,
        "colluders": lambda p: p.colluders,
        "rounds": lambda p: p.training.rounds,
        "restarts": lambda p: p.attacks.restarts,
        "search steps": lambda p: p.attacks.iterations,
    }
)
_EFFORTS = ("restarts", "search steps")
"""What a search's effort is varied in."""
ABLATIONS = (*(name for name in _VARIED if name not in _EFFORTS), "buffer size")
"""What is varied alone around the core."""


def varied(point: AttackedPoint, ablation: str) -> float:
    """A point's value of what one ablation varies; at hospitals' own pace that is the buffer."""
    if isinstance(point, AsynchronousPoint):
        return float(point.buffer)
    return float(_VARIED[ablation](point))


def line_of(point: AttackedPoint) -> str:
    """What tells a line: the rule of arrival at everybody's own pace, else the design."""
    return point.arrival if isinstance(point, AsynchronousPoint) else point.design


def risk_of(result: FrontierResult, adversary: str) -> Risk | None:
    """How often an adversary's best attack names the target, and which ``attack`` that is.

    Args:
      result: A point.
      adversary: One of ``ADVERSARIES``.

    Returns:
      None where no attack of this adversary was tried. What is no federation has the same risk for
      every adversary: a pool's keeper reads all, nothing leaves who trains alone.
    """
    if not result.point.design.federated:
        return result.metrics.risk
    tried = [
        replace(risk, attack=name)
        for name, risk in result.metrics.risks.items()
        if (name == INFORMED) == (adversary == INFORMED) and _reads(result.point, name)
    ]
    return max(tried, key=lambda risk: risk.value, default=None)


def told(result: FrontierResult, adversary: str, digits: int = 2) -> tuple[str, str]:
    """The risk and its interval as text; or nothing, and that it was not tried or measurable."""
    risk = risk_of(result, adversary)
    if risk is None:
        return (NOT_MEASURABLE if result.metrics.risk is None else NOT_TRIED), ""
    between = interval(risk, digits) if result.point.design.federated else BY_DEFINITION
    return nearest(risk.value, digits), between


def _reads(point: AttackedPoint, attack: str) -> bool:
    """Whether an attack can read what was sent: one that only guesses was not tried.

    The closed form knows itself that it reads nothing of several local steps.
    """
    return not (attack == "closed_form" and point.local_steps > 1)
