"""What an epsilon is for: whose records, in which rounds, under which noise; by page and card."""

import re
from pathlib import Path
from typing import Any

import pytest
from dp_accounting import dp_event as dp

from aggregation.card import card
from aggregation.correlation import Correlation
from aggregation.data.patients import Column, Schema
from aggregation.federation import Federation
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import run_event, stated
from privacy.accounting.events import (
    LinearOpeningsDpEvent,
    RandomAllocationDpEvent,
    SeenAllocationDpEvent,
    to_json,
)
from privacy.ledger import load_trust
from privacy.report import Meant, Participation, meant_by, strings, write_report
from privacy.report.page import LANGUAGES
from privacy.unit import Unit
from tests.aggregation.parts import cohort, plan

GAUSSIAN = dp.GaussianDpEvent(2.0)
POISSON = dp.PoissonSampledDpEvent(0.1, GAUSSIAN)
PART = LinearOpeningsDpEvent(2.0, 40, 7, 1.5, 6, 6, 1.0, 1.0)
ALL = (Participation.ALL, 0)
SCHEMA = Schema((Column("a"), Column("b"), Column("c")), "ill")
OWN: dict[str, Any] = {"noise": NoiseKind.LOCAL, "colluders": 0, "noise_multiplier": 8.0}
RUNS: dict[str, tuple[dict[str, Any], int, list[str], list[str]]] = {
    "plain": (
        {},
        1,
        ["Meant is one row of one hospital's table", "all of them; no amplification"],
        ["correlated", "every pass"],
    ),
    "passes": (
        {"pass_rounds": 3},
        4,
        ["all rows of one hospital's table (at most 4)", "one round of every pass of 3, drawn in"],
        ["correlated", "the same in all passes"],
    ),
    "seen": (
        {"pass_rounds": 3, "scheme": "plain", **OWN},
        1,
        ["every pass of 3; as the updates are seen, the allocation counts as seen"],
        ["correlated", "drawn in secret"],
    ),
    "banded": (
        {"correlated": Correlation(bands=2), **OWN},
        1,
        ["all of them; no amplification", "(banded square root over 2 rounds)"],
        ["every pass"],
    ),
    "buffered, in passes": (
        {"correlated": Correlation(scales=(0.3,), decays=(0.5,)), "pass_rounds": 3, **OWN},
        1,
        ["every pass of 3, the same in all passes", "(buffered Toeplitz matrix with 1 buffers)"],
        ["drawn in secret"],
    ),
    "several": (
        {"patient_hospitals": 2},
        5,
        ["all rows (at most 5 at a hospital, bounded as one) at up to 2 hospitals"],
        ["correlated"],
    ),
    "several, one row": (
        {"patient_hospitals": 3},
        1,
        ["a patient with one row at each of up to 3 hospitals"],
        [],
    ),
}


def test_it_is_read_off_events_and_statements() -> None:
    found = meant_by(
        Unit.PATIENT, [to_json(dp.SelfComposedDpEvent(POISSON, 5)), to_json(GAUSSIAN)], {}
    )
    assert found == Meant(rounds=((Participation.POISSON, 0), ALL))
    passes = [RandomAllocationDpEvent(8, GAUSSIAN), SeenAllocationDpEvent(4, GAUSSIAN)]
    both = meant_by(Unit.PATIENT, [to_json(dp.ComposedDpEvent(passes * 2))], {})
    assert both.rounds == ((Participation.ALLOCATED, 8), (Participation.SEEN, 4))
    drawn = dp.SampledWithoutReplacementDpEvent(9, 3, GAUSSIAN)
    assert meant_by(Unit.PATIENT, [to_json(drawn)], {}).rounds == ((Participation.OTHER, 0),)
    nothing = [to_json(dp.NoOpDpEvent()), to_json(dp.ComposedDpEvent([dp.NonPrivateDpEvent()]))]
    assert meant_by(Unit.PATIENT, nothing, {}).rounds == ()
    kept = {
        "a patient's rounds": ("the same one of 8", "one of 5"),
        "noise of rounds": ("banded 3",),
    }
    apart = meant_by(Unit.PATIENT, [to_json(PART), to_json(GAUSSIAN)], kept)
    assert apart.rounds == ((Participation.FIXED, 8), ALL)
    assert apart.noises == (("banded", 3),)
    assert meant_by(Unit.PATIENT, [to_json(PART)], {}).rounds == (ALL,)


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ((), 1),
        (("at most 4",), 4),
        (("at most 4", "at most 2"), 2),
        (("at most 4", "many"), 1),
        (("at most 0",), 1),
        (("at most 4 or so",), 1),
        (("at most 99999999999",), 1),
    ],
)
def test_what_is_not_stated_plainly_by_all_protects_one_row(
    values: tuple[str, ...], count: int
) -> None:
    for name in ("records", "hospitals"):
        found = meant_by(Unit.PATIENT, [], {f"a patient's {name}": values})
        assert getattr(found, name) == count
    assert meant_by(Unit.PATIENT, [], {"noise of rounds": ("pink 3",)}).noises == ()


def test_a_hospital_as_the_unit_has_no_rows() -> None:
    for language in LANGUAGES:
        assert Meant(Unit.HOSPITAL).sentences(strings(language)) == []
        assert len(Meant(Unit.PATIENT).sentences(strings(language))) == 2


def made(changes: dict[str, Any]) -> Plan:
    return plan(**{"rounds": 6, "noise_multiplier": 4.0, "scheme": "shares"} | changes)


@pytest.mark.parametrize("name", RUNS)
def test_the_page_and_the_card_say_what_the_epsilon_is_for(name: str, tmp_path: Path) -> None:
    changes, records, present, absent = RUNS[name]
    run = made(changes)
    context = {} if records == 1 else {"a patient's records": f"at most {records}"}
    federation = Federation.real(run, cohort(), out=tmp_path, target_epsilon=1e3, context=context)
    federation.run()
    federation.save(tmp_path)
    verdict, pages = write_report(tmp_path, trust=load_trust(tmp_path / "trust.json"), out=tmp_path)
    assert verdict.status == 0
    told = re.sub(r"&#39;", "'", pages[0].read_text(encoding="utf-8"))
    guarantee = told.split('id="guarantee-h"')[1].split("</section>")[0]
    for words in present:
        assert words in guarantee
        assert words in card(federation.plan, SCHEMA, "en", records=records)
    for words in absent:
        assert words not in guarantee
    label = told.split(">Patients of a round</th><td>")[1].split("</td>")[0]
    assert f"Patients of a round: {label}." in guarantee
    rest = "one patient's records at several hospitals"
    assert (rest in told) is (run.patient_hospitals == 1)
    meant = meant_by(
        Unit.PATIENT,
        [to_json(run_event(federation.plan, n)) for n in run.hospitals],
        {n: (v,) for n, v in {**stated(run), **context}.items()},
    )
    other = pages[1].read_text(encoding="utf-8")
    for sentence in meant.sentences(strings("zh")):
        assert sentence in other
        assert sentence in card(federation.plan, SCHEMA, "zh", records=records)
    if "correlated" in changes:
        assert "<td>" + str(stated(run)["noise of rounds"]) + "</td>" in told
        assert "an upload's equal part of all openings" in told


def test_a_card_without_epsilon_says_of_none_what_it_is_for() -> None:
    assert "Meant is" not in card(plan(noise=NoiseKind.NONE, noise_multiplier=0.0), SCHEMA, "en")
