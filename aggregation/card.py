"""The model card in two languages: what a model predicts, on whom, at which epsilon, and what not.

It is filled from what is public: the plan, and the noised counts of an evaluation round where there
was one; what was not released under the budget is "not measured".

After Mitchell et al. (2019), Model cards for model reporting, arXiv 1810.03993v2.
"""

import math
from collections.abc import Mapping

from dp_accounting import ComposedDpEvent, DpEvent, NeighboringRelation, NonPrivateDpEvent

from aggregation.data.patients import Schema
from aggregation.evaluation import CountedFigure, Evaluated
from aggregation.plan import Plan
from aggregation.releases import run_event, stated
from privacy.accounting import epsilon
from privacy.accounting.events import to_json
from privacy.errors import RefusedError
from privacy.report import meant_by, strings
from privacy.unit import Unit

__all__ = ["LANGUAGES", "card"]

LANGUAGES = ("en", "zh")

_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Model card: {outcome}",
        "what": "What it predicts",
        "predicts": "The probability of this outcome: {outcome}. A model of the kind {kind} with "
        "{dim} parameters, trained in {rounds} rounds (run `{run}`, plan `{digest}`).",
        "reads": "It reads {features} columns, standardised by public constants: {columns}.",
        "whom": "On whom",
        "hospital": "hospital",
        "patients": "declared patients",
        "budget": "epsilon",
        "protects": "Epsilon (at delta = {delta:g}) bounds what the releases of the run{beside} "
        "tell about any one {unit}: because that {unit} took part, the odds of any conclusion "
        "change by at most a factor of e^epsilon, here {factor}, except with chance delta.",
        "beside": " and its evaluation",
        "unprotected": "No noise was added: nobody who took part is protected by a proof. Do not "
        "hand this model out.",
        "quality": "How good it is",
        "AUC": "AUC, all hospitals together: {value} (95 % interval {lower} to {upper}).",
        "large": "Calibration, observed less predicted risk in the mean: {value} (95 % interval "
        "{lower} to {upper}).",
        "drowned": "too few held-out patients for this noise",
        "bin": "risk between",
        "observed": "observed (95 % interval)",
        "counted": "One round counted {held} declared held-out patients by score bin and outcome, "
        "at epsilon {epsilon} of its own (plan `{evaluation}`). Every figure follows from the "
        "noised counts, and its interval includes that noise. {disjoint}",
        "apart": "No held-out patient took part in training.",
        "same": "Held-out patients may have taken part in training: the figures flatter the model.",
        "measured": "AUC: not measured. Calibration: not measured. No evaluation round was run; a "
        "number from one hospital's patients would be a release of its own. Check it on your own "
        "patients with `inpatient predict`, and keep the result.",
        "not": "What it must not be used for",
        "uses": "- Not for a decision about a patient without a clinician: it is a research model "
        "and no medical device.\n- Not in another population before it was checked there.\n- Not "
        "for another outcome, and not where a column is missing or means something else.\n- Not as "
        "evidence of cause and effect.",
        "patient": "patient",
        "whole": "hospital",
        "infinite": "infinite (no protection)",
    },
    "zh": {
        "title": "模型卡：{outcome}",
        "what": "预测什么",
        "predicts": "预测此结局的概率：{outcome}。模型类型 {kind}，{dim} 个参数，训练 {rounds} 轮"
        "（运行 `{run}`，方案 `{digest}`）。",
        "reads": "读取 {features} 列，按公开常数标准化：{columns}。",
        "whom": "训练对象",
        "hospital": "医院",
        "patients": "声明的患者数",
        "budget": "epsilon",
        "protects": "epsilon（delta = {delta:g}）限定整个运行{beside}关于任何一个{unit}"
        "所透露的信息：由于该{unit}参与，任何结论的几率之比至多改变 e^epsilon 倍，"
        "此处为 {factor}，例外的概率为 delta。",
        "beside": "及其评估",
        "unprotected": "没有加入噪声：没有任何证明保护参与者。请勿对外提供此模型。",
        "quality": "效果如何",
        "AUC": "AUC（所有医院合计）：{value}（95 % 区间 {lower} 至 {upper}）。",
        "large": "校准（平均观察风险减预测风险）：{value}（95 % 区间 {lower} 至 {upper}）。",
        "drowned": "留出患者过少，被噪声淹没",
        "bin": "风险区间",
        "observed": "观察值（95 % 区间）",
        "counted": "一轮评估按分数区间和结局对声明的 {held} 名留出患者计数，其自身的 epsilon 为 "
        "{epsilon}（方案 `{evaluation}`）。所有数字均由加噪计数得出，区间已包含该噪声。{disjoint}",
        "apart": "留出患者均未参与训练。",
        "same": "留出患者可能参与过训练：这些数字偏乐观。",
        "measured": "AUC：未测量。校准：未测量。没有进行评估轮；"
        "由某家医院患者得出的数字本身就是一次发布。"
        "请用 `inpatient predict` 在本院患者上检查，结果留在院内。",
        "not": "不得用于",
        "uses": "- 不得在没有临床医生的情况下对患者作出决定：这是研究模型，不是医疗器械。\n"
        "- 未经检查，不得用于其他人群。\n- 不得用于其他结局，也不得用于某列缺失或含义不同的数据。\n"
        "- 不得作为因果关系的证据。",
        "patient": "患者",
        "whole": "医院",
        "infinite": "无穷（没有保护）",
    },
}


def card(
    plan: Plan,
    schema: Schema,
    language: str,
    evaluated: Evaluated | None = None,
    *,
    records: int = 1,
) -> str:
    """Return the card of the model that a plan trains, as Markdown.

    Args:
      plan: What was run.
      schema: Of the patients that it was trained on.
      language: One of ``LANGUAGES``.
      evaluated: What its evaluation round found; None: there was none, nothing is measured.
      records: Rows of one hospital that one patient may have.

    Raises:
      RefusedError: The evaluation is of another plan's model.
    """
    if evaluated is not None and getattr(evaluated.plan.model, "evaluated", "") != plan.digest:
        raise RefusedError(
            f"The evaluation {evaluated.plan.run!r} is of the model of another plan than "
            f"{plan.run!r}; its figures do not belong on this card."
        )
    words = _WORDS[language]
    unit = words["patient" if plan.unit == Unit.PATIENT else "whole"]
    spent = _spent(plan, evaluated)
    most = max(spent.values())
    facts = {
        "outcome": schema.outcome,
        "kind": plan.model.kind,
        "dim": plan.model.dim,
        "rounds": plan.rounds,
        "run": plan.run,
        "digest": plan.digest,
        "features": len(schema),
        "columns": ", ".join(schema.names),
        "delta": plan.delta,
        "unit": unit,
        "beside": "" if evaluated is None else words["beside"],
        "factor": f"{_up(math.exp(min(most, 700.0)), 2):g}",
    }
    lines = [f"# {words['title'].format(**facts)}", "", f"## {words['what']}", ""]
    lines += [words["predicts"].format(**facts), "", words["reads"].format(**facts), ""]
    lines += [f"## {words['whom']}", ""]
    lines += [f"| {words['hospital']} | {words['patients']} | {words['budget']} |", "|---|---|---|"]
    for name, size in zip(plan.hospitals, plan.declared_sizes, strict=True):
        spent_epsilon = (
            f"{_up(spent[name], 3):g}" if math.isfinite(spent[name]) else words["infinite"]
        )
        lines.append(f"| {name} | {size} | {spent_epsilon} |")
    protection = words["unprotected"]
    if math.isfinite(most):
        protection = " ".join([words["protects"].format(**facts), *_meant(plan, records, language)])
    lines += ["", protection, "", f"## {words['quality']}", "", *_quality(evaluated, words), ""]
    lines += [f"## {words['not']}", "", words["uses"], ""]
    return "\n".join(lines)


def _meant(plan: Plan, records: int, language: str) -> list[str]:
    """What the epsilon is for, in the words of the auditor's page."""
    facts = {**stated(plan), "a patient's records": f"at most {records}"}
    events = [to_json(run_event(plan, name)) for name in plan.hospitals]
    meaning = meant_by(plan.unit, events, {name: (value,) for name, value in facts.items()})
    return meaning.sentences(strings(language))


def _quality(evaluated: Evaluated | None, words: Mapping[str, str]) -> list[str]:
    if evaluated is None:
        return [words["measured"]]
    figures, plan, held_out = evaluated.figures, evaluated.plan, evaluated.held_out.together()
    cost = evaluated.epsilon
    counted = words["counted"].format(
        held=sum(plan.declared_sizes),
        epsilon=f"{_up(cost, 3):g}" if math.isfinite(cost) else words["infinite"],
        evaluation=plan.digest,
        disjoint=words["apart" if evaluated.disjoint else "same"],
    )
    lines = [_line(words["AUC"], figures["AUC"], words), ""]
    lines += [_line(words["large"], figures["observed less predicted"], words, "+.3f"), "", counted]
    lines += ["", f"| {words['bin']} | {words['observed']} |", "|---|---|"]
    for k, (low, high) in enumerate(held_out.spans.T):
        ends = (0.0 if k == 0 else low, 1.0 if k == held_out.spans.shape[1] - 1 else high)
        seen = _line("{value} ({lower}, {upper})", figures[f"observed in bin {k}"], words)
        lines.append(f"| {ends[0]:.3f}, {ends[1]:.3f} | {seen} |")
    return lines


def _line(text: str, one: CountedFigure, words: Mapping[str, str], form: str = ".3f") -> str:
    """Fill a line; an interval is rounded outwards."""
    return text.format(
        value=words["drowned"] if one.value is None else format(one.value, form),
        lower=format(math.floor(1000 * one.lower) / 1000, form),
        upper=format(math.ceil(1000 * one.upper) / 1000, form),
    )


def _spent(plan: Plan, evaluated: Evaluated | None) -> dict[str, float]:
    """Upper bound of run and evaluation together for each hospital's patients."""
    epsilon_of_event: dict[str, float] = {}
    spent = {}
    for name in plan.hospitals:
        event = run_event(plan, name)
        if evaluated is not None:
            event = ComposedDpEvent([event, run_event(evaluated.plan, name)])
        if repr(event) not in epsilon_of_event:  # most hospitals have the same
            epsilon_of_event[repr(event)] = _epsilon(plan, event, evaluated)
        spent[name] = epsilon_of_event[repr(event)]
    return spent


def _epsilon(plan: Plan, event: DpEvent, evaluated: Evaluated | None) -> float:
    bare = [run_event(one, one.hospitals[0]) for one in (plan, *_plan_of(evaluated))]
    if not plan.noise.protects or any(isinstance(e, NonPrivateDpEvent) for e in bare):
        return math.inf
    relation = NeighboringRelation.ADD_OR_REMOVE_ONE
    if plan.unit == Unit.HOSPITAL:
        relation = NeighboringRelation.REPLACE_ONE
    return float(epsilon(event, delta=plan.delta, relation=relation).upper)


def _plan_of(evaluated: Evaluated | None) -> tuple[Plan, ...]:
    return () if evaluated is None else (evaluated.plan,)


def _up(value: float, digits: int) -> float:
    """Round up: what is printed is never less than what holds."""
    scale = 10.0**digits
    return math.ceil(value * scale) / scale
