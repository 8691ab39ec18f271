"""The attacks by name, for commands and experiments. A new attack is one module and one line here.

>>> sorted(ATTACKS)[:3]
['cascade', 'closed_form', 'dlg']
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, runtime_checkable

from attacks.cascade import Cascade
from attacks.closed_form import ClosedForm
from attacks.informed import InformedExact, InformedSearch
from attacks.inversion import Inversion
from attacks.priors import Prior
from attacks.reconstruction import Reconstruction
from attacks.spear import Spear
from attacks.tableak import TabLeak
from attacks.views import Observation
from privacy.errors import InvalidInputError

__all__ = ["ATTACKS", "Attack", "make_attack", "reconstruct"]


@runtime_checkable
class Attack(Protocol):
    """What every attack that reconstructs patients offers."""

    @property
    def name(self) -> str:
        """What it is called, in commands and records."""
        ...

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Return records, the attack's confidence in each, and which are certified."""
        ...


ATTACKS: Mapping[str, Callable[[], Attack]] = {
    "closed_form": ClosedForm,
    "dlg": partial(Inversion, name="dlg"),
    "idlg": partial(Inversion, name="idlg"),
    "ig": partial(Inversion, name="ig"),
    "informed_exact": InformedExact,
    "informed_search": InformedSearch,
    "spear": Spear,
    "tableak": TabLeak,
    "cascade": Cascade,
}


def make_attack(name: str) -> Attack:
    """Return an attack with its default settings.

    Raises:
      InvalidInputError: An unknown name.
    """
    if name not in ATTACKS:
        raise InvalidInputError(f"Unknown attack {name!r}; choose one of {', '.join(ATTACKS)}.")
    return ATTACKS[name]()


def reconstruct(observation: Observation, prior: Prior) -> Reconstruction:
    """Attack with the cascade, the strongest of the general attacks.

    Raises:
      RefusedError: The adversary sees no gradient.
    """
    return Cascade().reconstruct(observation, prior)
