"""The rules of the claims: verdict, condition or reason, effect and interval, from records.

The thresholds stand in ``experiments.margins``; they were written before their numbers but where
the paper's limits say otherwise. Each rule speaks whole sentences in both languages: where a claim
holds only if something, the sentence says if what; where an interval holds the threshold, or
nothing here could decide it, the claim is *undecided*, and has not failed.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attacks.scoring.rates import student_half_width
from experiments.margins import PRIVACY_COST, RISK_MARGIN, WAIT
from experiments.run.record import Record
from experiments.run.typed import read, read_all
from experiments.studies.asynchrony_study import GAP, RuleOverSeeds, read_asynchrony, repeated
from experiments.studies.claim_names import ARRIVAL_WORDS, READING_WORDS
from experiments.studies.claim_words import Text, capital, ends, names_of
from experiments.studies.conclusion import Conclusion, side_of
from experiments.studies.frontier.risks import FrontierResult, Risk, read_frontier
from experiments.studies.gains import Gain, GainMetrics
from experiments.studies.readings import NoiseReading, ReadingMetrics, ReadingPoint
from experiments.studies.ruling import Ruling, three
from experiments.studies.uploads import UploadMetrics, Uploads

__all__ = [
    "infeasible",
    "no_impact",
    "overhead",
    "raw_bytes",
    "without_waiting",
]

SPEED = 10e6 / 8  # bytes a second of a modest line: 10 Mbit/s


def raw_bytes(records: Sequence[Record]) -> Ruling:
    """No byte of raw patient data leaves a hospital."""
    sealed, bare = records
    lost = read(sealed, Uploads, UploadMetrics).metrics.unaccounted_bytes
    exact = _worst(read_frontier([bare])[0]).exact
    if lost > 0:
        verdict = Conclusion.DOES_NOT_HOLD
        condition = Text(
            "Bytes left that no ledger accounts for.", "有字节离开了医院，却没有账本条目与之对应。"
        )
    elif exact > 0:
        verdict = Conclusion.HOLDS_ONLY_IF
        condition = Text(
            "It holds only if a record that can be read off an upload does not count as sent: from "
            f"clear uploads of small batches {exact:.0%} of the targets were read exactly, every "
            "feature right.",
            "仅当能从上传内容中读出的记录不算“已送出”时才成立：从小批次的明文上传中，"
            f"{exact:.0%} 的目标患者被逐项准确读出。",
        )
    else:
        verdict = Conclusion.HOLDS
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
    verdict = Conclusion.DOES_NOT_HOLD
    condition = Text(f"{capital(within.en)}; {bound.en}.", f"{within.zh}；{bound.zh}。")
    if len(proven) == len(records) and not unsafe:
        verdict = Conclusion.HOLDS
        condition = Text("Measured and proved at every ε.", "在每个 ε 下都有实测与证明。")
    elif safe and proven:
        verdict = Conclusion.HOLDS_ONLY_IF
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
    return Ruling(verdict, condition, effect, *three(at_one))


def no_impact(records: Sequence[Record]) -> Ruling:
    """That noise does not significantly impact the model's performance: in which reading of it?"""
    shared = read(records[-1], Gain, GainMetrics).metrics.gain
    by_reading = {
        r.point.reading: r.metrics for r in read_all(records[:-1], ReadingPoint, ReadingMetrics)
    }
    each = {name: side_of(metrics.gain, -PRIVACY_COST) for name, metrics in by_reading.items()}
    within = [name for name, side in each.items() if side is Conclusion.HOLDS]
    if len(within) == len(each):
        verdict = Conclusion.HOLDS
        first = Text(
            f"The loss is surely within {PRIVACY_COST:g} in every reading of the noise's scale",
            f"在噪声尺度的每种解读下，损失都肯定不超过 {PRIVACY_COST:g}",
        )
    elif within:
        verdict = Conclusion.HOLDS_ONLY_IF
        named = names_of(within, READING_WORDS)
        first = Text(
            f"It holds only if the noise's scale is read as this, where the loss is surely within "
            f"{PRIVACY_COST:g}: {named.en}",
            f"仅当噪声尺度按以下方式解读时才成立，此时损失肯定不超过 {PRIVACY_COST:g}：{named.zh}",
        )
    elif Conclusion.UNDECIDED in each.values():
        verdict = Conclusion.UNDECIDED
        first = Text(
            f"In no reading of the noise's scale is the loss surely within {PRIVACY_COST:g}, and "
            "in some the interval does not exclude it",
            f"在噪声尺度的任何解读下，都不能肯定损失不超过 {PRIVACY_COST:g}，"
            "有的区间也未排除这一点",
        )
    else:
        verdict = Conclusion.DOES_NOT_HOLD
        first = Text(
            f"The loss is surely above {PRIVACY_COST:g} in every reading of the noise's scale",
            f"在噪声尺度的每种解读下，损失都肯定超过 {PRIVACY_COST:g}",
        )
    phrases = [_read_as(name, metrics) for name, metrics in by_reading.items()]
    lost, zh_lost = ends(-shared.value, -shared.upper, -shared.lower)
    condition = Text(
        f"{first.en}. AUC, and how often who knows all others names the patient, by the scale: "
        f"{'; '.join(t.en for t in phrases)}. Sealed sums with one shared noise at ε = 1 for the "
        f"whole run lose {lost}.",
        f"{first.zh}。按尺度列出 AUC 之差以及知道其余所有患者的人指对患者的比率："
        f"{'；'.join(t.zh for t in phrases)}。密封求和并共享一份噪声、整次运行 ε = 1 时"
        f"损失 {zh_lost}。",
    )
    effect = Text(
        "AUC with noise by the upload's norm, less without",
        "AUC：按上传的范数加噪声减去不加噪声",
    )
    return Ruling(verdict, condition, effect, *three(by_reading[NoiseReading.UPLOAD].gain))


def _read_as(reading: NoiseReading, metrics: ReadingMetrics) -> Text:
    name = READING_WORDS[reading]
    gain, zh_gain = ends(*three(metrics.gain))
    bound = "no bound" if metrics.bound is None else f"bound {metrics.bound:.2f}"
    zh_bound = "无上界" if metrics.bound is None else f"上界 {metrics.bound:.2f}"
    return Text(
        f"{name.en} {gain}, {metrics.risk.value:.2f} ({bound})",
        f"{name.zh} {zh_gain}，{metrics.risk.value:.2f}（{zh_bound}）",
    )


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
    names = names_of([r for r in quick if r not in noisy], ARRIVAL_WORDS)
    near = Text(
        f"as close to pooled training as {GAP:g} nats in all {waits.seeds} repetitions, no later "
        "than rounds that wait",
        f"在全部 {waits.seeds} 次重复中与集中训练的差距都不超过 {GAP:g} 纳特，"
        "且不晚于等待所有医院的轮次",
    )
    if noisy:
        verdict = Conclusion.HOLDS
        condition = Text(
            f"With noise too, {names_of(noisy, ARRIVAL_WORDS).en} come {near.en}.",
            f"加噪声时，{names_of(noisy, ARRIVAL_WORDS).zh}也做到：{near.zh}。",
        )
    elif quick:
        verdict = Conclusion.HOLDS_ONLY_IF
        condition = Text(
            f"It holds only if no noise is added and the rule is {names.en.replace(', ', ' or ')}: "
            f"then training comes {near.en}; with noise no rule that was tried does.",
            f"仅当不加噪声并采用{names.zh.replace('、', '或')}时才成立：此时{near.zh}；"
            "加噪声时，所试的规则都做不到。",
        )
    else:
        verdict = Conclusion.DOES_NOT_HOLD
        condition = Text(f"No rule comes {near.en}.", f"没有规则做到：{near.zh}。")
    rule = ARRIVAL_WORDS.get(best, Text(best, best))
    effect = Text(
        f"time of {rule.en} over rounds that wait", f"{rule.zh}所需时间与等待所有医院之比"
    )
    mean = float(ratios[best].mean())
    if not math.isfinite(mean):
        return Ruling(verdict, condition, effect, 1e6)
    half = student_half_width(ratios[best])
    return Ruling(verdict, condition, effect, mean, max(0.0, mean - half), mean + half)


def overhead(records: Sequence[Record]) -> Ruling:
    """Communication overhead is genuine: bandwidth and time, as the article means it."""
    runs = [read(record, Uploads, UploadMetrics).metrics for record in records]
    seconds = [sum(run.bytes.values()) / SPEED for run in runs]
    ratios = [r for run in runs for r in run.bytes_over_table.values()]
    table = Text(
        f"a hospital sends {min(ratios):.2g} to {max(ratios):.2g} times the bytes of its own table",
        f"每家医院发送的字节数是自己数据表的 {min(ratios):.2g} 至 {max(ratios):.2g} 倍",
    )
    if min(seconds) > WAIT:
        verdict = Conclusion.HOLDS
        first = Text(
            f"All uploads of a run take more than {WAIT:g} s at 10 Mbit/s",
            f"在 10 Mbit/s 下，一次运行的全部上传都超过 {WAIT:g} 秒",
        )
    elif max(seconds) <= WAIT:
        verdict = Conclusion.DOES_NOT_HOLD
        first = Text(
            f"All uploads of a run take at most {WAIT:g} s at 10 Mbit/s",
            f"在 10 Mbit/s 下，一次运行的全部上传都不超过 {WAIT:g} 秒",
        )
    else:
        verdict = Conclusion.HOLDS_ONLY_IF
        slow = sum(s > WAIT for s in seconds)
        first = Text(
            f"It holds only if the run is one of the larger ones: {slow} of {len(seconds)} take "
            f"more than {WAIT:g} s at 10 Mbit/s",
            f"仅当运行规模较大时才成立：{len(seconds)} 次运行中有 {slow} 次在 10 Mbit/s 下"
            f"超过 {WAIT:g} 秒",
        )
    condition = Text(f"{first.en}; {table.en}.", f"{first.zh}；{table.zh}。")
    effect = Text(
        "seconds of all uploads of the largest run at 10 Mbit/s",
        "在 10 Mbit/s 下最大一次运行全部上传所需的秒数",
    )
    return Ruling(verdict, condition, effect, max(seconds))


def _times(rule: RuleOverSeeds) -> NDArray[np.float64]:
    """When each seed reached the gap; infinite where one never did."""
    reached = [m.reached for m in rule.metrics]
    return np.array([math.inf if r is None else r.time or 1e-9 for r in reached])


def _worst(result: FrontierResult) -> Risk:
    """The worst attack's risk; certain where none could be tried."""
    return result.metrics.risk or Risk(1.0, 1.0, 1.0)
