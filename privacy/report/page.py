"""The auditor's page: one file a language, no script, no outside address, the same numbers."""

import json
import math
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from privacy.errors import InvalidInputError
from privacy.files import write_durably
from privacy.ledger.accountant import Assessor, Certified, RenyiOnly
from privacy.ledger.audit.verify import Verdict, run_folders, verify
from privacy.ledger.rounding import down, up
from privacy.report.charts import bar, curve
from privacy.report.evidence_file import load_evidence
from privacy.report.facts import PRIOR, Facts, LedgerRow, SpentRow, gather
from privacy.report.measured import attack_groups, audits, quality
from privacy.report.printed import percent_up, power
from privacy.unit import Unit

__all__ = ["ASSUMPTIONS", "LANGUAGES", "SECTIONS", "render", "strings", "write_report"]

LANGUAGES = ("en", "zh")
SECTIONS = ("guarantee", "label", "spent", "ledger", "curve", "attacks", "assumptions", "check")

# What the guarantee rests on, and the tests that cover it; a test checks that they exist.
ASSUMPTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("a_clip", ("tests/privacy/mechanisms",)),
    ("a_noise", ("tests/privacy/mechanisms",)),
    ("a_account", ("tests/privacy/accounting",)),
    (
        "a_filter",
        (
            "tests/privacy/ledger/test_filter.py",
            "tests/privacy/ledger/test_machine.py",
            "tests/privacy/ledger/test_crash.py",
        ),
    ),
    ("a_seal", ("tests/aggregation/sealing",)),
    ("a_model", ("tests/aggregation",)),
    ("a_past", ("tests/privacy/ledger/test_tampering.py",)),
    ("a_way_out", ("tests/privacy/ledger/test_verify.py",)),
    ("a_word", ("tests/privacy/ledger/test_liar.py", "tests/privacy/ledger/test_absence.py")),
)

# Only where a ledger states that torch computed the rows; else that is proved, and part of a_clip.
ROWS = ("a_rows", ("tests/aggregation/models/test_torch_rows.py",))

# Where a ledger is kept for somebody else's program.
FOREIGN = (
    "a_foreign",
    ("tests/privacy/ledger/test_opacus.py", "tests/privacy/ledger/test_foreign_ledgers.py"),
)
_ANY_PROGRAM = ("a_account", "a_filter", "a_past")

_Words = Callable[..., str]


def strings(language: str) -> dict[str, str]:
    """The string table of a language."""
    table: dict[str, str] = json.loads(
        (files("privacy.report") / "strings" / f"{language}.json").read_text(encoding="utf-8")
    )
    return table


def write_report(
    path: Path,
    *,
    trust: Mapping[str, str] | None,
    out: Path,
    ledgers: Path | None = None,
    assessor: Assessor | None = None,
) -> tuple[Verdict, tuple[Path, ...]]:
    """Verify a run's folder and write ``report.en.html`` and ``report.zh.html`` into ``out``.

    Args:
      path: The run's folder, one with the sites' folders in it, or one ledger; evidence is read
        from its ``evidence`` folder.
      trust: Public keys by hospital, obtained apart; None leaves the report unanchored.
      out: Where the pages go.
      ledgers: Folder of the ledgers that the run spent from, where they are not in ``path``.
      assessor: Who prices events; the project's own by default.

    Raises:
      InvalidInputError: No ledger at ``path``, or ``out`` can't be written.
      CorruptMessageError: A file of evidence is not what its form demands.
    """
    assessor = assessor or Certified()
    paths = [path] if ledgers is None else [ledgers, path]
    verdict = verify(paths, trust, accountants=(assessor, RenyiOnly()))
    folder = path if path.is_dir() else path.parent
    sites = run_folders(folder)
    names = ["manifest.json"] if len(sites) == 1 else [f"{s.name}/manifest.json" for s in sites]
    manifests = {name: site / "manifest.json" for name, site in zip(names, sites, strict=True)}
    facts = gather(verdict, load_evidence(folder / "evidence"), assessor, manifests=manifests)
    pages = []
    for language in LANGUAGES:
        page = out / f"report.{language}.html"
        try:
            write_durably(page, render(facts, language).encode())
        except OSError as error:
            raise InvalidInputError(
                f"The report can't be written to {page}: {error.strerror}. Choose another --out."
            ) from error
        pages.append(page)
    return verdict, tuple(pages)


def render(facts: Facts, language: str) -> str:
    """Return the page of one language.

    Guarantees (tests in ``tests/privacy/report/test_page.py``):
      - no script and no outside address;
      - the sections stand in the order of ``SECTIONS``, whatever was measured;
      - both languages hold the same numbers;
      - text from ledgers and evidence is escaped.
    """
    from jinja2 import Environment, StrictUndefined

    table = strings(language)

    def t(key: str, /, **values: object) -> str:
        return table[key].format(**values)

    resources = files("privacy.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string((resources / "page.html").read_text(encoding="utf-8"))
    other = LANGUAGES[1 - LANGUAGES.index(language)]
    failed, anchored = not facts.verdict.ok, facts.verdict.anchored
    outcome = "fail" if failed else "ok" if anchored else "unanchored"
    claimed = outcome == "ok" and facts.claimed
    return template.render(
        t=t,
        facts=facts,
        css=(resources / "page.css").read_text(encoding="utf-8"),
        title=t("title_run", run=facts.run) if facts.run else t("title"),
        sections=SECTIONS,
        other_file=f"report.{other}.html",
        other_lang=strings(other)["lang"],
        verdict_class="unanchored" if claimed else outcome,
        verdict_words=t("verdict_claimed" if claimed else f"verdict_{outcome}"),
        guarantee=_guarantee(facts, t),
        meant=facts.meant.sentences(table) if facts.promised else [],
        success=_success(facts, t),
        label=[*_label(facts, t, table), *quality(facts, t)],
        not_protected=_not_protected(facts, t),
        spent_words=t("spent_same" if _same(facts) else "spent_differs"),
        spent=[_spent(row, number, t) for number, row in enumerate(facts.spent)],
        ledger=[_ledger(row, t, table) for row in facts.rows],
        curve=_curve(facts, t),
        curve_intro=t("curve_intro", hospital=facts.worst.hospital if facts.worst else ""),
        curve_rows=[(f"{p.epsilon:.3g}", power(p.certified), power(p.renyi)) for p in facts.curve],
        attacks=attack_groups(facts, t, table),
        measured=bool(facts.evidence.files),
        audits=audits(facts, t),
        assumptions=_assumptions(facts),
        folder="OUT",
        flow=_flow(facts, t),
        findings=facts.verdict.findings,
        digests=_digests(facts, t),
    )


def _assumptions(facts: Facts) -> list[tuple[str, tuple[str, ...]]]:
    """What the guarantee rests on; of somebody else's program nothing that ours alone keeps."""
    if facts.claimed:
        return [FOREIGN, *(one for one in ASSUMPTIONS if one[0] in _ANY_PROGRAM)]
    return [*ASSUMPTIONS, *([ROWS] if facts.stated("torch") else [])]


def _names(facts: Facts, t: _Words) -> str:
    names = facts.hospitals
    if len(names) < 2:
        return "".join(names)
    return t("list").join(names[:-1]) + t("and") + names[-1]


def _guarantee(facts: Facts, t: _Words) -> str:
    worst, names = facts.worst, _names(facts, t)
    if not facts.verdict.ok or worst is None:
        return t("guarantee_failed")
    if not facts.promised or worst.interval is None:
        return t("guarantee_none", hospitals=names)
    if worst.interval.upper == 0:
        return t("guarantee_nothing")
    shared = facts.honest is not None
    guarantee = t(
        "guarantee",
        hospitals=names,
        trust=t("trust_shared", honest=facts.honest) if shared else t("trust_local"),
        unit=t(f"unit_{worst.budget.unit}"),
        epsilon=up(worst.interval.upper),
        delta=power(worst.budget.delta),
        releases=worst.releases + worst.left,
    )
    return t("guarantee_claimed", guarantee=guarantee) if facts.claimed else guarantee


def _success(facts: Facts, t: _Words) -> str:
    if not facts.promised or facts.success is None:
        return ""
    return t("guarantee_success", prior=f"{100 * PRIOR:g} %", success=percent_up(facts.success))


def _label(facts: Facts, t: _Words, table: Mapping[str, str]) -> list[tuple[str, str]]:
    worst = facts.worst
    if worst is None:
        return _identity(facts, t, table)
    unit = t(f"unit_{worst.budget.unit}")
    shared = facts.honest is not None
    trust = t("trust_model_shared", honest=facts.honest) if shared else t("trust_model_local")
    epsilon = up(worst.interval.upper) if worst.interval and facts.promised else "∞"
    mu = up(facts.mu) if facts.mu is not None and facts.promised else "∞"
    return [
        *_identity(facts, t, table),
        (t("label_unit"), unit),
        (t("label_relation"), t(f"relation_{worst.budget.relation_name}", unit=unit)),
        (t("label_epsilon"), f"({epsilon}, {power(worst.budget.delta)})"),
        (t("label_mu"), mu),
        (t("label_rounds"), str(facts.rounds)),
        (t("label_sampling"), facts.meant.sampling(table) or t("none")),
        (t("label_trust"), trust if facts.promised else t("none")),
    ]


_TOLD = {"run", "plan", "cohort", "patients", "model", "commit"}


def _identity(facts: Facts, t: _Words, table: Mapping[str, str]) -> list[tuple[str, str]]:
    """Which run this is: what the ledgers state under their hospitals' signatures."""
    dates = t("not_recorded")
    if facts.began:
        dates = t("dates", began=_minute(facts.began), ended=_minute(facts.ended))
    more = [
        (table.get(f"stated_{name}", name), t("stated").join(values))
        for name, values in facts.context.items()
        if name not in _TOLD
    ]
    return [
        (t("label_run"), _stated(facts, "run", t)),
        (t("label_date"), dates),
        (t("label_cohort"), _stated(facts, "cohort", t)),
        (t("label_patients"), _stated(facts, "patients", t)),
        (t("label_model"), _stated(facts, "model", t)),
        (t("label_commit"), _stated(facts, "commit", t)),
        *more,
    ]


def _stated(facts: Facts, name: str, t: _Words) -> str:
    """What the ledgers state; all of it, and by whom, where they disagree."""
    values = facts.context.get(name, {})
    if len(values) < 2:
        return "".join(values) or t("not_recorded")
    return t("stated").join(
        t("stated_by", value=value, hospitals=t("list").join(hospitals))
        for value, hospitals in values.items()
    )


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _not_protected(facts: Facts, t: _Words) -> list[str]:
    lines = [t(f"not_{number}") for number in range(1, 6)]
    if facts.meant.hospitals > 1:
        lines[1] = t("not_2_several", hospitals=facts.meant.hospitals)
    if facts.worst is None or facts.worst.budget.unit == Unit.PATIENT:
        lines.insert(2, t("not_hospital"))
    if facts.unprotected:
        lines.insert(0, t("not_unprotected", count=facts.unprotected))
    return lines


def _same(facts: Facts) -> bool:
    return len({row.interval.upper if row.interval else math.inf for row in facts.spent}) <= 1


def _spent(row: SpentRow, number: int, t: _Words) -> dict[str, str]:
    limited = row.interval is not None
    spent = up(row.interval.upper) if row.interval else "∞"
    allowed = down(row.budget.epsilon) if limited else t("unlimited")
    drawn = ""
    if limited:
        drawn = bar(
            row,
            number=number,
            title=t("bar_title", hospital=row.hospital, percent=percent_up(row.share)),
            description=t("bar_description", spent=spent, allowed=allowed),
        )
    return {
        "hospital": row.hospital,
        "unit": t(f"unit_{row.budget.unit}"),
        "spent": spent,
        "allowed": allowed,
        "bar": drawn,
        "delta": power(row.budget.delta),
        "second": up(row.second) if limited else "",
        "rule": t(f"rule_{row.rule}"),
        "releases": f"{row.releases} / {row.left}",
    }


def _ledger(row: LedgerRow, t: _Words, table: Mapping[str, str]) -> dict[str, Any]:
    first, last = row.rounds or (0, 0)
    key = f"entry_{row.kind}" + ("_rounds" if first != last else "")
    word = t("list").join(table.get(f"kind_{kind}", kind) for kind in row.word.split(", "))
    interval = ""
    if row.interval is not None:
        interval = t(
            "interval",
            upper=up(row.interval.upper),
            lower=down(row.interval.lower),
            method=table.get(f"method_{row.interval.method}", row.interval.method),
        )
    elif row.epsilon is not None:
        interval = t("so_far", upper=up(row.epsilon))
    event = _event(row.event, t) if row.event else row.text
    if row.kind == "release" and row.text:
        event = f"{event} ({row.text})"
    return {
        "hospital": row.hospital,
        "entries": str(row.first) if row.first == row.last else f"{row.first}-{row.last}",
        "what": t(key, count=row.count, word=word, first=first, last=last),
        "event": event,
        "rule": t(f"rule_{row.rule}") if row.rule else "",
        "interval": interval,
        "bad": bool(row.event) and row.event is not None and "NonPrivate" in str(row.event["type"]),
    }


def _event(event: Mapping[str, Any], t: _Words) -> str:
    """An event in the page's language."""
    name = str(event["type"])
    if name == "ComposedDpEvent":
        return t("event_join").join(_event(inner, t) for inner in event["events"])
    values = {
        key: t("list").join(_number(one) for one in value)
        if isinstance(value, list)
        else _number(value)
        for key, value in event.items()
        if key not in ("event", "events")
    }
    if isinstance(event.get("event"), Mapping):
        values["event"] = _event(event["event"], t)
    return t(f"event_{name}", **values)


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _curve(facts: Facts, t: _Words) -> str:
    worst = facts.worst
    if not facts.curve or worst is None or worst.interval is None:
        return ""
    epsilon, delta = worst.interval.upper, worst.budget.delta
    words = {name: t(f"curve_{name}") for name in ("title", "certified", "renyi", "x", "y")}
    words["here"] = t("curve_here", epsilon=up(epsilon))
    words["description"] = t("curve_description", epsilon=up(epsilon), delta=power(delta))
    return curve(facts.curve, epsilon=epsilon, delta=delta, words=words)


def _flow(facts: Facts, t: _Words) -> list[str]:
    flow = facts.verdict.flow
    if flow is None:
        return [t("flow_none")]
    words = t(
        "flow",
        messages=flow.messages,
        accounted=flow.accounted,
        unaccounted=flow.unaccounted,
    )
    return [words, t("flow_raw")] if facts.verdict.ok and not flow.unaccounted else [words]


def _digests(facts: Facts, t: _Words) -> list[tuple[str, str, str]]:
    """What was read: its name, its digest, and who signed it."""
    rows = [
        (
            reading.path.name,
            facts.files[reading.path.name],
            t("signed_by", hospital=reading.hospital),
        )
        for reading in facts.verdict.readings
        if reading.path.name in facts.files
    ]
    rows += [
        (t("col_root", hospital=name, size=size), root, t("signed_by", hospital=name))
        for name, (size, root) in facts.roots.items()
    ]
    for name, (digest, signed) in facts.manifests.items():
        rows.append((name, digest, t("signed_by_senders" if signed else "unsigned")))
    rows += [(name, digest, t("unsigned")) for name, digest in facts.evidence.files.items()]
    rows.append((t("label_versions"), "; ".join(facts.versions) or t("not_recorded"), ""))
    return rows
