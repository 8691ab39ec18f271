r"""What an attacker knows of patients before it sees a run: marginals, from public sources only.

A prior is made from the schema alone (public clinical constants), from a public table, or from
either and the patients that the position itself holds. No attack ever computes a statistic from the
patients that it attacks.

>>> from aggregation.data.patients import Column
>>> age = Column("age", 55.0, 10.0, 18.0, 100.0, binary=False)
>>> schema = Schema((age, Column("sex")), "disease")
>>> prior = Prior.from_schema(schema)
>>> prior.best_guesses(2).tolist()
[[0.0, 0.0], [0.0, 0.0]]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aggregation.data.patients import Patients, Schema
from attacks.knowledge.features import Feature, features_of
from privacy._validate import fraction, natural
from privacy.errors import InvalidInputError

__all__ = ["Prior"]

_QUANTILES = np.linspace(0, 1, 101)
_UNLIKE_FROM = 3  # guesses; below, equal ones match more (measured in test_priors.py)
_SMOOTHING = 0.5  # Jeffreys: a level that the table happens to lack is not impossible


@dataclass(frozen=True)
class Prior:
    """Independent marginals of every feature, and the rate of the outcome.

    Guarantees (each is a test in ``tests/attacks/knowledge/test_priors.py``):
      - it holds numbers of its sources alone; the patients of the run are never an argument;
      - every draw and every guess is a valid patient: on the grid, in range, one level a group.

    Attributes:
      schema: What the columns mean.
      levels: Probability of each level of a categorical feature (the reference first), by the
        feature's name.
      quantiles: 101 quantiles of a numeric feature, standardised, by the feature's name.
      outcome_rate: Probability of disease.
      source: Where it comes from, for the report.
    """

    schema: Schema
    levels: dict[str, tuple[float, ...]]
    quantiles: dict[str, tuple[float, ...]]
    outcome_rate: float
    source: str

    def __post_init__(self) -> None:
        fraction(outcome_rate=self.outcome_rate)
        missing = [f.name for f in self.features if f.name not in (self.quantiles | self.levels)]
        if missing:
            raise InvalidInputError(f"The prior lacks the marginals of {missing}; give all.")

    @classmethod
    def from_schema(cls, schema: Schema, *, outcome_rate: float = 0.5) -> "Prior":
        """Know the schema only: equally likely levels, and N(0, 1) within the plausible range.

        The public constants that standardise a column are its public mean and deviation.
        """
        levels: dict[str, tuple[float, ...]] = {}
        quantiles: dict[str, tuple[float, ...]] = {}
        normal = _normal_quantiles()
        for f in features_of(schema):
            if f.numeric:
                quantiles[f.name] = tuple(np.clip(normal, f.low, f.high).tolist())
            else:
                count = len(f.columns) + 1
                levels[f.name] = (1 / count,) * count
        return cls(schema, levels, quantiles, outcome_rate, "schema")

    @classmethod
    def from_table(cls, schema: Schema, table: Patients, *, source: str = "table") -> "Prior":
        """Take the marginals of a public table, or of patients that the adversary holds.

        Raises:
          InvalidInputError: The table is empty or has other columns.
        """
        if len(table) == 0 or table.features.shape[1] != len(schema):
            raise InvalidInputError(
                f"A prior needs rows of {len(schema)} columns; this table has shape "
                f"{table.features.shape}. Use Prior.from_schema without a table."
            )
        levels: dict[str, tuple[float, ...]] = {}
        quantiles: dict[str, tuple[float, ...]] = {}
        for f in features_of(schema):
            if f.numeric:
                quantiles[f.name] = tuple(
                    np.quantile(table.features[:, f.columns[0]], _QUANTILES).tolist()
                )
            else:
                counts = np.bincount(f.codes(table.features), minlength=len(f.columns) + 1)
                smoothed = counts + _SMOOTHING
                levels[f.name] = tuple((smoothed / smoothed.sum()).tolist())
        rate = float((table.outcomes.sum() + _SMOOTHING) / (len(table) + 2 * _SMOOTHING))
        return cls(schema, levels, quantiles, rate, source)

    @classmethod
    def held(
        cls, schema: Schema, patients: Mapping[str, Patients], public: Patients | None = None
    ) -> "Prior":
        """Take the marginals of all that a position holds: a public table and its own patients.

        Args:
          schema: What the columns mean.
          patients: ``Knowledge.patients``: a colluder's own, by hospital.
          public: A public table, if there is one.
        """
        tables = [t for t in (public, *patients.values()) if t is not None and len(t)]
        if not tables:
            return cls.from_schema(schema)
        source = " and ".join([*(["table"] if public is not None else []), *sorted(patients)])
        return cls.from_table(schema, Patients.together(tables), source=source)

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """The schema's columns as numeric and categorical features."""
        return features_of(self.schema)

    def best_guesses(self, count: int) -> Float[np.ndarray, "count features"]:
        """Return the guesses that match most of ``count`` unknown patients, with nothing seen.

        One or two are best all the same (``modes``); more are best unlike each other
        (``spread``), since each patient will be given the guess that suits it.
        """
        return self.modes(count) if count < _UNLIKE_FROM else self.spread(count)

    def modes(self, count: int) -> Float[np.ndarray, "count features"]:
        """Return medians on the grid, and modes, ``count`` times."""
        natural(count=count)
        row = np.zeros((1, len(self.schema)))
        for f in self.features:
            if f.numeric:
                row[:, f.columns[0]] = f.snap(np.array([self.quantiles[f.name][50]]))
            else:
                f.write(row, np.array([int(np.argmax(self.levels[f.name]))]))
        return np.tile(row, (count, 1))

    def spread(self, count: int) -> Float[np.ndarray, "count features"]:
        """Return guesses that hold every level and quantile in its due share; always the same."""
        natural(count=count)
        rng = np.random.default_rng(0)  # shuffles the columns against each other, and no more
        rows = np.zeros((count, len(self.schema)))
        for f in self.features:
            self._write(f, rows, (rng.permutation(count) + 0.5) / max(count, 1))
        return rows

    def draw(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, "count features"]:
        """Draw independent marginals."""
        natural(count=count)
        rows = np.zeros((count, len(self.schema)))
        for f in self.features:
            self._write(f, rows, rng.random(count))
        return rows

    def _write(
        self, feature: Feature, rows: NDArray[np.float64], shares: NDArray[np.float64]
    ) -> None:
        """Fill a feature's columns by inversion of its distribution at ``shares`` in [0, 1)."""
        if feature.numeric:
            values = np.interp(shares, _QUANTILES, np.array(self.quantiles[feature.name]))
            rows[:, feature.columns[0]] = feature.snap(values)
        else:
            edges = np.cumsum(self.levels[feature.name])
            codes = np.searchsorted(edges / edges[-1], shares, side="right")
            feature.write(rows, codes.astype(np.int64))

    def scale(self, feature: Feature) -> tuple[float, float]:
        """Return centre and spread of a numeric feature: median and half the middle 68 %."""
        q = self.quantiles[feature.name]
        return q[50], max((q[84] - q[16]) / 2, 1e-3)


def _normal_quantiles() -> NDArray[np.float64]:
    from scipy.special import ndtri

    return np.asarray(ndtri(np.clip(_QUANTILES, 1e-3, 1 - 1e-3)))
