"""The claims of an article on federated learning for hospitals, each held against an experiment.

A claim has a rule (``studies.claim_rules``), a function of records that says *holds*, *holds
only if* (and if what) or *does not hold*. The article is paraphrased; its own noise, at its own
epsilon, is the design ``article``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.run.record import Record
from experiments.run.sweep import Point, sweep
from experiments.studies import asynchrony, claim_rules, correction, poor_labels
from experiments.studies.claim_rules import Ruling, Verdict
from experiments.studies.claim_words import Text
from experiments.studies.design import FLOOR
from experiments.studies.equivalent import Equivalent
from experiments.studies.equivalent_heart import OwnPatients
from experiments.studies.frontier import grid
from experiments.studies.gains import Gain
from experiments.studies.uploads import Uploads

__all__ = ["CLAIMS", "Claim", "Finding", "evaluate", "markdown", "run"]

_SEEDS = (0, 1, 2)
_REPETITIONS = 5  # of runs at hospitals' own pace


Records = Mapping[str, Sequence[Record]]


@dataclass(frozen=True)
class Finding:
    """What became of a claim.

    Attributes:
      claim: Its key.
      sentence: What is claimed, in our words.
      verdict: By the claim's rule.
      condition: If what, or why, as a whole sentence.
      effect: What ``value`` is, with its unit.
      value: The effect.
      lower: Lower end of its 95 % interval; None where nothing is random.
      upper: Upper end.
      records: Names of the records that it rests on.
    """

    claim: str
    sentence: Text
    verdict: Verdict
    condition: Text
    effect: Text
    value: float
    lower: float | None
    upper: float | None
    records: tuple[str, ...]


@dataclass(frozen=True)
class Claim:
    """A sentence, its experiments and its rule.

    Attributes:
      key: A short name.
      sentence: What is claimed, in our words.
      points: What has to be measured, from the experiment's seed.
      rule: Verdict, condition, effect, value and interval, from the points' records in order.
    """

    key: str
    sentence: Text
    points: Callable[[int], Sequence[Point]]
    rule: Callable[[Sequence[Record]], Ruling]


@dataclass(frozen=True)
class Whole:
    """A point of another experiment, measured in one piece.

    Attributes:
      point: Has a ``config``.
      function: Measures it.
    """

    point: Any
    function: Callable[[Any, Path | None], dict[str, Any]]

    @property
    def config(self) -> Mapping[str, Any]:
        """The other experiment's own."""
        found: Mapping[str, Any] = self.point.config
        return found

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        return str(self.config["experiment"])

    @property
    def units(self) -> tuple[int, ...]:
        """One."""
        return (0,)

    def measure(self, unit: int, data_dir: Path | None) -> dict[str, Any]:
        """Measure the point."""
        return self.function(self.point, data_dir)

    def summarise(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        """What was measured."""
        return parts[0]


def _core(*designs: tuple[str, float | None]) -> Callable[[int], list[Point]]:
    def points(seed: int) -> list[Point]:
        core = grid.group("small", seed)
        return [next(p for p in core if (p.design, p.epsilon) == d) for d in designs]

    return points


def _article_everywhere(seed: int) -> list[Point]:
    core = [*grid.group("small", seed), *grid.group("full", seed)]
    return [p for p in core if p.design == "article"]


def _gains(*pairs: tuple[Any, Any]) -> Callable[[int], list[Point]]:
    def points(seed: int) -> list[Point]:
        return [Gain(o, t, seeds=tuple(seed + s for s in _SEEDS)) for o, t in pairs]

    return points


def _corrected(seed: int) -> list[Point]:
    points = correction.grid(seed, rules=("sealed",))
    return [Whole(point, correction.measure) for point in points]


def _paced(seed: int) -> list[Point]:
    rules = ("synchronous", "fedbuff", "corrected", "memory", "sealed corrected", "sealed memory")
    points = asynchrony.grid(seed, seeds=_REPETITIONS, cohorts=("heart",), rules=rules)
    return [Whole(point, asynchrony.measure) for point in points]


def _labels(seed: int) -> list[Point]:
    return [
        Whole(poor_labels.Point(harm, "norm bound", seed + s), poor_labels.measure)
        for harm in ("none", "25 % wrong at one")
        for s in _SEEDS
    ]


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "raw bytes",
        Text(
            "No byte of raw patient data leaves a hospital.", "患者原始数据没有一个字节离开医院。"
        ),
        lambda seed: [Uploads(seed=seed), *_core(("none", None))(seed)],
        claim_rules.raw_bytes,
    ),
    Claim(
        "infeasible",
        Text(
            "Noise on the gradients makes inversion mathematically infeasible.",
            "梯度上的噪声使反推在数学上变得不可行。",
        ),
        _article_everywhere,
        claim_rules.infeasible,
    ),
    Claim(
        "no impact",
        Text(
            "That noise does not significantly impact the model's performance.",
            "这种噪声不会显著影响模型的表现。",
        ),
        _gains((("article", 1.0), ("none", None)), (("sealed", 1.0), ("none", None))),
        claim_rules.no_impact,
    ),
    Claim(
        "threefold",
        Text(
            "Joining is worth three times a hospital's own data.",
            "加入联邦相当于拥有三倍于单院的数据。",
        ),
        lambda seed: [
            Equivalent(seeds=tuple(range(seed, seed + 5))),
            OwnPatients(seeds=tuple(range(seed, seed + 10))),
        ],
        claim_rules.threefold,
    ),
    Claim(
        "AUC up",
        Text(
            "A model trained across hospitals predicts better than a hospital's own.",
            "跨院训练的模型比单院自己的模型预测得更准。",
        ),
        _gains((("none", None), (FLOOR, None)), (("sealed", 1.0), (FLOOR, None))),
        claim_rules.auc_up,
    ),
    Claim(
        "acceptable",
        Text(
            "Weighting and correction bring every type of hospital into an acceptable range.",
            "加权与校正使各类医院都达到可接受的区间。",
        ),
        _corrected,
        claim_rules.acceptable,
    ),
    Claim(
        "no waiting",
        Text(
            "Hospitals upload at their own pace and nobody waits for all.",
            "各院按自己的节奏上传，无需等待所有医院。",
        ),
        _paced,
        claim_rules.without_waiting,
    ),
    Claim(
        "overhead",
        Text("Communication overhead is genuine.", "通信开销是真实存在的。"),
        lambda seed: [
            Uploads(seed=seed),
            Uploads(regime="small", model="mlp", seed=seed),
        ],
        claim_rules.overhead,
    ),
    Claim(
        "poor labels",
        Text(
            "Hospitals with poor labels drag the whole model down.",
            "标签质量差的医院会拖累整个模型。",
        ),
        _labels,
        claim_rules.poor_labels,
    ),
)


def run(
    out: Path,
    *,
    seed: int = 0,
    only: Sequence[str] = (),
    jobs: int = -1,
    backend: str = "joblib",
    data_dir: Path | None = None,
    console: Console | None = None,
) -> list[Finding]:
    """Measure what has no record in ``out`` yet, and judge every claim (or those in ``only``)."""
    chosen = [claim for claim in CLAIMS if not only or claim.key in only]
    points = [point for claim in chosen for point in claim.points(seed)]
    records = sweep(out, points, jobs=jobs, backend=backend, data_dir=data_dir, console=console)
    return evaluate({r.name: r for r in records}, seed=seed, only=only)


def evaluate(
    records: Mapping[str, Record], *, seed: int = 0, only: Sequence[str] = ()
) -> list[Finding]:
    """Judge claims by records that are there.

    Args:
      records: By name.
      seed: Which experiment's.
      only: Keys of claims; empty: all.

    Raises:
      KeyError: A record is missing.
    """
    found = []
    for claim in CLAIMS:
        if only and claim.key not in only:
            continue
        names = [Record(p.config, {}, {}).name for p in claim.points(seed)]
        ruling = claim.rule([records[name] for name in names])
        found.append(Finding(claim.key, claim.sentence, records=tuple(names), **vars(ruling)))
    return found


def markdown(findings: Sequence[Finding]) -> str:
    """The findings as a table for the README."""
    lines = ["| claim | verdict | effect | why, or if what |", "|---|---|---|---|"]
    for f in findings:
        between = "" if f.lower is None else f" ({f.lower:.3g} to {f.upper:.3g})"
        effect = f"{f.effect.en}: {f.value:.3g}{between}"
        lines.append(f"| {f.sentence.en} | **{f.verdict}** | {effect} | {f.condition.en} |")
    return "\n".join(lines)
