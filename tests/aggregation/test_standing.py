"""One ledger for the same patients: a second run finds what the first has spent."""

from pathlib import Path
from typing import Any

import pytest

from aggregation.standing import StandingLedgers
from privacy.errors import BudgetExceededError, RefusedError
from privacy.ledger import Budget, Planned, SigningKey

STEP = {"type": "GaussianDpEvent", "noise_multiplier": 40.0}


def test_a_second_run_goes_on_with_the_ledger_and_its_own_budget(tmp_path: Path) -> None:
    home = StandingLedgers(tmp_path)
    key = home.key("north")
    assert home.key("north").public == key.public
    asked: dict[str, Any] = {"key": key, "enrolled": {"north": key.public}, "context": {}}
    first = home.ledger("north", budget=Budget(1.0), **asked)
    first.declare([Planned("update", STEP, 60)], plan="ab" * 32)
    again = home.ledger("north", budget=Budget(50.0), **asked)
    assert again.identity == first.identity
    assert again.state().budget.epsilon == 1.0
    with pytest.raises(BudgetExceededError):
        again.declare([Planned("update", STEP, 200)], plan="cd" * 32)


def test_a_ledger_that_does_not_know_its_witnesses_is_refused_before_the_run(
    tmp_path: Path,
) -> None:
    home = StandingLedgers(tmp_path)
    key = home.key("north")
    keys = {"north": key.public}
    home.ledger("north", key=key, budget=Budget(1.0), enrolled=keys, context={})
    more = keys | {"south": SigningKey.generate().public}
    with pytest.raises(RefusedError, match="does not enrol south"):
        home.ledger("north", key=key, budget=Budget(1.0), enrolled=more, context={})
