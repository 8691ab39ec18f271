import json
from pathlib import Path
from typing import Any

import pytest

from attacks.reconstructed import guesses
from attacks.scoring.picture import draw
from experiments.cli import main
from experiments.commands.attack import AttackCommand
from tests.attacks.runs import PRIOR, cohort


def run(capsys: pytest.CaptureFixture[str], attack: AttackCommand) -> dict[str, Any]:
    assert attack.run() == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


def test_undefended_patients_are_certified(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    result = run(capsys, AttackCommand("closed_form", out=tmp_path, json=True))
    assert result["certified"] > 0
    assert result["false_certificates"] == 0
    assert result["accuracy"] > result["guessing"] + 0.3
    assert (tmp_path / "closed_form-server_plain.png").read_bytes()[:4] == b"\x89PNG"


def test_sealed_and_noised_nothing_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    attack = AttackCommand(
        "cascade", view="server_sealed", design="sealed", epsilon=1.0,
        restarts=1, iterations=20, know_labels=True, out=tmp_path, json=True,
    )  # fmt: skip
    result = run(capsys, attack)
    assert result["certified"] == 0
    assert result["accuracy"] == pytest.approx(result["guessing"])
    assert result["knowledge"] == ["labels"]


def test_the_informed_read_the_last_patient(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    attack = AttackCommand(
        "informed_exact", view="informed", regime="full", model="logistic", out=tmp_path
    )
    assert attack.run() == 0
    assert "informed_exact" in capsys.readouterr().out


def test_sampled_rounds_and_colluders_get_what_defines_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told = run(capsys, AttackCommand("informed_exact", view="informed", out=tmp_path, json=True))
    assert told["knowledge"] == ["batches"]
    assert told["certified"] == 1
    sealed = AttackCommand(
        "closed_form", view="colluding", design="sealed", epsilon=1.0, out=tmp_path, json=True
    )
    together = run(capsys, sealed)
    assert together["knowledge"] == ["patients", "updates"]
    assert together["certified"] == 0


def test_the_likelihood_ratio_names_people_of_line_ups(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bare = AttackCommand("likelihood_ratio", out=tmp_path, json=True, width=16)
    found = run(capsys, bare)
    assert (
        found["knowledge"] == ["candidates", "hospital"]
        and found["patients"] == found["line_ups"] >= 4
    )
    assert found["named"] >= 0.6 * found["line_ups"]
    sealed = AttackCommand(
        "likelihood_ratio", view="server_sealed", design="sealed", epsilon=1.0, regime="full",
        model="logistic", out=tmp_path, json=True,
    )  # fmt: skip
    lost = run(capsys, sealed)
    assert lost["named"] <= 0.7 * lost["line_ups"] and lost["certified"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "Unknown attack"),
        (["spear", "--view", "nobody"], "Unknown view"),
        (["spear", "--view", "server_sealed"], "seals nothing"),
        (["spear", "--view", "public"], "needs a GradientView"),
        (["spear", "--view", "colluding"], "seals nothing"),
        (["spear", "--hospital", "nowhere"], "Unknown hospital"),
        (["spear", "--model", "tree"], "Unknown model 'tree'"),
        (["tableak", "--restarts", "0"], "restarts"),
        (["likelihood_ratio", "--hospital", "nowhere"], "has no line-up"),
    ],
)
def test_mistakes_are_one_paragraph_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["attack", *arguments, "--out", str(tmp_path)])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_a_picture_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    truth = cohort(0)["north"].features[:3]
    first, second = (
        draw(guesses(PRIOR, 5), truth, PRIOR, tmp_path / f"{i}.svg").read_bytes() for i in (1, 2)
    )
    assert first == second
    assert b"cp" in first
    empty = draw(guesses(PRIOR, 0), truth, PRIOR, tmp_path / "empty.png")
    assert empty.stat().st_size > 1_000
