"""The generated parts of README and docs: what was found, and its tables, between marks."""

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.studies.frontier.risks import NOT_TRIED
from experiments.studies.joining.arms import SETTING
from experiments.studies.words import (
    BRACKETS,
    COLUMNS,
    COMMA,
    DESIGNS,
    MODELS,
    NOTHING_YET,
    PARTLY,
    REGIMES,
    RISK_WORDS,
    VERDICTS,
)
from paper import correlated_told
from paper.authors_told import architectures_block, authors_block
from paper.best_told import best_block, clipping_block
from paper.effort_told import effort_block
from paper.few_told import few_block
from paper.inferred_told import inferred_block, sureness_block
from paper.joining_told import HALVES
from paper.joining_words import (
    ARMS,
    CONTRASTS,
    HALF_WORDS,
    HEADINGS,
    SIZES,
    note_of,
    question_of,
)
from paper.markdown import table
from paper.spread_told import COLUMNS as COLUMNS_OF_SPREAD
from paper.tables_told import tables_block
from privacy.errors import InvalidInputError

__all__ = ["BLOCKS", "LANGUAGES", "PAGES", "block", "fill"]

_BETWEEN = re.compile(r" ?\(([−+\d.]+)(?: to |–)([−+\d.]+)\)")
_PLACE = re.compile(r"\{([a-z_.0-9]+)\}")
LANGUAGES = {"en": "README.md", "zh": "README.zh.md"}
_RESULTS = (
    "joining", "few", "claims", "sentences", "tables", "records", "best", "clipping", "effort",
    "authors", "architectures", "inferred", "sureness", "spread", "correlated",
)  # fmt: skip
PAGES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "en": {
        "README.md": ("found",),
        "docs/results.md": _RESULTS,
    },
    "zh": {
        "README.zh.md": ("found",),
        "docs/results.zh.md": _RESULTS,
    },
}
"""By language: each page, and what stands between its marks."""


def fill(root: Path, numbers: Mapping[str, Any]) -> None:
    """Write every block of every page anew.

    Raises:
      InvalidInputError: A page has lost a mark.
    """
    pages = [
        (lang, name, parts) for lang, blocks in PAGES.items() for name, parts in blocks.items()
    ]
    for language, name, parts in pages:
        path = root / name
        text = path.read_text(encoding="utf-8")
        for part in parts:
            begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
            if text.count(begin) != 1 or text.count(end) != 1:
                raise InvalidInputError(
                    f"{path} has lost its marks {begin} and {end}; put them back."
                )
            before, rest = text.split(begin)
            text = f"{before}{begin}\n{block(part, numbers, language)}\n{end}{rest.split(end)[1]}"
        path.write_text(text, encoding="utf-8")


def block(part: str, numbers: Mapping[str, Any], language: str) -> str:
    """Return one block in one language.

    Args:
      part: One of ``BLOCKS``.
      numbers: What ``numbers`` returned.
      language: ``en`` or ``zh``.
    """
    return BLOCKS[part](numbers, language)


def _found(numbers: Mapping[str, Any], language: str) -> str:
    """What was found, for whom it matters, what it does not show: ``found.*.md``, filled in.

    A paragraph that speaks of a point without a record is left out.
    """
    words = (Path(__file__).parent / f"found.{language}.md").read_text(encoding="utf-8")
    shown = []
    for paragraph in words.strip().split("\n\n"):
        values = {place: _value(numbers, place) for place in _PLACE.findall(paragraph)}
        if not {"—", NOT_TRIED}.intersection(values.values()):
            filled = _fill(paragraph, values)
            if language == "zh":
                filled = _BETWEEN.sub(r"（\1 至 \2）", filled)
            shown.append(textwrap.fill(filled, 110) if language == "en" else filled)
    return "\n\n".join(shown)


def _fill(paragraph: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        return values[match[1]]

    return _PLACE.sub(value, paragraph)


def _value(numbers: Mapping[str, Any], place: str) -> str:
    node: Any = numbers
    for step in place.split("."):
        node = node.get(step, "—") if isinstance(node, Mapping) else "—"
    text = str(node)  # a dash between signed ends would read as a third sign
    return text if text[:1] in "+−" else text.replace(" to ", "–")


def _records(numbers: Mapping[str, Any], language: str) -> str:
    none = {"en": "none", "zh": "无"}[language]
    body = [
        (
            f"{REGIMES[language][row['regime']]}{COMMA[language]}{MODELS[language][row['model']]}",
            DESIGNS[language][row["design"]],
            row["epsilon"],
            _bracketed(row["auc"], row["auc_interval"], language),
            _risk(row, "curious", language),
            _risk(row, "informed", language),
            none if row["bound"] == "none" else row["bound"],
        )
        for row in numbers["frontier"]["rows"]
    ]
    return table(COLUMNS[language]["records"], body)


def _risk(row: Mapping[str, str], adversary: str, language: str) -> str:
    """One adversary's risk, with its interval, or why there is none."""
    words = RISK_WORDS[language]
    value = words.get(row[adversary], row[adversary])
    between = row[f"{adversary}_interval"]
    return _bracketed(value, words.get(between, between), language) if between else value


def _bracketed(value: str, between: str, language: str) -> str:
    opening, closing = BRACKETS[language]
    return f"{value}{opening}{between.replace(' to ', '–')}{closing}"


def _claims(numbers: Mapping[str, Any], language: str) -> str:
    if not numbers["claims"]:
        return NOTHING_YET[language]
    body = numbers["claims"]
    table = _judged(body, language)
    if len(body) == int(numbers["claims_asked"]):
        return table
    note = PARTLY[language].format(judged=len(body), asked=numbers["claims_asked"])
    return f"{table}\n\n{note}"


def _judged(rows: Sequence[Mapping[str, Any]], language: str) -> str:
    body = [
        (
            row["sentence"][language],
            f"**{VERDICTS[language][row['verdict']]}**",
            row["effect"][language],
        )
        for row in rows
    ]
    return table(COLUMNS[language]["claims"], body)


def _sentences(numbers: Mapping[str, Any], language: str) -> str:
    """Sentences that other studies' records answer, as far as their records are there."""
    rows = numbers["sentences"]
    return _judged(rows, language) if rows else NOTHING_YET[language]


def _tables(numbers: Mapping[str, Any], language: str) -> str:
    return _in(tables_block(numbers["deidentified"], language), language)


def _in(text: str, language: str) -> str:
    """The text with its intervals as the language writes them."""
    return text if language == "en" else _BETWEEN.sub(r"（\1 至 \2）", text)


def _joining(numbers: Mapping[str, Any], language: str) -> str:
    """Gain by size class on both halves, and the verdicts on the confirmation half."""
    halves = {name: numbers["joining"].get(name) for name in HALVES.values()}
    if None in halves.values():
        return NOTHING_YET[language]
    tables = [
        _by_class(half, HALF_WORDS[language][name], language) for name, half in halves.items()
    ]
    verdicts = [
        (
            question_of(one["question"], language),
            f"**{VERDICTS[language][one['verdict']]}**",
            COMMA[language].join(
                words for words in (one["difference"], note_of(one["note"], language)) if words
            ),
        )
        for one in halves["confirmed"]["verdicts"]
    ]
    tables.append(table(HEADINGS[language]["verdicts"], verdicts))
    if risks := halves["confirmed"]["risks"]:
        arms = ARMS[language]
        body = [
            (
                arms.get(row["arm"], row["arm"]),
                row["epsilon"] or "∞",
                arms.get(row["curious"], row["curious"]),
                arms.get(row["informed"], row["informed"]),
                arms.get(row["bound"], row["bound"]),
            )
            for row in risks
        ]
        tables.append(table(HEADINGS[language]["risks"], body))
    tables += [
        _by_class(numbers["joining"][cohort], words, language)
        for cohort, words in CONTRASTS[language].items()
        if cohort in numbers["joining"]
    ]
    return _in("\n\n".join(tables), language)


def _by_class(gains: Mapping[str, Any], words: str, language: str) -> str:
    """What joining gains by size of hospital; a cohort without a published score has none."""
    body = [
        (
            SIZES[language].get(row["class"], row["class"]),
            row["hospitals"],
            *(row.get(cell, "—") for cell in ("fit", "none", "article", "score")),
        )
        for row in gains["classes"]
    ]
    return f"{words}\n\n{table(HEADINGS[language]['classes'], body)}"


def _correlated(numbers: Mapping[str, Any], language: str) -> str:
    """AUC of each way to take part and to add noise, by cohort."""
    body = [
        (
            correlated_told.COHORTS[language][row["cohort"]],
            correlated_told.ARMS[language][row["arm"]],
            row["runs"],
            _bracketed(row["auc"], row["between"], language) if row["between"] else row["auc"],
        )
        for row in numbers["correlated"]
    ]
    return table(correlated_told.COLUMNS[language], body)


def _spread(numbers: Mapping[str, Any], language: str) -> str:
    """AUC of the frontier, over many cross-validations, and of one of them."""

    def told(row: Mapping[str, str], name: str) -> str:
        return _bracketed(row[name], row[f"{name}_interval"], language) if row[name] else "—"

    body = [
        (
            DESIGNS[language][row["design"]],
            row["epsilon"],
            told(row, "frontier"),
            told(row, "auc"),
            row["single_interval"].replace(" to ", "–"),
        )
        for row in numbers["spread"]
    ]
    return table(COLUMNS_OF_SPREAD[language], body)


_SHORT: Mapping[str, Callable[[Any, str], str]] = {
    "few": lambda rows, language: few_block(rows, language, SETTING.rounds),
    "best": best_block,
    "clipping": clipping_block,
    "effort": effort_block,
    "authors": authors_block,
    "architectures": architectures_block,
    "inferred": inferred_block,
    "sureness": sureness_block,
}
"""Tables of rows that the numbers hold by the same name."""


def _short(part: str) -> Callable[[Mapping[str, Any], str], str]:
    return lambda numbers, language: _in(_SHORT[part](numbers[part], language), language)


BLOCKS = {
    "found": _found,
    "joining": _joining,
    "records": _records,
    "claims": _claims,
    "sentences": _sentences,
    "tables": _tables,
    "spread": _spread,
    "correlated": _correlated,
    **{part: _short(part) for part in _SHORT},
}
"""Marks of a page, and what stands between them."""
