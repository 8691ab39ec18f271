"""The attacks by name, for commands and experiments.

A new attack is a class and one ``register``, in a module here or in a file that ``--plugin`` names:

>>> register("guessing", lambda effort: Guessing(), Arena.SINGLE)  # doctest: +SKIP

Then ``inpatient attack`` runs it, every point of a new frontier whose view suits it is attacked by
it too, and ``attacks.trial`` lets it win undefended and lose defended.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from aggregation.registry import Registry
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Reconstruction
from attacks.views import Observation

__all__ = [
    "ATTACKS",
    "Arena",
    "Attack",
    "Effort",
    "Foretelling",
    "Registered",
    "make_attack",
    "reconstruct",
    "register",
]


class Arena(StrEnum):
    """What an attack is made for: there it has to win undefended and to lose defended."""

    SINGLE = "one hospital's batch of a round, one step, in clear"
    LOCAL_STEPS = "one hospital's update of several local steps, in clear"
    STALE = "sums of hospitals that answered different models"
    ALL_ROUNDS = "one hospital's full batches over many rounds, in clear"
    LOCAL_SUMS = "opened sums of several local steps over many rounds"
    CHANGING_MEMBERS = "opened sums of the same gradients, hospitals missing at times"
    LINE_UP = "any sums, the people known of whom one took part"
    ALL_BUT_ONE = "the release, all other patients known"
    IMPRINTED = "an update at a model that the server made to keep records apart"
    FISHED = "updates at models that the server made to single one record out"
    SUPPRESSED = "sums of hospitals all but one of which were given a dead model"


@dataclass(frozen=True)
class Effort:
    """How hard an attack that searches tries: starts, steps of each, their seed, and where."""

    restarts: int
    iterations: int
    seed: int
    device: str = "cpu"


@runtime_checkable
class Attack(Protocol):
    """What every attack that reconstructs patients offers."""

    @property
    def name(self) -> str:
        """What it is called, in commands and records."""
        ...

    @property
    def needs(self) -> type[Observation]:
        """The view that it needs; it is refused any other."""
        ...

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Return records, the attack's confidence in each, and which are certified."""
        ...


@runtime_checkable
class Foretelling(Protocol):
    """An attack that says before it starts what it costs and what it will not try."""

    def foretell(self, observation: Observation) -> str:
        """Return sentences; empty where there is nothing to say."""
        ...


def _plain(module: str, name: str) -> Callable[[Effort], Attack]:
    """An exact attack, imported when it is made: torch is not loaded for a list of names."""
    return lambda _: _class(module, name)()


def _searching(module: str, cls: str, **kind: str) -> Callable[[Effort], Attack]:
    return lambda e: _class(module, cls)(
        e.restarts, e.iterations, seed=e.seed, device=e.device, **kind
    )


def _class(module: str, name: str) -> Any:
    return getattr(import_module(f"attacks.{module}"), name)


@dataclass(frozen=True)
class Registered:
    """An attack of the registry: how it is made, and what it is made for."""

    make: Callable[[Effort], Attack]
    arena: Arena


_TABLEAK = _searching("searching.tableak", "TabLeak")

ATTACKS: Registry[Registered] = Registry(
    "attack",
    {
        "closed_form": Registered(_plain("exact.closed_form", "ClosedForm"), Arena.SINGLE),
        "spear": Registered(_plain("exact.spear", "Spear"), Arena.SINGLE),
        "tableak": Registered(_TABLEAK, Arena.SINGLE),
        "cascade": Registered(
            lambda effort: _class("searching.cascade", "Cascade")(_TABLEAK(effort)),
            Arena.SINGLE,
        ),
        "dlg": Registered(_searching("searching.classical", "Inversion", name="dlg"), Arena.SINGLE),
        "idlg": Registered(
            _searching("searching.classical", "Inversion", name="idlg"), Arena.SINGLE
        ),
        "ig": Registered(_searching("searching.classical", "Inversion", name="ig"), Arena.SINGLE),
        "fedavg": Registered(
            _searching("searching.local_steps", "FedAvgInversion"), Arena.LOCAL_STEPS
        ),
        "imprint": Registered(_plain("malicious.active", "Imprint"), Arena.IMPRINTED),
        "fishing": Registered(_plain("malicious.fishing", "Fishing"), Arena.FISHED),
        "suppression": Registered(_plain("malicious.active", "Suppression"), Arena.SUPPRESSED),
        "row_space": Registered(_plain("exact.row_space", "RowSpace"), Arena.ALL_ROUNDS),
        "sratta": Registered(_plain("exact.sratta", "Sratta"), Arena.LOCAL_SUMS),
        "differencing": Registered(
            _plain("exact.differencing", "Differencing"), Arena.CHANGING_MEMBERS
        ),
        "disaggregation": Registered(
            _plain("exact.disaggregation", "Disaggregation"), Arena.CHANGING_MEMBERS
        ),
        "stale": Registered(_searching("searching.stale", "StaleInversion"), Arena.STALE),
        "likelihood_ratio": Registered(
            lambda effort: _class("informed.likelihood_ratio", "LikelihoodRatio")(seed=effort.seed),
            Arena.LINE_UP,
        ),
        "informed_exact": Registered(
            _plain("informed.known_others", "InformedExact"), Arena.ALL_BUT_ONE
        ),
        "informed_search": Registered(
            _searching("informed.known_others", "InformedSearch"), Arena.ALL_BUT_ONE
        ),
    },
)


def register(name: str, make: Callable[[Effort], Attack], arena: Arena) -> None:
    """Add an attack.

    Args:
      name: What commands and records call it; its class says the same in ``name``.
      make: Makes it anew, with the effort that was asked.
      arena: What it is made for. Frontiers try those of ``SINGLE`` on one-step points and those of
        ``LOCAL_STEPS`` on the others.

    Raises:
      InvalidInputError: The name is another attack's.
    """
    ATTACKS.add(name, Registered(make, arena))


def make_attack(
    name: str,
    *,
    restarts: int = 30,
    iterations: int = 1500,
    seed: int = 0,
    device: str = "cpu",
) -> Attack:
    """Return an attack by its name; the exact ones need no effort and ignore it.

    Args:
      name: One of ``ATTACKS``.
      restarts: Starts of an attack that searches.
      iterations: Steps of each.
      seed: Draws the starts.
      device: That a search computes on; the exact ones and the likelihood ratio know the
        processor alone.

    Raises:
      InvalidInputError: An unknown name, or an effort below 1.
    """
    return ATTACKS.find(name).make(Effort(restarts, iterations, seed, device))


def reconstruct(observation: Observation, prior: Prior) -> Reconstruction:
    """Attack with the cascade, the strongest of the general attacks.

    Raises:
      RefusedError: The adversary sees no gradient.
    """
    reconstruction: Reconstruction = _class("searching.cascade", "Cascade")().reconstruct(
        observation, prior
    )
    return reconstruction
