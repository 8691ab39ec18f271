"""The words of the study of joining in generated tables, in two languages."""

import re
from collections.abc import Mapping

from experiments.studies.words import VERDICTS

__all__ = ["ARMS", "CONTRASTS", "HALF_WORDS", "HEADINGS", "SIZES", "note_of", "question_of"]

HALF_WORDS = {
    "en": {
        "confirmed": "*Confirmation half of IST* (even numbers, run once): AUC less that of the "
        "hospital's own model, by its number of patients.",
        "explored": "*Exploration half* (odd numbers, where everything was tried):",
    },
    "zh": {
        "confirmed": "*IST 的验证半*（偶数号医院，只运行一次）："
        "按患者人数列出 AUC 减去本院模型的 AUC。",
        "explored": "*探索半*（奇数号医院，各种做法都在此试过）：",
    },
}
CONTRASTS = {
    "en": {
        "ist": "*All 464 hospitals together, post hoc* (both halves in one federation, the primary "
        "comparison alone):",
        "heart": "*Contrast, post hoc: heart*, four hospitals that can each learn alone "
        "(settings as of the stroke trial):",
        "dialysis": "*Contrast, post hoc: dialysis*, 67 centres with six columns, where there is "
        "little to learn together:",
    },
    "zh": {
        "ist": "*全部 464 家医院一起（事后）*（两半在同一个联邦中，仅主要比较）：",
        "heart": "*对照（事后）：心脏病*，四家医院各自都能学习（设置与卒中试验相同）：",
        "dialysis": "*对照（事后）：透析*，67 个中心、六列，一起能学到的不多：",
    },
}
"""Cohorts beside the two halves, and what is said of them."""
HEADINGS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "en": {
        "classes": (
            "patients",
            "hospitals",
            "sealed, ε = 1, own fit after",
            "no protection, own fit after",
            "the article's noise, own fit after",
            "score, no training",
        ),
        "verdicts": ("question (confirmation half)", "verdict", "difference (95 %)"),
        "risks": (
            "trained on the confirmation half",
            "ε",
            "named by who knows nobody (likelihood ratio alone; searches not tried)",
            "named by who knows all others",
            "proven bound",
        ),
    },
    "zh": {
        "classes": (
            "患者",
            "医院",
            "密封，ε = 1，之后本院拟合",
            "无保护，之后本院拟合",
            "文章的噪声，之后本院拟合",
            "评分，无需训练",
        ),
        "verdicts": ("问题（验证半）", "结论", "差值（95%）"),
        "risks": (
            "在验证半上训练",
            "ε",
            "被不认识任何人者指出（仅似然比；搜索式攻击未试）",
            "被知道其余所有患者者指出",
            "可证明的上界",
        ),
    },
}
SIZES: Mapping[str, Mapping[str, str]] = {
    "en": {},
    "zh": {"above 200": "200 以上", "all": "全部"},
}
ARMS = {
    "en": {},
    "zh": {
        "joined, sealed": "联合，密封",
        "joined, no protection": "联合，无保护",
        "joined, full noise at each": "联合，各院各加全部噪声",
        "joined, the article's noise": "联合，文章的噪声",
        "none": "无",
        "not tried": "未试",
    },
}
"""Words of the tables of risks."""
_ARMS = {"sealed": "密封", "local": "各院各加全部噪声", "article": "文章的噪声"}
_QUESTIONS = (
    (
        r"Q1 joining pays",
        r"Q1 joining pays: sealed sums at ε = 1, then a local fit, against a hospital's own model",
        r"Q1 加入有益：ε = 1 的密封求和，之后本院拟合，与本院自己的模型相比",
    ),
    (r"Q2 no class is worse off", r"Q2 no size class is worse off", r"Q2 没有哪一规模的医院变差"),
    (r"Q2 not worse, (.+) patients", r"Q2 not worse, \1 patients", r"Q2 不变差，\1 名患者"),
    (r"Q3 gains, (.+) patients", r"Q3 gains, \1 patients", r"Q3 有增益，\1 名患者"),
    (
        r"Q4 (\w+) at epsilon ([\d.]+) costs at most ([\d.]+)",
        r"Q4 \1 at ε = \2 costs at most \3",
        r"Q4 ε = \2 的\1代价不超过 \3",
    ),
    (r"Q5 better than the score", r"Q5 better than the score", r"Q5 优于无需训练的评分"),
    (r"Q6 from how many hospitals on", r"Q6 from how many hospitals on", r"Q6 从多少家医院起有益"),
    (
        r"Q7 better than the score where never seen",
        r"Q7 better than the score at hospitals never seen",
        r"Q7 在从未见过的医院优于评分",
    ),
    (
        r"Q9 the risk is what the bound says",
        r"Q9 no risk is above its bound, beyond chance",
        r"Q9 没有风险超出偶然地高于其上界",
    ),
    (r"Q8 the local fit keeps the AUC", r"Q8 the local fit keeps the AUC", r"Q8 本院拟合保持 AUC"),
    (
        r"Q8 the local fit mends the Brier score",
        r"Q8 the local fit mends the Brier score",
        r"Q8 本院拟合改善 Brier 分数",
    ),
)
_NOTES = (
    (r"from (\d+) on", r"从 \1 家起"),
    (r"not within (\d+)", r"\1 家以内没有"),
    (r"without power", "检验力不足"),
    (r"loses", "变差"),
    (
        r"(\d+) risks; the least room is under a bound of ([\d.]+)",
        r"\1 个风险，余地最小者的上界为 \2",
    ),
)


def question_of(text: str, language: str) -> str:
    """A verdict's question as a reader meets it."""
    for pattern, english, chinese in _QUESTIONS:
        if matched := re.fullmatch(pattern, text):
            question = matched.expand(english if language == "en" else chinese)
            return question if language == "en" else _in_chinese(question)
    raise KeyError(text)


def note_of(text: str, language: str) -> str:
    """What stands beside a verdict."""
    if language == "en" or not text:
        return text
    before = re.fullmatch(r"(.+) before Holm's correction", text)
    if before:
        return f"Holm 校正前{VERDICTS['zh'][before[1]]}"
    for pattern, chinese in _NOTES:
        text = re.sub(pattern, chinese, text)
    return text.replace(", ", "，")


def _in_chinese(text: str) -> str:
    for english, chinese in {**_ARMS, **SIZES["zh"]}.items():
        text = text.replace(english, chinese)
    return text
