"""Names and sentences of the claims' verdicts, in English and in Chinese together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.run.text import nearest

__all__ = ["Text", "capital", "ends", "hospital", "names_of"]


@dataclass(frozen=True)
class Text:
    """The same sentence or name in English and in Chinese."""

    en: str
    zh: str


_HOSPITALS = {
    "cleveland": Text("Cleveland", "克利夫兰"),
    "hungary": Text("Hungary", "匈牙利"),
    "switzerland": Text("Switzerland", "瑞士"),
    "va": Text("VA Long Beach", "长滩退伍军人医院"),
}


def hospital(name: str) -> Text:
    """A hospital's name as people write it."""
    return _HOSPITALS.get(name, Text(name, name))


def names_of(names: Sequence[str], texts: Mapping[str, Text] = _HOSPITALS) -> Text:
    """Several names, joined as each language joins them."""
    words = [texts.get(name, Text(name, name)) for name in names]
    return Text(", ".join(w.en for w in words), "、".join(w.zh for w in words))


def capital(sentence: str) -> str:
    """The same words as the beginning of a sentence."""
    return sentence[:1].upper() + sentence[1:]


def ends(value: float, lower: float, upper: float) -> tuple[str, str]:
    """A value with its interval, in both languages."""
    shown, low, high = (nearest(v).replace("-", "−") for v in (value, lower, upper))
    return f"{shown} ({low} to {high})", f"{shown}（{low} 至 {high}）"
