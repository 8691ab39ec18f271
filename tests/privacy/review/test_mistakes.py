"""The usual mistakes are found where they were made, and nowhere else."""

import math
from pathlib import Path
from typing import Any

import pytest
from dp_accounting import GaussianDpEvent, NeighboringRelation
from hypothesis import given
from hypothesis import strategies as st
from opacus.accountants import GaussianAccountant, PRVAccountant

from privacy.accounting import epsilon
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.review import Check, Judgement, examine, read_review
from privacy.review.mistakes import CHECKS, Part
from privacy.review.rendered import (
    LANGUAGES,
    AttackedUpdate,
    Remark,
    TriedAttack,
    page_of,
    said,
    strings,
)
from privacy.review.told import ClaimedGuarantee, ToldTraining

ADD = NeighboringRelation.ADD_OR_REMOVE_ONE
STEP = {"type": "GaussianDpEvent", "noise_multiplier": 10.0}
HISTORY = [(1.0, 0.1, 50)]  # of the committed trainings by Opacus


def sampled(noise: float = 1.0, q: float = 0.1) -> dict[str, Any]:
    inner = {"type": "GaussianDpEvent", "noise_multiplier": noise}
    return {"type": "PoissonSampledDpEvent", "sampling_probability": q, "event": inner}


def gaussian(noise: float, relation: NeighboringRelation = ADD) -> Any:
    return epsilon(GaussianDpEvent(noise), delta=1e-5, relation=relation)


def look(
    claimed: float | None, parts: list[Part] | None = None, how: Any = None, **claim: Any
) -> dict[str, Check]:
    told = None if claimed is None else ClaimedGuarantee(claimed, 1e-5, **claim)
    given = [(STEP, 100)] if parts is None else parts
    fields: Any = {n: tuple(v) if isinstance(v, list) else v for n, v in (how or {}).items()}
    return {c.name: c for c in examine(told, ToldTraining(**fields), given)}


WHOLE = gaussian(1.0)  # a hundred of STEP


def test_a_claim_holds_where_it_covers_the_cost_and_is_wrong_below_it() -> None:
    assert look(WHOLE.upper * 1.001)["cost"].judgement is Judgement.HOLDS
    below = look(WHOLE.lower * 0.999)["cost"]
    assert below.judgement is Judgement.WRONG
    assert float(below.values["lower"]) == pytest.approx(WHOLE.lower, rel=1e-3)
    assert look(None)["cost"].words == "cost_alone"
    assert look(1.0, [])["cost"].words == "cost_unknown"


@given(st.floats(0.1, 20.0))
def test_no_claim_below_the_truth_ever_holds(claimed: float) -> None:
    judgement = look(claimed)["cost"].judgement
    if claimed < WHOLE.lower:
        assert judgement is Judgement.WRONG
    if claimed > WHOLE.upper:
        assert judgement is Judgement.HOLDS


# The three cases in which what Opacus prints is wrong, and the one in which it is right


def test_opacus_is_right_about_poisson_sampling() -> None:
    accountant = PRVAccountant()
    accountant.history = HISTORY
    claimed = accountant.get_epsilon(1e-5)
    checks = look(claimed, [(sampled(), 50)], {"sampler": "poisson"}, accountant="prv")
    assert {c.judgement for n, c in checks.items() if n in ("cost", "sampler", "accountant")} == {
        Judgement.HOLDS
    }
    lower, upper = (float(checks["cost"].values[end]) for end in ("lower", "upper"))
    assert lower <= claimed <= upper + 0.011  # it adds .01


def test_opacus_is_wrong_by_the_central_limit() -> None:
    with pytest.warns(UserWarning, match="underestimate"):
        accountant = GaussianAccountant()
    accountant.history = HISTORY
    checks = look(accountant.get_epsilon(1e-5), [(sampled(), 50)], accountant="gdp")
    assert checks["cost"].judgement is Judgement.WRONG
    assert "central limit is no bound" in said(checks["accountant"])


def test_opacus_is_wrong_about_shuffled_batches() -> None:
    checks = look(5.16, [(sampled(), 50)], {"sampler": "shuffled"}, accountant="prv")
    assert checks["cost"].judgement is Judgement.WRONG
    assert checks["cost"].values["relation"] == "REPLACE_SPECIAL"
    assert checks["sampler"].words == "sampler_wrong"
    five = gaussian(1 / math.sqrt(5), NeighboringRelation.REPLACE_SPECIAL)  # passes of ten steps
    assert float(checks["sampler"].values["upper"]) == pytest.approx(five.upper, rel=1e-3)
    assert (
        float(checks["sampler"].values["lower"])
        > 10
        > 5.2
        > float(checks["sampler"].values["told"])
    )


def test_a_claim_between_the_ends_is_neither_wrong_nor_held() -> None:
    checks = look(11.0, [(sampled(), 50)], {"sampler": "shuffled"})
    lower, upper = (float(checks["cost"].values[end]) for end in ("lower", "upper"))
    assert lower < 11.0 < upper
    assert checks["cost"].words == "cost_between"
    assert checks["cost"].judgement is Judgement.UNKNOWN


def test_opacus_is_wrong_where_patients_are_replaced() -> None:
    checks = look(5.16, [(sampled(), 50)], {"sampler": "poisson"}, relation="REPLACE_ONE")
    assert checks["relation"].judgement is Judgement.WRONG
    assert checks["cost"].judgement is Judgement.WRONG
    assert "REPLACE_ONE" in said(checks["relation"])


# Each other mistake


def test_one_step_sold_as_the_run() -> None:
    one = gaussian(10.0)
    checks = look(one.upper)
    assert checks["scope"].words == "scope_wrong" and checks["scope"].values["steps"] == "100"
    assert look(WHOLE.upper)["scope"].judgement is Judgement.HOLDS
    assert look(one.upper, [(STEP, 1)])["scope"].judgement is Judgement.HOLDS
    assert look(one.lower / 2)["scope"].words == "scope_holds"  # less than even one costs
    assert look(one.lower / 2)["cost"].judgement is Judgement.WRONG


def test_equal_batches_refute_that_patients_were_drawn() -> None:
    alike = {"batch_sizes": [28] * 20, "patients": 280, "sampler": "poisson"}
    checks = look(5.16, [(sampled(), 50)], alike)
    assert checks["sampler"].words == "sampler_seen"
    assert checks["sampler"].values["count"] == "20"
    assert float(checks["sampler"].values["chance"]) < 1e-9
    assert checks["cost"].judgement is Judgement.WRONG
    for fewer in (
        alike | {"batch_sizes": [28] * 4},
        alike | {"batch_sizes": [28] * 19 + [29]},
        alike | {"patients": None},
    ):
        assert look(5.16, [(sampled(), 50)], fewer)["sampler"].words == "sampler_holds"


def test_the_chance_of_equal_batches_is_an_upper_bound() -> None:
    """By counting: two patients drawn with 1/2, three batches of one."""
    how = {"batch_sizes": [1] * 31, "patients": 2, "sampler": "poisson"}
    checks = look(9.0, [(sampled(1.0, 0.5), 31)], how)
    assert checks["sampler"].values["chance"] == f"{0.5**30:.0e}"


def test_a_mean_over_who_was_drawn_counts_half_the_noise() -> None:
    half = gaussian(0.5)
    checks = look(WHOLE.upper, how={"divided_by": "drawn"})
    assert checks["denominator"].judgement is Judgement.WRONG
    for name in ("denominator", "cost"):
        assert float(checks[name].values["upper"]) == pytest.approx(half.upper, rel=1e-3)
    assert checks["cost"].judgement is Judgement.WRONG
    assert look(1.0, how={"divided_by": "expected"})["denominator"].judgement is Judgement.HOLDS
    assert look(1.0)["denominator"].judgement is Judgement.UNKNOWN


@given(st.lists(st.floats(0.1, 10.0), min_size=2, max_size=6))
def test_weights_after_noise_shrink_it_by_the_formula(weights: list[float]) -> None:
    """By the definition: the weighted sum's noise over a patient's largest weighted influence."""
    checks = look(1.0, [(STEP, 1)], {"noise": "hospital", "weights": weights})
    noise = math.sqrt(sum((w * 10.0 / math.sqrt(len(weights))) ** 2 for w in weights))
    multiplier = noise / max(weights)
    if multiplier > 10.0 * (1 - 1e-9):
        assert checks["weights"].judgement is Judgement.HOLDS
    else:
        assert checks["weights"].judgement is Judgement.WRONG
        upper = gaussian(multiplier).upper
        assert float(checks["weights"].values["upper"]) == pytest.approx(upper, rel=2e-3)


def test_noise_for_the_sum_and_equal_weights_are_no_mistake() -> None:
    assert look(1.0, how={"noise": "sum"})["weights"].judgement is Judgement.HOLDS
    equal = {"noise": "hospital", "weights": [0.25] * 4}
    assert look(1.0, how=equal)["weights"].judgement is Judgement.HOLDS
    assert look(1.0, how={"noise": "hospital"})["weights"].judgement is Judgement.UNKNOWN


def test_renyi_from_few_orders_is_loose_and_not_wrong() -> None:
    loose = look(2 * WHOLE.upper, accountant="rdp")
    assert loose["accountant"].judgement is Judgement.LOOSE
    assert loose["cost"].judgement is Judgement.HOLDS
    assert look(WHOLE.upper, accountant="rdp")["accountant"].judgement is Judgement.HOLDS
    assert look(2 * WHOLE.upper, accountant="pld")["accountant"].judgement is Judgement.HOLDS
    assert look(1.0, accountant="formula")["accountant"].judgement is Judgement.WRONG
    assert look(1.0)["accountant"].judgement is Judgement.UNKNOWN


def test_numbers_that_are_told_stand_in_where_no_file_has_them() -> None:
    how = {"noise_multiplier": 10.0, "steps": 100}
    assert look(WHOLE.lower * 0.99, [], how)["cost"].judgement is Judgement.WRONG
    drawn = how | {"noise_multiplier": 1.0, "steps": 50, "sampling_prob": 0.1}
    assert look(5.16, [], drawn)["cost"].judgement is Judgement.HOLDS
    assert look(5.16, [], drawn)["sampler"].judgement is Judgement.UNKNOWN
    assert look(1.0)["sampler"].words == "sampler_none"
    bare = look(1e6, [], {"noise_multiplier": 0.0, "steps": 1})
    assert bare["cost"].judgement is Judgement.WRONG and bare["cost"].values["lower"] == "∞"


def test_what_is_not_known_names_the_file_that_would_tell() -> None:
    checks = examine(None, ToldTraining(), [])
    assert [c.name for c in checks] == list(CHECKS)
    for check in checks:
        assert check.judgement is Judgement.UNKNOWN
        assert any(word in said(check) for word in ("review.toml", ".pt", "code", "accountant)"))


# The file


def test_the_file_of_claims(tmp_path: Path) -> None:
    path = tmp_path / "review.toml"
    path.write_text('[claim]\nepsilon = 1.0\ndelta = 1e-5\n[training]\nsampler = "shuffled"\n')
    told = read_review(path)
    assert told.claim == ClaimedGuarantee(1.0, 1e-5) and told.training.sampler == "shuffled"
    assert told.updates.model is None
    path.write_text("")
    assert read_review(path).claim is None


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("[claim]\nepsilon = 1.0", InvalidInputError),
        ("[claim]\nepsilon = -1.0\ndelta = 1e-5", InvalidInputError),
        ("[training]\nsampler = 'some'", InvalidInputError),
        ("[training]\nloader = 'x'", InvalidInputError),
        ("[notes]\na = 1", InvalidInputError),
        ("training = 3", InvalidInputError),
        ("[training", CorruptMessageError),
    ],
)
def test_what_is_wrong_in_it_is_said(tmp_path: Path, content: str, error: type[Exception]) -> None:
    path = tmp_path / "review.toml"
    path.write_text(content)
    with pytest.raises(error, match=r"review\.toml"):
        read_review(path)


def test_the_example_of_the_module_is_a_file(tmp_path: Path) -> None:
    import privacy.review.told as told

    example = str(told.__doc__).partition("::\n")[2]
    path = tmp_path / "review.toml"
    path.write_text(example.replace("\n    ", "\n"))
    found = read_review(path)
    assert found.claim is not None and found.training.weights == (0.7, 0.3)


# The page


def test_both_languages_have_the_same_words_and_numbers() -> None:
    english, chinese = strings("en"), strings("zh")
    assert set(english) == set(chinese)
    checks = [*look(5.16, [(sampled(), 50)], {"sampler": "shuffled"}).values()]
    hidden = Remark("note_hidden", {"features": "<chol>"})
    update = AttackedUpdate("<client>", 1, 8, "closed_form", 7, 8, (hidden,))
    tried = TriedAttack("dlg", 3, 5, 0, 0, (Remark("left_time", {"count": "2"}),))
    pages = {
        language: page_of(
            "run",
            checks,
            [update],
            [tried],
            digests={"a": "00"},
            command="inpatient",
            language=language,
        )
        for language in LANGUAGES
    }
    for page in pages.values():
        assert "&lt;client&gt;" in page and "<client>" not in page
        assert "&lt;chol&gt;" in page and "<chol>" not in page
        assert ("3 of 5" in page) or ("5 个中的 3 个" in page)
        assert "<script" not in page and "http" not in page
        numbers = {w for c in checks for w in said(c, "zh").split() if w.replace(".", "").isdigit()}
        assert len(numbers) >= 3 and all(number in page for number in numbers)
    assert 'class="verdict fail"' in pages["en"] and "ε" in pages["zh"]


def test_a_run_without_noise_or_claim_is_called_unprotected_first() -> None:
    nothing: list[Part] = [({"type": "NonPrivateDpEvent"}, 2)]
    checks = look(None, nothing)
    assert checks["cost"].words == "cost_unprotected"
    assert look(5.0, nothing)["cost"].judgement is Judgement.WRONG
    page = page_of("run", [*checks.values()], [], digests={}, command="", language="en")
    assert "nothing protects what was sent" in page and 'class="verdict fail"' in page
    page = page_of("run", [*look(None).values()], [], digests={}, command="", language="en")
    assert "nothing protects" not in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_can_be_said(language: str) -> None:
    """Whatever is found has its words, with the values that it brings."""
    for claimed in (None, 0.05, 1.0, 5.16, 100.0):
        for how in (
            {},
            {"sampler": "shuffled", "divided_by": "drawn"},
            {"noise": "hospital", "weights": [1.0, 3.0]},
            {"batch_sizes": [28] * 20, "patients": 280},
        ):
            for check in look(claimed, [(sampled(), 50)], how).values():
                assert said(check, language)
