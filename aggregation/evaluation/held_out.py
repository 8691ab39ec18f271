"""Who is held out, and in which bin a score falls: by public rules, each patient alone."""

import hashlib
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from aggregation.data.patients import Patients, Schema
from aggregation.models import Counts, Model
from privacy._validate import natural
from privacy.errors import InvalidInputError

__all__ = ["binned", "part", "score_edges"]

_DRAWN = 4096  # rows that the edges are quantiles of
_LEAST_GAP = 1e-6  # between edges, in log-odds


def part(
    patients: Patients, fraction: float, *, run: str, hospital: str
) -> tuple[Patients, Patients]:
    """Return a hospital's patients who train, and those who are held out.

    Who is held out follows from run, hospital and the patient's own id, hashed: a patient's coming
    or going moves nobody else to the other part, so that the sensitivity of neither release grows.

    Args:
      patients: Of the hospital.
      fraction: Expected fraction held out, in (0, 1).
      run: Name of the run.
      hospital: Name of the hospital.
    """
    if not 0 < fraction < 1:
        raise InvalidInputError(f"Expected a held-out fraction={fraction} between 0 and 1.")
    out: Bool[np.ndarray, patients] = np.array(
        [_place(run, hospital, int(one)) < fraction for one in patients.ids], dtype=np.bool_
    )
    return patients.take(~out), patients.take(out)


def _place(run: str, hospital: str, patient: int) -> float:
    """Return a number in [0, 1) that follows from the three alone."""
    text = f"{len(run)}:{run}{len(hospital)}:{hospital}{patient}"
    head = hashlib.sha256(text.encode()).digest()[:8]
    return int.from_bytes(head, "big") / 2**64


def score_edges(
    model: Model, params: Float[np.ndarray, "dim"], schema: Schema, bins: int
) -> Float[np.ndarray, "edges"]:
    """Return ``bins - 1`` increasing log-odds: where the model's scores are cut into bins.

    Quantiles of its scores of 4,096 made-up rows, drawn from the schema's public constants: numbers
    normal around their mean, levels and yes or no equally often. No patient is looked at, and every
    party finds the same edges.

    Args:
      model: The model.
      params: Its parameters.
      schema: Of the patients.
      bins: At least 2.
    """
    natural(bins=bins, least=2)
    scores = model.scores(params, _made_up(schema))
    quantiles = np.quantile(scores, np.arange(1, bins) / bins).round(6)
    return np.asarray(np.maximum.accumulate(quantiles) + _LEAST_GAP * np.arange(bins - 1))


def _made_up(schema: Schema) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    rows = np.clip(rng.normal(size=(_DRAWN, len(schema))), schema.low, schema.high)
    alone = [i for i, c in enumerate(schema.columns) if c.binary and c.group is None]
    rows[:, alone] = rng.integers(2, size=(_DRAWN, len(alone)))
    for columns in schema.groups.values():
        level = rng.integers(len(columns) + 1, size=_DRAWN)  # the last is the reference
        rows[:, columns] = level[:, None] == np.arange(len(columns))
    return np.ascontiguousarray(rows)


def binned(
    patients: Patients,
    scores: Float[np.ndarray, "patients"],
    edges: Float[np.ndarray, "edges"],
    counts: Counts,
    hospital: str,
) -> Patients:
    """Return a hospital's held-out patients as ``Counts`` reads them; it stays in the hospital.

    Args:
      patients: Held out.
      scores: Their log-odds; one that is no number counts nowhere.
      edges: ``score_edges``.
      counts: Of the evaluation's plan.
      hospital: Whose.
    """
    if len(edges) != counts.bins - 1:
        raise InvalidInputError(f"Expected {counts.bins - 1} edges, got {len(edges)}.")
    place = np.searchsorted(edges, scores, side="right").astype(np.float64)
    place[np.isnan(scores)] = -1.0
    site = np.full(len(patients), float(counts.class_of(hospital)))
    return replace(patients, features=np.stack([place, site], axis=1))
