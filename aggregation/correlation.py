"""How the noise of one hospital's rounds is correlated: a public constant of the plan.

>>> Correlation(bands=3).coefficients(5)
(1.0, 0.5, 0.375)
>>> Correlation(scales=(0.4,), decays=(0.5,)).coefficients(4)
(1.0, 0.4, 0.2, 0.1)
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import toeplitz

from privacy._foreign import printable
from privacy._validate import fraction, natural, positive
from privacy.accounting.matrix_noise import banded_square_root, buffered
from privacy.errors import InvalidInputError

__all__ = ["Correlation"]

_MOST_BUFFERS = 32
_MOST_BANDS = 10_000  # of each, a round's noise is remembered
_EXACT = 2.0**51 / 1000  # sums of floats below are wrong by less than a thousandth


@dataclass(frozen=True)
class Correlation:
    r"""The lower triangular Toeplitz matrix C of ``privacy.accounting.matrix_noise``.

    Either banded or with buffers, never both.

    Attributes:
      bands: The banded square root of prefix sums; 1 is independent noise, 0: it is not banded.
      scales: Of a buffered linear Toeplitz matrix, above 0.
      decays: Likewise, in [0, 1).

    Raises:
      InvalidInputError: Neither or both, or a number out of range.
    """

    bands: int = 0
    scales: tuple[float, ...] = ()
    decays: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        natural(bands=self.bands)
        if (self.bands > 0) == bool(self.scales) or len(self.scales) != len(self.decays):
            raise InvalidInputError(
                f"Expected bands of at least 1, or as many scales as decays: got bands={self.bands}"
                f", {len(self.scales)} scales and {len(self.decays)} decays."
            )
        if len(self.scales) > _MOST_BUFFERS or self.bands > _MOST_BANDS:
            raise InvalidInputError(
                f"Expected at most {_MOST_BUFFERS} buffers or {_MOST_BANDS} bands, got "
                f"{len(self.scales)} and {self.bands}: each is kept on the hospital's disk."
            )
        for scale, decay in zip(self.scales, self.decays, strict=True):
            positive(scale=scale)
            fraction(decay=decay)
            if decay == 1:
                raise InvalidInputError("Expected decays below 1: what never fades adds up.")

    @classmethod
    def parse(cls, text: str) -> "Correlation":
        """Read what a command is given: ``banded:8``, or ``buffered:0.3/0.8,0.3/0.6``.

        Args:
          text: A kind and its numbers: bands, or a scale and a decay of each buffer.

        Raises:
          InvalidInputError: Another form, or numbers out of range.
        """
        kind, _, numbers = text.partition(":")
        try:
            if kind == "banded":
                return cls(bands=int(numbers))
            if kind == "buffered":
                pairs = [one.split("/") for one in numbers.split(",")]
                scales, decays = zip(*((float(a), float(b)) for a, b in pairs), strict=True)
                return cls(scales=scales, decays=decays)
        except ValueError as error:
            if isinstance(error, InvalidInputError):
                raise
        raise InvalidInputError(
            f"Expected a correlation such as banded:8 (rounds) or buffered:0.3/0.8,0.3/0.6 (a "
            f"scale and a decay of each buffer), got {printable(text)[:80]!r}."
        )

    @property
    def told(self) -> str:
        """What a hospital's ledger says of it: a kind, and how many bands or buffers."""
        return f"banded {self.bands}" if self.bands else f"buffered {len(self.scales)}"

    def coefficients(self, rounds: int) -> tuple[float, ...]:
        """Return c_0 = 1, c_1, ... of so many rounds; zeros at the end are left out."""
        if self.bands:
            return banded_square_root(min(self.bands, rounds))
        return buffered(self.scales, self.decays, rounds)

    def inverse(self, rounds: int) -> Float[np.ndarray, "rounds rounds"]:
        """Return C's inverse: what is sent in each round, but for rounding, of what was drawn."""
        c = np.asarray(self.coefficients(rounds))
        column = np.zeros(rounds)
        column[0] = 1.0
        for t in range(1, rounds):
            past = column[max(0, t - len(c) + 1) : t][::-1]
            column[t] = -float(c[1 : len(past) + 1] @ past)
        return np.asarray(toeplitz(column, np.zeros(rounds)))

    def growth(self, rounds: int) -> float:
        """Return the largest variance of what is sent in a round, for a variance of 1 drawn."""
        return float((self.inverse(rounds)[-1] ** 2).sum())

    def nothing(self, dim: int) -> Float[np.ndarray, "kept dim"]:
        """Return what is remembered before the first round of ``dim`` coordinates."""
        return np.zeros((max(self.bands - 1, len(self.scales)), dim))

    def sent(
        self, drawn: Int[np.ndarray, "dim"], past: Float[np.ndarray, "kept dim"], rounds: int
    ) -> tuple[Int[np.ndarray, "dim"], Float[np.ndarray, "kept dim"]]:
        """Return the noise that is sent in a round, and what is remembered after it.

        Args:
          drawn: z of this round, fresh.
          past: What was remembered: the last rounds' noise, the latest first, or the buffers.
          rounds: Of the plan.

        Raises:
          InvalidInputError: Numbers too large to be added up exactly enough.
        """
        if self.bands:
            weights = np.asarray(banded_square_root(self.bands)[1:])
        else:
            weights = np.asarray(self.scales)
        if float(np.abs(weights) @ np.abs(past).max(axis=1, initial=0.0)) * (rounds + 1) > _EXACT:
            raise InvalidInputError(
                "The noise of past rounds is too large for sums of floats. Take a smaller radius."
            )
        noise = drawn - np.rint(weights @ past).astype(np.int64)
        if self.bands:
            return noise, np.concatenate([noise[None].astype(np.float64), past])[: len(past)]
        return noise, np.asarray(self.decays)[:, None] * past + noise
