"""One of each kind that somebody else may add; ``inpatient COMMAND --plugin`` runs this file."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from aggregation.data.patients import Column, Patients, Schema
from aggregation.models import MODELS, Logistic
from aggregation.rules import Call, Contract, ContractUnit, FedSGD
from aggregation.rules.rule import State
from aggregation.sealing import SCHEMES
from aggregation.sealing.plain import Plain
from attacks.exact.closed_form import ClosedForm
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Reconstruction
from attacks.suite import Arena, Effort, register
from attacks.views import Observation
from experiments.cohorts import COHORTS, Cohort


@dataclass(frozen=True)
class Borrowed(ClosedForm):
    """An attack: what the closed form reads, in another order."""

    name: ClassVar[str] = "borrowed"

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        read = super().reconstruct(observation, prior)
        back = slice(None, None, -1)
        return Reconstruction(read.records[back], read.confidence[back], read.certified[back])


def made(effort: Effort) -> Borrowed:
    return Borrowed()


register("borrowed", made, Arena.SINGLE)


@dataclass(frozen=True)
class Halved(FedSGD):
    """A rule: every hospital sends half of its sum."""

    contract = Contract("halved", "made up", ContractUnit.PATIENT, "half of the sum")

    def local(self, state: State, call: Call) -> tuple[NDArray[np.float64], State]:
        sent, state = super().local(state, call)
        return 0.5 * sent, state


@dataclass(frozen=True)
class Renamed(Logistic):
    """A model: logistic regression under another name."""

    kind: ClassVar[str] = "renamed"


class Clear(Plain):
    """A scheme: none, under another name."""

    label: ClassVar[str] = "clear"


SCHEMES.add("clear", f"{__name__}:Clear")


def few(data_dir: Path | None) -> Cohort:
    """A cohort: three hospitals of 120 patients, two features."""
    rng = np.random.default_rng(7)
    schema = Schema((Column("age", 50.0, 10.0, 0.0, 120.0, binary=False), Column("sex")), "ill")
    hospitals = {}
    for name in ("one", "two", "three"):
        rows = np.column_stack([rng.normal(size=120), rng.integers(0, 2, 120)]).astype(np.float64)
        ill = (rows[:, 0] + rng.normal(size=120) > 0).astype(np.int64)
        hospitals[name] = Patients(rows, ill)
    return Cohort("few", hospitals, schema)


COHORTS.add("few", few)
assert "renamed" in MODELS
