"""The page: the same numbers in both languages, nothing from outside, nothing invented."""

import math
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from dp_accounting import dp_event as dp

from privacy.accounting import events
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    LinearOpeningsDpEvent,
    RandomAllocationDpEvent,
    SeenAllocationDpEvent,
    ShuffledBatchesDpEvent,
    SkellamDpEvent,
    to_json,
)
from privacy.errors import InvalidInputError
from privacy.ledger import (
    Budget,
    Ledger,
    Manifest,
    Planned,
    Release,
    SigningKey,
    close,
    verify,
)
from privacy.ledger.accountant import Certified, RenyiOnly
from privacy.ledger.contents import RULES
from privacy.ledger.log.entries import KINDS
from privacy.ledger.log.keys import Trust
from privacy.report import AttackResult, AuditResult, save_evidence, write_report
from privacy.report.evidence_file import ReportedEvidence
from privacy.report.facts import gather
from privacy.report.page import (
    ASSUMPTIONS,
    FOREIGN,
    LANGUAGES,
    ROWS,
    SECTIONS,
    _event,
    strings,
)
from tests.privacy.accounting.test_further_events import EXAMPLES
from tests.privacy.ledger.helpers import gaussian, ticking
from tests.privacy.ledger.test_verify import run_federation

ROOT = Path(__file__).resolve().parents[3]
VOID = {"meta", "link", "br", "img", "hr", "input", "rect", "line", "path", "polyline"}


class Bound(RenyiOnly):
    """A second road that also has a reconstruction bound."""

    def success(self, event: Mapping[str, Any], prior: float, budget: Budget) -> float | None:
        return 0.1554


class Outline(HTMLParser):
    """Collects what a screen reader would."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.unbalanced = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced += 1

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.tags)


def pages(out: Path, trust: dict[str, str] | None) -> dict[str, str]:
    _, written = write_report(out, trust=trust, out=out, assessor=Bound())
    assert [path.name for path in written] == ["report.en.html", "report.zh.html"]
    return {path.name.split(".")[1]: path.read_text(encoding="utf-8") for path in written}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("full")
    trust, _ = run_federation(out)
    attack = AttackResult("server_sealed", "inversion", 200, 0.11, 0.07, 0.16, 0.95, 0.10, 0.155)
    save_evidence(out / "evidence" / "attacks.json", [attack])
    audit = AuditResult("one-run", 1000, 900, 470, 0.04, 5.8, 0.95, 1e-5)
    save_evidence(out / "evidence" / "audit.json", [audit])
    return pages(out, trust)


def test_both_languages_have_the_same_strings_with_the_same_places() -> None:
    tables = [strings(language) for language in LANGUAGES]
    assert set(tables[0]) == set(tables[1])
    for key, text in tables[0].items():
        places = [{name for _, name, _, _ in Formatter().parse(t[key]) if name} for t in tables]
        assert places[0] == places[1], key
        assert text.strip()


def test_both_languages_hold_the_same_numbers(full: dict[str, str]) -> None:
    found = []
    for language in LANGUAGES:
        text = " ".join(Outline(full[language]).text)
        numbers = re.findall(r"\d[\d.,e%-]*", text.replace(" %", "%"))
        found.append(sorted(number.rstrip(".,") for number in numbers))
    assert found[0] == found[1]
    assert len(found[0]) > 100


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_script_no_outside_address_and_small(full: dict[str, str], language: str) -> None:
    page = full[language]
    assert len(page.encode()) < 200_000
    outline = Outline(page)
    assert outline.count("script") == 0
    links = [v for _, attrs in outline.tags for n, v in attrs.items() if n in ("href", "src")]
    other = f"report.{LANGUAGES[1 - LANGUAGES.index(language)]}.html"
    assert other in links
    assert all(link == other or (link or "").startswith("#") for link in links)
    assert not re.search(r"https?:|url\(|@import", page)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_outline_is_sound(full: dict[str, str], language: str) -> None:
    outline = Outline(full[language])
    assert outline.unbalanced == 0
    assert outline.open == []
    assert outline.count("h1") == 1
    assert ("html", {"lang": strings(language)["lang"]}) in outline.tags
    assert [a["id"] for tag, a in outline.tags if tag == "section"] == list(SECTIONS)
    assert outline.count("table") == outline.count("caption")
    assert all("scope" in attrs for tag, attrs in outline.tags if tag == "th")
    identities = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(identities) == len(set(identities))
    images = [attrs for tag, attrs in outline.tags if tag == "svg"]
    assert len(images) == 4
    for image in images:
        assert image["role"] == "img"
        assert set((image["aria-labelledby"] or "").split()) <= set(identities)


def test_the_sentence_names_who_against_whom_how_much_and_what(full: dict[str, str]) -> None:
    sentence = full["en"].split('class="lead">')[1].split("</p>")[0]
    assert "north, south and west" in sentence
    assert "every single upload" in sentence
    assert re.search(r"ε = 0\.\d+ at δ = 1e-5", sentence.replace("\xa0", " "))
    assert "all 3 releases" in sentence
    assert "right with at most 15.6 %" in full["en"]
    assert "至多为 15.6 %" in full["zh"]


def test_measured_stands_beside_proven(full: dict[str, str]) -> None:
    assert "11.0 % (7.0 % to 16.0 % at 95 %; 200 targets)" in full["en"]
    assert "15.5 %" in full["en"]
    assert "0.04 (95 %)" in full["en"]


def test_without_evidence_the_page_says_not_measured(tmp_path: Path) -> None:
    trust, _ = run_federation(tmp_path)
    (tmp_path / "manifest.json").unlink()
    page = pages(tmp_path, trust)["en"]
    # AUC, calibration, attacks on the run, on its design, audits
    assert page.count("Not measured.") == 5
    assert "unsigned" not in page
    assert "no manifest was given" in page


def test_without_trusted_keys_the_page_says_so(tmp_path: Path) -> None:
    run_federation(tmp_path)
    page = pages(tmp_path, None)["en"]
    assert 'class="verdict unanchored"' in page


def test_a_tampered_run_gets_no_guarantee(tmp_path: Path) -> None:
    trust, _ = run_federation(tmp_path)
    path = tmp_path / "ledgers" / "north.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"round":1', b'"round":7', 1))
    page = pages(tmp_path, trust)
    assert 'class="verdict fail"' in page["en"]
    assert "There is no guarantee: the ledgers failed" in page["en"]
    assert "没有任何保证" in page["zh"]
    assert "signature" in page["en"]


def test_an_unprotected_run_says_aloud_that_no_guarantee_exists(tmp_path: Path) -> None:
    key = SigningKey.generate()
    ledger = Ledger.create(
        tmp_path / "ledgers" / "north.jsonl",
        hospital="north",
        key=key,
        budget=Budget(math.inf),
        clock=ticking(),
    )
    unprotected = {"type": "NonPrivateDpEvent"}
    plan = ledger.declare([Planned("update", unprotected, 2)]).content["plan"]
    for round_ in range(2):
        ledger.spend(Release("update", unprotected, round=round_, plan=plan, noise_source="none"))
    Manifest.of("r", (), {"north": key}).save(tmp_path / "manifest.json")
    page = pages(tmp_path, {"north": key.public})["en"]
    assert "There is no guarantee: at least one release of north" in page
    assert "2 releases that went out without any protection" in page
    assert "Meant is" not in page


def rows_under(page: str, table: str) -> str:
    """The text of one table."""
    return page.split(f'id="attacks-{table}"')[1].split("</table>")[0]


def test_this_runs_rows_stand_apart_from_other_designs(tmp_path: Path) -> None:
    """A comparison with what somebody else does is not a measurement of this run."""
    trust, _ = run_federation(tmp_path)
    common = (100, 0.11, 0.07, 0.16, 0.95, 0.10)
    save_evidence(
        tmp_path / "evidence" / "a.json",
        [
            AttackResult("server_sealed", "closed_form", *common),
            AttackResult("informed", "informed", *common, design="as here", same_design=True),
            AttackResult("server_plain", "tableak", *common, design="bare", design_zh="无保护"),
        ],
    )
    made = pages(tmp_path, trust)
    this, same, other = (rows_under(made["en"], name) for name in ("this", "same", "other"))
    assert "this run" in this and "closed form" in this
    assert "as here" in same and "exact likelihood" in same and "bare" not in same
    assert "bare" in other and "TabLeak" in other and "as here" not in other
    assert "无保护" in rows_under(made["zh"], "other")
    untried = made["en"].split("Not tried against this run or its design: ")[1].split(".")[0]
    assert "server that chooses the model" in untried
    assert "one who knows all other patients" not in untried and "curious server" not in untried


def test_the_run_itself_is_never_another_design() -> None:
    with pytest.raises(InvalidInputError, match="same_design"):
        AttackResult("informed", "x", 1, 0.0, 0.0, 1.0, 0.95, 0.1, same_design=True)


def test_what_nobody_signed_is_said(full: dict[str, str]) -> None:
    assert "These measurements are unsigned" in full["en"]
    assert "以下测量结果没有签名" in full["zh"]
    table = full["en"].split('id="digests-c"')[1].split("</table>")[0]
    for name in ("evidence/attacks.json", "evidence/audit.json"):
        assert "nobody: unsigned" in table.split(name)[1].split("</tr>")[0]
    for name in ("north", "south", "west"):
        assert f"<td>{name}</td>" in table.split(f">{name}.jsonl<")[1].split("</tr>")[0]


def test_the_label_says_which_run_when_on_whom_by_which_code(tmp_path: Path) -> None:
    """What the ledgers state under their signatures; what they don't is said to be missing."""
    keys = {name: SigningKey.generate() for name in ("north", "south")}
    for name, key in keys.items():
        stated = {"run": "r1", "cohort": "heart", "patients": "12", "commit": f"c-{name}"}
        Ledger.create(
            tmp_path / "ledgers" / f"{name}.jsonl",
            hospital=name,
            key=key,
            budget=Budget(1.0),
            accountant=RenyiOnly(),
            clock=ticking(),
            context=stated,
        ).spend(Release("update", gaussian(40.0)))
    made = pages(tmp_path, {name: key.public for name, key in keys.items()})
    label = made["en"].split('id="label-c"')[1].split("</table>")[0]

    def cell(heading: str) -> str:
        return label.split(f">{heading}</th><td>")[1].split("</td>")[0]

    assert cell("Run") == "r1"
    assert (cell("Cohort"), cell("Patients")) == ("heart", "12")
    assert cell("Code version") == "c-north (says north); c-south (says south)"
    assert cell("Model") == "not recorded"
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d to .* UTC, by the hospitals&#39; clocks", cell("Date")
    )
    assert "未记录" in made["zh"]


@pytest.mark.parametrize(("south", "meant"), [(None, 1), (3, 3), (4, 4), (9, 4)])
def test_what_a_patient_is_counts_only_where_every_hospital_states_it(
    tmp_path: Path, south: int | None, meant: int
) -> None:
    """North states four hospitals a patient; of what all state, the least is meant."""
    keys = {name: SigningKey.generate() for name in ("north", "south")}
    public = {name: key.public for name, key in keys.items()}
    stated = {"north": 4, "south": south}
    ledgers = []
    for name, key in keys.items():
        most = stated[name]
        ledger = Ledger.create(
            tmp_path / f"{name}.jsonl",
            hospital=name,
            key=key,
            budget=Budget(1.0),
            enrolled=public,
            context={} if most is None else {"a patient's hospitals": f"at most {most}"},
            accountant=RenyiOnly(),
            clock=ticking(),
        )
        ledger.spend(Release("update", gaussian(40.0)))
        ledgers.append(ledger)
    close(ledgers)
    verdict = verify([tmp_path], Trust(public), accountants=(Certified(), RenyiOnly()))
    assert gather(verdict, ReportedEvidence(), Certified(), manifests={}).meant.hospitals == meant


def test_an_attack_above_its_bound_is_called_a_falsification(tmp_path: Path) -> None:
    trust, _ = run_federation(tmp_path)
    won = AttackResult("informed", "likelihood", 500, 0.6, 0.55, 0.65, 0.95, 0.10, 0.155)
    save_evidence(tmp_path / "evidence" / "a.json", [won])
    assert "the guarantee is falsified" in pages(tmp_path, trust)["en"]


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>{t}{{ css }}"


def test_text_from_ledgers_and_evidence_is_escaped(tmp_path: Path) -> None:
    """A hospital, a run or whoever measured may write what they like; it stays text."""
    key = SigningKey.generate()
    ledger = Ledger.create(
        tmp_path / "ledgers" / "x.jsonl",
        hospital="x",
        key=key,
        budget=Budget(1.0),
        accountant=RenyiOnly(),
        clock=ticking(),
        context=dict.fromkeys(("run", "cohort", "patients", "commit", "other"), HOSTILE),
    )
    ledger.spend(Release("update", gaussian(40.0)))
    result = AttackResult(HOSTILE, HOSTILE, 1, 0.0, 0.0, 1.0, 0.95, 0.1, design=HOSTILE)
    save_evidence(tmp_path / "evidence" / "a.json", [result])
    for page in pages(tmp_path, {"x": key.public}).values():
        assert "<script" not in page and "<img" not in page
        assert page.count("&lt;script&gt;alert(1)") >= 8  # title, heading, label and table
        assert Outline(page).unbalanced == 0


def test_a_hostile_name_of_a_hospital_in_a_file_stays_text(tmp_path: Path) -> None:
    """No writer takes such a name; a file may hold it nevertheless, and be called so."""
    trust, _ = run_federation(tmp_path)
    path = tmp_path / "ledgers" / "north.jsonl"
    forged = path.read_bytes().replace(b'"hospital":"north"', f'"hospital":"{HOSTILE}"'.encode())
    path.write_bytes(forged)
    path.rename(path.with_name("<script>alert(2)<!--.jsonl"))
    for page in pages(tmp_path, {**trust, HOSTILE: trust["north"]}).values():
        assert 'class="verdict fail"' in page
        assert "<script" not in page and "<img" not in page and "<!--" not in page
        assert Outline(page).unbalanced == 0


def test_a_page_of_many_like_releases_stays_small(tmp_path: Path) -> None:
    trust, _ = run_federation(tmp_path, rounds=60)
    sizes = [len(page) for page in pages(tmp_path, trust).values()]
    assert max(sizes) < 40_000


def test_the_tests_that_cover_the_assumptions_exist() -> None:
    for key, tests in (*ASSUMPTIONS, ROWS, FOREIGN):
        assert key in strings("en")
        for test in tests:
            assert (ROOT / test).exists(), test


EVENTS: tuple[dp.DpEvent, ...] = (
    *(event for event, _ in EXAMPLES.values()),
    dp.LaplaceDpEvent(2.5),
    dp.DiscreteLaplaceDpEvent(0.5, 2),
    dp.RandomizedResponseDpEvent(0.5, 2),
    dp.PoissonSampledDpEvent(0.25, dp.GaussianDpEvent(2.0)),
    dp.SampledWithoutReplacementDpEvent(90, 30, dp.GaussianDpEvent(2.0)),
    dp.TruncatedSubsampledGaussianDpEvent(90, 0.25, 40, 2.0),
    dp.SelfComposedDpEvent(dp.ComposedDpEvent([dp.GaussianDpEvent(2.0), dp.NoOpDpEvent()]), 3),
    dp.NonPrivateDpEvent(),
    DiscreteGaussianDpEvent(2.0, 40),
    DistributedDiscreteGaussianDpEvent(2.0, 40, 7, 3),
    LinearOpeningsDpEvent(2.0, 40, 7, 1.5, 6, 6, 1.0, 1.0),
    SkellamDpEvent(2.0, 40, 7),
    ShuffledBatchesDpEvent(4, dp.GaussianDpEvent(2.0)),
    RandomAllocationDpEvent(8, dp.GaussianDpEvent(2.0)),
    SeenAllocationDpEvent(8, dp.GaussianDpEvent(2.0)),
)


def numbers(content: object) -> set[str]:
    """Every number of an event that says how much, as a reader sees it."""
    if isinstance(content, dict):
        hidden = ("leverage", "least_eigenvalue", "coset_spread")  # parts of a cost, not of a law
        return set().union(*(numbers(v) for k, v in content.items() if k not in hidden))
    if isinstance(content, list):
        return set().union(*map(numbers, content))
    return {f"{content:g}"} if isinstance(content, int | float) else set()


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_event_has_words_that_hold_its_numbers(event: dp.DpEvent, language: str) -> None:
    table, content = strings(language), to_json(event)
    said = _event(content, lambda key, /, **values: table[key].format(**values))
    missing = numbers(content) - set(re.findall(r"\d+(?:\.\d+)?", said)) - {"7"}  # dim
    assert not missing, (said, missing)
    assert "DpEvent" not in said and "{" not in said


def test_no_kind_of_event_is_without_words() -> None:
    shown = {type(event).__name__ for event in EVENTS} | {"GaussianDpEvent", "NoOpDpEvent"}
    assert shown | {"ComposedDpEvent"} == set(events._BY_NAME)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_of_entry_and_every_rule_has_words(language: str) -> None:
    table = strings(language)
    assert {f"entry_{kind}" for kind in KINDS if kind != "sealed"} <= set(table)
    assert {f"rule_{rule}" for rule in RULES} <= set(table)
