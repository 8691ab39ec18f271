"""A review as a page in two languages: no script, no outside address, the same numbers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from privacy.review.mistakes import Check, Judgement

__all__ = [
    "LANGUAGES",
    "AttackedUpdate",
    "Remark",
    "TriedAttack",
    "answer",
    "page_of",
    "remarked",
    "said",
    "strings",
]

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Remark:
    """A sentence without a language.

    Attributes:
      words: Key of the sentence.
      values: What stands in it.
    """

    words: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AttackedUpdate:
    """What attacks reached on one captured update.

    Attributes:
      client: Whose.
      round: As its server counts.
      patients: Expected behind it.
      attack: The one that reached most; empty: none reached anything.
      certified: Records that it proved.
      read: Records that it read with more than even odds.
      remarks: What it says beside.
    """

    client: str
    round: int
    patients: int
    attack: str
    certified: int
    read: int
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class TriedAttack:
    """On how many of the updates an attack of the suite was tried.

    Attributes:
      attack: Its name.
      tried: Updates that it was tried on.
      updates: Of how many.
      certified: Records that it proved, in all.
      read: Records that it read with more than even odds.
      remarks: Why it was not tried on all.
    """

    attack: str
    tried: int
    updates: int
    certified: int
    read: int
    remarks: tuple[Remark, ...] = ()


def strings(language: str) -> dict[str, str]:
    """The string table of a language."""
    table: dict[str, str] = json.loads(
        (files("privacy.review") / f"{language}.json").read_text(encoding="utf-8")
    )
    return table


def answer(check: Check, language: str = "en") -> str:
    """A finding in a word or two."""
    table = strings(language)
    return table.get(f"word_{check.name}_{check.judgement}", table[f"word_{check.judgement}"])


def said(finding: Check | Remark, language: str = "en") -> str:
    """A finding's sentence, or a remark's."""
    return strings(language)[finding.words].format(**finding.values)


def remarked(row: AttackedUpdate | TriedAttack, language: str = "en") -> str:
    """All remarks of a row."""
    return " ".join(said(remark, language) for remark in row.remarks)


def page_of(
    name: str,
    checks: Sequence[Check],
    updates: Sequence[AttackedUpdate],
    tried: Sequence[TriedAttack] = (),
    *,
    digests: Mapping[str, str],
    command: str,
    language: str,
) -> str:
    """Return the page of one language; text from the files is escaped.

    Args:
      name: Of the folder or file.
      checks: What was found, in order.
      updates: What attacks reached.
      tried: Which of the suite's were tried, and why others were not.
      digests: SHA-256 of what was read, by file.
      command: What gives the page again.
      language: ``en`` or ``zh``.
    """
    from jinja2 import Environment, StrictUndefined

    table = strings(language)

    def t(key: str, /, **values: object) -> str:
        return table[key].format(**values)

    wrong, unknown = (
        sum(check.judgement is kind for check in checks)
        for kind in (Judgement.WRONG, Judgement.UNKNOWN)
    )
    lead, verdict = t("lead_holds"), "ok"
    if unknown:
        lead, verdict = t("lead_unknown", count=unknown), "unanchored"
    if any(check.words == "cost_unprotected" for check in checks):
        lead, verdict = t("lead_unprotected"), "fail"
    elif wrong:
        lead, verdict = t("lead_wrong", count=wrong), "fail"
    other = LANGUAGES[1 - LANGUAGES.index(language)]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(
        (files("privacy.review") / "review.html").read_text(encoding="utf-8")
    )
    return template.render(
        t=t,
        name=name,
        css=(files("privacy.report") / "page.css").read_text(encoding="utf-8"),
        lead=lead,
        verdict=verdict,
        checks=[
            {
                "id": check.name,
                "question": t(f"name_{check.name}"),
                "answer": answer(check, language),
                "why": said(check, language),
                "bad": check.judgement is Judgement.WRONG,
            }
            for check in checks
        ],
        updates=[(row, remarked(row, language)) for row in updates],
        tried=[(row, remarked(row, language)) for row in tried],
        files=digests,
        command=command,
        other_file=f"review.{other}.html",
        other_lang=strings(other)["lang"],
    )
