"""Sentences of the article that other studies' records answer; no run of ``claims`` makes them.

Their records need tables that not everybody has (IST), or anjana's environment. All these rules
were written after the confirmation half of the study of joining had been read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiments.run.record import Record
from experiments.studies.claim_words import Text
from experiments.studies.deidentified.lost_value import tables_rule
from experiments.studies.joining.sentence_answers import alone, naively
from experiments.studies.ruling import Ruling

__all__ = ["SENTENCES", "Sentence"]


@dataclass(frozen=True)
class Sentence:
    """A sentence and its rule.

    Attributes:
      key: A short name.
      sentence: What is said, in our words.
      rule: Of all records, of whatever study; None where what it needs is not there.
    """

    key: str
    sentence: Text
    rule: Callable[[Sequence[Record]], Ruling | None]


SENTENCES: tuple[Sentence, ...] = (
    Sentence(
        "alone",
        Text(
            "A single hospital's data do not suffice for an acceptable model.",
            "单家医院的数据不足以训练出可接受的模型。",
        ),
        alone,
    ),
    Sentence(
        "de-identified",
        Text(
            "De-identified tables lose clinical value, and patients can still be re-identified.",
            "脱敏后的数据失去临床价值，而重识别的风险依然存在。",
        ),
        tables_rule,
    ),
    Sentence(
        "naively",
        Text(
            "Aggregated naively, a model fails at some kinds of hospital.",
            "直接聚合得到的模型在某些类型的医院会失效。",
        ),
        naively,
    ),
)
