"""A hospital that dies at any write goes on from its own disk: nothing twice, nothing refunded."""

import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregation.agreement import Agreement, Trajectory
from aggregation.plan import Plan
from aggregation.roles.hospital import Hospital
from aggregation.roles.kept import Kept, write_state
from aggregation.roles.messages import AGGREGATOR, Message, MessageKind, pack, unpack
from aggregation.roles.round_releases import RoundReleases
from aggregation.rules import FedDyn
from aggregation.sealing import Contribution, make_scheme
from aggregation.sealing.proposal import Place
from aggregation.sealing.slots import SlotGroup
from privacy.errors import CorruptMessageError, RefusedError
from privacy.ledger import Budget, Ledger, SigningKey
from privacy.mechanisms import OperatingSystem
from privacy.unit import Unit
from tests.aggregation.parts import clear, patients, plan
from tests.aggregation.power import DiedError, Disk
from tests.aggregation.roles.parts import Witness

NOISED = plan(scalars=(SlotGroup("loss", 1, 8.0, 64, 2.0),))

STATEFUL = clear(rule=FedDyn(), unit=Unit.HOSPITAL, local_steps=2)


class Site:
    """One hospital's machine: its disk, and the process that runs there."""

    def __init__(self, folder: Path, made: Plan = NOISED) -> None:
        self.folder = folder
        self.key = SigningKey.generate()
        self.scheme = make_scheme("plain", dim=made.dim, contributors=3, bound=2**50)
        self.witness = Witness(made, self.scheme.parameters)
        self.plan = self.witness.plan
        self.witness.place = Place(self.plan.digest)
        self.path = Trajectory(Agreement.of(made))
        self.process: Hospital | None = None
        self.kept: Kept | None = None
        self.sent: dict[int, Message] = {}
        self.told: list[Message] = []

    @property
    def member(self) -> Hospital:
        if self.process is None:
            file = self.folder / "north.jsonl"
            budget = Budget(epsilon=math.inf, delta=self.plan.delta, unit=self.plan.unit)
            if file.exists():
                ledger = Ledger.open(file, key=self.key)
            else:
                ledger = Ledger.create(file, hospital="north", key=self.key, budget=budget)
            self.kept = Kept(self.folder / "run")
            self.process = Hospital(
                "north", patients(0), plan=self.plan, sealer=self.scheme.sealer("north"),
                judge=self.witness.judge, ledger=ledger, key=self.key, source=OperatingSystem(),
                kept=self.kept,
            )  # fmt: skip
            self.process.join()
        return self.process

    def dies(self) -> None:
        self.process = None
        if self.kept is not None:
            self.kept.close()
            self.kept = None

    def ask(self, round_: int) -> Message:
        model = self.path.params.astype("<f8").tobytes()
        return Message(AGGREGATOR, "north", MessageKind.MODEL, round_, model)

    def update(self, round_: int) -> Message:
        said = self.witness.answered(self.member, self.ask(round_))
        assert self.sent.setdefault(round_, said).to_bytes() == said.to_bytes()
        return said

    def round(self, round_: int) -> None:
        """Send an update and learn the sum, as a server would have it that asks until it works."""
        said = self.update(round_)
        sent = Contribution.from_message(said.payload, said.public)
        opened = np.arange(self.plan.dim, dtype=np.int64) % 7
        here = self.witness.place
        told = self.witness.says(opened, {"north": sent})
        after = self.witness.place
        self.witness.place = here
        self.told = told
        if self.member._path.version == round_:
            for message in told:
                self.member.handle(message)
        self.path.step(opened)
        self.witness.place = after

    def told_again(self) -> None:
        """The server tells the last sum again, as it does after a crash."""
        for message in self.told:
            self.member.handle(message)

    def spent(self) -> Counter[tuple[str, int]]:
        ledger = self.member.ledger
        made = [e.content for e in ledger.entries() if e.kind == "release"]
        return Counter((content["kind"], content["round"]) for content in made)


def writes_of_a_round(folder: Path, made: Plan) -> int:
    site, disk = Site(folder, made), Disk(folder)
    site.round(0)
    with disk.dying():
        site.round(1)
    site.dies()
    return disk.writes


@pytest.mark.parametrize(
    ("after", "power"),
    [(False, False), (True, False), (False, True)],
    ids=["before a write", "after it", "the power fails"],
)
@pytest.mark.parametrize("made", [NOISED, STATEFUL], ids=["noised", "stateful"])
def test_one_death_at_any_write_loses_nothing(
    made: Plan, after: bool, power: bool, tmp_path: Path
) -> None:
    whole = Site(tmp_path / "whole", made)
    for round_ in range(3):
        whole.round(round_)
    for at in range(writes_of_a_round(tmp_path / "count", made)):
        site, disk = Site(tmp_path / f"{at}", made), Disk(tmp_path / f"{at}")
        with disk.dying():
            site.round(0)
        with disk.dying(at, after=after), pytest.raises(DiedError):
            site.round(1)
        site.dies()
        if power:
            disk.loses()
        if site.member._path.version == 0:  # what others say again need not be waited for
            site.told_again()
        site.round(1)
        site.round(2)
        assert set(site.spent().values()) == {1}, at
        assert len(site.spent()) == 3 * (1 + len(made.scalars))
        assert site.member.ledger.pending() == ()
        assert np.array_equal(site.member._path.params, site.path.params)
        if made is STATEFUL:  # nothing is drawn: all integers are those of a run without a death
            size = made.dim * site.scheme.parameters.word  # a salt stands before them
            for round_ in range(3):
                integers = site.sent[round_].payload[-size:]
                assert integers == whole.sent[round_].payload[-size:], (at, round_)
            for mine, theirs in zip(site.member._state, whole.member._state, strict=True):
                assert np.array_equal(mine, theirs)
        site.dies()


def test_a_round_waits_for_the_disk_five_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spends; folder; bytes, their names; entries. Three bytes' files here: of three releases."""
    site = Site(tmp_path)
    site.round(0)
    waits: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        waits.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    site.round(1)
    releases = 1 + len(NOISED.scalars)
    assert len(waits) == 3 + 2 * releases


def test_a_spend_whose_bytes_were_lost_twice_is_forfeited(tmp_path: Path) -> None:
    site = Site(tmp_path)
    seal = "aggregation.roles.draws.draw_batches"

    def dead(*_: Any) -> None:
        raise DiedError

    assert site.member
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(DiedError):
            patch.setattr(seal, dead)
            site.update(0)
        site.dies()
    with pytest.raises(RefusedError, match=r"lost twice\. The spend is forfeited"):
        site.update(0)
    assert set(site.spent().values()) == {1}  # nothing was refunded, and nothing spent again
    assert len(site.member.ledger.pending()) == 2


def test_without_its_folder_what_was_sealed_is_sent_and_what_was_not_is_forfeited(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    first = site.update(0)
    site.dies()
    for path in (tmp_path / "run").iterdir():
        path.unlink()
    assert site.update(0).payload == first.payload
    assert site.update(0).nonce == first.nonce
    ledger = site.member.ledger
    bare = Hospital(
        "north", patients(0), plan=site.plan, sealer=site.scheme.sealer("north"),
        judge=site.witness.judge, ledger=ledger, key=site.key, source=OperatingSystem(),
    )  # fmt: skip
    with pytest.raises(RefusedError, match="may be an old copy: 0 of the 1"):
        bare.contribute(site.path.params, round_=0)
    assert site.witness.answered(bare, site.ask(0)).payload == first.payload


def test_two_daemons_of_one_site_make_one_release(tmp_path: Path) -> None:
    site, twin = Site(tmp_path), Site(tmp_path)
    twin.key, twin.witness, twin.plan = site.key, site.witness, site.plan
    assert site.member
    with pytest.raises(RefusedError, match="One process runs a party"):
        assert twin.member
    # A lock can't reach one that has another folder for its run: the ledger tells.
    other = Hospital(
        "north", patients(0), plan=site.plan, sealer=site.scheme.sealer("north"),
        judge=site.witness.judge, ledger=Ledger.open(tmp_path / "north.jsonl", key=site.key),
        key=site.key, source=OperatingSystem(), kept=Kept(tmp_path / "other"),
    )  # fmt: skip
    site.update(0)
    with pytest.raises(RefusedError, match="another process made it"):
        site.witness.answered(other, site.ask(0))
    sealed = [e for e in site.member.ledger.entries() if e.kind == "sealed"]
    assert len(sealed) == 2  # the update's and the scalar's, of one release
    assert set(site.spent().values()) == {1}  # nothing was spent for what is not released


def test_a_folder_that_was_tampered_with_is_not_believed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.round(0)
    site.dies()
    kept = Kept(tmp_path / "run")
    learnt = kept.get("opened-0")
    assert learnt is not None
    evidence, said, state = unpack(learnt, most=3)
    kept.put({"opened-0": pack([evidence, said[:-1] + bytes([said[-1] ^ 1]), state])})
    kept.close()
    with pytest.raises(CorruptMessageError, match="not the one that the opener signed"):
        assert site.member


def test_the_state_that_was_kept_is_the_states_of_its_round_alone(tmp_path: Path) -> None:
    key, kept = SigningKey.generate(), Kept(tmp_path / "run")
    budget = Budget(epsilon=math.inf, delta=1e-5, unit=Unit.HOSPITAL)
    ledger = Ledger.create(tmp_path / "north.jsonl", hospital="north", key=key, budget=budget)
    kept.put({"begun": write_state(2, (np.ones(3),))})
    (state,) = RoundReleases(ledger, "ab" * 32, kept, stateful=True).begun(2)
    assert state.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(RefusedError, match="what its rule keeps beside it is lost"):
        RoundReleases(ledger, "ab" * 32, kept, stateful=True).begun(3)
    assert RoundReleases(ledger, "ab" * 32, kept).begun(3) == ()
