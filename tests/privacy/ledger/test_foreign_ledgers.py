"""Ledgers that are kept for a program of somebody else's: what they say is a claim."""

from pathlib import Path

import pytest

from privacy.errors import InvalidInputError, RefusedError
from privacy.ledger import Budget, Ledger, Release, SigningKey, verify
from privacy.ledger.accountant import RenyiOnly
from privacy.ledger.requests import objection
from privacy.ledger.samplers import Poisson
from privacy.report import write_report
from tests.privacy.ledger.helpers import forge, gaussian
from tests.privacy.ledger.test_verify import BOTH

KEY = SigningKey.generate()


def test_noise_of_torch_is_refused_in_the_projects_own_ledgers(tmp_path: Path) -> None:
    event = {"type": "PoissonSampledDpEvent", "sampling_probability": 0.25, "event": gaussian(9.0)}
    drawn = Poisson(0.25)
    release = Release(
        "update",
        event,
        declared_sampler=drawn,
        actual_sampler=drawn,
        noise_source="torch generator",
    )
    own = Ledger.in_memory(budget=Budget(epsilon=9.0))
    with pytest.raises(RefusedError, match="foreign"):
        own.spend(release)
    assert not objection(release, relation="ADD_OR_REMOVE_ONE", foreign=True)


def test_who_forges_an_own_ledger_with_it_fails(tmp_path: Path) -> None:
    ledger = Ledger.create(
        tmp_path / "north.jsonl", hospital="north", key=KEY, budget=Budget(epsilon=9.0)
    )
    ledger.spend(Release("update", gaussian(9.0)))
    path = tmp_path / "north.jsonl"
    assert verify([path], {"north": KEY.public}, accountants=BOTH).status == 0
    forge(path, KEY, 1, noise_source="torch generator")
    verdict = verify([path], {"north": KEY.public}, accountants=BOTH)
    assert not verdict.ok and any("foreign" in finding.reason for finding in verdict.findings)


@pytest.mark.parametrize("trusted", [True, False])
def test_no_page_says_that_it_was_verified(tmp_path: Path, trusted: bool) -> None:
    ledger = Ledger.create(
        tmp_path / "north.jsonl",
        hospital="north",
        key=KEY,
        budget=Budget(epsilon=9.0),
        foreign="Opacus",
        accountant=RenyiOnly(),
    )
    ledger.spend(Release("update", gaussian(9.0), noise_source="torch generator"))
    trust = {"north": KEY.public} if trusted else None
    _, pages = write_report(
        tmp_path / "north.jsonl", trust=trust, out=tmp_path, assessor=RenyiOnly()
    )
    english, chinese = (page.read_text(encoding="utf-8") for page in pages)
    assert ">Verified<" not in english and ">验证通过<" not in chinese
    if trusted:
        assert ">Claimed: the ledger is intact" in english and "仅为声称" in chinese
    assert "If the training did what its entries claim:" in english
    assert "若训练确如其条目所述" in chinese
    assert "comes from the operating system" not in english


def test_a_ledger_is_foreign_by_name_or_not_at_all() -> None:
    with pytest.raises(InvalidInputError, match="foreign"):
        Ledger.in_memory(budget=Budget(epsilon=1.0), foreign="")
    assert Ledger.in_memory(budget=Budget(epsilon=1.0)).foreign == ""
