"""Whatever bytes arrive, at whichever role: refused, no crash, and no wrong sum."""

import hashlib
import os
import tomllib
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregation.sealing import (
    SCHEMES,
    KeyScheme,
    Scheme,
    load_adder,
    load_holder,
    load_opener,
    load_sealer,
    make_scheme,
    tenseal_io,
)
from aggregation.sealing.envelope import Kind, peek_label, wrap
from privacy.errors import CorruptMessageError, InpatientError
from tests.aggregation.sealing.parties import Parties, role_that_opens

EXAMPLES = 25


@lru_cache(maxsize=8)
def scheme_and_update(name: str) -> tuple[Scheme, bytes]:
    scheme = make_scheme(name, dim=3, contributors=4, bound=1000)
    return scheme, scheme.sealer("zurich").seal(np.array([1, 2, 3]))


@st.composite
def damages(draw: st.DrawFn, size: int) -> list[tuple[int, int]]:
    places = st.integers(0, min(size, 400) - 1) | st.integers(0, size - 1)
    return draw(st.lists(st.tuples(places, st.integers(1, 255)), min_size=1, max_size=4))


def damaged(content: bytes, changes: list[tuple[int, int]]) -> bytes:
    out = bytearray(content)
    for place, flip in changes:
        out[place] ^= flip
    return bytes(out)


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_damaged_messages_are_refused(name: str, data: st.DataObject) -> None:
    scheme, sealed = scheme_and_update(name)
    changed = damaged(sealed, data.draw(damages(len(sealed))))
    cut = changed[: data.draw(st.integers(0, len(changed)))]
    for wrong in (changed, cut, sealed + b"\0", b"", os.urandom(50)):
        if wrong == sealed:
            continue
        adder = scheme.adder()
        with pytest.raises(InpatientError):
            adder.add(wrong)
        assert adder.count == 0


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_contents_that_a_hospital_made_up_do_not_crash_anybody(
    name: str, data: st.DataObject
) -> None:
    # The frame is right and the signature valid: a malicious hospital framed it. It may send any
    # vector, so an opening is allowed; a crash, or another exception than ours, is not.
    scheme, sealed = scheme_and_update(name)
    adder = scheme.adder()
    content = adder.open_frame(sealed)
    made_up = data.draw(
        damages(len(content)).map(lambda changes: damaged(content, changes))
        | st.binary(max_size=200)
        | st.integers(0, len(content)).map(lambda n: content[:n])
        | st.just(bytes(len(content)))
        | st.just(b"\xff" * len(content))
    )
    framed = wrap(Kind.UPDATE, scheme.label, scheme.digest, made_up)
    parties = Parties(scheme, ("zurich",))
    try:
        adder.add(framed)
        total = adder.total()
        contribution = parties.contribute("zurich", [], sealed=framed)
        opened = parties.opener().open(total, [contribution])
    except InpatientError:
        return
    assert opened.shape == (3,)
    assert opened.dtype == np.int64


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=20)
@given(data=st.data())
def test_damaged_totals_are_refused(name: str, data: st.DataObject) -> None:
    scheme, sealed = scheme_and_update(name)
    parties = Parties(scheme, ("zurich",))
    contribution = parties.contribute("zurich", [], sealed=sealed)
    total = parties.total([contribution])
    changed = damaged(total, data.draw(damages(len(total))))
    if hashlib.sha256(changed).digest() != hashlib.sha256(total).digest():
        with pytest.raises(InpatientError):
            parties.opener().open(changed, [contribution])


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=20)
@given(data=st.data())
def test_damaged_roles_are_refused(name: str, data: st.DataObject) -> None:
    scheme, _ = scheme_and_update(name)
    policy = Parties(scheme).policy()
    # Not a new sealer: a cohort of pairwise masks has no seat to spare.
    for role in (scheme.adder(), role_that_opens(scheme, policy)):
        content = role.to_bytes()
        changed = damaged(content, data.draw(damages(len(content))))
        if changed == content:
            continue
        with pytest.raises(InpatientError):
            load_adder(changed)
        with pytest.raises(InpatientError):
            load_opener(changed, policy)
        with pytest.raises(InpatientError):
            load_holder(changed, policy)
        with pytest.raises(InpatientError):
            load_sealer(changed, "zurich")


@pytest.mark.parametrize("name", SCHEMES)
def test_a_seal_under_another_runs_key_is_refused(name: str) -> None:
    ours, _ = scheme_and_update(name)
    other = make_scheme(name, dim=3, contributors=4, bound=999)
    foreign = other.sealer("zurich").seal(np.array([1, 2, 3]))
    with pytest.raises(InpatientError, match="key of another run"):
        ours.adder().add(foreign)


@pytest.mark.parametrize("name", SCHEMES)
def test_too_long_a_message_is_refused_before_it_is_parsed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its frame and digest are in order: only its size gives it away."""
    scheme, sealed = scheme_and_update(name)
    adder = scheme.adder()
    content = adder.open_frame(sealed)
    long = wrap(Kind.UPDATE, scheme.label, scheme.parameters.digest, content, bytes(10_000_000))
    parsed: list[bytes] = []
    monkeypatch.setattr(adder, "_add", parsed.append)
    with pytest.raises(CorruptMessageError, match="It was not parsed"):
        adder.add(long)
    assert parsed == []
    assert adder.count == 0


@pytest.mark.parametrize("name", SCHEMES)
def test_a_message_of_another_version_is_refused_by_name(name: str) -> None:
    scheme, sealed = scheme_and_update(name)
    adder = scheme.adder()
    label = scheme.label[:-1] + ("9" if scheme.label[-1] != "9" else "8")
    other = wrap(Kind.UPDATE, label, scheme.parameters.digest, adder.open_frame(sealed))
    with pytest.raises(CorruptMessageError, match=f"made by '{label}'"):
        adder.add(other)
    assert adder.count == 0


@pytest.mark.parametrize("name", ["bfv", "ckks"])
def test_tenseal_is_pinned_and_its_version_stands_in_every_header(name: str) -> None:
    scheme, sealed = scheme_and_update(name)
    pinned = f"tenseal-{version('tenseal')}"
    assert pinned in peek_label(sealed)
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert f"tenseal=={version('tenseal')}" in project["dependencies"]
    total = scheme.adder()
    total.add(sealed)
    assert pinned in peek_label(total.total())


@pytest.mark.parametrize("name", ["bfv", "ckks"])
def test_a_mutated_context_is_refused_and_ends_no_process(name: str) -> None:
    # The frame and the digests are in order: whoever made the key made them up. Parsed here, some
    # such parameters end the process (status 134).
    scheme, _ = scheme_and_update(name)
    assert isinstance(scheme, KeyScheme)
    policy = Parties(scheme).policy()
    right = [scheme.adder()._material(), scheme.opener(policy)._material()]
    right += [scheme.sealer("zurich")._material()]
    random = Random(name)
    for number in range(90):
        adder, opener, sealer = map(bytearray, right)
        for material in (adder, opener, sealer):
            place = random.randrange(min(len(material), 80))
            cut = random.randrange(len(adder))
            source = random.randrange(len(material))
            if number % 3 == 0:
                material[cut : cut + 8] = material[source : source + 8]
            elif number % 3 == 1:
                del material[place : place + random.randrange(1, 9)]
            else:
                material[place] ^= random.randrange(1, 256)
        if bytes(adder) != right[0]:
            with pytest.raises(InpatientError):
                type(scheme).load_adder(scheme.parameters, bytes(adder))
        if opener[:80] != right[1][:80]:
            with pytest.raises(InpatientError):
                type(scheme).load_opener(scheme.parameters, bytes(opener), policy)
        if sealer[:80] != right[2][:80]:
            digest = {"public_key": hashlib.sha256(sealer).hexdigest()}
            settings = {**scheme.parameters.settings, **digest}
            with pytest.raises(InpatientError):
                made_up = replace(scheme.parameters, settings=settings)
                type(scheme).load_sealer(made_up, bytes(sealer), "zurich")


@pytest.mark.parametrize("name", ["bfv", "ckks"])
def test_a_mutated_key_is_tried_by_a_child(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme, _ = scheme_and_update(name)
    assert isinstance(scheme, KeyScheme)
    opener = scheme.opener(Parties(scheme).policy())
    material = bytearray(opener._material())
    del material[-2000:-1000]
    read: list[bytes] = []
    monkeypatch.setattr(tenseal_io, "read_context", read.append)
    with pytest.raises(CorruptMessageError, match="a process that tried ended with status 1"):
        type(scheme).load_opener(scheme.parameters, bytes(material), opener.policy)
    assert read == []
