"""``inpatient account PHASES.toml``: a whole training, phase by phase."""

import json
from pathlib import Path
from typing import Any

import pytest
from dp_accounting import GaussianDpEvent, NeighboringRelation

from experiments.cli import main
from privacy.accounting import epsilon

ADD = NeighboringRelation.ADD_OR_REMOVE_ONE


def account(
    capsys: pytest.CaptureFixture[str], folder: Path, content: str, *options: str
) -> dict[str, Any]:
    (folder / "past.toml").write_text(content)
    with pytest.raises(SystemExit) as done:
        main(["account", str(folder / "past.toml"), "--json", *options])
    assert done.value.code == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


def test_two_phases_cost_what_their_composition_costs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    phase = "[[phase]]\nnoise_multiplier = 6.0\nsteps = 9\n"
    found = account(capsys, tmp_path, phase + phase)
    exact = epsilon(GaussianDpEvent(6.0 / 18**0.5), delta=1e-5, relation=ADD)
    assert exact.lower <= found["upper"] <= exact.upper * 1.001
    assert found["phases"][0] == found["phases"][1]
    assert found["phases"][0]["upper"] < found["upper"] < 2 * found["phases"][0]["upper"]
    assert 0.1 < found["risks"]["reconstruction_success"] < 1


def test_claims_are_added_and_their_delta_is_taken(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    phase = "[[phase]]\nnoise_multiplier = 6.0\nsteps = 9\n"
    claim = "[[claim]]\nepsilon = 0.5\ndelta = 9e-6\n"
    alone, both = (account(capsys, tmp_path, text) for text in (phase, phase + claim))
    assert both["upper"] > alone["upper"] + 0.5
    left = epsilon(GaussianDpEvent(2.0), delta=1e-6, relation=ADD).upper
    assert both["upper"] == pytest.approx(left + 0.5, rel=1e-3)


def test_shuffled_batches_cost_more_than_drawn_ones(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The usual mistake: batches are shuffled, and accounted for as if they had been drawn."""
    phase = 'relation = "REPLACE_SPECIAL"\n[[phase]]\nnoise_multiplier = 1.0\n'
    phase += "sampling_prob = 0.01\nsteps = 100\n"
    drawn = account(capsys, tmp_path, phase)
    shuffled = account(capsys, tmp_path, phase + 'sampler = "shuffled"\n')
    assert shuffled["lower"] > 2 * drawn["upper"]


def test_without_numbers_it_says_what_to_give(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as done:
        main(["account"])
    assert done.value.code != 0
    assert "a file of phases" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "past.toml").write_text("[[claim]]\nepsilon = 0.5\ndelta = 1e-4\n")
    with pytest.raises(SystemExit):
        main(["account", str(tmp_path / "past.toml")])
    assert "larger --delta" in " ".join(capsys.readouterr().err.split())


def test_people_get_a_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "past.toml").write_text("[[phase]]\nnoise_multiplier = 6.0\nsteps = 9\n")
    with pytest.raises(SystemExit) as done:
        main(["account", str(tmp_path / "past.toml")])
    printed = capsys.readouterr().out
    assert done.value.code == 0 and "all together" in printed and "reconstruction" in printed


def test_a_bare_claim_has_no_curve(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "claims.toml").write_text("[[claim]]\nepsilon = 0.5\ndelta = 1e-6\n")
    with pytest.raises(SystemExit) as done:
        main(["account", str(tmp_path / "claims.toml"), "--plot", str(tmp_path / "curve")])
    assert done.value.code != 0
    assert "one point and no curve" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("curve*"))


def test_phases_have_a_curve(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = account(
        capsys,
        tmp_path,
        "[[phase]]\nnoise_multiplier = 6.0\nsteps = 9\n",
        "--plot",
        str(tmp_path / "curve"),
    )
    assert sorted(path.name for path in tmp_path.glob("curve*")) == ["curve.png", "curve.svg"]
    assert len(found["plot"]) == 2
