"""Sums that nobody can open alone: seal at a hospital, add at the server, open elsewhere.

    scheme = make_scheme("bfv", dim=19, contributors=4, bound=10**6)
    sealed = scheme.sealer("cleveland").seal(update)                  # int64[dim] -> bytes
    contribution = Contribution.sign(key, sealed, run=..., hospital="cleveland", base_version=0,
                                     parameters=scheme.digest)
    adder = scheme.adder();  adder.add(contribution.sealed);  total = adder.total()
    opener = scheme.opener(Policy(Roster(run, public_keys), min_honest=3, c_assumed=1))
    opener.open(total, contributions)                                 # -> int64[dim]

Under ``shares``, ``threshold`` and ``pairwise`` nobody has the key: ``scheme.holders`` commit and
answer, each by itself (``aggregation.roles.opening`` carries what they say).

A scheme is one module with one ``Scheme`` class and one line in ``SCHEMES``. All of them open to
the same integers; they differ in who must be trusted (``Scheme.trust``, and THREATS.md beside this
file).
"""

from importlib import import_module
from typing import Any

from aggregation.registry import Registry
from aggregation.sealing import material
from aggregation.sealing.contribution import Contribution
from aggregation.sealing.envelope import Kind
from aggregation.sealing.holders import Holder, QuorumScheme
from aggregation.sealing.openings import Opening, OpeningLog
from aggregation.sealing.parameters import Parameters, largest_sum, wrap_probability
from aggregation.sealing.policy import Policy
from aggregation.sealing.roles import Adder, KeyScheme, Opener, Scheme, Sealer
from aggregation.sealing.roster import Enrolment, Roster
from privacy.errors import InvalidInputError

__all__ = [
    "SCHEMES",
    "Adder",
    "Contribution",
    "Enrolment",
    "KeyScheme",
    "Opener",
    "Opening",
    "OpeningLog",
    "Parameters",
    "Policy",
    "Roster",
    "Scheme",
    "Sealer",
    "largest_sum",
    "load_adder",
    "load_holder",
    "load_opener",
    "load_sealer",
    "make_scheme",
    "scheme_class",
    "wrap_probability",
]

# Imported when asked for: tenseal takes a while to load and `plain` needs none of it.
SCHEMES: Registry[str] = Registry(
    "scheme",
    {
        "plain": "aggregation.sealing.plain:Plain",
        "bfv": "aggregation.sealing.bfv:Bfv",
        "shares": "aggregation.sealing.shares:Shares",
        "threshold": "aggregation.sealing.threshold:Threshold",
        "pairwise": "aggregation.sealing.pairwise:Pairwise",
        "ckks": "aggregation.sealing.ckks:Ckks",
    },
)


def make_scheme(name: str, *, dim: int, contributors: int, bound: int, **options: Any) -> Scheme:
    """Choose parameters and make the keys of one run.

    Args:
      name: One of ``SCHEMES``.
      dim: Coordinates of a vector.
      contributors: Most contributions that one opened sum may hold.
      bound: Largest absolute coordinate of an opened sum, public (``largest_sum``).
      options: The scheme's own.

    Raises:
      InvalidInputError: An unknown scheme, or no parameters hold such a sum.
    """
    scheme: Scheme = scheme_class(name).make(
        dim=dim, contributors=contributors, bound=bound, **options
    )
    return scheme


def load_sealer(message: bytes, hospital: str) -> Sealer:
    """Read what ``Sealer.to_bytes`` wrote."""
    scheme = scheme_class(material.scheme_of(message))
    sealer: Sealer = scheme.load_sealer(
        *material.split(message, Kind.SEALER, scheme.label), hospital
    )
    return sealer


def load_adder(message: bytes) -> Adder:
    """Read what ``Adder.to_bytes`` wrote."""
    scheme = scheme_class(material.scheme_of(message))
    adder: Adder = scheme.load_adder(*material.split(message, Kind.ADDER, scheme.label))
    return adder


def load_opener(message: bytes, policy: Policy) -> Opener:
    """Read what ``Opener.to_bytes`` wrote; an adder's or a sealer's bytes are refused."""
    scheme = scheme_class(material.scheme_of(message))
    parts = material.split(message, Kind.OPENER, scheme.label)
    if not issubclass(scheme, KeyScheme):
        raise InvalidInputError("This is one of several holders' material: use load_holder.")
    opener: Opener = scheme.load_opener(*parts, policy)
    return opener


def load_holder(message: bytes, policy: Policy) -> Holder:
    """Read what ``Holder.to_bytes`` wrote; an adder's or a sealer's bytes are refused."""
    scheme = scheme_class(material.scheme_of(message))
    parts = material.split(message, Kind.OPENER, scheme.label)
    if not issubclass(scheme, QuorumScheme):
        raise InvalidInputError("This is the material of the one who has the key: use load_opener.")
    holder: Holder = scheme.load_holder(*parts, policy)
    return holder


def scheme_class(name: str) -> Any:
    """Return the class of a scheme, by its name."""
    module, _, attribute = SCHEMES.find(name).partition(":")
    return getattr(import_module(module), attribute)
