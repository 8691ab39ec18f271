"""A pytest plugin: one budget of false alarms for a whole run.

Statistical tests fail by chance now and then; a hundred of them at 1 % each fail every day. With

    pytest_plugins = ["privacy.testing.plugin"]

in the root's ``conftest.py`` each test asks the fixture ``false_alarms`` for its share, and all
shares of a run together never pass the budget (``--false-alarms``, one in a million).

    def test_noise(false_alarms):
        assert kstest(draws, "norm").pvalue > false_alarms.share()

Under pytest-xdist each of n workers holds an n-th of the budget, whatever tests it is handed; the
summary adds up what the workers spent.
"""

from dataclasses import dataclass
from typing import Any

import pytest

__all__ = ["FalseAlarms"]


@dataclass
class FalseAlarms:
    """What is left of a run's budget of false alarms.

    Attributes:
      total: The chance that a run of correct code fails anywhere.
      asked: How many shares were given out.
    """

    total: float
    asked: int = 0

    def share(self) -> float:
        """Return the next significance level: total / (k (k + 1)) for the k-th."""
        self.asked += 1
        return self.total / (self.asked * (self.asked + 1))

    @property
    def spent(self) -> float:
        """The sum of all shares given out."""
        return self.total * (1 - 1 / (self.asked + 1))


_KEY = pytest.StashKey[FalseAlarms]()
_WORKERS = pytest.StashKey[list[tuple[int, float]]]()  # asked and spent, one worker each


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--false-alarms``."""
    parser.addoption(
        "--false-alarms",
        type=float,
        default=1e-6,
        help="chance that a whole run of correct code fails in a statistical test",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Open the budget: a worker's is its part of the run's."""
    total = config.getoption("--false-alarms")
    if not 0 < total < 1:
        raise pytest.UsageError(f"Expected --false-alarms={total} in (0, 1).")
    worker: dict[str, Any] = getattr(config, "workerinput", {"workercount": 1})
    config.stash[_KEY] = FalseAlarms(total / worker["workercount"])
    config.stash[_WORKERS] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker, send what was spent."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        budget = session.config.stash[_KEY]
        output["false_alarms"] = [budget.asked, budget.spent]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take note of what a worker spent; one that crashed is counted as having spent its part."""
    del error
    config: pytest.Config = node.config
    part = config.getoption("--false-alarms") / node.workerinput["workercount"]
    tests, spent = getattr(node, "workeroutput", {}).get("false_alarms", (1, part))
    config.stash[_WORKERS].append((tests, spent))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was spent."""
    alarms = config.stash[_KEY]
    tallies = [*config.stash[_WORKERS], (alarms.asked, alarms.spent)]
    tests, spent = sum(a for a, _ in tallies), sum(s for _, s in tallies)
    if tests:
        total = config.getoption("--false-alarms")
        terminalreporter.write_line(
            f"false alarms: {tests} statistical tests, chance of one {spent:.2g} of {total:.2g}"
        )


@pytest.fixture
def false_alarms(request: pytest.FixtureRequest) -> FalseAlarms:
    """The run's budget of false alarms."""
    return request.config.stash[_KEY]
