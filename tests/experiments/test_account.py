import json
from dataclasses import replace
from pathlib import Path

import pytest
from dp_accounting import (
    GaussianDpEvent,
    NeighboringRelation,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)

from experiments.commands.account import Account
from privacy.errors import InvalidInputError
from privacy.named_risks import named_risks
from tests.privacy.golden import golden

ADD = NeighboringRelation.ADD_OR_REMOVE_ONE


@pytest.mark.parametrize("row", golden("accounting")["grid"]["rows"][:1], ids=str)
def test_every_accountant_side_by_side(
    row: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    noise_multiplier, prob, rounds, pld, _, gdp_clt, *_ = row
    command = Account(noise_multiplier, prob, int(rounds), json=True)
    assert command.run() == 0
    found = json.loads(capsys.readouterr().out)
    answers = {a["accountant"]: a for a in found["accountants"]}
    assert answers["dp-accounting PLD"]["epsilon"] == pytest.approx(pld, abs=1e-3)
    assert answers["dp-accounting PLD"]["verdict"] == "agrees"
    assert answers["dp-accounting RDP"]["verdict"] == "loose"
    assert answers["Opacus GDP"]["epsilon"] == pytest.approx(gdp_clt, abs=1e-3)
    assert answers["Opacus GDP"]["verdict"] == "not a bound"
    assert "never use it" in answers["Opacus GDP"]["note"]
    interval = found["interval"]
    assert interval["lower"] <= interval["estimate"] <= interval["upper"]
    risks = found["risks"]
    assert 0.1 <= risks["reconstruction_success"] < 0.2
    assert risks["membership_success_even_odds"] == pytest.approx(
        0.5 + risks["membership_advantage"] / 2, rel=1e-6
    )


def test_replacing_a_patient_shows_the_librarys_under_count(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert Account(1.0, rounds=10, relation="replace-one").run() == 0
    out = capsys.readouterr().out
    assert "46.21" in out
    found = Account(1.0, rounds=10, relation="replace-one").report()
    rdp = next(a for a in found["accountants"] if a["accountant"] == "dp-accounting RDP")
    assert rdp["verdict"] == "not a bound"
    assert rdp["epsilon"] == pytest.approx(19.05, abs=0.01)


def test_the_classic_formula_counts_no_rounds() -> None:
    found = Account(4.8448, rounds=100).report()
    classic = next(a for a in found["accountants"] if a["accountant"].startswith("classic"))
    assert classic["epsilon"] == pytest.approx(1.0, abs=1e-4)
    assert classic["verdict"] == "not a bound"
    sampled = Account(0.6, 0.01, 100).report()["accountants"]
    assert next(a for a in sampled if a["accountant"].startswith("classic"))["verdict"] == (
        "unfounded"
    )


def test_risks_are_printed_by_name_and_the_curve_is_drawn(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = Account(
        1.0, 0.01, 100, attribute_prior=(0.7, 0.2, 0.1), targets=20, plot=tmp_path / "curve"
    )
    assert asked.run() == 0
    out = capsys.readouterr().out
    for words in ("true positives at 0.1% false ones", "attribute guessed", "of 20 targets named"):
        assert words in " ".join(out.split())
    assert "curve.svg" in out
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
    assert replace(asked, json=True).run() == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    found = json.loads(printed.out)
    event = SelfComposedDpEvent(PoissonSampledDpEvent(0.01, GaussianDpEvent(1.0)), 100)
    risks = named_risks(event, relation=ADD, prior=(0.7, 0.2, 0.1), targets=20)
    assert found["risks"]["attribute_success"] == risks.attribute
    assert list(found["risks"]["membership_true_positives"].values()) == list(risks.true_positives)
    assert found["risks"]["targets_named"] == risks.expected_named
    assert [path.rpartition("/")[2] for path in found["plot"]] == ["curve.svg", "curve.png"]


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="noise_multiplier"):
        Account(0.0).report()
    with pytest.raises(InvalidInputError, match="sampling_prob"):
        Account(1.0, sampling_prob=1.5).report()
    with pytest.raises(InvalidInputError, match="rounds"):
        Account(1.0, rounds=0).report()
