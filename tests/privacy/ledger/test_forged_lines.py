"""A hospital forges a line of its own ledger and signs all anew: each rule of the reader refuses.

Each forgery breaks one rule alone; all links, sizes and signatures around it are made right.
"""

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from privacy.errors import CorruptMessageError
from privacy.ledger import Head, Ledger, SigningKey
from privacy.ledger.log.canonical import digest
from privacy.ledger.log.merkle import Frontier
from privacy.ledger.witness import _DOMAIN
from tests.privacy.ledger.helpers import forged_line, gaussian, public
from tests.privacy.ledger.test_verify import Run, verify

Bodies = list[dict[str, Any]]
PLAN, RELEASE, SEALED, CHECKPOINT, WITNESS, COUNTERSIGNED = 1, 2, 3, 8, 9, 11


def bodies_of(path: Path) -> Bodies:
    return [json.loads(line)["body"] for line in path.read_bytes().splitlines()]


def write(path: Path, key: SigningKey, bodies: Bodies, keep: Collection[str] = ()) -> None:
    """Sign all anew; what follows from other lines is computed, but for what is to be kept."""
    tree, lines = Frontier(), list[bytes]()
    for place, body in enumerate(bodies):
        content = body["content"]
        if "sequence" not in keep:
            body["sequence"] = place
        if body["kind"] == "sealed" and "entry" not in keep:
            content["entry"] = digest(lines[content["release"]])
        if body["kind"] == "checkpoint" and "checkpoint" not in keep:
            content |= {"size": place, "root": tree.root().hex()}
        if "previous" not in keep or place < len(bodies) - 1:
            body["previous"] = digest(lines[-1]) if lines else "0" * 64
        lines.append(forged_line(key, body))
        tree.append(lines[-1])
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def copy(body: dict[str, Any], **content: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(body))
    found["content"] |= content
    return found


def head_of(run: Run, whose: str, **changes: Any) -> dict[str, Any]:
    _, _, keys = run
    fields: dict[str, Any] = {"ledger": "ab" * 32, "size": 3, "root": "cd" * 32} | changes
    signer = fields.pop("signer", whose)
    made = Head.sign(keys[signer], signer, fields["ledger"], fields["size"], fields["root"])
    return made.to_json() | {"hospital": whose}


def numbered(bodies: Bodies, run: Run) -> set[str]:
    bodies[-1]["sequence"] += 1
    return {"sequence"}


def unlinked(bodies: Bodies, run: Run) -> set[str]:
    bodies[-1]["previous"] = "ab" * 32
    return {"previous"}


def opened_twice(bodies: Bodies, run: Run) -> None:
    bodies.append(copy(bodies[0]))


def begun_without_opening(bodies: Bodies, run: Run) -> None:
    del bodies[0], bodies[1:]


def of_another(bodies: Bodies, run: Run) -> None:
    bodies[-1]["hospital"] = "south"


def enrolled_twice(bodies: Bodies, run: Run) -> None:
    south = bodies[0]["content"]["enrolled"]["south"]
    bodies.append(bodies[-1] | {"kind": "enrolled", "content": {"enrolled": {"south": south}}})


def enrolled_a_stranger_as_west(bodies: Bodies, run: Run) -> None:
    del bodies[0]["content"]["enrolled"]["west"]
    key = SigningKey.generate().public
    bodies.append(bodies[-1] | {"kind": "enrolled", "content": {"enrolled": {"west": key}}})


def another_order(bodies: Bodies, run: Run) -> None:
    bodies[0]["content"]["budgets"][0]["order"] += 1


def unit_without_budget(bodies: Bodies, run: Run) -> None:
    bodies.append(copy(bodies[PLAN], unit="hospital", plan="cd" * 32))


def plan_over_budget(bodies: Bodies, run: Run) -> None:
    bodies[PLAN]["content"]["repeats"] = 10_000


def plan_by_another_rule(bodies: Bodies, run: Run) -> None:
    content = bodies[PLAN]["content"]
    del content["interval"]
    content |= {"filter": "adaptive", "order": 18, "divergence": 1.0, "epsilon": 1.0}


def plan_told_otherwise(bodies: Bodies, run: Run) -> None:
    bodies[PLAN]["content"]["interval"] |= {"lower": 0.5, "estimate": 0.5, "upper": 0.5}


def late_plan_told_cheap(bodies: Bodies, run: Run) -> None:
    late = copy(bodies[PLAN], plan="cd" * 32, order=18, divergence=1e-3, epsilon=0.1)
    late["content"] |= {"filter": "adaptive"}
    del late["content"]["interval"]
    bodies.append(late)


def abandoned_by_another_rule(bodies: Bodies, run: Run) -> None:
    content = {"unit": "patient", "plan": "ab" * 32, "reason": "r", "filter": "unlimited"}
    bodies.insert(SEALED + 1, bodies[-1] | {"kind": "abandoned", "content": content})
    for body in bodies[SEALED + 2 :]:
        if body["kind"] == "sealed":
            body["content"]["release"] += 1


def abandoned_what_is_done(bodies: Bodies, run: Run) -> None:
    content = {"unit": "patient", "plan": "ab" * 32, "reason": "r", "filter": "kept"}
    bodies.append(bodies[-1] | {"kind": "abandoned", "content": content})


def release_over_budget(bodies: Bodies, run: Run) -> None:
    more = copy(bodies[RELEASE], event=gaussian(0.1), plan=None, filter="adaptive", order=18)
    del more["content"]["position"]
    bodies.append(copy(more, divergence=0.1, epsilon=0.5))


def release_by_another_rule(bodies: Bodies, run: Run) -> None:
    bodies[RELEASE]["content"]["filter"] = "public"
    del bodies[RELEASE]["content"]["position"]


def release_at_another_place(bodies: Bodies, run: Run) -> None:
    bodies[RELEASE]["content"]["position"] = 1


def release_told_cheap(bodies: Bodies, run: Run) -> None:
    more = copy(bodies[RELEASE], plan=None, filter="adaptive", order=18, divergence=1e-4)
    del more["content"]["position"]
    bodies.append(copy(more, epsilon=0.1))


def seeded_noise(bodies: Bodies, run: Run) -> None:
    bodies[RELEASE]["content"]["noise_source"] = "seeded"


def public_without_a_reason(bodies: Bodies, run: Run) -> None:
    more = copy(bodies[RELEASE], event=public(), filter="public", plan=None, reason="")
    del more["content"]["position"]
    bodies.append(more)


def sealed_twice(bodies: Bodies, run: Run) -> None:
    bodies.append(copy(bodies[SEALED]))


def much_public(bodies: Bodies, run: Run) -> None:
    more = copy(bodies[RELEASE], event=public(), filter="public", plan=None, reason="r")
    del more["content"]["position"]
    bodies.append(more)
    bodies.append(copy(bodies[SEALED], release=len(bodies) - 1, bytes=4097))


def witness_of_itself(bodies: Bodies, run: Run) -> None:
    bodies.append(copy(bodies[WITNESS], head=head_of(run, "north")))


def witness_of_an_unsigned_head(bodies: Bodies, run: Run) -> None:
    bodies.append(copy(bodies[WITNESS], head=head_of(run, "south", signer="north")))


def countersigned_head_of_another(bodies: Bodies, run: Run) -> None:
    bodies.append(copy(bodies[COUNTERSIGNED], head=head_of(run, "south")))


def countersigned_head_unsigned(bodies: Bodies, run: Run) -> None:
    bodies.append(copy(bodies[COUNTERSIGNED], head=head_of(run, "north", signer="south")))


def countersigned_by_nobody(bodies: Bodies, run: Run) -> None:
    head = head_of(run, "north")
    bodies.append(copy(bodies[COUNTERSIGNED], head=head, signatures={"south": "ab" * 64}))


def countersigned_by_itself(bodies: Bodies, run: Run) -> None:
    head = head_of(run, "north")
    own = run[2]["north"].sign(_DOMAIN + Head.from_json(head).note)
    bodies.append(copy(bodies[COUNTERSIGNED], head=head, signatures={"north": own}))


def checkpoint_of_another_size(bodies: Bodies, run: Run) -> set[str]:
    bodies[CHECKPOINT]["content"]["size"] = 7
    return {"checkpoint"}


def checkpoint_of_another_root(bodies: Bodies, run: Run) -> set[str]:
    bodies[CHECKPOINT]["content"]["root"] = "ab" * 32
    return {"checkpoint"}


FORGERIES: list[tuple[Callable[[Bodies, Run], set[str] | None], str]] = [
    (numbered, "stands at place 11 but is numbered 12"),
    (unlinked, "not linked to the entry before it"),
    (opened_twice, "a ledger has one opening, at its start"),
    (begun_without_opening, "a ledger has one opening, at its start"),
    (of_another, "it belongs to 'south'"),
    (enrolled_twice, "it enrols 'south' a second time"),
    (enrolled_a_stranger_as_west, "it enrols 'west' with an untrusted key"),
    (another_order, "order does not follow from its budget"),
    (unit_without_budget, "no budget for the unit 'hospital'"),
    (plan_over_budget, "it let a plan through, but"),
    (plan_by_another_rule, "'fixed schedule' is the rule"),
    (plan_told_otherwise, "the intervals do not meet"),
    (late_plan_told_cheap, "its running divergence is told as 0.001"),
    (abandoned_by_another_rule, "it frees a plan by the rule 'unlimited'"),
    (abandoned_what_is_done, "it abandons a plan, but"),
    (release_over_budget, "it let a release through, but epsilon"),
    (release_by_another_rule, "the rule, which is 'planned'"),
    (release_at_another_place, "the rule, which is 'planned'"),
    (release_told_cheap, "its running divergence is told as 0.0001"),
    (seeded_noise, "it let a release through, but"),
    (public_without_a_reason, "depends on no patient needs a reason"),
    (sealed_twice, "it seals no release that was waiting"),
    (much_public, "4097 bytes went out as the public release"),
    (witness_of_itself, "it witnesses its own ledger"),
    (witness_of_an_unsigned_head, "south's key did not sign"),
    (countersigned_head_of_another, "it holds no counter-signature of this ledger"),
    (countersigned_head_unsigned, "it holds no counter-signature of this ledger"),
    (countersigned_by_nobody, "the counter-signature of 'south' does not hold"),
    (countersigned_by_itself, "the counter-signature of 'north' does not hold"),
    (checkpoint_of_another_size, "its root is not that of the entries before it"),
    (checkpoint_of_another_root, "its root is not that of the entries before it"),
]


def read(run: Run) -> list[str]:
    """What is said of north's ledger alone."""
    out, trust, _ = run
    return [str(f) for f in verify(out / "ledgers" / "north.jsonl", trust=trust).findings]


def test_signed_anew_without_a_change_it_is_believed(run: Run) -> None:
    path = run[0] / "ledgers" / "north.jsonl"
    write(path, run[2]["north"], bodies_of(path)[: CHECKPOINT + 1])
    assert not any(line.startswith("FAIL") for line in read(run)), read(run)


@pytest.mark.parametrize(("forgery", "reason"), FORGERIES, ids=lambda f: getattr(f, "__name__", ""))
def test_each_rule_of_the_reader_refuses_its_forgery(
    run: Run, forgery: Callable[[Bodies, Run], set[str] | None], reason: str
) -> None:
    path = run[0] / "ledgers" / "north.jsonl"
    bodies = bodies_of(path)
    kept = forgery(bodies, run) or ()
    write(path, run[2]["north"], bodies, kept)
    fails = [line for line in read(run) if line.startswith("FAIL")]
    assert any(reason in line for line in fails), fails  # the others may say that it was rewritten


def test_an_entry_that_another_key_signed_is_refused(run: Run) -> None:
    path = run[0] / "ledgers" / "north.jsonl"
    lines = path.read_bytes().splitlines()
    lines[-1] = forged_line(run[2]["south"], json.loads(lines[-1])["body"])
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    (fail,) = [line for line in read(run) if line.startswith("FAIL")]
    assert "its signature is not that of north's key" in fail


def test_a_seal_that_names_another_line_than_its_release_is_refused(run: Run) -> None:
    path = run[0] / "ledgers" / "north.jsonl"
    bodies = bodies_of(path)[: SEALED + 1]
    bodies[SEALED]["content"]["entry"] = "ab" * 32
    write(path, run[2]["north"], bodies, {"entry"})
    (fail,) = [line for line in read(run) if line.startswith("FAIL")]
    assert "it seals no release that was waiting" in fail


def test_a_clock_that_goes_backwards_is_noted(run: Run) -> None:
    path = run[0] / "ledgers" / "north.jsonl"
    bodies = bodies_of(path)[: CHECKPOINT + 1]
    bodies[RELEASE]["time"] = "2000-01-01T00:00:00.000000Z"
    write(path, run[2]["north"], bodies)
    assert any("clock went backwards 1 times" in line for line in read(run))


@pytest.mark.parametrize("forgery", [begun_without_opening, opened_twice, unit_without_budget])
def test_its_own_hospital_does_not_go_on_with_it_either(
    run: Run, forgery: Callable[[Bodies, Run], None]
) -> None:
    out, _, keys = run
    path = out / "ledgers" / "north.jsonl"
    bodies = bodies_of(path)
    forgery(bodies, run)
    write(path, keys["north"], bodies)
    with pytest.raises(CorruptMessageError):
        Ledger.open(path, key=keys["north"])
