"""A real federation with an evaluation round: what it costs, what it says, what is missed."""

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from aggregation.card import LANGUAGES, card
from aggregation.correlation import Correlation
from aggregation.data.cohort import Repeats
from aggregation.evaluation.round import FILE
from aggregation.trained import Trained
from experiments import federate
from experiments.cli import main, parsed
from experiments.cohorts import load
from experiments.commands.frontier import Demo
from experiments.commands.train import Train
from experiments.door import checked
from experiments.federate import Wanted
from experiments.studies.design import TRAINING, Regime
from privacy.errors import InvalidInputError, RefusedError
from privacy.ledger import load_trust, verify
from privacy.report import write_report

NOT_MEASURED = {"en": "AUC: not measured", "zh": "AUC：未测量"}


@pytest.fixture(autouse=True, scope="module")
def short() -> Any:
    """Three rounds: nothing here depends on their number."""
    brief = replace(TRAINING[Regime.FULL, "logistic"], rounds=3, average_last=2)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(federate, "training_of", lambda *_: brief)
        yield


def trained(out: Path, **wanted: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    federate.deploy(out, load("heart"), console, Wanted(1.0, **wanted))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluated")
    said = trained(out, evaluate=0.5, held_out=0.4)
    assert re.search(r"Evaluation round at epsilon 0.5 on \d+ held-out patients: AUC", said)
    return out


def test_training_and_evaluation_keep_one_budget_and_are_verified_together(evaluated: Path) -> None:
    verdict = verify([evaluated], load_trust(evaluated / "trust.json"))
    assert verdict.status == 0
    for reading in verdict.readings:
        (spent,) = reading.spent
        assert spent.releases == 3 + 1 and spent.left == 0 and spent.interval is not None
        assert 0.99 < spent.interval.upper <= 1.0
    names = [finding.subject for finding in verdict.findings]
    assert "evaluation/manifest.json" in names


@pytest.mark.parametrize("lost", ["evaluation", "evaluation/manifest.json"])
def test_an_evaluation_whose_messages_are_gone_fails(
    lost: str, evaluated: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(evaluated, tmp_path / "copy"))
    gone = copy / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    verdict = verify([copy], load_trust(copy / "trust.json"))
    assert verdict.status != 0
    assert any("-evaluation" in f.reason and "manifest" in f.reason for f in verdict.findings)


def test_cards_page_and_file_tell_what_was_released_and_the_same(evaluated: Path) -> None:
    content = json.loads((evaluated / "model" / FILE).read_text())
    auc = content["figures"]["AUC"]
    lower = f"{np.floor(1000 * auc['lower']) / 1000:.3f}"
    assert content["disjoint"] and content["run"].endswith("-evaluation")
    texts = {n: (evaluated / "model" / f"card.{n}.md").read_text() for n in LANGUAGES}
    figures = [sorted(re.findall(r"\d+(?:\.\d+)?", text)) for text in texts.values()]
    assert figures[0] == figures[1]
    for language, text in texts.items():
        assert NOT_MEASURED[language] not in text and lower in text and "{" not in text
        assert content["plan"] in text and text.count("\n## ") == 4
    write_report(evaluated, trust=load_trust(evaluated / "trust.json"), out=evaluated / "report")
    for language in LANGUAGES:
        page = (evaluated / "report" / f"report.{language}.html").read_text(encoding="utf-8")
        label = page.split('id="label-c"')[1].split("</table>")[0]
        assert lower in label and content["run"].removesuffix("-evaluation") in page
    english = (evaluated / "report" / "report.en.html").read_text(encoding="utf-8")
    assert "evidence from tests, not proof" not in english  # of a model that is written out
    assert "noise included" in english and "None of them took part in training" in english
    assert ">evaluation" in english or "evaluation of round" in english


def test_without_a_round_everything_says_not_measured(tmp_path: Path) -> None:
    assert "AUC and calibration: not measured" in trained(tmp_path)
    assert not (tmp_path / "evaluation").exists() and not (tmp_path / "model" / FILE).exists()
    for language in LANGUAGES:
        text = (tmp_path / "model" / f"card.{language}.md").read_text()
        assert NOT_MEASURED[language] in text
    write_report(tmp_path, trust=load_trust(tmp_path / "trust.json"), out=tmp_path)
    for language, said in (("en", "Not measured."), ("zh", "未测量")):
        label = (tmp_path / f"report.{language}.html").read_text(encoding="utf-8")
        assert label.split('id="label-c"')[1].split("</table>")[0].count(said) == 2


def test_who_is_counted_was_not_trained_on(evaluated: Path) -> None:
    """Sizes of the two parts add up, and the page says how many are held out."""
    hospitals = load("heart").hospitals
    run = Trained.read(evaluated / "model").run
    train, held = federate._parted(hospitals, Wanted(1.0, evaluate=0.5, held_out=0.4), run)
    assert held is not None
    for name, patients in hospitals.items():
        both = np.concatenate([train[name].ids, held[name].ids])
        assert sorted(both) == sorted(patients.ids)
    (told,) = verify([evaluated], load_trust(evaluated / "trust.json")).readings[0].stated(run)
    assert told["patients"].endswith(f"; {sum(map(len, held.values()))} of them held out")


def test_a_card_takes_figures_of_its_own_plan_alone(evaluated: Path, tmp_path: Path) -> None:
    from aggregation.evaluation import Evaluated
    from tests.aggregation.evaluation.test_round import SCHEMA, counting, few, training

    held = few()
    plan = training(held)
    found = Evaluated(counting(plan, held), _made_up())
    assert "AUC, all hospitals together" in card(plan, SCHEMA, "en", found)
    flattered = card(plan, SCHEMA, "en", replace(found, disjoint=False))
    assert "may have taken part in training" in flattered
    with pytest.raises(RefusedError, match="another plan"):
        card(replace(plan, rounds=4), SCHEMA, "en", found)
    both = re.findall(r"\| h0000 \| \d+ \| ([\d.]+) \|", card(plan, SCHEMA, "en", found))
    alone = re.findall(r"\| h0000 \| \d+ \| ([\d.]+) \|", card(plan, SCHEMA, "en"))
    assert float(both[0]) > float(alone[0])  # the evaluation's part is in it


def _made_up() -> Any:
    from aggregation.evaluation import HeldOut

    counts = np.array([[[90, 80, 70, 60, 40, 30, 20, 10], [10, 20, 30, 40, 60, 70, 80, 90]]], float)
    return HeldOut(counts, 5.0, np.linspace(-2, 2, 7))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epsilon": float("inf")}, "finite epsilon"),
        ({"epsilon": 0.0}, "finite epsilon"),
        ({"epsilon": 1.0, "evaluate": 1.0}, "below the whole epsilon"),
        ({"epsilon": 1.0, "evaluate": 0.0}, "above 0"),
        ({"epsilon": 1.0, "held_out": 1.0}, "between 0 and 1"),
    ],
)
def test_a_price_that_is_none_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        Wanted(**wrong)
    if "epsilon" in wrong and wrong["epsilon"] == 1.0:
        with pytest.raises(InvalidInputError, match=said):
            checked(Demo(**{k: v for k, v in wrong.items() if k != "epsilon"}))
    with pytest.raises(InvalidInputError, match=said):
        checked(Train(**wrong))


def test_the_command_trains_a_module_of_a_file_verifies_it_and_leaves_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from torch import nn\n\n\ndef make(inputs):\n"
        "    return nn.Sequential(nn.Linear(inputs.features, 4), nn.Tanh(), nn.Linear(4, 1))\n"
    )
    out = tmp_path / "out"
    arguments = ["train", "--out", str(out), "--model", f"{mine}:make", "--evaluate", "0.5"]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    assert "Model and cards" in capsys.readouterr().out
    page = (out / "report" / "report.en.html").read_text(encoding="utf-8")
    assert "evidence from tests, not proof" in page
    found = Trained.read(out / "model")
    assert found.model.kind == "torch" and (out / "model" / "module.py").exists()
    assert json.loads((out / "model" / FILE).read_text())["plan"]
    assert isinstance(parsed(arguments), Train)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"model": "forest"}, "Unknown model"),
        ({"regime": "some"}, "Unknown regime"),
        ({"bins": 1}, "bins=1"),
    ],
)
def test_what_the_command_does_not_know_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        checked(Train(**wrong))


def test_a_hospital_that_would_train_on_nobody_is_named() -> None:
    cohort = load("heart")
    small = {n: p.take(np.arange(len(p)) < 1) for n, p in cohort.hospitals.items()}
    with pytest.raises(InvalidInputError, match="would be held out"):
        federate._parted(small, Wanted(1.0, evaluate=0.5, held_out=0.999), "r")


def test_training_in_passes_fills_up_the_last_one_and_is_verified(tmp_path: Path) -> None:
    trained(tmp_path / "out", pass_rounds=2)
    verdict = verify([tmp_path / "out"], load_trust(tmp_path / "out" / "trust.json"))
    assert verdict.status == 0
    for reading in verdict.readings:
        (spent,) = reading.spent
        assert (spent.releases, spent.left) == (4, 0)
        assert spent.interval is not None
        assert 0.99 < spent.interval.upper <= 1.0


@pytest.mark.parametrize("wanted", [{}, {"pass_rounds": 2}, {"evaluate": 0.4, "held_out": 0.3}])
def test_training_with_correlated_noise_is_verified_and_said(
    wanted: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    trained(out, correlated=Correlation(bands=2), **wanted)
    verdict = verify([out], load_trust(out / "trust.json"))
    assert verdict.status == 0
    for reading in verdict.readings:
        (spent,) = reading.spent
        assert spent.interval is not None
        assert 0.99 < spent.interval.upper <= 1.0
    for language, words in (("en", "correlated over its rounds"), ("zh", "噪声在各轮之间相关")):
        assert words in (out / "model" / f"card.{language}.md").read_text(encoding="utf-8")
    assert '"noise of rounds":"banded 2"' in (out / "ledgers" / "va.jsonl").read_text()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"correlated": "banded"}, "Expected a correlation such as banded:8"),
        ({"correlated": "banded:0"}, "bands=0"),
        ({"correlated": "banded:-1"}, "bands=-1"),
        ({"correlated": "banded:99999"}, "at most 32 buffers or 10000 bands, got 0 and 99999"),
        ({"correlated": "buffered:0.3"}, "got 'buffered:0.3'"),
        ({"correlated": "buffered:0.3/1"}, "decays below 1"),
        ({"correlated": "buffered:0.3/0.5/2"}, "got 'buffered:0.3/0.5/2'"),
        ({"correlated": "pink:3"}, "got 'pink:3'"),
        (
            {"correlated": "banded:3", "regime": "small"},
            r"correlated=banded 3 noise .*\(regime=small\): .* regime full, or give pass_rounds",
        ),
    ],
)
def test_a_correlation_that_is_none_or_has_no_proof_is_refused(
    wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        checked(Train(**wrong))


def test_what_goes_with_small_batches_in_passes_alone_is_taken() -> None:
    found = Train(regime="small", pass_rounds=8, correlated="buffered:0.3/0.8,0.2/0.6")._wanted()
    assert found.correlated == Correlation(scales=(0.3, 0.2), decays=(0.8, 0.6))
    assert found.training.sampling_size is None


@pytest.mark.parametrize("more", [{"pass_rounds": 2}, {"correlated": Correlation(bands=2)}])
def test_patients_of_several_hospitals_are_not_put_in_passes(
    more: dict[str, Any], tmp_path: Path
) -> None:
    cohort = replace(load("heart"), repeats=Repeats(hospitals=2))
    with pytest.raises(RefusedError, match=r"may stand in 2 hospitals, .* Leave them out"):
        federate.deploy(tmp_path, cohort, Console(file=io.StringIO()), Wanted(1.0, **more))
    assert not any(tmp_path.iterdir())
