"""Every parser of foreign bytes in ``aggregation``, for ``tests.fuzzing``; no sum is wrong."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from aggregation.capture.update_folder import INDEX, UpdateFolder, read_updates
from aggregation.data import Cohort, Schema, read_table
from aggregation.plan import Plan
from aggregation.roles.evidence import Evidence
from aggregation.roles.messages import Message, MessageKind, pack, unpack
from aggregation.roles.opener import OpeningAsked, read_answer, read_tried
from aggregation.sealing import (
    SCHEMES,
    Contribution,
    Scheme,
    load_adder,
    load_holder,
    load_opener,
    load_sealer,
    make_scheme,
)
from aggregation.sealing.answers import Answer, Commitment
from aggregation.sealing.proposal import Place, Proposal
from aggregation.sealing.slots import SlotGroup
from aggregation.transcript import Transcript
from privacy.errors import InpatientError
from privacy.ledger.forms import Form
from privacy.ledger.log import canonical
from tests.aggregation.data.parts import rows, site, write_csv
from tests.aggregation.parts import plan
from tests.aggregation.sealing.parties import Parties, key_of, role_that_opens
from tests.fuzzing import Draw, Parsers

LARGEST = 10_000
VALUES = np.array([1, 2, 3])


def parsers(folder: Path, draw: Draw) -> Parsers:
    """All of them, each from right bytes that are then harmed."""
    sealed = {f"sealed by {n}": _scheme(make_scheme(n, **SMALL), draw) for n in SCHEMES}
    roles = {f"keys of {n}": _keys(make_scheme(n, **SMALL), draw) for n in SCHEMES}
    return _said(draw) | _files(folder, draw) | sealed | roles


SMALL = {"dim": 3, "contributors": 4, "bound": 1000}


def _said(draw: Draw) -> dict[str, Callable[[], None]]:
    """What parties say to each other."""
    made = plan(scalars=(SlotGroup("loss", 1, 8.0, 64, 2.0),), sampling_size=3, epsilon=1.0)
    message = Message("a", "b", MessageKind.UPDATE, 3, b"payload", {"n": 1}, run="test")
    scheme = make_scheme("plain", **SMALL)
    parties = Parties(scheme, ("zurich",))
    contribution = parties.contribute("zurich", VALUES)
    asked = OpeningAsked(Place(), parties.total([contribution]), (contribution,))
    commitment = Commitment.sign(key_of("zurich"), "north", "0" * 64)
    answer = Answer.sign(key_of("zurich"), "north", "0" * 64, ("north",), {"0": b"1", "1": b"2"})
    proposal = asked.proposal(scheme.digest)
    evidence = Evidence(proposal, (commitment,), (answer,), asked.total, {"0": b"1", "1": b"2"})

    def message_() -> None:
        content = draw.bytes_(message.to_bytes())
        found = Message.from_bytes(content, largest=LARGEST)
        assert Message.from_bytes(found.to_bytes(), largest=LARGEST) == found

    def header() -> None:
        head = draw.value(json.loads(canonical.encode(message._header())))
        encoded = canonical.encode(head)
        Message.from_bytes(b"INPM\x01" + len(encoded).to_bytes(4, "little") + encoded, largest=9)

    def plan_() -> None:
        found = Plan.from_bytes(draw.bytes_(made.to_bytes()))
        assert Plan.from_bytes(found.to_bytes()) == found

    def fields() -> None:
        found = Plan.from_bytes(json.dumps(draw.value(json.loads(made.to_bytes()))).encode())
        assert Plan.from_bytes(found.to_bytes()) == found

    def unpacked() -> None:
        unpack(draw.bytes_(pack([b"one", b"", b"three" * 50])), most=4)

    def total_() -> None:
        OpeningAsked.from_bytes(draw.bytes_(asked.to_bytes()), contributors=4)

    def public() -> None:
        found = draw.value(dict(contribution.public))
        if isinstance(found, dict):
            read = Contribution.from_message(b"sealed", found)
            read.verifies(key_of("zurich").public)

    def commitment_() -> None:
        Commitment.from_bytes(draw.bytes_(commitment.to_bytes()))

    def tried() -> None:
        read_tried(draw.bytes_(canonical.encode({"opening": "0" * 64, "bad": ["north"]})))

    def answer_() -> None:
        read_answer(draw.bytes_(pack([answer.to_bytes(), b"1", b"2"])), most=4)

    def evidence_() -> None:
        found = Evidence.from_bytes(draw.bytes_(evidence.to_bytes()))
        assert Evidence.from_bytes(found.to_bytes()) == found

    def words() -> None:
        choices: list[tuple[type[Form], Form]] = [
            (Answer, answer), (Proposal, proposal), (Place, Place())
        ]  # fmt: skip
        kind, right = draw.random.choice(choices)
        kind.from_json(draw.value(json.loads(canonical.encode(right.to_json()))))

    return {
        "message": message_,
        "header": header,
        "plan": plan_,
        "plan's fields": fields,
        "pack": unpacked,
        "total": total_,
        "contribution": public,
        "commitment": commitment_,
        "tried": tried,
        "answer": answer_,
        "evidence": evidence_,
        "words": words,
    }


def _files(folder: Path, draw: Draw) -> dict[str, Callable[[], None]]:
    """What a run leaves, and what a hospital brings."""
    transcript = Transcript()
    transcript.send("a", "b", "model", b"12345", round_=0, public={"n": 1}, time=1.0)
    transcript.send("b", "a", "update", b"678", round_=0)
    transcript.save(folder / "transcript")
    write_csv(folder / "ward.csv", rows(20))
    table, meaning = site(folder, 'source = "ward.csv"')
    schema = folder / "schema.toml"
    cohort = folder / "cohort.toml"
    cohort.write_text('name = "ward"\nschema = "schema.toml"\n[sites]\nward = "table.toml"\n')
    kept = UpdateFolder(folder / "updates", "flwr 1")
    kept.sent(1, {"w": VALUES})
    kept.got(1, "north", {"w": VALUES}, patients=3)
    index = folder / "updates" / INDEX
    seeds = {
        path: path.read_bytes()
        for path in (folder / "transcript" / "messages.bin", table, schema, cohort, index)
    }
    ward = (folder / "ward.csv").read_bytes()

    def harmed(path: Path, read: Callable[[], object]) -> Callable[[], None]:
        def parse() -> None:
            path.write_bytes(draw.bytes_(seeds[path]))
            try:
                read()
            finally:
                path.write_bytes(seeds[path])

        return parse

    def csv() -> None:
        (folder / "ward.csv").write_bytes(draw.bytes_(ward))
        try:
            found = read_table(table, meaning)
            assert len(found) <= 40
        finally:
            (folder / "ward.csv").write_bytes(ward)

    return {
        "updates": harmed(index, lambda: read_updates(folder / "updates", program="flwr")),
        "transcript": harmed(
            folder / "transcript" / "messages.bin", lambda: Transcript.load(folder / "transcript")
        ),
        "schema": harmed(schema, lambda: Schema.from_toml(schema)),
        "table": harmed(table, lambda: read_table(table, meaning)),
        "cohort": harmed(cohort, lambda: Cohort.from_file(cohort)),
        "csv": csv,
    }


def _scheme(scheme: Scheme, draw: Draw) -> Callable[[], None]:
    """A sealed update on its way: refused, or it is the very update."""
    parties = Parties(scheme, ("zurich",))
    right = parties.contribute("zurich", VALUES)

    def parse() -> None:
        sealed = draw.bytes_(right.sealed)
        adder = scheme.adder()
        adder.add(sealed)
        contribution = replace(right, sealed=sealed)
        opened = parties.opener().open(adder.total(), [contribution])
        assert (opened == VALUES).all(), opened

    return parse


def _keys(scheme: Scheme, draw: Draw) -> Callable[[], None]:
    """What the parties of a scheme are handed: refused, or it is what was made."""
    policy = Parties(scheme).policy()
    right = [scheme.adder().to_bytes(), role_that_opens(scheme, policy).to_bytes()]
    right.append(scheme.sealer("zurich").to_bytes())

    def parse() -> None:
        content = draw.bytes_(draw.random.choice(right))
        taken = 0
        for read in (
            lambda: load_adder(content),
            lambda: load_opener(content, policy),
            lambda: load_holder(content, policy),
            lambda: load_sealer(content, "zurich"),
        ):
            try:
                read()
                taken += 1
            except InpatientError as error:
                refusal = error
        assert content in right or not taken, "harmed keys were taken"
        if not taken:
            raise refusal

    return parse
