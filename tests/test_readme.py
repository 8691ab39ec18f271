"""The READMEs are true: their code runs, their commands exist, and both languages say the same."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregation.federation import Federation
from aggregation.models import Logistic
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.registry import Registry
from aggregation.rules import RULES, Rule
from aggregation.sealing import Contribution, OpeningLog, Policy, Roster
from attacks import suite
from experiments import cohorts
from experiments.cli import COMMANDS, parsed, plugins_of
from experiments.cohorts import folds, load
from experiments.door import checked
from experiments.studies.frontier.grid import quick_grid
from experiments.studies.problem import LogisticProblem
from experiments.studies.trainers import Steps
from paper.readme import BLOCKS, LANGUAGES, PAGES, block, fill
from privacy.errors import InvalidInputError
from privacy.ledger import SigningKey
from privacy.unit import Unit

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
NAMES = ("README", *(f"docs/{p.name.removesuffix('.zh.md')}" for p in sorted(DOCS.glob("*.zh.md"))))
"""Pages that stand in both languages."""
PAIRS = [
    pytest.param(*((ROOT / f"{name}{end}").read_text() for end in (".md", ".zh.md")), id=name)
    for name in NAMES
]
TEXTS = {language: (ROOT / name).read_text() for language, name in LANGUAGES.items()}
EN, ZH = TEXTS["en"], TEXTS["zh"]
EXTEND = (DOCS / "extend.md").read_text()
MOST_LINES = 30
LONGEST_README = 200


def code(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def run(index: int) -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "readme"}
    exec(compile([*code(EN), *code(EXTEND)][index], "README.md", "exec"), scope)
    return scope


def test_the_first_screen_says_what_was_found_for_whom_and_what_is_not_shown() -> None:
    screen = "\n".join(EN.splitlines()[:40])
    for heading in ("What was found.", "For whom it matters.", "What it does not show."):
        assert f"**{heading}**" in screen
    assert "make demo" in screen
    assert "make test" in screen


def test_a_readme_is_what_a_newcomer_reads() -> None:
    assert all(len(text.splitlines()) <= LONGEST_README for text in TEXTS.values())


def test_the_pages_name_real_commands_and_real_files() -> None:
    for page in (*(ROOT / name for name in LANGUAGES.values()), *sorted(DOCS.glob("*.md"))):
        text = page.read_text()
        assert set(re.findall(r"`inpatient ([a-z]+)", text)) <= set(COMMANDS), page
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            assert target.startswith("http") or (page.parent / target).exists(), (page, target)


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_both_languages_keep_step(english: str, chinese: str) -> None:
    others = re.findall(r"^\[English\]\(([^)]+)\)", chinese, re.MULTILINE)

    def levels(text: str) -> list[str]:
        return re.findall(r"^(#+) ", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)

    def links(text: str) -> list[str]:
        found = re.findall(r"\]\(([^)]+)\)", text)
        return sorted(t for t in found if not t.endswith(".zh.md") and t not in others)

    def figures(text: str) -> list[str]:  # generated parts have a test of their own
        written = re.sub(r"<!-- (\w+): begin.*?\1: end -->", "", text, flags=re.DOTALL)
        return sorted(re.findall(r"\d+\.\d+", written))

    assert len(others) == 1
    assert levels(english) == levels(chinese)
    assert links(english) == links(chinese)
    assert figures(english) == figures(chinese)
    fenced = [re.findall(r"```.*?```", text, re.DOTALL) for text in (english, chinese)]
    assert fenced[0] == fenced[1]


def test_what_the_pages_say_of_results_is_the_records() -> None:
    made = json.loads((ROOT / "paper" / "numbers.json").read_text())
    for language, pages in PAGES.items():
        assert sorted(part for parts in pages.values() for part in parts) == sorted(BLOCKS)
        for name, parts in pages.items():
            for part in parts:
                assert block(part, made, language) in (ROOT / name).read_text()


def test_a_lost_mark_is_named(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("nothing to fill")
    with pytest.raises(InvalidInputError, match="found: begin"):
        fill(tmp_path, {})


def test_each_addition_is_short() -> None:
    assert len(code(EN)) == 1 and len(code(EXTEND)) == 4
    for addition in code(EXTEND):
        assert sum(bool(line.strip()) for line in addition.splitlines()) < MOST_LINES


def test_the_engineers_run_and_the_attack_that_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "ATTACKS", Registry("attack", dict(suite.ATTACKS)))
    scope = run(0)
    run(1)
    added = suite.make_attack("first_ratio")
    found = added.reconstruct(scope["view"].only(round_=0), scope["Prior"].from_schema(
        scope["cohort"].schema))  # fmt: skip
    assert found.records.shape == (1, len(scope["cohort"].schema))


def test_the_scheme_that_is_added_opens_the_sum_and_hides_an_update() -> None:
    scheme = run(2)["Padded"].make(dim=3, contributors=3, bound=1_000)
    keys = {name: SigningKey.generate() for name in "abc"}
    adder, contributions = scheme.adder(), []
    for name, key in keys.items():
        sealed = scheme.sealer(name).seal(np.array([1, -2, 300]))
        assert scheme.parameters.to_words(np.array([1, 2, 300], dtype=np.uint64)) not in sealed
        adder.add(sealed)
        contributions.append(
            Contribution.sign(
                key, sealed, run="r", hospital=name, base_version=0, parameters=scheme.digest
            )
        )
    roster = Roster("r", {name: key.public for name, key in keys.items()})
    policy = Policy(roster, min_honest=2, c_assumed=1, log=OpeningLog())
    opened = scheme.opener(policy).open(adder.total(), contributions)
    assert opened.tolist() == [3, -6, 900]


def test_the_rule_and_the_cohort_that_are_added_train_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Rule, "registered", Registry("rule", dict(RULES)))
    monkeypatch.setattr(cohorts, "COHORTS", Registry("cohort", dict(cohorts.COHORTS)))
    rule, cohort = run(3), run(4)["COHORTS"]["stroke"](None)
    problem = LogisticProblem(dict(folds(cohort, count=4, seed=0)[0].train))
    trained = rule["trainers"]["capped"](problem, Steps(rounds=100))
    assert problem.gap(trained["north"]) < 0.01
    made: Any = Rule.registered["capped"]
    capped = made.of({n: len(p) for n, p in problem.patients.items()})
    features = next(iter(problem.patients.values())).features.shape[1]
    plan = Plan(
        run="added", model=Logistic(features), hospitals=problem.names,
        declared_sizes=tuple(len(p) for p in problem.patients.values()), rounds=3,
        learning_rate=0.3, noise=NoiseKind.LOCAL, scheme="plain", clip_norm=1.0, radius=1024,
        noise_multiplier=1.0, local_steps=4, unit=Unit.HOSPITAL, rule=capped,
    )  # fmt: skip
    outcome = Federation.simulated(plan, problem.patients, seed=0).run()
    assert np.isfinite(outcome.params).all()


@pytest.mark.parametrize(("english", "text"), PAIRS)
def test_nothing_chinese_is_half_english_or_punctuated_in_english(english: str, text: str) -> None:
    """Generated parts too: no half-width mark beside Chinese text, no word left in English."""
    assert english != text
    written = re.sub(r"```.*?```|`[^`\n]*`|\]\([^)]*\)|<!--.*?-->", "", text, flags=re.DOTALL)
    chinese = r"[\u3400-\u9fff\u3000-\u303f\uff00-\uffef]"
    assert (
        re.findall(rf".{{0,8}}(?:{chinese} ?[,;:()?!]|[,;:()?!] ?{chinese}).{{0,8}}", written) == []
    )
    for word in ("by definition", "not tried", "none", "logistic", "mlp", " to ", "holds"):
        assert word not in written, word
    assert re.findall(rf"{chinese}\n *{chinese}", written) == []  # it would be shown as a blank


def test_every_path_that_the_readmes_and_docs_name_exists_or_is_written() -> None:
    """Files of the checkout, or files that a run leaves: the demo's are made in ``test_demo``."""
    texts = {**TEXTS, **{p.name: p.read_text(encoding="utf-8") for p in sorted(DOCS.glob("*.md"))}}
    for name, text in texts.items():
        for path in re.findall(r"(?<![\w/.])((?:[\w-]+/)+[\w.-]*)", text):
            if path.startswith("results/demo"):
                assert path.removeprefix("results/demo").strip("/") in OF_THE_DEMO, (name, path)
            elif path == "paper/paper.pdf":  # `make paper` writes it, and git ignores it
                assert "paper/paper.pdf" in (ROOT / ".gitignore").read_text()
            elif path.split("/")[0] in OURS and "..." not in path:
                assert (ROOT / path).exists(), (name, path)


OURS = {"privacy", "aggregation", "attacks", "experiments", "paper", "docs", "tests"}
OF_THE_DEMO = {
    "",
    "trust.json",
    "manifest.json",
    "ledgers",
    "ledgers/va.jsonl",
    "evidence",
    "report/report.en.html",
    "report/report.zh.html",
}
"""What ``tests/experiments/test_demo.py`` finds in a demo's folder."""


def named_commands() -> list[str]:
    """Every whole command of the project in a code block of a README or of the docs."""
    texts = [*TEXTS.values(), *(p.read_text(encoding="utf-8") for p in sorted(DOCS.glob("*.md")))]
    blocks = [b for text in texts for b in re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)]
    lines = [line.split("#")[0].strip() for b in blocks for line in b.splitlines()]
    found = [line.removeprefix("$ ") for line in lines]
    return sorted({line for line in found if line.startswith("inpatient ") and "..." not in line})


@pytest.mark.parametrize("command", named_commands())
def test_every_command_that_the_readmes_and_docs_name_is_one(command: str) -> None:
    """It is parsed, its fields and names are checked; the folders it speaks of may be elsewhere."""
    _, *arguments = shlex.split(command)
    if arguments[-1] == "--help":
        with pytest.raises(SystemExit) as left:
            parsed(arguments)
        assert left.value.code == 0
        return
    checked(parsed(plugins_of(arguments)[1]))


def test_the_commands_are_found() -> None:
    assert len(named_commands()) >= 12


def test_what_the_readme_says_of_the_patients_is_so() -> None:
    sizes = [len(patients) for patients in load("heart").hospitals.values()]
    results = [(DOCS / name).read_text() for name in ("results.md", "results.zh.md")]
    assert f"The patients are real: {sum(sizes)} of four hospitals" in results[0]
    assert f"四家医院的 {sum(sizes)} 人" in results[1]
    assert len(sizes) == 4
    assert f"the demo's {number(len(quick_grid()))} points" in EN


def number(count: int) -> str:
    return {10: "ten"}[count]
