"""A run in miniature: hospitals with keys, a policy, and sums of their updates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.roles.opening import LocalOpening
from aggregation.sealing import (
    Contribution,
    KeyScheme,
    Opener,
    OpeningLog,
    Policy,
    Roster,
    Scheme,
)
from aggregation.sealing.holders import Holder, QuorumScheme
from privacy.ledger.log.heads import Head
from privacy.ledger.log.keys import SigningKey

RUN = "heart"


@lru_cache(maxsize=256)
def key_of(hospital: str) -> SigningKey:
    return SigningKey.generate()


def head_of(hospital: str, size: int, root: str = "cd" * 32, ledger: str = "ab" * 32) -> Head:
    """A hospital's signed head of a ledger."""
    return Head.sign(key_of(hospital), hospital, ledger, size, root)


@dataclass
class Parties:
    """The hospitals of one run, all under one scheme."""

    scheme: Scheme
    names: tuple[str, ...] = ("cleveland", "budapest", "zurich", "long beach")
    run: str = RUN
    _versions: Iterator[int] = field(default_factory=count)
    _sealers: dict[str, Any] = field(default_factory=dict)

    def policy(self, **changes: Any) -> Policy:
        roster = Roster(self.run, {n: key_of(n).public for n in self.names})
        rules: dict[str, Any] = {"min_honest": 1, "c_assumed": 0, "log": OpeningLog(), **changes}
        return Policy(roster, **rules)

    def seal(self, hospital: str, values: Sequence[int] | NDArray[np.int64]) -> bytes:
        if hospital not in self._sealers:
            self._sealers[hospital] = self.scheme.sealer(hospital)
        sealed: bytes = self._sealers[hospital].seal(np.asarray(values, dtype=np.int64))
        return sealed

    def contribute(
        self, hospital: str, values: Sequence[int] | NDArray[np.int64], **changes: Any
    ) -> Contribution:
        sealed = changes.pop("sealed", None) or self.seal(hospital, values)
        signed: dict[str, Any] = {
            "run": self.run,
            "hospital": hospital,
            "base_version": next(self._versions),
            "parameters": self.scheme.digest,
            **changes,
        }
        return Contribution.sign(key_of(hospital), sealed, **signed)

    def opener(self, **changes: Any) -> LocalOpening:
        """Whoever opens, with a fresh log."""
        return LocalOpening(self.scheme, self.policy(**changes))

    def total(self, contributions: Sequence[Contribution]) -> bytes:
        adder = self.scheme.adder()
        for contribution in contributions:
            adder.add(contribution.sealed)
        return adder.total()


def role_that_opens(scheme: Scheme, policy: Policy) -> Opener | Holder:
    """The party that has the key, or one of the holders."""
    if isinstance(scheme, QuorumScheme):
        return next(iter(scheme.holders(policy).values()))
    return opener_of(scheme, policy)


def opener_of(scheme: Scheme, policy: Policy) -> Opener:
    """The party that has the key."""
    assert isinstance(scheme, KeyScheme)
    return scheme.opener(policy)


def wrapped(vectors: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """The sum of the rows by Python's own integers, centred modulo 2^bits."""
    half, full = 1 << (bits - 1), 1 << bits
    sums = [(sum(int(v) for v in column) + half) % full - half for column in vectors.T]
    return np.array(sums, dtype=np.int64)


def contributions(parties: Parties, names: tuple[str, ...] | None = None) -> list[Contribution]:
    return [parties.contribute(n, [1, 2, 3]) for n in (names or parties.names)]


def opener(parties: Parties, **rules: Any) -> Opener:
    policy = parties.policy(**{"min_honest": 3, "c_assumed": 1, **rules})
    return opener_of(parties.scheme, policy)
