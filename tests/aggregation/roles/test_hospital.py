"""The promises of ``aggregation.roles.hospital``: the ledger first, the right model only."""

import math
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregation.agreement import Agreement
from aggregation.data.patients import Patients
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.roles.evidence import Judge
from aggregation.roles.hospital import Hospital
from aggregation.roles.messages import AGGREGATOR, Message, MessageKind
from aggregation.rules import Memory
from aggregation.sealing import Roster, Scheme, make_scheme
from aggregation.sealing.holders import QuorumScheme
from aggregation.sealing.proposal import Place
from aggregation.timing import Arrival, Rounds
from privacy.errors import (
    BudgetExceededError,
    CorruptMessageError,
    InvalidInputError,
    RefusedError,
)
from privacy.ledger import Budget, Ledger, SigningKey
from privacy.mechanisms import Seeded
from tests.aggregation.parts import HOSPITALS, patients, plan
from tests.aggregation.roles.parts import Witness


class Watched(Patients):
    """Patients that tell when their features are read."""

    reads = 0

    def __getattribute__(self, name: str) -> Any:
        if name in {"features", "outcomes"}:
            type(self).reads += 1
        return super().__getattribute__(name)


SCHEME = make_scheme("plain", dim=plan().model.dim, contributors=3, bound=2**40)


def hospital(
    made: Plan,
    group: Patients | None = None,
    *,
    ledger: Ledger | None = None,
    agreement: Agreement | None = None,
    witness: Witness | None = None,
) -> Hospital:
    key, scheme = SigningKey.generate(), SCHEME
    budget = Budget(epsilon=math.inf, delta=made.delta)
    return Hospital(
        "north",
        patients(0) if group is None else group,
        plan=made,
        sealer=scheme.sealer("north"),
        judge=(witness or Witness(made, scheme.parameters)).judge,
        ledger=ledger or Ledger.in_memory(hospital="north", budget=budget, key=key),
        key=key,
        source=Seeded(1),
        agreement=agreement,
    )


def test_a_release_is_in_the_ledger_before_a_patient_is_read() -> None:
    made, order = plan(), []
    group = patients(0)

    class Spy(Ledger):
        def spend(self, release: Any) -> Any:
            entry = super().spend(release)
            order.append(("entry", Watched.reads))
            return entry

    Watched.reads = 0
    watched = Watched(group.features, group.outcomes)
    ledger = Spy.in_memory(hospital="north", budget=Budget(epsilon=math.inf))
    member = hospital(made, watched, ledger=ledger)
    member.join()
    before = Watched.reads
    member.contribute(made.first_model(), round_=0)
    assert order == [("entry", before)]
    assert Watched.reads > before


def test_a_refused_plan_and_a_refused_release_read_nobody() -> None:
    made = plan()  # far more than a budget of epsilon .01 allows
    group = patients(0)
    watched = Watched(group.features, group.outcomes)
    ledger = Ledger.in_memory(hospital="north", budget=Budget(epsilon=0.01))
    member = hospital(made, watched, ledger=ledger)
    Watched.reads = 0
    with pytest.raises(BudgetExceededError):
        member.join()
    with pytest.raises(BudgetExceededError):
        member.contribute(made.first_model(), round_=0)
    assert Watched.reads == 0
    assert [e.kind for e in ledger.entries()] == ["opening", "refusal", "refusal"]


def test_the_sealed_bytes_are_kept_beside_their_entry() -> None:
    made = plan()
    member = hospital(made)
    member.join()
    sent = member.contribute(made.first_model(), round_=0)
    kinds = [entry.kind for entry in member.ledger.entries()]
    assert kinds == ["opening", "plan", "release", "sealed"]
    kept = list(member.ledger.entries())[3].content
    assert kept["digest"] == sent.ciphertext and kept["bytes"] == len(sent.sealed)
    assert member.ledger.pending() == ()


def test_only_the_model_that_follows_is_trained_on() -> None:
    made = plan()
    witness = Witness(made, SCHEME.parameters)
    member = hospital(made, witness=witness)
    member.join()
    chosen = made.first_model()
    chosen[0] += 1e-9
    with pytest.raises(RefusedError, match="does not follow"):
        member.contribute(chosen, round_=0)
    assert [e.kind for e in member.ledger.entries()] == ["opening", "plan"]
    sent = member.contribute(made.first_model(), round_=0)
    opened = np.arange(made.model.dim, dtype=np.int64)
    witness.tells(member, opened, sent)
    with pytest.raises(RefusedError, match="does not follow"):
        member.contribute(made.first_model(), round_=1)
    member.contribute(made.advance(made.first_model(), opened), round_=1)


def test_one_update_a_round_in_order_and_the_same_bytes_again() -> None:
    made = plan()
    witness = Witness(made, SCHEME.parameters)
    member = hospital(made, witness=witness)
    member.join()
    ask = Message(AGGREGATOR, "north", MessageKind.MODEL, 0, made.first_model().tobytes())
    first = member.handle(ask)
    assert member.handle(ask) == first
    (update,) = first
    assert isinstance(update, Message)
    assert update.public["model"] == sha256(ask.payload).hexdigest()
    sent = member.contribute(made.first_model(), round_=0)
    zeros = np.zeros(made.model.dim, dtype=np.int64)
    witness.tells(member, zeros, sent)
    assert member.handle(ask) == first  # late: it is sent again, and nothing new is made
    with pytest.raises(RefusedError, match="one update a round"):
        member.contribute(made.first_model(), round_=2)
    second = member.contribute(made.first_model(), round_=1)
    with pytest.raises(RefusedError, match="one update a round"):
        member.handle(ask)
    witness.says(zeros, {})  # of round 1, lost on its way
    witness.place = replace(witness.place, number=1, previous=member._place.previous)
    with pytest.raises(RefusedError, match="never sent, or one that was opened before"):
        witness.tells(member, zeros, replace(second, sealed=sent.sealed))
    kinds = [entry.kind for entry in member.ledger.entries()]
    assert kinds.count("release") == 2


def test_what_does_not_fit_the_plan_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="declared 12"):
        hospital(plan(), patients(0, 13))
    with pytest.raises(InvalidInputError, match="4 features, the model expects 3"):
        hospital(plan(), patients(0, 12, 4))
    with pytest.raises(InvalidInputError, match="not in the plan"):
        hospital(plan(hospitals=("a", "b", "c")))


def test_the_contribution_names_the_ledger_head() -> None:
    made = plan()
    witness = Witness(made, SCHEME.parameters)
    member = hospital(made, witness=witness)
    member.join()
    first = member.contribute(made.first_model(), round_=0)
    witness.tells(member, np.zeros(made.model.dim, dtype=np.int64), first)
    second = member.contribute(made.first_model(), round_=1)
    assert first.ledger_head is not None
    assert first.ledger_head != second.ledger_head


def test_at_its_own_pace_an_older_model_will_do_but_none_twice_or_of_the_future() -> None:
    made = plan(smallest_sum=2)
    witness = Witness(made, SCHEME.parameters)
    member = hospital(made, witness=witness)
    member.join()
    first = made.first_model()
    zeros = np.zeros(made.model.dim, dtype=np.int64)
    for _ in range(2):
        witness.tells(member, zeros)  # of the two others
    with pytest.raises(RefusedError, match="none of the future"):
        member.contribute(first, round_=3)
    member.contribute(made.advance(first, zeros), round_=1)  # version 2 is there already
    with pytest.raises(RefusedError, match="its last was of round 1"):
        member.contribute(first, round_=0)
    member.contribute(made.advance(made.advance(first, zeros), zeros), round_=2)


def test_a_held_memory_is_taken_back_only_once_an_opened_sum_held_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Taking(Rounds):
        """Rounds whose first sum lacks this hospital's upload: it was lost."""

        def arrivals(self, version: int) -> tuple[Arrival, ...]:
            found = super().arrivals(version)
            return found[1:] if version == 0 else found

    memory = Memory(shares=dict.fromkeys(plan().hospitals, 1.0))
    made = plan(
        noise=NoiseKind.NONE, noise_multiplier=0.0, colluders=0, rule=memory, smallest_sum=2
    )
    events = Agreement.of(made).events
    witness = Witness(made, SCHEME.parameters)
    agreement = Agreement(made, Taking(made.hospitals, made.rounds), events)
    member = hospital(made, agreement=agreement, witness=witness)
    member.join()
    sent: list[Any] = []
    seal = member._sealer.seal

    def recorded(values: Any, round_: int) -> bytes:
        sent.append(values)
        return seal(values, round_=round_)

    monkeypatch.setattr(member._sealer, "seal", recorded)
    zeros = np.zeros(made.model.dim, dtype=np.int64)
    for version in range(3):
        own = member.contribute(made.first_model(), round_=version)
        witness.tells(member, zeros, *((own,) if version else ()))
    assert sent[0].any() and np.array_equal(
        sent[0], sent[1]
    )  # nothing of it was opened: all of it again
    assert not sent[2].any()  # the same patients, the same model: nothing has changed


def test_a_sum_is_learnt_from_for_its_openers_word_and_no_other() -> None:
    made = plan()
    witness, stranger = (Witness(made, SCHEME.parameters) for _ in range(2))
    member = hospital(made, witness=witness)
    sent = member.contribute(made.first_model(), round_=0)
    zeros = np.zeros(made.model.dim, dtype=np.int64)
    own = {"north": sent}
    evidence, opened = witness.says(zeros, own)
    shifted = replace(opened, payload=(zeros + 1).astype("<i8").tobytes())

    def refused(*told: Message, error: type[Exception] = RefusedError, words: str) -> None:
        with pytest.raises(error, match=words):
            for message in told:
                member.handle(message)
        assert np.array_equal(member._path.params, made.first_model())

    refused(opened, words="without the signed words of those who opened it")
    refused(evidence, shifted, error=CorruptMessageError, words="not the one that the opener")
    refused(opened, words="without the signed words")  # what did not hold is not kept
    refused(*stranger.says(zeros, own), error=CorruptMessageError, words="somebody else made it")
    first = Place(made.digest)
    for place, words in [
        (first.after("ab" * 32), "whose number is 1; here 0"),
        (Place(made.digest, 0, "ab" * 32), "whose previous is"),
        (Place("ab" * 32), "whose plan is"),
    ]:
        witness.place = place
        other_evidence, other = witness.says(zeros, own)
        refused(replace(other_evidence, round=0), replace(other, round=0), words=words)
    for theirs, words in [
        ({}, "that it never sent"),
        ({"north": replace(sent, sealed=b"another")}, "that it never sent"),
        ({"north": sent, "east": replace(sent, base_version=1)}, "has one on version 0 in it"),
    ]:
        witness.place = first
        refused(*witness.says(zeros, theirs), words=words)
    witness.place = first
    refused(*witness.says(zeros, own, hospitals=("north", "east")), words="of 2 hospitals")
    witness.place = first
    refused(*witness.says(zeros, own, hospitals=(*HOSPITALS, "west")), words="upload of west")
    with pytest.raises(RefusedError, match="awaits the sum of round 0"):
        member.handle(replace(opened, round=1))
    for message in (evidence, opened):
        member.handle(message)
    assert member._path.version == 1


def test_a_sum_told_again_changes_nothing_and_another_is_refused() -> None:
    made = plan()
    witness = Witness(made, SCHEME.parameters)
    member = hospital(made, witness=witness)
    sent = member.contribute(made.first_model(), round_=0)
    zeros = np.zeros(made.model.dim, dtype=np.int64)
    evidence, opened = witness.says(zeros, {"north": sent})
    for message in (evidence, opened):
        member.handle(message)
    learnt = member._path.params
    for message in (opened, evidence, opened):
        assert member.handle(message) == ()
    other = replace(opened, payload=(zeros + 1).astype("<i8").tobytes())
    with pytest.raises(RefusedError, match="another sum of round 0"):
        member.handle(other)
    with pytest.raises(RefusedError, match="without the signed words"):  # of the next, none were
        member.handle(replace(opened, round=1))
    assert member._path.version == 1
    assert np.array_equal(member._path.params, learnt)


@pytest.mark.parametrize("name", ["bfv", "shares", "threshold"])
def test_nothing_is_sealed_under_keys_that_the_plan_does_not_name(name: str) -> None:
    made = plan(scheme=name)
    size: dict[str, Any] = {"dim": made.model.dim, "contributors": 3, "bound": 2**30}
    names: dict[str, Any] = {} if name == "bfv" else {"holders": HOSPITALS, "threshold": 3}
    ours, theirs = (make_scheme(name, **size, **names) for _ in range(2))
    members = {hospital: SigningKey.generate() for hospital in HOSPITALS}
    opener = SigningKey.generate()
    public = {hospital: key.public for hospital, key in members.items()}
    roster = Roster(made.run, public, opener=opener.public)
    if isinstance(ours, QuorumScheme) and isinstance(theirs, QuorumScheme):
        bare = ours
        ours = ours.vouched(made.run, members)
        server = {hospital: SigningKey.generate() for hospital in HOSPITALS}
        theirs = theirs.vouched(made.run, server)

    def join(sealed: Scheme, judged: Scheme, named: Scheme, known: Roster = roster) -> Hospital:
        kind = type(judged) if isinstance(judged, QuorumScheme) else None
        agreed = replace(made, sealing=named.digest, roster=roster.digest)
        return Hospital(
            "north", patients(0), plan=agreed, sealer=sealed.sealer("north"),
            judge=Judge(known, judged.parameters, scheme=kind),
            ledger=Ledger.in_memory(hospital="north", budget=Budget(epsilon=math.inf)),
            key=members["north"], source=Seeded(1),
        )  # fmt: skip

    assert join(ours, ours, ours).name == "north"
    with pytest.raises(RefusedError, match="not those of whoever opens"):
        join(theirs, ours, ours)
    with pytest.raises(RefusedError, match="Somebody put other keys in their place"):
        join(theirs, theirs, ours)
    stranger = SigningKey.generate().public
    for other in (
        Roster(made.run, public, opener=stranger),
        Roster(made.run, public | {"south": stranger}, opener=opener.public),
        Roster("another", public, opener=opener.public),
    ):
        with pytest.raises(RefusedError, match="names the roster"):
            join(ours, ours, ours, other)
    if isinstance(ours, QuorumScheme):  # a plan of the server's own: nobody vouches for its holders
        for unvouched in (theirs, bare):
            with pytest.raises(RefusedError, match="No member of the roster of its own vouches"):
                join(unvouched, unvouched, unvouched)
        twice = dict.fromkeys(HOSPITALS, members["north"])
        doubled = bare.vouched(made.run, twice)
        by_one = {n: v | {"by": "north"} for n, v in doubled.parameters.settings["vouched"].items()}
        settings = {**doubled.parameters.settings, "vouched": by_one}
        doubled.parameters = replace(doubled.parameters, settings=settings)
        with pytest.raises(RefusedError, match="No member of the roster of its own vouches"):
            join(doubled, doubled, doubled)


def test_a_durable_ledger_takes_no_plan_that_names_no_keys(tmp_path: Path) -> None:
    budget = Budget(epsilon=math.inf)
    key = SigningKey.generate()
    ledger = Ledger.create(tmp_path / "north.jsonl", hospital="north", key=key, budget=budget)
    with pytest.raises(RefusedError, match="The plan names the sealing None"):
        hospital(plan(), ledger=ledger)
