"""The pages for runs of Flower, trainings by Opacus and reviews are true: their code, their files,
their commands.
"""

import re
import shlex
import shutil
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from experiments.cli import main
from privacy.ledger import load_trust, verify

ROOT = Path(__file__).resolve().parents[1]
CAPTURES = ROOT / "tests" / "captures"


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def blocks(text: str, kind: str) -> dict[str, str]:
    return dict(re.findall(rf"```{kind} (\S+)\n(.*?)```", text, flags=re.DOTALL))


def commands(text: str) -> list[list[str]]:
    """Every line of a block without a language begins with ``inpatient``."""
    found = re.findall(r"(?<=\n\n)```(\w*)[^\n]*\n(.*?)```\n", text, flags=re.DOTALL)
    lines = [line for kind, block in found if not kind for line in block.splitlines()]
    assert lines and all(line.startswith("inpatient ") for line in lines)
    return [shlex.split(line)[1:] for line in lines]


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_flower_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = page("your-flower-run")
    code = blocks(text, "python")

    class FedAvg:
        weighted_by_key = "num-examples"

        def __init__(self, **told: Any) -> None:
            self.told = told

        def configure_train(self, *told: Any) -> None:
            """Nothing to send."""

        def aggregate_train(self, *told: Any) -> None:
            """Nothing to add."""

    stub = ModuleType("strategy")
    stub.FedAvg = FedAvg  # type: ignore[attr-defined]
    for name in ("flwr", "flwr.serverapp"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "flwr.serverapp.strategy", stub)
    monkeypatch.setattr("aggregation.capture.flower_history.version", lambda _: "1.41.0")
    exec(code["server.py"], {})
    assert (tmp_path / "kept").is_dir()
    shutil.rmtree("kept")
    shutil.copytree(CAPTURES / "flower", "kept")
    names: dict[str, Any] = {}
    exec(code["read.py"], names)
    assert len(names["updates"]) == 4
    assert set(names["run"].errors) == {message.sequence for message in names["updates"]}
    Path("kept/review.toml").write_text(blocks(text, "toml")["review.toml"])
    attack, review = commands(text)
    assert run(*attack) == 0
    assert "certified" in capsys.readouterr().out
    assert run(*review) == 1
    assert "of 8 patients proved" in capsys.readouterr().out


def test_the_opacus_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = page("your-opacus-training")
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        # Opacus warns of its generator, which the ledger's entries say; and of hooks on inputs.
        warnings.filterwarnings("ignore", message="Secure RNG turned off")
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        for code in blocks(text, "python").values():
            exec(code, names)
    verdict = verify([tmp_path / "north.jsonl"], load_trust(tmp_path / "keys.json"))
    (spent,) = verdict.readings[0].spent
    assert verdict.status == 0 and (spent.releases, spent.left) == (20, 0)
    check, report, account, enter = commands(text)
    assert run(*check) == 0
    assert "claims of Opacus" in capsys.readouterr().out
    assert run(*report) == 0
    assert ">Claimed: " in (tmp_path / "page" / "report.en.html").read_text(encoding="utf-8")
    assert run(*account) == 0
    assert "all together" in capsys.readouterr().out
    assert run(*enter) == int(names["ledger"].state().passed)


def test_the_page_on_reviews(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = page("review")
    shutil.copytree(CAPTURES / "opacus" / "shuffled", "run")
    Path("run/review.toml").write_text(blocks(text, "toml")["review.toml"])
    review, attack = commands(text)
    assert run(*attack, "--restarts", "1", "--iterations", "3") == 0
    assert "cascade on an update of 28" in re.sub(r"\s+", " ", capsys.readouterr().out)
    assert run(*review) == 1
    assert "Batches were shuffled" in re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    for language in ("en", "zh"):
        assert (tmp_path / "results" / "review" / f"review.{language}.html").is_file()
    questions = re.findall(r"^- \*\*(.*?)\*\*", text, flags=re.MULTILINE)
    assert len(questions) == 8
