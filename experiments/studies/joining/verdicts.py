"""Verdicts of the study of joining, by the rules of ``paper/protocol.md``, as functions of records.

Every margin stands in ``experiments.margins``: flip one, and see what changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.evaluation import Estimate
from experiments.evaluation.several_tests import holm, p_beyond
from experiments.margins import Margins
from experiments.run.record import Record
from experiments.run.text import up
from experiments.run.typed import read_all
from experiments.studies.conclusion import Conclusion, side_of
from experiments.studies.frontier.risks import FrontierMetrics
from experiments.studies.joining.arm_point import End, JoiningArm, JoiningMetrics, JoiningPoint
from experiments.studies.joining.risk import JoiningRisk
from experiments.studies.joining.sums import HospitalSums, difference

__all__ = [
    "ArmAt",
    "ByArm",
    "CohortRecords",
    "Judged",
    "cohort_records",
    "judged",
    "size_classes",
]

ArmAt = tuple[JoiningArm, float | None]
ByArm = Mapping[ArmAt, JoiningMetrics]


@dataclass(frozen=True)
class Judged:
    """One question.

    Attributes:
      question: Its number and what is compared.
      verdict: By its rule, corrected where the protocol corrects.
      effect: The difference with its uncorrected interval (Q9: of the risk that leaves the least
        room to its bound, less the bound); None: not tried, or a number.
      note: What the verdict alone does not say.
    """

    question: str
    verdict: Conclusion
    effect: Estimate | None = None
    note: str = ""


@dataclass(frozen=True)
class CohortRecords:
    """The records of one cohort, by what they are of.

    ``again``: all, with other seeds; ``few`` and ``few_risks``: of sums that are opened once or
    twice, of which no question is asked.
    """

    whole: ByArm
    few: ByArm
    again: ByArm
    unseen: ByArm
    growing: Mapping[int, ByArm]
    risks: Mapping[ArmAt, FrontierMetrics]
    few_risks: Mapping[ArmAt, FrontierMetrics]


def cohort_records(records: Sequence[Record]) -> CohortRecords:
    """Sort the records of one cohort."""
    whole, few, unseen, again = (dict[ArmAt, JoiningMetrics]() for _ in range(4))
    growing: dict[int, dict[ArmAt, JoiningMetrics]] = {}
    attacked = [r for r in records if r.config["experiment"] == "joining risk"]
    trained = [r for r in records if r not in attacked]
    for one in read_all(trained, JoiningPoint, JoiningMetrics):
        key = (one.point.arm, one.point.epsilon)
        if one.point.hospitals is not None:
            growing.setdefault(one.point.hospitals, {})[key] = one.metrics
        elif one.point.arm.few:
            few[key] = one.metrics
        elif one.point.unseen:
            unseen[key] = one.metrics
        else:
            (whole if 0 in one.point.seeds else again)[key] = one.metrics
    risks, few_risks = (
        {
            (risk.point.arm, risk.point.epsilon): risk.metrics
            for risk in read_all(attacked, JoiningRisk, FrontierMetrics)
            if risk.point.arm.few is opened_few
        }
        for opened_few in (False, True)
    )
    return CohortRecords(whole, few, again, unseen, growing, risks, few_risks)


def size_classes(sums: HospitalSums) -> dict[str, NDArray[np.bool_]]:
    """The protocol's classes by patients who were scored, and all that were scored."""
    counts = np.array(sums.patients).max(axis=0)
    ends = {"10-20": (10, 20), "21-40": (21, 40), "41-80": (41, 80), "81-200": (81, 200)}
    classes = {name: (low <= counts) & (counts <= high) for name, (low, high) in ends.items()}
    return {**classes, "above 200": counts > 200, "all": counts > 0}


def judged(records: Sequence[Record], margins: Margins | None = None) -> list[Judged]:
    """Every question's verdict, in the protocol's order; one that lacks records is *not tried*."""
    rules = margins or Margins()
    cohort = cohort_records(records)

    def sums(
        arm: JoiningArm, epsilon: float | None = None, end: End = End.BARE, *, unseen: bool = False
    ) -> HospitalSums | None:
        return _of(cohort.unseen if unseen else cohort.whole, arm, epsilon, end)

    primary = sums(JoiningArm.SEALED, rules.target, End.FIT)
    bare = sums(JoiningArm.SEALED, rules.target)
    local, score = sums(JoiningArm.OWN, end=End.FIT), sums(JoiningArm.SCORE)
    protected = [
        _Test(
            f"Q4 {arm} at epsilon {epsilon:g} costs at most {rules.worse:g}",
            -rules.worse,
            _all(sums(arm, epsilon), sums(JoiningArm.NONE)),
        )
        for arm, epsilon in cohort.whole
        if epsilon is not None
    ]
    strangers = _all(
        sums(JoiningArm.SEALED, rules.target, unseen=True), sums(JoiningArm.SCORE, unseen=True)
    )
    family = [
        *protected,
        _Test("Q5 better than the score", 0.0, _all(primary, score)),
        _Test("Q7 better than the score where never seen", 0.0, strangers),
        _Test("Q8 the local fit keeps the AUC", -rules.worse, _all(primary, bare)),
        _Test("Q8 the local fit mends the Brier score", 0.0, _all(bare, primary, "brier")),
    ]
    *costs, q5, q7, keeps, mends = _holm(family, rules)
    effect = _all(primary, local)
    pays = Judged("Q1 joining pays", side_of(effect, 0.0), effect)
    classes = _classes(primary, local, rules)
    growing, bounded = _growing(cohort, rules), _bounded(cohort, rules)
    return [pays, *classes, *costs, q5, growing, q7, keeps, mends, bounded]


def _bounded(cohort: CohortRecords, rules: Margins) -> Judged:
    """Q9: no measured risk is above its bound beyond chance, over all points together."""
    question = "Q9 the risk is what the bound says"
    tried = [
        (risk, m.bound)
        for m in cohort.risks.values()
        if m.bound is not None
        for risk in m.risks.values()
    ]
    if not tried:
        return Judged(question, Conclusion.NOT_TRIED)
    values = [p_beyond(risk, bound) if risk.value > bound else 1.0 for risk, bound in tried]
    above = holm(values, level=rules.level)
    worst, bound = max(tried, key=lambda one: one[0].value - one[1])
    room = Estimate(
        worst.value - bound, worst.lower - bound, worst.upper - bound, worst.method,
        worst.confidence,
    )  # fmt: skip
    verdict = Conclusion.DOES_NOT_HOLD if above else Conclusion.HOLDS
    note = f"{len(tried)} risks; the least room is under a bound of {up(bound)}"
    return Judged(question, verdict, room, note)


@dataclass(frozen=True)
class _Test:
    question: str
    margin: float
    effect: Estimate | None


def _of(some: ByArm, arm: JoiningArm, epsilon: float | None, end: End) -> HospitalSums | None:
    metrics = some.get((arm, epsilon))
    return None if metrics is None else metrics.ends.get(end)


def _all(
    ours: HospitalSums | None, theirs: HospitalSums | None, figure: str = "auc"
) -> Estimate | None:
    if ours is None or theirs is None:
        return None
    return difference(ours, theirs, size_classes(ours)["all"], figure=figure)


def _classes(
    ours: HospitalSums | None, theirs: HospitalSums | None, rules: Margins
) -> list[Judged]:
    """Q2: no class is worse off; Q3: which gain."""
    if ours is None or theirs is None:
        return [Judged(q, Conclusion.NOT_TRIED) for q in ("Q2 no class is worse off", "Q3 gains")]
    effects = {
        name: difference(ours, theirs, among)
        for name, among in size_classes(ours).items()
        if name != "all" and among.any()
    }
    each = {name: side_of(effect, -rules.worse) for name, effect in effects.items()}
    if Conclusion.DOES_NOT_HOLD in each.values():
        promise = Conclusion.DOES_NOT_HOLD
    else:
        whole = all(v is Conclusion.HOLDS for v in each.values())
        promise = Conclusion.HOLDS if whole else Conclusion.UNDECIDED
    gains = _holm([_Test(f"Q3 gains, {n} patients", 0.0, e) for n, e in effects.items()], rules)
    rows = [
        Judged(
            f"Q2 not worse, {name} patients",
            verdict,
            effects[name],
            ", ".join(_notes(effects[name], rules)),
        )
        for name, verdict in each.items()
    ]
    return [Judged("Q2 no class is worse off", promise), *rows, *gains]


def _notes(effect: Estimate, rules: Margins) -> list[str]:
    notes = ["without power"] if effect.half_width > rules.power else []
    return [*notes, "loses"] if effect.upper < 0 else notes


def _holm(tests: Sequence[_Test], rules: Margins) -> list[Judged]:
    """Holm's correction over those that were tried; each may fall to either side."""
    tried = [k for k, test in enumerate(tests) if test.effect is not None]
    values = [p_beyond(t.effect, t.margin) for t in tests if t.effect is not None]
    rejected = {tried[i] for i in holm(values, level=rules.level)}
    verdicts = []
    for k, test in enumerate(tests):
        alone = side_of(test.effect, test.margin)
        decided = alone in (Conclusion.HOLDS, Conclusion.DOES_NOT_HOLD)
        lost = decided and k not in rejected
        note = f"{alone} before Holm's correction" if lost else ""
        verdicts.append(
            Judged(test.question, Conclusion.UNDECIDED if lost else alone, test.effect, note)
        )
    return verdicts


def _growing(cohort: CohortRecords, rules: Margins) -> Judged:
    """Q6: the least number of hospitals from which on joining pays, there and at every larger."""
    question, least = "Q6 from how many hospitals on", None
    effects = {
        count: _all(
            _of(some, JoiningArm.SEALED, rules.target, End.FIT),
            _of(some, JoiningArm.OWN, None, End.FIT),
        )
        for count, some in sorted(cohort.growing.items())
    }
    if not effects or None in effects.values():
        return Judged(question, Conclusion.NOT_TRIED)
    for count in sorted(effects, reverse=True):
        if side_of(effects[count], 0.0) is not Conclusion.HOLDS:
            break
        least = count
    if least is None:
        most = max(effects)
        return Judged(question, Conclusion.UNDECIDED, effects[most], f"not within {most}")
    return Judged(question, Conclusion.HOLDS, effects[least], f"from {least} on")
