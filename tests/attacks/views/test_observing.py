from typing import Any

import numpy as np
import pytest

from aggregation.noise_kind import NoiseKind
from aggregation.transcript import AGGREGATOR, Transcript
from attacks.views import (
    Adversary,
    AnswersView,
    ColludingView,
    GradientView,
    InformedView,
    Knowledge,
    Name,
    PublicView,
    TrafficView,
    observe,
    require,
)
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from tests.attacks.runs import cohort, run

CLIPPED: dict[str, Any] = {"clip_norm": 1.0, "radius": 4096}
SEALED: dict[str, Any] = {
    "scheme": "bfv",
    "noise": NoiseKind.SHARED,
    "clip_norm": 1.0,
    "radius": 4096,
    "noise_multiplier": 2.0,
    "colluders": 1,
}


def test_a_plain_server_sees_each_update_at_the_model_it_sent() -> None:
    done = run(rounds=2)
    view = done.view("server_plain")
    assert [(g.round, g.hospitals) for g in view.gradients] == [
        (r, (name,)) for r in range(2) for name in done.plan.hospitals
    ]
    opened = done.transcript.select(kind="opened", receiver=AGGREGATOR)
    for message in opened:
        parts = [g.integers for g in view.only(round_=message.round).gradients]
        assert np.sum(parts, axis=0).astype("<i8").tobytes() == message.payload
    np.testing.assert_array_equal(view.gradients[0].params, done.plan.first_model())


def test_a_sealed_server_sees_sums_alone() -> None:
    done = run(**SEALED)
    view = done.view("server_sealed")
    assert [g.hospitals for g in view.gradients] == [done.plan.hospitals]
    assert view.noised
    assert view.gradients[0].noise_std == pytest.approx(done.plan.share_std * 2)
    with pytest.raises(RefusedError, match="reads none"):
        observe(done.transcript, "server_plain")


def test_plain_may_stand_in_for_sealing_and_shows_a_sealed_server_the_same() -> None:
    sealed, plain = (run(**(SEALED | {"scheme": scheme})) for scheme in ("bfv", "plain"))
    for ours, theirs in zip(
        sealed.view("server_sealed").gradients,
        plain.view("server_sealed").gradients,
        strict=True,
    ):
        assert ours.hospitals == theirs.hospitals == sealed.plan.hospitals
        np.testing.assert_array_equal(ours.integers, theirs.integers)


def test_nothing_but_messages_and_declared_knowledge_is_read() -> None:
    """A sentinel in the truth of a run reaches no view: equal transcripts, equal views."""
    done = run()
    again = Transcript()
    for m in done.transcript:
        again.send(m.sender, m.receiver, m.kind, m.payload, round_=m.round, public=m.public)
    ours, theirs = (
        require(observe(t, "server_plain"), GradientView, "test") for t in (done.transcript, again)
    )
    for a, b in zip(ours.gradients, theirs.gradients, strict=True):
        np.testing.assert_array_equal(a.integers, b.integers)
        assert a.labels is None
        assert b.labels is None
    assert ours.knowledge.declared == ()


def test_colluders_subtract_what_they_sent_exactly() -> None:
    done = run(scheme="bfv", rounds=2, **CLIPPED)
    clear = run(rounds=2, **CLIPPED)  # the same seed: the same draws and sums, seen in clear
    sent = {
        (g.round, g.hospitals[0]): g.integers
        for g in clear.view("server_plain").gradients
        if g.hospitals[0] in ("north", "east")
    }
    view = observe(done.transcript, Adversary("colluding", Knowledge(updates=sent)))
    assert isinstance(view, ColludingView)
    assert view.colluders == ("east", "north")
    for g in view.gradients:
        assert g.hospitals == ("south", "west")
        rest = [
            h.integers
            for h in clear.view("server_plain").only(round_=g.round).gradients
            if h.hospitals[0] in g.hospitals
        ]
        np.testing.assert_array_equal(g.integers, np.sum(rest, axis=0))
    partial = {place: update for place, update in sent.items() if place != (1, "east")}
    with pytest.raises(InvalidInputError, match=r"east sent in round 1"):
        observe(done.transcript, Adversary("colluding", Knowledge(updates=partial)))


def test_what_others_open_between_them_is_no_servers_to_read() -> None:
    """An opened sum that neither comes from nor goes to the aggregator, before its own."""
    done = run(**SEALED)
    among = Transcript()
    for m in done.transcript:
        if m.kind == "opened" and AGGREGATOR in (m.sender, m.receiver):
            other = np.frombuffer(m.payload, dtype="<i8") + 1
            among.send("north", "east", "opened", other.astype("<i8").tobytes(), round_=m.round)
        among.send(m.sender, m.receiver, m.kind, m.payload, round_=m.round, public=m.public)
    ours, theirs = (
        require(observe(t, "server_sealed"), GradientView, "test") for t in (done.transcript, among)
    )
    np.testing.assert_array_equal(ours.gradients[0].integers, theirs.gradients[0].integers)


def test_colluders_take_their_noise_away() -> None:
    done = run(**SEALED)
    none = np.zeros(done.plan.model.dim, dtype=np.int64)
    knowledge = Knowledge(updates={(0, "north"): none, (0, "east"): none})
    seen = require(observe(done.transcript, "server_sealed"), GradientView, "test")
    less = require(
        observe(done.transcript, Adversary("colluding", knowledge)), GradientView, "test"
    )
    share = done.plan.share_std
    assert seen.gradients[0].noise_std == pytest.approx(share * 4**0.5)
    assert less.gradients[0].noise_std == pytest.approx(share * 2**0.5)


def test_everybody_colluding_leaves_nobody() -> None:
    done = run()
    sent = {(0, g.hospitals[0]): g.integers for g in done.view("server_plain").gradients}
    with pytest.raises(RefusedError, match="colludes"):
        observe(done.transcript, Adversary("colluding", Knowledge(updates=sent)))


def test_a_key_holder_opens_what_leaks_to_it() -> None:
    done = run(scheme="bfv", **CLIPPED)
    one = run().view("server_plain").gradients[0].integers
    alone = done.view("key_holder")
    assert [len(g.hospitals) for g in alone.gradients] == [4]
    leaked = Adversary("key_holder", Knowledge(open_update=lambda _: one))
    view = done.view(leaked)
    assert [len(g.hospitals) for g in view.gradients] == [4, 1, 1, 1, 1]
    assert view.knowledge.declared == ("open_update",)


def test_the_network_sees_sizes_and_times() -> None:
    done = run(scheme="bfv", **CLIPPED)
    view = observe(done.transcript, "eavesdropper")
    assert isinstance(view, TrafficView)
    assert [e.size for e in view.envelopes] == [m.size for m in done.transcript]
    with pytest.raises(RefusedError, match="TrafficView"):
        require(view, GradientView, "closed_form")


def test_the_public_sees_the_final_model() -> None:
    done = run(rounds=3, average_last=2)
    view = observe(done.transcript, "public")
    assert isinstance(view, PublicView)
    np.testing.assert_array_equal(view.params, done.params)


def test_a_buyer_sees_answers_and_nothing_of_the_model() -> None:
    done = run(rounds=3, average_last=2)
    records = cohort(5)["east"].features
    odds = done.plan.model.scores(done.params, records)
    whole = observe(done.transcript, "buyer")
    assert isinstance(whole, AnswersView)
    assert not hasattr(whole, "params")
    np.testing.assert_allclose(whole.ask(records), 1 / (1 + np.exp(-odds)))
    np.testing.assert_allclose(whole.log_odds(records), odds)
    rounded = observe(done.transcript, Adversary("buyer", Knowledge(digits=2)))
    assert isinstance(rounded, AnswersView)
    assert rounded.knowledge.declared == ("digits",)
    told = 1 / (1 + np.exp(-rounded.log_odds(records)))
    np.testing.assert_allclose(told, np.clip(np.round(1 / (1 + np.exp(-odds)), 2), 0.005, 0.995))
    np.testing.assert_allclose(rounded.as_told(odds), rounded.log_odds(records))
    with pytest.raises(RefusedError, match="GradientView"):
        require(whole, GradientView, "closed_form")


def test_declared_labels_and_patients_travel_with_the_view() -> None:
    done = run()
    labels = done.truth(round_=0, hospitals=("north",)).outcomes
    knowing = Adversary("server_plain", Knowledge(labels={(0, "north"): labels}))
    first, second = done.view(knowing).gradients[:2]
    np.testing.assert_array_equal(first.labels, labels)
    assert second.labels is None
    known = {"north": done.truth(round_=0, hospitals=("north",))}
    informed = observe(done.transcript, Adversary("informed", Knowledge(patients=known)))
    assert isinstance(informed, InformedView)
    assert informed.knowledge.declared == ("patients",)


def test_the_article_gives_its_scale_away() -> None:
    done = run(noise=NoiseKind.ARTICLE, epsilon=1.0)
    clear = run()
    for noisy, exact in zip(
        done.view("server_plain").gradients, clear.view("server_plain").gradients, strict=True
    ):
        norm = np.linalg.norm(exact.integers.astype(float))
        true_std = norm * np.sqrt(2 * np.log(1.25 / done.plan.delta))
        assert noisy.noise_std == pytest.approx(true_std, rel=0.1)


@pytest.mark.parametrize("name", ["buffered", "longitudinal", "active"])
def test_other_servers_see_what_their_scheme_shows(name: Name) -> None:
    assert len(run().view(name).gradients) == 4


def test_wrong_transcripts_and_adversaries_are_refused() -> None:
    with pytest.raises(CorruptMessageError, match="begins with nothing"):
        observe(Transcript(), "public")
    other = Transcript()
    other.send("aggregator", "north", "model", b"", round_=0)
    with pytest.raises(CorruptMessageError, match="begins with 'model'"):
        observe(other, "public")
    with pytest.raises(InvalidInputError, match="updates"):
        Adversary("colluding")
    with pytest.raises(InvalidInputError, match="patients"):
        Adversary("informed")


def test_a_sum_of_another_length_is_refused() -> None:
    done = run(scheme="bfv", **CLIPPED)
    cut = Transcript()
    for m in done.transcript:
        payload = m.payload[:-8] if m.kind == "opened" else m.payload
        cut.send(m.sender, m.receiver, m.kind, payload, round_=m.round, public=m.public)
    with pytest.raises(CorruptMessageError, match="bytes"):
        observe(cut, "server_sealed")
