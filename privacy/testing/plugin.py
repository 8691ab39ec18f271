"""A pytest plugin: one budget of false alarms for a whole run.

Statistical tests fail by chance now and then; a hundred of them at 1 % each fail every day. With

    pytest_plugins = ["privacy.testing.plugin"]

in ``conftest.py`` each test asks the fixture ``false_alarms`` for its share, and all shares of a
run together never pass the budget (``--false-alarms``, one in a million).

    def test_noise(false_alarms):
        assert kstest(draws, "norm").pvalue > false_alarms.share()
"""

from dataclasses import dataclass

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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--false-alarms``."""
    parser.addoption(
        "--false-alarms",
        type=float,
        default=1e-6,
        help="chance that a whole run of correct code fails in a statistical test",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Open the budget."""
    config.stash[_KEY] = FalseAlarms(config.getoption("--false-alarms"))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was spent."""
    budget = config.stash[_KEY]
    if budget.asked:
        terminalreporter.write_line(
            f"false alarms: {budget.asked} statistical tests, chance of one {budget.spent:.2g} "
            f"of {budget.total:.2g}"
        )


@pytest.fixture
def false_alarms(request: pytest.FixtureRequest) -> FalseAlarms:
    """The run's budget of false alarms."""
    return request.config.stash[_KEY]
