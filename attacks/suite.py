"""The attacks by name, for commands and experiments. A new attack is one module and one line here.

>>> sorted(ATTACKS)[:3]
['cascade', 'closed_form', 'dlg']
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from attacks.active import Imprint
from attacks.cascade import Cascade
from attacks.closed_form import ClosedForm
from attacks.disaggregation import Disaggregation
from attacks.fedavg import FedAvgInversion
from attacks.fishing import Fishing
from attacks.informed import InformedExact, InformedSearch
from attacks.inversion import Inversion
from attacks.priors import Prior
from attacks.reconstruction import Reconstruction
from attacks.row_space import RowSpace
from attacks.spear import Spear
from attacks.sratta import Sratta
from attacks.stale import StaleInversion
from attacks.tableak import TabLeak
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


ATTACKS: Mapping[str, Callable[[Effort], Attack]] = {
    "closed_form": lambda _: ClosedForm(),
    "spear": lambda _: Spear(),
    "tableak": lambda e: TabLeak(e.restarts, e.iterations, seed=e.seed),
    "cascade": lambda e: Cascade(TabLeak(e.restarts, e.iterations, seed=e.seed)),
    "dlg": lambda e: Inversion("dlg", e.restarts, e.iterations, seed=e.seed),
    "idlg": lambda e: Inversion("idlg", e.restarts, e.iterations, seed=e.seed),
    "ig": lambda e: Inversion("ig", e.restarts, e.iterations, seed=e.seed),
    "fedavg": lambda e: FedAvgInversion(e.restarts, e.iterations, seed=e.seed),
    "imprint": lambda _: Imprint(),
    "fishing": lambda _: Fishing(),
    "row_space": lambda _: RowSpace(),
    "sratta": lambda _: Sratta(),
    "disaggregation": lambda _: Disaggregation(),
    "stale": lambda e: StaleInversion(e.restarts, e.iterations, seed=e.seed),
    "informed_exact": lambda _: InformedExact(),
    "informed_search": lambda e: InformedSearch(e.restarts, e.iterations, seed=e.seed),
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
    return Cascade().reconstruct(observation, prior)
