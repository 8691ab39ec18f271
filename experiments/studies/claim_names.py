"""What rules and harms are called in the claims' sentences, in both languages."""

from collections.abc import Mapping

from experiments.studies.asynchronous import ArrivalRule
from experiments.studies.claim_words import Text
from experiments.studies.poor_labels import Harm
from experiments.studies.readings import NoiseReading

__all__ = ["ARRIVAL_WORDS", "CORRECTION_WORDS", "HARM_WORDS", "READING_WORDS"]

ARRIVAL_WORDS: Mapping[str, Text] = {
    ArrivalRule.SYNCHRONOUS: Text("rounds that wait", "等待所有医院的轮次"),
    ArrivalRule.FEDBUFF: Text("FedBuff", "FedBuff"),
    ArrivalRule.CORRECTED: Text("corrected FedBuff", "校正后的 FedBuff "),
    ArrivalRule.MEMORY: Text("Memory", "记忆法"),
    ArrivalRule.SEALED_CORRECTED: Text("sealed corrected FedBuff", "密封并校正的 FedBuff"),
    ArrivalRule.SEALED_MEMORY: Text("sealed Memory", "密封的记忆法"),
}
HARM_WORDS: Mapping[str, Text] = {
    Harm.WRONG: Text("a quarter wrong at one", "一家有四分之一错误"),
    Harm.HIDDEN: Text("a quarter of the ill hidden at one", "一家有四分之一的患病者未记录"),
    Harm.WRONG_AT_TWO: Text("two fifths wrong at two", "两家有五分之二错误"),
    Harm.REVERSED: Text("all reversed at one", "一家全部颠倒"),
    Harm.UNITS: Text("a column in another unit at one", "一家有一列用了另一种单位"),
    Harm.CODES: Text("yes and no swapped at one", "一家是与否互换"),
    Harm.MISSING: Text("half of the values missing at one", "一家缺失一半的数值"),
}
READING_WORDS: Mapping[str, Text] = {
    NoiseReading.UPLOAD: Text("the upload's norm", "上传的范数"),
    NoiseReading.PATIENT: Text("the largest patient's norm", "最大一名患者的范数"),
    NoiseReading.CONSTANT: Text("a constant clip norm", "固定的裁剪范数"),
}
CORRECTION_WORDS: Mapping[str, str] = {
    "fedsgd": "FedSGD",
    "fedavg": "FedAvg",
    "fedprox": "FedProx",
    "scaffold": "SCAFFOLD",
    "fednova": "FedNova",
    "feddyn": "FedDyn",
    "qffl": "q-FFL",
    "agnostic": "不可知规则",
    "importance": "重要性加权",
    "fedadam": "FedAdam",
    "article": "文章的规则",
    "own intercepts": "各院自己的截距",
}
"""In Chinese; the English name is the rule's own."""
