"""``site.toml``: who a site is, and where its own things lie; every key known, none left open.

::

    name = "north"
    roles = ["hospital", "holder"]    # or ["aggregator"], or ["opener"]
    table = "table.toml"              # its own table, by its own mapping
    schema = "schema.toml"
    epsilon = 1.0                     # of its ledger, where that is made now
    module = "mine.py"                # the plan's model, where that is a file's (docs/own-model.md)

Paths are relative to the folder of the file.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from aggregation.data._toml import STRICT, read_toml
from privacy.errors import InvalidInputError
from privacy.names import plain_name

__all__ = ["Part", "SiteSettings"]


class Part(StrEnum):
    """What a site does in a run."""

    HOSPITAL = "hospital"
    HOLDER = "holder"
    AGGREGATOR = "aggregator"
    OPENER = "opener"


_LONGEST = 86400.0  # seconds

_TOGETHER = (
    {Part.HOSPITAL},
    {Part.HOSPITAL, Part.HOLDER},
    {Part.HOLDER},
    {Part.AGGREGATOR},
    {Part.OPENER},
)


@dataclass(frozen=True)
class SiteSettings:
    """A whole ``site.toml``.

    Attributes:
      name: The site's; a hospital's as in the plan.
      roles: What it does.
      agreed: Folder with what all sites have alike.
      table: A hospital's mapping of its own table.
      schema: The public schema.
      epsilon: Budget of a hospital's ledger, where it is made now; a ledger that stands keeps its
        own.
      ledgers: Folder with ``ledgers/`` and ``keys/``, where they outlive this run; empty: the
        site's own folder.
      module: File that the plan's torch model is of, as this site has read, approved and installed
        it; empty: the model is not torch's, or comes with the project.
      module_seconds: That the model's process may take for one answer.
      module_unconfined: Whether the file may run where files and network can't be kept from it.
      socket: File of the Unix socket that the daemon answers on.
      simulated: For tests and measurements alone: ledgers in memory, noise from ``seed``.
      seed: Of a simulated site's noise.

    Raises:
      InvalidInputError: Roles that don't go together, or a key that does not go with them.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    name: str
    roles: tuple[Part, ...]
    agreed: str = "agreed"
    table: str = ""
    schema: str = ""
    epsilon: float | None = None
    ledgers: str = ""
    module: str = ""
    module_seconds: float = 300.0
    module_unconfined: bool = False
    socket: str = "socket"
    simulated: bool = False
    seed: int | None = None

    def __post_init__(self) -> None:
        plain_name(name=self.name)
        if set(self.roles) not in _TOGETHER or len(set(self.roles)) != len(self.roles):
            raise InvalidInputError(
                "roles: expected hospital, hospital and holder, holder, aggregator, or opener; "
                "who adds must not open, and who opens sees no table"
            )
        given = {value not in ("", None) for value in (self.table, self.schema, self.epsilon)}
        if given != {self.is_hospital}:
            raise InvalidInputError("table, schema, epsilon: all three for a hospital, else none")
        if self.epsilon is not None and not self.epsilon > 0:
            raise InvalidInputError("epsilon: expected a budget above 0")
        if not 0 < self.module_seconds <= _LONGEST:
            raise InvalidInputError(f"module_seconds: expected a time up to {_LONGEST:g} s")
        if self.seed is not None and not self.simulated:
            raise InvalidInputError(
                "seed: noise that protects patients comes from the operating system; a seed goes "
                "with simulated = true, in tests and measurements alone"
            )
        if self.simulated and self.is_hospital and self.seed is None:
            raise InvalidInputError("seed: a simulated hospital needs one")
        if self.simulated and self.ledgers:
            raise InvalidInputError("ledgers: a simulated site keeps its ledger in memory")

    @property
    def is_hospital(self) -> bool:
        """Whether it has patients."""
        return Part.HOSPITAL in self.roles

    @property
    def follows_models(self) -> bool:
        """Whether it computes models; who only opens sums does not."""
        return self.is_hospital or Part.AGGREGATOR in self.roles

    @classmethod
    def load(cls, folder: Path) -> "SiteSettings":
        """Read the ``site.toml`` of a folder.

        Raises:
          InvalidInputError: It can't be read, holds an unknown key, or breaks a rule.
        """
        return read_toml(folder / "site.toml", cls)
