"""The rules of the claims: verdict, condition or reason, effect and interval, from records.

The thresholds stand above the rules, which were written before their numbers but where the paper's
limits say otherwise. Each rule speaks whole sentences in both languages: where a claim holds only
if something, the sentence says if what.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attacks.scoring.rates import student_half_width
from experiments.evaluation import Estimate
from experiments.evaluation.acceptance import PRIVACY_COST
from experiments.run.record import Record
from experiments.run.typed import read
from experiments.studies.asynchronous import ArrivalRule
from experiments.studies.asynchrony import GAP, RuleOverSeeds, read_asynchrony, repeated
from experiments.studies.claim_words import Text, capital, ends, hospital, names_of
from experiments.studies.correction import read_correction
from experiments.studies.equivalent import Equivalent, EquivalentMetrics, Ratio
from experiments.studies.equivalent_heart import OwnPatients, OwnPatientsMetrics
from experiments.studies.frontier.risks import FrontierResult, Risk, read_frontier
from experiments.studies.gains import Gain, GainMetrics
from experiments.studies.poor_labels import Harm, read_labels
from experiments.studies.uploads import UploadMetrics, Uploads

__all__ = [
    "Ruling",
    "Verdict",
    "acceptable",
    "auc_up",
    "infeasible",
    "no_impact",
    "overhead",
    "poor_labels",
    "raw_bytes",
    "threefold",
    "without_waiting",
]

Verdict = Literal["holds", "holds only if", "does not hold"]

RISK_MARGIN = 0.05  # over guessing one in ten: half of what guessing gives
TIMES = 3.0  # the article's data equivalent
LABEL_HARM = 0.01  # within-site AUC: what would be missed
SPEED = 10e6 / 8  # bytes a second of a modest line: 10 Mbit/s


@dataclass(frozen=True)
class Ruling:
    """What a rule says; see ``studies.claims.Finding``."""

    verdict: Verdict
    condition: Text
    effect: Text
    value: float
    lower: float | None = None
    upper: float | None = None


_RULES: Mapping[str, Text] = {
    ArrivalRule.SYNCHRONOUS: Text("rounds that wait", "等待所有医院的轮次"),
    ArrivalRule.FEDBUFF: Text("FedBuff", "FedBuff"),
    ArrivalRule.CORRECTED: Text("corrected FedBuff", "校正后的 FedBuff "),
    ArrivalRule.MEMORY: Text("Memory", "记忆法"),
    ArrivalRule.SEALED_CORRECTED: Text("sealed corrected FedBuff", "密封并校正的 FedBuff"),
    ArrivalRule.SEALED_MEMORY: Text("sealed Memory", "密封的记忆法"),
}
_HARMS = {Harm.WRONG: Text("a quarter of the labels wrong at one", "一家有四分之一的标签错误")}


def raw_bytes(records: Sequence[Record]) -> Ruling:
    """No byte of raw patient data leaves a hospital."""
    sealed, bare = records
    lost = read(sealed, Uploads, UploadMetrics).metrics.unaccounted_bytes
    exact = _worst(read_frontier([bare])[0]).exact
    if lost > 0:
        verdict: Verdict = "does not hold"
        condition = Text(
            "Bytes left that no ledger accounts for.", "有字节离开了医院，却没有账本条目与之对应。"
        )
    elif exact > 0:
        verdict = "holds only if"
        condition = Text(
            "It holds only if a record that can be read off an upload does not count as sent: from "
            f"clear uploads of small batches {exact:.0%} of the targets were read exactly, every "
            "feature right.",
            "仅当能从上传内容中读出的记录不算“已送出”时才成立：从小批次的明文上传中，"
            f"{exact:.0%} 的目标患者被逐项准确读出。",
        )
    else:
        verdict = "holds"
        condition = Text(
            "Every byte is a release in its sender's ledger.",
            "每个字节都是发送方账本中的一次发布。",
        )
    effect = Text("bytes that no ledger accounts for", "没有账本条目对应的字节数")
    return Ruling(verdict, condition, effect, float(lost))


def infeasible(records: Sequence[Record]) -> Ruling:
    """Noise on the gradients makes inversion mathematically infeasible."""
    results = read_frontier(records)
    most = results[0].metrics.prior_success + RISK_MARGIN
    epsilons = {r.point.epsilon for r in results if r.point.epsilon is not None}
    unsafe = {r.point.epsilon for r in results if _worst(r).upper > most}
    safe = sorted(epsilons - unsafe)
    proven = [r for r in results if r.metrics.bound is not None]
    at_one = max(
        (_worst(r) for r in results if r.point.epsilon == 1.0), key=lambda risk: risk.lower
    )
    values = [f"{e:g}" for e in safe]
    within = Text(
        f"the worst attack stays within {RISK_MARGIN:g} of guessing "
        + (f"at ε = {', '.join(values)} of one upload" if safe else "at no ε that was tried"),
        (f"一次上传的 ε = {'、'.join(values)} 时，" if safe else "在所试的任何 ε 下，")
        + f"最强攻击超出瞎猜的幅度都{'不超过' if safe else '可能超过'} {RISK_MARGIN:g}",
    )
    bound = Text(
        f"a bound is proved for {len(proven)} of {len(records)} points"
        + ("" if proven else ", because the noise's scale follows the patients"),
        f"{len(records)} 个点中有 {len(proven)} 个证明了上界"
        + ("" if proven else "，因为噪声的尺度随患者而变"),
    )
    verdict: Verdict = "does not hold"
    condition = Text(f"{capital(within.en)}; {bound.en}.", f"{within.zh}；{bound.zh}。")
    if len(proven) == len(records) and not unsafe:
        verdict = "holds"
        condition = Text("Measured and proved at every ε.", "在每个 ε 下都有实测与证明。")
    elif safe and proven:
        verdict = "holds only if"
        condition = Text(
            f"It holds only if ε of one upload is {', '.join(values)}: there the worst attack "
            f"stays within {RISK_MARGIN:g} of guessing; {bound.en}.",
            f"仅当一次上传的 ε 取 {'、'.join(values)} 时才成立：此时最强攻击超出瞎猜的幅度都不超过"
            f" {RISK_MARGIN:g}；{bound.zh}。",
        )
    effect = Text(
        "patients named out of ten by the worst attack at ε = 1",
        "ε = 1 时最强攻击从十人中指对患者的比率",
    )
    return Ruling(verdict, condition, effect, *_three(at_one))


def no_impact(records: Sequence[Record]) -> Ruling:
    """That noise does not significantly impact the model's performance."""
    article, shared = (read(r, Gain, GainMetrics).metrics.gain for r in records)
    if article.lower >= -PRIVACY_COST:
        verdict: Verdict = "holds"
        first = Text(
            f"The loss is surely within the margin of {PRIVACY_COST:g}",
            f"损失肯定不超过 {PRIVACY_COST:g} 的界限",
        )
    elif article.upper < -PRIVACY_COST:
        verdict = "does not hold"
        first = Text(
            f"The loss is surely above the margin of {PRIVACY_COST:g}",
            f"损失肯定超过 {PRIVACY_COST:g} 的界限",
        )
    else:
        verdict = "holds only if"
        first = Text(
            f"It holds only if the true loss is within the margin of {PRIVACY_COST:g}, which the "
            "interval neither shows nor excludes",
            f"仅当真实损失不超过 {PRIVACY_COST:g} 的界限时才成立，区间既未证实也未排除这一点",
        )
    lost, zh_lost = ends(-shared.value, -shared.upper, -shared.lower)
    condition = Text(
        f"{first.en} (all patients in every round); sealed sums with one shared noise at ε = 1 for "
        f"the whole run lose {lost}.",
        f"{first.zh}（每轮使用全部患者）；密封求和并共享一份噪声、整次运行 ε = 1 时"
        f"损失 {zh_lost}。",
    )
    effect = Text("AUC, the article's noise less none", "AUC：用文章的噪声减去不加噪声")
    return Ruling(verdict, condition, effect, *_three(article))


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
        verdict: Verdict = "holds"
        condition = Text(
            f"The whole interval is above {TIMES:g} at every size that was tried.",
            f"在所试的每种规模下，整个区间都高于 {TIMES:g}。",
        )
    elif met:
        verdict = "holds only if"
        condition = Text(
            "It holds only if the hospital is one of these, by its number of patients: "
            f"{places.en} (the whole interval is above {TIMES:g}{nowhere.en}).",
            f"仅当医院属于以下情形（按自有患者人数）时才成立：{places.zh}"
            f"（整个区间高于 {TIMES:g}{nowhere.zh}）。",
        )
    elif any(r.upper < TIMES and not r.at_least for r in rows):
        verdict = "does not hold"
        condition = Text(
            f"At no size that was tried is the whole interval above {TIMES:g}, and at some it is "
            "below.",
            f"在所试的任何规模下，整个区间都不高于 {TIMES:g}，有的完全低于它。",
        )
    else:
        verdict = "holds only if"
        condition = Text(
            f"It holds only if the truth lies in the upper part of the intervals: each reaches "
            f"{TIMES:g}, none lies above it.",
            f"仅当真实值位于区间上部时才成立：每个区间都触及 {TIMES:g}，但没有一个整体高于它。",
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
    return Ruling(verdict, condition, effect, *_three(largest))


def auc_up(records: Sequence[Record]) -> Ruling:
    """A model trained across hospitals predicts better than a hospital's own."""
    bare, sealed = (read(r, Gain, GainMetrics).metrics for r in records)
    gains = [bare.gain, sealed.gain]
    worse = sorted(n for n, g in bare.gain_sites.items() if g.upper < 0)
    better = sorted(n for n, g in sealed.gain_sites.items() if g.lower > 0)
    english, chinese = ends(*_three(sealed.gain))
    sites = Text(
        f"sealed at ε = 1 it is {english}, surely better at "
        f"{names_of(better).en or 'no hospital'}; without noise surely worse at "
        f"{names_of(worse).en or 'none'}",
        f"密封且 ε = 1 时为 {chinese}，肯定更好的医院：{names_of(better).zh or '无'}；"
        f"不加噪声时肯定更差的医院：{names_of(worse).zh or '无'}",
    )
    if all(g.lower > 0 for g in gains) and not worse:
        verdict: Verdict = "holds"
        first = Text("The gain is surely above zero", "增益肯定大于零")
    elif all(g.upper <= 0 for g in gains):
        verdict = "does not hold"
        first = Text("The gain is surely not above zero", "增益肯定不大于零")
    else:
        verdict = "holds only if"
        first = Text(
            "It holds only if the true gain over each hospital's own model is above zero both with "
            "noise and without, which these intervals do not show",
            "仅当加噪声与不加噪声时相对各院自己模型的真实增益都大于零才成立，而这些区间没有证实这一点",
        )
    condition = Text(f"{first.en}; {sites.en}.", f"{first.zh}；{sites.zh}。")
    effect = Text("AUC, federated less own, without noise", "AUC：不加噪声的联邦模型减去本院模型")
    return Ruling(verdict, condition, effect, *_three(gains[0]))


def acceptable(records: Sequence[Record]) -> Ruling:
    """Weighting and correction bring every type of hospital into an acceptable range."""
    checks = [c for r in read_correction(records) for c in r.metrics.acceptance or ()]
    judged = [c for c in checks if c.verdict != "too few"]
    passed = sum(c.verdict == "pass" for c in judged)
    failed = sum(c.verdict == "fail" for c in judged)
    unsettled, few = len(judged) - passed - failed, len(checks) - len(judged)
    counts = Text(
        f"of {len(judged)} checks {passed} pass, {failed} fail and {unsettled} can't be decided; "
        f"{few} more have too few patients to judge",
        f"{len(judged)} 项检查中 {passed} 项通过、{failed} 项不通过、{unsettled} 项无法判定；"
        f"另有 {few} 项因患者太少而无法判断",
    )
    if passed == len(checks):
        verdict: Verdict = "holds"
        condition = Text(f"{capital(counts.en)}.", f"{counts.zh}。")
    elif failed:
        verdict = "does not hold"
        condition = Text(f"{capital(counts.en)}.", f"{counts.zh}。")
    else:
        verdict = "holds only if"
        condition = Text(
            f"It holds only if the checks that are not decided would be passed too: {counts.en}.",
            f"仅当尚未判定的检查也能通过时才成立：{counts.zh}。",
        )
    effect = Text("fraction of checks passed", "通过的检查所占比例")
    return Ruling(verdict, condition, effect, passed / len(judged))


def without_waiting(records: Sequence[Record]) -> Ruling:
    """Hospitals upload at their own pace and nobody waits for all."""
    waits, *others = repeated(read_asynchrony(records))
    with np.errstate(invalid="ignore"):  # never over never is never
        waited = _times(waits)
        ratios = {
            o.rule: np.nan_to_num(_times(o) / waited, nan=np.inf, posinf=np.inf) for o in others
        }
    best = min(ratios, key=lambda rule: float(ratios[rule].mean()))
    quick = [rule for rule, ratio in ratios.items() if ratio.mean() <= 1]
    noisy = [rule for rule in quick if rule.sealed]
    names = names_of([r for r in quick if r not in noisy], _RULES)
    near = Text(
        f"as close to pooled training as {GAP:g} nats in all {waits.seeds} repetitions, no later "
        "than rounds that wait",
        f"在全部 {waits.seeds} 次重复中与集中训练的差距都不超过 {GAP:g} 纳特，"
        "且不晚于等待所有医院的轮次",
    )
    if noisy:
        verdict: Verdict = "holds"
        condition = Text(
            f"With noise too, {names_of(noisy, _RULES).en} come {near.en}.",
            f"加噪声时，{names_of(noisy, _RULES).zh}也做到：{near.zh}。",
        )
    elif quick:
        verdict = "holds only if"
        condition = Text(
            f"It holds only if no noise is added and the rule is {names.en.replace(', ', ' or ')}: "
            f"then training comes {near.en}; with noise no rule that was tried does.",
            f"仅当不加噪声并采用{names.zh.replace('、', '或')}时才成立：此时{near.zh}；"
            "加噪声时，所试的规则都做不到。",
        )
    else:
        verdict = "does not hold"
        condition = Text(f"No rule comes {near.en}.", f"没有规则做到：{near.zh}。")
    rule = _RULES.get(best, Text(best, best))
    effect = Text(
        f"time of {rule.en} over rounds that wait", f"{rule.zh}所需时间与等待所有医院之比"
    )
    mean = float(ratios[best].mean())
    if not math.isfinite(mean):
        return Ruling(verdict, condition, effect, 1e6)
    half = student_half_width(ratios[best])
    return Ruling(verdict, condition, effect, mean, max(0.0, mean - half), mean + half)


def overhead(records: Sequence[Record]) -> Ruling:
    """Communication overhead is genuine."""
    runs = [read(record, Uploads, UploadMetrics).metrics for record in records]
    ratios = [r for run in runs for r in run.bytes_over_table.values()]
    seconds = max(sum(run.bytes.values()) for run in runs) / SPEED
    line = Text(
        f"at 10 Mbit/s the largest run's uploads take {seconds:.0f} s",
        f"在 10 Mbit/s 下，最大的一次运行的上传需要 {seconds:.0f} 秒",
    )
    if min(ratios) > 1:
        verdict: Verdict = "holds"
        first = Text(
            "Each hospital uploads more than its own table over a run",
            "每家医院在一次运行中上传的字节数都超过自己的数据表",
        )
    elif max(ratios) <= 1:
        verdict = "does not hold"
        first = Text(
            "No hospital uploads more than its own table over a run",
            "没有医院在一次运行中上传的字节数超过自己的数据表",
        )
    else:
        verdict = "holds only if"
        first = Text(
            "It holds only if the hospital is one of those that upload more than their own table "
            f"over a run ({sum(r > 1 for r in ratios)} of {len(ratios)})",
            "仅当医院在一次运行中上传的字节数超过自己的数据表时才成立"
            f"（{len(ratios)} 家中有 {sum(r > 1 for r in ratios)} 家）",
        )
    condition = Text(f"{first.en}; {line.en}.", f"{first.zh}；{line.zh}。")
    effect = Text(
        "bytes sent over bytes of the hospital's table (median; smallest to largest)",
        "发送字节数与该院数据表字节数之比（中位数；最小至最大）",
    )
    return Ruling(verdict, condition, effect, float(np.median(ratios)), min(ratios), max(ratios))


def poor_labels(records: Sequence[Record]) -> Ruling:
    """Hospitals with poor labels drag the whole model down."""
    results = read_labels(records)
    half = len(results) // 2
    clean, spoilt = results[:half], results[half:]
    drops = np.array(
        [c.metrics.auc_within - s.metrics.auc_within for c, s in zip(clean, spoilt, strict=True)]
    )
    spread = student_half_width(drops)
    mean = float(drops.mean())
    lower, upper = mean - spread, mean + spread
    given = spoilt[0].point.harm
    harm = _HARMS.get(given, Text(given, given))
    count = len(spoilt[0].metrics.left_out)
    where = Text(
        f"{harm.en} of {count} hospitals, clipped gradients",
        f"{count} 家医院中{harm.zh}，梯度经过裁剪",
    )
    if lower > LABEL_HARM:
        verdict: Verdict = "holds"
        first = Text(f"The loss is surely above {LABEL_HARM:g}", f"损失肯定超过 {LABEL_HARM:g}")
    elif upper < LABEL_HARM:
        verdict = "does not hold"
        first = Text(f"The loss is surely below {LABEL_HARM:g}", f"损失肯定低于 {LABEL_HARM:g}")
    else:
        verdict = "holds only if"
        first = Text(
            f"It holds only if the true loss is above {LABEL_HARM:g}, which the interval neither "
            "shows nor excludes",
            f"仅当真实损失超过 {LABEL_HARM:g} 时才成立，区间既未证实也未排除这一点",
        )
    condition = Text(f"{first.en} ({where.en}).", f"{first.zh}（{where.zh}）。")
    effect = Text("AUC lost by wrong labels at one hospital", "一家医院标签错误所损失的 AUC")
    return Ruling(verdict, condition, effect, mean, lower, upper)


def _times(rule: RuleOverSeeds) -> NDArray[np.float64]:
    """When each seed reached the gap; infinite where one never did."""
    reached = [m.reached for m in rule.metrics]
    return np.array([math.inf if r is None else r.time or 1e-9 for r in reached])


def _worst(result: FrontierResult) -> Risk:
    """The worst attack's risk; certain where none could be tried."""
    return result.metrics.risk or Risk(1.0, 1.0, 1.0)


def _three(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.lower, estimate.upper
