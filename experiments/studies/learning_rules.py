"""The rules of the claims on what is learned: data equivalent, AUC, correction, poor labels.

As ``studies.claim_rules``, which has those on what leaves a hospital.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.evaluation import Estimate
from experiments.margins import LABEL_HARM, TIMES
from experiments.run.record import Record
from experiments.run.typed import read
from experiments.studies.claim_names import CORRECTION_WORDS, HARM_WORDS
from experiments.studies.claim_words import Text, ends, hospital, names_of
from experiments.studies.conclusion import Conclusion, side_of
from experiments.studies.correction_study import SEALED, CorrectionResult, read_correction
from experiments.studies.equivalent import Equivalent, EquivalentMetrics, Ratio
from experiments.studies.equivalent_heart import OwnPatients, OwnPatientsMetrics
from experiments.studies.gains import Gain, GainMetrics
from experiments.studies.poor_labels import Harm, read_labels
from experiments.studies.ruling import Ruling, three

__all__ = ["acceptable", "auc_up", "poor_labels", "threefold"]


def threefold(records: Sequence[Record]) -> Ruling:
    """Joining is worth three times a hospital's own data."""
    network = read(records[0], Equivalent, EquivalentMetrics)
    by_hospital = read(records[1], OwnPatients, OwnPatientsMetrics).metrics.hospitals
    count, simulated = network.point.hospitals, network.metrics.ratio_joined
    rows = [*simulated, *(r for h in by_hospital.values() for r in h.ratio_joined)]
    met = [r for r in rows if r.lower >= TIMES]
    groups = [(hospital(n), h.ratio_joined) for n, h in by_hospital.items() if h.ratio_joined]
    groups.append((Text(f"{count} simulated hospitals", f"{count} 家模拟医院"), simulated))

    def sizes(ratios: Sequence[Ratio]) -> list[str]:
        return [str(r.patients) for r in ratios if r.lower >= TIMES]

    reached = [(name, at) for name, ratios in groups if (at := sizes(ratios))]
    never = [name for name, ratios in groups if not sizes(ratios)]
    places = Text(
        "; ".join(f"{name.en} with {', '.join(at)}" for name, at in reached),
        "；".join(f"{name.zh}有 {'、'.join(at)} 名" for name, at in reached),
    )
    nowhere = Text(
        f"; at no size that was tried: {', '.join(n.en for n in never)}" if never else "",
        f"；{'、'.join(n.zh for n in never)}在所试的任何规模下都达不到" if never else "",
    )
    if len(met) == len(rows):
        verdict = Conclusion.HOLDS
        condition = Text(
            f"The whole interval is above {TIMES:g} at every size that was tried.",
            f"在所试的每种规模下，整个区间都高于 {TIMES:g}。",
        )
    elif met:
        verdict = Conclusion.HOLDS_ONLY_IF
        condition = Text(
            "It holds only if the hospital is one of these, by its number of patients: "
            f"{places.en} (the whole interval is above {TIMES:g}{nowhere.en}).",
            f"仅当医院属于以下情形（按自有患者人数）时才成立：{places.zh}"
            f"（整个区间高于 {TIMES:g}{nowhere.zh}）。",
        )
    elif any(r.upper < TIMES and not r.at_least for r in rows):
        verdict = Conclusion.DOES_NOT_HOLD
        condition = Text(
            f"At no size that was tried is the whole interval above {TIMES:g}, and at some it is "
            "below.",
            f"在所试的任何规模下，整个区间都不高于 {TIMES:g}，有的完全低于它。",
        )
    else:
        verdict = Conclusion.UNDECIDED
        censored = sum(r.at_least for r in rows)
        condition = Text(
            f"No interval lies above {TIMES:g}, and none below; at {censored} of {len(rows)} sizes "
            "no number of patients that was tried is enough, so that it can't be tested here.",
            f"没有区间整体高于 {TIMES:g}，也没有整体低于它；{len(rows)} 种规模中有 {censored} 种，"
            "所试的患者人数都不够，因此在此无法检验。",
        )
    name, ratios = groups[0]  # why: simulated ones alone where no real hospital can be judged
    largest = ratios[-1]
    least = largest.at_least
    effect = Text(
        f"{'at least so many ' if least else ''}times its data, {name.en} with "
        f"{largest.patients} patients, without noise",
        f"{name.zh}有 {largest.patients} 名患者、不加噪声时"
        f"{'至少' if least else ''}相当于自有数据的倍数",
    )
    return Ruling(verdict, condition, effect, *three(largest))


def auc_up(records: Sequence[Record]) -> Ruling:
    """A model trained across hospitals predicts better than a hospital's own."""
    bare, sealed = (read(r, Gain, GainMetrics).metrics for r in records)
    gains = [bare.gain, sealed.gain]
    worse = sorted(n for n, g in bare.gain_sites.items() if g.upper < 0)
    better = sorted(n for n, g in sealed.gain_sites.items() if g.lower > 0)
    english, chinese = ends(*three(sealed.gain))
    sites = Text(
        f"sealed at ε = 1 it is {english}, surely better at "
        f"{names_of(better).en or 'no hospital'}; without noise surely worse at "
        f"{names_of(worse).en or 'none'}",
        f"密封且 ε = 1 时为 {chinese}，肯定更好的医院：{names_of(better).zh or '无'}；"
        f"不加噪声时肯定更差的医院：{names_of(worse).zh or '无'}",
    )
    noisefree, noised = (side_of(g, 0.0) for g in gains)
    if noisefree is noised is Conclusion.HOLDS and not worse:
        verdict = Conclusion.HOLDS
        first = Text("The gain is surely above zero", "增益肯定大于零")
    elif noisefree is noised is Conclusion.DOES_NOT_HOLD:
        verdict = Conclusion.DOES_NOT_HOLD
        first = Text("The gain is surely below zero", "增益肯定小于零")
    elif noisefree is Conclusion.HOLDS and noised is Conclusion.DOES_NOT_HOLD:
        verdict = Conclusion.HOLDS_ONLY_IF
        first = Text("It holds only if no noise is added", "仅当不加噪声时才成立")
    else:
        verdict = Conclusion.UNDECIDED
        first = Text(
            "The intervals neither show nor exclude a gain over each hospital's own model, with "
            "noise and without",
            "无论加不加噪声，区间既未证实也未排除相对各院自己模型的增益",
        )
    condition = Text(f"{first.en}; {sites.en}.", f"{first.zh}；{sites.zh}。")
    effect = Text("AUC, federated less own, without noise", "AUC：不加噪声的联邦模型减去本院模型")
    return Ruling(verdict, condition, effect, *three(gains[0]))


def acceptable(records: Sequence[Record]) -> Ruling:
    """Weighting and correction bring every type of hospital into an acceptable range.

    Correction is judged by itself, on models without noise; what noise does is told beside it.
    """
    results = read_correction(records)
    rules = {r.point.rule: [o for o in results if o.point.rule == r.point.rule] for r in results}
    sealed, pooled = _counted(rules.pop(SEALED)), _counted(rules.pop("pooled"))
    by_rule = {name: _counted(runs) for name, runs in rules.items()}
    best = max(by_rule, key=lambda name: (by_rule[name].passed, -by_rule[name].failed))
    most, chinese = by_rule[best], CORRECTION_WORDS.get(best, best)
    beside = Text(
        f"of {most.judged} checks {best} passes {most.passed} and fails {most.failed}, pooled "
        f"training {pooled.passed} and {pooled.failed}, sealed sums at ε = 1 {sealed.passed} and "
        f"{sealed.failed}; {most.few} more have too few patients to judge",
        f"{most.judged} 项检查中，{chinese}通过 {most.passed} 项、不通过 {most.failed} 项，"
        f"集中训练为 {pooled.passed} 项和 {pooled.failed} 项，ε = 1 的密封求和为 {sealed.passed} "
        f"项和 {sealed.failed} 项；另有 {most.few} 项因患者太少而无法判断",
    )
    if any(c.passed == c.checks for c in by_rule.values()):
        verdict = Conclusion.HOLDS
        first = Text("A rule passes every check without noise", "不加噪声时有规则通过全部检查")
    elif all(c.failed for c in by_rule.values()):
        verdict = Conclusion.DOES_NOT_HOLD
        first = Text(
            "Every rule fails some check without noise, beyond chance",
            "不加噪声时每种规则都有检查不通过，且并非偶然",
        )
    else:
        verdict = Conclusion.UNDECIDED
        first = Text(
            f"Without noise {sum(not c.failed for c in by_rule.values())} of {len(by_rule)} rules "
            "fail no check beyond chance, and none passes all",
            f"不加噪声时，{len(by_rule)} 种规则中有 {sum(not c.failed for c in by_rule.values())} "
            "种没有检查超出偶然地不通过，也没有一种通过全部检查",
        )
    condition = Text(f"{first.en}; {beside.en}.", f"{first.zh}；{beside.zh}。")
    effect = Text("fraction of checks that the best rule passes", "最好的规则通过的检查所占比例")
    return Ruling(verdict, condition, effect, most.passed / most.judged)


@dataclass(frozen=True)
class _Counts:
    checks: int
    judged: int
    passed: int
    failed: int

    @property
    def few(self) -> int:
        return self.checks - self.judged


def _counted(results: Sequence[CorrectionResult]) -> _Counts:
    verdicts = [c.verdict for r in results for c in r.metrics.acceptance]
    few, passed, failed = (verdicts.count(v) for v in ("too few", "pass", "fail"))
    return _Counts(len(verdicts), len(verdicts) - few, passed, failed)


def poor_labels(records: Sequence[Record]) -> Ruling:
    """Hospitals with poor labels drag the whole model down: at which level?"""
    results = read_labels(records)
    harms = list(dict.fromkeys(r.point.harm for r in results))
    aucs = {h: [r.metrics.auc_within for r in results if r.point.harm is h] for h in harms}
    clean = np.array(aucs.pop(Harm.NONE))
    losses = {h: Estimate.over_runs(clean - np.array(harmed)) for h, harmed in aucs.items()}
    each = {h: side_of(loss, LABEL_HARM) for h, loss in losses.items()}
    holding = [h for h, side in each.items() if side is Conclusion.HOLDS]
    open_ = [h for h, side in each.items() if side is Conclusion.UNDECIDED]
    count = len(results[0].metrics.left_out)
    entries = [
        (HARM_WORDS.get(h, Text(h, h)), ends(loss.value, loss.lower, loss.upper))
        for h, loss in losses.items()
    ]
    where = Text(
        f"AUC lost among {count} hospitals, clipped gradients: "
        + "; ".join(f"{harm.en} {lost}" for harm, (lost, _) in entries),
        f"{count} 家医院、梯度经过裁剪时损失的 AUC："
        + "；".join(f"{harm.zh} {lost}" for harm, (_, lost) in entries),
    )
    if len(holding) == len(each):
        verdict = Conclusion.HOLDS
        first = Text(
            f"The loss is surely above {LABEL_HARM:g} at every level that was tried",
            f"在所试的每种程度下，损失都肯定超过 {LABEL_HARM:g}",
        )
    elif holding:
        verdict = Conclusion.HOLDS_ONLY_IF
        named = names_of(holding, HARM_WORDS)
        first = Text(
            f"It holds only if labels are as poor as this, where the loss is surely above "
            f"{LABEL_HARM:g}: {named.en}",
            f"仅当标签差到以下程度时才成立，此时损失肯定超过 {LABEL_HARM:g}：{named.zh}",
        )
    elif open_:
        verdict = Conclusion.UNDECIDED
        first = Text(
            f"At no level that was tried is the loss surely above {LABEL_HARM:g}, and at some the "
            "interval does not exclude it",
            f"在所试的任何程度下损失都不能肯定超过 {LABEL_HARM:g}，有的区间也未排除这一点",
        )
    else:
        verdict = Conclusion.DOES_NOT_HOLD
        first = Text(
            f"The loss is surely below {LABEL_HARM:g} at every level that was tried",
            f"在所试的每种程度下，损失都肯定低于 {LABEL_HARM:g}",
        )
    condition = Text(f"{first.en}; {where.en}.", f"{first.zh}；{where.zh}。")
    worst = max(losses.values(), key=lambda loss: loss.value)
    effect = Text("AUC lost at the worst level that was tried", "所试的最差程度下损失的 AUC")
    return Ruling(verdict, condition, effect, *three(worst))
