r"""What a server tries on whoever opens sums, to read one hospital's update through any encryption.

Each attack is given a way to open (an opener, or a key holder that decrypts whatever it is handed,
as the field's do) and returns what it learned of the victim. Against an opener without a policy all
of them win; ours refuses each, with its reason.

The server follows no protocol: it adds what it likes as often as it likes, attaches any signatures
that it has seen, and makes up hospitals of its own.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from aggregation.sealing import Adder, Contribution
from privacy.errors import InvalidInputError

__all__ = [
    "Open",
    "difference_of_two_sums",
    "lattice_of_weights",
    "lone_update",
    "replay",
    "sybils",
]

Open = Callable[[bytes, Sequence[Contribution]], NDArray[np.int64]]
"""Sealed total and the contributions that are said to make it up -> opened integers."""


def lone_update(
    open_: Open, adder: Adder, contributions: Sequence[Contribution], *, victim: int
) -> Int[np.ndarray, "dim"]:
    """Pass one ciphertext off as the sum, with everybody's valid signatures attached."""
    return open_(_total(adder, [contributions[victim]]), contributions)


def difference_of_two_sums(
    open_: Open, adder: Adder, contributions: Sequence[Contribution], *, victim: int
) -> Int[np.ndarray, "dim"]:
    """Have the sum opened with the victim and without it, and subtract."""
    others = [c for i, c in enumerate(contributions) if i != victim]
    whole = open_(_total(adder, contributions), contributions)
    return np.asarray(whole - open_(_total(adder, others), others))


def replay(
    open_: Open, adder: Adder, contributions: Sequence[Contribution]
) -> tuple[Int[np.ndarray, "dim"], Int[np.ndarray, "dim"]]:
    """Have one sum opened twice: with approximate or threshold decryption the two differ."""
    total = _total(adder, contributions)
    return open_(total, contributions), open_(total, contributions)


def lattice_of_weights(
    open_: Open,
    adder: Adder,
    contributions: Sequence[Contribution],
    *,
    victim: int,
    weight: int,
) -> Int[np.ndarray, "dim"]:
    r"""Weigh all others by g at the server, and take the opened sum modulo g.

    What is left is the victim's update under its own noise alone, exact where it is within g/2.

    Raises:
      InvalidInputError: A weight below 2 leaves no lattice.
    """
    if weight < 2:
        raise InvalidInputError(f"Expected weight={weight} >= 2; the sum is taken modulo it.")
    weighed = [c for i, c in enumerate(contributions) for _ in range(1 if i == victim else weight)]
    opened = open_(_total(adder, weighed), contributions)
    return np.asarray((opened + weight // 2) % weight - weight // 2)


def sybils(
    open_: Open,
    adder: Adder,
    victim: Contribution,
    invent: Callable[[str], Contribution],
    *,
    hospitals: int,
) -> Int[np.ndarray, "dim"]:
    """Fill the sum with made-up hospitals that contribute zeros."""
    crowd = [victim, *(invent(f"sybil {i}") for i in range(hospitals - 1))]
    return open_(_total(adder, crowd), crowd)


def _total(adder: Adder, contributions: Sequence[Contribution]) -> bytes:
    adder.clear()
    for contribution in contributions:
        adder.add(contribution.sealed)
    return adder.total()
