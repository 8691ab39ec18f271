"""What is inferred beside whole patients, and whether the likelihood ratio knows what it knows."""

import math
from collections.abc import Mapping, Sequence

from experiments.evaluation import Estimate
from experiments.run.record import Record
from experiments.run.text import epsilon, interval, nearest, up
from experiments.studies.questions import QuestionKind
from experiments.studies.words import COMMA, DESIGNS, MODELS, NOTHING_YET, REGIMES
from paper.markdown import table

__all__ = ["inferred_block", "inferred_rows", "sureness_block", "sureness_rows"]

_ORDER = ("none", "article", "local", "sealed")
_HEADINGS = {
    "en": (
        ("what, by which attack", "who asks", "design", "ε", "attack", "who saw nothing", "bound"),
        ("hospitals", "design", "ε", "divided by", "said", "was so", "line-ups"),
    ),
    "zh": (
        ("推断什么，用何攻击", "谁来问", "方案", "ε", "攻击", "什么都没看到的人", "上界"),
        ("医院", "方案", "ε", "除以", "所称把握", "实际命中", "列队数"),
    ),
}
_ASKED = {
    QuestionKind.MEMBERSHIP: "是否参加（LiRA）",
    QuestionKind.RMIA: "是否参加（RMIA）",
    QuestionKind.ONE_RUN: "是否参加（陌生人）",
    QuestionKind.ANSWERS: "是否参加（RMIA）",
    QuestionKind.ROUNDS: "是否参加（硬币）",
    QuestionKind.FEDMIA: "是否参加（FedMIA）",
    QuestionKind.ATTRIBUTE: "性别（影子模型）",
    QuestionKind.ATTRIBUTE_ANSWERS: "性别（影子模型）",
    QuestionKind.ATTRIBUTE_ROUNDS: "性别（硬币）",
    QuestionKind.PREVALENCE: "患病者比例：平均误差",
    QuestionKind.PROPERTY: "男性比例：平均误差",
    QuestionKind.TRAFFIC: "哪家医院更大，按轮",
    QuestionKind.OWN_PACE: "哪家医院更大，各按自己的节奏",
}
_WHO = {
    "public": "公众",
    "buyer": "购买预测者",
    "curious server": "好奇的服务器",
    "eavesdropper": "窃听者",
}


def inferred_rows(records: Sequence[Record]) -> list[dict[str, str]]:
    """One row a question and design, as text; ``attack`` is empty where the view hides it."""
    inference_records = [r for r in records if r.config["experiment"] == "inference"]
    kinds = [*QuestionKind]
    inference_records.sort(
        key=lambda r: (
            kinds.index(QuestionKind(r.config["question"])),
            _ORDER.index(r.config["design"]),
            r.config["epsilon"] is not None,
        )
    )
    return [
        {
            "question": r.config["question"],
            "adversary": r.metrics["adversary"],
            "design": r.config["design"],
            "epsilon": epsilon(r.config["epsilon"]),
            "attack": "" if r.metrics["attack"] is None else _told(r.metrics["attack"], 2),
            "without": nearest(r.metrics["baseline"]["value"], 2),
            "bound": "" if r.metrics["bound"] is None else up(r.metrics["bound"]),
        }
        for r in inference_records
    ]


def sureness_rows(records: Sequence[Record]) -> list[dict[str, str]]:
    """One row a span of what the likelihood ratio said, on simulated hospitals and on real ones.

    ``temper``: what its log-likelihoods were divided by; fitted on the simulated ones.
    """
    reliability_records = [r for r in records if r.config["experiment"] == "reliability"]
    reliability_records.sort(
        key=lambda r: (
            r.config["regime"],
            _ORDER.index(r.config["design"]),
            -(r.config["epsilon"] or math.inf),
        )
    )
    return [
        {
            "patients": which,
            "temper": f"{r.metrics['temper']:.2g}" if which == "tempered" else "1",
            "regime": r.config["regime"],
            "model": r.config["model"],
            "design": r.config["design"],
            "epsilon": epsilon(r.config["epsilon"]),
            "said": nearest(span["said"], 2),
            "so": _told(span, 2),
            "lineups": str(span["lineups"]),
        }
        for r in reliability_records
        for which in ("simulated", "as it is", "tempered")
        for span in r.metrics[which]
    ]


def inferred_block(rows: Sequence[Mapping[str, str]], language: str) -> str:
    """The first as a table."""
    if not rows:
        return NOTHING_YET[language]
    none, hidden = {"en": ("none", "hidden"), "zh": ("无", "看不到")}[language]
    body = [
        (
            _asked(QuestionKind(row["question"]), language),
            row["adversary"] if language == "en" else _WHO[row["adversary"]],
            DESIGNS[language][row["design"]],
            row["epsilon"],
            row["attack"] or hidden,
            row["without"],
            row["bound"] or none,
        )
        for row in rows
    ]
    return table(_HEADINGS[language][0], body)


def sureness_block(rows: Sequence[Mapping[str, str]], language: str) -> str:
    """The second as a table."""
    if not rows:
        return NOTHING_YET[language]
    where = {
        "en": {"simulated": "simulated, 4", "as it is": "heart", "tempered": "heart"},
        "zh": {"simulated": "模拟，4 家", "as it is": "心脏病", "tempered": "心脏病"},
    }[language]
    comma = COMMA[language]
    body = [
        (
            where[row["patients"]],
            comma.join(
                (DESIGNS[language][row["design"]], REGIMES[language][row["regime"]],
                 MODELS[language][row["model"]])
            ),
            row["epsilon"],
            row["temper"],
            row["said"],
            row["so"],
            row["lineups"],
        )
        for row in rows
    ]  # fmt: skip
    return table(_HEADINGS[language][1], body)


def _asked(kind: QuestionKind, language: str) -> str:
    if language == "zh":
        return _ASKED[kind]
    off = {QuestionKind.PREVALENCE, QuestionKind.PROPERTY}
    return f"{kind.words}: mean error" if kind in off else kind.words


def _told(estimate: Mapping[str, float], digits: int) -> str:
    one = Estimate(estimate["value"], estimate["lower"], estimate["upper"])
    return f"{nearest(one.value, digits)} ({interval(one, digits).replace(' to ', '–')})"
