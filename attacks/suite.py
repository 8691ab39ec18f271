"""The attacks by name, for commands and experiments. A new attack is one module and one line here.

>>> sorted(ATTACKS)[:3]
['cascade', 'closed_form', 'dlg']
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from attacks.priors import Prior
from attacks.reconstruction import Reconstruction
from attacks.views import Observation
from privacy.errors import InvalidInputError

__all__ = ["ATTACKS", "Attack", "Effort", "make_attack", "reconstruct"]


@dataclass(frozen=True)
class Effort:
    """How hard an attack that searches tries: starts, steps of each, and the seed of the starts."""

    restarts: int
    iterations: int
    seed: int


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


def _plain(module: str, name: str) -> Callable[[Effort], Attack]:
    """An exact attack, imported when it is made: torch is not loaded for a list of names."""
    return lambda _: _class(module, name)()


def _searching(module: str, name: str, *kind: str) -> Callable[[Effort], Attack]:
    return lambda e: _class(module, name)(*kind, e.restarts, e.iterations, seed=e.seed)


def _class(module: str, name: str) -> Any:
    return getattr(import_module(f"attacks.{module}"), name)


ATTACKS: Mapping[str, Callable[[Effort], Attack]] = {
    "closed_form": _plain("closed_form", "ClosedForm"),
    "spear": _plain("spear", "Spear"),
    "tableak": _searching("tableak", "TabLeak"),
    "cascade": lambda e: _class("cascade", "Cascade")(ATTACKS["tableak"](e)),
    "dlg": _searching("inversion", "Inversion", "dlg"),
    "idlg": _searching("inversion", "Inversion", "idlg"),
    "ig": _searching("inversion", "Inversion", "ig"),
    "fedavg": _searching("fedavg", "FedAvgInversion"),
    "imprint": _plain("active", "Imprint"),
    "fishing": _plain("fishing", "Fishing"),
    "row_space": _plain("row_space", "RowSpace"),
    "sratta": _plain("sratta", "Sratta"),
    "disaggregation": _plain("disaggregation", "Disaggregation"),
    "stale": _searching("stale", "StaleInversion"),
    "informed_exact": _plain("informed", "InformedExact"),
    "informed_search": _searching("informed", "InformedSearch"),
}


def make_attack(name: str, *, restarts: int = 30, iterations: int = 1500, seed: int = 0) -> Attack:
    """Return an attack by its name; the exact ones need no effort and ignore it.

    Args:
      name: One of ``ATTACKS``.
      restarts: Starts of an attack that searches.
      iterations: Steps of each.
      seed: Draws the starts.

    Raises:
      InvalidInputError: An unknown name, or an effort below 1.
    """
    if name not in ATTACKS:
        raise InvalidInputError(f"Unknown attack {name!r}; choose one of {', '.join(ATTACKS)}.")
    return ATTACKS[name](Effort(restarts, iterations, seed))


def reconstruct(observation: Observation, prior: Prior) -> Reconstruction:
    """Attack with the cascade, the strongest of the general attacks.

    Raises:
      RefusedError: The adversary sees no gradient.
    """
    found: Reconstruction = _class("cascade", "Cascade")().reconstruct(observation, prior)
    return found
