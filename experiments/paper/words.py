"""The words of generated tables, in two languages."""

from experiments.risks import BY_DEFINITION, NOT_TRIED

__all__ = [
    "CLAIMS_ZH",
    "COLUMNS",
    "DESIGNS",
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
            "risk: curious server",
            "risk: who knows all others",
            "proven bound",
        ),
        "claims": ("the article says", "verdict", "what was measured (95 %)"),
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
        "claims": ("文章说", "结论", "测量结果(95 %)"),
    },
}
VERDICTS = {
    "en": {"holds": "holds", "holds only if": "holds only if", "does not hold": "does not hold"},
    "zh": {"holds": "成立", "holds only if": "有条件成立", "does not hold": "不成立"},
}
RISK_WORDS = {
    "en": {},
    "zh": {BY_DEFINITION: "按定义", NOT_TRIED: "未试"},
}
NOTHING_YET = {
    "en": "The records of this table are not there.",
    "zh": "此表的记录尚不存在。",
}
PARTLY = {
    "en": "{judged} of {asked} sentences are judged; the records of the others are not there.",
    "zh": "{asked} 句中已判 {judged} 句;其余的记录尚不存在。",
}
CLAIMS_ZH = {
    "raw bytes": ("患者原始数据没有一个字节离开医院。", "没有账本条目对应的字节数"),
    "infeasible": ("梯度上的噪声使反推在数学上变得不可行。", "ε = 1 时最强攻击从十人中指对的比率"),
    "no impact": ("这种噪声不显著影响模型效果。", "AUC:文章的噪声减去无噪声"),
    "threefold": (
        "加入联邦相当于单院数据量的三倍。",
        "无噪声、克利夫兰 160 名患者时的等效倍数",
    ),
    "AUC up": ("跨院模型比单院自己的模型预测得更准。", "AUC:无噪声联邦减去单院"),
    "acceptable": ("加权与校正使各类医院都达到可接受的区间。", "通过的检查所占比例"),
    "no waiting": ("各院按自己的节奏上传,无需等待所有医院。", "最快规则所需时间与等待所有医院之比"),
    "overhead": ("通信开销是真实存在的。", "发送字节数与该院数据表字节数之比(中位数)"),
    "poor labels": ("标注不规范的医院会拉低整体模型。", "一家医院标注错误所损失的 AUC"),
}
"""Each claim, and what is measured of it, by its key in ``experiments.claims``."""
