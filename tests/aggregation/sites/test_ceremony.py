"""A joint key that its holders make themselves: nobody deals, and nobody chooses it."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregation.plan import Plan
from aggregation.roles.messages import AGGREGATOR
from aggregation.sealing import Contribution, Policy, load_holder
from aggregation.sealing.boxes import seal_box
from aggregation.sealing.joint_key import JointKey
from aggregation.sealing.threshold import KeyHolder, Threshold
from aggregation.sites.agreed import Agreed
from aggregation.sites.ceremony import (
    _USE,
    PIECES,
    Reveal,
    Reveals,
    _bound,
    joint_key,
    load_ceremony,
    read_reveal,
    save_ceremony,
)
from aggregation.sites.enrolment import accept, agree, ask, publish
from aggregation.sites.request import Request, read_request
from aggregation.sized import sizes_of
from privacy.errors import CorruptMessageError, InpatientError, InvalidInputError, RefusedError
from privacy.ledger import SigningKey, verify
from privacy.ledger.log import canonical
from privacy.ledger.log.keys import Trust
from tests.aggregation.parts import HOSPITALS
from tests.aggregation.sites.parts import MORE, carry, dealt, made, opened, opened_sums, tables

HOLDERS = (*HOSPITALS, MORE[0])
SITES = (*HOSPITALS, *MORE, AGGREGATOR)  # the last hospital holds nothing
PLAN = made("threshold", hospitals=SITES[:-1], declared_sizes=(12,) * 5, rounds=2)
Changed = Callable[[Reveal, bytes], tuple[Reveal, bytes]]


@dataclass
class Begun:
    """A run whose sites have asked; where they lie."""

    out: Path
    plan: Plan = PLAN

    @property
    def folders(self) -> dict[str, Path]:
        return {name: self.out / name for name in SITES}

    @property
    def requests(self) -> list[tuple[Request, Mapping[str, bytes]]]:
        return [read_request(folder / "request") for folder in self.folders.values()]

    @property
    def reveals(self) -> list[tuple[Reveal, bytes]]:
        return [read_reveal(self.out / name / "revealed") for name in HOLDERS]

    @property
    def key(self) -> JointKey:
        return joint_key(self.plan, sizes_of(self.plan))

    def signing_key(self, site: str) -> SigningKey:
        return SigningKey.load(self.out / site / "keys" / f"{site}.key")

    def ask(self) -> "Begun":
        for name, folder in self.folders.items():
            ask(folder, self.plan, name)
        return self

    def reveal(self) -> "Begun":
        for name in HOLDERS:
            publish(self.folders[name], self.plan, self.requests)
        return self

    def copy(self, out: Path) -> "Begun":
        shutil.copytree(self.out, out, dirs_exist_ok=True)
        return replace(self, out=out)

    def changed(self, holder: str, change: Changed) -> Reveals:
        """All reveals, one of them as its holder, who lies, would have signed it."""
        out = []
        for said, content in self.reveals:
            if said.site == holder:
                said, content = change(said, content)
                said = replace(said, content=canonical.digest(content), signature="")
                said = replace(said, signature=self.signing_key(holder).sign(said.statement))
            out.append((said, content))
        return out


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Begun:
    return Begun(tmp_path_factory.mktemp("whole")).ask().reveal()


def installed(begun: Begun, settings: str = "") -> Agreed:
    """Agree and accept as people do, by files alone."""
    agreed, came = begun.out / "agreed", begun.out / "ceremony"
    agree(begun.plan, begun.requests, begun.reveals).save(agreed)
    save_ceremony(came, begun.requests, begun.reveals)
    for name, folder in begun.folders.items():
        accept(folder, Agreed.load(agreed), name, load_ceremony(came))
        lines = [f'name = "{name}"', f'roles = ["{name}"]']
        if name != AGGREGATOR:
            tables(name, folder)
            lines[1] = f"roles = {['hospital', 'holder'] if name in HOLDERS else ['hospital']}"
            lines += ['table = "table.toml"', 'schema = "schema.toml"', "epsilon = 3.0"]
        seeded = settings if name != AGGREGATOR else settings.replace("seed = 5", "")
        (folder / "site.toml").write_text("\n".join([*lines, seeded]))
    return Agreed.load(agreed)


def test_a_run_under_a_key_that_nobody_keyis_verified(whole: Begun, tmp_path: Path) -> None:
    begun = whole.copy(tmp_path)
    agreed = installed(begun)
    for name, folder in begun.folders.items():
        assert not (folder / "holder.key").exists() and not (folder / PIECES).exists()
        assert (folder / "secret").exists() == (name in HOLDERS)
    with opened(begun.folders) as sites:
        assert carry(sites) == []
        assert all(site.status()["ended"] for site in sites.values())
    members = agreed.members
    trust = Trust(dict(members.hospitals), receivers={AGGREGATOR: members.aggregator})
    verdict = verify([*begun.folders.values()], trust)
    assert [str(f) for f in verdict.findings if f.level == "FAIL"] == []


def test_it_opens_the_very_sums_of_a_run_that_was_dealt(whole: Begun, tmp_path: Path) -> None:
    begun = whole.copy(tmp_path / "apart")
    installed(begun, "simulated = true\nseed = 5")
    shares = replace(PLAN, scheme="shares")
    others = dealt(tmp_path / "dealt", shares, seed=5)
    for folders in (begun.folders, others):
        with opened(folders) as sites:
            assert carry(sites) == []
    ours, theirs = (opened_sums(f[AGGREGATOR]) for f in (begun.folders, others))
    assert len(ours) == 2 and all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_every_quorum_opens_and_fewer_can_not(whole: Begun, tmp_path: Path) -> None:
    begun = whole.copy(tmp_path)
    agreed = installed(begun)
    run, vectors = agreed.plan.run, np.arange(5 * agreed.parameters.dim).reshape(5, -1)
    mine = [
        Contribution.sign(
            begun.signing_key(name), agreed.load_sealer(name).seal(vector), run=run,
            hospital=name, base_version=0, parameters=agreed.parameters.digest,
        )
        for name, vector in zip(SITES[:-1], vectors, strict=True)
    ]  # fmt: skip
    adder = agreed.load_adder()
    for one in mine:
        adder.add(one.sealed)
    total = adder.total()

    def holder(name: str) -> KeyHolder:
        policy = Policy(agreed.members.roster, min_honest=1, c_assumed=0)
        found = load_holder((begun.out / name / "secret").read_bytes(), policy)
        assert isinstance(found, KeyHolder)
        return found

    pieces = len(begun.key.quorum.pieces)
    for names in combinations(HOLDERS, 3):
        holders = [holder(name) for name in names]
        commitments = [one.commit(total, mine) for one in holders]
        parts = [one.answer(total, mine, commitments)[1] for one in holders]
        merged = {name: part for own in parts for name, part in own.items()}
        sums = agreed.parameters.centre(Threshold.combine(agreed.parameters, total, merged))
        assert np.array_equal(sums, vectors.sum(axis=0))
        with pytest.raises(RefusedError, match="2 holders committed"):
            holders[0].answer(total, mine, commitments[:2])
        assert len({piece for one in holders for piece in one._pieces}) == pieces
    for pair in combinations(HOLDERS, 2):
        assert len({piece for name in pair for piece in holder(name)._pieces}) < pieces
    for piece in range(pieces):  # who has it has the same
        a, b = (h._pieces[piece] for h in map(holder, HOLDERS) if piece in h._pieces)
        assert np.array_equal(a, b)


def test_whoever_puts_it_together_has_no_secret(whole: Begun, tmp_path: Path) -> None:
    agree(PLAN, whole.requests, whole.reveals).save(tmp_path / "agreed")
    save_ceremony(tmp_path / "ceremony", whole.requests, whole.reveals)
    travels = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert len(travels) > 400_000
    degree = whole.key.layout.ring.degree
    for name in HOLDERS:
        keys = canonical.decode((whole.out / name / "holder.key").read_bytes())
        for told in keys.values():
            assert told.encode() not in travels and bytes.fromhex(told) not in travels
        if led := whole.key.led_by(name):
            assert (whole.out / name / PIECES).stat().st_mode & 0o777 == 0o600
            drawn = (whole.out / name / PIECES).read_bytes()[: degree * len(led)]
            assert {*np.frombuffer(drawn, dtype=np.int8)} == {-1, 0, 1}
            assert not any(drawn[i : i + 64] in travels for i in range(0, len(drawn), 64))


def _cut(said: Reveal, content: bytes) -> tuple[Reveal, bytes]:
    return said, content[:-1]


def test_what_is_missing_replayed_or_changed_on_the_way_is_refused(
    whole: Begun, tmp_path: Path
) -> None:
    good, other = whole.reveals, Begun(tmp_path).ask().reveal()
    north = {said.site: (said, content) for said, content in good}["north"]
    rest = [one for one in good if one[0].site != "north"]
    flipped = north[1][:-1] + bytes([north[1][-1] ^ 1])
    thief = SigningKey.generate()
    forged = replace(north[0], content=canonical.digest(flipped))
    again = replace(north[0], requests=other.reveals[0][0].requests)
    wrong: list[tuple[Reveals, str]] = [
        (rest, "missing: north"),
        ((), "missing: north, east, south, west"),
        ([*good, north], "missing: nobody"),
        ([*rest, north, (replace(north[0], site="midland"), north[1])], "got 5 of 5"),
        ([*rest, (replace(north[0], signature=""), north[1])], "not signed"),
        ([*rest, (forged, flipped)], "not signed"),
        ([*rest, (replace(forged, signature=thief.sign(forged.statement)), flipped)], "not signed"),
        ([*rest, (again, north[1])], "not signed"),
        ([*rest, (north[0], flipped)], "changed on the way"),
        # A reveal of an earlier try, under keys that were made anew since.
        ([*rest, other.reveals[0]], "not signed"),
        (whole.changed("north", lambda said, content: (again, content)), "under other requests"),
        (whole.changed("north", lambda said, c: (replace(said, run="b"), c)), "other requests"),
        (whole.changed("north", _cut), "another size"),
        (whole.changed("north", lambda said, content: (said, content + b"0")), "another size"),
        (whole.changed("west", lambda said, content: (said, b"0")), "another size"),
    ]
    for reveals, told in wrong:
        with pytest.raises(RefusedError, match=told):
            agree(PLAN, whole.requests, reveals)
    assert agree(PLAN, whole.requests, [*reversed(good)]) == agree(PLAN, whole.requests, good)
    folder = whole.out / "north" / "revealed"
    shutil.copytree(folder, tmp_path / "changed")
    (tmp_path / "changed" / "revealed.key").write_bytes(flipped)
    with pytest.raises(CorruptMessageError, match="changed on the way"):
        read_reveal(tmp_path / "changed")
    for content in (b"", b"{}", b"[]", b"\xff", b'{"site": 1}'):
        (tmp_path / "changed" / "reveal.json").write_bytes(content)
        with pytest.raises(CorruptMessageError):
            read_reveal(tmp_path / "changed")


def test_nobody_chooses_its_pieces_after_it_has_seen_the_others(whole: Begun) -> None:
    """The last to reveal publishes what cancels the others', under its own true signature."""
    key, ring = whole.key, whole.key.layout.ring
    others = [content[: key.piece_size] for said, content in whole.reveals if said.site != "south"]

    def rogue(said: Reveal, content: bytes) -> tuple[Reveal, bytes]:
        own = ring.from_bytes(content[: key.piece_size], (ring.degree,))
        for piece in others[:2]:
            own = ring.subtract(own, ring.from_bytes(piece, (ring.degree,)))
        return said, ring.to_bytes(own) + content[key.piece_size :]

    with pytest.raises(RefusedError, match=r"'south' published .* not what it committed to"):
        agree(PLAN, whole.requests, whole.changed("south", rogue))


def test_a_commitment_that_came_after_a_reveal_is_in_no_set_that_was_revealed_under(
    whole: Begun,
) -> None:
    """South shows its first commitment, sees what others reveal, and commits once more."""
    key = whole.signing_key("south")
    late = [
        (replace(r, pieces="ab" * 32, signature="").signed(key) if r.site == "south" else r, files)
        for r, files in whole.requests
    ]
    with pytest.raises(RefusedError, match=r"'north' revealed .* under other requests"):
        agree(PLAN, late, whole.reveals)
    with pytest.raises(RefusedError, match="under other requests"):
        publish(whole.out / "east", PLAN, late)  # has revealed: never again under another set
    with pytest.raises(RefusedError, match="not the one that this site made"):
        publish(whole.out / "south", PLAN, late)


def _swapped(begun: Begun) -> Changed:
    """North's boxes, each in the place of another's."""

    def change(said: Reveal, content: bytes) -> tuple[Reveal, bytes]:
        start = begun.key.piece_size * len(begun.key.led_by("north"))
        size = (len(content) - start) // 3
        boxes = [content[i : i + size] for i in range(start, len(content), size)]
        assert len(boxes) == 3
        return said, content[:start] + b"".join([boxes[1], boxes[0], boxes[2]])

    return change


def _boxed(begun: Begun, secret: bytes, receiver: str = "east") -> Changed:
    """Another content in north's first box, which is east's, properly sealed."""

    def change(said: Reveal, content: bytes) -> tuple[Reveal, bytes]:
        box = next(r.box for r, _ in begun.requests if r.site == "east")
        assert box is not None
        bound = _bound(said.requests, "north", receiver)
        sealed = seal_box(secret, box, use=_USE, bound=bound)
        start = begun.key.piece_size * len(begun.key.led_by("north"))
        return said, content[:start] + sealed + content[start + len(sealed) :]

    return change


def drawn(begun: Begun, place: int) -> bytes:
    degree = begun.key.layout.ring.degree
    content = (begun.out / "north" / PIECES).read_bytes()
    return content[place * degree : (place + 1) * degree]


@pytest.mark.parametrize(
    ("change", "told", "harmed"),
    [
        (_swapped, "The box does not open", ("east", "south")),
        (lambda b: _boxed(b, bytes(b.key.layout.ring.degree)), "does not fit", ("east",)),
        (lambda b: _boxed(b, drawn(b, 1)), "does not fit", ("east",)),
        (lambda b: _boxed(b, b"\x02" + drawn(b, 0)[1:]), "does not fit", ("east",)),
        (lambda b: _boxed(b, drawn(b, 2), "west"), "does not open", ("east",)),
    ],
)
def test_a_piece_that_can_not_be_had_or_does_not_fit_names_two_and_blames_none(
    change: Callable[[Begun], Changed], told: str, harmed: tuple[str, ...], whole: Begun,
    tmp_path: Path,
) -> None:  # fmt: skip
    begun = whole.copy(tmp_path)
    reveals = begun.changed("north", change(begun))
    agreed = agree(PLAN, begun.requests, reveals)  # nobody without a key can see it
    for name in HOLDERS:
        folder = begun.out / name
        if name not in harmed:
            accept(folder, agreed, name, (begun.requests, reveals))
            continue
        with pytest.raises(RefusedError, match=told) as refused:
            accept(folder, agreed, name, (begun.requests, reveals))
        said = str(refused.value)
        assert f"Between 'north', who drew a piece of the joint key, and '{name}'" in said
        assert "Which of the two it was is not seen" in said and "begin anew" in said
        assert not (folder / "secret").exists() and not (folder / "agreed").exists()
        assert (folder / "holder.key").exists()


def test_a_damaged_disk_is_seen_by_the_one_who_drew(whole: Begun, tmp_path: Path) -> None:
    begun = whole.copy(tmp_path)
    agreed = agree(PLAN, begun.requests, begun.reveals)
    path = begun.out / "north" / PIECES
    content = path.read_bytes()
    for harmed, told in (
        (bytes(64) + content[64:], "disk may be damaged"),
        (content[:9], "not so many pieces"),
    ):
        path.write_bytes(harmed)
        with pytest.raises(InpatientError, match=told):
            accept(begun.out / "north", agreed, "north", (begun.requests, begun.reveals))
    path.unlink()
    with pytest.raises(RefusedError, match=r"holder\.pieces can't be read"):
        accept(begun.out / "north", agreed, "north", (begun.requests, begun.reveals))


def test_every_site_makes_the_joint_key_again_from_what_was_revealed(
    whole: Begun, tmp_path: Path
) -> None:
    """A coordinator puts its own key, another run's ceremony, or nothing beside the agreement."""
    other = Begun(tmp_path / "other").ask().reveal()
    good, theirs = (agree(PLAN, one.requests, one.reveals) for one in (whole, other))
    key = Threshold.make(**sizes_of(PLAN).settings)
    settings = {**good.parameters.settings, "public_key": canonical.digest(key._public)}
    parameters = replace(good.parameters, settings=settings)
    rogue = replace(
        good,
        plan=replace(good.plan, sealing=parameters.digest),
        sealer=Threshold.load_sealer(parameters, key._public, "north").to_bytes(),
        adder=Threshold.load_adder(parameters).to_bytes(),
    )
    came = whole.requests, whole.reveals
    wrong: list[tuple[Agreed, Any, str]] = [
        (rogue, came, "not the sum of what the holders revealed"),
        (good, None, "does not have beside it how its joint key was made"),
        (good, (whole.requests[1:], whole.reveals), "missing: north"),
        (good, (whole.requests, whole.reveals[1:]), "missing: north"),
        (good, (other.requests, other.reveals), "with other requests than those"),
        (good, (whole.requests, other.reveals), "not signed"),
        (theirs, (other.requests, other.reveals), "another key under the name"),
    ]
    for name in ("north", "midland", AGGREGATOR):
        for agreed, beside, told in wrong:
            begun = whole.copy(tmp_path / name)
            with pytest.raises(RefusedError, match=told):
                accept(begun.out / name, agreed, name, beside)
            assert not (begun.out / name / "agreed").exists()


def test_a_holder_reveals_once_all_have_asked_and_says_the_same_again(
    whole: Begun, tmp_path: Path
) -> None:
    begun, others = whole.copy(tmp_path), whole.requests
    before = read_reveal(begun.out / "north" / "revealed")
    shutil.rmtree(begun.out / "north" / "revealed")  # as if it was killed before it was written
    publish(begun.out / "north", PLAN, others)
    said, content = read_reveal(begun.out / "north" / "revealed")
    size = begun.key.piece_size * len(begun.key.led_by("north"))
    assert said.requests == before[0].requests and content[:size] == before[1][:size]
    with pytest.raises(RefusedError, match="missing: east"):
        publish(begun.out / "north", PLAN, [one for one in others if one[0].site != "east"])
    with pytest.raises(RefusedError, match="is for run 'test' and plan"):
        publish(begun.out / "north", replace(PLAN, rounds=3), others)
    for name in ("midland", AGGREGATOR):
        with pytest.raises(RefusedError, match="nothing to reveal"):
            publish(begun.out / name, PLAN, others)
    shares = Begun(tmp_path / "shares", replace(PLAN, scheme="shares")).ask()
    with pytest.raises(RefusedError, match="nothing to reveal"):
        publish(shares.out / "north", shares.plan, shares.requests)
    with pytest.raises(RefusedError, match="nothing to reveal; give requests"):
        agree(shares.plan, shares.requests, whole.reveals)


def test_a_holder_without_keys_is_boxed_nothing(tmp_path: Path) -> None:
    begun = Begun(tmp_path).ask()
    key = begun.signing_key("east")
    for box in (None, "00" * 32):
        some = [
            (replace(r, box=box, signature="").signed(key) if r.site == "east" else r, files)
            for r, files in begun.requests
        ]
        folder = begun.out / "north"
        with pytest.raises(InpatientError, match=r"no holder's keys|no key"):
            publish(folder, PLAN, some)
        assert not (folder / "revealed").exists()
        (folder / "revealed.under").unlink()


def test_pieces_are_never_drawn_twice(tmp_path: Path) -> None:
    ask(tmp_path, PLAN, "north")
    with pytest.raises(InvalidInputError):
        ask(tmp_path, PLAN, "north")
