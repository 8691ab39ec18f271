"""Which attacks a review tries on captured updates, and when it stops."""

import dataclasses
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregation.capture import Precision, Sgd
from aggregation.noise_kind import NoiseKind
from attacks.exact.legible import hidden_by_rounding
from attacks.reconstructed import Note, Reconstruction
from attacks.suite import ATTACKS, Arena, Registered
from attacks.views import GradientView, observe, require
from experiments.commands.reviewed_updates import try_all
from privacy.errors import RefusedError
from privacy.review.rendered import LANGUAGES, Remark, said, strings
from tests.aggregation.capture.clients import capture
from tests.attacks.exact.test_captures import MLP, drawn
from tests.attacks.runs import PRIOR
from tests.attacks.searching.test_local_steps import MOMENTUM, client

FEW, ENOUGH = Precision.BFLOAT16, Precision.FLOAT32


def seen(*precisions: Precision) -> GradientView:
    """Updates of eight patients each, at weights and batches of their own, in one run."""
    views = [
        require(observe(capture(MLP, drawn(n), seed=n, precision=precision)[0], "server_plain"),
                GradientView, "test")
        for n, precision in enumerate(precisions)
    ]  # fmt: skip
    gradients = tuple(gradient for view in views for gradient in view.gradients)
    return dataclasses.replace(views[0], gradients=gradients)


class Slow:
    """An attack that takes an hour, and reads what it likes."""

    name, needs = "slow", GradientView

    def __init__(self, clock: "Clock", *, certified: int = 0, refused: str = "") -> None:
        self.clock, self.certified, self.refused = clock, certified, refused

    def reconstruct(self, view: Any, prior: Any) -> Reconstruction:
        if self.refused:
            raise RefusedError(self.refused)
        self.clock.time += 3600
        sure = np.arange(8) < self.certified
        return Reconstruction(prior.best_guesses(8), sure.astype(float), sure, notes=("Slowly.",))


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        self.time += 1e-6
        return self.time


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Registered]]:
    """The suite with the closed form and what a test puts in."""
    suite = {"closed_form": ATTACKS["closed_form"]}
    monkeypatch.setattr(ATTACKS, "_things", suite)
    yield suite


def test_an_attack_is_begun_where_it_ends_in_time_and_never_else(
    alone: dict[str, Registered],
) -> None:
    clock = Clock()
    alone["slow"] = Registered(lambda _: Slow(clock), Arena.SINGLE)
    halves = seen(FEW, FEW, FEW)
    for hours, done in ((0.0, 0), (3.5, 0), (4.5, 1), (5.5, 2), (6.5, 3)):  # three to foretell
        clock.time = 0.0
        rows, tried = try_all(halves, PRIOR, 3600 * hours, clock)
        slow = {row.attack: row for row in tried}["slow"]
        assert slow.tried == done and slow.updates == 3
        left = [remark for remark in slow.remarks if remark.words == "left_time"]
        assert [remark.values["count"] for remark in left] == ([str(3 - done)] if done < 3 else [])
        # Never past its time, but to foretell; and where there is none, not even that.
        assert clock.time <= (max(3.0, hours) * 3600 if hours else 0) + 1
        assert {row.tried for row in tried if row.attack == "closed_form"} == {3}
        assert (
            sum(any(r.values == {"text": "Slowly."} for r in row.remarks) for row in rows) == done
        )


def test_what_an_attack_took_foretells_its_next_try(alone: dict[str, Registered]) -> None:
    """A first measure of an hour, and minutes in earnest: all of the updates fit."""
    clock, calls = Clock(), []

    class Quickens(Slow):
        def reconstruct(self, view: Any, prior: Any) -> Reconstruction:
            calls.append(view)
            found = super().reconstruct(view, prior)
            self.clock.time -= 3540 if len(calls) > 3 else 0
            return found

    alone["slow"] = Registered(lambda _: Quickens(clock), Arena.SINGLE)
    _, tried = try_all(seen(FEW, FEW, FEW), PRIOR, 3600 * 4.01, clock)
    assert {row.attack: row.tried for row in tried}["slow"] == 3


def test_a_private_step_is_read_with_its_noise() -> None:
    from experiments.cohorts import load
    from experiments.commands.reviewed_updates import _captured
    from privacy.review import read_review

    folder = Path("tests/captures/opacus/poisson")
    files = {path.name: path for path in folder.iterdir()}
    plan = _captured(files, read_review(files["review.toml"]).updates, load("heart")).public
    assert (plan.noise, plan.noise_multiplier, plan.clip_norm) == ("local", 1.0, 1.0)
    assert plan.declared_sizes == (280,) and plan.sampling_size == 28
    del files["checkpoint.pt"]
    plan = _captured(files, read_review(files["review.toml"]).updates, load("heart")).public
    assert plan.noise == NoiseKind.NONE


def test_a_run_is_read_by_the_optimiser_that_is_told() -> None:
    from experiments.cohorts import load
    from experiments.commands.reviewed_updates import _captured
    from privacy.review import read_review

    folder = Path("tests/captures/flower_epoch")
    files = {path.name: path for path in folder.iterdir()}
    run = _captured(files, read_review(files["review.toml"]).updates, load("heart"))
    assert run.optimizer == Sgd(0.9, twice=65) and run.public.local_steps == 3


def test_what_is_proved_is_not_attacked_again(alone: dict[str, Registered]) -> None:
    clock = Clock()
    alone["slow"] = Registered(lambda _: Slow(clock), Arena.SINGLE)
    rows, tried = try_all(seen(ENOUGH, FEW, FEW), PRIOR, 1e9, clock)
    proved = sum(row.certified == row.patients for row in rows)
    slow = {row.attack: row for row in tried}["slow"]
    assert proved == 1 and slow.tried == 2
    assert {r.words: r.values["count"] for r in slow.remarks} == {"left_proved": str(proved)}


def test_the_most_that_any_reached_is_shown_with_whose_it_is(alone: dict[str, Registered]) -> None:
    clock = Clock()
    alone["slow"] = Registered(lambda _: Slow(clock, certified=5), Arena.SINGLE)
    alone["less"] = Registered(lambda _: Slow(clock, certified=2), Arena.SINGLE)
    (row,), tried = try_all(seen(FEW), PRIOR, 1e9, clock)
    assert (row.attack, row.certified, row.read, row.patients) == ("slow", 5, 5, 8)
    assert {t.attack: t.certified for t in tried} == {"closed_form": 0, "slow": 5, "less": 2}


def test_a_refusal_is_quoted_and_counted(alone: dict[str, Registered]) -> None:
    alone["slow"] = Registered(lambda _: Slow(Clock(), refused="Not that."), Arena.SINGLE)
    _, tried = try_all(seen(FEW, FEW), PRIOR, 1e9)
    slow = {row.attack: row for row in tried}["slow"]
    assert slow.tried == 0
    assert slow.remarks == (Remark("left_refused", {"count": "2", "reason": "Not that."}),)


def test_several_steps_have_attacks_of_their_own() -> None:
    view, people = client(0, *MOMENTUM, size=2)
    rows, tried = try_all(require(view, GradientView, "test"), PRIOR, 600.0)
    assert [row.patients for row in rows] == [len(people)]
    by_name = {row.attack: row for row in tried}
    assert set(by_name) == set(ATTACKS)
    assert {name for name, row in by_name.items() if row.tried} == {"sratta", "fedavg"}
    assert by_name["closed_form"].remarks == (Remark("left_SINGLE"),)
    assert any(remark.words == "note_steps" for remark in rows[0].remarks)


def test_every_arena_and_every_note_has_its_words_in_both_languages() -> None:
    (gradient,) = seen(FEW).gradients
    plan = seen(FEW).plan
    notes = [*hidden_by_rounding(plan, gradient, PRIOR.features)]
    notes.append(Note("{steps} {count}", "steps", steps="5", count="3"))
    for language in LANGUAGES:
        table = strings(language)
        assert all(f"left_{arena.name}" in table for arena in Arena)
        for words in ("note_hidden", "note_all_hidden", "note_steps", "note_makeups"):
            fields = {field for _, field, _, _ in string.Formatter().parse(table[words]) if field}
            assert fields == {
                "note_hidden": {"features"}, "note_steps": {"steps"}, "note_makeups": {"count"},
            }.get(words, set())  # fmt: skip
    for note in notes[:-1]:  # the page's English is the attack's own
        assert said(Remark(f"note_{note.words}", note.values)) == note
    english = " ".join(strings("en").values())
    from attacks.searching import local_steps

    assert local_steps._STEPS in english and local_steps._MAKEUPS in english
    assert re.search("[a-z]{3,} [a-z]{3,} [a-z]{3,}", strings("zh")["note_hidden"]) is None


def test_a_note_is_a_sentence_that_survives_a_copy() -> None:
    import copy
    import pickle

    note = Note("Rounding hides {features}.", "hidden", features="{age}")
    for same in (note, copy.deepcopy(note), pickle.loads(pickle.dumps(note))):
        assert same == "Rounding hides {age}." and same.words == "hidden"
        assert same.values == {"features": "{age}"}


def test_plain_descent_is_what_a_review_takes_where_nothing_is_told() -> None:
    from experiments.commands.captured import optimizer_of
    from privacy.review.told import ToldUpdates

    told = ToldUpdates()
    assert optimizer_of(told.optimizer, told.momentum, told.weight_decay) == Sgd()
    with pytest.raises(Exception, match="momentum"):
        ToldUpdates(momentum=1.5)
