"""Who counter-signs whose head: an enrolled hospital another's, if it extends the last one seen."""

from dataclasses import replace

import pytest

from privacy.errors import InvalidInputError, RefusedError
from privacy.ledger import Budget, Ledger, SigningKey
from privacy.ledger.accountant import RenyiOnly
from privacy.ledger.log.heads import Head
from privacy.ledger.witness import (
    checkpoint,
    collect,
    countersignature_holds,
    prove_extension,
    witness,
)

NAMES = ("north", "south")
KEYS = {name: SigningKey.generate() for name in (*NAMES, "west")}
ENROLLED = {name: KEYS[name].public for name in NAMES}


def ledgers() -> tuple[Ledger, ...]:
    return tuple(
        Ledger.in_memory(
            hospital=name, budget=Budget(1.0), key=KEYS[name], enrolled=ENROLLED,
            accountant=RenyiOnly(),
        )
        for name in NAMES
    )  # fmt: skip


def test_a_head_is_counter_signed_for_another_enrolled_hospital_alone() -> None:
    north, south = ledgers()
    head = checkpoint(north)
    own = checkpoint(south)
    strange = Head.sign(KEYS["west"], "west", head.ledger, head.size, head.root)
    forged = Head.sign(KEYS["west"], "north", head.ledger, head.size, head.root)
    for wrong in (own, strange, forged, replace(head, size=head.size + 1)):
        with pytest.raises(RefusedError, match="not signed by an enrolled"):
            witness(south, wrong)
    assert countersignature_holds(KEYS["south"].public, witness(south, head), head)
    assert south.witnessed == {"north": head}


def test_a_head_that_does_not_extend_the_last_one_is_not_counter_signed() -> None:
    (north, south), (fork, _) = ledgers(), ledgers()
    first = checkpoint(north)
    witness(south, first)
    second = checkpoint(north)
    proof = prove_extension(north, first.size, second.size)
    key = KEYS["north"]
    renamed = Head.sign(key, "north", "ab" * 32, second.size, second.root)
    for wrong, steps in (
        (second, ()),
        (second, (*proof[::-1], "00" * 32)),
        (renamed, proof),  # the same entries as another ledger's
        (checkpoint(fork), ()),
        (Head.sign(key, "north", first.ledger, first.size, "ab" * 32), ()),
    ):
        with pytest.raises(RefusedError, match="Its past was cut off or rewritten"):
            witness(south, wrong, steps)
    assert witness(south, second, proof) and south.witnessed == {"north": second}


def test_a_counter_signature_is_collected_from_another_enrolled_hospital_alone() -> None:
    north, south = ledgers()
    head = checkpoint(north)
    right = witness(south, head)
    own, strange = (KEYS[n].sign(b"inpatient ledger counter-signature 1\x00" + head.note)
                    for n in ("north", "west"))  # fmt: skip
    for wrong in ({"north": own}, {"west": strange}, {"south": own}, {"south": right[::-1]}):
        with pytest.raises(InvalidInputError, match="not that of an enrolled hospital"):
            collect(north, head, wrong)
    assert collect(north, head, {"south": right}).kind == "countersigned"
