"""The words of generated tables, in two languages."""

from experiments.studies.conclusion import Conclusion
from experiments.studies.frontier.risks import BY_DEFINITION, NOT_TRIED

__all__ = [
    "BRACKETS",
    "COLUMNS",
    "COMMA",
    "DESIGNS",
    "MODELS",
    "NOTHING_YET",
    "PARTLY",
    "REGIMES",
    "RISK_WORDS",
    "VERDICTS",
]

REGIMES = {
    "en": {"full": "all patients", "small": "about 8 a hospital"},
    "zh": {"full": "全部患者", "small": "每院约 8 人"},
}
DESIGNS = {
    "en": {
        "none": "no protection",
        "article": "the article's noise",
        "local": "full noise at each hospital",
        "sealed": "sealed sum, shared noise",
        "local only": "local training only",
        "pooled": "pooled training",
    },
    "zh": {
        "none": "无保护",
        "article": "文章的噪声",
        "local": "各院各加全部噪声",
        "sealed": "密封求和，共享噪声",
        "local only": "只在本地训练",
        "pooled": "集中训练",
    },
}
COLUMNS = {
    "en": {
        "records": (
            "patients in a round",
            "design",
            "ε",
            "within-site AUC",
            "risk: curious server",
            "risk: who knows all others",
            "proven bound",
        ),
        "claims": ("the article says", "verdict", "if what, or why; what was measured (95 %)"),
    },
    "zh": {
        "records": (
            "每轮患者",
            "方案",
            "ε",
            "院内 AUC",
            "风险：好奇的服务器",
            "风险：知道其余所有患者的人",
            "可证明的上界",
        ),
        "claims": ("文章的说法", "结论", "条件或理由，以及测量结果（95% 区间）"),
    },
}
VERDICTS = {
    "en": {verdict.value: verdict.value for verdict in Conclusion},
    "zh": {
        "holds": "成立",
        "holds only if": "有条件成立",
        "does not hold": "不成立",
        "undecided": "未定",
        "not tried": "未试",
    },
}
RISK_WORDS = {
    "en": {},
    "zh": {BY_DEFINITION: "按定义", NOT_TRIED: "未试"},
}
NOTHING_YET = {
    "en": "The records of this table are not there.",
    "zh": "此表的记录尚不存在。",
}
COMMA = {"en": ", ", "zh": "，"}
BRACKETS = {"en": (" (", ")"), "zh": ("（", "）")}
MODELS = {
    "en": {"logistic": "logistic", "mlp": "mlp", "moments": "logistic, opened once"},
    "zh": {"logistic": "逻辑回归", "mlp": "多层感知机", "moments": "逻辑回归，只公开一次"},
}
PARTLY = {
    "en": "{judged} of {asked} sentences are judged; the records of the others are not there.",
    "zh": "{asked} 句中已判定 {judged} 句；其余各句的记录尚不存在。",
}
