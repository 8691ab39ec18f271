"""The model card in two languages: what a model predicts, on whom, at which epsilon, and what not.

It is filled from the plan alone, which is public; what was not released under the budget is "not
measured". After Mitchell et al. (2019), Model cards for model reporting, arXiv 1810.03993v2.
"""

import math
from collections.abc import Mapping

from dp_accounting import NeighboringRelation, NonPrivateDpEvent

from aggregation.data.patients import Schema
from aggregation.plan import Plan
from aggregation.releases import run_event
from privacy.accounting import epsilon

__all__ = ["LANGUAGES", "card"]

LANGUAGES = ("en", "zh")

_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Model card: {outcome}",
        "what": "What it predicts",
        "predicts": "The probability of this outcome: {outcome}. A {kind} with {dim} parameters, "
        "trained in {rounds} rounds (run `{run}`, plan `{digest}`).",
        "reads": "It reads {features} columns, standardised by public constants: {columns}.",
        "whom": "On whom",
        "hospital": "hospital",
        "patients": "declared patients",
        "budget": "epsilon",
        "protects": "Epsilon (at delta = {delta:g}) bounds what the run tells about any one "
        "{unit}: because that {unit} took part, the odds of any conclusion change by at most a "
        "factor of e^epsilon, here {factor}.",
        "unprotected": "No noise was added: nobody who took part is protected by a proof. Do not "
        "hand this model out.",
        "quality": "How good it is",
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
        "protects": "epsilon（delta = {delta:g}）限定整个运行关于任何一个{unit}所透露的信息："
        "由于该{unit}参与，任何结论的几率之比至多改变 e^epsilon 倍，此处为 {factor}。",
        "unprotected": "没有加入噪声：没有任何证明保护参与者。请勿对外提供此模型。",
        "quality": "效果如何",
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


def card(plan: Plan, schema: Schema, language: str) -> str:
    """Return the card of the model that a plan trains, as Markdown.

    Args:
      plan: What was run.
      schema: Of the patients that it was trained on.
      language: One of ``LANGUAGES``.
    """
    words = _WORDS[language]
    unit = words["patient" if plan.unit == "patient" else "whole"]
    spent = {name: _epsilon(plan, name) for name in plan.hospitals}
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
        "factor": f"{_up(math.exp(min(most, 700.0)), 2):g}",
    }
    lines = [f"# {words['title'].format(**facts)}", "", f"## {words['what']}", ""]
    lines += [words["predicts"].format(**facts), "", words["reads"].format(**facts), ""]
    lines += [f"## {words['whom']}", ""]
    lines += [f"| {words['hospital']} | {words['patients']} | {words['budget']} |", "|---|---|---|"]
    for name, size in zip(plan.hospitals, plan.declared_sizes, strict=True):
        told = f"{_up(spent[name], 3):g}" if math.isfinite(spent[name]) else words["infinite"]
        lines.append(f"| {name} | {size} | {told} |")
    told = words["protects"].format(**facts) if math.isfinite(most) else words["unprotected"]
    lines += ["", told, "", f"## {words['quality']}", "", words["measured"], ""]
    lines += [f"## {words['not']}", "", words["uses"], ""]
    return "\n".join(lines)


def _epsilon(plan: Plan, hospital: str) -> float:
    """Upper bound of the whole run for one hospital's patients."""
    event = run_event(plan, hospital)
    if isinstance(event, NonPrivateDpEvent) or plan.noise in ("none", "article"):
        return math.inf
    relation = NeighboringRelation.ADD_OR_REMOVE_ONE
    if plan.unit == "hospital":
        relation = NeighboringRelation.REPLACE_ONE
    return float(epsilon(event, delta=plan.delta, relation=relation).upper)


def _up(value: float, digits: int) -> float:
    """Round up: what is printed is never less than what holds."""
    scale = 10.0**digits
    return math.ceil(value * scale) / scale
