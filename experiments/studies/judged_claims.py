"""The claims of an article on federated learning for hospitals, each held against an experiment.

A claim has a rule (``studies.claim_rules``, ``studies.learning_rules``), a function of records that
says *holds*, *holds only if* (and if what), *does not hold* or *undecided*. The article is
paraphrased; its own noise, at its own epsilon, is the design ``article``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from experiments.run.record import Record
from experiments.run.study import GridPoint
from experiments.studies import asynchrony_study, claim_rules, correction_study, learning_rules
from experiments.studies.asynchronous import ArrivalRule
from experiments.studies.claim_words import Text
from experiments.studies.conclusion import Conclusion
from experiments.studies.design import Design, Regime
from experiments.studies.equivalent import Equivalent
from experiments.studies.equivalent_heart import OwnPatients
from experiments.studies.frontier import grid
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.gains import Compared, Gain
from experiments.studies.poor_labels import SEEDS, Defence, Harm, LabelPoint
from experiments.studies.readings import readings
from experiments.studies.ruling import Ruling
from experiments.studies.uploads import Uploads

__all__ = ["CLAIMS", "ArticleClaim", "ClaimFinding", "Subject", "evaluate", "markdown", "points"]

_SEEDS = (0, 1, 2)
_REPETITIONS = 5  # of runs at hospitals' own pace


Records = Mapping[str, Sequence[Record]]


@dataclass(frozen=True)
class ClaimFinding:
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
    verdict: Conclusion
    condition: Text
    effect: Text
    value: float
    lower: float | None
    upper: float | None
    records: tuple[str, ...]

    @property
    def measured(self) -> str:
        """The effect with its interval, in English."""
        between = "" if self.lower is None else f" ({self.lower:.3g} to {self.upper:.3g})"
        return f"{self.effect.en}: {self.value:.3g}{between}"


@dataclass(frozen=True)
class Subject:
    """On whom the article's claims are tested.

    Attributes:
      seed: The experiment's.
      cohort: Whose patients, named as ``experiments.cohorts.resolve`` names it.
      judged: Hospitals whose data equivalent is measured (``equivalent_heart.judged``).
    """

    seed: int = 0
    cohort: str = "heart"
    judged: tuple[str, ...] = OwnPatients.hospitals


@dataclass(frozen=True)
class ArticleClaim:
    """A sentence, its experiments and its rule.

    Attributes:
      key: A short name.
      sentence: What is claimed, in our words.
      points: What has to be measured, of a subject.
      rule: Verdict, condition, effect, value and interval, from the points' records in order.
    """

    key: str
    sentence: Text
    points: Callable[[Subject], Sequence[GridPoint]]
    rule: Callable[[Sequence[Record]], Ruling]


def _group(name: str, subject: Subject) -> list[FrontierPoint]:
    return grid.on_cohort(grid.group(name, subject.seed), subject.cohort)


def _core(*compared: Compared) -> Callable[[Subject], Sequence[GridPoint]]:
    def points(subject: Subject) -> list[GridPoint]:
        core = _group("small", subject)
        return [next(p for p in core if (p.design, p.epsilon) == one) for one in compared]

    return points


def _article_everywhere(subject: Subject) -> Sequence[GridPoint]:
    core = [p for name in ("small", "full", "small-logistic") for p in _group(name, subject)]
    return [p for p in core if p.design is Design.ARTICLE]


def _gains(*pairs: tuple[Compared, Compared]) -> Callable[[Subject], Sequence[GridPoint]]:
    def points(subject: Subject) -> list[GridPoint]:
        seeds = tuple(subject.seed + s for s in _SEEDS)
        return [Gain(o, t, seeds=seeds, cohort=subject.cohort) for o, t in pairs]

    return points


def _corrected(subject: Subject) -> Sequence[GridPoint]:
    cohorts = (subject.cohort, *correction_study.COHORTS[1:])
    rules = [rule for rule in correction_study.RULES_COMPARED if rule != "local"]
    return correction_study.grid(subject.seed, cohorts=cohorts, rules=rules)


def _asynchronous(subject: Subject) -> Sequence[GridPoint]:
    rules = (
        ArrivalRule.SYNCHRONOUS,
        ArrivalRule.FEDBUFF,
        ArrivalRule.CORRECTED,
        ArrivalRule.MEMORY,
        ArrivalRule.SEALED_CORRECTED,
        ArrivalRule.SEALED_MEMORY,
    )
    return asynchrony_study.grid(
        subject.seed, seeds=_REPETITIONS, cohorts=(subject.cohort,), rules=rules
    )


def _labels(subject: Subject) -> Sequence[GridPoint]:
    return [
        LabelPoint(harm, Defence.NORM_BOUND, subject.seed + s, cohort=subject.cohort)
        for harm in Harm
        for s in range(SEEDS)
    ]


def _uploads(subject: Subject) -> Uploads:
    return Uploads(seed=subject.seed, cohort=subject.cohort)


_HEART = Subject()

CLAIMS: tuple[ArticleClaim, ...] = (
    ArticleClaim(
        "raw bytes",
        Text(
            "No byte of raw patient data leaves a hospital.", "患者原始数据没有一个字节离开医院。"
        ),
        lambda subject: [_uploads(subject), *_core((Design.NONE, None))(subject)],
        claim_rules.raw_bytes,
    ),
    ArticleClaim(
        "infeasible",
        Text(
            "Noise on the gradients makes inversion mathematically infeasible.",
            "梯度上的噪声使反推在数学上变得不可行。",
        ),
        _article_everywhere,
        claim_rules.infeasible,
    ),
    ArticleClaim(
        "no impact",
        Text(
            "That noise does not significantly impact the model's performance.",
            "这种噪声不会显著影响模型的表现。",
        ),
        lambda s: [
            *readings(s.cohort, seeds=[s.seed + k for k in _SEEDS]),
            *_gains(((Design.SEALED, 1.0), (Design.NONE, None)))(s),
        ],
        claim_rules.no_impact,
    ),
    ArticleClaim(
        "threefold",
        Text(
            "Joining is worth three times a hospital's own data.",
            "加入联邦相当于拥有三倍于单院的数据。",
        ),
        lambda s: [
            Equivalent(seeds=tuple(range(s.seed, s.seed + 5))),
            OwnPatients(s.judged, s.cohort, seeds=tuple(range(s.seed, s.seed + 10))),
        ],
        learning_rules.threefold,
    ),
    ArticleClaim(
        "AUC up",
        Text(
            "A model trained across hospitals predicts better than a hospital's own.",
            "跨院训练的模型比单院自己的模型预测得更准。",
        ),
        _gains(
            ((Design.NONE, None), (Design.LOCAL_ONLY, None)),
            ((Design.SEALED, 1.0), (Design.LOCAL_ONLY, None)),
        ),
        learning_rules.auc_up,
    ),
    ArticleClaim(
        "acceptable",
        Text(
            "Weighting and correction bring every type of hospital into an acceptable range.",
            "加权与校正使各类医院都达到可接受的区间。",
        ),
        _corrected,
        learning_rules.acceptable,
    ),
    ArticleClaim(
        "no waiting",
        Text(
            "Hospitals upload at their own pace and nobody waits for all.",
            "各院按自己的节奏上传，无需等待所有医院。",
        ),
        _asynchronous,
        claim_rules.without_waiting,
    ),
    ArticleClaim(
        "overhead",
        Text("Communication overhead is genuine.", "通信开销是真实存在的。"),
        lambda subject: [
            _uploads(subject),
            replace(_uploads(subject), regime=Regime.SMALL, model="mlp"),
        ],
        claim_rules.overhead,
    ),
    ArticleClaim(
        "poor labels",
        Text(
            "Hospitals with poor labels drag the whole model down.",
            "标签质量差的医院会拖累整个模型。",
        ),
        _labels,
        learning_rules.poor_labels,
    ),
)


def points(subject: Subject = _HEART, *, only: Sequence[str] = ()) -> list[GridPoint]:
    """What has to be measured for all claims, or for those in ``only``."""
    chosen = [claim for claim in CLAIMS if not only or claim.key in only]
    return [point for claim in chosen for point in claim.points(subject)]


def evaluate(
    records: Mapping[str, Record], subject: Subject = _HEART, *, only: Sequence[str] = ()
) -> list[ClaimFinding]:
    """Judge claims by records that are there.

    Args:
      records: By name.
      subject: On whom they are tested.
      only: Keys of claims; empty: all.

    Raises:
      KeyError: A record is missing.
    """
    findings = []
    for claim in CLAIMS:
        if only and claim.key not in only:
            continue
        names = [Record(p.config, {}, {}).name for p in claim.points(subject)]
        ruling = claim.rule([records[name] for name in names])
        findings.append(
            ClaimFinding(claim.key, claim.sentence, records=tuple(names), **vars(ruling))
        )
    return findings


def markdown(findings: Sequence[ClaimFinding]) -> str:
    """The findings as a table for the README."""
    lines = ["| claim | verdict | effect | why, or if what |", "|---|---|---|---|"]
    lines += [
        f"| {f.sentence.en} | **{f.verdict}** | {f.measured} | {f.condition.en} |" for f in findings
    ]
    return "\n".join(lines)
