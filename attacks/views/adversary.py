"""Who attacks: a position, and the knowledge that it brings beside what it will see."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from privacy.errors import InvalidInputError

__all__ = ["Adversary", "Knowledge", "Name", "Place"]

Name = Literal[
    "eavesdropper",
    "server_plain",
    "server_sealed",
    "colluding",
    "buffered",
    "longitudinal",
    "active",
    "key_holder",
    "informed",
    "public",
    "buyer",
]
Place = tuple[int, str]  # round and hospital


@dataclass(frozen=True)
class Knowledge:
    """What an adversary knows beside its view; each entry is declared, none is assumed.

    Attributes:
      patients: Patients that it knows, by hospital: all of a colluder's own, all but one for the
        informed adversary.
      updates: What colluding hospitals sent, in integer steps, by round and hospital.
      batches: Of the patients that it knows, those who were drawn, by round and hospital: the
        informed adversary's, where rounds are sampled.
      labels: Outcomes of the patients in a round's batch, by round and hospital: the customary
        assumption of the literature, and a strong one.
      open_update: Opens one sealed update (a key holder to whom single ciphertexts leak).
      candidates: People of whom one took part, as attacks that compare likelihoods need.
      hospital: Whose patient the one of the candidates would be; None: the view's only hospital's.
      digits: Decimal places of the probabilities that a buyer is answered; None: all of them.
    """

    patients: Mapping[str, Patients] = field(default_factory=dict)
    updates: Mapping[Place, NDArray[np.int64]] = field(default_factory=dict)
    batches: Mapping[Place, Patients] = field(default_factory=dict)
    labels: Mapping[Place, NDArray[np.int64]] = field(default_factory=dict)
    open_update: Callable[[bytes], NDArray[np.int64]] | None = None
    candidates: Patients | None = None
    hospital: str | None = None
    digits: int | None = None

    @property
    def declared(self) -> tuple[str, ...]:
        """Names of what is known, to be printed beside every result."""
        return tuple(
            name
            for name, fact in (
                ("patients", self.patients),
                ("updates", self.updates),
                ("batches", self.batches),
                ("labels", self.labels),
                ("open_update", self.open_update),
                ("candidates", self.candidates is not None),
                ("hospital", self.hospital),
                ("digits", self.digits is not None),
            )
            if fact
        )


@dataclass(frozen=True)
class Adversary:
    """A position and its knowledge.

    Attributes:
      name: One of the positions in ``attacks.views.observing``.
      knowledge: What it holds beside its view.

    Raises:
      InvalidInputError: The name is unknown, or the position lacks the knowledge that defines it.
    """

    name: Name
    knowledge: Knowledge = field(default_factory=Knowledge)

    def __post_init__(self) -> None:
        if self.name not in get_args(Name):
            raise InvalidInputError(
                f"Unknown adversary {self.name!r}; choose one of {', '.join(get_args(Name))}."
            )
        if self.name == "colluding" and not self.knowledge.updates:
            raise InvalidInputError(
                "A colluding adversary brings what its hospitals sent: give Knowledge.updates by "
                "round and hospital."
            )
        if self.name == "informed" and not (self.knowledge.patients or self.knowledge.batches):
            raise InvalidInputError(
                "An informed adversary knows all patients but one: give Knowledge.patients, or "
                "Knowledge.batches where rounds are sampled."
            )
