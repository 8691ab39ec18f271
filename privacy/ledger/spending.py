"""Files that tell what was spent elsewhere, as ``privacy.ledger.imported`` takes it.

Phases as TOML, one table each; bare guarantees beside them::

    relation = "ADD_OR_REMOVE_ONE"   # this is the default

    [[phase]]
    noise_multiplier = 1.1           # deviation of the noise over the clip norm
    sampling_prob = 0.01             # of one patient in one step; 1 is the default
    steps = 1000
    sampler = "poisson"              # or "shuffled": 1 / sampling_prob batches make a pass, which
                                     # holds under REPLACE_SPECIAL or REPLACE_ONE alone

    [[claim]]
    epsilon = 0.5
    delta = 1e-6

Events as JSON are those of ``dp_accounting``, as ledgers spell them: one event, or a list of
``{"event": ..., "count": ...}``. A checkpoint of Opacus (``.pt``) holds its accountant's history.
An entry of the OpenDP deployments registry (``.yaml``) is a bare guarantee.

No file says that patients were drawn as it claims. Whoever enters it answers for that.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privacy._foreign import parse_json, quoted, read_file, toml_table
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger.accountant import event_json
from privacy.ledger.forms import Form, form, listed, number, one_of, ruled, whole
from privacy.ledger.imported import Guarantee, Imported
from privacy.ledger.log.canonical import digest
from privacy.ledger.registered import registered
from privacy.ledger.requests import MOST_COUNT, RELATIONS, Planned

__all__ = ["Phase", "Spending", "read_spending"]

_LARGEST = 2**20  # bytes of a text
_LARGEST_CHECKPOINT = 2**28
_MOST_PHASES = 10_000


@dataclass(frozen=True)
class Phase(Form):
    """Steps of one kind.

    Attributes:
      noise_multiplier: Standard deviation of the noise over the clip norm; 0: none.
      steps: How many.
      sampling_prob: Of a patient in a step.
      sampler: ``poisson``: each patient by itself; ``shuffled``: passes over all in a new order.
    """

    noise_multiplier: float = ruled(number())
    steps: int = ruled(whole(1, MOST_COUNT))
    sampling_prob: float = ruled(number(0.0, 1.0, above=True), 1.0)
    sampler: str = ruled(one_of("poisson", "shuffled"), "poisson")

    @property
    def planned(self) -> Planned:
        """The phase as an event and how often; passes are counted whole."""
        event: dict[str, Any] = {"type": "NonPrivateDpEvent"}
        if self.noise_multiplier > 0:
            event = {"type": "GaussianDpEvent", "noise_multiplier": self.noise_multiplier}
        if self.sampling_prob == 1 or self.noise_multiplier == 0:
            return Planned("update", event, self.steps)
        if self.sampler == "shuffled":
            batches = math.floor(1 / self.sampling_prob * (1 + 1e-9))
            event = {"type": "ShuffledBatchesDpEvent", "batches": batches, "event": event}
            return Planned("pass", event, math.ceil(self.steps / batches))
        event = {
            "type": "PoissonSampledDpEvent",
            "sampling_probability": self.sampling_prob,
            "event": event,
        }
        return Planned("update", event, self.steps)


@dataclass(frozen=True)
class _Told(Form):
    """A file of phases."""

    phase: tuple[Phase, ...] = ruled(listed(form(Phase), least=0, most=_MOST_PHASES), ())
    claim: tuple[Guarantee, ...] = ruled(listed(form(Guarantee), least=0, most=_MOST_PHASES), ())
    relation: str = ruled(one_of(*RELATIONS), "ADD_OR_REMOVE_ONE")


@dataclass(frozen=True)
class Spending:
    """What a file tells.

    Attributes:
      schedule: Events, and how often.
      claims: Bare guarantees.
      relation: Between which tables all of it holds.
      evidence: SHA-256 of the file, in hex.
    """

    schedule: tuple[Planned, ...]
    claims: tuple[Guarantee, ...]
    relation: str
    evidence: str

    def imported(
        self, source: str, operator: str, *, same_patients: bool, corrects: int | None = None
    ) -> Imported:
        """Return it as an operator enters it for each patient (``Ledger.enter``)."""
        return Imported(
            source,
            operator,
            self.schedule,
            self.claims,
            relation=self.relation,
            same_patients=same_patients,
            evidence=self.evidence,
            corrects=corrects,
        )


def read_spending(path: Path) -> Spending:
    """Read a file of one of the kinds above, told apart by its suffix.

    Raises:
      InvalidInputError: Of another kind, or a field is missing, unknown, or breaks its rule.
      CorruptMessageError: Missing, too large, or not of its format.
    """
    most = _LARGEST_CHECKPOINT if path.suffix in (".pt", ".pth") else _LARGEST
    content = read_file(path, most=most, what="The file of what was spent")
    evidence = digest(content)
    try:
        match path.suffix:
            case ".toml":
                statement = _told(content)
                schedule = tuple(phase.planned for phase in statement.phase)
                spending = Spending(schedule, statement.claim, statement.relation, evidence)
            case ".json":
                spending = Spending(_events(content), (), "ADD_OR_REMOVE_ONE", evidence)
            case ".pt" | ".pth":
                from privacy.ledger.opacus_history import history

                phases = tuple(Phase(noise, steps, rate) for noise, rate, steps in history(content))
                schedule = tuple(phase.planned for phase in phases)
                spending = Spending(schedule, (), "ADD_OR_REMOVE_ONE", evidence)
            case ".yaml" | ".yml":
                claim, between = registered(content)
                spending = Spending((), (claim,), between, evidence)
            case _:
                raise InvalidInputError(
                    "expected phases (.toml), events (.json), a checkpoint (.pt) or an entry of "
                    "the deployments registry (.yaml)."
                )
        if not spending.schedule and not spending.claims:
            raise InvalidInputError("it tells of nothing that was spent.")
    except (InvalidInputError, CorruptMessageError) as error:
        raise type(error)(f"{quoted(path.name)} can't be taken up: {error}") from error
    return spending


def _told(content: bytes) -> _Told:
    table = toml_table(content, what="it")
    if isinstance(phases := table.get("phase"), list):
        table["phase"] = [Phase.completed(one) for one in phases]
    return _Told.from_json(_Told.completed(table))


def _events(content: bytes) -> tuple[Planned, ...]:
    value = parse_json(content, what="It", most=_LARGEST)
    steps = value if isinstance(value, list) else [{"event": value, "count": 1}]
    planned = []
    for step in steps:
        if not isinstance(step, dict) or set(step) - {"event", "count"} or "event" not in step:
            raise InvalidInputError('expected an event, or a list of {"event": ..., "count": ...}.')
        if not isinstance(step["event"], dict):
            raise InvalidInputError("expected an event as a JSON object with a type.")
        planned.append(Planned("update", event_json(step["event"]), step.get("count", 1)))
    return tuple(planned)
