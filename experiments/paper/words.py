"""The words of generated tables, in two languages."""

__all__ = ["COLUMNS", "DESIGNS", "NOTHING_YET", "REGIMES", "VERDICTS"]

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
        "sealed": "密封求和,共享噪声",
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
            "risk",
            "proven bound",
        ),
        "claims": ("the article says", "verdict", "what was measured (95 %)"),
    },
    "zh": {
        "records": ("每轮患者", "方案", "ε", "院内 AUC", "风险", "可证明的上界"),
        "claims": ("文章说", "结论", "测量结果(95 %)"),
    },
}
VERDICTS = {
    "en": {"holds": "holds", "holds only if": "holds only if", "does not hold": "does not hold"},
    "zh": {"holds": "成立", "holds only if": "有条件成立", "does not hold": "不成立"},
}
NOTHING_YET = {
    "en": "The records of this table are not there.",
    "zh": "此表的记录尚不存在。",
}
