"""``federation.toml``: what a coordinator proposes, before anybody has made a key.

::

    run = "stroke-2026"
    schema = "schema.toml"
    epsilon = 1.0                    # of the whole run, for each patient
    # optional: model = "mlp" (or "moments", opened once, or "mine.py:make", a file beside this
    # one), scheme = "threshold" or "bfv", rounds = 30, colluders = 1, delta = 1e-5,
    # learning_rate = 4.0, clip_norm = 1.0, average_last = 10

    [hospitals]                      # patients that each makes public: at most so many take part
    north = 300
    east = 120

    [rule]                           # what hospitals send, and what follows; without it: fedsgd
    kind = "fedprox"                 # of aggregation.rules.RULES, with its fields beside it
    proximal = 0.1

    [arrival]                        # hospitals at their own pace; without it: rounds of all
    together = 2                     # uploads of so many hospitals are opened together
    pace = {north = 1.0, east = 2.5} # how long an update takes at each, in one unit of time
    corrected = true                 # optional: who is in more sums weighs less in each

    [network]                        # where sites on several machines meet (extra ``deploy``)
    server = "fl.example.org"        # the server's machine, as the sites reach it
    port = 8002
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from aggregation.data._toml import STRICT, read_toml
from aggregation.data.patients import Patients, Schema
from aggregation.models import Inputs, named_model
from aggregation.plan import Plan
from aggregation.rules import Rule
from aggregation.sites.enrolment import APART
from aggregation.sites.flare_network import FlareNetwork, require_carriable
from aggregation.timing.schedule import Schedule
from experiments.deployment.declared_paces import (
    DeclaredPaces,
    corrected_rule,
    least_noise,
    paced_schedule,
)
from experiments.studies.design import (
    DELTA,
    WIDTH,
    Design,
    Regime,
    make_plan,
    training_of,
)
from privacy._validate import natural, positive
from privacy.errors import InvalidInputError
from privacy.names import distinct_names, plain_name

__all__ = ["FederationDraft", "FederationFile", "Meeting", "drafted"]

_MOST_PATIENTS = 100_000_000


@dataclass(frozen=True)
class Meeting:
    """Where the sites of a run meet.

    Attributes:
      server: Name or IPv4 address of the server's machine, as the sites reach it.
      port: TCP port there.

    Raises:
      InvalidInputError: It is no address.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    server: str
    port: int = 8002

    def __post_init__(self) -> None:
        FlareNetwork(self.server, self.port, "0" * 64)


@dataclass(frozen=True)
class FederationDraft:
    """What a ``federation.toml`` proposes.

    Attributes:
      plan: Without keys.
      schema: Path of the schema.
      schedule: Which uploads are opened together; None: rounds of all hospitals.
      meeting: Where the sites meet; None: somebody carries between their sockets.
      module: File that the plan's model is of, for the sites to read; None: they have it.
    """

    plan: Plan
    schema: Path
    schedule: Schedule | None
    meeting: Meeting | None
    module: Path | None = None


@dataclass(frozen=True)
class FederationFile:
    """A whole ``federation.toml``; the module says what each key means."""

    __pydantic_config__: ClassVar[Any] = STRICT

    run: str
    schema: str
    epsilon: float
    hospitals: dict[str, int] = field(default_factory=dict)
    model: str = "logistic"
    scheme: str = "shares"
    rounds: int | None = None
    colluders: int = 1
    delta: float = DELTA
    learning_rate: float | None = None
    clip_norm: float | None = None
    average_last: int | None = None
    rule: dict[str, Any] | None = None
    arrival: DeclaredPaces | None = None
    network: Meeting | None = None

    def __post_init__(self) -> None:
        plain_name(run=self.run)
        distinct_names(hospitals=self.hospitals)
        if len(self.hospitals) < 2:
            raise InvalidInputError("hospitals: a federation has two or more")
        for patients in self.hospitals.values():
            natural(patients=patients, least=1)
            if patients > _MOST_PATIENTS:
                raise InvalidInputError(f"hospitals: more than {_MOST_PATIENTS} patients")
        if self.network is not None:
            for hospital in self.hospitals:
                require_carriable(hospital)
        positive(epsilon=self.epsilon)
        if self.scheme not in APART:
            raise InvalidInputError(f"scheme: choose one of {', '.join(APART)}")
        if self.arrival is not None and set(self.arrival.pace) != set(self.hospitals):
            raise InvalidInputError("arrival: expected a pace of each hospital, and of no other")
        if self.rule is not None and self.arrival is not None and self.arrival.corrected:
            raise InvalidInputError(
                "arrival: corrected is a rule of its own; leave out [rule], or corrected"
            )
        if self.rounds is not None:
            natural(rounds=self.rounds, least=1)


def drafted(path: Path) -> FederationDraft:
    """Return what a ``federation.toml`` proposes.

    Raises:
      InvalidInputError: The file can't be read, holds an unknown key, or breaks a rule.
      RefusedError: As ``Plan``.
    """
    settings = read_toml(path, FederationFile)
    schema = Schema.from_toml(path.parent / settings.schema)
    file, colon, factory = settings.model.rpartition(":")
    module = path.parent / file if colon else None
    setting = training_of(Regime.FULL, settings.model)
    if settings.rounds is not None:
        last = min(setting.average_last, settings.rounds)
        setting = replace(setting, rounds=settings.rounds, average_last=last)
    overrides = {"learning_rate": settings.learning_rate, "clip_norm": settings.clip_norm,
                 "average_last": settings.average_last}  # fmt: skip
    given: dict[str, Any] = {key: value for key, value in overrides.items() if value is not None}
    plan = make_plan(
        run=settings.run,
        design=Design.SEALED,
        epsilon=settings.epsilon,
        model=named_model(
            f"{module}:{factory}" if module else settings.model, Inputs.of(schema), width=WIDTH
        ),
        setting=replace(setting, **given),
        patients={name: _so_many(count, len(schema)) for name, count in settings.hospitals.items()},
        colluders=settings.colluders,
        scheme=settings.scheme,
        delta=settings.delta,
    )
    if settings.rule is not None:
        plan = replace(plan, rule=Rule.from_spec(settings.rule))
    schedule, arrival = None, settings.arrival
    if arrival is not None:
        schedule = paced_schedule(arrival, sums=plan.rounds)
        plan = replace(plan, smallest_sum=arrival.together)
        if arrival.corrected:
            plan = replace(plan, rule=corrected_rule(schedule))
    if settings.rule is not None or arrival is not None:
        plan = least_noise(plan, schedule, epsilon=settings.epsilon)
    return FederationDraft(plan, path.parent / settings.schema, schedule, settings.network, module)


def _so_many(count: int, features: int) -> Patients:
    """Stand-ins: a plan knows a hospital's declared number of patients, and nothing else of it."""
    row = np.broadcast_to(np.zeros(features), (count, features))
    return Patients(row, np.zeros(count, dtype=np.int64))
